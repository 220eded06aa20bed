//! The report from the outside: what the files hold, that they are stable, and how they treat partial runs.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use orchestrator::cost::Estimate;
use orchestrator::cost::forecast::{Forecast, Forecasts};
use orchestrator::report;
use orchestrator::sweep::plan::{Filter, PlannedJob, Query};
use serde_json::Value;
use shared::predictions::from_npy;
use shared::result::{TEST, VALIDATION};

use crate::fixture::{self, failure, ids, plan, run};

fn results(root: &Path) -> Value {
    serde_json::from_slice(&fs::read(root.join("results.json")).unwrap()).unwrap()
}

const FILES: [&str; 4] = ["results.json", "results.csv", "report.md", "report.html"];

/// The whole sweep. Its folder stays under the target directory, to be looked at.
#[test]
fn a_finished_run_has_every_number_and_is_stable_to_the_byte() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sample-run");
    drop(fs::remove_dir_all(&root));
    let plan = plan();
    let folder = run(&root, &plan, |_, _| true);
    let written = report::write(&folder).unwrap();
    let first: Vec<_> = FILES.map(|name| fs::read(root.join(name)).unwrap()).into();

    let json = results(&root);
    assert_eq!(json["jobs"].as_array().unwrap().len(), 38);
    let sizes: Vec<usize> = json["ensembles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["members"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [5, 17, 7, 10, 12]);
    assert!(written.results.ensembles.iter().all(|e| e.val_macro_f1.is_some() && e.test_macro_f1.is_some()));
    for job in json["jobs"].as_array().unwrap() {
        assert_eq!((job["state"].as_str(), job["epochs"].as_u64()), (Some("done"), Some(12)));
        assert_eq!(job["val_per_class_f1"].as_array().unwrap().len(), 6);
        let path = job["probabilities"]["val"].as_str().unwrap();
        assert!(!Path::new(path).is_absolute());
        assert_eq!(from_npy(&fs::read(root.join(path)).unwrap()).unwrap().len(), 600);
    }

    let summary = orchestrator::report::summary(&written);
    assert!(summary.starts_with("abaw4-lsd: 38 of 38 jobs finished, 0 failed\n"), "{summary}");
    assert_eq!((summary.lines().count(), summary.contains("provisional")), (8, false), "{summary}");

    // Moved and rebuilt elsewhere: the same bytes.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    fixture::copy(&root, &moved);
    report::write(&orchestrator::run_dir::RunDir::open(&moved).unwrap()).unwrap();
    for (name, first) in FILES.iter().zip(first) {
        assert!(fs::read(moved.join(name)).unwrap() == first, "{name} differs");
    }
}

#[test]
fn a_partial_run_is_reported_as_provisional_with_nulls() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    // The strong jobs but the first, which failed; of the weak ones every second.
    let folder = run(root.path(), &plan, |n, job| n > 0 && (job.group == "strong" || n % 2 == 0));
    folder.write_failure(plan.jobs[0].id, &failure("out of memory at epoch 3")).unwrap();
    report::write(&folder).unwrap();

    let json = results(root.path());
    assert_eq!(
        (&json["jobs"][0]["state"], &json["jobs"][0]["val_macro_f1"]),
        (&"failed".into(), &Value::Null)
    );
    assert_eq!(json["jobs"][0]["error"], "out of memory at epoch 3");
    assert_eq!((&json["jobs"][9]["state"], &json["jobs"][9]["epochs"]), (&"unfinished".into(), &Value::Null));
    assert!(json["jobs"][9]["probabilities"].is_null());
    let third = &json["ensembles"][2];
    assert_eq!(third["state"], "provisional");
    assert_eq!(third["failed"], serde_json::json!([plan.jobs[0].id]));
    assert!(!third["waiting"].as_array().unwrap().is_empty() && third["val_macro_f1"].is_f64());
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(html.contains("provisional") && html.contains("out of memory at epoch 3"));
}

#[test]
fn an_empty_run_still_has_a_report() {
    let root = tempfile::tempdir().unwrap();
    report::write(&run(root.path(), &plan(), |_, _| false)).unwrap();
    let json = results(root.path());
    assert!(json["ensembles"].as_array().unwrap().iter().all(|e| e["val_macro_f1"].is_null()));
    assert!(fs::read_to_string(root.path().join("report.md")).unwrap().contains("0 of 38 finished"));
}

