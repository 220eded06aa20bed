//! The metric by which jobs are compared, as the report names and writes it.

use shared::metrics::{Goal, Ranking};
use shared::mtl::report::VAL_MACRO_F1;

use super::labels;
use crate::sweep::plan::Plan;

/// How the scores of jobs are named, written and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measure {
    ranking: Ranking,
    label: String,
}

impl Measure {
    pub(super) fn of(plan: &Plan) -> Self {
        let ranking = plan.ranking.clone();
        let usual = plan.kind().filter(|kind| kind.ranking().metric == ranking.metric);
        let label = match usual {
            _ if ranking.metric == VAL_MACRO_F1 => "F1".to_owned(),
            Some(kind) => kind.ranking_label().to_owned(),
            None => ranking.metric.clone(),
        };
        Self { ranking, label }
    }

    /// True for the validation macro F1 in percent: then the scores of jobs and of ensembles are alike.
    pub(super) fn is_f1(&self) -> bool {
        self.ranking.metric == VAL_MACRO_F1
    }

    /// What heads a column: `F1`, or the metric's name.
    pub(super) fn column(&self) -> &str {
        &self.label
    }

    /// In a sentence: `validation F1`, or the metric's name.
    pub(super) fn in_words(&self) -> String {
        if self.is_f1() { format!("validation {}", self.label) } else { self.label.clone() }
    }

    /// The same at the start of a sentence.
    pub(super) fn at_start(&self) -> String {
        if self.is_f1() { format!("Validation {}", self.label) } else { self.label.clone() }
    }

    /// `higher` or `lower`, whichever is better.
    pub(super) const fn better(&self) -> &'static str {
        match self.ranking.goal {
            Goal::Max => "higher",
            Goal::Min => "lower",
        }
    }

    /// The score, so that a higher value is always better.
    pub(super) fn merit(&self, score: f64) -> f64 {
        self.ranking.merit(score)
    }

    /// The metrics' value that ranks.
    pub(super) const fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// A score in a cell.
    pub(super) fn text(&self, score: f64) -> String {
        if self.is_f1() { labels::f1(score) } else { labels::number(score) }
    }

    /// A score, or a dash if there is none.
    pub(super) fn or_dash(&self, score: Option<f64>) -> String {
        score.map_or_else(|| "–".to_owned(), |score| self.text(score))
    }
}
