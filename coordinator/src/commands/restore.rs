//! `ferry restore`: creates a state directory from a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::stdio;

use super::backup::{failure, words};
use super::error::CommandError;
use super::progress::Progress;
use orchestrator::backup;

/// Creates a state directory from a backup; `ferry run` continues from there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    ferry restore backups/monday --home .ferry && ferry run sweep.yaml\n\n\
    The whole backup is verified first. Finished jobs are not trained again; the others continue from their \
    checkpoints.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub(crate) struct RestoreArgs {
    /// The folder that `ferry backup` created.
    pub src: PathBuf,
    /// The state directory to create; it must not exist yet.
    #[arg(long)]
    pub home: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &RestoreArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Work(error.into()))?;
    let mut progress = Progress::counting("restoring", "blobs and entries");
    let mut tell = |done, total| progress.show(done, total);
    let summary = runtime.block_on(backup::restore(&args.src, &args.home, &mut tell)).map_err(failure)?;
    stdio::print_line(&if args.json {
        json!({ "home": args.home, "summary": summary }).to_string()
    } else {
        format!("{}: {}; continue with `ferry run`", args.home.display(), words(&summary))
    })?;
    Ok(ExitCode::SUCCESS)
}
