//! Shared by the tests of whole trainings.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use serde_json::{Value, json};
use shared::mtl::MtlSpec;

/// Settings of the smallest network with all parts, trained briefly on images of 16 pixels, with `changes`.
pub(crate) fn small(changes: &[(&str, Value)]) -> MtlSpec {
    let settings = [
        ("backbone", json!("resnet18")),
        ("emotion_backbone", json!("resnet18")),
        ("width", json!(4)),
        ("blocks", json!([1, 1, 1, 1])),
        ("heads", json!(2)),
        ("image_size", json!(16)),
        ("batch_size", json!(8)),
        ("epochs", json!(2)),
        ("learning_rate", json!(3e-3)),
    ];
    let with = |spec: MtlSpec, (name, value): &(&str, Value)| spec.with(name, value.clone()).unwrap();
    settings.iter().chain(changes).fold(MtlSpec::default(), with)
}
