//! The loop that runs a sweep: the conductor decides, and processes, displays and the run folder follow.

mod conductor;
mod fetch;
mod models;
mod prepare;
mod share;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use shared::bus::{Bus, Endpoint};
use shared::ids::{JobId, WorkerId};
use shared::pack::{Pack, Split};
use shared::protocol::LiveReport;
use shared::result::JobResult;
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::{self, Broker};
use crate::devices::ChosenGpu;
use crate::engine::cost::CostModel;
use crate::engine::{Engine, Notice};
use crate::fleet::{self, Fleet, WorkerSetup};
use crate::home::Home;
use crate::report;
use crate::run_dir::RunDir;
use crate::sweep::plan::Plan;
use crate::view::model::Snapshot;
use crate::view::{Style, View, labels::Labels};

pub use conductor::{Conductor, Occurrence};
pub use fetch::Fetched;
pub use models::Models;
pub use prepare::admit;
pub use share::UnknownWeights;
pub use status::{SweepStatus, read_status};

/// Everything a run needs, resolved.
#[derive(Debug)]
pub struct RunRequest {
    pub plan: Plan,
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
    /// The user stopped it; the same command goes on.
    Interrupted {
        done: usize,
        open: usize,
    },
}

/// A worker that sent no hint for this long is not shown.
const HINT_LIFE: Duration = Duration::from_secs(10);

/// Runs a sweep to its end and writes its report.
pub async fn run(request: RunRequest) -> anyhow::Result<RunEnd> {
    let _lock = request.home.lock()?;
    let pack = Pack::open(&request.pack)?;
    let run_dir = prepare::run_dir(&request.out.join(&request.plan.name), &request.plan, &pack)?;
    let stored = prepare::stored_results(&run_dir);
    let start = Start::from(&request.plan, &stored);
    let mut view = View::new(request.style, Labels::of(&request.plan));
    let mut broker = None;
    let endpoint = match &request.server {
        Some(endpoint) => endpoint.clone(),
        None => broker.insert(Broker::start(&request.home).await?).endpoint()?,
    };
    let running = conduct(&request, &pack, &run_dir, start, &endpoint, &mut broker, &mut view);
    let outcome = Box::pin(running).await;
    view.close();
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let Conducted { engine, end } = outcome?;
    let tally = engine.tally();
    if matches!(end, End::Interrupted) {
        return Ok(RunEnd::Interrupted { done: tally.done, open: tally.pending + tally.running });
    }
    for (job, reason) in engine.failures() {
        run_dir.write_failure(job, reason)?;
    }
    // The report is written whatever became of the models.
    let report = report::write(&run_dir)?;
    if let End::Finished { models } = end {
        models?;
    }
    Ok(RunEnd::Finished { done: tally.done, failed: tally.failed, report })
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
    end: End,
}

enum End {
    Interrupted,
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
    Start { engine, snapshot }: Start,
    endpoint: &Endpoint,
    broker: &mut Option<Broker>,
    view: &mut View,
) -> anyhow::Result<Conducted> {
    let bus = match broker {
        Some(_) => broker::connect(endpoint, "ferry").await?,
        None => Bus::connect_and_lay_out(endpoint, "ferry").await?,
    };
    let specs = request.plan.jobs.iter().map(|job| (job.id, job.spec.clone()));
    let cost = CostModel::new(pack.len(Split::Train), specs);
    share::weights(&bus, &request.plan).await?;
    prepare::admit(&bus, &request.plan, broker.is_some()).await?;
    let sharing = tokio::spawn(share::pack(bus.clone(), request.pack.clone()));
    let slots = fleet::slots(&request.gpus, cores(), threads(&request.plan), request.workers);
    let setup = WorkerSetup {
        program: fleet::worker_program()?,
        endpoint: endpoint.clone(),
        data: request.pack.clone(),
        logs: request.home.logs()?,
    };
    let mut session = Session {
        conductor: Conductor::begin(bus.clone(), engine, cost).await?,
        fleet: Fleet::start(setup, slots)?,
        live: BTreeMap::new(),
        started: Instant::now(),
        snapshot,
        bus,
        run_dir,
        view,
        broker,
    };
    let outcome = session.watch_over().await;
    sharing.abort();
    let Session { fleet, conductor, bus, view, .. } = session;
    fleet.stop().await;
    let engine = conductor.into_engine();
    if outcome? {
        return Ok(Conducted { engine, end: End::Interrupted });
    }
    let mut tell = |text: &str| view.remark(text);
    let end = tokio::select! {
        models = models::bring(&bus, run_dir, request.models, &mut tell) => End::Finished { models },
        outcome = interrupted() => outcome.map(|()| End::Interrupted)?,
    };
    Ok(Conducted { engine, end })
}

