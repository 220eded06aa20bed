//! Golden values for tests. Weights and inputs come from a counter-based fill; the expected results in
//! `tests/golden.json` were computed with the published code in double precision.

use serde_json::Value;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// Number `index` of stream `stream`, uniform in [0, 1), by splitmix64.
fn uniform(stream: u64, index: u64) -> f64 {
    let seed = (stream << 32).wrapping_add(index).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 * 2f64.powi(-53)
}

/// A double-precision tensor filled row by row from stream `stream`, uniform in [−0.5, 0.5).
pub(crate) fn noise(stream: u64, dims: &[i64]) -> Tensor {
    let count = dims.iter().product::<i64>() as u64;
    let values: Vec<f64> = (0..count).map(|index| uniform(stream, index) - 0.5).collect();
    Tensor::from_slice(&values).reshape(dims)
}

/// Converts `store` to double precision and fills its variables: the j-th in the order of names from stream j.
pub(crate) fn fill(store: &mut VarStore) {
    store.double();
    let mut variables: Vec<_> = store.variables().into_iter().collect();
    variables.sort_by(|left, right| left.0.cmp(&right.0));
    for (stream, (name, mut variable)) in variables.into_iter().enumerate() {
        let dims = variable.size();
        let noise = noise(stream as u64, &dims);
        let value = if dims.len() >= 2 {
            let slice: i64 = dims[1..].iter().product();
            noise * 2.0 * (3.0 / slice as f64).sqrt()
        } else if name.ends_with("running_mean") || name.ends_with("bias") {
            noise * 0.1
        } else {
            noise * 0.2 + 1.0
        };
        tch::no_grad(|| variable.copy_(&value));
    }
}

fn golden(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../tests/golden.json")).unwrap();
    all.get(name).unwrap_or_else(|| panic!("golden.json has no {name}")).clone()
}

pub(crate) fn number(name: &str) -> f64 {
    golden(name).as_f64().unwrap()
}

pub(crate) fn numbers(name: &str) -> Vec<f64> {
    serde_json::from_value(golden(name)).unwrap()
}

/// Compares the mean, the mean magnitude, the first five values and the last value with entry `name`, which is rounded
/// to ten decimals.
#[track_caller]
pub(crate) fn check(name: &str, tensor: &Tensor, relative: f64) {
    let golden = golden(name);
    let flat = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap();
    let count = flat.len() as f64;
    close("mean", flat.iter().sum::<f64>() / count, golden["mean"].as_f64().unwrap(), relative);
    let magnitude = flat.iter().map(|value| value.abs()).sum::<f64>() / count;
    close("absmean", magnitude, golden["absmean"].as_f64().unwrap(), relative);
    let first = golden["first"].as_array().unwrap();
    for (index, (seen, expected)) in flat.iter().zip(first).enumerate() {
        close(&format!("value {index}"), *seen, expected.as_f64().unwrap(), relative);
    }
    close("last", flat[flat.len() - 1], golden["last"].as_f64().unwrap(), relative);
}

#[track_caller]
pub(crate) fn close(what: &str, seen: f64, expected: f64, relative: f64) {
    let bound = 5.1e-11 + relative * expected.abs();
    assert!((seen - expected).abs() <= bound, "{what}: {seen} instead of {expected}");
}

/// The largest difference of two tensors, divided by the largest magnitude in the second.
pub(crate) fn deviation(seen: &Tensor, expected: &Tensor) -> f64 {
    let (seen, expected) = (seen.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let scale = expected.abs().max().double_value(&[]).max(f64::MIN_POSITIVE);
    (seen - expected).abs().max().double_value(&[]) / scale
}

/// The number of trainable parameters in a store.
pub(crate) fn parameters(store: &VarStore) -> usize {
    store.trainable_variables().iter().map(Tensor::numel).sum()
}

pub(crate) fn store() -> VarStore {
    VarStore::new(Device::Cpu)
}

#[test]
fn the_fill_is_the_documented_one() {
    for (stream, index, expected) in [
        (0, 0, 0.883_310_808_213_642_6f64),
        (0, 1, 0.566_561_575_172_280_9),
        (0, 2, 0.591_189_734_198_079_4),
        (5, 0, 0.711_698_970_849_043_2),
    ] {
        assert_eq!(uniform(stream, index).to_bits(), expected.to_bits());
    }
}
