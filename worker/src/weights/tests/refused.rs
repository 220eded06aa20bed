//! Every wrong file is refused with a message and never causes a panic.

use super::*;

#[test]
fn wrong_files_are_refused_with_a_message() {
    let none = Options::default();
    let refused = |bytes: &[u8], words: &str| {
        let message = refusal(bytes, &none);
        assert!(message.contains(words), "{message}");
    };
    refused(b"GIF89a\x01, or anything else", "unknown format");
    refused(b"PK\x03\x04 and then nothing", "not a whole zip file");
    refused(&npy(&Array::f32(&[1], &[1.0])), "a single array without a name");
    refused(&zipped(&[("a/data.pkl", b"."), ("a/constants.pkl", b".")], false), "a TorchScript module");
    refused(&zipped(&[("a.txt", b"x")], false), "unknown format");
    refused(&zipped(&[("a.npy", b"x")], false), "array `a`: it is not a .npy file");
    refused(
        &[&[16, 0, 0, 0, 0, 0, 0, 0], b"{".as_slice(), &[b' '; 20]].concat(),
        "not a whole safetensors file",
    );
    refused(b"\x80\x02]q\x00.", "the pickle holds a list, not a dictionary");
    refused(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u.", "it has no tensors, but a: a number");
    let shapes = resnet50();
    let torch = torch_file(&[], &shapes);
    refused(&torch[..torch.len() / 2], "not a whole zip file");
    refused(&torch, "a ResNet50, whose names do not tell its topology");
    let mut old = numpy_pickle(&arrays(&shapes), TorchFormat::Latin1);
    old.truncate(old.len() / 2);
    refused(&old, "ends in the middle");
    let object = Array { code: "O8", ..Array::f32(&[1], &[1.0]) };
    refused(
        &numpy_pickle(&[("a", object)], TorchFormat::Old),
        "array `a`: dtype `O8` is not one that weights have",
    );
    let short = Array { shape: vec![4, 3, 7, 7], ..Array::f32(&[1], &[1.0]) };
    let mut all = arrays(&shapes);
    all.retain(|(name, _)| *name != "conv1.weight");
    all.push(("conv1.weight", short));
    assert_eq!(
        refusal(&numpy_pickle(&all, TorchFormat::Old), &options(Some(Layout::Vggface2))),
        "cannot read tensor `conv1.weight`: it has 4 bytes of data, but its shape needs 2352"
    );
    refused(
        &torch_file(&[], &with(Shapes::new(), &[("a.weight", &[2]), ("b.weight", &[2])])),
        "a.weight, b.weight",
    );
    refused(
        &torch_file(&[], &with(shapes.clone(), &[("layer1.0.conv4.weight", &[2])])),
        "squeeze-and-excitation",
    );
    refused(&torch_file(&[], &with(shapes.clone(), &[("gate.weight", &[2])])), "does not have: gate.weight");
    let mut broken = shapes.clone();
    broken.remove("bn1.bias");
    broken.insert("layer1.0.bn1.weight".to_owned(), vec![1]);
    broken.insert("layer1.0.extra.bias".to_owned(), vec![2]);
    assert_eq!(
        refusal(&torch_file(&[], &broken), &options(Some(Layout::Dino))),
        "the network is not complete: missing: bn1.bias; not needed: layer1.0.extra.bias; wrong shape: \
         layer1.0.bn1.weight is [1] (never broadcast), not [4]"
    );
    assert_eq!(
        refusal(&torch, &options(Some(Layout::Dan))),
        "the names are those of torchvision, not of dan: omit --layout or use --layout torchvision"
    );
}

/// Case 10: a failed download leaves something else under the name of the weights.
#[test]
fn a_file_that_is_something_else_is_named_as_such() {
    for (bytes, words) in [
        (&b""[..], "an empty file"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a Git LFS pointer"),
        (b"{\"weight_map\": {}}", "a JSON document"),
        (
            b"curl: (22) The requested URL returned error: 404",
            "a text file, not weights; it begins with \"curl: (22)",
        ),
    ] {
        let message = refusal(bytes, &Options::default());
        assert!(message.starts_with(words), "{message}");
    }
}

/// Case 9: every tensor with a NaN or an infinity is named, also if it was finite before the conversion to f32.
#[test]
fn weights_that_are_not_numbers_are_refused() {
    let shapes = fragments::resnet(Backbone::Resnet18, SMALL);
    let with = |name: &str, array: Array| {
        let mut all = arrays(&shapes);
        all.retain(|(own, _)| *own != name);
        all.push((name, array));
        refusal(&numpy_pickle(&all, TorchFormat::New), &Options::default())
    };
    let nan = Array::f32(&[4], &[0.0, f32::NAN, 0.0, 0.0]);
    let words = "NaN or infinite values in `bn1.weight`: no training can start from them";
    assert_eq!(with("bn1.weight", nan), words);
    assert_eq!(with("bn1.weight", Array::f32(&[4], &[0.0, 0.0, 0.0, f32::NEG_INFINITY])), words);
    let bytes = [1e300_f64; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    let wide = Array { code: "f8", order: "<", shape: vec![4], fortran: false, bytes };
    assert_eq!(with("bn1.weight", wide), words);
    // Dropped tensors may have any values.
    let all = [arrays(&shapes), vec![("fc.bias", Array::f32(&[1], &[f32::NAN]))]].concat();
    converted(&numpy_pickle(&all, TorchFormat::New), &Options::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Any changed byte gives an error, or tensors with the number of elements of their shapes.
    #[test]
    fn changed_files_never_panic(
        kind in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let shapes = with(Shapes::new(), &[("conv1.weight", &[2, 2]), ("fc.bias", &[3])]);
        let (views, storages) = state_dict(&shapes);
        let pickle = torch_pickle(&["state_dict"], &views, &storages, true);
        let mut bytes = match kind {
            0 => torch_zip(&pickle, &storages),
            1 => torch_legacy(&pickle, &storages),
            2 => {
                let array = Array::f32(&[2, 2], &[0.0; 4]);
                zipped(&[("conv1.weight.npy", &npy(&array))], true)
            }
            _ => claimed(&BTreeMap::from([("a".to_owned(), Tensor::from_slice(&[1.0f32]))])),
        };
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        if let Ok(source) = Source::open(&on_disk(folder.path(), &bytes)) {
            for tensor in source.tensors.values() {
                if let Ok(values) = tensor.to_f32() {
                    prop_assert_eq!(values.numel(), tensor.shape.iter().product::<usize>());
                }
            }
            let _either: Result<Understood, ConvertError> = convert::examine(&source, &Options::default());
        }
    }
}
