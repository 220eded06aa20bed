//! Trainings with other precisions and memory layouts than the default.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod common;

use common::small;
use serde_json::{Value, json};
use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::report::MemoryUse;
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::rng::{Purpose, Stream};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use worker::train::{Control, FinishedTask, TaskOutcome, TrainTask, train};

const STORED: u32 = 16;

/// An image with the colour of its class and much noise.
fn pixels(class: usize, stream: &mut Stream) -> Vec<u8> {
    let colour = [class % 2, class / 2 % 2, class / 4].map(|on| on as u64 * 60);
    (0..STORED * STORED).flat_map(|_| colour.map(|base| (base + stream.below(190)) as u8)).collect()
}

fn pack() -> (TempDir, Pack) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("pack");
    let mut writer = PackWriter::create(&dir, STORED, Value::Null).unwrap();
    for (split, count) in Split::ALL.into_iter().zip([240, 120, 0]) {
        for index in 0..count {
            let mut stream = Stream::new(2, Purpose::SyntheticFace, &[split as u64, index as u64]);
            let landmarks = [(); LANDMARKS].map(|()| [(); 2].map(|()| stream.between(-1.0, 1.0) as f32));
            let class = index % CLASSES;
            writer
                .add(&Sample {
                    split,
                    id: &index.to_string(),
                    label: Some(class as u8),
                    landmarks: Some(&landmarks),
                    pixels: &pixels(class, &mut stream),
                })
                .unwrap();
        }
    }
    writer.finish().unwrap();
    (folder, Pack::open(&dir).unwrap())
}

fn trained(pack: &Pack, changes: &[(&str, Value)]) -> FinishedTask {
    let gentle = [
        ("epochs", json!(10)),
        ("learning_rate", json!(1e-2)),
        ("lr_decay", json!(0.8)),
        ("batch_size", json!(16)),
        ("head_fusion", json!("sum")),
        ("shared_statistics", json!("separate")),
        ("basic_augmentation", json!(false)),
        ("jitter_hue", json!(0)),
        ("jitter_saturation", json!(0)),
        ("jitter_brightness", json!(0)),
        ("jitter_contrast", json!(0)),
    ];
    let spec = small(&[&gentle, changes].concat());
    let task = TrainTask { spec: &spec, pack, device: Device::Cpu, resume: None };
    match train(&task, &mut |_| Control::Continue).unwrap() {
        TaskOutcome::Finished(finished) => *finished,
        TaskOutcome::Stopped => panic!("nobody asked for it"),
    }
}

fn best(finished: &FinishedTask) -> f64 {
    let best = finished.epochs.iter().find(|report| report.epoch == finished.best_epoch).unwrap();
    best.validation.macro_f1
}

fn kinds(finished: &FinishedTask) -> Vec<Kind> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, &finished.model).unwrap();
    Tensor::read_safetensors(&path).unwrap().iter().map(|(_, tensor)| tensor.kind()).collect()
}

#[test]
fn bf16_learns_what_f32_learns() {
    let (_folder, pack) = pack();
    let single = trained(&pack, &[]);
    for (augmentation, single) in
        [("mixaug", &single), ("mixup", &trained(&pack, &[("augmentation", json!("mixup"))]))]
    {
        let changes = [("precision", json!("bf16")), ("augmentation", json!(augmentation))];
        let half = trained(&pack, &changes);
        let (f32, bf16) = (best(single), best(&half));
        assert!(f32 > 80.0, "{augmentation}: f32 has not learnt: {f32}");
        assert!((f32 - bf16).abs() <= 2.0, "{augmentation}: f32 {f32}, bf16 {bf16}");
        assert!(single.model != half.model, "bf16 had no effect");
        // Weights, running statistics and centres are stored as they are trained: in single precision.
        assert!(kinds(&half).iter().all(|kind| *kind == Kind::Float));
        assert_eq!(half.epochs[0].memory, MemoryUse::default());
    }
}

#[test]
fn channels_last_changes_last_bits_only_and_tf32_nothing_on_a_cpu() {
    let (_folder, pack) = pack();
    let short = ("epochs", json!(1));
    let plain = trained(&pack, std::slice::from_ref(&short));
    let tf32 = trained(&pack, &[short.clone(), ("precision", json!("tf32"))]);
    assert_eq!(tf32.validation, plain.validation);
    let moved = trained(&pack, &[short, ("channels_last", json!(true))]);
    let loss = |finished: &FinishedTask| finished.epochs[0].losses.total();
    let differ = (loss(&moved) - loss(&plain)).abs() / loss(&plain);
    assert!(differ < 0.01, "{} and {}", loss(&moved), loss(&plain));
    assert_eq!(moved.validation.len(), plain.validation.len());
}

/// With AVX-512, oneDNN's bf16 kernels round differently from run to run, even on one thread and with its option for
/// repeatable kernels (docs/model.md). Only jobs in f32 are repeatable there.
#[test]
fn bf16_repeats_itself_bit_for_bit_where_its_kernels_do() {
    if worker::device::record(Device::Cpu, 1, "here").cpu_capability.starts_with("AVX512") {
        return;
    }
    let (_folder, pack) = pack();
    let run = || trained(&pack, &[("epochs", json!(2)), ("precision", json!("bf16"))]);
    let [first, second] = [run(), run()];
    assert!(first.model == second.model && first.validation == second.validation);
}
