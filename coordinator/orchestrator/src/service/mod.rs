//! Runs a sweep from its plan to its report: starts what it needs, monitors it, and ends it gracefully.

mod ask;
mod conductor;
mod dataset;
mod downloads;
mod earlier_requests;
mod garbage;
mod lease;
mod local_workers;
mod other_sweeps;
mod perform;
mod plans;
mod prepare;
mod removal;
mod retry;
mod server_monitor;
mod session;
mod status;
mod storing;
mod subscription;
mod wait_out;
mod weights;
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
use shared::result::JobResult;
use shared::signals::StopSignals;
use tokio::time::Instant;

use crate::broker::{self, Broker};
use crate::devices::ChosenGpu;
use crate::engine::Engine;
use crate::home::{Home, HomeError, HomeLock};
use crate::report;
use crate::run_dir::{JobFailure, RunDir};
use crate::sweep::plan::Plan;
use crate::view::model::Snapshot;
use crate::view::{Style, View, labels::Labels};

pub use ask::{ask, to_add};
pub use conductor::{Acted, Conductor, Input, Role};
use dataset::Dataset;
pub use downloads::{FetchedResult, Models};
pub use garbage::{Ages, Collected, collect as collect_garbage};
use lease::KeptLease;
use other_sweeps::OtherSweeps;
use prepare::ChosenFolder;
pub use prepare::{Admitted, admit, outdated};
pub use removal::{Amount, Holdings, Removal, RemovalError, SweepHoldings, Target, sweep_holdings};
pub use retry::{EndedJob, RetryError, find_ended, retry};
use server_monitor::ServerMonitor;
use session::{HomeCheck, Session, SessionContext, SessionEnd, Workers};
pub use status::{BucketStatus, JobStatus, Status, SweepStatus, read_status};
use wait_out::wait_out;
pub use weights::UnknownWeights;

/// Everything a run needs, resolved.
#[derive(Debug)]
pub struct RunRequest {
    pub plan: Plan,
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
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
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
    let mut view = View::new(request.style, labels(&request, &request.plan));
    let ChosenFolder { run_dir, remark } = prepare::run_dir(&request.out, &request.plan, dataset.as_ref())?;
    if let Some(remark) = remark {
        view.remark(&remark);
    }
    let stored = prepare::stored_results(&run_dir);
    let mut broker = None;
    let context = RunContext { request: &request, dataset: dataset.as_ref(), run_dir: &run_dir, lock: &lock };
    let outcome = Box::pin(conduct(&context, stored, &mut broker, &mut view, &mut stop)).await;
    view.close();
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let Conducted { engine, drained, end } = outcome.map_err(|error| lost_home(error, &run_dir))?;
    let tally = engine.tally();
    let open = tally.open();
    if let End::Interrupted { elsewhere } = end {
        return Ok(RunEnd::Interrupted { done: tally.done, open, elsewhere });
    }
    run_dir.write_failures(engine.failures().map(|(job, record, reason)| (job, failure(record, reason))))?;
    for (worker, reason) in &drained {
        run_dir.write_drain(worker, reason)?;
    }
    // The report is written even if the models could not be fetched.
    let report = report::write(&run_dir)?;
    match end {
        End::Finished { models } => models?,
        End::Stranded { why } => return Ok(RunEnd::Stranded { done: tally.done, open, why, report }),
        End::Interrupted { .. } => {}
    }
    Ok(RunEnd::Finished { done: tally.done, failed: tally.failed, cancelled: tally.cancelled, report })
}

fn labels(request: &RunRequest, plan: &Plan) -> Labels {
    Labels::of(plan).from_file(&request.file)
}

/// If the home is gone, adds to the error what the user still has.
fn lost_home(error: anyhow::Error, run_dir: &RunDir) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(HomeError::Gone { .. })) {
        return error;
    }
    let stored = prepare::stored_results(run_dir).len();
    anyhow::anyhow!(
        "{error}, and with it the queue, the checkpoints and the results on its server; {} so far {} in {}; the same \
         command starts the sweep again",
        count(stored, "finished job"),
        if stored == 1 { "is" } else { "are" },
        run_dir.root().display()
    )
}

