//! `ferry backup`: saves the books and everything they refer to in a folder, even while a sweep runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::stdio;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use super::progress::Progress;
use orchestrator::backup::{self, BackupError, Summary};
use shared::plural::count;

/// Copies all jobs and their files into a folder, even while they run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry backup backups/monday\n  \
    ferry backup backups/monday --nats nats://head:4222 --json\n\n\
    Finished jobs are saved with their results, running ones with their newest checkpoints. `ferry restore` turns the \
    folder into a state directory; `sha256sum -c SHA256SUMS` in the folder checks it.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub(crate) struct BackupArgs {
    /// The folder to create.
    pub dest: PathBuf,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &BackupArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Work(error.into()))?;
    let summary = runtime.block_on(save(args))?;
    stdio::print_line(&if args.json {
        json!({ "backup": args.dest, "summary": summary }).to_string()
    } else {
        format!("{}: {}", args.dest.display(), words(&summary))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn save(args: &BackupArgs) -> Result<Summary, CommandError> {
    let Some(access) = Access::open(&args.books, "ferry-backup").await? else {
        return Err(CommandError::Input(anyhow::anyhow!(args.books.no_sweep())));
    };
    let mut progress = Progress::counting("saving", "entries");
    let saved = backup::save(&access.bus, &args.dest, &mut |done, total| progress.show(done, total)).await;
    access.close().await;
    saved.map_err(failure)
}

/// Distinguishes bad input from failed work.
pub(super) fn failure(error: BackupError) -> CommandError {
    match error {
        BackupError::Occupied(_) | BackupError::Unusable { .. } | BackupError::Version { .. } => {
            CommandError::Input(error.into())
        }
        BackupError::Damaged { .. }
        | BackupError::Job { .. }
        | BackupError::TooFast(_)
        | BackupError::Io { .. }
        | BackupError::Bus(_)
        | BackupError::Broker(_) => CommandError::Work(error.into()),
    }
}

/// What a backup holds, in words.
pub(super) fn words(summary: &Summary) -> String {
    let Summary { jobs, done, blobs, bytes, left_out } = *summary;
    let missing = match left_out {
        0 => String::new(),
        _ => format!("; left out: {}", count(left_out, "unusable checkpoint")),
    };
    let (jobs, blobs) = (count(jobs, "job"), count(blobs, "blob"));
    format!("{jobs}, {done} of them done; {blobs}, {:.1} MB{missing}", bytes as f64 / 1e6)
}
