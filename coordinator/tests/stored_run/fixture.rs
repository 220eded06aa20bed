//! A made-up run of the paper's sweep: eight strong jobs, thirty weak ones, five ensembles, drawn from a seed.

use std::fs;
use std::path::{Path, PathBuf};

use orchestrator::run_dir::{JobFailure, RunDir, score};
use orchestrator::sweep::plan::{
    DatasetSource, EnsembleRule, Filter, PaperRow, PaperScores, Plan, PlannedJob, Query, SyntheticOptions,
    TableRule,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::expression::CLASSES;
use shared::ids::{Attempt, JobId, WorkerId};
use shared::job::{JobSpec, Settings};
use shared::pack::Split;
use shared::predictions::{SampleList, to_npy};
use shared::result::{BlobRef, DeviceRecord, EpochReport, JobResult, LossTerms, MemoryUse, SplitResult};
use shared::rng::{Purpose, Stream};
use uuid::Uuid;

pub(crate) const DIGEST: &str = "9f2c4b7d11e05a3688c1d9e7f0a2b4c6d8e0f1a2b3c4d5e6f708192a3b4c5d6e";
const SAMPLES: usize = 600;
const EPOCHS: u32 = 12;

pub(crate) fn plan() -> Plan {
    let mut jobs = Vec::new();
    for augmentation in ["mixaug", "mixup"] {
        for backbone in ["vggface2_resnet50", "dino_resnet50"] {
            for basic in [true, false] {
                let params =
                    json!({"augmentation": augmentation, "backbone": backbone, "basic_augmentation": basic});
                jobs.push(planned("strong", params));
            }
        }
    }
    for augmentation in ["mixaug", "mixup"] {
        for backbone in ["vggface2_resnet50", "dino_resnet50", "mobilevitv2"] {
            for seed in 0..5 {
                let params = json!({"augmentation": augmentation, "backbone": backbone, "basic_augmentation": true,
                    "subset_fraction": 0.2, "subset_seed": seed});
                jobs.push(planned("weak", params));
            }
        }
    }
    Plan {
        name: "abaw4-lsd".into(),
        dataset: DatasetSource::Synthetic(SyntheticOptions::default()),
        dataset_digest: Some(DIGEST.into()),
        checkpoint_every: shared::protocol::CheckpointEvery::default(),
        jobs,
        ensembles: ensembles(),
        tables: tables(),
        weights: vec![],
        notes: vec![],
    }
}

fn planned(group: &str, params: Value) -> PlannedJob {
    let params: Settings = serde_json::from_value(params).unwrap();
    let with = |spec: JobSpec, (name, value): (&String, &Value)| spec.with(name, value.clone()).unwrap();
    let spec = params.iter().fold(JobSpec::default(), with);
    PlannedJob { id: spec.id(DIGEST), group: group.into(), also_in: vec![], params, spec }
}

pub(crate) fn filter(conditions: &[(&str, &str)]) -> Filter {
    conditions.iter().map(|(name, value)| ((*name).to_owned(), vec![json!(value)])).collect()
}

fn ensembles() -> Vec<EnsembleRule> {
    let all = |conditions: &[(&str, &str)]| Query::All { filter: filter(conditions) };
    let top = |conditions: &[(&str, &str)]| Query::Top { k: 2, filter: filter(conditions) };
    let best = |method: &str| Query::BestGroup {
        by: vec!["backbone".into()],
        filter: filter(&[("group", "weak"), ("augmentation", method)]),
    };
    let mu_vit = || all(&[("group", "weak"), ("augmentation", "mixup"), ("backbone", "mobilevitv2")]);
    let rule = |name: &str, size, members, validation, test| EnsembleRule {
        name: name.into(),
        members,
        size,
        paper: Some(PaperScores { validation, test }),
    };
    let (strong, weak) = (("group", "strong"), ("group", "weak"));
    let (ma, mu) = (("augmentation", "mixaug"), ("augmentation", "mixup"));
    let ma_vgg = all(&[weak, ma, ("backbone", "vggface2_resnet50")]);
    vec![
        rule("MU MobileViTv2 Weak", 5, vec![mu_vit()], 70.39, 33.74),
        rule("MU Strong & MU Weak", 17, vec![top(&[strong, mu]), all(&[weak, mu])], 69.91, 34.96),
        rule("MA Strong & MA Best Weak", 7, vec![top(&[strong, ma]), best("mixaug")], 71.82, 35.87),
        rule("MU & MA Best Weak", 10, vec![best("mixup"), best("mixaug")], 71.33, 34.93),
        rule(
            "Best Strong & MA VGG Weak & MU MobileViTv2 Weak",
            12,
            vec![top(&[strong]), ma_vgg, mu_vit()],
            71.65,
            35.84,
        ),
    ]
}

fn tables() -> Vec<TableRule> {
    let row = |row: Value, f1| PaperRow { row: serde_json::from_value(row).unwrap(), f1 };
    let strong = [67.30, 68.66, 69.58, 69.30, 69.51, 67.28, 70.57, 66.46];
    let weak = [70.08, 69.19, 69.66, 68.72, 68.42, 70.46];
    let paper = |group: &str, numbers: &[f64]| {
        let mut rows: Vec<PaperRow> = Vec::new();
        for (method, backbones) in [("mixaug", numbers.len()), ("mixup", numbers.len())] {
            for backbone in ["vggface2_resnet50", "dino_resnet50", "mobilevitv2"].iter().take(backbones / 2) {
                match group {
                    "strong" if *backbone == "mobilevitv2" => {}
                    "strong" => [true, false].iter().for_each(|basic| {
                        let at = json!({"augmentation": method, "backbone": backbone, "basic_augmentation": basic});
                        rows.push(row(at, numbers[rows.len()]));
                    }),
                    _ => rows.push(row(json!({"augmentation": method, "backbone": backbone}), numbers[rows.len()])),
                }
            }
        }
        rows
    };
    let table = |title: &str, group: &str, rows: &[&str], numbers: &[f64]| TableRule {
        title: title.into(),
        filter: filter(&[("group", group)]),
        rows: rows.iter().map(|name| (*name).to_owned()).collect(),
        mean_by: vec!["augmentation".into()],
        paper: paper(group, numbers),
    };
    vec![
        table(
            "Strong models (paper Table 2)",
            "strong",
            &["augmentation", "emotion_backbone", "backbone", "basic_augmentation"],
            &strong,
        ),
        table(
            "Weak models (paper Table 3)",
            "weak",
            &["augmentation", "emotion_backbone", "backbone"],
            &weak,
        ),
    ]
}

pub(crate) fn samples(split: Split) -> SampleList {
    let mut stream = Stream::new(1, Purpose::SyntheticFace, &[split as u64]);
    let labels = (0..SAMPLES).map(|_| Some(stream.below(CLASSES as u64) as u8)).collect();
    SampleList { ids: (0..SAMPLES).map(|i| format!("{split}/face_{i:05}.png")).collect(), labels }
}

/// How far a job's logits stand out of the noise: drawn once, a little lower for weak jobs.
fn skill(job: &PlannedJob) -> f64 {
    let mut stream = Stream::new(job.id_seed(), Purpose::Initialisation, &[]);
    let group = if job.group == "strong" { 1.95 } else { 1.8 };
    group + stream.between(-0.12, 0.12) + if job.params["backbone"] == "mobilevitv2" { 0.08 } else { 0.0 }
}

trait IdSeed {
    fn id_seed(&self) -> u64;
}

impl IdSeed for PlannedJob {
    fn id_seed(&self) -> u64 {
        u64::from_str_radix(&self.id.short(), 16).unwrap()
    }
}

/// Softmax over label signal, noise that all jobs share (hard samples) and noise of the job's own.
fn probabilities(job: &PlannedJob, split: Split, skill: f64, epoch: u32) -> Vec<[f32; CLASSES]> {
    let labels = samples(split).labels;
    let skill = if split == Split::Test { skill - 0.25 } else { skill };
    let row = |(i, label): (usize, &Option<u8>)| {
        let mut shared = Stream::new(7, Purpose::Mixing, &[split as u64, i as u64]);
        let mut own = Stream::new(job.id_seed(), Purpose::Shuffle, &[split as u64, i as u64]);
        let mut late =
            Stream::new(job.id_seed(), Purpose::EmotionView, &[split as u64, i as u64, u64::from(epoch)]);
        let logits: [f64; CLASSES] = std::array::from_fn(|class| {
            let signal = if *label == Some(class as u8) { skill } else { 0.0 };
            signal + 0.95 * shared.normal() + 0.45 * own.normal() + 0.18 * late.normal()
        });
        let exponentials = logits.map(f64::exp);
        let sum: f64 = exponentials.iter().sum();
        exponentials.map(|e| (e / sum) as f32)
    };
    labels.iter().enumerate().map(row).collect()
}

fn blob(name: &str, bytes: &[u8]) -> BlobRef {
    BlobRef { name: name.into(), sha256: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
}

/// A job's result with its two matrices.
pub(crate) fn result(job: &PlannedJob) -> (JobResult, Vec<u8>, Vec<u8>) {
    let final_skill = skill(job);
    let at = |epoch: u32| final_skill * (1.0 - 0.55 * (-f64::from(epoch) / 2.2).exp());
    let (validation, test) = (samples(Split::Validation), samples(Split::Test));
    let epochs: Vec<EpochReport> = (1..=EPOCHS)
        .map(|epoch| EpochReport {
            epoch,
            learning_rate: 1e-4 * 0.6f64.powi(epoch as i32 - 1),
            losses: LossTerms { cross_entropy: 1.8 / f64::from(epoch), ..LossTerms::default() },
            validation: score(&probabilities(job, Split::Validation, at(epoch), epoch), &validation).unwrap(),
            seconds: 4.5,
            memory: MemoryUse::default(),
        })
        .collect();
    let better = |a: &EpochReport, b: &EpochReport| b.validation.macro_f1 > a.validation.macro_f1;
    let best =
        epochs.iter().fold(&epochs[0], |best, next| if better(best, next) { next } else { best }).epoch;
    let split = |split, list: &SampleList| {
        let rows = probabilities(job, split, at(best), best);
        let npy = to_npy(&rows);
        let probabilities = blob(&format!("{}.{split}", job.id), &npy);
        (SplitResult { probabilities, samples_digest: list.digest(), score: score(&rows, list) }, npy)
    };
    let (validation, val_npy) = split(Split::Validation, &validation);
    let (test, test_npy) = split(Split::Test, &test);
    let result = JobResult {
        v: JobResult::VERSION,
        job: job.id,
        dataset_digest: DIGEST.into(),
        trainer_revision: 1,
        epochs,
        best_epoch: best,
        validation,
        test: Some(test),
        model: blob("model", b""),
        train_seconds: if job.group == "strong" { 61.5 } else { 18.25 },
        device: DeviceRecord {
            device: "cpu".into(),
            model: "Intel Core i9-10940X".into(),
            memory: None,
            uuid: None,
            cpu_capability: "AVX512".into(),
            threads: 1,
            host: "bench".into(),
        },
        worker: WorkerId::new(&format!("cpu-{}", job.id_seed() % 2), Uuid::nil()),
        attempt: Attempt(1),
    };
    (result, val_npy, test_npy)
}

/// The result of a training that diverged in its first epoch: every image gets one class, a loss is absurd.
pub(crate) fn diverged(job: &PlannedJob) -> (JobResult, Vec<u8>, Vec<u8>) {
    let (mut result, _, _) = result(job);
    let rows = vec![[0.05, 0.75, 0.05, 0.05, 0.05, 0.05]; SAMPLES];
    let npy = to_npy(&rows);
    let split = |split, list: &SampleList| SplitResult {
        probabilities: blob(&format!("{}.{split}", job.id), &npy),
        samples_digest: list.digest(),
        score: score(&rows, list),
    };
    let (validation, test) = (samples(Split::Validation), samples(Split::Test));
    for report in &mut result.epochs {
        report.losses.landmark = 1.7e12;
        report.validation = score(&rows, &validation).unwrap();
    }
    result.best_epoch = 1;
    result.validation = split(Split::Validation, &validation);
    result.test = Some(split(Split::Test, &test));
    (result, npy.clone(), npy)
}

/// A run folder with the results of the jobs that `finished` picks.
pub(crate) fn run(root: &Path, plan: &Plan, finished: impl Fn(usize, &PlannedJob) -> bool) -> RunDir {
    let run = RunDir::create(root, plan).unwrap();
    for split in [Split::Validation, Split::Test] {
        run.write_samples(split, &samples(split)).unwrap();
    }
    for (_, job) in plan.jobs.iter().enumerate().filter(|(index, job)| finished(*index, job)) {
        let (result, val, test) = result(job);
        run.write_result(&result, &val, Some(&test)).unwrap();
    }
    run
}

pub(crate) fn ids(plan: &Plan) -> Vec<JobId> {
    plan.jobs.iter().map(|job| job.id).collect()
}

/// Every file under `root`, sorted.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Copies what a run stores, without its report.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let name = file.strip_prefix(from).unwrap();
        if !name.starts_with("report.html") && !name.starts_with("results.json") {
            fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
            fs::copy(&file, to.join(name)).unwrap();
        }
    }
}

pub(crate) fn failure(error: &str) -> JobFailure {
    JobFailure { error: error.to_owned(), log: Vec::new() }
}
