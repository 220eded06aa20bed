//! Runs a sweep from its plan to its report: starts what it needs, monitors it, and ends it gracefully.

mod ask;
mod backlog;
mod choose;
mod comparison;
mod conductor;
mod continued;
mod dataset;
mod desertion;
mod downloads;
mod ending;
mod entering;
mod follow;
mod garbage;
mod input;
mod lease;
mod local;
mod local_workers;
mod other_sweeps;
mod perform;
mod plans;
mod prepare;
mod queueing;
mod removal;
mod review;
mod server_health;
mod server_monitor;
mod session;
mod status;
mod storing;
mod surroundings;
mod unconducted;
mod wait_out;
mod weights;
mod work;
mod worker_deaths;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::books::JobRecord;
use shared::bus::{Bus, Endpoint};
use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::Timing;
use shared::signals::StopSignals;

use crate::broker::{self, Broker};
use crate::devices::ChosenGpu;
use crate::engine::Engine;
use crate::home::{Home, HomeError, HomeLock};
use crate::report;
use crate::run_dir::{JobFailure, RunDir, RunDirLock};
use crate::sweep::plan::Plan;
use crate::view::{Sink, Style, View, labels::Labels};

pub use ask::{EditError, ask, new_request, to_add, to_edit};
pub use choose::{ChooseError, Chosen, choose, sweeps};
pub use comparison::{Comparison, JobProgress, Stage, compare};
pub use conductor::{Conductor, Extent, Role};
pub use continued::Shortened;
use dataset::Dataset;
pub use desertion::LocalWorkers;
pub use downloads::{FetchedResult, Models};
pub use entering::{Entered, Entering, enter};
pub use follow::{FollowError, Followed, Following};
pub use garbage::{Ages, Collected, collect as collect_garbage};
pub use input::{Acted, Input};
pub use lease::Holder;
use local::{HomeCheck, LocalFolder, LocalHost};
use prepare::RunFolder;
pub use removal::{Amount, Holdings, Removal, RemovalError, SweepHoldings, Target, sweep_holdings};
pub use review::Review;
use server_monitor::ServerMonitor;
pub use session::{Ended, Session, SessionEnd};
pub use status::{BucketStatus, JobStatus, Status, SweepStatus, read_status, status_with};
pub use surroundings::{Folder, Host};
use wait_out::wait_out;
pub use weights::UnknownWeights;
pub use work::Work;

/// How many jobs that wait for a worker are in the server's queue at a time: enough for workers to go on for a while
/// without the coordinator, and few enough to look after all of them every 30 s.
pub const MOST_QUEUED: usize = 4096;

/// Everything a run needs, resolved.
#[derive(Debug)]
pub struct RunRequest {
    pub plan: Arc<Plan>,
    /// The path of the sweep file as the user wrote it.
    pub file: PathBuf,
    /// Folder of the plan's dataset, if its jobs read one.
    pub dataset: Option<PathBuf>,
    pub home: Home,
    /// Folder of run folders.
    pub out: PathBuf,
    /// A server to use instead of one of our own.
    pub server: Option<Endpoint>,
    /// GPUs that get one worker each. If there are none, workers share the CPU cores.
    pub gpus: Vec<ChosenGpu>,
    /// Number of local workers. `None` leaves it to the devices.
    pub workers: Option<usize>,
    /// Lease and heartbeat to set. `None` keeps those of the server.
    pub timing: Option<Timing>,
    /// Which models to store in the run folder at the end.
    pub models: Models,
    pub style: Style,
    /// Tells the user how the sweep file differs from the books.
    pub review: Review,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// The user did not want what would have followed from the sweep file. Nothing was changed.
    Declined,
    Finished {
        done: usize,
        failed: usize,
        /// On request.
        cancelled: usize,
        report: report::Written,
    },
    /// No worker is left that may take jobs. The report covers what is done so far.
    Stranded { done: usize, open: usize, why: String, report: report::Written },
    /// The user stopped it; the same command continues it.
    Interrupted {
        done: usize,
        open: usize,
        /// Workers that other programs started, and that keep training.
        elsewhere: Vec<String>,
    },
}

/// Runs a sweep to its end and writes its report.
///
/// # Errors
/// When waiting does not help: the server or the workers cannot be started, the run folder cannot be written, or the
/// state directory is gone.
pub async fn run(request: RunRequest) -> anyhow::Result<RunEnd> {
    let mut stop = StopSignals::listen()?;
    let lock = request.home.lock()?;
    let dataset = request.dataset.as_deref().map(Dataset::open).transpose()?;
    let mut sink = Sink::of(View::new(request.style, labels(&request, &request.plan)));
    let mut broker = None;
    let context = RunContext { request: &request, dataset: dataset.as_ref(), lock: &lock };
    let outcome = Box::pin(conduct(&context, &mut broker, &mut sink, &mut stop)).await;
    sink.close();
    if let Some(broker) = broker {
        broker.stop().await;
    }
    outcome.map_err(|error| lost_home(error, &request))
}

