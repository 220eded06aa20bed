//! Whole trainings of small networks: exact resume, repeatability, refused input.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod common;

use std::path::Path;

use common::small;
use serde_json::{Value, json};
use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::MtlSpec;
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::rng::{Purpose, Stream};
use tch::Device;
use tempfile::TempDir;
use worker::archive::{self, Archive};
use worker::train::terms::Term;
use worker::train::{
    CheckpointError, Control, FinishedTask, Resume, TaskOutcome, TrainError, TrainEvent, TrainTask, train,
};

const STORED: u32 = 20;

/// An image with noise around the colour of its class.
fn pixels(class: usize, stream: &mut Stream) -> Vec<u8> {
    let colour = [class % 2 * 120, class / 2 % 2 * 120, class / 4 * 120];
    (0..STORED * STORED).flat_map(|_| colour.map(|base| (base as u64 + stream.below(100)) as u8)).collect()
}

fn write_pack(dir: &Path, counts: [usize; 3]) -> Pack {
    write_pack_with(dir, counts, |stream| stream.between(-1.0, 1.0) as f32)
}

fn write_pack_with(dir: &Path, counts: [usize; 3], coordinate: fn(&mut Stream) -> f32) -> Pack {
    let mut writer = PackWriter::create(dir, STORED, Value::Null).unwrap();
    for (split, count) in Split::ALL.into_iter().zip(counts) {
        for index in 0..count {
            let mut stream = Stream::new(1, Purpose::SyntheticFace, &[split as u64, index as u64]);
            let class = index % CLASSES;
            let landmarks = [(); LANDMARKS].map(|()| [(); 2].map(|()| coordinate(&mut stream)));
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
    Pack::open(dir).unwrap()
}

fn pack(counts: [usize; 3]) -> (TempDir, Pack) {
    let folder = tempfile::tempdir().unwrap();
    let pack = write_pack(&folder.path().join("pack"), counts);
    (folder, pack)
}

fn spec(changes: &[(&str, Value)]) -> MtlSpec {
    small(&[&[("epochs", json!(4))], changes].concat())
}

/// Runs a training. Returns its outcome and its checkpoints.
fn run(
    spec: &MtlSpec,
    pack: &Pack,
    resume: Option<&[u8]>,
    stop_after: Option<u32>,
) -> Result<(TaskOutcome, Vec<Vec<u8>>), TrainError> {
    let mut checkpoints = Vec::new();
    let mut sink = |event| match event {
        TrainEvent::Step { .. } => Control::Continue,
        TrainEvent::OutOfMemory { .. } => panic!("these batches fit"),
        TrainEvent::Checkpoint { .. } => panic!("nobody asked for it"),
        TrainEvent::Epoch { report, checkpoint } => {
            checkpoints.push(checkpoint);
            if stop_after == Some(report.epoch) { Control::Stop } else { Control::Continue }
        }
    };
    let resume = resume.map(|bytes| Resume { bytes, by: spec.id(pack.digest()) });
    let outcome = train(&TrainTask { spec, pack, device: Device::Cpu, resume }, &mut sink)?;
    Ok((outcome, checkpoints))
}

/// The result of a finished training, without its times.
fn finished(outcome: TaskOutcome) -> FinishedTask {
    let TaskOutcome::Finished(mut finished) = outcome else { panic!("stopped") };
    assert!(finished.train_seconds > 0.0);
    finished.train_seconds = 0.0;
    finished.epochs.iter_mut().for_each(|report| report.seconds = 0.0);
    *finished
}

/// Checks that two results are equal. The weights are too long to be shown.
#[track_caller]
fn same(left: &FinishedTask, right: &FinishedTask) {
    assert_eq!((&left.epochs, left.best_epoch), (&right.epochs, right.best_epoch));
    assert_eq!((&left.validation, &left.test), (&right.validation, &right.test));
    assert!(left.model == right.model, "the weights differ");
}

fn resumes_exactly(changes: &[(&str, Value)]) {
    let (_folder, pack) = pack([41, 13, 9]);
    let spec = spec(changes);
    let (whole, checkpoints) = run(&spec, &pack, None, None).unwrap();
    assert_eq!(checkpoints.len(), 4);
    let whole = finished(whole);

    let (stopped, mut checkpoints) = run(&spec, &pack, None, Some(2)).unwrap();
    assert!(matches!(stopped, TaskOutcome::Stopped));
    let checkpoint = checkpoints.pop().unwrap();
    let (resumed, rest) = run(&spec, &pack, Some(&checkpoint), None).unwrap();
    assert_eq!(rest.len(), 2);
    same(&finished(resumed), &whole);
}

/// Requests a checkpoint after step `at` (epoch, step), and stops the training there.
fn stopped_within(spec: &MtlSpec, pack: &Pack, resume: Option<&[u8]>, at: (u32, usize)) -> Vec<u8> {
    let mut stopped = None;
    let mut sink = |event| match event {
        TrainEvent::Step { epoch, step, .. } if (epoch, step) == at => Control::Checkpoint,
        TrainEvent::Step { .. } | TrainEvent::OutOfMemory { .. } | TrainEvent::Epoch { .. } => {
            Control::Continue
        }
        TrainEvent::Checkpoint { epoch, step, checkpoint } => {
            assert_eq!((epoch, step), at);
            stopped = Some(checkpoint);
            Control::Stop
        }
    };
    let resume = resume.map(|bytes| Resume { bytes, by: spec.id(pack.digest()) });
    let outcome = train(&TrainTask { spec, pack, device: Device::Cpu, resume }, &mut sink).unwrap();
    assert!(matches!(outcome, TaskOutcome::Stopped));
    stopped.unwrap()
}

/// Stops a training twice: in the first epoch, when there is no best epoch yet, and after the last step of another epoch.
fn resumes_exactly_within_an_epoch(changes: &[(&str, Value)]) {
    let (_folder, pack) = pack([41, 13, 9]);
    let spec = spec(changes);
    let whole = finished(run(&spec, &pack, None, None).unwrap().0);
    for stops in [[(1, 1), (2, 3)], [(1, 4), (3, 5)]] {
        let first = stopped_within(&spec, &pack, None, stops[0]);
        let second = stopped_within(&spec, &pack, Some(&first), stops[1]);
        let (resumed, rest) = run(&spec, &pack, Some(&second), None).unwrap();
        assert_eq!(rest.len(), 5 - stops[1].0 as usize);
        same(&finished(resumed), &whole);
    }
}

#[test]
fn mixup_resumes_bit_for_bit_within_an_epoch() {
    resumes_exactly_within_an_epoch(&[("augmentation", json!("mixup"))]);
}

#[test]
fn mixaug_resumes_bit_for_bit_within_an_epoch() {
    resumes_exactly_within_an_epoch(&[("augmentation", json!("mixaug"))]);
}

#[test]
fn a_checkpoint_within_an_epoch_changes_nothing_of_the_training() {
    let (_folder, pack) = pack([41, 13, 9]);
    let spec = spec(&[]);
    let whole = finished(run(&spec, &pack, None, None).unwrap().0);
    let mut asked = 0;
    let mut sink = |event| match event {
        TrainEvent::Step { .. } => Control::Checkpoint,
        TrainEvent::Checkpoint { .. } => {
            asked += 1;
            Control::Continue
        }
        TrainEvent::OutOfMemory { .. } | TrainEvent::Epoch { .. } => Control::Continue,
    };
    let task = TrainTask { spec: &spec, pack: &pack, device: Device::Cpu, resume: None };
    same(&finished(train(&task, &mut sink).unwrap()), &whole);
    assert_eq!(asked, 4 * 5);
}

/// Layout 1 had no checkpoints within an epoch, and therefore neither `partial` nor a missing best epoch.
#[test]
fn a_checkpoint_of_layout_1_is_read_and_one_of_a_newer_layout_is_not() {
    let (_folder, pack) = pack([41, 13, 9]);
    let spec = spec(&[]);
    let (whole, checkpoints) = run(&spec, &pack, None, None).unwrap();
    let relabelled = |version: u64| {
        let archive = Archive::open(&checkpoints[1]).unwrap();
        let mut facts = archive.facts().clone();
        facts["identity"]["version"] = version.into();
        if version == 1 {
            assert_eq!(facts.remove("partial"), Some(Value::Null));
        }
        let (_, header) = safetensors::SafeTensors::read_metadata(&checkpoints[1]).unwrap();
        let shape = |info: &safetensors::tensor::TensorInfo| info.shape.iter().map(|&n| n as i64).collect();
        let shapes = header.tensors().into_iter().map(|(name, info)| (name, shape(info))).collect();
        archive::write(&archive.read(&shapes).unwrap(), facts).unwrap()
    };
    let (resumed, _) = run(&spec, &pack, Some(&relabelled(1)), None).unwrap();
    same(&finished(resumed), &finished(whole));
    let newer = run(&spec, &pack, Some(&relabelled(3)), None).unwrap_err();
    let TrainError::Checkpoint(CheckpointError::Foreign { what, .. }) = newer else { panic!("{newer}") };
    assert_eq!(what, "format version");
}

/// A training of 4 epochs goes on from one of 2, and one of 3 from one that was to have 4.
#[test]
fn a_longer_or_shorter_training_goes_on_bit_for_bit() {
    let (_folder, pack) = pack([41, 13, 9]);
    let mixaug = ("augmentation", json!("mixaug"));
    let of = |epochs: u32| spec(&[mixaug.clone(), ("epochs", json!(epochs))]);
    let (whole, checkpoints) = run(&of(4), &pack, None, None).unwrap();
    let (_, short) = run(&of(2), &pack, None, None).unwrap();
    let goes_on = |epochs: u32, from: &[u8], by: u32| {
        let (spec, by) = (of(epochs), of(by).id(pack.digest()));
        let resume = Some(Resume { bytes: from, by });
        let task = TrainTask { spec: &spec, pack: &pack, device: Device::Cpu, resume };
        train(&task, &mut |_| Control::Continue)
    };
    same(&finished(goes_on(4, &short[1], 2).unwrap()), &finished(whole));
    let (three, _) = run(&of(3), &pack, None, None).unwrap();
    same(&finished(goes_on(3, &checkpoints[2], 4).unwrap()), &finished(three));
    assert!(matches!(goes_on(4, &short[1], 3), Err(TrainError::Checkpoint(_))), "it is of another job");
}

#[test]
fn mixup_resumes_bit_for_bit() {
    resumes_exactly(&[("augmentation", json!("mixup"))]);
}

#[test]
fn mixaug_resumes_bit_for_bit() {
    resumes_exactly(&[("augmentation", json!("mixaug")), ("class_weights", json!("inverse_share"))]);
}

#[test]
fn a_resnet50_and_mobilevitv2_resume_bit_for_bit() {
    resumes_exactly(&[
        ("emotion_backbone", json!("vggface2_resnet50")),
        ("backbone", json!("mobilevitv2")),
        ("mobilevitv2_width", json!(0.125)),
        ("image_size", json!(32)),
    ]);
}

#[test]
fn every_epochs_checkpoint_leads_to_the_same_end() {
    let (_folder, pack) = pack([24, 12, 6]);
    let spec = spec(&[]);
    let (whole, checkpoints) = run(&spec, &pack, None, None).unwrap();
    let whole = finished(whole);
    for checkpoint in &checkpoints {
        same(&finished(run(&spec, &pack, Some(checkpoint), None).unwrap().0), &whole);
    }
}

#[test]
fn the_result_holds_what_it_should() {
    let (_folder, pack) = pack([48, 12, 6]);
    let spec = spec(&[("subset_fraction", json!(0.5)), ("lr_decay", json!(0.5))]);
    let outcome = finished(run(&spec, &pack, None, None).unwrap().0);
    assert_eq!((outcome.validation.len(), outcome.test.as_ref().unwrap().len()), (12, 6));
    for row in outcome.validation.iter().chain(outcome.test.as_ref().unwrap()) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let rates: Vec<f64> = outcome.epochs.iter().map(|report| report.learning_rate).collect();
    assert_eq!(rates, [3e-3, 1.5e-3, 7.5e-4, 3.75e-4]);
    let f1 = |report: &shared::mtl::report::EpochReport| report.validation.macro_f1;
    let most = outcome.epochs.iter().map(f1).fold(f64::MIN, f64::max);
    let best = outcome.epochs.iter().find(|report| f1(report) >= most).unwrap();
    assert_eq!(outcome.best_epoch, best.epoch);
    let pairs = outcome.validation.iter().zip(pack.labels(Split::Validation));
    let hits = pairs
        .filter(|(row, label)| shared::confusion::argmax(&row[..]) == usize::from(label.unwrap()))
        .count() as u64;
    assert_eq!((0..CLASSES).map(|c| best.validation.confusion.counts[c][c]).sum::<u64>(), hits);
    assert!(best.validation.confusion.total() == 12);
}

#[test]
fn seeds_repeat_and_differ() {
    let (_folder, pack) = pack([24, 12, 0]);
    let run = |seed| {
        finished(run(&spec(&[("seed", json!(seed)), ("epochs", json!(1))]), &pack, None, None).unwrap().0)
    };
    let first = run(1);
    assert_eq!(first.test, None);
    same(&run(1), &first);
    assert_ne!(run(2).validation, first.validation);
}

#[test]
fn learning_happens() {
    let (_folder, pack) = pack([96, 30, 0]);
    let spec = spec(&[
        ("augmentation", json!("none")),
        ("basic_augmentation", json!(false)),
        ("epochs", json!(8)),
        ("lr_decay", json!(0.9)),
    ]);
    let outcome = finished(run(&spec, &pack, None, None).unwrap().0);
    let best = outcome.epochs.iter().map(|report| report.validation.macro_f1).fold(0.0, f64::max);
    assert!(best > 60.0, "{best}");
    let entropy = |report: &shared::mtl::report::EpochReport| report.losses.cross_entropy;
    assert!(entropy(&outcome.epochs[7]) < entropy(&outcome.epochs[0]));
}

#[test]
fn a_stop_between_steps_ends_the_training() {
    let (_folder, pack) = pack([40, 6, 0]);
    let spec = spec(&[]);
    let mut steps = Vec::new();
    let mut sink = |event| match event {
        TrainEvent::Step { step, steps: of, loss, .. } => {
            assert!(loss > 0.0 && of == 5);
            steps.push(step);
            if step == 2 { Control::Stop } else { Control::Continue }
        }
        TrainEvent::OutOfMemory { .. } | TrainEvent::Epoch { .. } | TrainEvent::Checkpoint { .. } => {
            panic!("stopped before")
        }
    };
    let task = TrainTask { spec: &spec, pack: &pack, device: Device::Cpu, resume: None };
    assert!(matches!(train(&task, &mut sink).unwrap(), TaskOutcome::Stopped));
    assert_eq!(steps, [1, 2]);
}

#[test]
fn foreign_and_damaged_checkpoints_are_refused() {
    let (_folder, pack) = pack([16, 6, 0]);
    let spec_one = spec(&[("epochs", json!(2))]);
    let checkpoint = run(&spec_one, &pack, None, Some(1)).unwrap().1.remove(0);
    let refused = |spec: &MtlSpec, pack: &Pack, bytes: &[u8]| match run(spec, pack, Some(bytes), None) {
        Err(TrainError::Checkpoint(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it resumed"),
    };
    let foreign = |error| match error {
        CheckpointError::Foreign { what, .. } => what,
        other => panic!("{other:?}"),
    };
    let other_seed = spec(&[("epochs", json!(2)), ("seed", json!(4))]);
    assert_eq!(foreign(refused(&other_seed, &pack, &checkpoint)), "job");
    let wider = spec(&[("epochs", json!(2)), ("width", json!(8))]);
    assert_eq!(foreign(refused(&wider, &pack, &checkpoint)), "job");
    let (_other_folder, other_pack) = self::pack([18, 6, 0]);
    assert_eq!(foreign(refused(&spec_one, &other_pack, &checkpoint)), "dataset");

    let cut = refused(&spec_one, &pack, &checkpoint[..checkpoint.len() - 1]);
    assert!(matches!(cut, CheckpointError::Archive(_)), "{cut}");
    let mut damaged = checkpoint.clone();
    let place = damaged.len() - 100;
    damaged[place] ^= 4;
    assert!(matches!(refused(&spec_one, &pack, &damaged), CheckpointError::Archive(_)));
    assert!(matches!(refused(&spec_one, &pack, b""), CheckpointError::Archive(_)));
}

#[test]
fn impossible_tasks_are_refused_by_name() {
    let refused = |spec: &MtlSpec, counts| {
        let (_folder, pack) = pack(counts);
        run(spec, &pack, None, None).unwrap_err().to_string()
    };
    assert!(refused(&spec(&[]), [1, 6, 0]).contains("at least 2"));
    assert!(refused(&spec(&[]), [16, 0, 0]).contains("validation"));
    let mut endless = spec(&[]);
    endless.training.epochs = 0;
    assert!(refused(&endless, [16, 6, 0]).contains("epochs"));
}

#[test]
fn a_loss_without_bounds_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // The number is finite, but its square is not.
    let pack = write_pack_with(&folder.path().join("pack"), [16, 6, 0], |_| 1e30);
    let error = run(&spec(&[]), &pack, None, None).unwrap_err();
    assert!(
        matches!(error, TrainError::NotFinite { epoch: 1, step: 1, term: Term::Landmark, .. }),
        "{error}"
    );
}
