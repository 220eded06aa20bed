//! The outcome: a page of Markdown for people, and the same as JSON for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use super::audit::Violation;
use super::cost::{Costs, Times};

/// The outcome of one run with faults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChaosResult {
    pub v: u32,
    pub seed: u64,
    pub workers: usize,
    pub jobs: usize,
    pub machine: String,
    /// The command that repeats the run.
    pub command: String,
    /// True if all promises were kept and the sweep ended.
    pub clean: bool,
    pub violations: Vec<Violation>,
    /// Open jobs and logs, if the sweep did not end in time.
    pub stuck: Option<String>,
    pub injected: usize,
    pub recovered: usize,
    /// Faults that found no target in time.
    pub missed: usize,
    /// What could not be tried on this machine.
    pub skipped: Option<String>,
    pub operator_commands: usize,
    /// Processes that ended on their own and were restarted.
    pub ended: Vec<String>,
    /// Wall time of the run with faults.
    pub seconds: f64,
    /// Training time that the accepted results needed.
    pub training_seconds: f64,
    #[serde(flatten)]
    pub costs: Costs,
}

impl ChaosResult {
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
                "{} of {wanted} faults were not injected: they found no target before the sweep was done or the time was \
                 over. With more --jobs the sweep takes longer.\n",
                self.missed
            );
        }
        let _ = writeln!(
            text,
            "{} on {}, {}; {:.0} s. Work lost: {:.1} s; the results needed {:.0} s of training. A job whose worker fell \
             silent ran again after {} (median), {} (worst). Operator commands: {}.",
            count(self.jobs, "job"),
            count(self.workers, "worker"),
            self.machine,
            self.seconds,
            self.costs.lost_seconds,
            self.training_seconds,
            time(self.costs.lease.median),
            time(self.costs.lease.worst),
            self.operator_commands,
        );
        if let Some(skipped) = &self.skipped {
            let _ = writeln!(text, "\nNot tried on this machine: {skipped}.");
        }
        for ended in &self.ended {
            let _ = writeln!(text, "\n* {ended}");
        }
        let _ = writeln!(text, "\nTo repeat it: `{}`", self.command);
        text
    }

    fn verdict(&self) -> String {
        let faults = format!("{} injected, {} recovered", count(self.injected, "fault"), self.recovered);
        if self.clean {
            format!(
                "All promises were kept: {}, each done exactly once, with the same bits as without faults. {faults}.",
                count(self.jobs, "job")
            )
        } else {
            let broken = count(self.violations.len(), "violation");
            let end = if self.stuck.is_some() { ", and the sweep did not end" } else { "" };
            format!("NOT all promises were kept: {broken}{end}. {faults}.")
        }
    }

    fn table(&self) -> String {
        let mut text =
            "| fault | injected | hit a job | recovered | work lost, s | job moved on after, median / worst | \
                        taken over after, median / worst |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
                .to_owned();
        for (kind, row) in &self.costs.rows {
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
        if self.costs.unexplained_seconds > 0.0 {
            let lost = self.costs.unexplained_seconds;
            let _ = writeln!(text, "| none | | | | {lost:.1} | | |");
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

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
