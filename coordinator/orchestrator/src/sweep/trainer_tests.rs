//! Sweep files that name their trainer, and the metric that ranks its jobs.

use std::collections::BTreeSet;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::json;
use shared::empty::Empty;
use shared::metrics::{Goal, Ranking};
use shared::mtl::Mtl;
use shared::trainer::TrainerKind;

use super::plan;
use super::plan::{Plan, Query};
use super::problem::{Problem, SweepError};

/// A sweep of the empty trainer; each case replaces one piece of it.
const RIGHT: &str = "\
name: tiny
trainer: empty
defaults: {epochs: 2, epoch_ms: 5}
groups:
  a: {matrix: {seed: [0, 1, 2], gain: [1, 0.5]}}
  b:
    matrix: {seed: [0, 3]}
    settings: {gain: 1}
    exclude: [{seed: 3, gain: 1.0}]
    include: [{fail_in_epoch: 1}, {epochs: 3}]
ensembles:
  e:
    members:
      - {where: {group: a, gain: 0.5}, top: 2}
      - {where: {group: a}, best_group: [gain]}
      - {where: {fail_in_epoch: [null, 1], seed: [0, 1], epochs: 3}}
tables:
  - {title: t, rows: [gain, seed], mean_by: [gain], paper: [{gain: 1, seed: 2, f1: 50}]}
";

fn resolved(text: &str) -> Result<Plan, Vec<Problem>> {
    plan(text, Path::new(""), Path::new(""))
}

