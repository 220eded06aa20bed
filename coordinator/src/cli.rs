//! The command line of `ferry`: its subcommands, and the exit code of each failure (`shared::exit`; clap's own usage
//! errors are bad input).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use shared::log_format::LogFormat;
use shared::protocol::Priority;
use shared::stdio::StdoutError;
use tracing_subscriber::EnvFilter;

use crate::commands::error::CommandError;
use crate::commands::steer::Verb;
use crate::commands::{
    backup, chaos, cluster, data, ensemble, eta, evaluate, init, logs, plan, remove, report, restore, run,
    schema, serve, shell, status, steer, verify, watch, why, workers,
};
use orchestrator::guard;
use orchestrator::view::console::LogWriter;

/// Trains sweeps of neural networks on many workers and builds ensembles from them.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, arg_required_else_help = true, after_help = format!("{EXAMPLE}\n\n{}", shared::exit::TABLE))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLE: &str = "Example:\n  ferry plan experiments/demo.yaml";

/// The commands; the file of the same name under `commands` has the arguments and the work of each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sweep to its end: train what is not trained yet, build the ensembles, and write the report.
    Run(Box<run::RunArgs>),
    /// Show what a sweep file asks for: jobs, ensembles, work; and what of that is done or would change. Changes nothing.
    Plan(plan::PlanArgs),
    /// Show the progress of all sweeps in a state directory or on a server.
    Status(status::StatusArgs),
    /// Show a sweep live: on a full screen with keys to filter and steer jobs, or line by line.
    Watch(watch::WatchArgs),
    /// Tell when a sweep will be done, and what would change with more workers.
    Eta(eta::EtaArgs),
    /// Set up and run a secured server for several machines.
    #[command(
        subcommand,
        after_help = "Examples:\n  ferry cluster init cluster --host head.example.org\n  \
        ferry cluster start cluster/server-1"
    )]
    Cluster(cluster::ClusterCommand),
    #[command(hide = true)]
    Init(init::EarlierArgs),
    #[command(hide = true)]
    Serve(serve::StartArgs),
    /// Explain why an ensemble has its members, or tell what became of a job.
    Why(why::WhyArgs),
    /// Train a part of a job again, and tell whether its numbers come out the same.
    Verify(verify::VerifyArgs),
    /// Look for better ensembles among the finished jobs of a run.
    #[command(subcommand, after_help = "Example:\n  ferry ensemble search runs/demo")]
    Ensemble(ensemble::EnsembleCommand),
    /// Rebuild the report of a run from its folder.
    Report(report::ReportArgs),
    /// Score predictions against labels: F1, confusion matrix, and confidence intervals.
    Evaluate(evaluate::EvaluateArgs),
    /// Show the end of a job's log, and how its attempts ended.
    Logs(logs::LogsArgs),
    /// Pause jobs; they keep their checkpoints.
    #[command(
        after_help = "Examples:\n  ferry pause demo augmentation=mixup 'subset_seed>2'\n  ferry pause demo --yes\n\n\
        A running worker stops within a heartbeat. `ferry resume` takes it back.\n\n\
        Exit codes: 0 done, 1 something failed or you said no, 2 bad input."
    )]
    Pause(steer::SteerArgs),
    /// Resume jobs that are paused, cancelled or failed, from their last checkpoint.
    #[command(
        after_help = "Examples:\n  ferry resume demo\n  ferry resume demo state=failed worker=cpu1\n\n\
        Exit codes: 0 done, 1 something failed or you said no, 2 bad input."
    )]
    Resume(steer::SteerArgs),
    /// Cancel a sweep, or some of its jobs, wherever they run.
    #[command(
        after_help = "Examples:\n  ferry cancel demo                                        # the whole sweep\n  \
        ferry cancel demo state=running 'val_macro_f1<20' --dry-run\n\n\
        Finished jobs stay. A `ferry run` of the sweep ends when its other jobs have ended. `ferry resume` takes it \
        back; `ferry remove` takes a sweep out of the store.\n\n\
        Exit codes: 0 done, 1 something failed or you said no, 2 bad input."
    )]
    Cancel(steer::SteerArgs),
    /// Train jobs earlier or later than others, of the same sweep or of others on the server.
    #[command(
        after_help = "Examples:\n  ferry priority demo 50                                   # the whole sweep\n  \
        ferry priority demo 'backbone=dino*' subset_seed=0 100\n  \
        ferry priority demo group=later -10                      # when nothing else waits\n  \
        ferry priority demo 0                                    # as usual again\n\n\
        0 is normal. Workers take jobs above 0 before all others, the highest first, and jobs below 0 when no other job \
        waits. Jobs that are being trained go on. `priority: N` in a sweep file holds for all its jobs.\n\n\
        Exit codes: 0 done, 1 something failed, 2 bad input."
    )]
    Priority(steer::PriorityArgs),
    /// Put jobs first: `ferry priority … 100`.
    #[command(after_help = "Example:\n  ferry first demo 'backbone=dino*' subset_seed=0\n\n\
        Exit codes: 0 done, 1 something failed or you said no, 2 bad input.")]
    First(steer::SteerArgs),
    /// Train finished or failed jobs again.
    #[command(
        after_help = "Examples:\n  ferry retry 3f2a9c41\n  ferry retry demo --failed\n  ferry retry demo 'val_macro_f1<17' --yes\n\n\
        A finished job is trained from the start, and its earlier result stays in the run folder, under `earlier/`. A \
        failed job continues from its last checkpoint. If no `ferry run` of the sweep is running, the next one trains \
        them.\n\n\
        Exit codes: 0 done, 1 something failed or you said no, 2 bad input."
    )]
    Retry(steer::RetryArgs),
    /// List the workers of a server, or let some of them take no jobs for a while.
    Workers(workers::WorkersArgs),
    /// Copy all sweeps' records, checkpoints and results into a folder, even while they run.
    Backup(backup::BackupArgs),
    /// Create a state directory from a backup.
    Restore(restore::RestoreArgs),
    /// Remove a sweep that is no longer wanted: its jobs, checkpoints and results.
    Remove(remove::RemoveArgs),
    Chaos(chaos::ChaosArgs),
    /// Print the JSON Schema of sweep files, which editors use for completion.
    Schema(schema::SchemaArgs),
    /// Print a script that completes Ferry's commands and options in a shell.
    Completions(shell::CompletionsArgs),
    /// Write man pages.
    Man(shell::ManArgs),
    /// Draw, import and inspect datasets.
    #[command(subcommand, after_help = "Example:\n  ferry data synth faces --train 600 --size 48")]
    Data(data::DataCommand),
    #[command(name = guard::VERB, hide = true, after_help = "Example:\n  ferry guard ask 1 sleep 9")]
    Guard {
        death: guard::OnParentDeath,
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// How a command ends: with an exit code, or with an error and whether to report it as JSON.
pub(crate) type End = Result<ExitCode, (CommandError, bool)>;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    // Ferry itself reports a failed connection in one sentence.
    let usual = "warn,async_nats=error,async_nats::connector=off";
    let filter = EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogWriter::default);
    match LogFormat::of_environment() {
        LogFormat::Text => log.with_ansi(shared::terminal::wants_colour()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return usage(&answer),
    };
    run(&cli.command).unwrap_or_else(|(failure, json)| failure.report(json))
}

