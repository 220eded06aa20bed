//! How a `ferry run` has ended: in words, as a JSON event, and as its exit code.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;
use shared::plural::count;
use shared::stdio::{self, StdoutError};
use shared::terminal::plain;

use orchestrator::report::summary;
use orchestrator::service::RunEnd;

/// How to continue.
pub(super) struct Again {
    /// The command line, without secrets.
    pub(super) command: String,
    /// True if the server's token must be given besides.
    pub(super) needs_token: bool,
}

/// Prints how a run has ended, and returns its exit code.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn finish(end: &RunEnd, again: &Again, json: bool) -> Result<ExitCode, StdoutError> {
    let text = if json { format!("{}\n", json_event(end)) } else { words(end, again) };
    stdio::print(&text)?;
    Ok(match end {
        RunEnd::Finished { failed: 0, .. }
        | RunEnd::Watched { is_detached: false, failed: 0, open: 0, .. } => ExitCode::SUCCESS,
        RunEnd::Interrupted { .. } | RunEnd::Watched { is_detached: true, .. } => ExitCode::from(130),
        RunEnd::Finished { .. } | RunEnd::Stranded { .. } | RunEnd::Declined | RunEnd::Watched { .. } => {
            ExitCode::from(1)
        }
    })
}

fn json_event(end: &RunEnd) -> serde_json::Value {
    match end {
        RunEnd::Declined => json!({ "event": "declined" }),
        // `parked` is for scripts written for earlier versions, which add it to `failed`.
        RunEnd::Finished { done, failed, cancelled, report } => json!({
            "event": "finished", "done": done, "failed": failed, "parked": 0, "cancelled": cancelled,
            "report": report.html,
        }),
        RunEnd::Stranded { done, open, why, report } => json!({
            "event": "stranded", "done": done, "open": open, "reason": why, "report": report.html,
        }),
        RunEnd::Watched { done, failed, cancelled, open, folder, is_detached } => json!({
            "event": if *is_detached { "detached" } else { "finished" }, "done": done, "failed": failed,
            "parked": 0, "cancelled": cancelled, "open": open, "folder": folder,
        }),
        RunEnd::Interrupted { done, open, elsewhere, is_guest: _ } => json!({
            "event": "interrupted", "done": done, "open": open, "training_elsewhere": elsewhere,
        }),
    }
}

fn words(end: &RunEnd, again: &Again) -> String {
    match end {
        RunEnd::Declined => "nothing was changed\n".to_owned(),
        RunEnd::Finished { cancelled: 0, report, .. } => summary(report),
        RunEnd::Finished { cancelled, report, .. } => {
            format!("{}cancelled on request: {}\n", summary(report), count(*cancelled, "job"))
        }
        RunEnd::Stranded { open, why, report, .. } => format!(
            "{}stopped with {} left: {}; fix that, then continue with:\n  {}\n",
            summary(report),
            count(*open, "job"),
            plain(why),
            again.command
        ),
        RunEnd::Watched { done, open, folder, is_detached: true, .. } => format!(
            "stopped watching: {} done, {open} left; the other `ferry run` goes on and stores the results in {}\n",
            count(*done, "job"),
            folder.display()
        ),
        RunEnd::Watched { done, failed, open, folder, is_detached: false, .. } => format!(
            "{} done, {failed} failed, {open} left; the other `ferry run` writes the report in {}\n",
            count(*done, "job"),
            folder.display()
        ),
        RunEnd::Interrupted { done, open, elsewhere, is_guest: false } => {
            interrupted(*done, *open, elsewhere, again)
        }
        RunEnd::Interrupted { done, open, elsewhere: _, is_guest: true } => {
            interrupted(*done, *open, &[], again) + GUEST
        }
    }
}

/// What a guest adds that was interrupted.
const GUEST: &str = "the other ferry in this state directory goes on, and its workers still train these jobs; `ferry pause` \
     keeps them from it\n";

pub(super) fn interrupted(done: usize, open: usize, elsewhere: &[String], again: &Again) -> String {
    let mut text =
        format!("stopped: {} done, {open} left; continue with:\n  {}\n", count(done, "job"), again.command);
    if again.needs_token {
        text.push_str("and the server's token in FERRY_TOKEN\n");
    }
    if !elsewhere.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} elsewhere still {} these jobs: {}; to stop one, press Ctrl-C or run `kill PID` on its machine, and it \
             hands its job back",
            count(elsewhere.len(), "worker"),
            if elsewhere.len() == 1 { "trains" } else { "train" },
            plain(&elsewhere.join(", "))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The workers of the other ferry are on this machine, and to kill them would stop its sweep.
    #[test]
    fn a_guest_names_no_workers_to_kill() {
        let end = RunEnd::Interrupted {
            done: 1,
            open: 2,
            elsewhere: vec!["cpu0 on vm".to_owned()],
            is_guest: true,
        };
        let again = Again { command: "ferry run demo.yaml".to_owned(), needs_token: false };
        insta::assert_snapshot!(words(&end, &again), @r"
        stopped: 1 job done, 2 left; continue with:
          ferry run demo.yaml
        the other ferry in this state directory goes on, and its workers still train these jobs; `ferry pause` keeps them from it
        ");
    }
}
