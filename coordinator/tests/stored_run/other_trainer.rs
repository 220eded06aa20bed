//! Runs of a trainer that knows no face: with predictions of three classes over samples of its own, and without any.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use orchestrator::report;
use orchestrator::run_dir::{ResultFiles, RunDir, RunRecord};
use orchestrator::sweep::plan::{EnsembleRule, Filter, Plan, PlannedJob, Query, TableRule};
use serde_json::{Value, json};
use shared::blob::BlobRef;
use shared::empty::{self, Empty};
use shared::ids::{Attempt, WorkerId};
use shared::log::JobLog;
use shared::metrics::{Goal, Metrics, Point, Ranking};
use shared::predictions::{Matrix, SampleList, to_npy};
use shared::result::{JobResult, Predictions, VALIDATION};
use shared::settings::Settings;
use shared::trainer::TrainerKind;
use shared::vote::score;
use uuid::Uuid;

use crate::fixture;

/// Two gains with two seeds each, an ensemble and a table.
fn plan() -> Plan {
    let job = |(seed, gain): (u64, f64)| {
        let params: Settings = serde_json::from_value(json!({"gain": gain, "seed": seed})).unwrap();
        let mut settings = Empty.defaults().clone();
        settings.extend(params.clone());
        settings.insert("epochs".to_owned(), 2.into());
        let id = Empty.job(&settings, "").id();
        let (params, settings) = (params.into(), settings.into());
        PlannedJob { id, group: "toys".into(), also_in: vec![], params, settings }
    };
    let best = EnsembleRule {
        name: "Best two".into(),
        members: vec![Query::Top { k: 2, filter: Filter::new() }],
        size: 2,
        paper: None,
    };
    let table = TableRule {
        title: "By gain".into(),
        filter: Filter::new(),
        rows: vec!["gain".into()],
        mean_by: vec![],
        paper: vec![],
    };
    Plan {
        name: "toys".into(),
        trainer: empty::trainer(),
        ranking: Empty.ranking(),
        dataset: None,
        dataset_digest: None,
        checkpoint_every: shared::protocol::CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: shared::protocol::Priority::NORMAL,
        jobs: [(0, 0.5), (1, 0.5), (0, 1.5), (1, 1.5)].into_iter().map(job).collect(),
        ensembles: vec![best],
        tables: vec![table],
        weights: vec![],
        requested: orchestrator::sweep::plan::Requested::default(),
        notes: vec![],
    }
}

/// A result without predictions. Its loss falls as its score rises.
fn result(job: &PlannedJob) -> JobResult {
    let gain = job.settings["gain"].as_f64().unwrap() + 0.001 * job.settings["seed"].as_f64().unwrap();
    let metrics = |epoch: u32| {
        let score = gain * f64::from(epoch);
        Metrics::of([("score", score), ("loss", 0.1 / score)]).unwrap()
    };
    let point = |epoch| Point { epoch, step: 0, seconds: 1.0, metrics: metrics(epoch) };
    JobResult {
        v: JobResult::VERSION,
        job: job.id,
        trainer: empty::trainer(),
        inputs: Empty.inputs(&job.settings.to_map(), ""),
        metrics: metrics(2),
        history: [1, 2].map(point).to_vec(),
        best_epoch: None,
        stopped_after: None,
        predictions: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        train_seconds: 2.0,
        device: fixture::device(),
        software: None,
        worker: WorkerId::new("cpu", Uuid::nil()),
        attempt: Attempt(1),
        times: None,
        log: JobLog::default(),
        peak_memory: None,
    }
}

/// Eight samples of three classes, of which the last has no label.
fn samples() -> SampleList {
    let labels = (0..8).map(|n| (n < 7).then_some(n % 3)).collect();
    SampleList { ids: (0..8).map(|n| format!("toy {n}")).collect(), labels }
}