/// What the run folder keeps of a job without a result.
fn failure(record: &JobRecord, reason: &str) -> JobFailure {
    JobFailure {
        error: reason.to_owned(),
        log: record.failures.last().map_or_else(Vec::new, |failure| failure.log.clone()),
    }
}

/// What is shown first, given the results of earlier runs.
fn first_snapshot(plan: &Plan, stored: &BTreeMap<JobId, &JobResult>) -> Snapshot {
    let (score_name, goal) = (plan.score_name(), plan.ranking.goal);
    let mut snapshot = Snapshot { score_name, goal, ..Snapshot::default() };
    for result in stored.values() {
        if let Some(score) = plan.ranking.score(&result.metrics) {
            snapshot.saw(result.job, score);
        }
    }
    snapshot
}

/// What is left of a run when its local workers have ended.
struct Conducted {
    engine: Engine,
    /// Workers that were drained, and why.
    drained: BTreeMap<String, String>,
    end: End,
}

enum End {
    Interrupted {
        elsewhere: Vec<String>,
    },
    /// No worker is left that may take jobs.
    Stranded {
        why: String,
    },
    /// Every job is stored or failed for good. `models` says whether the wanted models are stored, too.
    Finished {
        models: anyhow::Result<()>,
    },
}

/// What a run works with, from its start to its end.
struct RunContext<'a> {
    request: &'a RunRequest,
    dataset: Option<&'a Dataset>,
    run_dir: &'a RunDir,
    lock: &'a HomeLock,
}

/// Runs everything from the start of the server to the last stored result. The local workers live exactly as long.
async fn conduct(
    &RunContext { request, dataset, run_dir, lock }: &RunContext<'_>,
    stored: BTreeMap<JobId, JobResult>,
    broker: &mut Option<Broker>,
    view: &mut View,
    stop: &mut StopSignals,
) -> anyhow::Result<Conducted> {
    let prepared = tokio::select! {
        biased;
        () = stop.requested() => None,
        prepared = begin(request, dataset, &stored, broker, view) => Some(prepared?),
    };
    let Some(PreparedSweep { endpoint, bus, conductor, lease, outdated, snapshot }) = prepared else {
        say_stopping(view);
        let jobs = request.plan.jobs.iter().map(|job| job.id);
        let engine = Engine::new(jobs, &|job| stored.contains_key(&job));
        let end = End::Interrupted { elsewhere: Vec::new() };
        return Ok(Conducted { engine, drained: BTreeMap::new(), end });
    };
    let folder = request.dataset.clone();
    let sharing = folder.map(|folder| tokio::spawn(dataset::share(bus.clone(), folder)));
    let collecting = tokio::spawn(garbage::collect_now_and_then(bus.clone()));
    let others = OtherSweeps::begin(bus.clone(), &request.plan.name);
    let host = local_workers::host_name(request); // Held until the run ends.
    let plan = conductor.plan().clone();
    run_dir.write_plan(&plan)?;
    for job in outdated {
        run_dir.set_aside(job)?;
    }
    view.relabel(labels(request, &plan));
    let mut session = Session {
        conductor,
        writer: run_dir.result_writer()?,
        context: SessionContext {
            fleet: local_workers::start(request, &endpoint, &bus, host.as_ref()).await?,
            home: HomeCheck { lock, holds_store: broker.is_some(), told: false },
            monitor: ServerMonitor::of(bus.clone(), broker),
            bus: bus.clone(),
            run_dir,
            view,
            snapshot,
            started: Instant::now(),
            workers: Workers::new(labels(request, &plan), others),
        },
        plan,
        lease,
    };
    let outcome = session.run_to_end(stop).await;
    if let Some(sharing) = sharing {
        sharing.abort();
    }
    collecting.abort();
    let Session { conductor, context, lease, .. } = session;
    lease.give_back().await;
    let SessionContext { fleet, view, workers, .. } = context;
    fleet.stop().await;
    let (engine, drained) = (conductor.into_engine(), workers.drained);
    let end = match outcome? {
        SessionEnd::Finished => {
            let mut tell = |text: &str| view.remark(text);
            tokio::select! {
                models = downloads::fetch_models(&bus, run_dir, request.models, &mut tell) => End::Finished { models },
                () = stop.requested() => End::Interrupted { elsewhere: Vec::new() },
            }
        }
        SessionEnd::Interrupted => End::Interrupted { elsewhere: elsewhere(request, &bus).await },
        SessionEnd::Stranded(why) => End::Stranded { why },
    };
    Ok(Conducted { engine, drained, end })
}

