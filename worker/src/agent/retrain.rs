//! Trains a part of a job again for somebody who compares: nothing of it reaches the books, the store or a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::books::Token;
use shared::bus::{Bucket, Bus, BusError};
use shared::device::DeviceRecord;
use shared::ids::{Attempt, WorkerId};
use shared::job::TrainerId;
use shared::log::JobLog;
use shared::protocol::JobOrder;
use shared::retraining::{Fault, Retraining, RetrainingEvent};
use uuid::Uuid;

use super::log::Log;
use super::packs::{PackStore, PacksError};
use super::resume::maker;
use super::training::{Assignment, Ended, Keeper, Report, Resume, Trainer, Training, TrainingError};
use super::weights::{WeightsError, WeightsStore};
use super::work::{Finished, FinishedWork, Saved, WorkClaim};
use crate::device;

/// What a training needs besides the job.
pub struct Retrainer {
    /// The server, if there is one: it may have what this machine has not.
    pub bus: Option<Bus>,
    pub host: String,
    pub trainers: Vec<Box<dyn Trainer>>,
    pub packs: PackStore,
    pub weights: WeightsStore,
}

impl std::fmt::Debug for Retrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retrainer").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Why a training does not get as far as it was to get.
#[derive(Debug, thiserror::Error)]
pub enum RetrainError {
    #[error(
        "this ferry-worker trains {}, but the job needs {needed}: use the one that was built with this ferry",
        listed(offered)
    )]
    NoTrainer { needed: TrainerId, offered: Vec<TrainerId> },
    #[error(transparent)]
    Packs(#[from] PacksError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the checkpoint after {at} cannot be used: {why}; train from the start with --from-start")]
    Checkpoint { at: String, why: String },
    #[error(
        "the checkpoint after {at} cannot be fetched: {source}; try again, or train from the start with --from-start"
    )]
    Fetch { at: String, source: BusError },
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    #[error("{0}")]
    Training(String),
}

impl RetrainError {
    /// Who can help.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoTrainer { .. }
            | Self::Checkpoint { .. }
            | Self::Packs(PacksError::Absent { .. } | PacksError::Nowhere { .. } | PacksError::Pack(_))
            | Self::Weights(WeightsError::Absent { .. } | WeightsError::Name(_)) => Fault::Input,
            Self::Packs(
                PacksError::Fetch { .. }
                | PacksError::Cache { .. }
                | PacksError::Manifest { .. }
                | PacksError::Wrong { .. },
            )
            | Self::Weights(
                WeightsError::Fetch { .. } | WeightsError::Wrong { .. } | WeightsError::Cache { .. },
            )
            | Self::Fetch { .. }
            | Self::Thread(_)
            | Self::Training(_) => Fault::Work,
        }
    }
}

