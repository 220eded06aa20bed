//! What a job should end with, and what its record may show before.

use sha2::{Digest, Sha256};
use shared::books::{JobRecord, JobState};
use shared::predictions::to_npy;
use shared::result::{JobResult, MODEL};
use shared::vote;
use worker::agent::{Finished, FinishedPredictions};

use super::history::Script;
use super::sweep::{Spec, trainer};
use super::trainer::{other_weights, undisturbed};
use crate::in_process::SCORE;

/// What a job should end with.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) spec: Spec,
    pub(super) script: Script,
    /// The result of a training without faults.
    finished: Finished,
}

impl Expected {
    pub(super) fn new(spec: Spec, script: Script) -> Self {
        Self { spec, script, finished: undisturbed(spec, script, spec.epochs) }
    }

    /// True if `result` is that of a training without faults, to the last bit, which ended as early.
    pub(super) fn is(&self, result: &JobResult) -> bool {
        match result.stopped_after {
            None => self.equals(&self.finished, result),
            Some(epochs) if (1..self.spec.epochs).contains(&epochs) => {
                self.equals(&undisturbed(self.spec, self.script, epochs), result)
            }
            Some(_) => false,
        }
    }

    fn equals(&self, finished: &Finished, result: &JobResult) -> bool {
        let Finished { metrics, history, best_epoch, stopped_after, .. } = finished;
        let Finished { predictions, artifacts, train_seconds, peak_memory, .. } = finished;
        let names = result.predictions.keys().eq(predictions.keys());
        let artifact = |name: &str| result.artifacts.get(name).map(|blob| blob.sha256.as_str());
        (&result.metrics, &result.history, &result.best_epoch) == (metrics, history, best_epoch)
            && result.stopped_after == *stopped_after
            && result.trainer == trainer()
            && result.train_seconds.to_bits() == train_seconds.to_bits()
            && result.peak_memory == *peak_memory
            && names
            && predictions.iter().all(|(name, set)| is_set(result, name, set))
            && result.artifacts.keys().eq(artifacts.keys())
            && self.models(finished).any(|model| artifact(MODEL) == Some(&sha256(&model)))
            && result.check().is_ok()
    }

    /// The weights with which the job may end.
    fn models(&self, finished: &Finished) -> impl Iterator<Item = Vec<u8>> + use<> {
        let model = &finished.artifacts[MODEL];
        let other = self.script.nondeterministic.then(|| other_weights(model));
        std::iter::once(model.clone()).chain(other)
    }

    /// True if all scores in the record are those that a training without faults reports: of the last finished epoch, and
    /// of some epoch after which a checkpoint was stored.
    pub(super) fn shows(&self, record: &JobRecord) -> bool {
        let scores = || self.finished.history.iter().filter_map(|point| point.metrics.get(SCORE));
        let saved = record.saved_score.is_none_or(|saved| scores().any(|score| same(score, saved)));
        saved
            && match &record.state {
                JobState::Running { progress, .. } => match progress.score {
                    Some(shown) => {
                        let reported = scores().nth((progress.epoch as usize).wrapping_sub(1));
                        reported.is_some_and(|score| same(score, shown))
                    }
                    None => progress.epoch_seconds.is_none(),
                },
                JobState::Pending
                | JobState::Done { .. }
                | JobState::Failed { .. }
                | JobState::Parked { .. } => true,
            }
    }
}

/// True if the result's predictions with this name are these.
fn is_set(result: &JobResult, name: &str, expected: &FinishedPredictions) -> bool {
    let FinishedPredictions { probabilities, samples, own_samples } = expected;
    let Some(set) = result.predictions.get(name) else { return false };
    let list = set.samples.as_ref().map(|blob| blob.sha256.clone());
    set.probabilities.sha256 == sha256(&to_npy(probabilities))
        && set.samples_digest == samples.digest()
        && list == own_samples.then(|| sha256(samples.to_csv().as_bytes()))
        && set.macro_f1 == vote::score(probabilities, samples).map(|score| score.macro_f1)
}

fn same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