/// Adds predictions over `samples`, which are right except for the sample `wrong`.
fn with_predictions(mut result: JobResult, samples: &SampleList, wrong: usize) -> (JobResult, ResultFiles) {
    let row = |n: usize| -> [f32; 3] {
        let class = if n == wrong { n + 1 } else { n } % 3;
        std::array::from_fn(|other| if other == class { 0.6 } else { 0.2 })
    };
    let matrix = Matrix::from(&(0..samples.ids.len()).map(row).collect::<Vec<_>>()[..]);
    let (npy, csv) = (to_npy(&matrix), samples.to_csv());
    let record = Predictions {
        probabilities: BlobRef::of("validation", &npy),
        samples_digest: samples.digest(),
        samples: Some(BlobRef::of("validation.samples", csv.as_bytes())),
        macro_f1: score(&matrix, samples).map(|score| score.macro_f1),
    };
    result.predictions.insert(VALIDATION.to_owned(), record);
    let files = ResultFiles {
        matrices: BTreeMap::from([(VALIDATION.to_owned(), npy.into())]),
        samples: BTreeMap::from([(VALIDATION.to_owned(), csv.into())]),
    };
    (result, files)
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

fn results(root: &Path) -> Value {
    serde_json::from_str(&read(root, "results.json")).unwrap()
}

/// Stores the result of every job.
fn run(
    root: &Path,
    plan: &Plan,
    result: impl Fn(usize, &PlannedJob) -> (JobResult, ResultFiles),
) -> RunRecord {
    let folder = RunDir::create(root, plan).unwrap();
    let mut writer = folder.result_writer().unwrap();
    for (index, job) in plan.jobs.iter().enumerate() {
        let (result, files) = result(index, job);
        writer.write(&result, &files).unwrap();
    }
    report::write(&folder).unwrap();
    folder.load().unwrap()
}

#[test]
fn predictions_over_samples_of_the_trainers_own_are_stored_scored_and_voted() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let record = run(root.path(), &plan, |n, job| with_predictions(result(job), &samples(), n));
    assert_eq!(record.samples, BTreeMap::from([(VALIDATION.to_owned(), samples())]));
    assert_eq!(record.predictions[&plan.jobs[3].id][VALIDATION].classes(), 3);
    assert_eq!(SampleList::from_csv(&read(root.path(), "val.samples.csv")), Ok(samples()));

    let json = results(root.path());
    assert_eq!(json["trainer"], json!({"kind": "empty", "revision": 1}));
    assert_eq!(json["ranking"], json!({"metric": "score", "goal": "max"}));
    assert!(json["dataset_digest"].is_null());
    let job = &json["jobs"][1];
    assert_eq!((&job["score"], &job["metrics"]["score"]), (&json!(1.002), &json!(1.002)));
    assert_eq!(
        (&job["epochs"], &job["best_epoch"], &job["micro_batches"]),
        (&json!(2), &Value::Null, &Value::Null)
    );
    assert_eq!(job["val_per_class_f1"].as_array().unwrap().len(), 3);
    assert!(job["test_macro_f1"].is_null() && job["test_per_class_f1"].is_null() && job["model"].is_null());
    let path = format!("probabilities/{}.val.npy", plan.jobs[1].id);
    assert_eq!(job["probabilities"], json!({"val": path, "test": null}));

    // The members with the highest scores; each is wrong where the other is right, and ties go to the lower class.
    let ensemble = &json["ensembles"][0];
    assert_eq!(ensemble["members"], json!([plan.jobs[2].id, plan.jobs[3].id]));
    assert_eq!(ensemble["state"], "final");
    assert_eq!(ensemble["val_confusion"]["counts"], json!([[3, 0, 0], [0, 2, 0], [1, 0, 1]]));
    assert!(
        (ensemble["val_macro_f1"].as_f64().unwrap() - 100.0 * (6.0 / 7.0 + 1.0 + 2.0 / 3.0) / 3.0).abs()
            < 1e-9
    );
    assert!(ensemble["test_macro_f1"].is_null());

    let markdown = read(root.path(), "report.md");
    assert!(!markdown.contains("expression"), "{markdown}");
    let from = |heading: &str| markdown.split_once(heading).map_or("", |(_, rest)| rest);
    assert_snapshot!(markdown.split_once("\n## Members").unwrap().0, @r"
    # toys

    - Jobs: 4 of 4 finished, 0 failed
    - Training time: 8 s
    - Device: Intel Core i9-10940X (AVX512, 1 thread), cpu on bench: 4 jobs

    Jobs are compared by `score`: higher is better. F1 is the macro F1 over all classes, in percent.

    ## Ensembles (soft voting)

    | Ensemble | Members | Val. F1 | Test F1 |
    | --- | --- | --- | --- |
    | Best two | 2 of 2 | 84.13 | – |

    ## By gain

    | Gain | score | ± std | Jobs |
    | --- | --- | --- | --- |
    | 0.5 | 1.001 | 0.001414 | 2 of 2 |
    | 1.5 | 3.001 | 0.001414 | 2 of 2 |

    ## F1 by class (validation)

    | Model | 0 | 1 | 2 |
    | --- | --- | --- | --- |
    | toys: gain 0.5 | 90.00 | 73.33 | 90.00 |
    | toys: gain 1.5 | 82.86 | 90.00 | 83.33 |
    | Best two | 85.71 | 100.00 | 66.67 |

    ## Confusion of Best two (validation)

    | True \ predicted | 0 | 1 | 2 |
    | --- | --- | --- | --- |
    | 0 | 3 | 0 | 0 |
    | 1 | 0 | 2 | 0 |
    | 2 | 1 | 0 | 1 |
    ");
    assert!(
        from("## Jobs")
            .starts_with("\n\n| Job | Group | Configuration | Epochs | Best | score | Val. F1 | Test F1 |")
    );
    let html = read(root.path(), "report.html");
    assert!(
        html.contains("Jobs by score") && html.contains("F1 by class") && html.contains("1 taken for 2"),
        "{html}"
    );
    let csv = read(root.path(), "results.csv");
    assert_snapshot!(csv.lines().next().unwrap(), @"id,group,state,params.gain,params.seed,epochs,best_epoch,metrics.loss,metrics.score,val_macro_f1,test_macro_f1,val_f1_0,val_f1_1,val_f1_2,train_seconds,worker,attempts,val_probabilities,test_probabilities,warnings");
}

#[test]
fn a_sweep_without_predictions_has_a_report_by_its_own_metric() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let record = run(root.path(), &plan, |_, job| (result(job), ResultFiles::default()));
    assert!(record.samples.is_empty() && record.predictions.values().all(BTreeMap::is_empty));
    let json = results(root.path());
    for job in json["jobs"].as_array().unwrap() {
        assert_eq!((job["state"].as_str(), job["score"].is_f64()), (Some("done"), true));
        for absent in ["val_macro_f1", "val_per_class_f1", "test_per_class_f1", "probabilities", "model"] {
            assert!(job[absent].is_null(), "{absent}");
        }
    }
    let ensemble = &json["ensembles"][0];
    assert_eq!(ensemble["members"].as_array().unwrap().len(), 2);
    assert!(ensemble["val_macro_f1"].is_null() && ensemble["val_confusion"].is_null());
    assert_snapshot!(read(root.path(), "report.md"), @r"
    # toys

    - Jobs: 4 of 4 finished, 0 failed
    - Training time: 8 s
    - Device: Intel Core i9-10940X (AVX512, 1 thread), cpu on bench: 4 jobs

    Jobs are compared by `score`: higher is better.

    ## Ensembles (soft voting)

    | Ensemble | Members | Val. F1 | Test F1 |
    | --- | --- | --- | --- |
    | Best two | 2 of 2 | – | – |

    ## By gain

    | Gain | score | ± std | Jobs |
    | --- | --- | --- | --- |
    | 0.5 | 1.001 | 0.001414 | 2 of 2 |
    | 1.5 | 3.001 | 0.001414 | 2 of 2 |

    ## Members and why

    ### Best two

    - The best 2 by score of 4 finished (all jobs): gain 1.5 · seed 1 (3.002) and gain 1.5 · seed 0 (3.000); the next is gain 0.5 · seed 1 (1.002).
    - Members: `d836c47e` gain 1.5 · seed 0; `605fee48` gain 1.5 · seed 1

    ## Jobs

    | Job | Group | Configuration | Epochs | Best | score | Time | Worker | Attempts |
    | --- | --- | --- | --- | --- | --- | --- | --- | --- |
    | `2686a3c0` | toys | gain 0.5 · seed 0 | 2 | – | 1.000 | 2 s | cpu-00000000 | 1 |
    | `e6f708fa` | toys | gain 0.5 · seed 1 | 2 | – | 1.002 | 2 s | cpu-00000000 | 1 |
    | `d836c47e` | toys | gain 1.5 · seed 0 | 2 | – | 3.000 | 2 s | cpu-00000000 | 1 |
    | `605fee48` | toys | gain 1.5 · seed 1 | 2 | – | 3.002 | 2 s | cpu-00000000 | 1 |
    ");
    let html = read(root.path(), "report.html");
    for absent in ["expression", "F1 by", "Confusion", "Val. F1", "Dataset", "macro F1"] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert!(
        html.contains("Learning curves") && html.contains("score by epoch") && html.contains("<polyline")
    );
    let summary = report::summary(&report::write(&RunDir::open(root.path()).unwrap()).unwrap());
    assert!(summary.starts_with("toys: 4 of 4 jobs finished, 0 failed\n"), "{summary}");
}

#[test]
fn lower_can_be_better_and_a_loss_that_is_no_number_is_not_the_best() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan { ranking: Ranking { metric: "loss".into(), goal: Goal::Min }, ..plan() };
    run(root.path(), &plan, |n, job| {
        let mut result = result(job);
        if n == 3 {
            result.metrics = result.metrics.with("loss", f64::NAN);
        }
        (result, ResultFiles::default())
    });
    let json = results(root.path());
    assert_eq!(json["ensembles"][0]["members"], json!([plan.jobs[1].id, plan.jobs[2].id]));
    assert_eq!(json["ensembles"][0]["state"], "final");
    assert!(json["jobs"][3]["score"].is_null() && json["jobs"][3]["metrics"]["loss"].is_null());
    let markdown = read(root.path(), "report.md");
    assert!(markdown.contains("\n\nJobs are compared by `loss`: lower is better.\n\n"), "{markdown}");
    assert!(markdown.contains("\n| 1.5 | 0.03333 | – | 1 of 2 |\n"), "{markdown}");
    let html = read(root.path(), "report.html");
    assert!(html.contains("<mark>0.03333</mark>") && html.contains("best job 0.03333"), "{html}");
}

