//! Every format and layout through inspect, convert and load; every wrong file refused in words.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::job::network::{Backbone, NetworkSpec};
use shared::weights::{Preprocessing, Provenance, Slot, Topology};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::convert::{self, ConvertError, Options, Understood};
use super::fixtures::{
    Array, Era, Storage, View, npy, numpy_pickle, on_disk, plain, torch_legacy, torch_pickle, torch_zip,
    zipped,
};
use super::fragments;
use super::layout::{Declared, Layout, Shapes, Size};
use super::load::{FileError, fill};
use super::source::{Format, Source, SourceError};
use crate::models::Mtl;
use crate::train::archive::{self, Facts};
use crate::train::variables::Variables;

const SMALL: Size = Size { width: 4, blocks: [1; 4] };

/// A source and the file that its tensors are read from.
struct Opened {
    source: Source,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Opened {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.source
    }
}

fn open(bytes: &[u8]) -> Result<Opened, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::open(&on_disk(folder.path(), bytes))?;
    Ok(Opened { source, _folder: folder })
}

/// Value `index` of the tensor called `name`: different for every name.
fn value(name: &str, index: usize) -> f32 {
    let seed = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (seed % 1000) as f32 + (index % 512) as f32 / 512.0
}

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product()).map(|index| value(name, index)).collect()
}

fn state_dict(shapes: &Shapes) -> (Vec<View>, Vec<Storage>) {
    let list: Vec<(&str, Vec<usize>)> =
        shapes.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect();
    let (views, mut storages) = plain(&list);
    for (view, storage) in views.iter().zip(&mut storages) {
        *storage = Storage::f32(&values(&view.name, &view.shape));
    }
    (views, storages)
}

fn torch_file(keys: &[&str], shapes: &Shapes) -> Vec<u8> {
    let (views, storages) = state_dict(shapes);
    torch_zip(&torch_pickle(keys, &views, &storages, false), &storages)
}

fn arrays(shapes: &Shapes) -> Vec<(&str, Array)> {
    shapes.iter().map(|(name, shape)| (name.as_str(), Array::f32(shape, &values(name, shape)))).collect()
}

fn with(mut shapes: Shapes, more: &[(&str, &[usize])]) -> Shapes {
    shapes.extend(more.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
    shapes
}

fn prefixed(shapes: &Shapes, prefix: &str) -> Shapes {
    shapes.iter().map(|(name, shape)| (format!("{prefix}{name}"), shape.clone())).collect()
}

fn resnet50() -> Shapes {
    fragments::resnet(Backbone::DinoResnet50, SMALL)
}

fn options(layout: Option<Layout>) -> Options {
    Options { declared: Declared { layout, ..Declared::default() }, ..Options::default() }
}

fn converted(bytes: &[u8], options: &Options) -> (Understood, Vec<u8>) {
    let source = open(bytes).unwrap();
    let understood = convert::examine(&source, options).unwrap();
    let file = convert::convert(&source, &understood).unwrap();
    assert_eq!(convert::convert(&source, &understood).unwrap(), file);
    (understood, file)
}

fn refusal(bytes: &[u8], options: &Options) -> String {
    match open(bytes) {
        Err(error) => error.to_string(),
        Ok(source) => match convert::examine(&source, options).and_then(|u| convert::convert(&source, &u)) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was converted"),
        },
    }
}

fn network(emotion: Backbone, appearance: Backbone) -> (NetworkSpec, VarStore, Variables) {
    let spec = NetworkSpec {
        emotion_backbone: emotion,
        backbone: appearance,
        width: SMALL.width,
        blocks: Some(SMALL.blocks),
        heads: 2,
        mobilevitv2_width: 0.25,
        mobilevitv2_depths: Some([1; 3]),
        ..NetworkSpec::default()
    };
    let store = VarStore::new(Device::Cpu);
    Mtl::new(&store.root(), &spec).unwrap();
    let variables = Variables::of(&store);
    (spec, store, variables)
}

