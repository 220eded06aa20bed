//! Why an ensemble has its members: the candidates of each query, what each member adds, and how ties were broken. Test
//! scores play no part in it.

use serde::Serialize;
use serde_json::Value;
use shared::ids::JobId;
use shared::metrics::Ranking;
use shared::plural::count;
use shared::result::VALIDATION;

use super::error::ReportError;
use super::results::{self, EnsembleRow};
use crate::ensemble::{GroupMean, MemberProbabilities, Ranked, Step, are_equal, score, vote};
use crate::run_dir::RunRecord;
use crate::view::labels::Labels;

/// Everything that led to the members of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub ensemble: EnsembleRow,
    /// One for each member, in the order of the plan.
    pub contributions: Vec<Contribution>,
    /// How ties were broken, each in a sentence.
    pub ties: Vec<String>,
}

/// What one member adds to an ensemble, by the macro F1 on validation in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    pub job: JobId,
    pub label: String,
    /// Of the member alone.
    pub alone: Option<f64>,
    /// Of the ensemble without it; `None` if it is the only member.
    pub without: Option<f64>,
}

/// Explains the ensemble named `name`; `None` if the plan has no such ensemble.
///
/// # Errors
/// When the members cannot vote together.
pub fn explain(record: &RunRecord, name: &str) -> Result<Option<Explanation>, ReportError> {
    let results = results::build(record)?;
    let Some(ensemble) = results.ensembles.into_iter().find(|ensemble| ensemble.name == name) else {
        return Ok(None);
    };
    let labels = Labels::of(&record.plan);
    let contributions = contributions(record, &ensemble, &labels)?;
    let ranking = &record.plan.ranking;
    let ties = ensemble.selection.steps.iter().filter_map(|step| tie(step, ranking, &labels)).collect();
    Ok(Some(Explanation { ensemble, contributions, ties }))
}

fn contributions(
    record: &RunRecord,
    ensemble: &EnsembleRow,
    labels: &Labels,
) -> Result<Vec<Contribution>, ReportError> {
    let jobs = &ensemble.selection.members;
    let members: Option<Vec<MemberProbabilities<'_>>> =
        jobs.iter().map(|&job| results::member(record, job, VALIDATION)).collect();
    let voted = |members: &[MemberProbabilities<'_>]| -> Result<Option<f64>, ReportError> {
        let Some(samples) = record.samples.get(VALIDATION).filter(|_| !members.is_empty()) else {
            return Ok(None);
        };
        let mean =
            vote(members).map_err(|source| ReportError::Vote { ensemble: ensemble.name.clone(), source })?;
        Ok(score(&mean, samples).map(|score| score.macro_f1))
    };
    let contribution = |(place, &job): (usize, &JobId)| {
        let (alone, without) = match &members {
            None => (None, None),
            Some(members) => {
                let mut others = members.clone();
                let member = others.remove(place);
                (voted(&[member])?, voted(&others)?)
            }
        };
        Ok(Contribution { job, label: labels.get(job), alone, without })
    };
    jobs.iter().enumerate().map(contribution).collect()
}

/// What decided between candidates that score the same, one of which was taken and the other was not.
fn tie(step: &Step, ranking: &Ranking, labels: &Labels) -> Option<String> {
    match step {
        Step::All { .. } => None,
        Step::Top { k, ranking: candidates, .. } => {
            let last = k.checked_sub(1).and_then(|last| candidates.get(last))?;
            let next = candidates.get(*k)?;
            let tied = |one: &&Ranked| are_equal(ranking, one.score, last.score);
            let (taken, left) = (candidates[..*k].iter().filter(tied), candidates[*k..].iter().filter(tied));
            are_equal(ranking, last.score, next.score).then(|| {
                format!(
                    "{} score {:.2}, and only {} could be taken: those that come first in the plan; left out: {}",
                    count(taken.clone().count() + left.clone().count(), "candidate"),
                    last.score,
                    taken.count(),
                    left.map(|one| labels.get(one.job)).collect::<Vec<_>>().join(", ")
                )
            })
        }
        Step::BestGroup { groups, .. } => {
            let (first, second) = (groups.first()?, groups.get(1)?);
            are_equal(ranking, first.mean?, second.mean?).then(|| {
                format!(
                    "the groups {} and {} have the same mean, {:.2}; the first of them comes first in the plan",
                    settings(first),
                    settings(second),
                    first.mean.unwrap_or_default()
                )
            })
        }
    }
}

/// The settings that the jobs of a group share, in words.
pub fn settings(group: &GroupMean) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let words: Vec<String> =
        group.settings.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
    if words.is_empty() { "of all candidates".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use shared::metrics::{Goal, Ranking};
    use uuid::Uuid;

    use super::*;
    use crate::sweep::plan::Filter;

    fn best(k: usize, scores: &[f64]) -> Step {
        let ranked = |(n, &score): (u128, &f64)| Ranked { job: JobId::new(Uuid::from_u128(n << 96)), score };
        let ranking: Vec<Ranked> = (1..).zip(scores).map(ranked).collect();
        let taken = ranking.iter().take(k).map(|one| one.job).collect();
        Step::Top { k, filter: Filter::new(), ranking, taken }
    }

    #[test]
    fn a_tie_is_told_if_it_decided_something() {
        let ranking = Ranking { metric: "score".into(), goal: Goal::Max };
        let told = |k, scores: &[f64]| tie(&best(k, scores), &ranking, &Labels::default());
        assert_eq!(told(2, &[9.0, 8.0, 7.0]), None);
        assert_eq!(told(3, &[9.0, 8.0, 8.0]), None, "both were taken");
        assert_eq!(told(0, &[9.0]), None);
        insta::assert_snapshot!(told(2, &[9.0, 8.0, 8.0, 8.0, 7.0]).unwrap_or_default(), @"3 candidates score 8.00, and only 1 could be taken: those that come first in the plan; left out: 00000003, 00000004");
    }
}
