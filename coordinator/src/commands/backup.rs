//! `ferry backup`: the books of a sweep, at work or not, and all they point to, as a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::stdio;

use super::access::{Access, BooksArgs};
use super::failure::Failure;
use super::progress::Progress;
use crate::backup::{self, BackupError, Summary};

/// Copies the books and everything they point to into a folder, also while jobs run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry backup backups/monday\n  \
    ferry backup backups/monday --nats nats://head:4222 --json\n\n\
    Finished jobs are in it with their results, running ones with their newest checkpoints; `ferry restore` makes a \
    state directory of it. `sha256sum -c SHA256SUMS` in the folder checks it.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub struct BackupArgs {
    /// The folder to make.
    pub dest: PathBuf,
    #[command(flatten)]
    pub books: BooksArgs,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Copies them.
pub fn run(args: &BackupArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Work(error.into()))?;
    let summary = runtime.block_on(save(args))?;
    stdio::print_line(&if args.json {
        json!({ "backup": args.dest, "summary": summary }).to_string()
    } else {
        format!("{}: {}", args.dest.display(), words(&summary))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn save(args: &BackupArgs) -> Result<Summary, Failure> {
    let Some(access) = Access::open(&args.books, "ferry-backup").await? else {
        let home = args.books.home.display();
        return Err(Failure::Input(anyhow::anyhow!(
            "no sweep has run in {home} yet: name another with --home"
        )));
    };
    let mut progress = Progress::counting("copying the books", "entries");
    let saved = backup::save(&access.bus, &args.dest, &mut |done, total| progress.show(done, total)).await;
    access.close().await;
    saved.map_err(blame)
}

/// Whether the caller or the work is to blame.
pub(super) fn blame(error: BackupError) -> Failure {
    match error {
        BackupError::Occupied(_) | BackupError::Unusable { .. } | BackupError::TooNew { .. } => {
            Failure::Input(error.into())
        }
        BackupError::Damaged { .. }
        | BackupError::Job { .. }
        | BackupError::Restless(_)
        | BackupError::Io { .. }
        | BackupError::Bus(_)
        | BackupError::Broker(_) => Failure::Work(error.into()),
    }
}

/// What a backup holds, in words.
pub(super) fn words(summary: &Summary) -> String {
    let Summary { jobs, done, blobs, bytes, left_out } = *summary;
    let missing =
        if left_out > 0 { format!("; {left_out} unusable checkpoints left out") } else { String::new() };
    format!("{jobs} jobs, {done} of them done; {blobs} blobs, {:.1} MB{missing}", bytes as f64 / 1e6)
}