/// Checks that the variable holds what the fixture calls `source`.
#[track_caller]
fn holds(store: &VarStore, variable: &str, source: &str) {
    let seen = Vec::<f32>::try_from(store.variables()[variable].flatten(0, -1)).unwrap();
    let expected: Vec<f32> = (0..seen.len()).map(|index| value(source, index)).collect();
    assert_eq!(seen, expected, "{variable}");
}

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
    // Transposed in the file; two tensors in one storage; f16 and f64.
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
fn vggface2_is_recognised_by_its_classifier_in_every_pickle() {
    let shapes = with(resnet50(), &[("fc.weight", &[8631, 2]), ("fc.bias", &[8631])]);
    for era in [Era::Old, Era::Latin1, Era::New, Era::Buffer] {
        let bytes = numpy_pickle(&arrays(&shapes), era);
        assert_eq!(open(&bytes).unwrap().format, Format::NumpyPickle);
        let (understood, file) = converted(&bytes, &Options::default());
        assert_eq!(understood.mapping.layout, Layout::Vggface2);
        assert_eq!(understood.mapping.topology, Some(Topology::Caffe));
        assert_eq!(understood.preprocessing, Preprocessing::Vggface2Bgr);
        let (spec, store, variables) = network(Backbone::Vggface2Resnet50, Backbone::DinoResnet50);
        fill(Slot::Emotion, &file, &spec, &variables).unwrap();
        holds(&store, "emotion.features.7.0.conv3.weight", "layer4.0.conv3.weight");
        // The other branch has the other topology.
        let reason = fill(Slot::Appearance, &file, &spec, &variables).unwrap_err().to_string();
        assert!(reason.contains("it holds a ResNet50 in Caffe's topology"), "{reason}");
    }
    let bytes = numpy_pickle(&arrays(&shapes), Era::Old);
    assert_eq!(
        refusal(&bytes, &options(Some(Layout::Torchvision))),
        "its classifier has VGGFace2's 8631 identities, so its topology is caffe, not torchvision"
    );
}

#[test]
fn arrays_may_be_column_major_and_big_endian() {
    let mut all = vec![("m", Array::f32(&[2, 3], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]))];
    all[0].1.fortran = true;
    let swapped = Array { order: ">", bytes: 7.5f32.to_be_bytes().to_vec(), ..Array::f32(&[1], &[0.0]) };
    all.push(("s", swapped));
    let files = [
        numpy_pickle(&all, Era::Latin1),
        numpy_pickle(&all, Era::Buffer),
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
fn dino_checkpoints_hold_two_networks_with_heads() {
    let student = prefixed(&resnet50(), "module.backbone.");
    let student =
        with(student, &[("module.head.mlp.0.weight", &[3, 3]), ("module.head.last_layer.weight_g", &[3, 1])]);
    let both: Shapes =
        ["student", "teacher"].iter().flat_map(|key| prefixed(&student, &format!("{key}."))).collect();
    let bytes = numpy_pickle(&arrays(&both), Era::New);
    assert_eq!(
        refusal(&bytes, &Options::default()),
        "the file holds several networks, student and teacher: choose one with --key"
    );
    let chosen = Options { key: Some("teacher".to_owned()), ..Options::default() };
    let (understood, file) = converted(&bytes, &chosen);
    assert_eq!(
        (understood.mapping.layout, understood.mapping.topology),
        (Layout::Dino, Some(Topology::Torchvision))
    );
    assert_eq!(
        (understood.prefix.as_str(), understood.dropped.len()),
        ("module.backbone.", student.len() + 2)
    );
    let (spec, store, variables) = network(Backbone::DinoResnet50, Backbone::Resnet18);
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.features.0.weight", "teacher.module.backbone.conv1.weight");
    let wrong = Options { key: Some("ema".to_owned()), ..Options::default() };
    assert_eq!(refusal(&bytes, &wrong), "the file has no `ema`; it has student, teacher");
}

fn without(shapes: &Shapes, prefix: &str) -> Shapes {
    shapes
        .iter()
        .filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?.to_owned(), shape.clone())))
        .collect()
}

