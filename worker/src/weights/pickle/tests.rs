//! Trees from handwritten pickles and from random bytes.

use proptest::prelude::*;

use super::super::fixtures::{Array, Pickler, TorchFormat, numpy_pickle};
use super::*;

#[test]
fn objects_are_names_and_nothing_is_called() {
    let pickle = Pickler::new().global("os", "system").text("rm -rf /").op(0x85).op(b'R').stop();
    let parsed = Pickle::parse(&pickle).unwrap();
    assert_eq!(parsed.describe(parsed.root()), "an object of `os.system`");
}

#[test]
fn every_protocol_gives_the_same_dictionary() {
    let texts: [&[u8]; 4] = [
        b"(dp0\nS'a\\x62'\np1\nI7\nsS'c'\n(lp2\nL8L\naI01\nas.",
        b"}q\x00(U\x02abq\x01K\x07U\x01c]q\x02(L8L\nI01\neu.",
        b"\x80\x02}q\x00(X\x02\x00\x00\x00abK\x07X\x01\x00\x00\x00c](\x8a\x01\x08\x88eu.",
        b"\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x02ab\x94K\x07\x8c\x01c\x94](K\x08\x88eu.",
    ];
    for text in texts {
        let parsed = Pickle::parse(text).unwrap();
        let [[first, seven], [second, list]] = parsed.entries(parsed.root()).unwrap() else { panic!() };
        assert_eq!((parsed.text(*first).unwrap(), parsed.int(*seven)), ("ab".into(), Some(7)));
        let items: Vec<_> = parsed.tuple(*list).unwrap().iter().map(|id| parsed.int(*id)).collect();
        assert_eq!((parsed.text(*second).unwrap(), items), ("c".into(), vec![Some(8), Some(1)]));
    }
}

#[test]
fn errors_name_the_damaged_byte() {
    let error = |bytes: &[u8]| Pickle::parse(bytes).unwrap_err().to_string();
    assert_eq!(error(b"\x80\x02}"), "the pickle ends in the middle, at byte 3");
    assert_eq!(
        error(b"\x80\x02\x82\x01."),
        "byte 2 of the pickle, 0x82, is not an instruction that arrays need"
    );
    assert_eq!(error(b"\x80\x02h\x05."), "the pickle is damaged at byte 4: a memo that was never written");
    assert_eq!(error(b"\x80\x02X\xff\xff\xff\xffa."), "the pickle ends in the middle, at byte 9");
    assert!(error(b".").contains("never written"));
    assert!(error(b"(}(K\x01u.").contains("a key without a value"));
}

#[test]
fn limits_stop_pickle_bombs() {
    let values = vec![b'N'; 2 << 20];
    assert!(matches!(Pickle::parse(&values), Err(PickleError::TooMany { what: "values", .. })));
    let steps = [b"N".to_vec(), b"2".repeat(9 << 20)].concat();
    assert!(matches!(Pickle::parse(&steps), Err(PickleError::TooMany { what: "instructions", .. })));
    // Each list contains the one before it twice: small here, but 2^60 values for code that visits them all.
    let mut doubling = Pickler::new().op(b']').op(0x94);
    for level in 0..60 {
        doubling = doubling.op(b'(').op(b'h').op(level).op(b'h').op(level).op(b'l').op(0x94);
    }
    assert!(Pickle::parse(&doubling.stop()).is_ok());
    // A dictionary that contains itself.
    let looped = Pickler::new().op(b'}').op(0x94).text("a").op(b'h').op(0).op(b's').stop();
    assert!(Pickle::parse(&looped).is_ok());
    assert!(super::super::numpy::read_pickle(&std::sync::Arc::new(looped)).is_err());
}

fn small() -> Vec<u8> {
    let arrays = [("a", Array::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0])), ("b", Array::f32(&[1], &[5.0]))];
    numpy_pickle(&arrays, TorchFormat::Latin1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_end_in_a_tree_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _either = super::super::numpy::read_pickle(&std::sync::Arc::new(bytes));
    }

    #[test]
    fn any_instructions_end_in_a_tree_or_an_error(
        bytes in prop::collection::vec(prop::sample::select(
            b"(.012NIJKMTUX)tlde]}asubRcQqhrj\x80\x81\x85\x86\x87\x88\x8a\x8c\x90\x92\x93\x94\x00\x01\x02\n".to_vec()
        ), 0..300)
    ) {
        let _either = super::super::numpy::read_pickle(&std::sync::Arc::new(bytes));
    }

    #[test]
    fn a_changed_file_ends_in_arrays_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = small();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok((tensors, _)) = super::super::numpy::read_pickle(&std::sync::Arc::new(bytes)) {
            for tensor in tensors.values() {
                let _either = tensor.to_f32();
            }
        }
    }
}
