//! `ferry schema`: the JSON Schema of sweep files.

use std::process::ExitCode;

use clap::Args;
use shared::stdio;

use super::failure::Failure;
use crate::sweep::schema;

/// `ferry schema` has no options.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry schema > experiments/sweep.schema.json")]
pub struct SchemaArgs {}

/// Prints the schema.
pub fn run() -> Result<ExitCode, Failure> {
    stdio::print(&schema::text())?;
    Ok(ExitCode::SUCCESS)
}
