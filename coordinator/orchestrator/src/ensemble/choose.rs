//! Which jobs an ensemble takes, and why: a pure function of the plan and the jobs' scores on validation.
//!
//! Test scores are never used. Scores that agree to nine decimals count as equal, and ties go by the order of the plan,
//! so that neither rounding nor the order in which jobs finish matters.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;
use shared::ids::JobId;
use shared::metrics::{Goal, Ranking};
use shared::mtl::report::VAL_MACRO_F1;
use shared::settings::Settings;

use crate::sweep::plan::{EnsembleRule, Filter, Plan, PlannedJob, Query};

/// What is known about the plan's jobs. A job in none of them has not finished yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// The finished jobs' values of the metric that ranks.
    pub ranking: BTreeMap<JobId, f64>,
    /// Finished jobs without such a value, or with one that is not a number. They are never among the best.
    pub unranked: BTreeSet<JobId>,
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

/// A finished candidate and its value of the metric that ranks. Its name in results.json is from when that was always
/// the validation macro F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    pub job: JobId,
    #[serde(rename = "val_macro_f1")]
    pub score: f64,
}

/// The jobs that share the values of a query's axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupMean {
    pub settings: Settings,
    /// All its jobs in the order of the plan.
    pub jobs: Vec<JobId>,
    pub finished: usize,
    /// Mean score of its finished jobs.
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
            let (step, open) = take(&candidates, scores, &plan.ranking, query);
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
        !self.ranking.contains_key(&job) && !self.unranked.contains(&job) && !self.failed.contains(&job)
    }
}

fn candidates<'a>(plan: &'a Plan, query: &Query) -> Vec<&'a PlannedJob> {
    plan.jobs.iter().filter(|job| job.matches(query.filter())).collect()
}

/// What the query takes now, and the unfinished jobs that could still change it.
fn take(candidates: &[&PlannedJob], scores: &Scores, metric: &Ranking, query: &Query) -> (Step, Vec<JobId>) {
    let ids: Vec<JobId> = candidates.iter().map(|job| job.id).collect();
    let open = |ids: &[JobId]| ids.iter().copied().filter(|&id| scores.open(id)).collect();
    match query {
        Query::All { filter } => {
            let finished = |id: &JobId| scores.ranking.contains_key(id) || scores.unranked.contains(id);
            let taken = ids.iter().copied().filter(finished).collect();
            (Step::All { filter: filter.clone(), taken }, open(&ids))
        }
        Query::Top { k, filter } => {
            let ranking = ranking(&ids, scores, metric);
            let taken = ranking.iter().take(*k).map(|ranked| ranked.job).collect();
            (Step::Top { k: *k, filter: filter.clone(), ranking, taken }, open(&ids))
        }
        Query::BestGroup { by, filter } => {
            let mut groups = groups(candidates, scores, by);
            let most = groups.iter().filter_map(|group| bound(group, scores, metric, Rest::Worst));
            let most = most.max_by(f64::total_cmp);
            let open = groups
                .iter()
                .filter(|group| can_win(group, most, scores, metric))
                .flat_map(|group| open(&group.jobs))
                .collect();
            // A stable sort, so that equal means keep the order of the plan.
            groups.sort_by(|a, b| match (a.mean, b.mean) {
                (Some(a), Some(b)) => by_merit(metric, a, b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            let best = groups.first().filter(|group| group.mean.is_some());
            let ranked = |id: &JobId| scores.ranking.contains_key(id);
            let taken = best.map(|group| group.jobs.iter().copied().filter(ranked).collect());
            (
                Step::BestGroup {
                    by: by.clone(),
                    filter: filter.clone(),
                    groups,
                    taken: taken.unwrap_or_default(),
                },
                open,
            )
        }
    }
}

fn ranking(ids: &[JobId], scores: &Scores, metric: &Ranking) -> Vec<Ranked> {
    let score = |&job: &JobId| scores.ranking.get(&job).map(|&score| Ranked { job, score });
    let mut ranking: Vec<Ranked> = ids.iter().filter_map(score).collect();
    ranking.sort_by(|a, b| by_merit(metric, a.score, b.score));
    ranking
}

fn groups(candidates: &[&PlannedJob], scores: &Scores, by: &[String]) -> Vec<GroupMean> {
    let mut groups: Vec<GroupMean> = Vec::new();
    let mut places: HashMap<Vec<Value>, usize> = HashMap::new();
    for job in candidates {
        let values: Vec<Value> = by.iter().map(|name| job.value(name).unwrap_or(Value::Null)).collect();
        if let Some(&place) = places.get(&values) {
            groups[place].jobs.push(job.id);
            continue;
        }
        let settings = by.iter().cloned().zip(values.iter().cloned()).collect();
        places.insert(values, groups.len());
        groups.push(GroupMean { settings, jobs: vec![job.id], finished: 0, mean: None });
    }
    for group in &mut groups {
        let finished: Vec<f64> = group.jobs.iter().filter_map(|id| scores.ranking.get(id)).copied().collect();
        group.finished = finished.len();
        group.mean = (!finished.is_empty()).then(|| finished.iter().sum::<f64>() / finished.len() as f64);
    }
    groups
}

/// What the unfinished jobs of a group are assumed to score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Best,
    Worst,
}

/// True when `group` leads, or would lead if its unfinished jobs had the best score there is and those of the others
/// the worst; `most` is the highest merit of the groups in that worst case. If the metric has no bounds, always.
fn can_win(group: &GroupMean, most: Option<f64>, scores: &Scores, metric: &Ranking) -> bool {
    bound(group, scores, metric, Rest::Best).zip(most).is_none_or(|(merit, most)| merit >= most)
}

/// The merit of the group's mean if its unfinished jobs score as assumed. `None` without bounds on the metric, or, for
/// the worst case, without a finished job.
fn bound(group: &GroupMean, scores: &Scores, metric: &Ranking, rest: Rest) -> Option<f64> {
    // The only metric that is known to be in percent.
    let (low, high) = (metric.metric == VAL_MACRO_F1).then_some((0.0, 100.0))?;
    let unfinished = match (rest, metric.goal) {
        (Rest::Best, Goal::Max) | (Rest::Worst, Goal::Min) => high,
        (Rest::Best, Goal::Min) | (Rest::Worst, Goal::Max) => low,
    };
    if rest == Rest::Worst && group.finished == 0 {
        return None;
    }
    let open = group.jobs.iter().filter(|&&id| scores.open(id)).count();
    let sum = group.mean.unwrap_or(0.0) * group.finished as f64 + unfinished * open as f64;
    Some(grid(metric.merit(sum / (group.finished + open).max(1) as f64)))
}

/// The better score first.
fn by_merit(metric: &Ranking, a: f64, b: f64) -> Ordering {
    grid(metric.merit(b)).total_cmp(&grid(metric.merit(a)))
}

/// True if neither score is better than the other.
pub fn are_equal(metric: &Ranking, a: f64, b: f64) -> bool {
    by_merit(metric, a, b) == Ordering::Equal
}

/// A merit to nine decimals, in units of the last: sums in another order differ by less. There is no negative zero.
fn grid(merit: f64) -> f64 {
    (merit * 1e9).round() + 0.0
}

#[cfg(test)]
mod tests;
