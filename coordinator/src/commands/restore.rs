//! `ferry restore`: creates a state directory from a backup.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::backup::{failure, words};
use super::failure::Failure;
use super::progress::Progress;
use crate::backup;

/// Creates a state directory from a backup; `ferry run` continues from there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    ferry restore backups/monday --home .ferry && ferry run sweep.yaml\n\n\
    The whole backup is verified first. Finished jobs are not trained again; the others continue from their \
    checkpoints.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub struct RestoreArgs {
    /// The folder that `ferry backup` created.
    pub src: PathBuf,
    /// The state directory to create.
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
    let summary = runtime.block_on(backup::restore(&args.src, &args.home, &mut tell)).map_err(failure)?;
    let stdout = &mut std::io::stdout().lock();
    let said = if args.json {
        writeln!(stdout, "{}", json!({ "home": args.home, "summary": summary }))
    } else {
        writeln!(stdout, "{}: {}; continue with `ferry run`", args.home.display(), words(&summary))
    };
    said.map_err(|error| Failure::Work(error.into()))?;
    Ok(ExitCode::SUCCESS)
}