#[test]
fn dan_gives_a_backbone_and_heads() {
    let shapes = without(&fragments::dan(Backbone::Resnet18, SMALL, 2), "emotion.");
    let shapes = with(shapes, &[("fc.weight", &[8, 32]), ("bn.running_mean", &[8])]);
    let (understood, file) = converted(&torch_file(&["model_state_dict"], &shapes), &Options::default());
    assert_eq!((understood.mapping.layout, understood.mapping.holds.heads), (Layout::Dan, 2));
    let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
    fill(Slot::Heads, &file, &spec, &variables).unwrap();
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.cat_head1.sa.conv_3x1.0.bias", "cat_head1.sa.conv_3x1.0.bias");
    holds(&store, "emotion.features.4.0.conv2.weight", "features.4.0.conv2.weight");
    let error = fill(Slot::Appearance, &file, &spec, &variables).unwrap_err();
    assert!(matches!(error.problem, FileError::Unfit(_)), "{error}");
    // Heads go onto any backbone of the same width.
    let (spec, _, variables) = network(Backbone::Vggface2Resnet50, Backbone::Resnet18);
    fill(Slot::Heads, &file, &spec, &variables).unwrap();
}

/// cvnets' name of a variable of timm's.
fn cvnets_name(name: &str) -> String {
    let swaps = [
        ("stem.", "conv_1.block."),
        (".bn.", ".norm."),
        (".conv1_1x1.", ".block.exp_1x1.block."),
        (".conv2_kxk.", ".block.conv_3x3.block."),
        (".conv3_1x1.", ".block.red_1x1.block."),
        (".conv_kxk.", ".local_rep.0.block."),
        (".conv_1x1.weight", ".local_rep.1.block.conv.weight"),
        (".conv_proj.", ".conv_proj.block."),
        (".transformer.0.norm1.", ".global_rep.0.pre_norm_attn.0."),
        (".transformer.0.attn.qkv_proj.", ".global_rep.0.pre_norm_attn.1.qkv_proj.block.conv."),
        (".transformer.0.attn.out_proj.", ".global_rep.0.pre_norm_attn.1.out_proj.block.conv."),
        (".transformer.0.norm2.", ".global_rep.0.pre_norm_ffn.0."),
        (".transformer.0.mlp.fc1.", ".global_rep.0.pre_norm_ffn.1.block.conv."),
        (".transformer.0.mlp.fc2.", ".global_rep.0.pre_norm_ffn.3.block.conv."),
        (".1.norm.weight", ".1.global_rep.1.weight"),
        (".1.norm.bias", ".1.global_rep.1.bias"),
    ];
    let mut name = name.to_owned();
    for stage in (0..5).rev() {
        name = name.replace(&format!("stages.{stage}."), &format!("layer_{}.", stage + 1));
    }
    swaps.iter().fold(name, |name, (timm, cvnets)| name.replace(timm, cvnets))
}

#[test]
fn cvnets_names_become_timms() {
    let shape = crate::models::mobilevitv2::Shape { width: 0.25, depths: [1; 3] };
    let shapes: Shapes =
        fragments::mobilevitv2(shape).into_iter().map(|(name, shape)| (cvnets_name(&name), shape)).collect();
    assert!(shapes.contains_key("layer_4.1.global_rep.1.weight"), "{shapes:?}");
    let shapes = with(shapes, &[("classifier.1.weight", &[3, 128])]);
    let (understood, file) = converted(&torch_file(&[], &shapes), &Options::default());
    assert_eq!((understood.mapping.layout, understood.dropped.len()), (Layout::Cvnets, 1));
    let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Mobilevitv2);
    fill(Slot::Appearance, &file, &spec, &variables).unwrap();
    holds(&store, "appearance.features.stages.4.1.norm.bias", "layer_5.1.global_rep.1.bias");
}

