//! `ferry report RUN`: rebuilds a run's report from what its folder stores.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use shared::stdio;

use orchestrator::report::{self, summary};
use orchestrator::run_dir::RunDir;

/// What to report on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry report runs/demo")]
pub(crate) struct ReportArgs {
    /// A sweep's run folder, such as runs/demo.
    pub run: PathBuf,
    /// Print results.json instead of a summary.
    #[arg(long)]
    pub json: bool,
}

/// Rebuilds all files of the report, and prints its path and the ensembles' scores.
pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let written = report::write(&RunDir::open(&args.run)?)?;
    let text = if args.json {
        std::fs::read_to_string(&written.json)
            .with_context(|| format!("cannot read {}", written.json.display()))?
    } else {
        summary(&written)
    };
    stdio::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
