//! Writes the inputs that the fuzzer starts from: `seeds FOLDER` makes a folder for each target.
//!
//! All are written by the project's own code or are files of the repository, so they follow every change of a layout.

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ferry_fuzz::input::SEPARATOR;
use orchestrator::sweep;
use orchestrator::sweep::plan::{Plan, SyntheticOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::books::{JobRecord, WorkerRecord};
use shared::empty::Empty;
use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::{Mtl, MtlSpec};
use shared::predicted::{Prediction, to_csv, to_submission};
use shared::predictions::{Matrix, to_npy};
use shared::protocol::{JobOrder, LiveReport, PackManifest, Presence, Scoreboard, Timing, WeightsManifest};
use shared::result::JobResult;
use shared::trainer::TrainerKind;
use tch::{Device, Kind, Tensor};
use worker::archive;
use worker::train::checkpoint::{Best, Checkpoint, Identity, Partial};
use worker::train::terms::TERMS;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name the folder for the seeds")?);
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    sweeps(&mut Seeds::of(&folder, "sweep")?, &project)?;
    messages(&mut Seeds::of(&folder, "messages")?, &project)?;
    checkpoints(&mut Seeds::of(&folder, "checkpoint")?)?;
    packs(&mut Seeds::of(&folder, "pack")?, &folder)?;
    landmarks(&mut Seeds::of(&folder, "landmarks")?)?;
    weights(&mut Seeds::of(&folder, "weights")?)?;
    predicted(&mut Seeds::of(&folder, "predicted")?)
}

/// The seeds of one target.
struct Seeds {
    folder: PathBuf,
    count: usize,
}

impl Seeds {
    fn of(folder: &Path, target: &str) -> Result<Self, std::io::Error> {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, count: 0 })
    }

    /// A seed with these parts.
    fn add(&mut self, parts: &[&[u8]]) -> Done {
        self.count += 1;
        Ok(fs::write(self.folder.join(format!("seed-{}", self.count)), parts.join(&SEPARATOR))?)
    }

    /// A seed that is a valid `T`: an error if the layout has changed and `value` has not.
    fn json<T: Serialize + DeserializeOwned>(&mut self, value: Value) -> Done {
        self.add(&[&serde_json::to_vec(&serde_json::from_value::<T>(value)?)?])
    }
}

fn sweeps(seeds: &mut Seeds, project: &Path) -> Done {
    for folder in ["experiments", "tests/sweeps"] {
        for file in fs::read_dir(project.join(folder))? {
            let path = file?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                seeds.add(&[&fs::read(path)?])?;
            }
        }
    }
    for text in [
        "name: a\ndataset: x\ngroups:\n  g: {matrix: {heads: [1, 2]}}\n",
        "name: a\ndataset: {synthetic: {train: 12}}\ndefaults: &d {epochs: 1}\ngroups:\n  g:\n    matrix: {heads: \
         [1, 2], seed: [3]}\n    settings: {<<: *d}\n    exclude: [{heads: 1}]\n    include: [{heads: 4}]\n\
         ensembles:\n  e: {members: [{where: {heads: [2, 4]}}, {best_group: [heads]}, {top: 1}]}\ntables:\n  - \
         {title: t, rows: [heads], paper: [{heads: 2, f1: 60}]}\n",
        "name: a\ntrainer: empty\ndefaults: {epochs: 2, classes: 3}\ngroups:\n  g: {matrix: {seed: [1, 2]}}\n\
         ensembles:\n  e: {members: [{top: 1}]}\n",
    ] {
        seeds.add(&[text.as_bytes()])?;
    }
    Ok(())
}

