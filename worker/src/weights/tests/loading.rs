//! A converted file fills a part of a network, completely or not at all.

use super::*;

#[test]
fn a_converted_file_says_where_it_came_from_and_converts_again() {
    let bytes = torch_file(&["state_dict"], &with(resnet50(), &[("fc.bias", &[6])]));
    let (_, file) = converted(&bytes, &options(Some(Layout::Dino)));
    let provenance = Provenance::of_safetensors(&file).unwrap().unwrap();
    assert_eq!(provenance.layout, "dino");
    assert_eq!(provenance.holds.backbone, Some(Backbone::DinoResnet50));
    assert_eq!(provenance.source.sha256, open(&bytes).unwrap().sha256);
    assert_eq!(provenance.source.format, "PyTorch (zip)");
    assert_eq!(provenance.renamed["state_dict.conv1.weight"], "conv1.weight");
    assert_eq!(provenance.dropped["state_dict.fc.bias"], "the classifier of another task");
    let (understood, again) = converted(&file, &Options::default());
    assert_eq!(
        (understood.mapping.layout, understood.mapping.topology),
        (Layout::Ferry, Some(Topology::Torchvision))
    );
    let (spec, store, variables) = network(Backbone::DinoResnet50, Backbone::DinoResnet50);
    fill(Slot::Emotion, &again, &spec, &variables).unwrap();
    holds(&store, "emotion.features.0.weight", "state_dict.conv1.weight".trim_start_matches("state_dict."));
}

#[test]
fn one_error_names_every_mismatch_and_nothing_is_half_loaded() {
    let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
    let before = variables.copies().unwrap();
    let mut tensors: BTreeMap<String, Tensor> = fragments::resnet(Backbone::Resnet18, SMALL)
        .into_iter()
        .map(|(name, shape)| {
            let dims: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
            (name, Tensor::ones(dims, (Kind::Float, Device::Cpu)))
        })
        .collect();
    fill(Slot::Emotion, &claimed(&tensors), &spec, &variables).unwrap();
    variables.set(&before).unwrap();
    tensors.remove("bn1.weight");
    tensors.insert("bn9.weight".to_owned(), Tensor::from_slice(&[1.0f32]));
    tensors.insert("bn1.bias".to_owned(), Tensor::from_slice(&[1.0f32]));
    tensors.insert("conv1.weight".to_owned(), Tensor::ones([4, 3, 7, 5], (Kind::Float, Device::Cpu)));
    let error = fill(Slot::Appearance, &claimed(&tensors), &spec, &variables).unwrap_err().to_string();
    assert_eq!(
        error,
        "`appearance_weights`: the file does not fit the network: missing: appearance.features.bn1.weight; not needed: \
         appearance.features.bn9.weight; wrong shape: appearance.features.bn1.bias is [1] (never broadcast), not [4], \
         appearance.features.conv1.weight is [4, 3, 7, 5], not [4, 3, 7, 7]"
    );
    assert_eq!(Variables::of(&store).copies().unwrap(), before);
}

/// Case 9: this also holds for a file that was converted before conversion checked for NaN.
#[test]
fn a_file_with_a_nan_is_not_loaded() {
    let (spec, _, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
    let mut tensors: BTreeMap<String, Tensor> = fragments::resnet(Backbone::Resnet18, SMALL)
        .into_iter()
        .map(|(name, shape)| {
            let dims: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
            (name, Tensor::ones(dims, (Kind::Float, Device::Cpu)))
        })
        .collect();
    fill(Slot::Emotion, &claimed(&tensors), &spec, &variables).unwrap();
    tensors.insert("bn1.bias".to_owned(), Tensor::from_slice(&[0.0, f32::NAN, 0.0, 0.0]));
    let error = fill(Slot::Emotion, &claimed(&tensors), &spec, &variables).unwrap_err().to_string();
    assert_eq!(error, "`emotion_weights`: NaN or infinite values in bn1.bias");
}

#[test]
fn damaged_and_undescribed_files_are_not_loaded() {
    let (spec, _, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
    let file =
        converted(&torch_file(&[], &fragments::resnet(Backbone::Resnet18, SMALL)), &Options::default()).1;
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    let mut damaged = file.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = fill(Slot::Emotion, &damaged, &spec, &variables).unwrap_err().to_string();
    assert!(error.contains("the bytes are damaged"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    Tensor::write_safetensors(&[("conv1.weight", Tensor::from_slice(&[1.0f32]))], &path).unwrap();
    let error =
        fill(Slot::Emotion, &std::fs::read(&path).unwrap(), &spec, &variables).unwrap_err().to_string();
    assert!(error.contains("convert it with `ferry-worker weights convert`"), "{error}");
}
