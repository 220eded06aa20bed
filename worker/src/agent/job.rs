//! One job from its claim to its end: dataset, checkpoint, training, result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::books::{Checkpoint, Progress};
use shared::bus::{Bucket, Bus, BusError, Delivery};
use shared::expression::CLASSES;
use shared::metrics::{Confusion, argmax};
use shared::pack::{Pack, Split};
use shared::predictions::to_npy;
use shared::protocol::JobOrder;
use shared::result::{BlobRef, EpochReport, JobResult, Score, SplitResult};
use shared::weights::Slot;

use super::hold::{Hold, Lost};
use super::training::{Assignment, Report, Training};
use super::{Agent, AgentError};
use crate::train::{Finished, Outcome};

const HINT_EVERY: Duration = Duration::from_secs(1);

/// What a job needs besides its settings.
struct Inputs {
    pack: Arc<Pack>,
    /// Content of every file of weights that the job starts from.
    weights: BTreeMap<Slot, Bytes>,
}

/// Works on a claimed job. Losing the hold is not an error of this worker; having no dataset or weights is.
pub(super) async fn run(
    agent: &mut Agent,
    mut hold: Hold,
    order: &JobOrder,
    delivery: &Delivery,
) -> Result<(), AgentError> {
    let job = order.job;
    tracing::info!(%job, attempt = %hold.token().attempt, "claimed");
    let inputs = match hold.while_alive(delivery, inputs(agent, order)).await {
        Ok(Ok(inputs)) => inputs,
        Ok(Err(error)) => {
            // The job is not to blame: it goes back unharmed and this worker ends with the reason.
            give_back(hold, delivery).await;
            return Err(error);
        }
        Err(lost) => {
            told(job, &lost);
            return Ok(());
        }
    };
    if let Err(lost) = Box::pin(attempt(agent, hold, order, delivery, inputs)).await {
        told(job, &lost);
    }
    Ok(())
}

/// Found on this machine, or fetched.
async fn inputs(agent: &mut Agent, order: &JobOrder) -> Result<Inputs, AgentError> {
    let pack = agent.packs.get(&agent.bus, &order.dataset_digest).await?;
    let mut weights = BTreeMap::new();
    for (slot, digest) in order.spec.transfer.digests() {
        weights.insert(slot, agent.weights.get(&agent.bus, digest).await?);
    }
    Ok(Inputs { pack, weights })
}

fn told(job: shared::ids::JobId, lost: &Lost) {
    tracing::warn!(%job, "{lost}; this worker goes on with other jobs");
}

async fn give_back(hold: Hold, delivery: &Delivery) {
    match hold.release().await {
        Ok(()) => delivery.hand_back(Duration::ZERO).await,
        Err(lost) => told(delivery.job, &lost),
    }
}

async fn attempt(
    agent: &mut Agent,
    mut hold: Hold,
    order: &JobOrder,
    delivery: &Delivery,
    Inputs { pack, weights }: Inputs,
) -> Result<(), Lost> {
    let resume = find_checkpoint(&agent.bus, &mut hold, delivery).await?;
    let assignment = Assignment { spec: order.spec.clone(), pack: pack.clone(), resume, weights };
    let mut training = match agent.trainer.start(assignment) {
        Ok(training) => training,
        Err(error) => {
            tracing::error!(%error, "no training thread");
            give_back(hold, delivery).await;
            return Ok(());
        }
    };
    let ended = match accompany(agent, &mut hold, delivery, &mut training).await {
        Ok(ended) => ended,
        Err(lost) => {
            training.abandon().await;
            return Err(lost);
        }
    };
    match ended {
        Ok(Outcome::Finished(finished)) => {
            Box::pin(hand_in(agent, hold, order, delivery, &pack, *finished)).await
        }
        Ok(Outcome::Stopped) => {
            tracing::info!(job = %order.job, "given back, to go on from its last checkpoint");
            give_back(hold, delivery).await;
            Ok(())
        }
        Err(error) => {
            tracing::error!(job = %order.job, %error, "the training failed");
            if hold.fail(&error).await? {
                delivery.finish().await;
            } else {
                delivery.hand_back(Duration::ZERO).await;
            }
            Ok(())
        }
    }
}

/// The newest checkpoint that is whole. A damaged one is noted and the one before it is taken; when none is good the
/// job starts over, and the record says so.
async fn find_checkpoint(bus: &Bus, hold: &mut Hold, delivery: &Delivery) -> Result<Option<Bytes>, Lost> {
    let candidates: Vec<Checkpoint> = hold.checkpoints().cloned().collect();
    let mut damaged = Vec::new();
    let mut found = None;
    for checkpoint in &candidates {
        match hold.while_alive(delivery, fetch(bus, &checkpoint.blob)).await? {
            Ok(bytes) => {
                found = Some((checkpoint.epoch, bytes));
                break;
            }
            Err(error) => {
                damaged.push(format!("the checkpoint of epoch {} is unusable ({error})", checkpoint.epoch));
            }
        }
    }
    if !damaged.is_empty() {
        let from =
            found.as_ref().map_or_else(|| "the start".to_owned(), |(epoch, _)| format!("epoch {epoch}"));
        hold.note(format!("{}; goes on from {from}", damaged.join("; "))).await?;
    }
    Ok(found.map(|(_, bytes)| bytes))
}