fn messages(seeds: &mut Seeds, project: &Path) -> Done {
    let path = project.join("experiments/smoke.yaml");
    let plan = sweep::load(&path, Path::new("no-home"))?;
    let job = &plan.jobs[0];
    let blob = json!({ "name": "b", "sha256": "0".repeat(64), "size": 4 });
    let token = json!({ "attempt": 1, "owner": "w-00000001" });
    let progress = json!({ "epoch": 2, "score": 50.5, "epoch_seconds": 1.5 });
    for state in [
        json!({ "state": "pending" }),
        json!({ "state": "running", "token": token, "beat": 3, "progress": progress }),
        json!({ "state": "done", "token": token }),
        json!({ "state": "failed", "reason": "x" }),
        json!({ "state": "parked", "reason": "x" }),
    ] {
        seeds.json::<JobRecord>(json!({ "v": 3, "state": state, "attempts": 2, "losses": 1, "notes": ["n"],
            "failures": [{ "token": token, "error": "e", "log": ["l"], "mark": 3 }], "setbacks": 1,
            "checkpoints": [{ "epoch": 1, "step": 2, "blob": blob }], "saved_score": 49.5 }))?;
    }
    let incidents = json!([{ "job": job.id, "offence": { "offence": "failed", "error": "e" } },
        { "job": job.id, "offence": { "offence": "lost" } }]);
    for standing in [
        json!({ "standing": "trusted" }),
        json!({ "standing": "probation", "charges": incidents }),
        json!({ "standing": "drained", "charges": incidents }),
        json!({ "standing": "unfit", "reason": "r" }),
    ] {
        seeds.json::<WorkerRecord>(json!({ "v": 1, "name": "x", "standing": standing }))?;
    }
    orders_and_results(seeds, &plan, &blob)?;
    let ensemble = |state: Value| {
        let mut all = json!({ "name": "All", "candidates": 3, "waiting": 1, "failed": 1 });
        if let (Value::Object(all), Value::Object(state)) = (&mut all, state) {
            all.extend(state);
        }
        all
    };
    let (score, why) = (json!({ "state": "provisional", "members": 2, "val_macro_f1": 61.25 }), "no labels");
    seeds.json::<Scoreboard>(json!({ "v": 1, "left_out": 1, "ensembles": [
        ensemble(json!({ "state": "waiting" })), ensemble(score),
        ensemble(json!({ "state": "final", "members": 3, "val_macro_f1": 0.1 })),
        ensemble(json!({ "state": "unscored", "why": why })) ] }))?;
    seeds.json::<Timing>(json!({ "v": 1, "lease_ms": 15_000, "heartbeat_ms": 5_000 }))?;
    seeds.json::<Presence>(json!({ "worker": "w-00000001", "host": "h", "device": "cpu", "job": job.id,
        "trainers": [{ "kind": "mtl", "revision": 1 }, { "kind": "empty", "revision": 1 }] }))?;
    seeds.json::<LiveReport>(
        json!({ "worker": "w-00000001", "job": job.id, "epoch": 1, "epochs": 2, "step": 3, "steps": 4 }),
    )?;
    seeds
        .json::<PackManifest>(json!({ "v": 1, "digest": "0".repeat(64), "files": [["pack.json", blob]] }))?;
    seeds.json::<WeightsManifest>(json!({ "v": 1, "blob": blob }))?;
    let stored = serde_json::to_vec(&plan)?;
    let pointer = json!({ "name": "p", "sha256": sha256(&stored), "size": stored.len() });
    seeds.add(&[&serde_json::to_vec(&json!({ "v": 1, "name": "a", "plan": pointer }))?, &stored])
}

