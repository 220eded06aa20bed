//! Every format gives the same numbers.

use super::*;

#[test]
fn torch_files_of_every_kind_give_the_same_weights() {
    let shapes =
        with(resnet50(), &[("fc.weight", &[6, 128]), ("fc.bias", &[6]), ("bn1.num_batches_tracked", &[])]);
    let (views, storages) = state_dict(&shapes);
    let modules = prefixed(&shapes, "module.");
    let flat = torch_pickle(&[], &views, &storages, false);
    let files = [
        (torch_file(&[], &shapes), Format::TorchZip),
        (torch_file(&["state_dict"], &modules), Format::TorchZip),
        (torch_file(&["model_state_dict"], &shapes), Format::TorchZip),
        (torch_zip(&torch_pickle(&[], &views, &storages, true), &storages), Format::TorchZip),
        (torch_legacy(&flat, &storages), Format::TorchLegacy),
    ];
    for (index, (bytes, format)) in files.into_iter().enumerate() {
        assert_eq!(open(&bytes).unwrap().format, format);
        let (understood, file) = converted(&bytes, &options(Some(Layout::Torchvision)));
        assert_eq!(understood.mapping.topology, Some(Topology::Torchvision));
        assert_eq!(understood.preprocessing, Preprocessing::Imagenet);
        assert_eq!((understood.kept.len(), understood.dropped.len()), (resnet50().len(), 3));
        let (spec, store, variables) = network(Backbone::DinoResnet50, Backbone::DinoResnet50);
        fill(Slot::Appearance, &file, &spec, &variables).unwrap();
        fill(Slot::Emotion, &file, &spec, &variables).unwrap();
        if index == 1 {
            holds(&store, "emotion.features.0.weight", "module.conv1.weight");
        } else {
            holds(&store, "appearance.features.layer2.0.downsample.0.weight", "layer2.0.downsample.0.weight");
            holds(&store, "emotion.features.5.0.downsample.0.weight", "layer2.0.downsample.0.weight");
            holds(&store, "emotion.features.1.running_var", "bn1.running_var");
        }
    }
}

#[test]
fn strides_shared_storages_and_types_are_understood() {
    let shapes = resnet50();
    let (mut views, mut storages) = state_dict(&shapes);
    let at = |name: &str| views.iter().position(|view| view.name == name).unwrap();
    // A transposed tensor, two tensors in one storage, and tensors of f16 and f64.
    let (turned, first, second) = (at("layer1.0.conv1.weight"), at("bn1.weight"), at("bn1.bias"));
    let (half, double) = (at("bn1.running_mean"), at("bn1.running_var"));
    assert_eq!(views[turned].shape, [4, 4, 1, 1]);
    views[turned].stride = vec![1, 4, 1, 1];
    storages[views[first].storage] = Storage::f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    (views[second].storage, views[second].offset) = (views[first].storage, 4);
    let halves = [0x3c00u16, 0x4000, 0x4200, 0x4400].iter().flat_map(|h| h.to_le_bytes()).collect();
    storages[views[half].storage] = Storage { class: "HalfStorage", size: 2, bytes: halves };
    let doubles = [1.0f64, 2.0, 3.0, 4.0].iter().flat_map(|d| d.to_le_bytes()).collect();
    storages[views[double].storage] = Storage { class: "DoubleStorage", size: 8, bytes: doubles };
    let bytes = torch_zip(&torch_pickle(&[], &views, &storages, false), &storages);
    let (understood, file) = converted(&bytes, &options(Some(Layout::Dino)));
    let kinds: Vec<_> = understood.converted.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(kinds, ["bn1.running_mean f16", "bn1.running_var f64"]);
    let (spec, store, variables) = network(Backbone::DinoResnet50, Backbone::DinoResnet50);
    fill(Slot::Appearance, &file, &spec, &variables).unwrap();
    let seen = |name: &str| {
        Vec::<f32>::try_from(store.variables()[&format!("appearance.features.{name}")].flatten(0, -1))
            .unwrap()
    };
    let whole = values("layer1.0.conv1.weight", &[16]);
    let turned: Vec<f32> = (0..16).map(|index| whole[index % 4 * 4 + index / 4]).collect();
    assert_eq!(seen("layer1.0.conv1.weight"), turned);
    assert_eq!((seen("bn1.weight"), seen("bn1.bias")), (vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]));
    assert_eq!(
        (seen("bn1.running_mean"), seen("bn1.running_var")),
        (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 2.0, 3.0, 4.0])
    );
}

#[test]
fn arrays_may_be_column_major_and_big_endian() {
    let mut all = vec![("m", Array::f32(&[2, 3], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]))];
    all[0].1.fortran = true;
    let swapped = Array { order: ">", bytes: 7.5f32.to_be_bytes().to_vec(), ..Array::f32(&[1], &[0.0]) };
    all.push(("s", swapped));
    let files = [
        numpy_pickle(&all, TorchFormat::Latin1),
        numpy_pickle(&all, TorchFormat::Buffer),
        zipped(&[("m.npy", &npy(&all[0].1)), ("s.npy", &npy(&all[1].1))], true),
    ];
    for bytes in files {
        let source = open(&bytes).unwrap();
        let read = |name: &str| source.tensors[name].to_f32().unwrap();
        assert_eq!(read("m").size(), [2, 3]);
        assert_eq!(Vec::<f32>::try_from(read("m").flatten(0, -1)).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read("s").double_value(&[0]).to_bits(), 7.5f64.to_bits());
    }
}

#[test]
fn npz_and_safetensors_are_read() {
    let shapes = fragments::mobilevitv2(crate::models::mobilevitv2::Shape { width: 0.25, depths: [1; 3] });
    let shapes = with(shapes, &[("head.fc.weight", &[5, 128]), ("head.fc.bias", &[5])]);
    let named: Vec<(String, Vec<u8>)> =
        arrays(&shapes).iter().map(|(name, array)| (format!("{name}.npy"), npy(array))).collect();
    let entries: Vec<(&str, &[u8])> = named.iter().map(|(n, bytes)| (n.as_str(), bytes.as_slice())).collect();
    let tensors: archive::Tensors = shapes
        .iter()
        .map(|(name, shape)| {
            let dims: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
            (name.clone(), Tensor::from_slice(&values(name, shape)).reshape(dims))
        })
        .collect();
    let named: Vec<_> = tensors.iter().collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    Tensor::write_safetensors(&named, &path).unwrap();
    let files = [
        (zipped(&entries, false), Format::Npz),
        (zipped(&entries, true), Format::Npz),
        (std::fs::read(&path).unwrap(), Format::Safetensors),
    ];
    for (bytes, format) in files {
        assert_eq!(open(&bytes).unwrap().format, format);
        let (understood, file) = converted(&bytes, &Options::default());
        assert_eq!((understood.mapping.layout, understood.dropped.len()), (Layout::Timm, 2));
        assert_eq!(understood.preprocessing, Preprocessing::ZeroToOne);
        let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Mobilevitv2);
        fill(Slot::Appearance, &file, &spec, &variables).unwrap();
        let name = "stages.3.1.transformer.0.attn.qkv_proj.weight";
        holds(&store, &format!("appearance.features.{name}"), name);
    }
}
