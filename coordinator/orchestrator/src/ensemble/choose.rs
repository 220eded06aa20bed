//! Which jobs an ensemble takes, and why: a pure function of the plan and the validation scores.
//!
//! Test scores are never used. Scores that agree to nine decimals count as equal, and ties go by the order of the plan,
//! so that neither rounding nor the order in which jobs finish matters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use shared::ids::JobId;
use shared::job::Settings;

use crate::sweep::plan::{EnsembleRule, Filter, Plan, PlannedJob, Query};

/// What is known about the plan's jobs. A job in neither has not finished yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Validation macro F1 in percent of the finished jobs.
    pub validation: BTreeMap<JobId, f64>,
    /// Jobs that failed for good.
    pub failed: BTreeSet<JobId>,
}

/// The members of an ensemble, as far as they are known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// Finished jobs in the order of the plan, each once.
    pub members: Vec<JobId>,
    /// One for each query of the rule, in its order.
    pub steps: Vec<Step>,
    #[serde(flatten)]
    pub certainty: Certainty,
}

/// Whether a selection can still change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Certainty {
    /// Every candidate that could matter has finished.
    Final,
    /// `waiting` jobs could still change the members; `failed` candidates are left out, but would count if they were
    /// trained after all.
    Provisional { waiting: Vec<JobId>, failed: Vec<JobId> },
}

/// What one query took, and from which candidates.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "take", rename_all = "snake_case")]
pub enum Step {
    All {
        filter: Filter,
        taken: Vec<JobId>,
    },
    /// `ranking` holds every finished candidate, best first. The first `k` are taken.
    Top {
        k: usize,
        filter: Filter,
        ranking: Vec<Ranked>,
        taken: Vec<JobId>,
    },
    /// `groups` holds every group, best mean first, and those without a finished job last. The first is taken.
    BestGroup {
        by: Vec<String>,
        filter: Filter,
        groups: Vec<GroupMean>,
        taken: Vec<JobId>,
    },
}

/// A finished candidate and its validation macro F1 in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    pub job: JobId,
    pub val_macro_f1: f64,
}

/// The jobs that share the values of a query's axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupMean {
    pub settings: Settings,
    /// All its jobs in the order of the plan.
    pub jobs: Vec<JobId>,
    pub finished: usize,
    /// Mean validation macro F1 of its finished jobs.
    pub mean: Option<f64>,
}

/// Applies an ensemble's rule to the scores known so far.
pub fn choose(plan: &Plan, scores: &Scores, rule: &EnsembleRule) -> Selection {
    let mut taken = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    let mut failed = BTreeSet::new();
    let steps = rule
        .members
        .iter()
        .map(|query| {
            let candidates = candidates(plan, query);
            failed.extend(candidates.iter().map(|job| job.id).filter(|id| scores.failed.contains(id)));
            let (step, open) = take(&candidates, scores, query);
            waiting.extend(open);
            taken.extend(step.taken().iter().copied());
            step
        })
        .collect();
    let in_plan_order = |set: &BTreeSet<JobId>| -> Vec<JobId> {
        plan.jobs.iter().map(|job| job.id).filter(|id| set.contains(id)).collect()
    };
    let certainty = if waiting.is_empty() && failed.is_empty() {
        Certainty::Final
    } else {
        Certainty::Provisional { waiting: in_plan_order(&waiting), failed: in_plan_order(&failed) }
    };
    Selection { members: in_plan_order(&taken), steps, certainty }
}

impl Step {
    /// The jobs this query took.
    pub fn taken(&self) -> &[JobId] {
        match self {
            Self::All { taken, .. } | Self::Top { taken, .. } | Self::BestGroup { taken, .. } => taken,
        }
    }
}

impl Scores {
    fn open(&self, job: JobId) -> bool {
        !self.validation.contains_key(&job) && !self.failed.contains(&job)
    }
}

fn candidates<'a>(plan: &'a Plan, query: &Query) -> Vec<&'a PlannedJob> {
    let (Query::All { filter } | Query::Top { filter, .. } | Query::BestGroup { filter, .. }) = query;
    plan.jobs.iter().filter(|job| job.matches(filter)).collect()
}

/// What the query takes now, and the unfinished jobs that could still change it.
fn take(candidates: &[&PlannedJob], scores: &Scores, query: &Query) -> (Step, Vec<JobId>) {
    let ids: Vec<JobId> = candidates.iter().map(|job| job.id).collect();
    let open = |ids: &[JobId]| ids.iter().copied().filter(|&id| scores.open(id)).collect();
    let finished = |ids: &[JobId]| -> Vec<JobId> {
        ids.iter().copied().filter(|id| scores.validation.contains_key(id)).collect()
    };
    match query {
        Query::All { filter } => (Step::All { filter: filter.clone(), taken: finished(&ids) }, open(&ids)),
        Query::Top { k, filter } => {
            let ranking = ranking(&ids, scores);
            let taken = ranking.iter().take(*k).map(|ranked| ranked.job).collect();
            (Step::Top { k: *k, filter: filter.clone(), ranking, taken }, open(&ids))
        }
        Query::BestGroup { by, filter } => {
            let mut groups = groups(candidates, scores, by);
            let open = groups
                .iter()
                .filter(|group| can_win(group, &groups, scores))
                .flat_map(|group| open(&group.jobs))
                .collect();
            // A stable sort, so that equal means keep the order of the plan.
            groups.sort_by_key(|group| std::cmp::Reverse(group.mean.map(grid)));
            let best = groups.first().filter(|group| group.mean.is_some());
            let taken = best.map(|group| finished(&group.jobs)).unwrap_or_default();
            (Step::BestGroup { by: by.clone(), filter: filter.clone(), groups, taken }, open)
        }
    }
}

