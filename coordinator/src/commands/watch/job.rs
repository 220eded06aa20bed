//! One job of a watched sweep: its state, metrics and curves. Pure.

use shared::books::{JobRecord, JobState};
use shared::ids::Attempt;
use shared::metrics::{Metrics, Ranking};
use shared::protocol::{Priority, Steering, Wish};
use shared::result::JobResult;

use orchestrator::selection::Facts;
use orchestrator::service::finished_epochs;
use orchestrator::sweep::plan::Plan;

/// The most values of a curve that are kept of a finished job. There may be many such jobs.
const MOST_KEPT: usize = 120;

/// The state of a job in one word, as selections have it. In the order in which jobs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Failed,
    Pending,
    Paused,
    Done,
    Cancelled,
}

impl State {
    pub(super) const ALL: [Self; 6] =
        [Self::Running, Self::Failed, Self::Pending, Self::Paused, Self::Done, Self::Cancelled];

    fn of(record: Option<&JobRecord>, wish: Wish) -> Self {
        match (record.map(|record| &record.state), wish) {
            (None | Some(JobState::Pending), Wish::Train) => Self::Pending,
            (None | Some(JobState::Pending), Wish::Pause) => Self::Paused,
            (None | Some(JobState::Pending), Wish::Cancel) => Self::Cancelled,
            (Some(JobState::Running { .. }), _) => Self::Running,
            (Some(JobState::Done { .. }), _) => Self::Done,
            (Some(JobState::Failed { .. } | JobState::Parked { .. }), _) => Self::Failed,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts([usize; State::ALL.len()]);

impl Counts {
    pub(super) fn of(self, state: State) -> usize {
        self.0[state as usize]
    }

    pub(super) fn total(self) -> usize {
        self.0.iter().sum()
    }

    /// Those that still need training.
    pub(super) fn open(self) -> usize {
        self.of(State::Running) + self.of(State::Pending) + self.of(State::Paused)
    }

    pub(super) fn add(&mut self, state: State) {
        self.0[state as usize] += 1;
    }

    pub(super) fn take(&mut self, state: State) {
        self.0[state as usize] -= 1;
    }
}

/// One job.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// `None` before the first one.
    pub(super) record: Option<JobRecord>,
    /// The revision of that record.
    pub(super) revision: u64,
    /// What is requested of it.
    pub(super) steering: Steering,
    /// What is kept of its newest result.
    pub(super) result: Option<Kept>,
}

/// What is kept of a result.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    attempt: Attempt,
    metrics: Metrics,
    /// The metric that ranks, and the loss, where there are any.
    score: Vec<f64>,
    loss: Vec<f64>,
    warnings: Vec<String>,
}

impl Kept {
    /// Of a result; `loss` are the metrics whose sum is the loss.
    pub(super) fn of(result: &JobResult, ranking: &Ranking, loss: &[String], warnings: Vec<String>) -> Self {
        let course = |names: &[String]| {
            let all = result.history.iter().filter_map(|point| sum(&point.metrics, names));
            thinned(&all.collect::<Vec<_>>())
        };
        let (score, loss) = (course(std::slice::from_ref(&ranking.metric)), course(loss));
        Self { attempt: result.attempt, metrics: result.metrics.clone(), score, loss, warnings }
    }
}

impl Job {
    pub(super) fn state(&self) -> State {
        State::of(self.record.as_ref(), self.steering.wish)
    }

    /// What is kept of the result that the job ended with.
    fn ending(&self) -> Option<&Kept> {
        let Some(JobState::Done { token, .. }) = self.record.as_ref().map(|record| &record.state) else {
            return None;
        };
        self.result.as_ref().filter(|result| result.attempt == token.attempt)
    }

    /// Reasons not to trust its score.
    pub(super) fn warnings(&self) -> &[String] {
        self.ending().map_or(&[], |result| &result.warnings)
    }

    /// The worker that trains it or has finished it.
    pub(super) fn worker(&self) -> Option<&str> {
        match &self.record.as_ref()?.state {
            JobState::Running { token, .. } | JobState::Done { token, .. } => Some(token.owner.name()),
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => None,
        }
    }

    /// Finished epochs, of `epochs`.
    pub(super) fn epoch(&self, epochs: u32) -> u32 {
        self.record.as_ref().map_or(0, |record| finished_epochs(record, epochs))
    }

