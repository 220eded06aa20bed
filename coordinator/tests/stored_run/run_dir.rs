//! Run folders from the outside: what is refused, what is found damaged, what survives.

use std::collections::BTreeSet;
use std::fs;

use orchestrator::run_dir::{ResultFiles, RunDir, RunDirError};
use orchestrator::sweep::plan::DatasetSource;
use shared::ids::Attempt;
use shared::mtl::report::MICRO_BATCHES;
use shared::pack::Split;
use shared::predictions::{Matrix, SampleList, to_npy};
use shared::result::{JobResult, Predictions, TEST, VALIDATION};

use crate::fixture::{self, failure, plan, result, run};
use crate::version_2;

#[test]
fn everything_written_is_read_back() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let folder = run(root.path(), &plan, |n, _| n < 2);
    folder.write_failure(plan.jobs[2].id, &failure("why")).unwrap();
    folder.write_drain("gpu0", "no memory").unwrap();
    let record = RunDir::open(root.path()).unwrap().load().unwrap();
    assert_eq!(record.plan, plan);
    assert_eq!(record.samples[TEST], fixture::samples(Split::Test));
    assert!(
        record.results[&plan.jobs[1].id] == result(&plan.jobs[1]).0,
        "a result changed on its way through the disk"
    );
    assert_eq!((record.results.len(), record.predictions.len()), (2, 2));
    assert_eq!(record.failures[&plan.jobs[2].id], failure("why"));
    assert_eq!(record.drained["gpu0"], "no memory");
    // A later result takes the failure's place, and no temporary file stays.
    let (late, files) = result(&plan.jobs[2]);
    folder.result_writer().unwrap().write(&late, &files).unwrap();
    let record = folder.load().unwrap();
    assert!(record.failures.is_empty() && record.results.len() == 3);
    let files = fixture::files(root.path());
    assert!(files.iter().all(|path| path.extension().is_none_or(|e| e != "tmp")), "{files:?}");
}

#[test]
fn no_absolute_path_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.dataset = Some(DatasetSource::Pack(root.path().join("somewhere/faces")));
    let folder = RunDir::create(&root.path().join("run"), &plan).unwrap();
    assert_eq!(folder.load().unwrap().plan.dataset, Some(DatasetSource::Pack("faces".into())));
}

/// Case 21: `ferry retry` and the run that is going on move the same earlier result.
#[test]
fn a_result_may_be_set_aside_by_two_processes_at_once() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let folder = run(root.path(), &plan, |n, _| n == 0);
    let job = plan.jobs[0].id;
    let (mut old, files) = result(&plan.jobs[0]);
    for attempt in 1..100 {
        old.attempt = Attempt(attempt);
        folder.result_writer().unwrap().write(&old, &files).unwrap();
        let start = std::sync::Barrier::new(2);
        let set_aside = || {
            start.wait();
            folder.set_aside(job)
        };
        let outcomes = std::thread::scope(|scope| {
            let other = scope.spawn(set_aside);
            [set_aside(), other.join().unwrap()]
        });
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let kept = root.path().join(format!("earlier/{job}/{attempt}"));
        assert!(kept.join("result.json").is_file() && kept.join("val.npy").is_file());
        assert_eq!(folder.load().unwrap().results.len(), 0);
    }
}

#[test]
fn an_edited_sweep_keeps_the_results_it_still_names() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    let folder = run(root.path(), &plan, |n, _| n < 3);
    let removed = plan.jobs.remove(0);
    RunDir::create(root.path(), &plan).unwrap();
    let record = folder.load().unwrap();
    assert_eq!(record.results.len(), 2);
    assert!(!record.results.contains_key(&removed.id));
    let other = orchestrator::sweep::plan::Plan { name: "other".into(), ..plan };
    assert!(matches!(RunDir::create(root.path(), &other), Err(RunDirError::OtherSweep { .. })));
}

