//! A sweep from its plan to its report: what is started for it, watched over, and ended in good order.

mod announce;
mod care;
mod conductor;
mod downloads;
mod garbage;
mod prepare;
mod removal;
mod retry;
mod session;
mod share;
mod status;
mod wait_out;

use std::collections::BTreeMap;
use std::path::PathBuf;

use shared::books::JobRecord;
use shared::bus::{Bus, Endpoint};
use shared::ids::JobId;
use shared::pack::{Pack, Split};
use shared::protocol::{Presence, Timing};
use shared::result::JobResult;
use shared::unique_name::UniqueName;

use crate::broker::{self, Broker};
use crate::devices::ChosenGpu;
use crate::engine::Engine;
use crate::engine::cost::CostModel;
use crate::fleet::{self, Fleet, Slot, WorkerSetup};
use crate::home::Home;
use crate::report;
use crate::run_dir::{JobFailure, RunDir};
use crate::sweep::plan::Plan;
use crate::view::model::Snapshot;
use crate::view::{Style, View, labels::Labels};

use announce::Announcement;
pub use conductor::{Conductor, Occurrence};
pub use downloads::{FetchedResult, Models};
pub use garbage::{Ages, Collected, collect as collect_garbage};
pub use prepare::admit;
pub use removal::{Amount, Holdings, Removal, RemovalError, SweepHoldings, Target, sweep_holdings};
pub use retry::{Ended, RetryError, find_ended, retry};
use session::{Session, Watched};
pub use share::UnknownWeights;
pub use status::{JobStatus, Status, SweepStatus, read_status};
use wait_out::wait_out;

/// Everything a run needs, resolved.
#[derive(Debug)]
pub struct RunRequest {
    pub plan: Plan,
    /// The sweep file as the user calls it.
    pub file: PathBuf,
    /// Folder of the plan's pack.
    pub pack: PathBuf,
    pub home: Home,
    /// Folder of run folders.
    pub out: PathBuf,
    /// A server to use instead of one of our own.
    pub server: Option<Endpoint>,
    /// GPUs that get a worker each; without any, workers share the cores.
    pub gpus: Vec<ChosenGpu>,
    /// Number of local workers; the devices decide when absent.
    pub workers: Option<usize>,
    /// Lease and heartbeat to agree on; what holds on the server when absent.
    pub timing: Option<Timing>,
    /// Which models the run folder shall have at the end.
    pub models: Models,
    pub style: Style,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    Finished {
        done: usize,
        failed: usize,
        report: report::Written,
    },
    /// No worker is left that may work; the report tells what there is so far.
    Stranded {
        done: usize,
        open: usize,
        why: String,
        report: report::Written,
    },
    /// The user stopped it; the same command goes on.
    Interrupted {
        done: usize,
        open: usize,
    },
}

/// Runs a sweep to its end and writes its report.
pub async fn run(request: RunRequest) -> anyhow::Result<RunEnd> {
    let _lock = request.home.lock()?;
    let pack = Pack::open(&request.pack)?;
    let run_dir = prepare::run_dir(&request.out.join(&request.plan.name), &request.plan, &pack)?;
    let stored = prepare::stored_results(&run_dir);
    let mut view = View::new(request.style, Labels::of(&request.plan).from_file(&request.file));
    let mut broker = None;
    let endpoint = match &request.server {
        Some(endpoint) => endpoint.clone(),
        None => broker.insert(Broker::start(&request.home).await?).endpoint()?,
    };
    let running = conduct(&request, &pack, &run_dir, stored, &endpoint, &mut broker, &mut view);
    let outcome = Box::pin(running).await;
    view.close();
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let Conducted { engine, drained, end } = outcome?;
    let tally = engine.tally();
    if matches!(end, End::Interrupted) {
        return Ok(RunEnd::Interrupted { done: tally.done, open: tally.pending + tally.running });
    }
    for (job, record, reason) in engine.failures() {
        run_dir.write_failure(job, &failure(record, reason))?;
    }
    for (worker, reason) in &drained {
        run_dir.write_drain(worker, reason)?;
    }
    // The report is written whatever became of the models.
    let report = report::write(&run_dir)?;
    match end {
        End::Finished { models } => models?,
        End::Stranded { why } => {
            let open = tally.pending + tally.running;
            return Ok(RunEnd::Stranded { done: tally.done, open, why, report });
        }
        End::Interrupted => {}
    }
    Ok(RunEnd::Finished { done: tally.done, failed: tally.failed, report })
}

/// What the run folder keeps of a job without result.
fn failure(record: &JobRecord, reason: &str) -> JobFailure {
    JobFailure {
        error: reason.to_owned(),
        log: record.failures.last().map_or_else(Vec::new, |failure| failure.log.clone()),
    }
}

/// What a run begins with: all that earlier runs of the sweep have left.
struct Start {
    engine: Engine,
    snapshot: Snapshot,
}

impl Start {
    fn from(plan: &Plan, stored: &BTreeMap<JobId, JobResult>) -> Self {
        let engine = Engine::new(plan.jobs.iter().map(|job| job.id), &|job| stored.contains_key(&job));
        let mut snapshot = Snapshot::default();
        for result in stored.values() {
            saw(&mut snapshot, result);
        }
        Self { engine, snapshot }
    }
}

