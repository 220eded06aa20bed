//! `ferry watch`: a full-screen display on a terminal, else lines.

mod details;
mod draw;
mod ensembles;
mod filter;
mod job;
mod jobs;
mod keys;
mod lines;
mod marks;
mod message;
mod model;
mod question;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod update;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shared::bus::Bus;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use orchestrator::events::Since;
use orchestrator::service::{FollowError, Following, sweeps};

/// Shows a sweep while it runs, until you leave with `q` or Ctrl-C. The sweep is not disturbed.
///
/// On a terminal: workers, jobs, queue, ensembles and logs on a full screen, with keys to filter and to steer jobs (`?` lists
/// them). Elsewhere, or with --lines or --json: what has happened so far, as far as the server still has it, then everything
/// that happens, line by line. In a state directory where nothing runs, the lines end when everything is shown.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferry watch\n  ferry watch demo --nats tls://head:4222 --creds observer.creds\n  \
    ferry watch demo --lines\n  ferry watch demo --json | jq 'select(.event == \"epoch\")'\n\n\
    In a state directory where nothing runs, --lines and --json end when they have shown everything."
)]
pub(crate) struct WatchArgs {
    /// Name of the sweep; may be left out if there is only one.
    pub sweep: Option<String>,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Print one line per event, also on a terminal.
    #[arg(long, conflicts_with = "json")]
    pub lines: bool,
    /// Print one JSON object per event.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Bad input when there is no such sweep, or the server's address or credential cannot be used; failed work when it
/// cannot be reached, or the terminal cannot be used.
pub(crate) fn run(args: &WatchArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let is_full_screen = !args.lines && !args.json && terminal::is_there();
    runtime.block_on(async {
        let access = Access::open(&args.books, "ferry-watch").await?;
        let access = access.ok_or_else(|| CommandError::Input(anyhow::anyhow!(args.books.no_sweep())))?;
        if is_full_screen { screen::watch(args, access).await } else { lines::watch(args, access).await }
    })
}

/// Begins to follow the sweep that is meant.
async fn begin(args: &WatchArgs, bus: &Bus) -> Result<Following, CommandError> {
    let sweep = match &args.sweep {
        Some(sweep) => sweep.clone(),
        None => the_only_sweep(args, bus).await?,
    };
    Following::begin(bus, &sweep, Since::Beginning).await.map_err(|error| match error {
        FollowError::Unknown(_) => CommandError::Input(error.into()),
        FollowError::Plan { .. } | FollowError::Bus(_) => anyhow::Error::from(error).into(),
    })
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
