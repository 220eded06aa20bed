//! Who is chosen from hand-made scores, and what `Final` promises.

use super::*;
use crate::sweep::plan::DatasetSource;
use proptest::prelude::*;
use serde_json::json;
use shared::mtl::MtlSpec;
use uuid::Uuid;

fn id(n: usize) -> JobId {
    JobId::new(Uuid::from_u128(n as u128))
}

/// Jobs 0.. in groups of two subset seeds by number of heads: 0 and 1 have one head, 2 and 3 two, ...
fn plan(jobs: usize) -> Plan {
    let job = |n: usize| {
        let spec = MtlSpec::default().with("heads", json!(n / 2 + 1)).unwrap();
        let spec = spec.with("subset_seed", json!(n % 2)).unwrap();
        let params = Settings::new().into();
        PlannedJob {
            id: id(n),
            group: "weak".into(),
            also_in: vec![],
            params,
            settings: spec.settings().into(),
        }
    };
    Plan {
        name: "hand".into(),
        trainer: shared::mtl::trainer(),
        ranking: by(VAL_MACRO_F1, Goal::Max),
        dataset: Some(DatasetSource::Pack("faces".into())),
        dataset_digest: Some("d".into()),
        checkpoint_every: shared::protocol::CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: shared::protocol::Priority::NORMAL,
        jobs: (0..jobs).map(job).collect(),
        ensembles: vec![],
        tables: vec![],
        weights: vec![],
        requested: crate::sweep::plan::Requested::default(),
        notes: vec![],
    }
}

fn by(metric: &str, goal: Goal) -> Ranking {
    Ranking { metric: metric.into(), goal }
}

fn scores(known: &[(usize, f64)]) -> Scores {
    Scores { ranking: known.iter().map(|&(n, f1)| (id(n), f1)).collect(), ..Scores::default() }
}

fn rule(members: Vec<Query>) -> EnsembleRule {
    EnsembleRule { name: "e".into(), members, size: 0, paper: None }
}

fn top(k: usize) -> Query {
    Query::Top { k, filter: Filter::new() }
}

fn best_group() -> Query {
    Query::BestGroup { by: vec!["heads".into()], filter: Filter::new() }
}

fn members(scores: &Scores, query: Query) -> Vec<JobId> {
    choose(&plan(6), scores, &rule(vec![query])).members
}

const ALL: [(usize, f64); 6] = [(0, 60.0), (1, 90.0), (2, 74.0), (3, 77.0), (4, 80.0), (5, 70.0)];

#[test]
fn top_takes_the_best_in_plan_order_and_names_the_runner_up() {
    let selection = choose(&plan(6), &scores(&ALL), &rule(vec![top(2)]));
    assert_eq!(selection.members, [id(1), id(4)]);
    assert_eq!(selection.certainty, Certainty::Final);
    let Step::Top { ranking, .. } = &selection.steps[0] else { panic!("{:?}", selection.steps) };
    assert_eq!(ranking[2], Ranked { job: id(3), score: 77.0 });
}

#[test]
fn the_best_group_is_not_the_group_of_the_best_job() {
    // Job 1 scores highest, yet heads = 2 (jobs 2, 3) has the best mean, 75.5, before 75.
    assert_eq!(members(&scores(&ALL), best_group()), [id(2), id(3)]);
}

#[test]
fn equal_scores_go_by_plan_order_even_when_rounding_differs() {
    let equal = [(0, 70.0), (1, 70.0), (2, 70.0 + 1e-12), (3, 70.0), (4, 70.0), (5, 70.0)];
    assert_eq!(members(&scores(&equal), top(2)), [id(0), id(1)]);
    assert_eq!(members(&scores(&equal), best_group()), [id(0), id(1)]);
}

#[test]
fn unions_count_a_job_once() {
    let filter = Filter::from([("heads".into(), vec![json!(3)])]);
    let selection = choose(&plan(6), &scores(&ALL), &rule(vec![top(2), Query::All { filter }]));
    assert_eq!(selection.members, [id(1), id(4), id(5)]);
}

#[test]
fn unfinished_candidates_make_it_provisional_only_while_they_matter() {
    let known = scores(&ALL[..5]);
    let waiting = |query| choose(&plan(6), &known, &rule(vec![query])).certainty;
    let open = Certainty::Provisional { waiting: vec![id(5)], failed: vec![] };
    assert_eq!(waiting(top(2)), open);
    assert_eq!(waiting(best_group()), open);
    // The mean of 10 and at best 100 is 55: this group can no longer win.
    let hopeless = scores(&[(0, 60.0), (1, 90.0), (2, 74.0), (3, 77.0), (4, 10.0)]);
    let selection = choose(&plan(6), &hopeless, &rule(vec![best_group()]));
    assert_eq!((selection.members, selection.certainty), (vec![id(2), id(3)], Certainty::Final));
}

