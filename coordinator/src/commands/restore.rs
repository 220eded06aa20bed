//! `ferry restore`: a state directory from a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::stdio;

use super::backup::{blame, words};
use super::failure::Failure;
use super::progress::Progress;
use crate::backup;

/// Makes a state directory of a backup: `ferry run` with it goes on where the backup was made.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    ferry restore backups/monday --home .ferry && ferry run sweep.yaml\n\n\
    Everything is verified before anything is made. Finished jobs are not trained again, others go on from their \
    checkpoints.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub struct RestoreArgs {
    /// The folder that `ferry backup` made.
    pub src: PathBuf,
    /// The state directory to make.
    #[arg(long)]
    pub home: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Makes it.
pub fn run(args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Work(error.into()))?;
    let mut progress = Progress::counting("restoring", "blobs and entries");
    let mut tell = |done, total| progress.show(done, total);
    let summary = runtime.block_on(backup::restore(&args.src, &args.home, &mut tell)).map_err(blame)?;
    stdio::print_line(&if args.json {
        json!({ "home": args.home, "summary": summary }).to_string()
    } else {
        format!("{}: {}; `ferry run` continues it", args.home.display(), words(&summary))
    })?;
    Ok(ExitCode::SUCCESS)
}