fn run(command: &Command) -> End {
    match command {
        Command::Run(args) => run::run(args).map_err(|failure| (failure, args.json)),
        Command::Plan(args) => plan::run(args).map_err(|failure| (failure, args.json)),
        Command::Status(args) => status::run(args).map_err(|failure| (failure, args.json)),
        Command::Watch(args) => watch::run(args).map_err(|failure| (failure, args.json)),
        Command::Eta(args) => eta::run(args).map_err(|failure| (failure, args.json)),
        Command::Cluster(command) => cluster::run(command),
        Command::Init(args) => init::earlier(args).map_err(|failure| (failure, args.servers.json)),
        Command::Serve(args) => serve::earlier(args).map_err(|failure| (failure, false)),
        Command::Ensemble(command) => ensemble::run(command),
        Command::Why(args) => why::run(args).map_err(|failure| (failure, args.json)),
        Command::Verify(args) => verify::run(args).map_err(|failure| (failure, args.json)),
        Command::Report(args) => report::run(args).map_err(|error| (error.into(), args.json)),
        Command::Evaluate(args) => evaluate::run(args).map_err(|error| (error.into(), args.json)),
        Command::Logs(args) => logs::run(args).map_err(|failure| (failure, args.json)),
        Command::Pause(args) => steer::run(Verb::Pause, args).map_err(|failure| (failure, args.json)),
        Command::Resume(args) => steer::run(Verb::Resume, args).map_err(|failure| (failure, args.json)),
        Command::Cancel(args) => steer::run(Verb::Cancel, args).map_err(|failure| (failure, args.json)),
        Command::Priority(args) => steer::priority(args).map_err(|failure| (failure, args.json)),
        Command::First(args) => {
            steer::run(Verb::Priority(Priority::MOST), args).map_err(|failure| (failure, args.json))
        }
        Command::Retry(args) => steer::retry(args).map_err(|failure| (failure, args.steer.json)),
        Command::Workers(args) => workers::run(args).map_err(|failure| (failure, args.json())),
        Command::Backup(args) => backup::run(args).map_err(|failure| (failure, args.json)),
        Command::Restore(args) => restore::run(args).map_err(|failure| (failure, args.json)),
        Command::Remove(args) => remove::run(args).map_err(|failure| (failure, args.json)),
        Command::Chaos(args) => chaos::run(args).map_err(|failure| (failure, args.json)),
        Command::Schema(args) => schema::run(args).map_err(|failure| (failure, false)),
        Command::Completions(args) => {
            shell::completions(args, &mut Cli::command()).map_err(|failure| (failure, false))
        }
        Command::Man(args) => shell::man(args, Cli::command()).map_err(|failure| (failure, false)),
        Command::Data(command) => data::run(command).map_err(|error| (error.into(), false)),
        Command::Guard { death, parent, program, args } => {
            Err((CommandError::Work(guard::run(*death, *parent, program, args).into()), false))
        }
    }
}

/// Prints `--help`, `--version` or what is wrong with the command line.
fn usage(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(error) if !answer.use_stderr() => CommandError::from(StdoutError::from(error)).report(false),
        Err(_) | Ok(()) => ExitCode::from(answer.exit_code() as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains("\n  ferry "), "{}", verb.get_name());
        }
    }
}
