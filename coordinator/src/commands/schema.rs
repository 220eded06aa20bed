//! `ferry schema`: what a sweep file may contain, for editors and for readers.

use std::process::ExitCode;

use clap::Args;
use shared::job::Kind;
use shared::kinds::{self, KINDS};
use shared::stdio;
use shared::trainer::TrainerKind;

use super::error::CommandError;
use orchestrator::sweep::problem::nearest;
use orchestrator::sweep::{reference, schema};

/// What to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry schema > experiments/sweep.schema.json\n  \
    ferry schema --markdown > docs/settings.md\n  ferry schema --trainer empty")]
pub(crate) struct SchemaArgs {
    /// Print a reference of all settings as Markdown instead of the JSON Schema.
    #[arg(long)]
    markdown: bool,
    /// The trainer whose sweep files to describe.
    #[arg(long, value_name = "NAME", value_parser = trainer, default_value = "mtl")]
    trainer: &'static dyn TrainerKind,
}

fn trainer(name: &str) -> Result<&'static dyn TrainerKind, String> {
    kinds::find(name).ok_or_else(|| {
        let names = KINDS.map(|kind| kind.id().kind);
        let names = names.each_ref().map(Kind::as_str);
        match nearest(name, &names) {
            Some(near) => format!("there is no such trainer; did you mean `{near}`?"),
            None => format!("there is no such trainer; known: {}", names.join(", ")),
        }
    })
}

/// Prints the schema or the reference.
pub(crate) fn run(args: &SchemaArgs) -> Result<ExitCode, CommandError> {
    let SchemaArgs { markdown, trainer } = *args;
    stdio::print(&if markdown { reference::markdown(trainer) } else { schema::text(trainer) })?;
    Ok(ExitCode::SUCCESS)
}