/// Each test score must not matter for who is chosen.
#[test]
fn members_are_chosen_without_the_test_split() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan();
    report::write(&run(with.path(), &plan, |_, _| true)).unwrap();
    let folder = orchestrator::run_dir::RunDir::create(without.path(), &plan).unwrap();
    folder.write_samples(VALIDATION, &fixture::samples(shared::pack::Split::Validation)).unwrap();
    let mut writer = folder.result_writer().unwrap();
    for job in &plan.jobs {
        let (mut result, mut files) = fixture::result(job);
        result.predictions.remove(TEST);
        files.matrices.remove(TEST);
        writer.write(&result, &files).unwrap();
    }
    report::write(&folder).unwrap();
    let (with, without) = (results(with.path()), results(without.path()));
    for i in 0..5 {
        assert_eq!(with["ensembles"][i]["members"], without["ensembles"][i]["members"]);
        assert_eq!(with["ensembles"][i]["val_macro_f1"], without["ensembles"][i]["val_macro_f1"]);
        assert!(without["ensembles"][i]["test_macro_f1"].is_null());
    }
}

#[test]
fn names_from_files_cannot_make_markup_and_nothing_outside_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.ensembles[0].name = "<script>alert(1)</script>".into();
    plan.tables[0].title = "\"><img src=x>".into();
    let folder = run(root.path(), &plan, |n, _| n > 0);
    folder.write_failure(ids(&plan)[0], &failure("</pre><script>")).unwrap();
    report::write(&folder).unwrap();
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)"));
    for forbidden in ["<script", "<img", "http://", "https://", "url(", "@import", "src="] {
        let shown = html.replace("&lt;", "").replace("&gt;", "").replace("img src=x", "");
        assert!(!shown.contains(forbidden), "{forbidden}");
    }
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    assert!(!markdown.contains("<script") && !markdown.contains("<img"));
}

#[test]
fn tables_hold_the_rows_and_means_of_the_paper() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    report::write(&run(root.path(), &plan, |_, _| true)).unwrap();
    let json = results(root.path());
    let f1 = |range: std::ops::Range<usize>| -> f64 {
        let n = range.len() as f64;
        range.map(|i| json["jobs"][i]["val_macro_f1"].as_f64().unwrap()).sum::<f64>() / n
    };
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    let line = |start: &str| markdown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let strong = line("| Mix-aug | VGGFace2 (ResNet50) | VGGFace2 (ResNet50) | on |");
    assert!(strong.contains(&format!("| {:.2} | 67.30 |", f1(0..1))), "{strong}");
    assert!(strong.ends_with(&format!("| {:.2} | 68.71 |", f1(0..4))), "{strong}");
    let weak = line("| Mix-up | VGGFace2 (ResNet50) | MobileViTv2 |");
    assert!(
        weak.contains(&format!("| {:.2} |", f1(33..38))) && weak.contains("| 5 of 5 | 70.46 |"),
        "{weak}"
    );
}

#[test]
fn a_sweep_without_the_papers_numbers_has_no_columns_for_them() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.ensembles.iter_mut().for_each(|ensemble| ensemble.paper = None);
    plan.tables.iter_mut().for_each(|table| table.paper.clear());
    report::write(&run(root.path(), &plan, |_, _| true)).unwrap();
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    assert!(markdown.contains("| Ensemble | Members | Val. F1 | Test F1 |\n"), "{markdown}");
    assert!(!markdown.contains("Paper") && !markdown.contains('Δ'), "{markdown}");
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(!html.to_lowercase().contains("paper's") && !html.contains("LSD"), "{html}");
}

/// Case 30: with the paper's numbers, the report says what they were measured on.
#[test]
fn a_sweep_with_the_papers_numbers_says_what_they_are_of() {
    let root = tempfile::tempdir().unwrap();
    report::write(&run(root.path(), &plan(), |n, _| n < 2)).unwrap();
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(html.contains("The paper's numbers were measured on the LSD challenge's own data"));
}