#[test]
fn ox_vggs_names_are_caffes() {
    let rename = |name: &str| {
        let (layer, field) = name.rsplit_once('.').unwrap();
        let is_norm = layer.contains("bn") || layer.ends_with("downsample.1");
        let stem = match layer.split('.').collect::<Vec<_>>().as_slice() {
            [stage, block, rest @ ..] => {
                let stage = stage["layer".len()..].parse::<usize>().unwrap() + 1;
                let block = block.parse::<usize>().unwrap() + 1;
                let part = match rest {
                    ["conv1" | "bn1"] => "1x1_reduce",
                    ["conv2" | "bn2"] => "3x3",
                    ["conv3" | "bn3"] => "1x1_increase",
                    _ => "1x1_proj",
                };
                format!("conv{stage}_{block}_{part}")
            }
            _ => "conv1_7x7_s2".to_owned(),
        };
        format!("{stem}{}.{field}", if is_norm { "_bn" } else { "" })
    };
    let shapes: Shapes = resnet50().into_iter().map(|(name, shape)| (rename(&name), shape)).collect();
    let shapes = with(shapes, &[("classifier.weight", &[8631, 2, 1, 1])]);
    let (understood, file) = converted(&torch_file(&[], &shapes), &Options::default());
    assert_eq!(
        (understood.mapping.layout, understood.mapping.topology),
        (Layout::OxVgg, Some(Topology::Caffe))
    );
    let (spec, store, variables) = network(Backbone::Vggface2Resnet50, Backbone::Resnet18);
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.features.6.0.downsample.1.bias", "conv4_1_1x1_proj_bn.bias");
}

#[test]
fn the_authors_network_is_taken_apart() {
    for appearance in [Backbone::Vggface2Resnet50, Backbone::DinoResnet50, Backbone::Mobilevitv2] {
        let (spec, ..) = network(Backbone::Vggface2Resnet50, appearance);
        let rename = |name: String| {
            let rest = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
            if let Some(rest) = rest("emotion.features.") {
                return format!("em_feature.features.0.{rest}");
            }
            if let Some(rest) = rest("emotion.reduce.") {
                let (number, rest) = rest.split_once('.').unwrap();
                return format!("em_feature.conv1x1_{}.{rest}", number.parse::<u32>().unwrap() + 1);
            }
            if let Some(rest) = rest("emotion.") {
                return format!("em_feature.model.{rest}");
            }
            if let Some(rest) = rest("shared.") {
                return format!("classfier.{rest}");
            }
            if let Some(rest) = rest("appearance.project.") {
                let linear = appearance == Backbone::DinoResnet50;
                return if linear {
                    format!("lm_feature.fc.{}", &rest[2..])
                } else {
                    format!("conv1x1_lm.{rest}")
                };
            }
            let rest = rest("appearance.features.").unwrap();
            match appearance {
                Backbone::Vggface2Resnet50 => {
                    let (child, rest) = rest.split_once('.').unwrap();
                    let index = match child {
                        "conv1" => 0,
                        "bn1" => 1,
                        stage => stage["layer".len()..].parse::<usize>().unwrap() + 3,
                    };
                    format!("lm_feature.base.{index}.{rest}")
                }
                Backbone::Mobilevitv2 => {
                    let name = cvnets_name(&rest).replace("conv_1.block", "0.block");
                    format!("lm_feature.0.{}", name.strip_prefix("layer_").unwrap_or(&name))
                }
                _ => format!("lm_feature.{rest}"),
            }
        };
        let mut shapes = fragments::mtl(&spec).unwrap();
        shapes.remove("affinity.centres");
        let shapes: Shapes = shapes.into_iter().map(|(name, shape)| (rename(name), shape)).collect();
        let dead: [(&str, &[usize]); 3] = [
            ("em_feature.fc.weight", &[6, 32]),
            ("em_feature.model.features.0.weight", &[4, 3, 7, 7]),
            ("em_feature.model.bn.bias", &[8]),
        ];
        let bytes = torch_file(&["model_state_dict"], &prefixed(&with(shapes, &dead), "module."));
        let (understood, file) = converted(&bytes, &Options::default());
        assert_eq!((understood.mapping.layout, understood.dropped.len()), (Layout::Abaw, 3));
        assert_eq!(understood.mapping.holds.appearance, Some(appearance));
        let (spec, store, variables) = network(Backbone::Vggface2Resnet50, appearance);
        for slot in Slot::ALL {
            fill(slot, &file, &spec, &variables).unwrap();
        }
        holds(&store, "emotion.features.0.weight", "module.em_feature.features.0.0.weight");
    }
}