struct Session<'a> {
    conductor: Conductor,
    bus: Bus,
    fleet: Fleet,
    live: BTreeMap<WorkerId, (Instant, LiveReport)>,
    started: Instant,
    snapshot: Snapshot,
    run_dir: &'a RunDir,
    view: &'a mut View,
    broker: &'a mut Option<Broker>,
}

impl Session<'_> {
    /// Until every job is stored or given up (false), or the user interrupts (true).
    async fn watch_over(&mut self) -> anyhow::Result<bool> {
        let mut hints = self.bus.hints().await?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut interrupt = Box::pin(interrupted());
        loop {
            tokio::select! {
                biased; // What is rare goes first, so that nothing is drowned.
                outcome = &mut interrupt => { outcome?; return Ok(true); }
                status = server_ended(self.broker) => self.revive_server(status?).await?,
                _ = second.tick() => self.every_second()?,
                Some(report) = hints.next() => {
                    self.live.insert(report.worker.clone(), (Instant::now(), report));
                }
                occurrence = self.conductor.next() => self.follow(occurrence).await?,
            }
            if self.conductor.engine().is_finished() {
                self.every_second()?;
                return Ok(false);
            }
        }
    }

    async fn follow(&mut self, occurrence: Occurrence) -> anyhow::Result<()> {
        let Self { run_dir, snapshot, .. } = self;
        let mut store = |fetched: &Fetched| {
            run_dir.write_result(&fetched.result, &fetched.validation, fetched.test.as_deref())?;
            saw(snapshot, &fetched.result);
            Ok(())
        };
        for notice in self.conductor.act(occurrence, &mut store).await? {
            if let Notice::Epoch { job, macro_f1, .. } = &notice {
                self.snapshot.saw(*job, *macro_f1);
            }
            self.view.notice(&notice, &self.snapshot);
        }
        Ok(())
    }

    fn every_second(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for exit in self.fleet.tend(now)? {
            let what = match exit.again_in {
                Some(rest) if rest.is_zero() => "it is started again".to_owned(),
                Some(rest) => format!("it is started again in {} s", rest.as_secs()),
                None => format!("it is given up; the end of {}:\n{}", exit.log.display(), exit.tail),
            };
            self.view.remark(&format!("worker {} ended ({}); {what}", exit.name, exit.status));
        }
        self.live.retain(|_, (seen, _)| now.saturating_duration_since(*seen) < HINT_LIFE);
        if self.fleet.is_lost() && self.live.is_empty() {
            anyhow::bail!(
                "no local worker can run and none is connected from elsewhere; their logs say why (see above)"
            );
        }
        self.look();
        self.view.refresh(&self.snapshot);
        Ok(())
    }

    fn look(&mut self) {
        let engine = self.conductor.engine();
        let score = |report: &LiveReport| match &engine.record(report.job)?.state {
            shared::books::JobState::Running { progress, .. } => progress.macro_f1,
            _ => None,
        };
        let live: Vec<LiveReport> = self.live.values().map(|(_, report)| report.clone()).collect();
        let scores: Vec<Option<f64>> = live.iter().map(score).collect();
        for (report, f1) in live.iter().zip(&scores) {
            if let Some(f1) = *f1 {
                self.snapshot.saw(report.job, f1);
            }
        }
        let open = engine.open_jobs();
        let workers = self.live.len().max(self.fleet.usable());
        let eta = self.conductor.cost().eta(&open, workers);
        let (tally, elapsed) = (engine.tally(), self.started.elapsed());
        self.snapshot = Snapshot { tally, live, scores, elapsed, eta, ..self.snapshot.clone() };
    }

    async fn revive_server(&mut self, status: std::process::ExitStatus) -> anyhow::Result<()> {
        let Some(broker) = self.broker.as_mut() else { return Ok(()) };
        self.view.remark(&format!("nats-server ended ({status}); it is started again"));
        broker.restart().await?;
        Ok(())
    }
}

/// Resolves when our own server ends; never for somebody else's.
async fn server_ended(broker: &mut Option<Broker>) -> std::io::Result<std::process::ExitStatus> {
    match broker {
        Some(broker) => broker.ended().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the user, or the system, wants this process to end.
pub(crate) async fn interrupted() -> std::io::Result<()> {
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

/// Threads that the hungriest job of the sweep asks for.
fn threads(plan: &Plan) -> usize {
    plan.jobs.iter().map(|job| job.spec.training.cpu_threads as usize).max().unwrap_or(1)
}
