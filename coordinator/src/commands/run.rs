//! `ferry run`: a sweep from its file to its report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::bus::{BusError, Endpoint, Role};
use shared::protocol::Timing;
use shared::terminal::plain;

use super::failure::Failure;
use super::progress::Progress;
use super::report::summary;
use super::server::ServerArgs;
use crate::data::synth;
use crate::devices::{self, Environment, GpuChoice, Nvml};
use crate::home::{self, Home};
use crate::service::{self, Models, RunEnd, RunRequest};
use crate::sweep;
use crate::sweep::dataset::pack_dir;
use crate::sweep::plan::{DatasetSource, Plan};
use crate::view::Style;

/// Runs a sweep to its end: trains what is not trained yet, assembles the ensembles, writes the report.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry run experiments/demo.yaml\n  \
    ferry run sweep.yaml --gpus 0,2,5                           # these GPUs, a worker each\n  \
    ferry run sweep.yaml --nats nats://head:4222 --workers 0    # only workers from elsewhere\n  \
    ferry run sweep.yaml --nats tls://head:4222 --creds coordinator.creds\n\n\
    The same command goes on after any interruption: finished jobs are not trained again.\n\
    Exit codes: 0 all jobs done, 1 some failed, or no worker can work, 2 bad input, 130 interrupted.")]
pub struct RunArgs {
    /// The sweep file.
    pub file: PathBuf,
    /// State directory: server store, generated data, logs.
    #[arg(long, env = "FERRY_HOME", default_value = home::DEFAULT)]
    pub home: PathBuf,
    /// Folder of the run folders; the report lies in OUT/<sweep's name>.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
    /// GPUs to use, a worker each: numbers as in nvidia-smi or begins of UUIDs, such as 0,2,GPU-8f3a; 0:1 is one MIG
    /// instance of GPU 0. When absent: what CUDA_VISIBLE_DEVICES names, else every GPU.
    #[arg(long, value_name = "LIST")]
    pub gpus: Option<GpuChoice>,
    /// Number of local workers; one per GPU, else as many as the cores allow, when absent.
    #[arg(long)]
    pub workers: Option<usize>,
    /// Seconds without a sign of life after which a worker is taken for dead and its job given to another; holds for all
    /// jobs on this server from now on. What was agreed on before, at first 15, when absent.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub lease: Option<Duration>,
    /// Seconds between two signs of life of a worker, at most a third of the lease; a third when absent.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "lease")]
    pub heartbeat: Option<Duration>,
    /// Models to store in the run folder, for `ferry-worker predict`: those of the ensembles' members, all, or none. A
    /// full-size model takes 240 MB.
    #[arg(long, value_enum, default_value = "members")]
    pub models: Models,
    /// One JSON object per event on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let home = Home::new(&args.home);
    home.check_version().map_err(|error| Failure::Input(error.into()))?;
    let server = endpoint(args).map_err(|error| Failure::Input(error.into()))?;
    let gpus = devices::settle(&Nvml, args.gpus.as_ref(), &Environment::read())
        .map_err(|error| Failure::Input(error.into()))?;
    let timing = args.lease.map(|lease| Timing::new(lease, args.heartbeat)).transpose();
    let timing = timing.map_err(|error| Failure::Input(error.into()))?;
    let plan = plan_with_dataset(&args.file, &home)?;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let pack = pack_dir(&plan.dataset, home.root());
    let style = Style::choose(args.json);
    let request = RunRequest {
        plan,
        file: args.file.clone(),
        pack,
        home,
        out: args.out.clone(),
        server,
        gpus,
        workers: args.workers,
        timing,
        models: args.models,
        style,
    };
    // One thread: children must be spawned from the main thread (see `guard`), and nothing here is heavy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let end = runtime.block_on(service::run(request))?;
    Ok(finish(&end, args)?)
}

/// The server, if one is named: a credential of another role is told before any work.
fn endpoint(args: &RunArgs) -> Result<Option<Endpoint>, BusError> {
    let endpoint = args.server.endpoint()?;
    endpoint.as_ref().map_or(Ok(()), |endpoint| endpoint.require(&[Role::Coordinator]))?;
    Ok(endpoint)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The plan with its dataset in place: synthetic faces are drawn on first use.
fn plan_with_dataset(file: &Path, home: &Home) -> Result<Plan, Failure> {
    let plan = sweep::load(file, home.root())?;
    if plan.dataset_digest.is_some() {
        return Ok(plan);
    }
    let pack = pack_dir(&plan.dataset, home.root());
    match plan.dataset {
        DatasetSource::Pack(_) => {
            let pack = pack.display();
            let help =
                format!("the dataset {pack} is not there: make it with `ferry data import SOURCE {pack}`");
            return Err(Failure::Input(anyhow::anyhow!(help)));
        }
        DatasetSource::Synthetic(options) => {
            home.data().context("the synthetic dataset cannot be kept")?;
            let mut progress = Progress::new("drawing faces");
            synth::synthesize(&pack, &options, &mut |done, total| progress.show(done, total))
                .context("the synthetic dataset cannot be made")?;
        }
    }
    Ok(sweep::load(file, home.root())?)
}

fn finish(end: &RunEnd, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match end {
        RunEnd::Finished { done, failed, report } => {
            if args.json {
                let html = &report.html;
                let line = json!({
                    // `parked` is for scripts of earlier versions, which add it to `failed`.
                    "event": "finished", "done": done, "failed": failed, "parked": 0, "report": html,
                });
                writeln!(stdout, "{line}")?;
            } else {
                write!(stdout, "{}", summary(report))?;
            }
            Ok(if *failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        RunEnd::Stranded { done, open, why, report } => {
            if args.json {
                let html = &report.html;
                let line = json!({
                    "event": "stranded", "done": done, "open": open, "reason": why, "report": html,
                });
                writeln!(stdout, "{line}")?;
            } else {
                write!(stdout, "{}", summary(report))?;
                let why = plain(why);
                writeln!(
                    stdout,
                    "stopped with {open} jobs open: {why}; mend that and run the same command again"
                )?;
            }
            Ok(ExitCode::from(1))
        }
        RunEnd::Interrupted { done, open } => {
            let again = format!("ferry run {}", args.file.display());
            if args.json {
                writeln!(stdout, "{}", json!({ "event": "interrupted", "done": done, "open": open }))?;
            } else {
                writeln!(stdout, "stopped with {done} jobs done and {open} open; `{again}` goes on")?;
            }
            Ok(ExitCode::from(130))
        }
    }
}
