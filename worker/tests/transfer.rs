//! Trainings that start from weights: what is loaded, what is refused, and that a resume does not need them.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod common;
#[path = "common/resnet18.rs"]
mod resnet18;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::small;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::MtlSpec;
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::weights::Slot;
use tch::Device;
use tempfile::TempDir;
use worker::train::{
    Control, FinishedTask, Resume, TaskOutcome, TrainError, TrainEvent, TrainTask, train_from,
};
use worker::weights::Source;
use worker::weights::convert::{Options, convert, examine};

const SIZE: u32 = 16;

fn pack() -> (TempDir, Pack) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("pack");
    let mut writer = PackWriter::create(&dir, SIZE, Value::Null).unwrap();
    for split in [Split::Train, Split::Validation] {
        for index in 0..12_usize {
            let pixels: Vec<u8> =
                (0..SIZE * SIZE * 3).map(|at| (at as usize * (index + 3) % 251) as u8).collect();
            writer
                .add(&Sample {
                    split,
                    id: &index.to_string(),
                    label: Some((index % CLASSES) as u8),
                    landmarks: Some(&[[0.1, -0.1]; LANDMARKS]),
                    pixels: &pixels,
                })
                .unwrap();
        }
    }
    writer.finish().unwrap();
    let pack = Pack::open(&dir).unwrap();
    (folder, pack)
}

type Weights = BTreeMap<Slot, Bytes>;

fn run(
    spec: &MtlSpec,
    pack: &Pack,
    weights: &Weights,
    resume: Option<&[u8]>,
) -> Result<(FinishedTask, Vec<Vec<u8>>), TrainError> {
    let mut checkpoints = Vec::new();
    let mut sink = |event| {
        if let TrainEvent::Epoch { checkpoint, .. } = event {
            checkpoints.push(checkpoint);
        }
        Control::Continue
    };
    let resume = resume.map(|bytes| Resume { bytes, by: spec.id(pack.digest()) });
    let task = TrainTask { spec, pack, device: Device::Cpu, resume };
    match train_from(&task, weights, &mut sink)? {
        TaskOutcome::Finished(finished) => Ok((*finished, checkpoints)),
        TaskOutcome::Stopped => panic!("nobody stopped it"),
    }
}

fn named(file: &[u8]) -> Value {
    json!(format!("sha256:{}", hex::encode(Sha256::digest(file))))
}

fn values(model: &[u8], name: &str) -> Vec<u8> {
    SafeTensors::deserialize(model).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn a_trained_model_is_where_another_training_starts() {
    let (_folder, pack) = pack();
    let (first, _) = run(&small(&[]), &pack, &Weights::new(), None).unwrap();
    let model = Bytes::from(first.model);
    // Such a small step is lost in rounding, so the loaded weights come out unchanged.
    let still = [("learning_rate", json!(1e-30)), ("seed", json!(5)), ("epochs", json!(1))];
    let plain = small(&still);
    let moved =
        plain.with("emotion_weights", named(&model)).unwrap().with("head_weights", named(&model)).unwrap();
    let weights = Weights::from([(Slot::Emotion, model.clone()), (Slot::Heads, model.clone())]);
    let (started, _) = run(&moved, &pack, &weights, None).unwrap();
    let (drawn, _) = run(&plain, &pack, &Weights::new(), None).unwrap();
    for (name, is_moved) in [
        ("emotion.features.0.weight", true),
        ("emotion.features.7.0.conv2.weight", true),
        ("emotion.cat_head1.sa.conv_3x3.0.weight", true),
        ("appearance.features.conv1.weight", false),
        ("shared.sharedfc1.weight", false),
    ] {
        assert_eq!(values(&started.model, name) == values(&model, name), is_moved, "{name}");
        assert_eq!(values(&started.model, name) == values(&drawn.model, name), !is_moved, "{name}");
    }
}

/// Statistics that only the evaluation uses: the losses stay finite, and the probabilities do not.
#[test]
fn weights_that_give_no_probabilities_fail_the_job() {
    let (folder, pack) = pack();
    let value = |name: &str| match name.rsplit_once('.') {
        Some((_, "running_mean")) => -3e38,
        Some((layer, "weight")) if layer.contains("bn") => 100.0,
        Some(_) | None => 0.01,
    };
    let path = folder.path().join("raw.safetensors");
    std::fs::write(&path, resnet18::file("", value)).unwrap();
    let source = Source::open(&path).unwrap();
    let understood = examine(&source, &Options::default()).unwrap();
    let file = Bytes::from(convert(&source, &understood).unwrap());
    let spec = small(&[]).with("emotion_weights", named(&file)).unwrap();
    let error = run(&spec, &pack, &Weights::from([(Slot::Emotion, file)]), None).unwrap_err();
    assert!(matches!(error, TrainError::NotAProbability { row: 0, .. }), "{error}");
}

#[test]
fn a_resume_needs_the_weights_no_more() {
    let (_folder, pack) = pack();
    let (first, _) = run(&small(&[("seed", json!(9))]), &pack, &Weights::new(), None).unwrap();
    let model = Bytes::from(first.model);
    let spec = small(&[]).with("appearance_weights", named(&model)).unwrap();
    let weights = Weights::from([(Slot::Appearance, model)]);
    let (whole, checkpoints) = run(&spec, &pack, &weights, None).unwrap();
    let (resumed, _) = run(&spec, &pack, &Weights::new(), Some(&checkpoints[0])).unwrap();
    assert_eq!((resumed.model, resumed.validation), (whole.model, whole.validation));
}

#[test]
fn other_weights_than_the_jobs_are_refused() {
    let (_folder, pack) = pack();
    let (first, _) = run(&small(&[]), &pack, &Weights::new(), None).unwrap();
    let model = Bytes::from(first.model);
    let moved = small(&[("head_weights", named(&model))]);
    let refused =
        |spec: &MtlSpec, weights: &Weights| run(spec, &pack, weights, None).unwrap_err().to_string();
    assert_eq!(
        refused(&moved, &Weights::new()),
        "the weights file of `head_weights` was not passed to the training"
    );
    let other = Weights::from([(Slot::Heads, Bytes::from_static(b"other"))]);
    assert!(
        refused(&moved, &other)
            .contains("has digest d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa")
    );
    let three = moved.with("heads", json!(3)).unwrap();
    let weights = Weights::from([(Slot::Heads, model.clone())]);
    assert_eq!(
        refused(&three, &weights),
        "the weights cannot be used: `head_weights`: it has 2 attention heads, the job `heads: 3`"
    );
    let wide = moved.with("width", json!(8)).unwrap();
    let reason = refused(&wide, &weights);
    assert!(reason.contains("emotion.cat_head0.ca.attention.0.bias is [2], not [4]"), "{reason}");
}