/// Case 32: a training that diverged, in a sweep with good ones.
#[test]
fn a_training_that_diverged_is_marked_wherever_its_score_stands() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let folder = run(root.path(), &plan, |n, _| n > 0);
    let (result, files) = fixture::diverged(&plan.jobs[0]);
    folder.result_writer().unwrap().write(&result, &files).unwrap();
    let written = report::write(&folder).unwrap();
    let json = results(root.path());
    let warnings = json["jobs"][0]["warnings"].as_array().unwrap();
    let kinds: Vec<&str> = warnings.iter().map(|warning| warning["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["diverged", "chance_level"]);
    assert_snapshot!(
        warnings[0]["text"].as_str().unwrap(),
        @"the training diverged: the landmark loss was 1.7e12 in epoch 1; lower `learning_rate`"
    );
    assert!(warnings[1]["text"].as_str().unwrap().starts_with("at chance level, which is 19."));
    // Nothing is added to a score that nothing speaks against.
    assert!(json["jobs"][1].get("warnings").is_none() && json["ensembles"][0].get("warnings").is_none());
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    let lines: Vec<&str> = markdown.lines().filter(|line| line.contains(&plan.jobs[0].id.short())).collect();
    assert!(lines.iter().any(|line| line.contains("(diverged, chance level) |")), "{lines:?}");
    let told = |text: &str| lines.iter().filter(|line| line.starts_with("- ") && line.contains(text)).count();
    assert_eq!((told("the training diverged"), told("at chance level")), (1, 1), "{lines:?}");
    assert!(!markdown.contains("No model of this sweep"));
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert_eq!(html.matches(">diverged</span>").count(), 1);
    assert_eq!(html.matches(">chance level</span>").count(), 1);
    let summary = orchestrator::report::summary(&written);
    let warnings: Vec<&str> = summary.lines().filter(|line| line.starts_with("Warning")).collect();
    assert_snapshot!(warnings.join("\n"), @r"
    Warning: 1 job diverged; lower `learning_rate`
    Warning: 1 job is at chance level
    ");
    let csv = fs::read_to_string(root.path().join("results.csv")).unwrap();
    assert!(csv.lines().nth(1).unwrap().contains("the training diverged"), "{csv}");
}

/// Case 32: a whole sweep at chance level is not praised.
#[test]
fn a_sweep_at_chance_level_is_not_praised() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    plan.jobs.truncate(2);
    plan.ensembles.truncate(1);
    plan.ensembles[0].name = "Best two".into();
    plan.ensembles[0].members = vec![Query::Top { k: 2, filter: Filter::new() }];
    plan.ensembles[0].size = 2;
    plan.ensembles[0].paper = None;
    plan.tables.clear();
    let folder = run(root.path(), &plan, |_, _| false);
    let mut writer = folder.result_writer().unwrap();
    for job in &plan.jobs {
        let (result, files) = fixture::one_class(job, 1.0);
        writer.write(&result, &files).unwrap();
    }
    let written = report::write(&folder).unwrap();
    let summary = orchestrator::report::summary(&written);
    let best_two = summary.lines().find(|line| line.starts_with("Best two")).unwrap();
    assert!(best_two.ends_with("at chance level"), "{summary}");
    assert!(summary.contains("\nWarning: 2 jobs are at chance level\nNo model of this sweep"), "{summary}");
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    assert!(
        markdown.starts_with("# abaw4-lsd\n\n**No model of this sweep is above chance level."),
        "{markdown}"
    );
    assert!(markdown.contains("## Scores not to trust\n"), "{markdown}");
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    for praise in ["Best ensemble", "Best single model", "best single model", "class=\"best\"", "reaches 4"] {
        assert!(!html.contains(praise), "{praise}");
    }
    assert!(html.contains("No model of this sweep is above chance level"));
}

/// A browser cannot show a hundred thousand jobs.
#[test]
fn pages_for_people_list_only_the_first_of_very_many_jobs() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = plan();
    let job = |n: usize| {
        let id = format!("{n:032x}").parse().unwrap();
        PlannedJob { id, ..plan.jobs[0].clone() }
    };
    plan.jobs = (0..10_001).map(job).collect();
    (plan.ensembles, plan.tables) = (Vec::new(), Vec::new());
    report::write(&run(root.path(), &plan, |_, _| false)).unwrap();
    let [json, csv, markdown, html] = FILES.map(|name| fs::read_to_string(root.path().join(name)).unwrap());
    let last = plan.jobs[10_000].id;
    assert!(json.contains(&last.to_string()) && csv.contains(&last.to_string()));
    assert_eq!(
        (markdown.matches("\n| `").count(), html.matches("not finished</span>").count()),
        (10_000, 10_000)
    );
    let note = "Only the first 10000 of 10001 jobs are shown; results.csv has all.";
    assert!(markdown.contains(note) && html.contains(note));
}