fn planned(text: &str) -> Plan {
    resolved(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

#[test]
fn jobs_of_another_trainer_are_planned() {
    let plan = planned(RIGHT);
    assert_eq!((plan.trainer.clone(), plan.ranking.clone()), (Empty.id(), Empty.ranking()));
    assert_eq!((&plan.dataset, &plan.dataset_digest, plan.has_inputs()), (&None, &None, true));
    // Group b's job with seed 0 is one of group a, its job with seed 3 is excluded, and two are included.
    assert_eq!(plan.jobs.len(), 8);
    assert_eq!(plan.jobs[0].also_in, ["b"]);
    let job = &plan.jobs[1];
    let params = json!({"seed": 0, "gain": 0.5, "epochs": 2, "fail_in_epoch": null});
    assert_eq!(json!(job.params), params);
    let settings = json!({
        "seed": 0, "epochs": 2, "epoch_ms": 5, "gain": 0.5, "fail_in_epoch": null, "classes": 0, "samples": 8,
    });
    assert_eq!(json!(job.settings), settings);
    assert_snapshot!(job.id.to_string(), @"f4235e3f-ec54-557f-a0fd-edfbd30568a1");
    assert_eq!(job.id, Empty.job(&job.settings.to_map(), "").id());
    assert_eq!(plan.jobs[0].settings["gain"], json!(1.0));
    let ids: BTreeSet<_> = plan.jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids.len(), 8);
    // A plan is stored with every run.
    let stored: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(stored, plan);
}

#[test]
fn ensembles_and_tables_name_the_settings_of_their_trainer() {
    let Plan { ensembles, tables, .. } = planned(RIGHT);
    let [Query::Top { k: 2, filter }, Query::BestGroup { by, .. }, Query::All { filter: all }] =
        ensembles[0].members.as_slice()
    else {
        panic!("{ensembles:?}")
    };
    assert_eq!((&filter["gain"], by.as_slice()), (&vec![json!(0.5)], &["gain".to_owned()][..]));
    assert_eq!(all["fail_in_epoch"], [json!(null), json!(1)]);
    assert_eq!(ensembles[0].size, 6);
    assert_eq!((tables[0].rows.len(), &tables[0].paper[0].row["gain"]), (2, &json!(1.0)));
}

/// What is said of `RIGHT` with `from` replaced by `to`, with the place.
#[track_caller]
fn refused(from: &str, to: &str) -> String {
    assert!(RIGHT.contains(from), "{from}");
    let text = RIGHT.replacen(from, to, 1);
    let problems = resolved(&text).unwrap_err();
    SweepError::new(Path::new("s"), &text, problems).to_string()
}

#[test]
fn settings_are_checked_by_the_schema_of_their_trainer() {
    let said = [
        refused("epoch_ms: 5", "epochms: 5"),
        refused("epoch_ms: 5", "heads: 4"),
        refused("epoch_ms: 5", "preset: paper"),
        refused("gain: [1", "gian: [1"),
        refused("epochs: 2", "epochs: many"),
        refused("epochs: 2", "epochs: 100001"),
        refused("{gain: 1}", "{gain: 1, samples: -1}"),
        refused("{epochs: 3}", "{classes: 1001}"),
        refused("group: a, gain", "group: a, fail_in_epoch"),
        refused("seed: 3, gain", "seed: 4, gain"),
        refused("best_group: [gain]", "best_group: [augmentation]"),
        refused("rows: [gain", "rows: [gians, gain"),
    ];
    assert_snapshot!(said.join("\n"), @r#"
    s:3:23: unknown key `epochms` in `defaults` (did you mean `epoch_ms`?)
    s:3:23: unknown key `heads` in `defaults` (known: classes, epoch_ms, epochs, fail_in_epoch, gain, samples, seed)
    s:3:23: unknown key `preset` in `defaults` (known: classes, epoch_ms, epochs, fail_in_epoch, gain, samples, seed)
    s:5:33: unknown key `gian` in `matrix` (did you mean `gain`?)
    s:3:20: `epochs`: expected a whole number, got "many"
    s:3:20: `epochs`: must be at most 100000; got 100001
    s:8:34: `samples`: -1 is too small; the least is 0
    s:10:45: `classes`: must be at most 1000; got 1001
    s:14:43: `fail_in_epoch`: expected a whole number or null or a list, got 0.5
    s:9:15: this exclude matches no combination that is left in the group (no combination has `seed` = 4; the group has 0, 3)
    s:15:42: `best_group`: there is no "augmentation" (known: classes, epoch_ms, epochs, fail_in_epoch, gain, samples, seed, group)
    s:18:23: `rows`: there is no "gians" (did you mean `gain`?)
    "#);
}

#[test]
fn an_unknown_trainer_is_answered_with_the_nearest() {
    let said = [
        refused("trainer: empty", "trainer: emtpy"),
        refused("trainer: empty", "trainer: torch"),
        refused("trainer: empty", "trainer: 007"),
        refused("trainer: empty", "trainer: [empty]"),
        refused("trainer: empty", "trianer: empty\ndataset: d").lines().next().unwrap().to_owned(),
    ];
    assert_snapshot!(said.join("\n"), @r#"
    s:2:10: `trainer`: there is no "emtpy" (did you mean `empty`?)
    s:2:10: `trainer`: there is no "torch" (known: mtl, empty)
    s:2:10: `trainer`: expected one of mtl, empty; got 007
    s:2:10: `trainer`: expected one of mtl, empty; got ["empty"]
    s:2:1: unknown key `trianer` in the file (did you mean `trainer`?)
    "#);
}

#[test]
fn a_dataset_is_named_where_the_trainer_reads_one() {
    let mtl = "name: a\ngroups: {x: {matrix: {heads: [1]}}}\n";
    let missing = resolved(mtl).unwrap_err();
    assert_eq!(missing[0].message, "the file: the key `dataset` is missing");
    let said = [
        refused("defaults:", "dataset: pack\ndefaults:"),
        refused("defaults:", "dataset: {synthetic: {}}\ndefaults:"),
    ];
    assert_snapshot!(said.join("\n"), @r"
    s:3:10: `dataset`: the trainer `empty` reads no dataset; leave `dataset` out
    s:3:10: `dataset`: the trainer `empty` reads no dataset; leave `dataset` out
    ");
}

#[test]
fn to_name_the_first_trainer_changes_nothing() {
    let text = "name: a\ndataset: d\ngroups: {x: {matrix: {heads: [1, 2], preset: [paper, small]}}}\n";
    let named = planned(&format!("trainer: mtl\n{text}"));
    assert_eq!(named, planned(text));
    assert_eq!((named.trainer, named.ranking), (Mtl.id(), Mtl.ranking()));
}

#[test]
fn a_sweep_may_be_ranked_by_another_metric() {
    let ranked =
        |rank_by: &str| planned(&RIGHT.replacen("defaults:", &format!("rank_by: {rank_by}\ndefaults:"), 1));
    let by = |metric: &str, goal| Ranking { metric: metric.to_owned(), goal };
    assert_eq!(ranked("{metric: loss.val, goal: min}").ranking, by("loss.val", Goal::Min));
    assert_eq!(ranked("{metric: score}").ranking, by("score", Goal::Max));
    // It is no part of a job.
    let ids = |plan: Plan| plan.jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(ranked("{metric: loss, goal: min}")), ids(planned(RIGHT)));
    let wrong = |rank_by: &str| refused("defaults:", &format!("rank_by: {rank_by}\ndefaults:"));
    let said = [
        wrong("{metric: ../x}"),
        wrong("{metric: ''}"),
        wrong("{metric: 1st place}"),
        wrong("{metric: 7}"),
        wrong("{goal: max}"),
        wrong("{metric: f1, goal: mx}"),
        wrong("{metric: f1, gaol: max}"),
        wrong("f1"),
    ];
    assert_snapshot!(said.join("\n"), @r#"
    s:3:19: `metric`: "../x" cannot be the name of a metric: use up to 64 letters, digits, `_`, `-` and `.`, and begin with a letter
    s:3:19: `metric`: "" cannot be the name of a metric: use up to 64 letters, digits, `_`, `-` and `.`, and begin with a letter
    s:3:19: `metric`: "1st place" cannot be the name of a metric: use up to 64 letters, digits, `_`, `-` and `.`, and begin with a letter
    s:3:19: `metric`: expected a text, got 7 (quote it: "7")
    s:3:10: `rank_by`: the key `metric` is missing
    s:3:29: `goal`: there is no "mx" (known: max, min)
    s:3:23: unknown key `gaol` in `rank_by` (did you mean `goal`?)
    s:3:10: `rank_by`: expected a map (`key: value`), got "f1"
    "#);
}
