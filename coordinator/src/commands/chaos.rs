//! `ferry chaos`: runs a small sweep under random faults and checks its results.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::error::CommandError;
use ::chaos::{End, Request, View, sweep};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::exit::Exit;
use shared::stdio;

/// Kill processes at random during a small sweep, then check that nothing was lost or changed.
///
/// Real processes train a small sweep while faults are injected: workers, nats-server and the coordinator (`ferry run`)
/// are killed, workers are suspended for longer than their lease, connections are cut and delayed, checkpoints are
/// damaged, the server's disk is filled, jobs are delivered twice. In the end every job must be done exactly once, with
/// the same bits as in a run without faults. That run comes first; it is kept in the folder and used again for other
/// seeds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry chaos --seed 1\n  \
    ferry chaos --workers 2 --jobs 8 --faults 10 --minutes 1 --seed 7 --json\n\n\
    Exit codes: 0 nothing was lost or changed, 1 something was, or the sweep did not end, 2 bad input, \
    130 interrupted.")]
pub(crate) struct ChaosArgs {
    /// Number of worker processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Minutes over which the faults are spread; after them the sweep runs to its end undisturbed.
    #[arg(long, default_value_t = 5.0)]
    pub minutes: f64,
    /// Seed of the schedule: the same seed injects the same faults at the same times.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Number of jobs, each a few seconds of training [default: enough for the time given, at least 60].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=sweep::MAX_JOBS as i64))]
    pub jobs: Option<u16>,
    /// Number of faults to inject.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub faults: u16,
    /// Folder for logs, the run without faults, and the outcome; an earlier run of the same seed in it is removed.
    #[arg(short, long, default_value = "chaos", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Print one JSON object per event on standard output, the outcome last.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ChaosArgs) -> Result<ExitCode, CommandError> {
    let minutes = args.minutes;
    if !(0.01..=10_000.0).contains(&minutes) {
        let error = anyhow::anyhow!("--minutes is {minutes}: give a number from 0.01 to 10000");
        return Err(CommandError::Input(error));
    }
    ::chaos::enter_namespace();
    let request = Request {
        seed: args.seed,
        workers: args.workers.into(),
        jobs: args.jobs.map(Into::into),
        faults: args.faults.into(),
        length: Duration::from_secs_f64(minutes * 60.0),
        folder: args.out.clone(),
    };
    let mut view = View::new(args.json);
    // Single-threaded, because children must be spawned from the main thread (see `orchestrator::guard`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let end = runtime.block_on(::chaos::run(&request, &mut view));
    view.close();
    finish(&end?, args)
}

fn finish(end: &End, args: &ChaosArgs) -> Result<ExitCode, CommandError> {
    let (text, code) = match end {
        End::Finished(result) => {
            let code = if result.clean { Exit::Done } else { Exit::Failed };
            let json = || json!({ "event": "finished", "outcome": result }).to_string() + "\n";
            (if args.json { json() } else { result.markdown() }, code)
        }
        End::Interrupted if args.json => {
            (json!({ "event": "interrupted" }).to_string() + "\n", Exit::Interrupted)
        }
        End::Interrupted => {
            let text = "stopped; if the run without faults was not finished, it will continue from here\n";
            (text.to_owned(), Exit::Interrupted)
        }
    };
    stdio::print(&text)?;
    Ok(code.into())
}
