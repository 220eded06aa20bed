//! A ResNet18 of width 4 with one block per stage, as PyTorch users store it: safetensors with torchvision's names.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The file, with `prefix` in front of every name, and with the `value` of a name everywhere in its tensor.
pub(crate) fn file(prefix: &str, value: impl Fn(&str) -> f32) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes() {
        let start = data.len();
        let value = value(&name).to_le_bytes();
        (0..shape.iter().product::<usize>()).for_each(|_| data.extend(value));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(format!("{prefix}{name}"), entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut layer = |conv: String, norm: String, shape: [usize; 4]| {
        shapes.insert(format!("{conv}.weight"), shape.to_vec());
        for field in ["weight", "bias", "running_mean", "running_var"] {
            shapes.insert(format!("{norm}.{field}"), vec![shape[0]]);
        }
    };
    layer("conv1".to_owned(), "bn1".to_owned(), [4, 3, 7, 7]);
    for stage in 0..4 {
        let (inputs, outputs) = (4 << stage >> usize::from(stage > 0), 4 << stage);
        let at = |part: &str| format!("layer{}.0.{part}", stage + 1);
        layer(at("conv1"), at("bn1"), [outputs, inputs, 3, 3]);
        layer(at("conv2"), at("bn2"), [outputs, outputs, 3, 3]);
        if stage > 0 {
            layer(at("downsample.0"), at("downsample.1"), [outputs, inputs, 1, 1]);
        }
    }
    shapes
}
