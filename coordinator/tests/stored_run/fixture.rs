//! A made-up run of the paper's sweep: eight strong jobs, thirty weak ones, five ensembles, drawn from a seed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use orchestrator::run_dir::{JobFailure, ResultFiles, RunDir};
use orchestrator::sweep::plan::{
    DatasetSource, EnsembleRule, Filter, PaperRow, PaperScores, Plan, PlannedJob, Query, SyntheticOptions,
    TableRule,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::blob::BlobRef;
use shared::confusion::Score;
use shared::device::DeviceRecord;
use shared::expression::CLASSES;
use shared::ids::{Attempt, JobId, WorkerId};
use shared::log::JobLog;
use shared::mtl::report::{EpochReport, LossTerms, MemoryUse, final_metrics};
use shared::mtl::{self, Mtl, MtlSpec};
use shared::pack::Split;
use shared::predictions::{Matrix, SampleList, to_npy};
use shared::result::{JobResult, MODEL, Predictions};
use shared::rng::{Purpose, Stream};
use shared::settings::Settings;
use shared::trainer::TrainerKind;
use shared::vote::score;
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
        trainer: mtl::trainer(),
        ranking: Mtl.ranking(),
        dataset: Some(DatasetSource::Synthetic(SyntheticOptions::default())),
        dataset_digest: Some(DIGEST.into()),
        checkpoint_every: shared::protocol::CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: shared::protocol::Priority::NORMAL,
        jobs,
        ensembles: ensembles(),
        tables: tables(),
        weights: vec![],
        requested: orchestrator::sweep::plan::Requested::default(),
        notes: vec![],
    }
}