/// A model counts when its file is there and as long as the result says (those of the fixture are empty).
#[test]
fn models_in_the_folder_are_named_and_members_are_known() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    let folder = run(root.path(), &plan, |n, _| n < 12);
    let [whole, longer] = [plan.jobs[8].id, plan.jobs[9].id];
    fs::create_dir(root.path().join("models")).unwrap();
    fs::write(root.path().join(format!("models/{whole}.safetensors")), "").unwrap();
    fs::write(root.path().join(format!("models/{longer}.safetensors")), "cut off").unwrap();
    report::write(&folder).unwrap();
    let json = results(root.path());
    let model = &json["jobs"][8]["model"];
    assert_eq!(model["path"], format!("models/{whole}.safetensors"));
    assert_eq!((model["size"].as_u64(), model["sha256"].as_str().map(str::len)), (Some(0), Some(64)));
    assert!(json["jobs"][9]["model"].is_null() && json["jobs"][10]["model"].is_null());

    let members = report::members(&folder.load().unwrap()).unwrap();
    let listed = json["ensembles"].as_array().unwrap().iter().flat_map(|e| e["members"].as_array().unwrap());
    let listed: std::collections::BTreeSet<&str> = listed.map(|id| id.as_str().unwrap()).collect();
    assert_eq!(members.len(), listed.len());
    assert!(members.iter().all(|id| listed.contains(id.to_string().as_str())) && !members.is_empty());
}

#[test]
fn what_was_foretold_stands_beside_what_came() {
    let root = tempfile::tempdir().unwrap();
    let folder = run(root.path(), &plan(), |n, _| n == 0);
    let markdown = || fs::read_to_string(root.path().join("report.md")).unwrap();
    let forecast = |percent, ran_seconds, likely: f64| Forecast {
        percent,
        ran_seconds,
        workers: 2,
        left: Estimate { likely, low: 0.9 * likely, high: 1.1 * likely },
    };
    let mut forecasts = Forecasts {
        jobs: 38,
        work: 1.0,
        ran_seconds: 4000.0,
        is_over: false,
        forecasts: vec![forecast(0, 10.0, 3600.0), forecast(50, 2000.0, 1900.0)],
        epoch_errors: vec![1.0, 4.0, 30.0],
    };
    folder.write_forecasts(&forecasts).unwrap();
    report::write(&folder).unwrap();
    assert!(!markdown().contains("Foretold"), "the sweep is not over");
    forecasts.is_over = true;
    folder.write_forecasts(&forecasts).unwrap();
    report::write(&folder).unwrap();
    let text = markdown();
    let (_, section) = text.split_once("## Foretold and real time").unwrap();
    assert_snapshot!(section.trim(), @r"
    Times count while a ferry run conducts the sweep. The interval is meant to hold 9 times in 10. The interval held 1 of 2 times. Seconds per epoch, foretold before a job began: median error 4.0 % over 3 jobs.

    | When | Workers | Foretold | Interval | Real | Error |
    | --- | --- | --- | --- | --- | --- |
    | at the start | 2 | 1 h 00 min | 54 min 00 s to 1 h 06 min (not held) | 1 h 06 min | -10 % |
    | after 50 % of the work | 2 | 31 min 40 s | 28 min 30 s to 34 min 50 s | 33 min 20 s | -5 % |
    ");
    let html = fs::read_to_string(root.path().join("report.html")).unwrap();
    assert!(html.contains("Foretold and real time") && html.contains("(not held)"));
    fs::write(root.path().join("forecasts.json"), "{}").unwrap();
    assert!(report::write(&folder).unwrap_err().to_string().contains("forecasts.json"));
}
