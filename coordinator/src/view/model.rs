//! The state of a run as displays need it. Pure.

use std::time::Duration;

use shared::ids::JobId;
use shared::protocol::LiveReport;

use crate::engine::Tally;

/// One moment of a run.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub tally: Tally,
    /// What the workers say they do, by worker.
    pub live: Vec<LiveReport>,
    /// Validation macro F1 so far of the jobs in `live`, in percent.
    pub scores: Vec<Option<f64>>,
    /// The best finished or running job by validation macro F1, in percent.
    pub best: Option<(JobId, f64)>,
    pub elapsed: Duration,
    pub eta: Option<Duration>,
}

impl Snapshot {
    /// A job has reached this validation macro F1. Every score is told when it comes: most epochs begin and end between
    /// two looks at what is running.
    pub fn saw(&mut self, job: JobId, macro_f1: f64) {
        if self.best.is_none_or(|(_, best)| macro_f1 > best) {
            self.best = Some((job, macro_f1));
        }
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

/// The progress of a run in one line.
pub fn headline(snapshot: &Snapshot) -> String {
    let tally = snapshot.tally;
    let mut parts = vec![format!("{}/{} jobs done", tally.done, tally.total())];
    if tally.failed > 0 {
        parts.push(format!("{} failed", tally.failed));
    }
    parts.push(format!("{} running", tally.running));
    // Three different things: the training failed, its worker vanished, something passing was in the way.
    for (count, what) in
        [(tally.failures, "errors"), (tally.losses, "workers lost"), (tally.setbacks, "set back")]
    {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if let Some((_, f1)) = snapshot.best {
        parts.push(format!("best F1 {f1:.1}"));
    }
    parts.push(clock(snapshot.elapsed));
    parts
        .push(snapshot.eta.map_or_else(|| "ETA unknown yet".to_owned(), |eta| format!("ETA {}", clock(eta))));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_stays_whatever_comes_later() {
        let [first, second] = [1, 2].map(|n| JobId::new(uuid::Uuid::from_u128(n)));
        let mut snapshot = Snapshot::default();
        for (job, f1, best) in
            [(first, 40.0, (first, 40.0)), (second, 50.0, (second, 50.0)), (first, 45.0, (second, 50.0))]
        {
            snapshot.saw(job, f1);
            assert_eq!(snapshot.best, Some(best));
        }
        assert!(headline(&snapshot).contains("best F1 50.0"));
    }

    #[test]
    fn times_are_written_as_clocks() {
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }

    #[test]
    fn the_headline_says_what_is_known() {
        let tally = Tally { pending: 1, running: 2, done: 3, failed: 1, ..Tally::default() };
        let mut snapshot = Snapshot { tally, ..Snapshot::default() };
        assert_eq!(headline(&snapshot), "3/7 jobs done · 1 failed · 2 running · 0:00 · ETA unknown yet");
        snapshot.tally = Tally { failures: 2, losses: 3, setbacks: 4, ..tally };
        assert_eq!(
            headline(&snapshot),
            "3/7 jobs done · 1 failed · 2 running · 2 errors · 3 workers lost · 4 set back · 0:00 · ETA unknown yet"
        );
        snapshot.eta = Some(Duration::from_secs(61));
        assert!(headline(&snapshot).ends_with("ETA 1:01"));
    }
}