fn saw(snapshot: &mut Snapshot, result: &JobResult) {
    if let Some(report) = result.best() {
        snapshot.saw(result.job, report.validation.macro_f1);
    }
}

/// What is left of a run when its workers are gone.
struct Conducted {
    engine: Engine,
    /// Workers that were taken out, and why.
    drained: BTreeMap<String, String>,
    end: End,
}

enum End {
    Interrupted,
    /// No worker is left that may work.
    Stranded {
        why: String,
    },
    /// Every job is stored or given up; whether the wanted models are stored too.
    Finished {
        models: anyhow::Result<()>,
    },
}

/// From the connection to the last stored result; the local workers live exactly as long as this.
async fn conduct(
    request: &RunRequest,
    pack: &Pack,
    run_dir: &RunDir,
    mut stored: BTreeMap<JobId, JobResult>,
    endpoint: &Endpoint,
    broker: &mut Option<Broker>,
    view: &mut View,
) -> anyhow::Result<Conducted> {
    let ours_alone = broker.is_some();
    let bus = connect(endpoint, ours_alone, view).await?;
    let specs = request.plan.jobs.iter().map(|job| (job.id, job.spec.clone()));
    let cost = CostModel::new(pack.len(Split::Train), specs);
    wait_out(
        |text| view.remark(text),
        async || {
            // Also what was agreed on before: the queue of a restored server does not know it yet.
            let timing = match request.timing {
                Some(timing) => timing,
                None => bus.timing().await?,
            };
            bus.agree_on(&timing).await?;
            announce::announce(&bus, &request.plan.name).await?;
            share::weights(&bus, &request.plan).await?;
            prepare::admit(&bus, &request.plan, ours_alone).await
        },
    )
    .await?;
    let outdated = prepare::outdated(&bus, &stored).await?;
    stored.retain(|job, _| !outdated.contains(job));
    let Start { engine, snapshot } = Start::from(&request.plan, &stored);
    let announcement = Announcement::keep_up(bus.clone(), &request.plan.name);
    let sharing = tokio::spawn(share::pack(bus.clone(), request.pack.clone()));
    let collecting = tokio::spawn(garbage::collect_now_and_then(bus.clone()));
    let slots = fleet::slots(&request.gpus, cores(), threads(&request.plan), request.workers);
    let host = host_name(request);
    let setup = WorkerSetup {
        program: fleet::worker_program()?,
        endpoint: endpoint.clone(),
        data: request.pack.clone(),
        logs: request.home.logs()?,
        name_prefix: host.as_ref().map_or_else(String::new, |host| format!("{}-", host.as_str())),
    };
    let conductor = Conductor::begin(bus.clone(), engine, cost).await?;
    announce(&bus, &setup, &slots).await;
    let fleet = Fleet::start(setup, slots)?;
    let mut session = Session::new(conductor, fleet, snapshot, bus, run_dir, view, broker);
    let outcome = session.watch_over().await;
    sharing.abort();
    collecting.abort();
    announcement.withdraw().await;
    let Session { fleet, conductor, bus, view, reasons: drained, .. } = session;
    fleet.stop().await;
    let engine = conductor.into_engine();
    match outcome? {
        Watched::Finished => {}
        Watched::Interrupted => return Ok(Conducted { engine, drained, end: End::Interrupted }),
        Watched::Stranded(why) => return Ok(Conducted { engine, drained, end: End::Stranded { why } }),
    }
    let mut tell = |text: &str| view.remark(text);
    let end = tokio::select! {
        models = downloads::fetch_models(&bus, run_dir, request.models, &mut tell) => End::Finished { models },
        outcome = interrupted() => outcome.map(|()| End::Interrupted)?,
    };
    Ok(Conducted { engine, drained, end })
}

/// Tells the workers that others are about to come: a second try of a failed job may then wait for another worker.
async fn announce(bus: &Bus, setup: &WorkerSetup, slots: &[Slot]) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for slot in slots {
        if let Err(error) = bus.appear(&Presence::announced(&setup.worker_name(slot), &host)).await {
            tracing::debug!(%error, "a worker comes unannounced");
        }
    }
}

/// The bus of our own server, which was started a moment ago, or of another one, which may be away for a moment.
async fn connect(endpoint: &Endpoint, ours: bool, view: &mut View) -> anyhow::Result<Bus> {
    if ours {
        return Ok(broker::connect(endpoint, "ferry").await?);
    }
    let connect = async || Ok(Bus::connect_and_lay_out(endpoint, "ferry").await?);
    wait_out(|text| view.remark(text), connect).await
}

/// Resolves when the user, or the system, wants this process to end.
pub async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Characters kept of a host's name: more would leave no room for the slot's name after it.
const HOST_NAME: usize = 32;

/// What the names of this run's workers begin with, unique among the runs on this host. On a server of its own a run
/// needs no such name.
fn host_name(request: &RunRequest) -> Option<UniqueName> {
    request.server.as_ref()?;
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = node.split('.').next().unwrap_or_default();
    // Names that are given out in series differ at their end.
    let surplus = host.chars().count().saturating_sub(HOST_NAME);
    Some(UniqueName::free("run", &host.chars().skip(surplus).collect::<String>()))
}

/// Threads that the hungriest job of the sweep asks for.
fn threads(plan: &Plan) -> usize {
    plan.jobs.iter().map(|job| job.spec.training.cpu_threads as usize).max().unwrap_or(1)
}