/// A sweep that is in the books and about to be conducted.
struct PreparedSweep {
    endpoint: Endpoint,
    bus: Bus,
    conductor: Conductor,
    lease: KeptLease,
    /// Jobs whose results in the run folder are outdated.
    outdated: BTreeSet<JobId>,
    snapshot: Snapshot,
}

/// Connects to our own or another server, and enters the sweep into its books.
async fn begin(
    request: &RunRequest,
    dataset: Option<&Dataset>,
    stored: &BTreeMap<JobId, JobResult>,
    broker: &mut Option<Broker>,
    view: &mut View,
) -> anyhow::Result<PreparedSweep> {
    let (endpoint, bus) = if let Some(endpoint) = &request.server {
        // It may be away for a moment.
        let connect = async || Ok(Bus::connect_and_lay_out(endpoint, "ferry").await?);
        (endpoint.clone(), wait_out(|text| view.remark(text), connect).await?)
    } else {
        let endpoint = broker.insert(Broker::start(&request.home).await?).endpoint()?;
        let bus = broker::connect(&endpoint, "ferry").await?;
        (endpoint, bus)
    };
    let ours_alone = broker.is_some();
    let mut claim = lease::Claim::new(bus.clone(), &request.plan.name);
    let role = wait_out(|text| view.remark(text), async || Ok(claim.attempt(ours_alone).await?)).await?;
    let lease = claim.keep_up(role);
    let admitted = wait_out(
        |text| view.remark(text),
        async || {
            // Set it even if it is unchanged, because the queue of a restored server does not know it yet.
            let timing = match request.timing {
                Some(timing) => timing,
                None => bus.timing().await?,
            };
            bus.agree_on(&timing).await?;
            match role {
                Role::Conducting => {
                    weights::share(&bus, &request.plan).await?;
                    prepare::admit(&bus, &request.plan, ours_alone).await
                }
                Role::Following => prepare::attach(&bus, &request.plan).await,
            }
        },
    )
    .await?;
    let outdated = prepare::outdated(&bus, stored).await?;
    let stored = stored.iter().filter(|(job, _)| !outdated.contains(job)).map(|(&job, result)| (job, result));
    let stored: BTreeMap<JobId, &JobResult> = stored.collect();
    let engine = admitted.engine(&|job| stored.contains_key(&job));
    let snapshot = first_snapshot(&admitted.plan, &stored);
    let train_samples = dataset.map_or(0, Dataset::train_samples);
    if role == Role::Following {
        view.remark(&format!(
            "another `ferry run` conducts `{}` already: this one follows it with its own workers, and takes over when that \
             one is gone",
            request.plan.name
        ));
    }
    let plan = Arc::new(admitted.plan);
    let conductor = Conductor::begin(bus.clone(), engine, plan, train_samples, role).await?;
    Ok(PreparedSweep { endpoint, bus, conductor, lease, outdated, snapshot })
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
fn say_stopping(view: &mut View) {
    view.close();
    view.remark("stopping… workers save their progress and hand their jobs back, which can take up to 15 s");
}

/// Resolves when the user, or the system, wants this process to end.
///
/// # Errors
/// When the system refuses a signal handler.
pub async fn interrupted() -> std::io::Result<()> {
    StopSignals::listen()?.requested().await;
    Ok(())
}
