//! Pulling plugs on purpose: a toy sweep with real processes, faults drawn from a seed, and an audit of its books.
//!
//! `size` says how large the sweep is, `schedule` what happens when, `audit` and `ledger` judge what was seen: these four
//! are pure. `stage` performs the faults on the processes (`actor`), connections (`proxy`), store and `disk`, and `play`
//! keeps the time.

mod actor;
pub mod audit;
mod disk;
mod disturbed;
pub mod fault;
pub mod ledger;
pub mod observer;
mod play;
pub mod proxy;
pub mod report;
pub mod schedule;
pub mod size;
mod stage;
pub mod sweep;
mod undisturbed;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::files;
use shared::ids::JobId;
use tokio::time::Instant;

use crate::run_dir::RunRecord;
use audit::Output;
use play::{PATIENCE, PlayEnd, Played, Times};
use report::Outcome;
use schedule::{Shape, Step};
use stage::Stage;

pub use disk::enter_namespace;
pub use view::View;

/// What to play.
#[derive(Debug, Clone)]
pub struct Request {
    pub seed: u64,
    pub workers: usize,
    /// `None`: as many as it takes to keep these workers busy for `length`.
    pub jobs: Option<usize>,
    pub faults: usize,
    /// The faults are spread over this time.
    pub length: Duration,
    /// Folder of everything that is kept: logs, the undisturbed run, the outcome.
    pub folder: PathBuf,
}

impl Request {
    /// The command that repeats it with a sweep of this many jobs.
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

/// How it ended.
#[derive(Debug)]
pub enum End {
    Played(Box<Outcome>),
    Interrupted,
}

/// Trains undisturbed and disturbed, audits the books, and writes `chaos.md` and `chaos.json`. Every process that it
/// starts is gone when this returns, and when this process is gone.
pub async fn run(request: &Request, view: &mut View) -> anyhow::Result<End> {
    std::fs::create_dir_all(&request.folder)?;
    let folder = request.folder.canonicalize()?;
    let expected = tokio::select! {
        expected = train_undisturbed(request, &folder, view) => expected?,
        outcome = crate::service::interrupted() => {
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
        "the disturbed run, seed {}; after its last fault it is given up when no job ends for {} s",
        request.seed,
        PATIENCE.as_secs()
    ));
    let place = disturbed::Place::make(folder.join(format!("seed-{}", request.seed)))?;
    let start = Instant::now();
    let mut stage =
        disturbed::set_up(&place, &folder.join(SWEEP), request.workers, expected.len(), start).await?;
    let times = Times { start, length: request.length };
    let judged = play_and_judge(request, &steps, times, &expected, &place, &mut stage, view).await;
    disturbed::tear_down(stage).await;
    view.close();
    let Some(outcome) = judged? else { return Ok(End::Interrupted) };
    files::write(&place.root().join("chaos.md"), outcome.markdown().as_bytes())?;
    files::write(&place.root().join("chaos.json"), &serde_json::to_vec_pretty(&outcome)?)?;
    Ok(End::Played(Box::new(outcome)))
}

/// What every job of the sweep computes when nothing goes wrong. A few of its jobs tell how large the sweep is, where
/// nobody said so.
async fn train_undisturbed(
    request: &Request,
    folder: &Path,
    view: &mut View,
) -> anyhow::Result<BTreeMap<JobId, Output>> {
    let jobs = if let Some(jobs) = request.jobs {
        jobs
    } else {
        let sample = size::sample(request.workers);
        view.phase(&format!("{sample} jobs, to see how many fill the time"));
        let record = train_first(sample, request, folder, view).await?;
        let seconds: Vec<f64> = record.results.values().map(|result| result.train_seconds).collect();
        size::filling(request.length, request.workers, &seconds)
    };
    view.phase(&format!("the undisturbed run, {jobs} jobs"));
    Ok(undisturbed::outputs(&train_first(jobs, request, folder, view).await?))
}

/// Writes the sweep file for so many jobs and trains them. Those of a smaller sweep are the first ones of a larger one.
async fn train_first(
    jobs: usize,
    request: &Request,
    folder: &Path,
    view: &mut View,
) -> anyhow::Result<RunRecord> {
    let file = folder.join(SWEEP);
    files::write(&file, sweep::text(jobs).as_bytes())?;
    undisturbed::train(&file, &folder.join("undisturbed"), request.workers, view).await
}

/// `None` when the user stopped it.
async fn play_and_judge(
    request: &Request,
    steps: &[Step],
    times: Times,
    expected: &BTreeMap<JobId, Output>,
    place: &disturbed::Place,
    stage: &mut Stage,
    view: &mut View,
) -> anyhow::Result<Option<Outcome>> {
    let played = play::play(stage, steps, expected.len(), times, view).await?;
    let stuck = match played.end {
        PlayEnd::Interrupted => return Ok(None),
        PlayEnd::TimedOut => Some(disturbed::dump(stage)),
        PlayEnd::Finished => None,
    };
    view.phase("the audit");
    let sightings = stage.observer.sightings();
    keep_history(place.root(), &sightings)?;
    let jobs: BTreeSet<JobId> = expected.keys().copied().chain(stage.observer.jobs()).collect();
    let stored = undisturbed::read(&place.runs()).map(|record| undisturbed::outputs(&record));
    let stored = stored.unwrap_or_else(|error| {
        tracing::warn!(%error, "the run folder cannot be read");
        BTreeMap::new() // The audit misses every job in it.
    });
    let books = disturbed::read_books(&stage.bus, jobs.into_iter(), stored).await?;
    let violations = audit::audit(expected, &books, &sightings, &stage.damaged);
    let results = books.values().filter_map(|page| page.result.as_ref());
    let training_seconds = results.map(|result| result.train_seconds).sum();
    let ledger = ledger::reckon(&played.injections, &sightings);
    let clean = violations.is_empty() && stuck.is_none();
    let Played { injections, missed, ended, operator_commands, took, .. } = played;
    Ok(Some(Outcome {
        v: Outcome::VERSION,
        seed: request.seed,
        workers: request.workers,
        jobs: expected.len(),
        machine: machine(),
        command: request.command(expected.len()),
        clean,
        violations,
        stuck,
        injected: injections.len(),
        recovered: ledger.rows.values().map(|row| row.recovered).sum(),
        missed,
        skipped: stage.disk.is_none().then(|| "a full disk, which needs a mount namespace".to_owned()),
        operator_commands,
        ended,
        seconds: took.as_secs_f64(),
        training_seconds,
        ledger,
    }))
}

/// Every record as it was seen, one a line: what a dirty audit is explained from.
fn keep_history(folder: &Path, sightings: &[observer::Sighting]) -> anyhow::Result<()> {
    let mut text = String::new();
    for sighting in sightings {
        text += &serde_json::to_string(sighting)?;
        text.push('\n');
    }
    files::write(&folder.join("history.jsonl"), text.as_bytes())?;
    Ok(())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, trained on the CPU")
}
