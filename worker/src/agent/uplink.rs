//! Separates the training from the server, so that neither waits for the other.
//!
//! Checkpoints are sent to the server when it can be reached. While it is away the training continues, and the newest
//! two checkpoints wait here and in the spool.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::books::{Checkpoint, KEPT_CHECKPOINTS};
use shared::bus::{Bucket, Bus};
use shared::ids::JobId;
use shared::metrics::{GPU_PEAK_MEMORY, Point};
use shared::protocol::{Execution, JobOrder, LiveReport};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::hold::{Hold, Lost};
use super::spool::JobSpool;
use super::state::Agent;
use super::training::{Ended, Report, StepProgress, Training, TrainingError};
use super::work::Saved;

const HINT_EVERY: Duration = Duration::from_secs(1);
/// Hints are only for displays, so a hint that cannot be sent in time is dropped.
const HINT_LIMIT: Duration = Duration::from_secs(1);

/// How a training ended; `None` if the job was lost first.
pub(super) type End = Option<Result<Ended, TrainingError>>;

/// Supervises the training until it has ended and the server has all its checkpoints, or until the job is lost.
pub(super) async fn supervise(
    agent: &Agent,
    hold: &mut Hold,
    training: &mut Training,
    spool: &JobSpool,
) -> (End, Result<(), Lost>) {
    let job = spool.claim().order.job;
    let upload_queue = UploadQueue::default();
    let (bus, asked) = (agent.bus.clone(), Asked { executions: hold.executions(), leaves: hold.leaves() });
    let mut end = None;
    let outcome = {
        let mut following = pin!(async {
            end = Some(follow(agent, job, training, asked, &upload_queue).await);
            upload_queue.close();
        });
        let mut delivering = pin!(deliver(&bus, hold, spool, &upload_queue));
        let mut followed = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut delivering => break outcome,
                () = &mut following, if !followed => followed = true,
            }
        }
    };
    (end, outcome)
}

/// What is asked of a training while it runs, as the heartbeats find it.
struct Asked {
    executions: watch::Receiver<Execution>,
    leaves: watch::Receiver<bool>,
}

/// Takes the reports of a training until it ends. Never waits for the server.
async fn follow(
    agent: &Agent,
    job: JobId,
    training: &mut Training,
    Asked { mut executions, mut leaves }: Asked,
    upload_queue: &UploadQueue,
) -> Result<Ended, TrainingError> {
    let mut hints = tokio::time::interval(HINT_EVERY);
    hints.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = agent.is_stopping();
        let event = tokio::select! {
            biased;
            () = agent.stopped(), if !asked => None,
            Ok(()) = executions.changed() => None,
            Ok(()) = leaves.changed() => None,
            report = training.next() => Some(report),
            _ = hints.tick() => None,
        };
        training.carry_out(&executions.borrow_and_update());
        if agent.is_stopping() || *leaves.borrow_and_update() {
            training.ask_to_stop();
        }
        match event {
            None => {
                let hint = live(agent, job, training.progress());
                let _late = tokio::time::timeout(HINT_LIMIT, agent.bus.hint(&hint)).await;
            }
            Some(Report::Saved(saved)) => upload_queue.put(*saved),
            Some(Report::Note(note)) => upload_queue.note(note),
            Some(Report::Ended(end)) => return end,
        }
    }
}

fn live(agent: &Agent, job: JobId, progress: StepProgress) -> LiveReport {
    let StepProgress { epoch, epochs, step, steps } = progress;
    LiveReport { worker: agent.me.clone(), job, epoch, epochs, step, steps }
}

/// Adds every note to the record. Stores every checkpoint, then records it. Ends when the queue is closed and empty.
async fn deliver(
    bus: &Bus,
    hold: &mut Hold,
    spool: &JobSpool,
    upload_queue: &UploadQueue,
) -> Result<(), Lost> {
    let order = &spool.claim().order;
    while let Some(item) = hold.while_alive(upload_queue.next()).await? {
        match item {
            Item::Note(note) => hold.note(note).await?,
            Item::Saved(saved, reports) => {
                send(bus, hold, order, &saved, reports).await?;
                spool.delivered(&saved);
            }
        }
    }
    Ok(())
}