fn listed(trainers: &[TrainerId]) -> String {
    trainers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Retrainer {
    /// Trains what `retraining` names, and tells what happens. The result if the training reached the job's end.
    ///
    /// # Errors
    ///
    /// No trainer, dataset, weights or checkpoint for it, or the training fails.
    pub async fn retrain(
        mut self,
        retraining: &Retraining,
        mut tell: impl FnMut(RetrainingEvent),
    ) -> Result<Option<Box<FinishedWork>>, RetrainError> {
        let content = &retraining.order.content;
        let Some(trainer) = self.trainers.iter().position(|trainer| trainer.id() == content.trainer) else {
            let offered = self.trainers.iter().map(|trainer| trainer.id()).collect();
            return Err(RetrainError::NoTrainer { needed: content.trainer.clone(), offered });
        };
        let trainer = self.trainers.swap_remove(trainer);
        let device = trainer.record(content, &self.host);
        let assignment = self.assignment(retraining, device.clone()).await?;
        // The server may end now: nothing more is asked of it.
        drop(self);
        let (trainer_id, software) = (content.trainer.clone(), device::software());
        tell(RetrainingEvent::Begun { trainer: trainer_id, device, software });
        let training = trainer.start(assignment).map_err(RetrainError::Thread)?;
        follow(training, retraining, tell).await
    }

    /// The inputs, each found by its digest, and the checkpoint.
    async fn assignment(
        &mut self,
        retraining: &Retraining,
        device: DeviceRecord,
    ) -> Result<Assignment, RetrainError> {
        let Retraining { order, .. } = retraining;
        let (bus, inputs) = (self.bus.as_ref(), &order.content.inputs);
        let dataset = match &inputs.dataset {
            Some(digest) => Some(self.packs.find(bus, digest).await?),
            None => None,
        };
        let mut weights = BTreeMap::new();
        for digest in &inputs.weights {
            weights.insert(digest.clone(), self.weights.find(bus, digest).await?);
        }
        Ok(Assignment {
            id: order.job,
            job: order.content.clone(),
            execution: order.execution.clone(),
            dataset,
            weights,
            resume: resume(bus, retraining).await?,
            log: Log::default(),
            keeper: Arc::new(Nowhere { claim: claim(order.clone(), device) }),
        })
    }
}

/// The checkpoint, if the training does not begin at the start.
async fn resume(bus: Option<&Bus>, retraining: &Retraining) -> Result<Option<Resume>, RetrainError> {
    let Some(checkpoint) = &retraining.from else { return Ok(None) };
    let at = checkpoint.to_string();
    let unusable = |why: &str| RetrainError::Checkpoint { at: at.clone(), why: why.to_owned() };
    let bus = bus.ok_or_else(|| unusable("it is on a server, and none is named"))?;
    let by = maker(&retraining.order, checkpoint).ok_or_else(|| unusable("it is of another training"))?;
    match bus.get_blob(Bucket::Checkpoints, &checkpoint.blob).await {
        Ok(bytes) => Ok(Some(Resume { bytes, by })),
        Err(source) => Err(RetrainError::Fetch { at, source }),
    }
}

/// Takes the training's reports until it is as far as it was to get.
async fn follow(
    mut training: Training,
    retraining: &Retraining,
    mut tell: impl FnMut(RetrainingEvent),
) -> Result<Option<Box<FinishedWork>>, RetrainError> {
    loop {
        match training.next().await {
            Report::Saved(saved) => {
                let Saved { epoch, step, report, checkpoint: _ } = *saved;
                if let Some(point) = report {
                    tell(RetrainingEvent::Reported { point });
                }
                if !retraining.to_the_end && (epoch, step) >= (retraining.until, 0) {
                    training.abandon().await;
                    return Ok(None);
                }
            }
            Report::Note(note) => tell(RetrainingEvent::Noted { note }),
            Report::Ended(Ok(Ended::Finished(work))) => return Ok(Some(work)),
            Report::Ended(Ok(Ended::Stopped)) => {
                return Err(RetrainError::Training("it stopped before its end".to_owned()));
            }
            Report::Ended(Err(TrainingError::Refused(why))) => {
                let at = retraining.from.as_ref().map_or_else(|| "the start".to_owned(), ToString::to_string);
                return Err(RetrainError::Checkpoint { at, why });
            }
            Report::Ended(Err(TrainingError::Failed(why))) => return Err(RetrainError::Training(why)),
        }
    }
}

/// Keeps nothing.
#[derive(Debug)]
struct Nowhere {
    claim: WorkClaim,
}

impl Keeper for Nowhere {
    fn keep(&self, _saved: &Saved) {}

    fn keep_result(&self, finished: Finished, _log: JobLog) -> Result<FinishedWork, String> {
        FinishedWork::of(&self.claim, finished)
    }
}

/// A claim that no books know: results are made in its name.
fn claim(order: JobOrder, device: DeviceRecord) -> WorkClaim {
    let token = Token { attempt: Attempt(0), owner: WorkerId::new("verify", Uuid::nil()) };
    WorkClaim { v: WorkClaim::VERSION, order, admitted_nanos: 0, token, device }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use futures::future::BoxFuture;
    use shared::empty::Empty;
    use shared::job::Job;
    use shared::metrics::{Metrics, Point};
    use shared::protocol::{CheckpointEvery, Execution};
    use shared::trainer::TrainerKind;

    use super::*;
    use crate::agent::{Instruction, Outcome};

    /// Reports one epoch after the other, and waits for nobody.
    struct Counting;

    impl Trainer for Counting {
        fn id(&self) -> TrainerId {
            shared::empty::trainer()
        }

        fn device(&self) -> String {
            "none".to_owned()
        }

        fn record(&self, _job: &Job, host: &str) -> DeviceRecord {
            device::record(tch::Device::Cpu, 1, host)
        }

        fn start(&self, assignment: Assignment) -> std::io::Result<Training> {
            let (training, mut reporter) = Training::of(&assignment);
            tokio::spawn(async move {
                let mut history = Vec::new();
                for epoch in 1..=4 {
                    if reporter.instruction() == Instruction::Stop {
                        return reporter.ended(Ok(Outcome::Stopped)).await;
                    }
                    let metrics = Metrics::default().with("score", f64::from(epoch));
                    let point = Point { epoch, step: 0, seconds: 0.0, metrics };
                    history.push(point.clone());
                    let checkpoint = Bytes::from("c");
                    reporter.saved(Saved { epoch, step: 0, report: Some(point), checkpoint }).await;
                }
                let finished = Finished { history, ..Finished::default() };
                reporter.ended(Ok(Outcome::Finished(Box::new(finished)))).await;
            });
            Ok(training)
        }

        fn self_test(&self) -> BoxFuture<'_, Result<(), String>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn retraining(until: u32, to_the_end: bool) -> Retraining {
        let content = Empty.job(Empty.defaults(), "");
        let order = JobOrder::new(content, Execution::new(CheckpointEvery::Epoch, Empty.ranking()));
        Retraining { v: Retraining::VERSION, order, from: None, until, to_the_end }
    }

    /// What was told, and the outcome. Neither a server nor a cache is there.
    async fn told(
        retraining: Retraining,
        trainers: Vec<Box<dyn Trainer>>,
    ) -> (Vec<RetrainingEvent>, Result<Option<Box<FinishedWork>>, RetrainError>) {
        let nowhere = Path::new("/nonexistent");
        let retrainer = Retrainer {
            bus: None,
            host: "here".to_owned(),
            trainers,
            packs: PackStore::new(Vec::new(), nowhere),
            weights: WeightsStore::new(Vec::new(), nowhere),
        };
        let mut events = Vec::new();
        let outcome = retrainer.retrain(&retraining, |event| events.push(event)).await;
        (events, outcome)
    }

    fn epochs(events: &[RetrainingEvent]) -> Vec<u32> {
        let reported = events.iter().filter_map(|event| match event {
            RetrainingEvent::Reported { point } => Some(point.epoch),
            RetrainingEvent::Begun { .. }
            | RetrainingEvent::Noted { .. }
            | RetrainingEvent::Ended { .. }
            | RetrainingEvent::Failed { .. } => None,
        });
        reported.collect()
    }

    #[tokio::test]
    async fn a_part_of_a_job_is_trained_and_no_more() {
        let (events, outcome) = told(retraining(2, false), vec![Box::new(Counting)]).await;
        assert!(matches!(events[0], RetrainingEvent::Begun { .. }), "{events:?}");
        assert_eq!(epochs(&events), [1, 2]);
        assert!(outcome.unwrap().is_none());
        let (events, outcome) = told(retraining(4, true), vec![Box::new(Counting)]).await;
        assert_eq!(epochs(&events), [1, 2, 3, 4]);
        assert_eq!(outcome.unwrap().unwrap().result.history.len(), 4);
    }

    #[tokio::test]
    async fn what_is_missing_is_named_before_anything_begins() {
        let (events, outcome) = told(retraining(1, false), Vec::new()).await;
        let error = outcome.unwrap_err();
        assert!(events.is_empty());
        assert!(error.to_string().contains("but the job needs empty (revision 1)"), "{error}");
        assert_eq!(error.fault(), Fault::Input);

        let mut without_data = retraining(1, false);
        without_data.order.content.inputs.dataset = Some("d".repeat(64));
        let error = told(without_data, vec![Box::new(Counting)]).await.1.unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
        assert_eq!(error.fault(), Fault::Input);

        let mut without_weights = retraining(1, false);
        without_weights.order.content.inputs.weights.insert("e".repeat(64));
        let error = told(without_weights, vec![Box::new(Counting)]).await.1.unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
        assert_eq!(error.fault(), Fault::Input);
    }
}
