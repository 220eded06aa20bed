//! The command line of `ferry`: its verbs, and how each failure ends the process.
//!
//! Exit codes: 0 done, 1 something failed, 2 bad input (also clap's own usage errors).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{data, failure, plan, schema};

/// Trains sweeps of facial-expression networks on many workers and assembles ensembles from them.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, arg_required_else_help = true, after_help = EXAMPLE)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLE: &str = "Example:\n  ferry plan experiments/demo.yaml\n\n\
                       Exit codes: 0 done, 1 something failed, 2 bad input.";

/// One verb each; its arguments and its work are in the file of its name under `commands`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a sweep file asks for: jobs, ensembles, work. Starts and writes nothing.
    Plan(plan::PlanArgs),
    /// Print the JSON Schema of sweep files, from which editors complete.
    Schema(schema::SchemaArgs),
    /// Draw, import and inspect datasets.
    #[command(subcommand, after_help = "Example:\n  ferry data synth faces --train 600 --size 48")]
    Data(data::DataCommand),
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Plan(args) => plan::run(args).map_err(|failure| (failure, args.json)),
        Command::Schema(_) => schema::run().map_err(|failure| (failure, false)),
        Command::Data(command) => data::run(command).map_err(|error| (failure::Failure::Input(error), false)),
    };
    result.unwrap_or_else(|(failure, json)| failure.report(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:\n  ferry "), "{}", verb.get_name());
        }
    }
}
