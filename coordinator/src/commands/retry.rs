//! `ferry retry`: trains a job that has ended again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::confirm::is_confirmed;
use super::error::CommandError;
use super::exit::BadInput;
use orchestrator::run_dir::{RunDir, RunDirError};
use orchestrator::service::{EndedJob, find_ended, retry};

/// Trains jobs that are done or have failed again, from the start. The earlier result stays in the run folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry retry 3f2a9c41\n  ferry retry 3f2a9c41 77b0 --yes\n  \
    ferry retry 3f2a9c41 --nats tls://head:4222 --creds coordinator.creds\n\n\
    If the sweep is running, that run trains the jobs; otherwise the next `ferry run` of the sweep does. \
    `ferry run` by itself also retries failed jobs, from their last checkpoint.\n\n\
    Exit codes: 0 done, 1 something failed or you said no, 2 bad input.")]
pub(crate) struct RetryArgs {
    /// Ids of the jobs, or the beginnings of ids. The report and `ferry plan --all` show them.
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Folder with the run folders, where the earlier results are kept.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
    /// Print one JSON object per job instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Asks for confirmation, and opens the jobs again.
pub(crate) fn run(args: &RetryArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Work(error.into()))?;
    Ok(runtime.block_on(open_again(args))?)
}

async fn open_again(args: &RetryArgs) -> anyhow::Result<ExitCode> {
    let Some(access) = Access::open_as_coordinator(&args.books, "ferry-retry").await? else {
        return Err(BadInput(args.books.no_sweep()).into());
    };
    let outcome = with_books(args, &access).await;
    access.close().await;
    outcome
}

async fn with_books(args: &RetryArgs, access: &Access) -> anyhow::Result<ExitCode> {
    let mut jobs = Vec::new();
    for wanted in &args.jobs {
        let ended = find_ended(&access.bus, wanted).await?;
        if !jobs.contains(&ended) {
            jobs.push(ended);
        }
    }
    for EndedJob { job, label, outcome, .. } in &jobs {
        stdio::remark(&plain(&format!("job {} ({label}): {outcome}", job.short())));
    }
    if !args.yes && !is_confirmed(QUESTION)? {
        stdio::remark("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    for ended in &jobs {
        // Later it could be the new result: a worker may be done with it in no time.
        let kept = set_aside(&args.out, ended)?;
        retry(&access.bus, ended).await?;
        stdio::print_line(&if args.json { json(ended, &kept) } else { plain(&text(ended, &kept)) })?;
    }
    Ok(ExitCode::SUCCESS)
}

const QUESTION: &str =
    "They will be trained from the start, and the new results replace these in the report. Continue?";

/// Moves the earlier results aside, and returns the folders they are in.
fn set_aside(runs: &Path, ended: &EndedJob) -> Result<Vec<PathBuf>, RunDirError> {
    let mut kept = Vec::new();
    for sweep in &ended.sweeps {
        match RunDir::open(&runs.join(sweep)) {
            Ok(folder) => kept.extend(folder.set_aside(ended.job)?),
            Err(RunDirError::NotARun { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

fn text(ended: &EndedJob, kept: &[PathBuf]) -> String {
    let mut parts = vec![format!("job {} ({}) will be trained again", ended.job.short(), ended.label)];
    parts.extend(kept.iter().map(|folder| format!("its earlier result is kept in {}", folder.display())));
    parts.join("; ")
}

fn json(ended: &EndedJob, kept: &[PathBuf]) -> String {
    let EndedJob { job, label, sweeps, outcome } = ended;
    json!({ "job": job, "label": label, "sweeps": sweeps, "was": outcome, "kept": kept }).to_string()
}
