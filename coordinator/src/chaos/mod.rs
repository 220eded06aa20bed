//! Pulling plugs on purpose: a toy sweep with real processes, faults drawn from a seed, and an audit of its books.
//!
//! `schedule` says what happens when, `audit` and `ledger` judge what was seen: these three are pure. `stage` performs
//! the faults on the processes (`actor`), connections (`proxy`), store and `disk`, and `play` keeps the time.

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
mod stage;
pub mod sweep;
mod undisturbed;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::ids::JobId;
use tokio::time::Instant;

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
    pub jobs: usize,
    pub faults: usize,
    /// The faults are spread over this time.
    pub length: Duration,
    /// Folder of everything that is kept: logs, the undisturbed run, the outcome.
    pub folder: PathBuf,
    /// The command that repeats it.
    pub command: String,
}

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
    let sweep = folder.join("sweep.yaml");
    std::fs::write(&sweep, sweep::text(request.jobs))?;
    view.phase("the undisturbed run");
    let calm_folder = folder.join("undisturbed");
    let calm = undisturbed::train(&sweep, &calm_folder, request.workers, view);
    let expected = tokio::select! {
        expected = calm => expected?,
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
    let mut stage = disturbed::set_up(&place, &sweep, request, start).await?;
    let times = Times { start, length: request.length };
    let judged = play_and_judge(request, &steps, times, &expected, &place, &mut stage, view).await;
    disturbed::tear_down(stage).await;
    view.close();
    let Some(outcome) = judged? else { return Ok(End::Interrupted) };
    std::fs::write(place.root().join("chaos.md"), outcome.markdown())?;
    std::fs::write(place.root().join("chaos.json"), serde_json::to_vec_pretty(&outcome)?)?;
    Ok(End::Played(Box::new(outcome)))
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
    let stored = undisturbed::outputs(&place.runs()).unwrap_or_else(|error| {
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
        command: request.command.clone(),
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
    std::fs::write(folder.join("history.jsonl"), text)?;
    Ok(())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, trained on the CPU")
}