/// A server that is away is waited for: only a blob that is gone or wrong counts as damaged, and one whose bytes the
/// server failed to send twice.
async fn fetch(bus: &Bus, blob: &BlobRef) -> Result<Bytes, BusError> {
    let mut stalled = false;
    loop {
        match bus.get_blob(Bucket::Checkpoints, blob).await {
            Err(BusError::Stalled { .. }) if !stalled => stalled = true,
            Err(error @ BusError::Stalled { .. }) => return Err(error),
            Err(error) if error.is_transient() => {}
            outcome => return outcome,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Follows the training to its end: every epoch becomes a durable checkpoint and a move of the record.
async fn accompany(
    agent: &mut Agent,
    hold: &mut Hold,
    delivery: &Delivery,
    training: &mut Training,
) -> Result<Result<Outcome, String>, Lost> {
    let mut hints = tokio::time::interval(HINT_EVERY);
    loop {
        let stop = &mut agent.stop;
        let asked = *stop.borrow();
        let event = hold
            .while_alive(delivery, async {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop), if !asked => None,
                    report = training.next() => Some(report),
                    _ = hints.tick() => None,
                }
            })
            .await?;
        if *agent.stop.borrow() {
            training.stop();
        }
        match event {
            None => agent.bus.hint(&agent.live(delivery.job, training.progress())).await,
            Some(Report::Epoch(epoch)) => {
                let (report, checkpoint) = *epoch;
                record_epoch(&agent.bus, hold, delivery, &report, checkpoint).await?;
            }
            Some(Report::Note(note)) => hold.note(note).await?,
            Some(Report::Ended(outcome)) => return Ok(outcome),
        }
    }
}

async fn record_epoch(
    bus: &Bus,
    hold: &mut Hold,
    delivery: &Delivery,
    report: &EpochReport,
    checkpoint: Bytes,
) -> Result<(), Lost> {
    let stem = format!("{}.{}.{}", delivery.job, hold.token().attempt.0, report.epoch);
    let blob = hold.while_alive(delivery, bus.put_blob(Bucket::Checkpoints, &stem, checkpoint)).await??;
    let progress = Progress {
        epoch: report.epoch,
        macro_f1: Some(report.validation.macro_f1),
        epoch_seconds: Some(report.seconds),
    };
    let peak = report.memory.device.map(|memory| memory.peak_reserved >> 20);
    tracing::info!(job = %delivery.job, epoch = report.epoch, gpu_peak_mib = peak, "F1 {:.2}", report.validation.macro_f1);
    hold.checkpointed(Checkpoint { epoch: report.epoch, blob }, progress).await
}

/// Probabilities and weights first, then the commit, then the queue: a crash between any two repeats work and loses
/// nothing.
async fn hand_in(
    agent: &Agent,
    mut hold: Hold,
    order: &JobOrder,
    delivery: &Delivery,
    pack: &Pack,
    finished: Finished,
) -> Result<(), Lost> {
    let job = order.job;
    let bus = &agent.bus;
    let uploads = async {
        let validation = split_result(bus, job, pack, Split::Validation, &finished.validation).await?;
        let test = match &finished.test {
            Some(rows) => Some(split_result(bus, job, pack, Split::Test, rows).await?),
            None => None,
        };
        let model = bus.put_blob(Bucket::Results, &format!("{job}.model"), finished.model.into()).await?;
        Ok::<_, BusError>((validation, test, model))
    };
    let (validation, test, model) = hold.while_alive(delivery, uploads).await??;
    let result = JobResult {
        v: JobResult::VERSION,
        job,
        dataset_digest: order.dataset_digest.clone(),
        trainer_revision: order.trainer_revision,
        epochs: finished.epochs,
        best_epoch: finished.best_epoch,
        validation,
        test,
        model,
        train_seconds: finished.train_seconds,
        device: agent.trainer.record(order.spec.training.cpu_threads, &agent.host),
        worker: agent.me.clone(),
        attempt: hold.token().attempt,
    };
    hold.commit(&result).await?;
    delivery.finish().await;
    tracing::info!(%job, best_epoch = result.best_epoch, "done");
    Ok(())
}

async fn split_result(
    bus: &Bus,
    job: shared::ids::JobId,
    pack: &Pack,
    split: Split,
    rows: &[[f32; CLASSES]],
) -> Result<SplitResult, BusError> {
    let samples = pack.samples(split);
    let probabilities = bus.put_blob(Bucket::Results, &format!("{job}.{split}"), to_npy(rows).into()).await?;
    let pairs = samples.labels.iter().zip(rows);
    let confusion = Confusion::from_pairs(
        pairs.filter_map(|(label, row)| label.map(|class| (usize::from(class), argmax(row)))),
    );
    let score = (confusion.total() > 0).then(|| Score::from(confusion));
    Ok(SplitResult { probabilities, samples_digest: samples.digest(), score })
}
