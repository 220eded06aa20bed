//! `ferry schema`: the JSON Schema of sweep files.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::failure::Failure;
use crate::sweep::schema;

/// `ferry schema` has no options.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry schema > experiments/sweep.schema.json")]
pub struct SchemaArgs {}

/// Prints the schema.
pub fn run() -> Result<ExitCode, Failure> {
    write!(std::io::stdout(), "{}", schema::text()).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}
