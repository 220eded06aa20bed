//! Packs: the four files as they are, and with matching lengths, so that the input gets past the first check.
//!
//! The input is `pack.json`, a separator, and `samples.csv`.
#![no_main]

use std::fs::{self, File};

use ferry_fuzz::input;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shared::expression::LANDMARKS;
use shared::pack::{Pack, Split, files};
use shared::predictions::SampleList;

/// The largest pixel file that is read completely.
const MOST_BYTES: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [manifest, samples] = input::parts(data);
    let lengths = lengths(manifest);
    open(manifest, samples, lengths);
    let Ok(mut value) = serde_json::from_slice::<Value>(manifest) else { return };
    if value.is_object() {
        value["index_bytes"] = json!(samples.len());
        open(value.to_string().as_bytes(), samples, lengths);
    }
});

/// The right sizes of the landmark and pixel files in bytes.
fn lengths(manifest: &[u8]) -> Option<(u64, u64)> {
    let value: Value = serde_json::from_slice(manifest).ok()?;
    let count = |at: usize| value["samples"][at].as_u64();
    let total = count(0)?.checked_add(count(1)?)?.checked_add(count(2)?)?;
    let side = value["image_size"].as_u64()?;
    let pixels = side.checked_mul(side)?.checked_mul(3)?.checked_mul(total)?;
    let landmarks = value["with_landmarks"].as_u64()?.checked_mul(LANDMARKS as u64 * 8)?;
    (pixels <= MOST_BYTES && landmarks <= MOST_BYTES).then_some((landmarks, pixels))
}

fn open(manifest: &[u8], samples: &[u8], lengths: Option<(u64, u64)>) {
    let folder = input::folder();
    let [manifest_file, samples_file, landmarks_file, pixels_file] = files(folder);
    fs::write(manifest_file, manifest).expect("a file is written");
    fs::write(samples_file, samples).expect("a file is written");
    let (landmarks, pixels) = lengths.unwrap_or_default();
    for (path, length) in [(landmarks_file, landmarks), (pixels_file, pixels)] {
        File::create(path).and_then(|file| file.set_len(length)).expect("a file is written");
    }
    let Ok(pack) = Pack::open(folder) else { return };
    for split in Split::ALL {
        let list = pack.samples(split);
        assert_eq!(list.ids.len(), pack.len(split));
        assert!(split == Split::Test || list.labels.iter().all(Option::is_some));
        let _again = SampleList::from_csv(&list.to_csv());
        for i in 0..pack.len(split) {
            assert!(split != Split::Train || pack.landmarks(split, i).is_some());
        }
    }
    let _digest = pack.verify();
}
