//! Every format and layout is inspected, converted and loaded; every wrong file is refused with a message.

mod formats;
mod layouts;
mod loading;
mod prefixes;
mod refused;

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::mtl::network::{Backbone, NetworkSpec};
use shared::weights::{Preprocessing, Provenance, Slot, Topology};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::content::{Format, SourceError};
use super::convert::{self, ConvertError, Options, Understood};
use super::fixtures::{
    Array, Storage, TorchFormat, View, npy, numpy_pickle, on_disk, plain, torch_legacy, torch_pickle,
    torch_zip, zipped,
};
use super::fragments;
use super::layout::{Declared, Layout, Shapes, Size};
use super::load::{FileError, fill};
use super::source::Source;
use crate::archive::{self, Facts};
use crate::models::Mtl;
use crate::variables::Variables;

const SMALL: Size = Size { width: 4, blocks: [1; 4] };

/// A source and the folder with the file from which its tensors are read.
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

/// Value `index` of the tensor named `name`. Different names have different values.
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

/// Checks that the variable has the values of the fixture's tensor `source`.
#[track_caller]
fn holds(store: &VarStore, variable: &str, source: &str) {
    let seen = Vec::<f32>::try_from(store.variables()[variable].flatten(0, -1)).unwrap();
    let expected: Vec<f32> = (0..seen.len()).map(|index| value(source, index)).collect();
    assert_eq!(seen, expected, "{variable}");
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