fn labels(request: &RunRequest, plan: &Plan) -> Labels {
    Labels::of(plan).from_file(&request.file)
}

/// If the home is gone, adds to the error what the user still has.
fn lost_home(error: anyhow::Error, request: &RunRequest) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(HomeError::Gone { .. })) {
        return error;
    }
    let (folder, stored) = prepare::finished(&request.out, &request.plan);
    anyhow::anyhow!(
        "{error}, and with it the queue, the checkpoints and the results on its server; {} so far {} in {}; the same \
         command starts the sweep again",
        count(stored, "finished job"),
        if stored == 1 { "is" } else { "are" },
        folder.display()
    )
}

/// What the run folder keeps of a job without a result.
fn failure(record: &JobRecord, reason: &str) -> JobFailure {
    JobFailure {
        error: reason.to_owned(),
        log: record.failures.last().map_or_else(Vec::new, |failure| failure.log.clone()),
    }
}

/// What a run works with, from its start to its end.
struct RunContext<'a> {
    request: &'a RunRequest,
    dataset: Option<&'a Dataset>,
    lock: &'a HomeLock,
}

/// A sweep that is in the books, and the run folder.
struct Begun {
    endpoint: Endpoint,
    entered: Entered,
    run_dir: RunDir,
    /// Held as long as the run writes into the folder.
    _in_use: RunDirLock,
}

/// Runs everything from the start of the server to the report. The local workers live until the last result is stored.
async fn conduct(
    context: &RunContext<'_>,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
    stop: &mut StopSignals,
) -> anyhow::Result<RunEnd> {
    let &RunContext { request, lock, .. } = context;
    let begun = tokio::select! {
        biased;
        () = stop.requested() => {
            say_stopping(sink);
            let (_, done) = prepare::finished(&request.out, &request.plan);
            let open = request.plan.jobs.len().saturating_sub(done);
            return Ok(RunEnd::Interrupted { done, open, elsewhere: Vec::new() });
        }
        begun = begin(context, broker, sink) => begun?,
    };
    let Some(Begun { endpoint, entered, run_dir, _in_use }) = begun else { return Ok(RunEnd::Declined) };
    let bus = entered.bus.clone();
    let folder = request.dataset.clone();
    let sharing = folder.map(|folder| tokio::spawn(dataset::share(bus.clone(), folder)));
    let collecting = tokio::spawn(garbage::collect_now_and_then(bus.clone()));
    let host = local_workers::host_name(request); // Held until the run ends.
    let labels = labels(request, entered.conductor.plan());
    let folder = LocalFolder::of(&run_dir, entered.conductor.plan(), &entered.outdated)?;
    let machine = LocalHost {
        fleet: local_workers::start(request, &endpoint, &bus, host.as_ref()).await?,
        home: HomeCheck { lock, holds_store: broker.is_some(), told: false },
        monitor: ServerMonitor::of(bus.clone(), broker),
        run_dir: &run_dir,
    };
    sink.relabel(&labels);
    let mut session = Session::begin(entered, machine, folder, labels, sink);
    // A request to stop ends the session immediately, even if it waits for a server that is away.
    let outcome = tokio::select! {
        biased;
        () = stop.requested() => None,
        outcome = session.run() => Some(outcome),
    };
    if outcome.is_none() {
        say_stopping(session.sink());
    }
    if let Some(sharing) = sharing {
        sharing.abort();
    }
    collecting.abort();
    let Ended { engine, drained, host: LocalHost { fleet, .. } } = session.end().await;
    fleet.stop().await;
    let synced = run_dir.sync();
    let outcome = outcome.transpose()?;
    synced?;
    conclude((request, &run_dir), &bus, outcome, (engine, drained), sink, stop).await
}