#[test]
fn wrong_files_are_refused_in_words() {
    let none = Options::default();
    let refused = |bytes: &[u8], words: &str| {
        let message = refusal(bytes, &none);
        assert!(message.contains(words), "{message}");
    };
    refused(b"", "none of those that can be read");
    refused(b"GIF89a, or anything else", "none of those that can be read");
    refused(b"PK\x03\x04 and then nothing", "not a whole zip file");
    refused(&npy(&Array::f32(&[1], &[1.0])), "a single array without a name");
    refused(&zipped(&[("a/data.pkl", b"."), ("a/constants.pkl", b".")], false), "a TorchScript module");
    refused(&zipped(&[("a.txt", b"x")], false), "none of those that can be read");
    refused(&zipped(&[("a.npy", b"x")], false), "array `a`: it is no .npy file");
    refused(
        &[&[16, 0, 0, 0, 0, 0, 0, 0], b"{".as_slice(), &[b' '; 20]].concat(),
        "not a whole safetensors file",
    );
    refused(b"\x80\x02]q\x00.", "the pickle holds a list, not a dictionary");
    refused(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u.", "there is no tensor in it; it has a: a number");
    let shapes = resnet50();
    let torch = torch_file(&[], &shapes);
    refused(&torch[..torch.len() / 2], "not a whole zip file");
    refused(&torch, "a ResNet50 whose topology the names do not tell");
    let mut old = numpy_pickle(&arrays(&shapes), Era::Latin1);
    old.truncate(old.len() / 2);
    refused(&old, "ends in the middle");
    let object = Array { code: "O8", ..Array::f32(&[1], &[1.0]) };
    refused(&numpy_pickle(&[("a", object)], Era::Old), "array `a`: dtype `O8` is none that weights have");
    let short = Array { shape: vec![4, 3, 7, 7], ..Array::f32(&[1], &[1.0]) };
    let mut all = arrays(&shapes);
    all.retain(|(name, _)| *name != "conv1.weight");
    all.push(("conv1.weight", short));
    assert_eq!(
        refusal(&numpy_pickle(&all, Era::Old), &options(Some(Layout::Vggface2))),
        "tensor `conv1.weight` cannot be read: its data is 4 bytes, its shape needs 2352"
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
        "it is not a whole network of its kind: missing: bn1.bias; of no use: layer1.0.extra.bias; of another shape: \
         layer1.0.bn1.weight is [1], which must not be spread, not [4]"
    );
    assert_eq!(
        refusal(&torch, &options(Some(Layout::Dan))),
        "the names are those of torchvision, not of dan: leave --layout out or name torchvision"
    );
}

/// A file that claims to be a converted ResNet18 backbone.
fn claimed(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let facts = serde_json::json!({
        "format": Provenance::FORMAT, "version": 1, "layout": "torchvision",
        "holds": { "backbone": "resnet18" }, "preprocessing": "imagenet",
        "source": { "sha256": "", "format": "" },
    });
    let serde_json::Value::Object(facts) = facts else { unreachable!("an object") };
    archive::write(tensors, Facts::from_iter(facts)).unwrap()
}

#[test]
fn everything_wrong_is_named_at_once_and_nothing_is_half_loaded() {
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
        "`appearance_weights`: the file does not fit the network: missing: appearance.features.bn1.weight; of no use: \
         appearance.features.bn9.weight; of another shape: appearance.features.bn1.bias is [1], which must not be \
         spread, not [4], appearance.features.conv1.weight is [4, 3, 7, 5], not [4, 3, 7, 7]"
    );
    assert_eq!(Variables::of(&store).copies().unwrap(), before);
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
    assert!(error.contains("make it with `ferry-worker weights convert`"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever a byte turns into: an error, or tensors of the size their shapes say.
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
