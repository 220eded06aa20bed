//! `ferry retry`: trains a job that has ended again.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use shared::bus::{BusError, Role};
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use orchestrator::run_dir::{RunDir, RunDirError};
use orchestrator::service::{EndedJob, RetryError, find_ended, retry};

/// Trains jobs that are done or have failed again, from the start. The earlier result stays in the run folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry retry 3f2a9c41\n  ferry retry 3f2a9c41 77b0 --yes\n  \
    ferry retry 3f2a9c41 --nats tls://head:4222 --creds coordinator.creds\n\n\
    If the sweep is running, that run trains the jobs; otherwise the next `ferry run` of the sweep does.\n\
    `ferry run` by itself also retries failed jobs, from their last checkpoint.\n\
    Exit codes: 0 done, 1 something failed or you said no, 2 bad input.")]
pub(crate) struct RetryArgs {
    /// Ids of the jobs, or the beginnings of ids, as `ferry status` and `ferry plan` show them.
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Folder with the run folders, where the earlier results are kept.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// Asks for confirmation, and opens the jobs again.
pub(crate) fn run(args: &RetryArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Work(error.into()))?;
    runtime.block_on(open_again(args)).map_err(|error| {
        let told = error.downcast_ref::<RetryError>().is_some_and(RetryError::is_bad_input);
        let wrong_server = error.downcast_ref::<BusError>().is_some_and(BusError::is_bad_input);
        let input = told || wrong_server || error.is::<Unanswered>();
        if input { CommandError::Input(error) } else { CommandError::Work(error) }
    })
}

/// Nobody can answer the question.
#[derive(Debug, thiserror::Error)]
#[error("nothing was changed: standard input is not a terminal, so add --yes to confirm")]
struct Unanswered;

async fn open_again(args: &RetryArgs) -> anyhow::Result<ExitCode> {
    if let Some(endpoint) = args.books.server.endpoint()? {
        endpoint.require(&[Role::Coordinator])?;
    }
    let Some(access) = Access::open(&args.books, "ferry-retry").await? else {
        return Err(RetryError::Unknown { wanted: args.jobs.join(" ") }).map_err(|error| {
            anyhow!(error).context(format!("no sweep has run in {}", args.books.home.display()))
        });
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
        eprintln!("{}", plain(&format!("job {} ({label}): {outcome}", job.short())));
    }
    if !args.yes && !is_confirmed()? {
        eprintln!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    for ended in &jobs {
        retry(&access.bus, ended).await?;
        writeln!(std::io::stdout(), "{}", plain(&told(args, ended)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed() -> anyhow::Result<bool> {
    let mut stdin = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        return Err(Unanswered.into());
    }
    eprint!(
        "They will be trained from the start, and the new results replace these in the report. Continue? [y/N] "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Moves the earlier results aside, and says where they are.
fn told(args: &RetryArgs, ended: &EndedJob) -> Result<String, RunDirError> {
    let mut parts = vec![format!("job {} ({}) will be trained again", ended.job.short(), ended.label)];
    for sweep in &ended.sweeps {
        let folder = match RunDir::open(&args.out.join(sweep)) {
            Ok(folder) => folder,
            Err(RunDirError::NotARun { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let Some(kept) = folder.set_aside(ended.job)? {
            parts.push(format!("its earlier result is kept in {}", kept.display()));
        }
    }
    Ok(parts.join("; "))
}
