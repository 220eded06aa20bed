//! Finished models: they repeat the numbers of their training, accept folders, vote, and wrong files are refused.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::small;
use image::RgbImage;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::expression::{CLASSES, LANDMARKS};
use shared::ids::JobId;
use shared::image::square_rgb;
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::predicted::Prediction;
use shared::predictions::Matrix;
use shared::rng::{Purpose, Stream};
use shared::vote::{MemberProbabilities, vote};
use tch::Device;
use tempfile::TempDir;
use worker::predict::members::Recorded;
use worker::predict::{Broken, Input, Member, PredictError, Predicted, Step, Task, predict};
use worker::train::{Control, FinishedTask, TaskOutcome, TrainEvent, TrainTask, train};

const STORED: u32 = 20;
/// More than two batches, of which the last one is shorter.
const TEST_IMAGES: usize = 19;

/// Pictures in a folder, the pack made from them, and models trained on it.
struct Bench {
    root: TempDir,
    pack: Pack,
}

impl Bench {
    fn new() -> Self {
        Self::of(3)
    }

    fn of(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("photos")).unwrap();
        let dir = root.path().join("pack");
        let mut writer = PackWriter::create(&dir, STORED, Value::Null).unwrap();
        for (split, count) in Split::ALL.into_iter().zip([24, 13, TEST_IMAGES]) {
            for index in 0..count {
                let path = match split {
                    Split::Test => root.path().join(format!("photos/{index}.png")),
                    Split::Train | Split::Validation => root.path().join("picture.png"),
                };
                picture(seed, split, index as u64).save(&path).unwrap();
                writer
                    .add(&Sample {
                        split,
                        id: &format!("{index}.png"),
                        label: Some((index % CLASSES) as u8),
                        landmarks: Some(&[[0.1, -0.2]; LANDMARKS]),
                        pixels: &square_rgb(&path, STORED).unwrap().pixels,
                    })
                    .unwrap();
            }
        }
        writer.finish().unwrap();
        let pack = Pack::open(&dir).unwrap();
        Self { root, pack }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A trained model: its result, and its file.
    fn train(&self, changes: &[(&str, Value)]) -> (FinishedTask, Member) {
        let spec = small(changes);
        let task = TrainTask { spec: &spec, pack: &self.pack, device: Device::Cpu, resume: None };
        let TaskOutcome::Finished(finished) = train(&task, &mut |_| Control::Continue).unwrap() else {
            panic!()
        };
        let job = spec.id(self.pack.digest());
        let path = self.path(&format!("{job}.safetensors"));
        fs::write(&path, &finished.model).unwrap();
        let sha256 = hex::encode(Sha256::digest(&finished.model));
        (*finished, Member { path, recorded: Some(Recorded { job, sha256 }) })
    }

    fn input(&self, images: &str, split: Split) -> Input {
        Input { images: self.path(images), split, list: None }
    }
}

/// A picture that is neither square nor of the stored size, with different pixels.
fn picture(seed: u64, split: Split, index: u64) -> RgbImage {
    let mut stream = Stream::new(seed, Purpose::SyntheticFace, &[split as u64, index]);
    RgbImage::from_fn(31, 27, |_, _| image::Rgb([(); 3].map(|()| stream.below(256) as u8)))
}

fn run(members: &[Member], input: &Input) -> Result<Predicted, PredictError> {
    predict(&Task { members, input, device: Device::Cpu, strict: false }, &mut |_, _, _| {})
}

/// Checks equality bit for bit, since every f32 is exact as an f64.
#[track_caller]
fn same(predictions: &[Prediction], stored: &[[f32; CLASSES]]) {
    assert_eq!(predictions.len(), stored.len());
    for (prediction, row) in predictions.iter().zip(stored) {
        let expected = row.map(|p| f64::from(p).to_bits());
        assert_eq!(prediction.probabilities.map(f64::to_bits), expected, "{}", prediction.image);
    }
}

fn names(predictions: &[Prediction]) -> Vec<&str> {
    predictions.iter().map(|p| p.image.as_str()).collect()
}

#[test]
fn a_model_repeats_what_its_training_stored() {
    let bench = Bench::new();
    for changes in [
        vec![],
        vec![("image_size", json!(STORED)), ("normalization", json!("vggface2_bgr"))],
        vec![("backbone", json!("mobilevitv2")), ("mobilevitv2_width", json!(0.125))],
    ] {
        let (finished, member) = bench.train(&changes);
        let validation = run(std::slice::from_ref(&member), &bench.input("pack", Split::Validation)).unwrap();
        same(&validation.predictions, &finished.validation);
        let test = run(&[member], &bench.input("pack", Split::Test)).unwrap();
        same(&test.predictions, finished.test.as_ref().unwrap());
        assert_eq!((test.models.len(), test.models[0].best_epoch), (1, finished.best_epoch));
    }
}