/// Of this version and of earlier ones.
fn orders_and_results(seeds: &mut Seeds, plan: &Plan, blob: &Value) -> Done {
    let (job, digest) = (&plan.jobs[0], "0".repeat(64));
    let content = Mtl.job(&job.settings.to_map(), &digest);
    let ranking = json!({ "metric": "val_macro_f1", "goal": "max" });
    for every in ["epoch", "200 steps", "5 minutes"] {
        let execution = json!({ "checkpoint_every": every, "ranking": ranking });
        seeds.json::<JobOrder>(json!({ "v": 5, "job": content.id(), "content": content, "execution": execution }))?;
        seeds.json::<JobOrder>(json!({ "v": 4, "job": job.id, "spec": job.settings, "dataset_digest": digest,
            "trainer_revision": shared::mtl::REVISION, "checkpoint_every": every }))?;
    }
    let content = Empty.job(Empty.defaults(), "");
    let execution = json!({ "ranking": { "metric": "score" } });
    seeds.json::<JobOrder>(json!({ "v": 5, "job": content.id(), "content": content, "execution": execution }))?;

    let device = json!({ "device": "cpu", "model": "m", "cpu_capability": "AVX2", "threads": 1, "host": "h" });
    let metrics = json!({ "val_macro_f1": 50.5, "val_chance_level": 19.5, "loss_affinity": null });
    let set = json!({ "probabilities": blob, "samples_digest": digest, "samples": blob, "macro_f1": 50.5 });
    seeds.json::<JobResult>(json!({ "v": 3, "job": job.id, "trainer": shared::mtl::trainer(),
        "inputs": { "dataset": digest }, "metrics": metrics, "history": [{ "epoch": 1, "seconds": 1.5,
        "metrics": metrics }], "best_epoch": 1, "predictions": { "validation": set }, "artifacts": { "model": blob },
        "train_seconds": 1.5, "device": device, "worker": "w-00000001", "attempt": 1 }))?;
    let score = json!({ "macro_f1": 1.0, "per_class_f1": [1, 2, 3, 4, 5, 6],
        "confusion": { "counts": counts() } });
    let split = json!({ "probabilities": blob, "samples_digest": digest, "score": score });
    let epoch = json!({ "epoch": 1, "learning_rate": 1e-4, "losses": { "cross_entropy": 1.0, "affinity": 0.5,
        "partition": 0.1, "landmark": 0.2 }, "validation": score, "seconds": 1.5 });
    seeds.json::<JobResult>(json!({ "v": 1, "job": job.id, "dataset_digest": digest, "trainer_revision": 1,
        "epochs": [epoch], "best_epoch": 1, "validation": split, "test": null, "model": blob, "train_seconds": 1.5,
        "device": device, "worker": "w-00000001", "attempt": 1 }))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A confusion matrix in which every pair of classes occurs once.
fn counts() -> [[u64; CLASSES]; CLASSES] {
    [[1; CLASSES]; CLASSES]
}

fn matrix(rows: i64, columns: i64) -> Tensor {
    Tensor::zeros([rows, columns], (Kind::Float, Device::Cpu))
}

fn checkpoints(seeds: &mut Seeds) -> Done {
    let tensors = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), matrix(2, 3))).collect();
    let report = json!({ "epoch": 1, "learning_rate": 1e-4, "losses": { "cross_entropy": 1.0, "affinity": 0.5,
        "partition": 0.1, "landmark": 0.2 }, "validation": { "macro_f1": 1.0, "per_class_f1": [1, 2, 3, 4, 5, 6],
        "confusion": { "counts": counts() } }, "seconds": 1.5 });
    let checkpoint = Checkpoint {
        weights: tensors(&["w"]),
        moments: tensors(&["exp_avg.w", "exp_avg_sq.w"]),
        optimizer_steps: 3,
        learning_rate: 1e-4,
        reports: vec![serde_json::from_value(report)?],
        best: Some(Best { epoch: 1, weights: tensors(&["w"]), probabilities: vec![[0.1; CLASSES]; 2] }),
        partial: None,
    };
    let identity = Identity::new(&MtlSpec::default(), "d");
    let file = checkpoint.write(&identity)?;
    seeds.add(&[&file])?;
    let facts = archive::Archive::open(&file)?.facts().clone();
    seeds.add(&[b"", &serde_json::to_vec(&facts)?])?;
    seeds.add(&[b"\x11", &serde_json::to_vec(&facts)?])?;
    // Within the first epoch there is no best epoch yet: its two tensors, the first two by name, are removed.
    let partial = Partial { step: 2, samples: 7, sums: [0.5; TERMS], seconds: 1.5, micro_batches: 1 };
    let early = Checkpoint { reports: Vec::new(), best: None, partial: Some(partial), ..checkpoint };
    let facts = archive::Archive::open(&early.write(&identity)?)?.facts().clone();
    seeds.add(&[b"\x0f\x0f", &serde_json::to_vec(&facts)?])?;
    let model = json!({ "format": "ferry-model", "job": MtlSpec::default().id("d"), "dataset_digest": "d",
        "trainer_revision": 1, "best_epoch": 1, "settings": MtlSpec::default().canonical() });
    seeds.add(&[b"", &serde_json::to_vec(&model)?])
}

fn packs(seeds: &mut Seeds, folder: &Path) -> Done {
    let folder = folder.join("pack.made");
    let counts =
        SyntheticOptions { train: 12, validation: 6, test: 6, image_size: 16, ..SyntheticOptions::default() };
    orchestrator::data::synth::synthesize(&folder, &counts, &mut |_, _| {})?;
    let [manifest, samples, ..] = shared::pack::files(&folder).map(fs::read);
    seeds.add(&[&manifest?, &samples?])?;
    fs::remove_dir_all(folder)?;
    let empty = json!({ "version": shared::pack::VERSION, "image_size": 1, "samples": [0, 0, 0], "with_landmarks": 0,
        "index_bytes": 25, "digest": "0".repeat(64) });
    seeds.add(&[&serde_json::to_vec(&empty)?, b"split,label,landmarks,id\n"])
}