#[test]
fn failed_candidates_are_left_out_and_named() {
    let mut known = scores(&ALL);
    known.ranking.remove(&id(1));
    known.failed.insert(id(1));
    let selection = choose(&plan(6), &known, &rule(vec![top(2)]));
    assert_eq!(selection.members, [id(3), id(4)]);
    let expected = Certainty::Provisional { waiting: vec![], failed: vec![id(1)] };
    assert_eq!(selection.certainty, expected);
}

#[test]
fn nothing_finished_selects_nothing() {
    let selection = choose(&plan(4), &Scores::default(), &rule(vec![top(2), best_group()]));
    assert!(selection.members.is_empty());
    let expected = Certainty::Provisional { waiting: (0..4).map(id).collect(), failed: vec![] };
    assert_eq!(selection.certainty, expected);
}

#[test]
fn the_best_may_be_the_lowest() {
    let loss = Plan { ranking: by("loss", Goal::Min), ..plan(6) };
    let members = |query| choose(&loss, &scores(&ALL), &rule(vec![query])).members;
    assert_eq!(members(top(2)), [id(0), id(5)]);
    // The means are 75, 75.5 and 75: equals go by the order of the plan.
    assert_eq!(members(best_group()), [id(0), id(1)]);
    let json = serde_json::to_value(choose(&loss, &scores(&ALL), &rule(vec![top(1)]))).unwrap();
    assert_eq!(json["steps"][0]["ranking"][1], json!({"job": id(5), "val_macro_f1": 70.0}));
}

#[test]
fn without_bounds_any_unfinished_candidate_can_matter() {
    let hopeless = scores(&[(0, 60.0), (1, 90.0), (2, 74.0), (3, 77.0), (4, 10.0)]);
    for (goal, members) in [(Goal::Max, [id(2), id(3)]), (Goal::Min, [id(0), id(1)])] {
        let mut known = hopeless.clone();
        if goal == Goal::Min {
            // The mean of 190 and at best 0 is 95.
            known.ranking.insert(id(4), 190.0);
        }
        let certainty = |metric: &str| {
            let plan = Plan { ranking: by(metric, goal), ..plan(6) };
            let selection = choose(&plan, &known, &rule(vec![best_group()]));
            assert_eq!(selection.members, members);
            selection.certainty
        };
        assert_eq!(certainty(VAL_MACRO_F1), Certainty::Final);
        let open = Certainty::Provisional { waiting: vec![id(5)], failed: vec![] };
        assert_eq!(certainty("reward"), open);
    }
}

#[test]
fn a_finished_job_without_a_score_waits_for_nothing_and_is_never_the_best() {
    let mut known = scores(&ALL);
    known.ranking.remove(&id(1));
    known.unranked.insert(id(1));
    let chosen = |query| choose(&plan(6), &known, &rule(vec![query]));
    assert_eq!(chosen(top(5)).members, [id(0), id(2), id(3), id(4), id(5)]);
    assert_eq!(chosen(best_group()).members, [id(2), id(3)]);
    let all = chosen(Query::All { filter: Filter::new() });
    assert_eq!((all.members.len(), all.certainty), (6, Certainty::Final));
}

proptest! {
    /// What `Final` promises: the members stay, whatever the open jobs score.
    #[test]
    fn a_final_selection_never_changes(
        all in prop::collection::vec(0u32..=20, 6),
        hidden in prop::collection::vec(any::<bool>(), 6),
        k in 1usize..4,
        lower in any::<bool>(),
    ) {
        let every: Vec<_> = all.iter().enumerate().map(|(n, &f1)| (n, f64::from(f1) * 5.0)).collect();
        let known: Vec<_> = every.iter().copied().filter(|&(n, _)| !hidden[n]).collect();
        let goal = if lower { Goal::Min } else { Goal::Max };
        let plan = Plan { ranking: by(VAL_MACRO_F1, goal), ..plan(6) };
        for query in [top(k), best_group(), Query::All { filter: Filter::new() }] {
            let rule = rule(vec![query]);
            let early = choose(&plan, &scores(&known), &rule);
            let late = choose(&plan, &scores(&every), &rule);
            prop_assert_eq!(&late.certainty, &Certainty::Final);
            if early.certainty == Certainty::Final {
                prop_assert_eq!(early.members, late.members);
            }
        }
    }
}
