//! Fault injection: a small sweep on real processes, faults drawn from a seed, and an audit of what is stored at the
//! end.
//!
//! `size` decides how large the sweep is, and `schedule` when each fault is injected; `audit` and `cost` judge what was
//! observed. These four are pure. `deployment` holds the processes (`process`), their connections (`proxy`) and the
//! server's `disk`; `inject` injects faults into them, and `runner` follows the schedule.

pub mod audit;
mod baseline;
pub mod cost;
mod deployment;
mod disk;
pub mod fault;
mod final_state;
mod inject;
pub mod observer;
mod process;
pub mod proxy;
pub mod report;
mod runner;
pub mod schedule;
pub mod size;
pub mod sweep;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orchestrator::run_dir::RunRecord;
use shared::files;
use shared::ids::JobId;
use tokio::time::Instant;

use audit::Output;
use deployment::{Deployment, Folder};
use report::ChaosResult;
use runner::{QUIET_LIMIT, RunEnd, Summary, Times};
use schedule::{Shape, Step};

pub use disk::enter_namespace;
pub use view::View;

/// What to run.
#[derive(Debug, Clone)]
pub struct Request {
    pub seed: u64,
    pub workers: usize,
    /// `None` means as many as keep these workers busy for `length`.
    pub jobs: Option<usize>,
    pub faults: usize,
    /// The faults are spread over this time.
    pub length: Duration,
    /// Folder of everything that is kept: logs, the run without faults, the outcome.
    pub folder: PathBuf,
}

impl Request {
    /// The command that repeats the run with a sweep of this many jobs.
    fn command(&self, jobs: usize) -> String {
        let &Self { seed, workers, faults, length, .. } = self;
        let minutes = length.as_secs_f64() / 60.0;
        format!(
            "ferry chaos --workers {workers} --jobs {jobs} --faults {faults} --minutes {minutes} --seed {seed}"
        )
    }
}

/// The sweep file in the folder.
const SWEEP: &str = "sweep.yaml";

/// How a run ended.
#[derive(Debug)]
pub enum End {
    Finished(Box<ChaosResult>),
    Interrupted,
}

/// Trains the sweep without and with faults, audits the result, and writes `chaos.md` and `chaos.json`. Every process
/// that it starts ends before this returns, or at the latest with this process.
///
/// # Errors
///
/// When a file cannot be written, a process cannot be started, or the run without faults fails. A broken promise is not
/// an error: it is part of the outcome.
pub async fn run(request: &Request, view: &mut View) -> anyhow::Result<End> {
    std::fs::create_dir_all(&request.folder)?;
    let folder = request.folder.canonicalize()?;
    let expected = tokio::select! {
        expected = train_baseline(request, &folder, view) => expected?,
        outcome = orchestrator::service::interrupted() => {
            outcome?;
            return Ok(End::Interrupted);
        }
    };
    let shape = Shape {
        workers: request.workers,
        faults: request.faults,
        length: request.length,
        disk: disk::can_mount(),
    };
    let steps = schedule::draw(request.seed, &shape);
    view.phase(&format!(
        "the run with faults, seed {}; once the last fault is over, it is given up if no job ends for {} s",
        request.seed,
        QUIET_LIMIT.as_secs()
    ));
    let place = Folder::make(folder.join(format!("seed-{}", request.seed)))?;
    let start = Instant::now();
    let mut deployment =
        Deployment::start(&place, &folder.join(SWEEP), request.workers, expected.len(), start).await?;
    let times = Times { start, length: request.length };
    let judged = run_and_judge(request, &steps, times, &expected, &place, &mut deployment, view).await;
    deployment.stop().await;
    view.close();
    let Some(outcome) = judged? else { return Ok(End::Interrupted) };
    files::write(&place.root().join("chaos.md"), outcome.markdown().as_bytes())?;
    files::write(&place.root().join("chaos.json"), &serde_json::to_vec_pretty(&outcome)?)?;
    Ok(End::Finished(Box::new(outcome)))
}