    /// The metrics of its result, or of its last report.
    pub(super) fn metrics(&self) -> Metrics {
        let last = || self.record.as_ref()?.history.reports.last().map(|last| last.point.metrics.clone());
        self.ending().map(|result| result.metrics.clone()).or_else(last).unwrap_or_default()
    }

    /// The metric that ranks, of the result or so far.
    pub(super) fn score(&self, ranking: &Ranking) -> Option<f64> {
        match self.ending() {
            Some(result) => ranking.score(&result.metrics),
            None => self.record.as_ref()?.last_score(),
        }
    }

    /// The course of one metric, or of several that are added up.
    pub(super) fn course(&self, metrics: &[String]) -> Vec<f64> {
        let Some(record) = &self.record else { return Vec::new() };
        let reports = record.history.reports.iter();
        reports.filter_map(|report| sum(&report.point.metrics, metrics)).collect()
    }

    /// The course of the metric that ranks.
    pub(super) fn scores(&self, ranking: &Ranking) -> Vec<f64> {
        match self.ending() {
            Some(result) => result.score.clone(),
            None => self.course(std::slice::from_ref(&ranking.metric)),
        }
    }

    /// The course of the loss, which is the sum of these metrics.
    pub(super) fn losses(&self, loss: &[String]) -> Vec<f64> {
        match self.ending() {
            Some(result) => result.loss.clone(),
            None => self.course(loss),
        }
    }

    /// How early it is trained.
    pub(super) fn priority(&self, plan: &Plan) -> Priority {
        self.steering.priority.unwrap_or(plan.priority)
    }

    pub(super) fn facts(&self, plan: &Plan, epochs: u32) -> Facts {
        let has_ended = self.record.as_ref().is_some_and(|record| record.state.is_final());
        Facts {
            state: self.state().name(),
            priority: if has_ended { Priority::NORMAL } else { self.priority(plan) },
            worker: self.worker().map(str::to_owned),
            epoch: self.epoch(epochs),
            attempts: self.record.as_ref().map_or(0, |record| record.attempts),
            score: self.score(&plan.ranking),
            metrics: self.metrics(),
        }
    }
}

fn sum(metrics: &Metrics, names: &[String]) -> Option<f64> {
    names.iter().filter_map(|name| metrics.get(name)).reduce(|sum, value| sum + value)
}

/// The names of metrics that are losses: one called so, or else all terms that begin so, whose sum is minimised.
pub(super) fn loss_names(metrics: &Metrics) -> Vec<String> {
    for whole in ["loss", "train_loss"] {
        if metrics.get(whole).is_some() {
            return vec![whole.to_owned()];
        }
    }
    let is_term = |name: &str| name.starts_with("loss_") || name.starts_with("loss.");
    metrics.iter().map(|(name, _)| name).filter(|name| is_term(name)).map(str::to_owned).collect()
}

/// At most [`MOST_KEPT`] of the values, evenly chosen; the last one is always among them.
fn thinned(values: &[f64]) -> Vec<f64> {
    let step = values.len().div_ceil(MOST_KEPT).max(1);
    let first = (values.len() + step - 1) % step;
    values.iter().skip(first).step_by(step).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_one_metric_or_the_sum_of_its_terms() {
        let terms = Metrics::default().with("loss_a", 1.0).with("loss_b", 2.0).with("val_f1", 3.0);
        assert_eq!(loss_names(&terms), ["loss_a", "loss_b"]);
        assert_eq!(sum(&terms, &loss_names(&terms)), Some(3.0));
        assert_eq!(loss_names(&terms.with("loss", 3.0)), ["loss"]);
        assert_eq!(loss_names(&Metrics::default().with("score", 1.0)), Vec::<String>::new());
        assert_eq!(sum(&Metrics::default(), &["loss".to_owned()]), None);
    }

    #[test]
    fn long_curves_are_thinned_and_end_where_they_ended() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let kept = thinned(&values);
        assert!(kept.len() <= MOST_KEPT && kept.len() > MOST_KEPT / 2, "{}", kept.len());
        assert_eq!(kept.last(), values.last());
        assert_eq!(thinned(&values[..3]), [1.0, 2.0, 3.0]);
        assert_eq!(thinned(&[]), Vec::<f64>::new());
    }
}
