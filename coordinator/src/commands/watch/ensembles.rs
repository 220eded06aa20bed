//! The ensembles of a watched sweep: how many of their candidates are done, and what they wait for. Pure.

use super::job::{Counts, State};
use super::jobs::Jobs;
use orchestrator::sweep::plan::Plan;

/// One ensemble. Its own score comes from the scoreboard, because it needs predictions, which are not read here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ensemble {
    pub(super) name: String,
    /// Number of members when all jobs are done.
    pub(super) size: usize,
    /// The places of the jobs that could be members.
    pub(super) candidates: Vec<usize>,
    pub(super) counts: Counts,
    /// The best score of a candidate that is done, and its place.
    pub(super) best: Option<(f64, usize)>,
    /// The first candidate that is not done, in the order in which jobs are listed.
    pub(super) awaits: Option<usize>,
}

/// The ensembles of a plan; [`Ensemble::count`] counts their candidates.
pub(super) fn of(plan: &Plan) -> Vec<Ensemble> {
    let ensemble = |rule: &orchestrator::sweep::plan::EnsembleRule| Ensemble {
        name: rule.name.clone(),
        size: rule.size,
        candidates: plan.candidates(rule).into_iter().collect(),
        counts: Counts::default(),
        best: None,
        awaits: None,
    };
    plan.ensembles.iter().map(ensemble).collect()
}

impl Ensemble {
    /// Looks at the candidates anew.
    pub(super) fn count(&mut self, jobs: &Jobs) {
        (self.counts, self.best) = (Counts::default(), None);
        let mut awaits: Option<(State, usize)> = None;
        for &place in &self.candidates {
            let state = jobs.get(place).state();
            self.counts.add(state);
            if state == State::Done {
                let merit = |score| jobs.plan.ranking.merit(score);
                if let Some(score) = jobs.score(place)
                    && self.best.is_none_or(|(best, _)| merit(score) > merit(best))
                {
                    self.best = Some((score, place));
                }
            } else if awaits.is_none_or(|(first, _)| (state as usize) < first as usize) {
                awaits = Some((state, place));
            }
        }
        self.awaits = awaits.map(|(_, place)| place);
    }

    /// What it waits for, or that all its candidates are done, in words.
    pub(super) fn waits_for(&self) -> String {
        let states = [State::Running, State::Pending, State::Paused, State::Failed, State::Cancelled];
        let waits: Vec<String> = states
            .into_iter()
            .filter(|&state| self.counts.of(state) > 0)
            .map(|state| format!("{} {}", self.counts.of(state), state.name()))
            .collect();
        if waits.is_empty() { "ready".to_owned() } else { format!("waits for {}", waits.join(", ")) }
    }
}
