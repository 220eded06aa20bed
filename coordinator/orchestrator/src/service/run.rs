//! One `ferry run`, from its beginning to its report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::books::JobRecord;
use shared::bus::Bus;
use shared::ids::JobId;
use shared::plural::count;
use shared::signals::StopSignals;

use super::begin::{Begun, begin};
use super::dataset::{self, Dataset};
use super::lease::Holder;
use super::local::{HomeCheck, LocalFolder, LocalHost};
use super::review::Agreement;
use super::run_request::{RunContext, RunEnd, RunRequest};
use super::server_monitor::ServerMonitor;
use super::session::{Ended, Session, SessionEnd};
use super::tenure::{FolderTenure, Tenure};
use super::{downloads, garbage, local_workers, prepare, provenance};
use crate::broker::Broker;
use crate::engine::Engine;
use crate::home::HomeError;
use crate::report;
use crate::run_dir::{JobFailure, RunDir};
use crate::sweep::plan::Plan;
use crate::view::labels::Labels;
use crate::view::{Sink, View};

/// Runs a sweep to its end and writes its report.
///
/// # Errors
/// When waiting does not help: the server or the workers cannot be started, the run folder cannot be written, or the
/// state directory is gone.
pub async fn run(request: RunRequest) -> anyhow::Result<RunEnd> {
    let mut stop = StopSignals::listen()?;
    let dataset = request.dataset.as_deref().map(Dataset::open).transpose()?;
    let mut sink = Sink::of(View::new(request.style, labels(&request, &request.plan)));
    let (holder, mut agreement, mut is_first) = (Holder::here(), Agreement::Open, true);
    loop {
        let mut tell = |text: &str| sink.remark(text);
        let tenure = tokio::select! {
            biased;
            () = stop.requested() => return Ok(interrupted_early(&request, &mut sink)),
            tenure = Tenure::take(&request.home, request.server.as_ref(), &mut tell) => tenure?,
        };
        let mut broker = None;
        let context = RunContext {
            request: &request,
            dataset: dataset.as_ref(),
            tenure: &tenure,
            holder: &holder,
            is_first,
        };
        let outcome = Box::pin(conduct(&context, &mut agreement, &mut broker, &mut sink, &mut stop)).await;
        if !matches!(outcome, Ok(Conducted::Vacated)) {
            sink.close();
        }
        if let Some(broker) = broker {
            broker.stop().await;
        }
        match outcome {
            Ok(Conducted::Ended(end)) => return Ok(*end),
            Ok(Conducted::Vacated) => is_first = false,
            Err(error) => return Err(lost_home(error, &request)),
        }
    }
}

