//! The state of a run as displays need it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::JobId;
use shared::metrics::Goal;
use shared::plural::count;
use shared::protocol::LiveReport;

use crate::cost::Estimate;
use crate::engine::Tally;
use crate::events::EventKind;
use crate::sweep::plan::Plan;

/// One moment of a run.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub tally: Tally,
    /// The jobs that workers report, by worker.
    pub live: Vec<LiveJob>,
    /// What scores are called.
    pub score_name: String,
    /// Whether a higher or a lower score is better.
    pub goal: Goal,
    /// The best finished or running job, and its score.
    pub best: Option<(JobId, f64)>,
    /// The ensembles that have a score so far.
    pub ensembles: BTreeMap<String, f64>,
    pub elapsed: Duration,
    /// How long it still takes; `None` while that is not known.
    pub left: Option<Estimate>,
    /// For how long the server has not answered; `None` if it answers.
    pub server_away: Option<Duration>,
}

/// A job that a worker reports.
#[derive(Debug, Clone)]
pub struct LiveJob {
    pub report: LiveReport,
    /// The job's label, with the name of its sweep if that is another one.
    pub label: String,
    /// True if it belongs to this sweep.
    pub own: bool,
    /// Its score so far.
    pub score: Option<f64>,
}

impl Snapshot {
    /// A job has reached this score. Called for every score, because most epochs begin and end between two snapshots.
    pub fn saw(&mut self, job: JobId, score: f64) {
        let is_better = |best: f64| match self.goal {
            Goal::Max => score > best,
            Goal::Min => score < best,
        };
        if self.best.is_none_or(|(_, best)| is_better(best)) {
            self.best = Some((job, score));
        }
    }

    /// Takes the scores of an event.
    pub fn heard(&mut self, event: &EventKind) {
        if let EventKind::Reported { job, score: Some(score), .. } = event {
            self.saw(*job, *score);
        } else if let EventKind::EnsembleScored { ensemble, state, .. } = event {
            match state.score() {
                Some(score) => self.ensembles.insert(ensemble.clone(), score),
                None => self.ensembles.remove(ensemble),
            };
        }
    }

    /// Forgets ensembles that a changed plan no longer has.
    pub fn follow(&mut self, plan: &Plan) {
        self.ensembles.retain(|name, _| plan.ensembles.iter().any(|rule| rule.name == *name));
    }
}

/// `1:02:03`, or `2:03` below an hour.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A part of a line. If there is no room for all, the least important part is dropped first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub importance: u8,
    pub text: String,
}

/// The progress of a run, in parts of one line.
pub fn headline(snapshot: &Snapshot) -> Vec<Part> {
    let tally = snapshot.tally;
    let elsewhere = snapshot.live.iter().filter(|job| !job.own).count();
    let [likely, low, high] = snapshot.left.unwrap_or(Estimate::NOTHING).times().map(clock);
    let eta = if snapshot.left.is_some() { likely } else { "unknown".to_owned() };
    let ensemble = snapshot.ensembles.values().copied().reduce(f64::max);
    let is_open = snapshot.left.is_some_and(|left| left.high > 0.0);
    // Failed, lost and returned are different: the training failed, its worker vanished, or the server, the network or
    // a disk was in the way.
    let parts = [
        (9, true, format!("{}/{} jobs done", tally.done, tally.total())),
        (6, tally.failed > 0, format!("{} failed", tally.failed)),
        (7, true, format!("{} running", tally.running)),
        (6, tally.paused > 0, format!("{} paused", tally.paused)),
        (6, tally.cancelled > 0, format!("{} cancelled", tally.cancelled)),
        (4, elsewhere > 0, format!("{} on other sweeps", count(elsewhere, "worker"))),
        (3, tally.failures > 0, count(tally.failures, "error")),
        (2, tally.losses > 0, format!("{} lost", count(tally.losses, "worker"))),
        (1, tally.deferrals > 0, format!("{} returned", tally.deferrals)),
        (
            4,
            snapshot.best.is_some(),
            format!("best {} {:.1}", snapshot.score_name, snapshot.best.map_or(0.0, |(_, score)| score)),
        ),
        (4, ensemble.is_some(), format!("best ensemble F1 {:.1}", ensemble.unwrap_or(0.0))),
        (5, true, clock(snapshot.elapsed)),
        (8, snapshot.server_away.is_none(), format!("ETA {eta}")),
        (4, snapshot.server_away.is_none() && is_open, format!("{low} to {high}")),
        (
            10,
            snapshot.server_away.is_some(),
            format!("no answer from the server for {}", clock(snapshot.server_away.unwrap_or_default())),
        ),
    ];
    let known = parts.into_iter().filter(|(_, known, _)| *known);
    known.map(|(importance, _, text)| Part { importance, text }).collect()
}