fn planned(group: &str, params: Value) -> PlannedJob {
    let params: Settings = serde_json::from_value(params).unwrap();
    let with = |spec: MtlSpec, (name, value): (&String, &Value)| spec.with(name, value.clone()).unwrap();
    let spec = params.iter().fold(MtlSpec::default(), with);
    let (id, settings) = (spec.id(DIGEST), spec.settings());
    PlannedJob { id, group: group.into(), also_in: vec![], params: params.into(), settings: settings.into() }
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
    let labels = (0..SAMPLES).map(|_| Some(stream.below(CLASSES as u64) as u32)).collect();
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
fn probabilities(job: &PlannedJob, split: Split, skill: f64, epoch: u32) -> Matrix {
    let labels = samples(split).labels;
    let skill = if split == Split::Test { skill - 0.25 } else { skill };
    let row = |(i, label): (usize, &Option<u32>)| {
        let mut shared = Stream::new(7, Purpose::Mixing, &[split as u64, i as u64]);
        let mut own = Stream::new(job.id_seed(), Purpose::Shuffle, &[split as u64, i as u64]);
        let mut late =
            Stream::new(job.id_seed(), Purpose::EmotionView, &[split as u64, i as u64, u64::from(epoch)]);
        let logits: [f64; CLASSES] = std::array::from_fn(|class| {
            let signal = if *label == Some(class as u32) { skill } else { 0.0 };
            signal + 0.95 * shared.normal() + 0.45 * own.normal() + 0.18 * late.normal()
        });
        let exponentials = logits.map(f64::exp);
        let sum: f64 = exponentials.iter().sum();
        exponentials.map(|e| (e / sum) as f32)
    };
    let rows: Vec<[f32; CLASSES]> = labels.iter().enumerate().map(row).collect();
    Matrix::from(&rows[..])
}

fn blob(name: &str, bytes: &[u8]) -> BlobRef {
    BlobRef { name: name.into(), sha256: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
}

pub(crate) const SPLITS: [Split; 2] = [Split::Validation, Split::Test];

/// How good a job is in an epoch.
fn skill_at(job: &PlannedJob, epoch: u32) -> f64 {
    skill(job) * (1.0 - 0.55 * (-f64::from(epoch) / 2.2).exp())
}

/// What the trainer reports, and the best epoch.
fn epochs(job: &PlannedJob) -> (Vec<EpochReport>, u32) {
    let validation = samples(Split::Validation);
    let of = |epoch| probabilities(job, Split::Validation, skill_at(job, epoch), epoch);
    let epochs: Vec<EpochReport> = (1..=EPOCHS)
        .map(|epoch| EpochReport {
            epoch,
            learning_rate: 1e-4 * 0.6f64.powi(epoch as i32 - 1),
            losses: LossTerms { cross_entropy: 1.8 / f64::from(epoch), ..LossTerms::default() },
            validation: score(&of(epoch), &validation).unwrap(),
            seconds: 4.5,
            memory: MemoryUse::default(),
        })
        .collect();
    let better = |a: &EpochReport, b: &EpochReport| b.validation.macro_f1 > a.validation.macro_f1;
    let best =
        epochs.iter().fold(&epochs[0], |best, next| if better(best, next) { next } else { best }).epoch;
    (epochs, best)
}

/// What a worker hands in: the epochs, and the probabilities of the best one over both splits.
pub(crate) struct HandedIn {
    pub(crate) epochs: Vec<EpochReport>,
    pub(crate) best: u32,
    matrices: [Matrix; 2],
}

impl HandedIn {
    pub(crate) fn of(job: &PlannedJob) -> Self {
        let (epochs, best) = epochs(job);
        let matrices = SPLITS.map(|split| probabilities(job, split, skill_at(job, best), best));
        Self { epochs, best, matrices }
    }

    /// The score on one of [`SPLITS`].
    pub(crate) fn score(&self, split: usize) -> Option<Score> {
        score(&self.matrices[split], &samples(SPLITS[split]))
    }

    pub(crate) fn result(&self, job: &PlannedJob) -> (JobResult, ResultFiles) {
        let (mut predictions, mut files) = (BTreeMap::new(), ResultFiles::default());
        for (index, split) in SPLITS.into_iter().enumerate() {
            let npy = to_npy(&self.matrices[index]);
            let record = Predictions {
                probabilities: blob(&format!("{}.{split}", job.id), &npy),
                samples_digest: samples(split).digest(),
                samples: None,
                macro_f1: self.score(index).map(|score| score.macro_f1),
            };
            predictions.insert(split.to_string(), record);
            files.matrices.insert(split.to_string(), npy.into());
        }
        let best = self.epochs.iter().find(|report| report.epoch == self.best);
        let result = JobResult {
            v: JobResult::VERSION,
            job: job.id,
            trainer: mtl::trainer(),
            inputs: Mtl.inputs(&job.settings.to_map(), DIGEST),
            metrics: final_metrics(best, self.score(1).as_ref()),
            history: self.epochs.iter().map(EpochReport::point).collect(),
            best_epoch: Some(self.best),
            stopped_after: None,
            predictions,
            artifacts: BTreeMap::from([(MODEL.to_owned(), blob("model", b""))]),
            train_seconds: if job.group == "strong" { 61.5 } else { 18.25 },
            device: device(),
            software: None,
            worker: WorkerId::new(&format!("cpu-{}", job.id_seed() % 2), Uuid::nil()),
            attempt: Attempt(1),
            times: None,
            log: JobLog::default(),
            peak_memory: None,
        };
        (result, files)
    }
}

pub(crate) fn device() -> DeviceRecord {
    DeviceRecord {
        device: "cpu".into(),
        model: "Intel Core i9-10940X".into(),
        memory: None,
        uuid: None,
        cpu_capability: "AVX512".into(),
        threads: 1,
        host: "bench".into(),
    }
}

/// A job's result with its two matrices.
pub(crate) fn result(job: &PlannedJob) -> (JobResult, ResultFiles) {
    HandedIn::of(job).result(job)
}

/// The result of a training that diverged in its first epoch: every image gets one class, a loss is absurd.
pub(crate) fn diverged(job: &PlannedJob) -> (JobResult, ResultFiles) {
    one_class(job, 1.7e12)
}

/// The result of a training that names the same class for every image.
pub(crate) fn one_class(job: &PlannedJob, landmark_loss: f64) -> (JobResult, ResultFiles) {
    let rows = Matrix::from(&[[0.05, 0.75, 0.05, 0.05, 0.05, 0.05]; SAMPLES][..]);
    let mut epochs = epochs(job).0;
    for report in &mut epochs {
        report.losses.landmark = landmark_loss;
        report.validation = score(&rows, &samples(Split::Validation)).unwrap();
    }
    HandedIn { epochs, best: 1, matrices: [rows.clone(), rows] }.result(job)
}

/// A run folder with the results of the jobs that `finished` picks.
pub(crate) fn run(root: &Path, plan: &Plan, finished: impl Fn(usize, &PlannedJob) -> bool) -> RunDir {
    let run = RunDir::create(root, plan).unwrap();
    for split in SPLITS {
        run.write_samples(&split.to_string(), &samples(split)).unwrap();
    }
    let mut writer = run.result_writer().unwrap();
    for (_, job) in plan.jobs.iter().enumerate().filter(|(index, job)| finished(*index, job)) {
        let (result, files) = result(job);
        writer.write(&result, &files).unwrap();
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
