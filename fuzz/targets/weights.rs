//! Weight files of other programs: safetensors, npz, torch.save, pickled arrays.
#![no_main]

use ferry_fuzz::input;
use libfuzzer_sys::fuzz_target;
use worker::weights::Source;
use worker::weights::convert::{Options, convert, examine};

/// The largest tensor that is read, in elements. A shape may claim more than the file holds; the program compares it with
/// the network's before it reads the tensor.
const MOST_ELEMENTS: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = Source::open(&input::file("weights", data)) else { return };
    for stored in source.tensors.values() {
        let elements = stored.shape.iter().try_fold(1_usize, |count, &length| count.checked_mul(length));
        let elements = elements.expect("shapes that overflow are refused");
        if elements <= MOST_ELEMENTS
            && let Ok(tensor) = stored.to_f32()
        {
            assert_eq!(tensor.numel(), elements);
        }
    }
    if let Ok(understood) = examine(&source, &Options::default()) {
        let _file = convert(&source, &understood);
    }
});