/// Case 16: the report of other jobs or another dataset under the same name is never overwritten.
#[test]
fn a_run_of_the_same_name_is_continued_or_left_alone() {
    let out = tempfile::tempdir().unwrap();
    let usual = out.path().join("demo");
    let plan = plan();
    let place = |plan: &_| RunDir::place(&usual, plan, &BTreeSet::new()).unwrap().0;
    let mut fewer = plan.clone();
    fewer.jobs.pop();
    assert_eq!(place(&fewer), usual, "nothing is there yet");
    RunDir::create(&usual, &fewer).unwrap();
    assert_eq!(place(&fewer), usual, "resumed");
    let mut sooner = fewer.clone();
    sooner.checkpoint_every = "200 steps".parse().unwrap();
    assert_eq!(place(&sooner), usual, "a setting on which no result depends");
    assert_eq!(place(&plan), usual, "jobs are added");

    RunDir::create(&usual, &plan).unwrap();
    let second = out.path().join("demo-2");
    assert_eq!(place(&fewer), second, "a job is gone");
    let gone = BTreeSet::from([plan.jobs[plan.jobs.len() - 1].id]);
    let edited = RunDir::place(&usual, &fewer, &gone).unwrap().0;
    assert_eq!(edited, usual, "the books know that the sweep had it");
    let mut elsewhere = plan.clone();
    elsewhere.dataset_digest = Some("b".repeat(64));
    assert_eq!(place(&elsewhere), second, "another dataset");
    RunDir::create(&second, &elsewhere).unwrap();
    assert_eq!(place(&elsewhere), second, "resumed in its own folder");
    assert_eq!(place(&fewer), out.path().join("demo-3"));
    assert_eq!(place(&plan), usual);
}

#[test]
fn wrong_results_are_refused_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    let stranger = plan.jobs.pop().unwrap();
    let folder = run(root.path(), &plan, |_, _| false);
    let before = fixture::files(root.path());
    let (good, files) = result(&plan.jobs[0]);
    let mut writer = folder.result_writer().unwrap();
    let mut refused = |result: &JobResult, files: &ResultFiles, word: &str| {
        let error = writer.write(result, files).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    let predictions = |change: &dyn Fn(&mut Predictions)| {
        let mut changed = good.clone();
        change(changed.predictions.get_mut(VALIDATION).unwrap());
        changed
    };
    refused(&result(&stranger).0, &files, "not in the plan");
    let mut elsewhere = good.clone();
    elsewhere.inputs.dataset = Some("other".into());
    refused(&elsewhere, &files, "another dataset");
    elsewhere.inputs.dataset = None;
    refused(&elsewhere, &files, "another dataset");
    let with = |npy: Vec<u8>| {
        let mut files = files.clone();
        files.matrices.insert(VALIDATION.to_owned(), npy.into());
        files
    };
    let val = &files.matrices[VALIDATION];
    refused(&good, &with(val[..val.len() - 1].to_vec()), "SHA-256");
    let mut fewer = files.clone();
    fewer.matrices.remove(TEST);
    refused(&good, &fewer, "test split");
    let mut silent = good.clone();
    silent.predictions.remove(TEST);
    refused(&silent, &files, "test split");
    let npy = to_npy(&Matrix::from(&[[0.1; 6]; 3][..]));
    let short = predictions(&|record| record.probabilities.sha256 = sha256(&npy));
    refused(&short, &with(npy.clone()), "3 rows, the sample list has 600");
    let npy = to_npy(&Matrix::from(&[[0.1; 4]; 600][..]));
    let narrow = predictions(&|record| record.probabilities.sha256 = sha256(&npy));
    refused(&narrow, &with(npy.clone()), "are of 4 classes");
    refused(&predictions(&|record| record.samples_digest = "x".into()), &files, "another sample list");
    let flattering = predictions(&|record| record.macro_f1 = record.macro_f1.map(|f1| f1 + 0.01));
    refused(&flattering, &files, "macro F1");
    for name in ["../elsewhere", "val", ""] {
        let mut named = good.clone();
        named.predictions.insert(name.to_owned(), good.predictions[TEST].clone());
        let mut files = files.clone();
        files.matrices.insert(name.to_owned(), files.matrices[TEST].clone());
        refused(&named, &files, "name");
    }
    assert_eq!(fixture::files(root.path()), before);
}