fn ranking(ids: &[JobId], scores: &Scores) -> Vec<Ranked> {
    let score = |&job: &JobId| scores.validation.get(&job).map(|&val_macro_f1| Ranked { job, val_macro_f1 });
    let mut ranking: Vec<Ranked> = ids.iter().filter_map(score).collect();
    ranking.sort_by_key(|ranked| std::cmp::Reverse(grid(ranked.val_macro_f1)));
    ranking
}

fn groups(candidates: &[&PlannedJob], scores: &Scores, by: &[String]) -> Vec<GroupMean> {
    let mut groups: Vec<GroupMean> = Vec::new();
    for job in candidates {
        let settings: Settings =
            by.iter().map(|name| (name.clone(), job.value(name).unwrap_or(Value::Null))).collect();
        match groups.iter_mut().find(|group| group.settings == settings) {
            Some(group) => group.jobs.push(job.id),
            None => groups.push(GroupMean { settings, jobs: vec![job.id], finished: 0, mean: None }),
        }
    }
    for group in &mut groups {
        let finished: Vec<f64> =
            group.jobs.iter().filter_map(|id| scores.validation.get(id)).copied().collect();
        group.finished = finished.len();
        group.mean = (!finished.is_empty()).then(|| finished.iter().sum::<f64>() / finished.len() as f64);
    }
    groups
}

/// True when `group` leads, or would lead if its unfinished jobs scored 100 and those of the others 0.
fn can_win(group: &GroupMean, groups: &[GroupMean], scores: &Scores) -> bool {
    let bound = |group: &GroupMean, unfinished: f64| {
        let open = group.jobs.iter().filter(|&&id| scores.open(id)).count();
        let sum = group.mean.unwrap_or(0.0) * group.finished as f64 + unfinished * open as f64;
        grid(sum / (group.finished + open).max(1) as f64)
    };
    let others = groups.iter().filter(|other| other.finished > 0);
    others.map(|other| bound(other, 0.0)).max().is_none_or(|best| bound(group, 100.0) >= best)
}

/// F1 in units of 1e-9 percentage points: sums in another order differ by less, and integers compare exactly.
fn grid(f1: f64) -> i64 {
    (f1 * 1e9).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::plan::DatasetSource;
    use proptest::prelude::*;
    use serde_json::json;
    use shared::job::JobSpec;
    use uuid::Uuid;

    fn id(n: usize) -> JobId {
        JobId::new(Uuid::from_u128(n as u128))
    }

    /// Jobs 0.. in groups of two subset seeds by number of heads: 0 and 1 have one head, 2 and 3 two, ...
    fn plan(jobs: usize) -> Plan {
        let job = |n: usize| {
            let spec = JobSpec::default().with("heads", json!(n / 2 + 1)).unwrap();
            let spec = spec.with("subset_seed", json!(n % 2)).unwrap();
            let params = Settings::new();
            PlannedJob { id: id(n), group: "weak".into(), also_in: vec![], params, spec }
        };
        Plan {
            name: "hand".into(),
            dataset: DatasetSource::Pack("faces".into()),
            dataset_digest: Some("d".into()),
            checkpoint_every: shared::protocol::CheckpointEvery::default(),
            jobs: (0..jobs).map(job).collect(),
            ensembles: vec![],
            tables: vec![],
            weights: vec![],
            notes: vec![],
        }
    }

    fn scores(known: &[(usize, f64)]) -> Scores {
        Scores { validation: known.iter().map(|&(n, f1)| (id(n), f1)).collect(), failed: BTreeSet::new() }
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
        assert_eq!(ranking[2], Ranked { job: id(3), val_macro_f1: 77.0 });
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
        known.validation.remove(&id(1));
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

    proptest! {
        /// What `Final` promises: the members stay, whatever the open jobs score.
        #[test]
        fn a_final_selection_never_changes(
            all in prop::collection::vec(0u32..=20, 6),
            hidden in prop::collection::vec(any::<bool>(), 6),
            k in 1usize..4,
        ) {
            let every: Vec<_> = all.iter().enumerate().map(|(n, &f1)| (n, f64::from(f1) * 5.0)).collect();
            let known: Vec<_> = every.iter().copied().filter(|&(n, _)| !hidden[n]).collect();
            for query in [top(k), best_group(), Query::All { filter: Filter::new() }] {
                let rule = rule(vec![query]);
                let early = choose(&plan(6), &scores(&known), &rule);
                let late = choose(&plan(6), &scores(&every), &rule);
                prop_assert_eq!(&late.certainty, &Certainty::Final);
                if early.certainty == Certainty::Final {
                    prop_assert_eq!(early.members, late.members);
                }
            }
        }
    }
}