/// What every job of the sweep computes when nothing goes wrong. Without `--jobs`, a few jobs are trained first to find
/// out how many the sweep needs.
async fn train_baseline(
    request: &Request,
    folder: &Path,
    view: &mut View,
) -> anyhow::Result<BTreeMap<JobId, Output>> {
    let jobs = if let Some(jobs) = request.jobs {
        jobs
    } else {
        let sample = size::sample(request.workers);
        view.phase(&format!("training {sample} jobs to see how many the sweep needs"));
        let record = train_first(sample, request, folder, view).await?;
        let seconds: Vec<f64> = record.results.values().map(|result| result.train_seconds).collect();
        size::jobs_for(request.length, request.workers, &seconds)
    };
    view.phase(&format!("the run without faults, {jobs} jobs"));
    Ok(baseline::outputs(&train_first(jobs, request, folder, view).await?))
}

/// Writes the sweep file for this many jobs and trains them. A larger sweep begins with the jobs of a smaller one.
async fn train_first(
    jobs: usize,
    request: &Request,
    folder: &Path,
    view: &mut View,
) -> anyhow::Result<RunRecord> {
    let file = folder.join(SWEEP);
    files::write(&file, sweep::text(jobs).as_bytes())?;
    baseline::train(&file, &folder.join("undisturbed"), request.workers, view).await
}

/// `None` if the user stopped it.
async fn run_and_judge(
    request: &Request,
    steps: &[Step],
    times: Times,
    expected: &BTreeMap<JobId, Output>,
    folder: &Folder,
    deployment: &mut Deployment,
    view: &mut View,
) -> anyhow::Result<Option<ChaosResult>> {
    let summary = runner::run(deployment, steps, expected.len(), times, view).await?;
    let stuck = match summary.end {
        RunEnd::Interrupted => return Ok(None),
        RunEnd::TimedOut => Some(deployment.dump()),
        RunEnd::Finished => None,
    };
    view.phase("the audit");
    let observations = deployment.observer.observations();
    keep_history(folder.root(), &observations)?;
    let jobs: BTreeSet<JobId> = expected.keys().copied().chain(deployment.observer.jobs()).collect();
    let stored = baseline::read(&folder.runs()).map(|record| baseline::outputs(&record));
    let stored = stored.unwrap_or_else(|error| {
        tracing::warn!(%error, "the run folder cannot be read");
        BTreeMap::new() // The audit reports every job as missing from it.
    });
    let states = final_state::read(&deployment.bus, jobs.into_iter(), stored).await?;
    let violations = audit::audit(expected, &states, &observations, &deployment.damaged);
    let results = states.values().filter_map(|state| state.result.as_ref());
    let training_seconds = results.map(|result| result.train_seconds).sum();
    let costs = cost::of(&summary.injections, &observations);
    let clean = violations.is_empty() && stuck.is_none();
    let Summary { injections, missed, ended, operator_commands, took, .. } = summary;
    Ok(Some(ChaosResult {
        v: ChaosResult::VERSION,
        seed: request.seed,
        workers: request.workers,
        jobs: expected.len(),
        machine: machine(),
        command: request.command(expected.len()),
        clean,
        violations,
        stuck,
        injected: injections.len(),
        recovered: costs.rows.values().map(|row| row.recovered).sum(),
        missed,
        skipped: deployment.disk.is_none().then(|| "a full disk, which needs a mount namespace".to_owned()),
        operator_commands,
        ended,
        seconds: took.as_secs_f64(),
        training_seconds,
        costs,
    }))
}

/// Writes every observed record, one per line, to explain violations with.
fn keep_history(folder: &Path, observations: &[observer::Observation]) -> anyhow::Result<()> {
    let mut text = String::new();
    for observation in observations {
        text += &serde_json::to_string(observation)?;
        text.push('\n');
    }
    files::write(&folder.join("history.jsonl"), text.as_bytes())?;
    Ok(())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} {}, trained on the CPU", if cores == 1 { "core" } else { "cores" })
}
