//! Which jobs are meant, and what is told about typing mistakes.

use std::path::Path;

use super::*;

/// Jobs of both groups: seeds 0 to 3 of `plain`, all of them with the paces `fast` and `slow`, and two of `other`.
fn plan() -> Plan {
    let text = "name: s\ntrainer: empty\ndefaults: {epochs: 9}\ngroups:\n  \
        plain: {matrix: {seed: [0, 1, 2, 3], epoch_ms: [1, 20]}}\n  \
        other: {matrix: {seed: [7, 8]}, settings: {classes: 3}}\n";
    crate::sweep::plan(text, Path::new(""), Path::new("")).unwrap()
}

fn facts(plan: &Plan) -> BTreeMap<JobId, Facts> {
    let score = |n: usize| if n < 2 { Some(50.0 + n as f64) } else { None };
    let each = |(n, job): (usize, &PlannedJob)| {
        let metrics =
            score(n).map_or_else(Metrics::default, |score| Metrics::default().with("val_f1", score));
        let state = if n < 2 { "done" } else { "pending" };
        let worker = (n < 2).then(|| "node7-gpu0".to_owned());
        let priority = Priority::new(if n == 4 { -5 } else { 0 }).unwrap();
        (job.id, Facts { state, priority, worker, epoch: 9, attempts: 1, score: score(n), metrics })
    };
    plan.jobs.iter().enumerate().map(each).collect()
}

/// The positions in the plan of the jobs that are meant.
fn chosen(words: &[&str]) -> Result<Vec<usize>, String> {
    let plan = plan();
    let selection = Selection::parse(words.iter().copied()).map_err(|error| error.to_string())?;
    let facts = facts(&plan);
    let jobs = selection.choose(&plan, &facts).map_err(|error| error.to_string())?;
    for job in &plan.jobs {
        assert_eq!(selection.means(job, &facts[&job.id]), jobs.contains(&job.id), "one by one: {words:?}");
    }
    Ok(jobs.iter().map(|job| plan.jobs.iter().position(|known| known.id == *job).unwrap()).collect())
}

fn means(words: &[&str], jobs: &[usize]) {
    assert_eq!(chosen(words).as_deref(), Ok(jobs), "{words:?}");
}

#[test]
fn all_conditions_must_hold() {
    means(&[], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    means(&["group=other"], &[8, 9]);
    means(&["group=pl*", "seed<2"], &[0, 1, 2, 3]);
    means(&["seed=1,3", "epoch_ms>=20"], &[3, 7]);
    means(&["seed!=0,1,2", "group!=other"], &[6, 7]);
    means(&["seed<=1.0", "epoch_ms=1"], &[0, 2]);
    means(&["state=done"], &[0, 1]);
    means(&["state=failed"], &[]);
    means(&["worker=node7-*", "val_f1>50"], &[1]);
    means(&["score>=50"], &[0, 1]);
    means(&["classes=3"], &[8, 9]);
    means(&["priority<0"], &[4]);
}

#[test]
fn of_several_ids_one_must_fit() {
    let plan = plan();
    let ids = [plan.jobs[4].id.to_string(), plan.jobs[9].id.to_string().to_uppercase()];
    means(&[&ids[0][..13], &ids[1]], &[4, 9]);
    means(&[&ids[0], &ids[1], "group=other"], &[9]);
}

#[test]
fn typing_mistakes_are_told() {
    let refused = |words: &[&str]| chosen(words).unwrap_err();
    insta::assert_snapshot!(refused(&["seeed=1"]), @"`seeed=1`: jobs of this sweep have no `seeed`; did you mean `seed`?");
    insta::assert_snapshot!(refused(&["zzz>1"]), @"`zzz>1`: jobs of this sweep have no `zzz`: use a setting, a metric that was reported, `group`, `state`, `priority`, `worker`, `epoch`, `attempts`, `score`");
    insta::assert_snapshot!(refused(&["group=weak"]), @r#"`group=weak`: no job has this value; the jobs have "plain", "other""#);
    insta::assert_snapshot!(refused(&["group<3"]), @r#"`group<3`: `group` is not a number; the jobs have "plain", "other""#);
    insta::assert_snapshot!(refused(&["seed<x"]), @"`seed<x` compares with `x`, which is not a number");
    insta::assert_snapshot!(refused(&["seed="]), @"`seed=` has nothing on one side of its sign; write NAME=VALUE");
    insta::assert_snapshot!(refused(&["demo"]), @"`demo` is not a sweep, a condition such as `epoch>3`, or the beginning of a job's id");
    insta::assert_snapshot!(refused(&["ffffffffffff"]), @"no job of this sweep has an id that begins with `ffffffffffff`; `ferry status --json` lists them");
}

#[test]
fn stars_stand_for_any_part() {
    for (pattern, text, expected) in [
        ("dino*", "dino_resnet50", true),
        ("*resnet*", "dino_resnet50", true),
        ("d*50", "dino_resnet50", true),
        ("*a*a", "a", false),
        ("a*a", "a", false),
        ("*", "", true),
        ("dino", "dino_resnet50", false),
    ] {
        assert_eq!(fits_text(pattern, text), expected, "{pattern} {text}");
    }
    assert!(fits("[1,1]", &serde_json::json!([1, 1])) && fits("null", &Value::Null));
    assert_eq!(alternatives("[1,1],[2,2]"), ["[1,1]", "[2,2]"]);
}
