//! What a play says at its end: a table for people, the same as JSON for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use super::audit::Violation;
use super::ledger::{Ledger, Times};

/// The whole outcome of one play.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub v: u32,
    pub seed: u64,
    pub workers: usize,
    pub jobs: usize,
    /// The machine in words.
    pub machine: String,
    /// What repeats this play.
    pub command: String,
    /// True when the books are in order.
    pub clean: bool,
    pub violations: Vec<Violation>,
    /// State at the limit, when the sweep did not end in time.
    pub stuck: Option<String>,
    pub injected: usize,
    pub recovered: usize,
    /// Faults that found nobody to hit in time.
    pub missed: usize,
    /// Why no disk was filled, where none was.
    pub skipped: Option<String>,
    pub operator_commands: usize,
    /// Processes that ended without being told to and were started again.
    pub ended: Vec<String>,
    /// Wall time of the disturbed run.
    pub seconds: f64,
    /// Training time that the accepted results needed.
    pub training_seconds: f64,
    #[serde(flatten)]
    pub ledger: Ledger,
}

impl Outcome {
    /// Version of this layout.
    pub const VERSION: u32 = 1;

    /// The outcome as a page of Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# ferry chaos, seed {}\n", self.seed);
        let _ = writeln!(text, "{}\n", self.verdict());
        for violation in &self.violations {
            let _ = writeln!(text, "* job {}: {}", violation.job, violation.what);
        }
        if let Some(stuck) = &self.stuck {
            let _ = writeln!(text, "The sweep did not end in time.\n\n```\n{stuck}\n```");
        }
        let _ = writeln!(text, "{}", self.table());
        if self.missed > 0 {
            let wanted = self.injected + self.missed;
            let _ = writeln!(
                text,
                "Not injected: {} of {wanted} faults. The sweep was done, or their time over, before there was \
                 anyone to hit. More --jobs keep the sweep going for longer.\n",
                self.missed
            );
        }
        let _ = writeln!(
            text,
            "{} jobs on {} workers, {}; {:.0} s. Work lost: {:.1} of {:.0} worker-seconds that the results needed. A \
             job whose worker fell silent ran again after {} (median), {} (worst). Operator commands: {}.",
            self.jobs,
            self.workers,
            self.machine,
            self.seconds,
            self.ledger.lost_seconds,
            self.training_seconds,
            time(self.ledger.lease.median),
            time(self.ledger.lease.worst),
            self.operator_commands,
        );
        if let Some(skipped) = &self.skipped {
            let _ = writeln!(text, "\nNot tried here: {skipped}.");
        }
        for ended in &self.ended {
            let _ = writeln!(text, "\n* {ended}");
        }
        let _ = writeln!(text, "\nRepeat it: `{}`", self.command);
        text
    }

    fn verdict(&self) -> String {
        let faults = format!("{} faults injected, {} recovered", self.injected, self.recovered);
        if self.clean {
            format!(
                "The books are in order: {} jobs, each done exactly once with the bits of an undisturbed run. {faults}.",
                self.jobs
            )
        } else {
            format!("The books are NOT in order: {} violations. {faults}.", self.violations.len())
        }
    }

    fn table(&self) -> String {
        let mut text =
            "| fault | injected | at work | recovered | lost, s | recovery, median / worst | lease anew, \
                        median / worst |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
                .to_owned();
        for (kind, row) in &self.ledger.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} | {} | {} |",
                kind.words(),
                row.injected,
                row.at_work,
                row.recovered,
                row.lost_seconds,
                pair(row.recovery),
                pair(row.lease)
            );
        }
        if self.ledger.unexplained_seconds > 0.0 {
            let lost = self.ledger.unexplained_seconds;
            let _ = writeln!(text, "| no fault of its own | | | | {lost:.1} | | |");
        }
        text
    }
}

fn pair(times: Times) -> String {
    match (times.median, times.worst) {
        (None, None) => "-".to_owned(),
        (median, worst) => format!("{} / {}", time(median), time(worst)),
    }
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
}
