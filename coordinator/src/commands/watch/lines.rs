//! The lines of `ferry watch`: everything that has happened to a sweep, then everything that happens.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use shared::protocol::subjects;
use shared::terminal::plain;

use super::super::access::Access;
use super::super::error::CommandError;
use super::{WatchArgs, begin};
use orchestrator::events::SweepEvent;
use orchestrator::service::interrupted;
use orchestrator::view::labels::Labels;
use orchestrator::view::model::clock;
use orchestrator::view::{json_line, words};

/// Prints lines until Ctrl-C, or, where nothing runs, until everything is shown.
pub(super) async fn watch(args: &WatchArgs, access: Access) -> Result<ExitCode, CommandError> {
    let mut kept = Vec::new();
    let alone = access.is_alone();
    // In a home where nothing runs, a sweep must be able to start while a slow reader reads this.
    let mut show = |line: String| {
        if alone {
            kept.push(line);
            return true;
        }
        print(&line)
    };
    let outcome = tokio::select! {
        outcome = follow(args, &access, &mut show) => outcome,
        stopped = interrupted() => stopped.context("cannot wait for Ctrl-C").map_err(CommandError::from),
    };
    access.close().await;
    outcome?;
    let _nobody_reads_any_more = kept.iter().all(|line| print(line));
    Ok(ExitCode::SUCCESS)
}

/// Prints a line. False if nobody reads any more.
fn print(line: &str) -> bool {
    writeln!(std::io::stdout().lock(), "{line}").is_ok()
}

/// Hands everything to `show` as lines, until that returns false.
async fn follow(
    args: &WatchArgs,
    access: &Access,
    show: &mut dyn FnMut(String) -> bool,
) -> Result<(), CommandError> {
    let bus = &access.bus;
    // Nothing can change here, and a sweep must be able to start.
    let end = if access.is_alone() {
        Some(bus.newest(subjects::FOLLOWED_KEYS).await.map_err(anyhow::Error::from)?)
    } else {
        None
    };
    let mut following = begin(args, bus).await?;
    let mut labels = Labels::of(following.plan());
    let mut start = None;
    loop {
        let told = following.next().await;
        if told.is_replanned {
            labels = Labels::of(following.plan());
        }
        for event in &told.events {
            let start = *start.get_or_insert(event.time);
            let Some(line) = line(event, &labels, start, args.json) else { continue };
            if !show(line) {
                return Ok(());
            }
        }
        if end.is_some_and(|end| following.seen() >= end) {
            return Ok(());
        }
    }
}

/// An event as a line; `start` is the time of the first one. `None` if only scripts are told.
fn line(event: &SweepEvent, labels: &Labels, start: f64, json: bool) -> Option<String> {
    if json {
        return Some(json_line(event, labels).to_string());
    }
    let since = std::time::Duration::try_from_secs_f64(event.time - start).unwrap_or_default();
    Some(format!("{:>7}  {}", clock(since), plain(&words(&event.kind, labels)?)))
}
