//! `ferry schema`: what a sweep file may contain, for editors and for readers.

use std::process::ExitCode;

use clap::Args;
use shared::stdio;

use super::error::CommandError;
use orchestrator::sweep::{reference, schema};

/// What to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry schema > experiments/sweep.schema.json\n  \
    ferry schema --markdown > docs/settings.md")]
pub(crate) struct SchemaArgs {
    /// Print a reference of all settings as Markdown instead of the JSON Schema.
    #[arg(long)]
    markdown: bool,
}

/// Prints the schema or the reference.
pub(crate) fn run(args: &SchemaArgs) -> Result<ExitCode, CommandError> {
    stdio::print(&if args.markdown { reference::markdown() } else { schema::text() })?;
    Ok(ExitCode::SUCCESS)
}