#[test]
fn a_folder_gives_the_numbers_of_its_pack_and_broken_images_are_listed() {
    let bench = Bench::new();
    let (finished, member) = bench.train(&[]);
    fs::write(bench.path("photos/3b.png"), "").unwrap();
    fs::write(bench.path("photos/notes.doc"), "not an image").unwrap();
    fs::write(bench.path("photos/0.txt"), "landmarks").unwrap();
    fs::write(bench.path("photos/.hidden"), "").unwrap();
    let predicted = run(std::slice::from_ref(&member), &bench.input("photos", Split::Test)).unwrap();
    same(&predicted.predictions, finished.test.as_ref().unwrap());
    let expected: Vec<String> = (0..TEST_IMAGES).map(|index| format!("{index}.png")).collect();
    assert_eq!(names(&predicted.predictions), expected);
    let broken: Vec<&str> = predicted.broken.iter().map(|broken| broken.image.as_str()).collect();
    assert_eq!(broken, ["3b.png", "notes.doc"]);
    assert!(predicted.broken[0].reason.contains("empty"), "{:?}", predicted.broken);
    assert_eq!(predicted.images, TEST_IMAGES + 2);

    let input = bench.input("photos", Split::Test);
    let task =
        Task { members: std::slice::from_ref(&member), input: &input, device: Device::Cpu, strict: true };
    let strict = predict(&task, &mut |step, _, _| assert_eq!(step, Step::Reading)).unwrap();
    assert_eq!((strict.predictions.len(), strict.broken), (0, predicted.broken));

    fs::create_dir(bench.path("empty")).unwrap();
    fs::create_dir_all(bench.path("bad/deep")).unwrap();
    fs::write(bench.path("bad/deep/1.png"), "x").unwrap();
    let refused =
        |images: &str| run(std::slice::from_ref(&member), &bench.input(images, Split::Test)).unwrap_err();
    assert!(matches!(refused("empty"), PredictError::NoImage(_)));
    assert!(matches!(refused("absent"), PredictError::NoFolder(_)));
    assert!(refused("bad").to_string().contains("deep/1.png: not a JPEG or PNG"));
}

#[test]
fn a_list_chooses_and_orders() {
    let bench = Bench::new();
    let (_, member) = bench.train(&[("epochs", json!(1))]);
    let list = bench.path("list.txt");
    fs::write(&list, "image,expression\n7.png\n99.png\n0.png\n12.png\n").unwrap();
    for images in ["photos", "pack"] {
        let input = Input { list: Some(list.clone()), ..bench.input(images, Split::Test) };
        let predicted = run(std::slice::from_ref(&member), &input).unwrap();
        assert_eq!(names(&predicted.predictions), ["7.png", "0.png", "12.png"]);
        assert!(matches!(&predicted.broken[..], [Broken { image, .. }] if image == "99.png"));
        assert_eq!(predicted.unlisted, TEST_IMAGES - 3);
    }
    let with = |text: &str| {
        fs::write(&list, text).unwrap();
        let input = Input { list: Some(list.clone()), ..bench.input("photos", Split::Test) };
        run(std::slice::from_ref(&member), &input).unwrap_err().to_string()
    };
    assert!(with("image,expression\nx.png\n").contains("no image on this list"));
    assert!(with("image,expression\n1.png\n1.png\n").contains("line 3"));
}

#[test]
fn an_ensemble_is_the_vote_of_its_members_in_any_order() {
    let bench = Bench::new();
    let trained: Vec<(FinishedTask, Member)> =
        (1..=3).map(|seed| bench.train(&[("seed", json!(seed)), ("batch_size", json!(4 + seed))])).collect();
    let rows: Vec<Matrix> =
        trained.iter().map(|(finished, _)| Matrix::from(finished.test.as_deref().unwrap())).collect();
    let inputs: Vec<MemberProbabilities<'_>> = trained
        .iter()
        .zip(&rows)
        .map(|((_, member), probabilities)| MemberProbabilities {
            job: member.recorded.as_ref().unwrap().job,
            dataset_digest: Some(bench.pack.digest()),
            samples_digest: "s",
            probabilities,
        })
        .collect();
    let expected = vote(&inputs).unwrap();
    let mut members: Vec<Member> = trained.iter().map(|(_, member)| member.clone()).collect();
    for images in ["pack", "photos"] {
        members.rotate_left(1);
        let predicted = run(&members, &bench.input(images, Split::Test)).unwrap();
        let bits = |row: &[f64]| row.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
        assert!(predicted.predictions.iter().map(|p| bits(&p.probabilities)).eq(expected.rows().map(bits)));
        assert_eq!(predicted.models.len(), 3);
    }
}

#[test]
fn wrong_files_are_refused_by_name() {
    let bench = Bench::new();
    let mut checkpoint = Vec::new();
    let spec_one = small(&[("epochs", json!(1))]);
    let task = TrainTask { spec: &spec_one, pack: &bench.pack, device: Device::Cpu, resume: None };
    train(&task, &mut |event| {
        if let TrainEvent::Epoch { checkpoint: bytes, .. } = event {
            checkpoint = bytes;
        }
        Control::Continue
    })
    .unwrap();
    let (_, member) = bench.train(&[("epochs", json!(1))]);
    let refused = |member: &Member| {
        let error = run(std::slice::from_ref(member), &bench.input("pack", Split::Test)).unwrap_err();
        error.to_string()
    };
    let recorded = member.recorded.clone().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(bench.path(name), bytes).unwrap();
        Member::file(&bench.path(name))
    };
    assert!(refused(&file("checkpoint", &checkpoint)).contains("not a finished model"));
    assert!(refused(&file("text", b"hello")).contains("text: not a model written by Ferry"));
    assert!(refused(&Member::file(Path::new("absent.safetensors"))).contains("absent.safetensors"));
    let other_digest = Recorded { sha256: "0".repeat(64), ..recorded.clone() };
    assert!(refused(&Member { recorded: Some(other_digest), ..member.clone() }).contains("SHA-256"));
    let other_job = Recorded { job: JobId::new(uuid::Uuid::nil()), ..recorded };
    assert!(refused(&Member { recorded: Some(other_job), ..member.clone() }).contains("is the model of job"));
    let nothing = run(&[], &bench.input("pack", Split::Test)).unwrap_err();
    assert!(matches!(nothing, PredictError::NoMember));

    let stranger = Bench::of(4);
    let (_, other) = stranger.train(&[("epochs", json!(1))]);
    let apart = run(&[member, other], &bench.input("pack", Split::Test)).unwrap_err();
    assert!(matches!(apart, PredictError::Datasets { .. }));
}