#[test]
fn sample_lists_that_results_bring_along_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let folder = RunDir::create(root.path(), &plan).unwrap();
    let mut writer = folder.result_writer().unwrap();
    let before = fixture::files(root.path());
    let (good, files) = with_predictions(result(&plan.jobs[0]), &samples(), 0);
    let mut refused = |result: &JobResult, files: &ResultFiles, word: &str| {
        let error = writer.write(result, files).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    let changed = |change: &dyn Fn(&mut Predictions)| {
        let mut result = good.clone();
        change(result.predictions.get_mut(VALIDATION).unwrap());
        result
    };
    refused(&changed(&|record| record.samples = None), &files, "sample list is not stored yet");
    refused(&good, &ResultFiles { samples: BTreeMap::new(), ..files.clone() }, "sample list is missing");
    let bad = |csv: &str| {
        let samples = BTreeMap::from([(VALIDATION.to_owned(), csv.to_owned().into())]);
        ResultFiles { samples, ..files.clone() }
    };
    refused(&good, &bad("id,label\n"), "SHA-256");
    let blob = BlobRef::of("b", b"id,label\nx");
    refused(&changed(&|record| record.samples = Some(blob.clone())), &bad("id,label\nx"), "line 2");
    refused(&changed(&|record| record.samples_digest = "x".into()), &files, "another sample list");
    let mut strange = samples();
    strange.labels[0] = Some(3);
    let (unknown, its_files) = with_predictions(result(&plan.jobs[0]), &strange, 0);
    refused(&unknown, &its_files, "label 3, the probabilities are of 3 classes");
    assert_eq!(fixture::files(root.path()), before);

    writer.write(&good, &files).unwrap();
    let other = SampleList { ids: samples().ids.into_iter().rev().collect(), ..samples() };
    let (late, its_files) = with_predictions(result(&plan.jobs[1]), &other, 0);
    // Whether this process stored the first list or finds it.
    for mut writer in [writer, folder.result_writer().unwrap()] {
        let error = writer.write(&late, &its_files).unwrap_err().to_string();
        assert!(error.contains("in the order of another sample list"), "{error}");
    }
    assert_eq!(folder.load().unwrap().samples[VALIDATION], samples());
}

