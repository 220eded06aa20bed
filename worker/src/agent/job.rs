//! One job from its claim to its end: inputs, checkpoint, training, result.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use shared::books::Release;
use shared::bus::BusError;
use shared::protocol::{JobOrder, Wish};
use shared::retry::{Backoff, Retry};
use tracing::Span;

use super::error::AgentError;
use super::hold::{Hold, Lost};
use super::pace::{InLine, PATIENCE, Turn};
use super::resume::Search;
use super::settle::{settle, upload};
use super::spool::JobSpool;
use super::state::Agent;
use super::training::{Assignment, Ended, Trainer, TrainingError};
use super::uplink::supervise;
use super::work::{FinishedWork, WorkClaim};

/// What a job needs besides its settings.
struct Inputs {
    /// The folder of its dataset, if it has one.
    dataset: Option<PathBuf>,
    /// Content of every file of weights that the job names, by digest.
    weights: BTreeMap<String, Bytes>,
}

/// An attempt that lost its job, perhaps with a finished result.
struct LostJob {
    lost: Lost,
    finished_work: Option<Box<FinishedWork>>,
}

impl From<Lost> for LostJob {
    fn from(lost: Lost) -> Self {
        Self { lost, finished_work: None }
    }
}

const AGAIN: Duration = Duration::from_secs(1);
/// For inputs that cannot be fetched: the server may be away, or another machine may still be storing them.
const FETCH: Retry = Backoff::every(AGAIN).tries(10);

/// What each line that is logged about this attempt says of it.
pub(super) fn span(agent: &Agent, hold: &Hold, order: &JobOrder) -> Span {
    let (sweep, attempt, worker) = (&order.execution.sweep, hold.token().attempt.0, agent.me.name());
    tracing::info_span!("job", %sweep, job = %order.job, attempt, %worker)
}

/// Works on a claimed job. Losing it to another worker is not an error.
///
/// # Errors
///
/// This worker cannot get the job's dataset or weights.
pub(super) async fn run(
    agent: &Agent,
    mut hold: Hold,
    order: &JobOrder,
    admitted_nanos: i128,
    in_line: InLine<'_>,
) -> Result<(), AgentError> {
    match hold.wish() {
        Wish::Train => {}
        wish @ (Wish::Pause | Wish::Cancel) => {
            tracing::info!("taken from a dead worker and set aside on request");
            let why = if wish == Wish::Pause { Release::Paused } else { Release::Cancelled };
            if let Err(lost) = hold.set_aside(why).await {
                log_lost(&lost);
            }
            return Ok(());
        }
    }
    tracing::info!("claimed");
    let Some(trainer) = agent.trainer(&order.content.trainer) else {
        // It was there when the job was claimed.
        tracing::error!("this worker has no trainer {}", order.content.trainer);
        if let Err(lost) = hold.release(Release::Unable, AGAIN).await {
            log_lost(&lost);
        }
        return Ok(());
    };
    let inputs = match hold.while_alive(inputs(agent, order)).await {
        Ok(Ok(inputs)) => {
            agent.without_inputs.store(0, Ordering::Relaxed);
            inputs
        }
        Ok(Err(error)) => {
            // The job is not the cause, so this does not count against it.
            let why = format!("given back by {}: {error}", agent.me);
            if let Err(lost) = hold.defer(why).await {
                log_lost(&lost);
            }
            return Err(error);
        }
        Err(lost) => {
            log_lost(&lost);
            return Ok(());
        }
    };
    let turn = match turn(agent, &mut hold, in_line).await {
        Ok(Some(turn)) => turn,
        Ok(None) => {
            tracing::info!("given back before it has begun");
            if let Err(lost) = hold.release(Release::NotBegun, Duration::ZERO).await {
                log_lost(&lost);
            }
            return Ok(());
        }
        Err(lost) => {
            log_lost(&lost);
            return Ok(());
        }
    };
    let device = trainer.record(&order.content, &agent.host);
    let (v, order, token) = (WorkClaim::VERSION, order.clone(), hold.token().clone());
    let claim = WorkClaim { v, order, admitted_nanos, token, device };
    let is_short = agent.pace.is_brisk();
    let spool = if is_short { agent.spool.short_job(claim) } else { agent.spool.job(claim) };
    let done_with = match Box::pin(attempt(agent, hold, &spool, trainer.as_ref(), inputs, turn)).await {
        Ok(()) => true,
        Err(LostJob { lost, finished_work: None }) => {
            log_lost(&lost);
            matches!(lost, Lost::Fenced(_))
        }
        Err(LostJob { lost, finished_work: Some(finished_work) }) => {
            log_lost(&lost);
            late(agent, &spool, &finished_work).await
        }
    };
    if done_with {
        spool.clear();
    }
    Ok(())
}