/// Stores one checkpoint of an order's job, and records it with the reports since the last one.
pub(super) async fn send(
    bus: &Bus,
    hold: &mut Hold,
    order: &JobOrder,
    saved: &Saved,
    reports: Vec<Point>,
) -> Result<(), Lost> {
    let (job, ranking) = (order.job, &order.execution.ranking);
    let Saved { epoch, step, report, checkpoint } = saved;
    let stem = format!("{job}.{}.{epoch}-{step}", hold.token().attempt.0);
    let stored = bus.put_blob(Bucket::Checkpoints, &stem, checkpoint.clone());
    let blob = hold.while_alive(stored).await??;
    let metrics = report.as_ref().map(|report| &report.metrics);
    if let Some((metrics, score)) = metrics.and_then(|metrics| Some((metrics, ranking.score(metrics)?))) {
        let peak = metrics.get(GPU_PEAK_MEMORY).map(|bytes| (bytes as u64) >> 20);
        tracing::info!(%job, epoch, gpu_peak_mib = peak, "{} {score:.2}", ranking.metric);
    } else {
        tracing::info!(%job, epoch, step, "checkpoint");
    }
    hold.checkpointed(Checkpoint { epoch: *epoch, step: *step, blob, origin: None }, reports, ranking).await
}

/// One item to send to the server.
#[derive(Debug, PartialEq)]
enum Item {
    Note(String),
    /// A checkpoint, and the reports since the last one.
    Saved(Box<Saved>, Vec<Point>),
}

/// The items that are still to be sent to the server: first notes, then checkpoints, oldest first.
#[derive(Debug, Default)]
struct UploadQueue {
    state: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: VecDeque<String>,
    saved: VecDeque<Saved>,
    /// Reports of checkpoints that wait or were dropped, oldest first.
    reports: Vec<Point>,
    closed: bool,
}

impl UploadQueue {
    /// Adds a checkpoint. If there are more than a record keeps, the oldest are dropped, but not their reports.
    fn put(&self, saved: Saved) {
        let mut state = self.state();
        state.reports.extend(saved.report.clone());
        state.saved.push_back(saved);
        while state.saved.len() > KEPT_CHECKPOINTS {
            state.saved.pop_front();
        }
        drop(state);
        self.changed.notify_one();
    }

    fn note(&self, note: String) {
        self.state().notes.push_back(note);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// `None` when it is closed and empty.
    async fn next(&self) -> Option<Item> {
        loop {
            {
                let mut state = self.state();
                if let Some(note) = state.notes.pop_front() {
                    return Some(Item::Note(note));
                }
                if let Some(saved) = state.saved.pop_front() {
                    let later = state.reports.partition_point(|report| report.place() <= saved.place());
                    let rest = state.reports.split_off(later);
                    let reports = std::mem::replace(&mut state.reports, rest);
                    return Some(Item::Saved(Box::new(saved), reports));
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::metrics::Metrics;

    use super::*;

    fn point(epoch: u32) -> Point {
        Point { epoch, step: 0, seconds: 1.0, metrics: Metrics::default() }
    }

    fn saved(epoch: u32) -> Saved {
        Saved { epoch, step: 0, report: Some(point(epoch)), checkpoint: Bytes::new() }
    }

    #[tokio::test]
    async fn the_newest_two_and_every_note_and_report_wait_for_the_server() {
        let upload_queue = UploadQueue::default();
        upload_queue.note("a".to_owned());
        upload_queue.note("b".to_owned());
        for epoch in 1..=4 {
            upload_queue.put(saved(epoch));
        }
        upload_queue.close();
        for item in [Item::Note("a".to_owned()), Item::Note("b".to_owned())] {
            assert_eq!(upload_queue.next().await, Some(item));
        }
        let item = |epoch, reports: &[u32]| {
            Some(Item::Saved(Box::new(saved(epoch)), reports.iter().map(|&epoch| point(epoch)).collect()))
        };
        assert_eq!(upload_queue.next().await, item(3, &[1, 2, 3]));
        assert_eq!(upload_queue.next().await, item(4, &[4]));
        assert_eq!(upload_queue.next().await, None);
    }
}