/// How [`conduct`] ended.
enum Conducted {
    Ended(Box<RunEnd>),
    /// Another run has ended, and this one begins again with what that one had.
    Vacated,
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

/// The end of a run that had not begun yet.
fn interrupted_early(request: &RunRequest, sink: &mut Sink) -> RunEnd {
    say_stopping(sink);
    let (_, done) = prepare::finished(&request.out, &request.plan);
    let open = request.plan.jobs.len().saturating_sub(done);
    RunEnd::Interrupted { done, open, elsewhere: Vec::new(), is_guest: false }
}

fn ended(end: RunEnd) -> Conducted {
    Conducted::Ended(Box::new(end))
}

/// Runs everything from the start of the server to the report. The local workers live until the last result is stored.
async fn conduct(
    context: &RunContext<'_>,
    agreement: &mut Agreement,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
    stop: &mut StopSignals,
) -> anyhow::Result<Conducted> {
    let &RunContext { request, tenure, .. } = context;
    let begun = tokio::select! {
        biased;
        () = stop.requested() => return Ok(ended(interrupted_early(request, sink))),
        begun = begin(context, agreement, broker, sink) => begun?,
        vacated = tenure.vacated() => {
            vacated?;
            sink.remark(VACATED);
            return Ok(Conducted::Vacated);
        }
    };
    let Some(Begun { endpoint, entered, run_dir, folder: folder_tenure }) = begun else {
        return Ok(ended(RunEnd::Declined));
    };
    say_what_is_shared(context, &folder_tenure, &run_dir, sink);
    let bus = entered.bus.clone();
    // A run that begins again is still the same one.
    if context.is_first && matches!(folder_tenure, FolderTenure::Own { .. }) {
        let trainer = &entered.conductor.plan().trainer;
        provenance::begun(&run_dir, &request.file, trainer, &bus).await?;
    }
    let folder = request.dataset.clone();
    let sharing = folder.map(|folder| tokio::spawn(dataset::share(bus.clone(), folder)));
    let collecting = tokio::spawn(garbage::collect_now_and_then(bus.clone()));
    let host = local_workers::host_name(request); // Held until the run ends.
    let labels = labels(request, entered.conductor.plan());
    let folder = match &folder_tenure {
        FolderTenure::Own { .. } => LocalFolder::of(&run_dir, entered.conductor.plan(), &entered.outdated)?,
        FolderTenure::Watched => LocalFolder::watched(&run_dir),
    };
    let shares_server = broker.is_none();
    let machine = LocalHost {
        fleet: local_workers::start(context, &endpoint, &bus, host.as_ref()).await?,
        home: HomeCheck { lock: tenure.lock(), holds_store: broker.is_some(), told: false },
        monitor: ServerMonitor::of(bus.clone(), broker),
        run_dir: &run_dir,
    };
    sink.relabel(&labels);
    let mut session = Session::begin(entered, machine, folder, labels, sink);
    // A request to stop ends the session immediately, even if it waits for a server that is away.
    let outcome = tokio::select! {
        biased;
        () = stop.requested() => Stopped::ByUser,
        outcome = session.run() => Stopped::AtEnd(outcome),
        vacated = tenure.vacated() => match vacated {
            Ok(()) => Stopped::ToBeginAgain,
            Err(gone) => Stopped::AtEnd(Err(gone.into())),
        },
        () = folder_tenure.vacated(&run_dir) => Stopped::ToBeginAgain,
    };
    if matches!(outcome, Stopped::ByUser) {
        say_stopping(session.sink());
    }
    if let Some(sharing) = sharing {
        sharing.abort();
    }
    collecting.abort();
    let Ended { engine, drained, host: LocalHost { fleet, .. } } = session.end().await;
    fleet.stop().await;
    let synced = run_dir.sync();
    let end = match outcome {
        Stopped::ToBeginAgain => {
            sink.remark(VACATED);
            return Ok(Conducted::Vacated);
        }
        Stopped::ByUser => None,
        Stopped::AtEnd(outcome) => Some(outcome?),
    };
    synced?;
    let end = match (folder_tenure, end) {
        (FolderTenure::Watched, end) => watched(&engine, &run_dir, end.as_ref()),
        (FolderTenure::Own { .. }, None) => interrupted(context, &engine, &bus, shares_server).await,
        (FolderTenure::Own { .. }, Some(end)) => {
            conclude((request, &run_dir), &bus, end, (engine, drained), sink, stop).await?
        }
    };
    Ok(ended(end))
}

const VACATED: &str = "the other ferry has ended: this one goes on with what it had";

/// Why a session has ended.
enum Stopped {
    AtEnd(anyhow::Result<SessionEnd>),
    ByUser,
    ToBeginAgain,
}

/// What another run does for this one.
fn say_what_is_shared(context: &RunContext<'_>, folder: &FolderTenure, run_dir: &RunDir, sink: &mut Sink) {
    let home = context.request.home.root().display();
    match context.tenure {
        Tenure::Own(_) | Tenure::Beside => {}
        Tenure::Guest { .. } => {
            sink.remark(&format!(
                "another ferry runs in {home}: its server and its workers serve this sweep, too; when it ends, this one \
                 goes on with workers of its own"
            ));
            if context.request.names_workers {
                sink.remark("until then, --workers and --gpus have no effect");
            }
        }
    }
    match folder {
        FolderTenure::Own { .. } => {}
        FolderTenure::Watched => sink.remark(&format!(
            "another `ferry run` stores the results in {}: this one only watches. If that one ends before the sweep is \
             done, even by Ctrl-C, this one takes its place and goes on",
            run_dir.root().display()
        )),
    }
}

/// The end of a run that only watched. `end` is that of the sweep; `None` if the user stopped watching.
fn watched(engine: &Engine, run_dir: &RunDir, end: Option<&SessionEnd>) -> RunEnd {
    let tally = engine.tally();
    RunEnd::Watched {
        done: tally.done,
        failed: tally.failed,
        cancelled: tally.cancelled,
        open: tally.open(),
        folder: run_dir.root().to_owned(),
        is_detached: end.is_none(),
    }
}

/// The end of a run that the user stopped.
async fn interrupted(
    &RunContext { request, tenure, .. }: &RunContext<'_>,
    engine: &Engine,
    bus: &Bus,
    shares_server: bool,
) -> RunEnd {
    let elsewhere = if shares_server { elsewhere(request, bus).await } else { Vec::new() };
    RunEnd::Interrupted {
        done: engine.tally().done,
        open: engine.tally().open(),
        elsewhere,
        is_guest: tenure.is_guest(),
    }
}

/// Writes the report of a run that was not interrupted. `drained` are the workers that got no more jobs, and why.
async fn conclude(
    (request, run_dir): (&RunRequest, &RunDir),
    bus: &Bus,
    end: SessionEnd,
    (engine, drained): (Engine, BTreeMap<String, String>),
    sink: &mut Sink,
    stop: &mut StopSignals,
) -> anyhow::Result<RunEnd> {
    let tally = engine.tally();
    let (done, open) = (tally.done, tally.open());
    let why = match end {
        SessionEnd::Stranded(why) => Some(why),
        SessionEnd::Finished => None,
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
                return Ok(RunEnd::Interrupted { done, open, elsewhere: Vec::new(), is_guest: false });
            }
        }
    };
    // The report is written even if the models could not be fetched.
    let report = report::write_of(run_dir, &record)?;
    provenance::ended(run_dir, bus).await?;
    models?;
    Ok(match why {
        Some(why) => RunEnd::Stranded { done, open, why, report },
        None => RunEnd::Finished { done, failed: tally.failed, cancelled: tally.cancelled, report },
    })
}

/// The workers on somebody else's server that keep training after the local ones have ended.
async fn elsewhere(request: &RunRequest, bus: &Bus) -> Vec<String> {
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