/// Writes the report of a run that was not interrupted. `drained` are the workers that got no more jobs, and why.
async fn conclude(
    (request, run_dir): (&RunRequest, &RunDir),
    bus: &Bus,
    end: Option<SessionEnd>,
    (engine, drained): (Engine, BTreeMap<String, String>),
    sink: &mut Sink,
    stop: &mut StopSignals,
) -> anyhow::Result<RunEnd> {
    let tally = engine.tally();
    let (done, open) = (tally.done, tally.open());
    let why = match end {
        None => {
            return Ok(RunEnd::Interrupted { done, open, elsewhere: elsewhere(request, bus).await });
        }
        Some(SessionEnd::Stranded(why)) => Some(why),
        Some(SessionEnd::Finished) => None,
    };
    run_dir.write_failures(engine.failures().map(|(job, record, reason)| (job, failure(record, reason))))?;
    drop(engine); // It and the report are the two largest things of a run.
    for (worker, reason) in drained {
        run_dir.write_drain(&worker, &reason)?;
    }
    let mut record = run_dir.load()?;
    let models = if why.is_some() {
        Ok(())
    } else {
        let mut tell = |text: &str| sink.remark(text);
        tokio::select! {
            models = downloads::fetch_models(bus, run_dir, &mut record, request.models, &mut tell) => models,
            () = stop.requested() => {
                return Ok(RunEnd::Interrupted { done, open, elsewhere: Vec::new() });
            }
        }
    };
    // The report is written even if the models could not be fetched.
    let report = report::write_of(run_dir, &record)?;
    models?;
    Ok(match why {
        Some(why) => RunEnd::Stranded { done, open, why, report },
        None => RunEnd::Finished { done, failed: tally.failed, cancelled: tally.cancelled, report },
    })
}

/// Connects to our own or another server, compares the sweep file with its books, and enters the sweep into them.
/// `None` if the user does not want what follows from the file.
async fn begin(
    &RunContext { request, dataset, .. }: &RunContext<'_>,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
) -> anyhow::Result<Option<Begun>> {
    let (endpoint, bus) = if let Some(endpoint) = &request.server {
        // It may be away for a moment.
        let connect = async || Ok(Bus::connect_and_lay_out(endpoint, "ferry").await?);
        (endpoint.clone(), wait_out(|text| sink.remark(text), connect).await?)
    } else {
        let endpoint = broker.insert(Broker::start(&request.home).await?).endpoint()?;
        let bus = broker::connect(&endpoint, "ferry").await?;
        (endpoint, bus)
    };
    let (plan, train_samples) = (&request.plan, dataset.map_or(0, Dataset::train_samples));
    let compared = wait_out(
        |text| sink.remark(text),
        async || comparison::compare_with(&bus, plan, train_samples).await,
    )
    .await?;
    let difference = compared.as_ref().map(|compared| compared.difference.clone()).unwrap_or_default();
    if let Some(compared) = compared
        && !request.review.agrees(&request.plan, compared).await?
    {
        return Ok(None);
    }
    let folder = RunFolder::choose(&request.out, plan, &difference.gone().collect())?;
    if let Some(remark) = &folder.remark {
        sink.remark(remark);
    }
    let in_use = folder.lock()?;
    if !difference.is_empty() {
        let changes = ask::edit(&bus, plan).await?;
        sink.remark(&format!("`{}` follows the edited file: {}", plan.name, changes.join(", ")));
    }
    let run_dir = folder.create(dataset)?;
    let in_use = in_use.map_or_else(|| run_dir.lock(), Ok)?;
    let stored = folder.results(&run_dir);
    let entering = Entering {
        plan,
        stored: &stored,
        train_samples,
        most_queued: MOST_QUEUED,
        timing: request.timing,
        ours_alone: broker.is_some(),
        holder: Holder::here(),
    };
    let entered = enter(&bus, entering, sink).await?;
    if entered.conductor.plan().as_ref() != folder.plan() {
        run_dir.write_plan(entered.conductor.plan())?;
    }
    Ok(Some(Begun { endpoint, entered, run_dir, _in_use: in_use }))
}

/// The workers on somebody else's server that keep training after the local ones have ended.
async fn elsewhere(request: &RunRequest, bus: &Bus) -> Vec<String> {
    if request.server.is_none() {
        return Vec::new();
    }
    let own: BTreeSet<JobId> = request.plan.jobs.iter().map(|job| job.id).collect();
    let present = tokio::time::timeout(ANSWER, bus.workers()).await;
    let mut present = present.ok().and_then(Result::ok).unwrap_or_default();
    present.retain(|worker| worker.job.is_some_and(|job| own.contains(&job)));
    present.iter().map(|worker| format!("{} on {}", worker.worker.name(), worker.host)).collect()
}

/// How long to wait for the server's last answer; it may be away.
const ANSWER: Duration = Duration::from_secs(2);

/// Confirms a request to stop immediately, because what follows may take a while.
fn say_stopping(sink: &mut Sink) {
    sink.close();
    sink.remark("stopping… workers save their progress and hand their jobs back, which can take up to 15 s");
}

/// Resolves when the user, or the system, wants this process to end.
///
/// # Errors
/// When the system refuses a signal handler.
pub async fn interrupted() -> std::io::Result<()> {
    StopSignals::listen()?.requested().await;
    Ok(())
}