#[test]
fn damage_is_reported_by_the_file_that_has_it() {
    let plan = plan();
    let job = plan.jobs[0].id;
    let damage = |name: String, bytes: Option<&[u8]>, words: &[&str]| {
        let root = tempfile::tempdir().unwrap();
        let folder = run(root.path(), &plan, |n, _| n < 2);
        let path = root.path().join(&name);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = folder.load().unwrap_err().to_string();
        assert!(words.iter().chain([&name.as_str()]).all(|word| error.contains(word)), "{error}");
    };
    damage(format!("results/{job}.json"), Some(b"{\"v\":1,"), &["damaged", "ferry run"]);
    let newer = JobResult::VERSION + 1;
    let version = format!("has version {newer}");
    damage(format!("results/{job}.json"), Some(format!("{{\"v\":{newer}}}").as_bytes()), &[&version]);
    damage(format!("probabilities/{job}.val.npy"), Some(&[0; 32]), &["SHA-256"]);
    damage(format!("probabilities/{job}.test.npy"), None, &["missing"]);
    damage("val.samples.csv".into(), Some(b"id,label\nx,70000\n"), &["damaged", "line 2"]);
    damage("val.samples.csv".into(), None, &["missing"]);
    damage("plan.json".into(), Some(b"\0\0\0"), &["damaged"]);
}

#[test]
fn a_result_of_the_first_layout_is_read_as_one_of_whole_batches() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let job = plan.jobs[0].id;
    let folder = run(root.path(), &plan, |n, _| n < 1);
    let path = root.path().join(format!("results/{job}.json"));
    let mut stored = version_2::result(&plan.jobs[0]);
    stored["v"] = 1.into();
    for (part, fields) in [("device", &["memory", "uuid"][..]), ("epochs", &["memory"])] {
        let records = match &mut stored[part] {
            serde_json::Value::Array(records) => records.iter_mut().collect(),
            record => vec![record],
        };
        for record in records {
            for field in fields {
                record.as_object_mut().unwrap().remove(*field);
            }
        }
    }
    fs::write(&path, stored.to_string()).unwrap();
    let read = folder.load().unwrap().results.remove(&job).unwrap();
    let micro_batches = read.history.iter().map(|point| point.metrics.get(MICRO_BATCHES));
    assert!(read.history.len() == 12 && micro_batches.into_iter().all(|batches| batches == Some(1.0)));
    assert_eq!((read.v, read.device.uuid), (JobResult::VERSION, None));
}

#[test]
fn results_of_the_second_layout_are_read_as_if_stored_now() {
    let (now, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan();
    let finished = |n: usize, _: &_| n % 3 != 1;
    let [folder, old] = [&now, &earlier].map(|root| run(root.path(), &plan, finished));
    for job in plan.jobs.iter().enumerate().filter(|(n, job)| finished(*n, job)).map(|(_, job)| job) {
        let path = earlier.path().join(format!("results/{}.json", job.id));
        fs::write(&path, version_2::result(job).to_string()).unwrap();
    }
    assert!(old.load().unwrap().results == folder.load().unwrap().results);
    for folder in [&folder, &old] {
        orchestrator::report::write(folder).unwrap();
    }
    for name in ["results.json", "results.csv", "report.md", "report.html"] {
        let [new, old] = [&now, &earlier].map(|root| fs::read(root.path().join(name)).unwrap());
        assert!(new == old, "{name} differs");
    }
}

#[test]
fn what_is_no_run_folder_is_said_so() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(RunDir::open(root.path()), Err(RunDirError::NotARun { .. })));
    let mut plan = plan();
    plan.dataset_digest = None;
    assert!(matches!(RunDir::create(root.path(), &plan), Err(RunDirError::NoDataset { .. })));
    plan.dataset_digest = Some(fixture::DIGEST.into());
    let folder = RunDir::create(root.path(), &plan).unwrap();
    let broken = SampleList { ids: vec!["a\nb".into()], labels: vec![None] };
    assert!(matches!(folder.write_samples(TEST, &broken), Err(RunDirError::Samples { .. })));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}
