//! `ferry watch`: everything that has happened to a sweep, then everything that happens.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shared::bus::Bus;
use shared::protocol::subjects;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use orchestrator::events::{Since, SweepEvent};
use orchestrator::service::{FollowError, Following, interrupted, sweeps};
use orchestrator::view::labels::Labels;
use orchestrator::view::model::clock;
use orchestrator::view::{json_line, words};

/// Shows what has happened to a sweep, as far as the server still has it, then everything that happens, until Ctrl-C.
/// The sweep is not disturbed.
///
/// The records keep each job's reports, its failures, and the end of its log, so that whoever comes late sees them, too. In
/// a state directory where nothing runs, it ends when it has shown everything.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferry watch\n  ferry watch demo --nats tls://head:4222 --creds observer.creds\n  \
    ferry watch demo --json | jq 'select(.event == \"epoch\")'\n\n\
    In a state directory where nothing runs, it ends when it has shown everything."
)]
pub(crate) struct WatchArgs {
    /// Name of the sweep; may be left out if there is only one.
    pub sweep: Option<String>,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Print one JSON object per event.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Bad input when there is no such sweep, or the server's address or credential cannot be used; failed work when it
/// cannot be reached.
pub(crate) fn run(args: &WatchArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    runtime.block_on(watch(args))
}

async fn watch(args: &WatchArgs) -> Result<ExitCode, CommandError> {
    let access = Access::open(&args.books, "ferry-watch").await?;
    let access = access.ok_or_else(|| CommandError::Input(anyhow::anyhow!(args.books.no_sweep())))?;
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
    let sweep = match &args.sweep {
        Some(sweep) => sweep.clone(),
        None => the_only_sweep(args, bus).await?,
    };
    let begun = Following::begin(bus, &sweep, Since::Beginning).await;
    let mut following = begun.map_err(|error| match error {
        FollowError::Unknown(_) => CommandError::Input(error.into()),
        FollowError::Plan { .. } | FollowError::Bus(_) => anyhow::Error::from(error).into(),
    })?;
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

/// The sweep that is meant when none is named.
async fn the_only_sweep(args: &WatchArgs, bus: &Bus) -> Result<String, CommandError> {
    let sweeps = sweeps(bus).await.map_err(anyhow::Error::from)?;
    match sweeps.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(CommandError::Input(anyhow::anyhow!(args.books.no_sweep()))),
        several => Err(CommandError::Input(anyhow::anyhow!(
            "there are several sweeps: name one of {}",
            several.join(", ")
        ))),
    }
}