#[test]
fn predictions_may_have_names_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.jobs.truncate(1);
    let (mut first, mut files) = with_predictions(result(&plan.jobs[0]), &samples(), 0);
    let record = first.predictions.remove(VALIDATION).unwrap();
    first.predictions.insert("held-out".into(), record);
    for part in [&mut files.matrices, &mut files.samples] {
        let bytes = part.remove(VALIDATION).unwrap();
        part.insert("held-out".into(), bytes);
    }
    run(root.path(), &plan, |_, _| (first.clone(), files.clone()));
    let path = format!("probabilities/{}.held-out.npy", plan.jobs[0].id);
    assert!(root.path().join(&path).is_file() && root.path().join("held-out.samples.csv").is_file());
    let json = results(root.path());
    assert_eq!(json["jobs"][0]["probabilities"], json!({"val": null, "test": null, "held-out": path}));
    // Another attempt: the earlier result is kept with all that belongs to it.
    let second = JobResult { attempt: Attempt(2), ..first.clone() };
    let record = run(root.path(), &plan, |_, _| (second.clone(), files.clone()));
    assert_eq!(record.results[&plan.jobs[0].id], second);
    let earlier = root.path().join(format!("earlier/{}/1", plan.jobs[0].id));
    assert!(earlier.join("held-out.npy").is_file() && earlier.join("result.json").is_file());
}
