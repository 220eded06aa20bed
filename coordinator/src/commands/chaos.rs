//! `ferry chaos`: pulls plugs on a toy sweep of its own and audits its books.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::failure::Failure;
use crate::chaos::{self, End, Request, View, sweep};

/// Pulls plugs: trains a toy sweep with real processes under faults drawn from a seed, then audits the books.
///
/// Kills workers, nats-server and coordinator, freezes workers past their lease, cuts and delays their connections,
/// damages checkpoints, fills the server's disk, and delivers jobs twice. The audit: every job done exactly once, with
/// the bits of an undisturbed run, which is trained first and kept in the folder for the next seed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry chaos --seed 1\n  \
    ferry chaos --workers 2 --jobs 8 --faults 10 --minutes 1 --seed 7 --json\n\n\
    Exit codes: 0 the books are in order, 1 they are not (or the sweep did not end), 2 bad input, 130 interrupted.")]
pub struct ChaosArgs {
    /// Worker processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// The faults are spread over this time; then the sweep is left to end.
    #[arg(long, default_value_t = 5.0)]
    pub minutes: f64,
    /// Draws the faults: the same seed, the same schedule.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Jobs of the sweep, some seconds of training each; left out, as many as the faults leave time for, 60 at least.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=sweep::LARGEST as i64))]
    pub jobs: Option<u16>,
    /// Faults to inject.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub faults: u16,
    /// Folder for logs, the undisturbed run and the outcome; what an earlier run of the same seed left in it goes.
    #[arg(short, long, default_value = "chaos", value_name = "FOLDER")]
    pub out: PathBuf,
    /// One JSON object per event on standard output, the outcome last.
    #[arg(long)]
    pub json: bool,
}

/// Pulls them.
pub fn run(args: &ChaosArgs) -> Result<ExitCode, Failure> {
    let minutes = args.minutes;
    if !(0.01..=10_000.0).contains(&minutes) {
        let error = anyhow::anyhow!("--minutes {minutes} is not a time between 0.01 and 10000 minutes");
        return Err(Failure::Input(error));
    }
    chaos::enter_namespace();
    let request = Request {
        seed: args.seed,
        workers: args.workers.into(),
        jobs: args.jobs.map(Into::into),
        faults: args.faults.into(),
        length: Duration::from_secs_f64(minutes * 60.0),
        folder: args.out.clone(),
    };
    let mut view = View::new(args.json);
    // One thread: children must be spawned from the main thread (see `guard`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let end = runtime.block_on(chaos::run(&request, &mut view));
    view.close();
    Ok(finish(&end?, args)?)
}

fn finish(end: &End, args: &ChaosArgs) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match end {
        End::Played(outcome) => {
            if args.json {
                writeln!(stdout, "{}", json!({ "event": "finished", "outcome": outcome }))?;
            } else {
                write!(stdout, "{}", outcome.markdown())?;
            }
            Ok(if outcome.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        End::Interrupted => {
            if args.json {
                writeln!(stdout, "{}", json!({ "event": "interrupted" }))?;
            } else {
                writeln!(stdout, "stopped; the undisturbed run goes on where it was")?;
            }
            Ok(ExitCode::from(130))
        }
    }
}
