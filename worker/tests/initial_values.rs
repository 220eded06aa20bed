//! Initial weights depend only on the seed and have PyTorch's distributions.
//!
//! There is only one test in this file, because libtorch has one random generator per process.

#![cfg(test)] // Tells lints that the function below belongs to tests.

use std::collections::BTreeMap;

use shared::mtl::network::{Backbone, NetworkSpec};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use worker::models::Mtl;

fn weights(seed: i64) -> BTreeMap<String, Tensor> {
    tch::manual_seed(seed);
    let store = VarStore::new(Device::Cpu);
    let spec = NetworkSpec { width: 32, backbone: Backbone::Mobilevitv2, ..NetworkSpec::default() };
    Mtl::new(&store.root(), &spec).unwrap();
    store.variables().into_iter().collect()
}

fn deviation(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).std(true).double_value(&[])
}

#[test]
fn initial_weights_come_from_the_seed_with_pytorchs_distributions() {
    let first = weights(17);
    assert_eq!(first, weights(17));
    let other = weights(18);
    for (name, value) in &first {
        let constant = ["running_", "bias"].iter().any(|part| name.contains(part)) || value.dim() == 1;
        assert!(constant || *value != other[name], "{name} does not depend on the seed");
    }
    let uniform = |fan_in: f64| (1.0 / fan_in).sqrt() / 3f64.sqrt();
    for (name, expected) in [
        ("emotion.features.7.1.conv2.weight", (2.0f64 / (256.0 * 9.0)).sqrt()),
        ("emotion.cat_head0.sa.conv_1x3.0.weight", (2.0f64 / (256.0 * 3.0)).sqrt()),
        ("emotion.cat_head0.ca.attention.0.weight", 0.001),
        ("emotion.reduce.0.0.weight", uniform(1024.0)),
        ("appearance.features.stages.4.0.conv2_kxk.conv.weight", (2.0f64 / 9.0).sqrt()),
        ("appearance.project.0.weight", uniform(1024.0)),
        ("shared.sharedfc1.weight", uniform(256.0)),
        ("shared.encode2.weight", uniform(64.0)),
        ("affinity.centres", 1.0),
    ] {
        let seen = deviation(&first[name]);
        assert!((seen / expected - 1.0).abs() < 0.05, "{name}: {seen} instead of {expected}");
    }
    let largest = |name: &str| first[name].abs().max().double_value(&[]);
    assert!((0.9..=1.0).contains(&(largest("shared.sharedfc1.bias") * 16.0)));
    assert!((0.9..=1.0).contains(&(largest("emotion.reduce.0.0.bias") * 32.0)));
    for name in [
        "emotion.cat_head0.sa.conv1x1.0.bias",
        "appearance.features.stages.2.1.transformer.0.attn.qkv_proj.bias",
    ] {
        assert_eq!(first[name], first[name].zeros_like());
    }
    let ones = &first["shared.sharedbn1.weight"];
    assert_eq!((ones.min().double_value(&[]), ones.max().double_value(&[])), (1.0, 1.0));
}