/// Each file, after the byte that selects its name in `targets/landmarks.rs`.
fn landmarks(seeds: &mut Seeds) -> Done {
    // A circle: equal points are no face.
    let angles = (0..LANDMARKS).map(|i| i as f64 / 10.9);
    let points: Vec<[f64; 2]> = angles.map(|angle| [0.5 * angle.cos(), 0.5 * angle.sin()]).collect();
    let lines: String = points.iter().map(|[x, y]| format!("{x:.4} {y:.4}\n")).collect();
    let columns = |axis: char| (0..LANDMARKS).map(move |i| format!("{axis}_{i}"));
    let header = columns('x').chain(columns('y')).collect::<Vec<_>>().join(",");
    let numbers = [0, 1].into_iter().flat_map(|axis| points.iter().map(move |point| format!("{:.4}", point[axis])));
    let row = numbers.collect::<Vec<_>>().join(",");
    let german = format!("Image;Success;{}\r\n1.jpg;WAHR;{}\r\n", header.replace(',', ";"), row.replace(',', ";"));
    let one = npy("<f4", "68, 2", &[0; 4 * 2 * LANDMARKS]);
    let all = [
        ("points.npy", npy("<f8", "1, 68, 2", &[0; 8 * 2 * LANDMARKS])),
        (
            "names.npy",
            npy("<U5", "1", &"1.jpg".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<_>>()),
        ),
    ];
    for (name, content) in [
        (0, lines.clone().into_bytes()),
        (2, format!("version: 1\nn_points: 68\n{{\n{lines}}}\n").into_bytes()),
        (3, format!("{header}\n{row}\n").into_bytes()),
        (3, format!("image,{header}\n1.jpg,{row}\n").into_bytes()),
        (3, german.into_bytes()),
        (3, b"image,left,top,size\n2.jpg,1,1,20\n".to_vec()),
        (3, b"m00,m01,m02,m10,m11,m12,image\n5,0,-100,0,5,-50,2\n".to_vec()),
        (4, one.clone()),
        (5, zipped(&[("kpt.npy", one)])?),
        (5, zipped(&all)?),
    ] {
        seeds.add(&[&[&[name], content.as_slice()].concat()])?;
    }
    Ok(())
}

fn weights(seeds: &mut Seeds) -> Done {
    let tensors = [("conv1.weight".to_owned(), matrix(2, 3))].into();
    seeds.add(&[&archive::write(&tensors, archive::Facts::new())?])?;
    seeds.add(&[&zipped(&[("conv1.weight.npy", npy("<f4", "2, 3", &[0; 24]))])?])?;
    let zip = [
        ("archive/data.pkl", STATE_DICT.to_vec()),
        ("archive/byteorder", b"little".to_vec()),
        ("archive/version", b"3\n".to_vec()),
        ("archive/data/0", vec![0; 8]),
    ];
    seeds.add(&[&zipped(&zip)?])?;
    let legacy = [LEGACY_START, STATE_DICT, b"\x80\x02](X\x01\x00\x00\x000e.", &2_u64.to_le_bytes(), &[0; 8]];
    seeds.add(&[&legacy.concat()])?;
    seeds.add(&[ARRAYS])
}

/// The pickle that torch.save writes for a state dict with one vector `w` of two numbers.
const STATE_DICT: &[u8] =
    b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(\
    (X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x02\x00\x00\x00tQ\
    J\x00\x00\x00\x00(J\x02\x00\x00\x00t(J\x01\x00\x00\x00t\x89ccollections\nOrderedDict\n)RtRu.";

/// What a file of torch.save began with before version 1.6: a magic number, the protocol, the system.
const LEGACY_START: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02J\xe9\x03\x00\x00.\
    \x80\x02}(X\x10\x00\x00\x00protocol_versionJ\xe9\x03\x00\x00X\x0d\x00\x00\x00little_endian\x88u.";

/// A dictionary of one array `w` of two numbers, as Python 2 pickled it.
const ARRAYS: &[u8] = b"\x80\x02}(T\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\
    (J\x00\x00\x00\x00tT\x01\x00\x00\x00b\x87R(J\x01\x00\x00\x00(J\x02\x00\x00\x00tcnumpy\ndtype\nX\x02\x00\x00\x00f4\
    J\x00\x00\x00\x00J\x01\x00\x00\x00\x87R(J\x03\x00\x00\x00X\x01\x00\x00\x00<NNNJ\x00\x00\x00\x00J\x00\x00\x00\x00\
    J\x00\x00\x00\x00tb\x89T\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00tbu.";

fn predicted(seeds: &mut Seeds) -> Done {
    let row = Prediction { image: "a, \"b\".jpg".to_owned(), probabilities: [0.1, 0.2, 0.3, 0.1, 0.2, 0.1] };
    seeds.add(&[to_csv(std::slice::from_ref(&row)).as_bytes()])?;
    seeds.add(&[to_submission(&[row]).as_bytes()])?;
    let utf16 = "\u{feff}sep=;\r\n\"Image\"; \"Label\"\r\n\"1.jpg\"; \"3\"\r\n".encode_utf16();
    seeds.add(&[&utf16.flat_map(u16::to_le_bytes).collect::<Vec<_>>()])?;
    seeds.add(&[b"id,label\nx,\ny,3\n"])?;
    seeds.add(&[&to_npy(&Matrix::from(&[[0.5; CLASSES]; 2][..]))])?;
    seeds.add(&[b"id,label\nx,6\ny,999\n"])?;
    seeds.add(&[&to_npy(&Matrix::from(&[[0.5; 2]; 3][..]))])
}

/// A NumPy file, format version 1.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape},), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), data].concat()
}

fn zipped(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // Not compressed, as PyTorch's files are, so that the fuzzer's changes reach the content.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in files {
        archive.start_file(*name, options)?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}