/// Waits for the job's turn on the device. `None` if it is not to wait any longer: this worker is asked to stop, another
/// job takes long, or one has failed, so that a self-test comes first.
async fn turn<'a>(agent: &'a Agent, hold: &mut Hold, in_line: InLine<'a>) -> Result<Option<Turn<'a>>, Lost> {
    let turn = hold.while_alive(async {
        tokio::select! {
            biased;
            turn = agent.pace.turn(in_line) => Some(turn),
            () = agent.stopped() => None,
            () = tokio::time::sleep(PATIENCE) => None,
        }
    });
    let turn = turn.await?.filter(|_| !agent.suspicion.is_raised());
    if turn.is_none() {
        agent.pace.slow_down();
    }
    Ok(turn)
}

/// Hands in the result of a lost job. False if the server could not be asked, so that the result must be kept.
async fn late(agent: &Agent, spool: &JobSpool, finished_work: &FinishedWork) -> bool {
    let (job, token) = (spool.claim().order.job, &spool.claim().token);
    match settle(&agent.bus, token, finished_work, &spool.claim().order.execution).await {
        Ok(settled) => {
            settled.tell(job, token);
            true
        }
        Err(error) => {
            tracing::warn!("the result cannot be handed in yet and stays on this machine: {error}");
            false
        }
    }
}

/// The job's inputs, from this machine or from the server.
async fn inputs(agent: &Agent, order: &JobOrder) -> Result<Inputs, AgentError> {
    let tell = |error: &AgentError| tracing::warn!("{error}; trying again");
    let mut tries = FETCH.begin();
    loop {
        match try_inputs(agent, order).await {
            Ok(inputs) => return Ok(inputs),
            Err(error) => tries.again(error, AgentError::is_transient, tell).await?,
        }
    }
}

async fn try_inputs(agent: &Agent, order: &JobOrder) -> Result<Inputs, AgentError> {
    let named = &order.content.inputs;
    let dataset = match &named.dataset {
        Some(digest) => Some(agent.packs.lock().await.get(&agent.bus, digest).await?),
        None => None,
    };
    let mut weights = BTreeMap::new();
    for digest in &named.weights {
        weights.insert(digest.clone(), agent.weights.get(&agent.bus, digest).await?);
    }
    Ok(Inputs { dataset, weights })
}

fn log_lost(lost: &Lost) {
    tracing::warn!("{lost}; this worker goes on with other jobs");
}

/// Trains, then records how that ended. The device is free as soon as the training has ended.
async fn attempt(
    agent: &Agent,
    mut hold: Hold,
    spool: &JobSpool,
    trainer: &dyn Trainer,
    inputs: Inputs,
    turn: Turn<'_>,
) -> Result<(), LostJob> {
    agent.presences.working_on(Some(spool.claim().order.job));
    let end = Box::pin(train(agent, &mut hold, spool, trainer, inputs)).await;
    agent.presences.working_on(None);
    match end? {
        Some(end) => {
            if end.is_ok() {
                turn.went_well();
            }
            drop(turn);
            close(agent, hold, end).await
        }
        None => Ok(hold.release(Release::Unable, AGAIN).await?),
    }
}

/// Trains from the newest usable checkpoint. Checkpoints that the training refuses are skipped and noted in the record;
/// they do not count against the job. `None` if no training can be started.
async fn train(
    agent: &Agent,
    hold: &mut Hold,
    spool: &JobSpool,
    trainer: &dyn Trainer,
    Inputs { dataset, weights }: Inputs,
) -> Result<Option<Result<Ended, TrainingError>>, LostJob> {
    let order = &spool.claim().order;
    let mut search = Search::of(hold);
    loop {
        let (from, resume) = search.next(&agent.bus, hold, order).await?.unzip();
        let assignment = Assignment {
            id: order.job,
            job: order.content.clone(),
            execution: order.execution.clone(),
            dataset: dataset.clone(),
            weights: weights.clone(),
            resume,
            log: hold.log().clone(),
            keeper: Arc::new(spool.clone()),
        };
        let mut training = match trainer.start(assignment) {
            Ok(training) => training,
            Err(error) => {
                tracing::error!(%error, "cannot start a training thread");
                return Ok(None);
            }
        };
        let (end, outcome) = supervise(agent, hold, &mut training, spool).await;
        if let Err(lost) = outcome {
            let finished_work = match end {
                Some(Ok(Ended::Finished(finished_work))) => Some(finished_work),
                Some(Ok(Ended::Stopped) | Err(_)) => None,
                None => training.abandon().await,
            };
            return Err(LostJob { lost, finished_work });
        }
        match (end, from) {
            (Some(Err(TrainingError::Refused(why))), Some(from)) => search.refused(&from, &why),
            (Some(end), _) => return Ok(Some(end)),
            (None, _) => unreachable!("a training always reports its end"),
        }
    }
}

/// Records in the books how a training ended.
async fn close(agent: &Agent, mut hold: Hold, end: Result<Ended, TrainingError>) -> Result<(), LostJob> {
    match end {
        // Its checkpoints and its result are no longer wanted.
        Ok(Ended::Finished(_) | Ended::Stopped) if hold.is_unwanted() => {
            hold.drop_all().await?;
            tracing::info!("given back; it is trained anew on request");
            Ok(())
        }
        Ok(Ended::Finished(finished_work)) => match submit(agent, &mut hold, &finished_work).await {
            Ok(()) => {
                tracing::info!(best_epoch = finished_work.result.best_epoch, "done");
                Ok(())
            }
            // No other attempt could hand it in either.
            Err(Lost::Bus(error @ BusError::TooLarge { .. })) => {
                tracing::error!(%error, "the result cannot be handed in");
                Ok(hold.fail(&format!("the result cannot be handed in: {error}")).await?)
            }
            Err(lost) => Err(LostJob { lost, finished_work: Some(finished_work) }),
        },
        Ok(Ended::Stopped) => {
            match hold.wish() {
                Wish::Train => {
                    let why = why_stopped(agent, &hold);
                    hold.release(why, Duration::ZERO).await?;
                    tracing::info!("given back; it will continue from its last checkpoint");
                }
                Wish::Pause => {
                    hold.set_aside(Release::Paused).await?;
                    tracing::info!("paused on request; it will continue from its last checkpoint");
                }
                Wish::Cancel => {
                    hold.set_aside(Release::Cancelled).await?;
                    tracing::info!("cancelled on request");
                }
            }
            Ok(())
        }
        Err(TrainingError::Refused(error) | TrainingError::Failed(error)) => {
            tracing::error!(%error, "the training failed");
            agent.suspicion.raise();
            agent.pace.slow_down();
            Ok(hold.fail(&error).await?)
        }
    }
}

/// Why a training was stopped that is to go on.
fn why_stopped(agent: &Agent, hold: &Hold) -> Release {
    if agent.is_stopping() {
        Release::Stopping
    } else if *hold.leaves().borrow() {
        Release::Drained
    } else {
        // The pause was taken back before the training had stopped.
        Release::Paused
    }
}

/// First stores probabilities and weights, then commits, then acknowledges the queue's message. A crash in between
/// repeats work but loses nothing.
async fn submit(agent: &Agent, hold: &mut Hold, finished_work: &FinishedWork) -> Result<(), Lost> {
    hold.while_alive(upload(&agent.bus, finished_work)).await?;
    hold.commit(&finished_work.result).await
}
