//! Finds the checkpoint to resume from: the newest one that is intact and accepted by the training, if there is any.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use shared::blob::BlobRef;
use shared::books::Checkpoint;
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::job::Job;
use shared::kinds;
use shared::protocol::JobOrder;
use shared::retry::Backoff;

use super::hold::{Hold, Lost};
use super::training::Resume;

const AGAIN: Duration = Duration::from_secs(1);

/// The checkpoints that are still to be tried, and the problems of those already tried.
pub(super) struct Search {
    left: VecDeque<Checkpoint>,
    unusable: Vec<String>,
}

impl Search {
    pub(super) fn of(hold: &Hold) -> Self {
        Self { left: hold.checkpoints().cloned().collect(), unusable: Vec::new() }
    }

    /// The next intact checkpoint; `None` to start over. Notes in the record say what was skipped.
    pub(super) async fn next(
        &mut self,
        bus: &Bus,
        hold: &mut Hold,
        order: &JobOrder,
    ) -> Result<Option<(Checkpoint, Resume)>, Lost> {
        let mut found = None;
        while let Some(checkpoint) = self.left.pop_front() {
            let Some(by) = maker(order, &checkpoint) else {
                self.refused(&checkpoint, "it is of another training");
                continue;
            };
            match hold.while_alive(fetch(bus, &checkpoint.blob)).await? {
                Ok(bytes) => {
                    found = Some((checkpoint, Resume { bytes, by }));
                    break;
                }
                Err(error) => self.refused(&checkpoint, &error.to_string()),
            }
        }
        if !self.unusable.is_empty() {
            let from = found.as_ref().map_or_else(|| "the start".to_owned(), |(at, _)| at.to_string());
            let note = format!("{}; resumed from {from}", std::mem::take(&mut self.unusable).join("; "));
            tracing::warn!("{note}");
            hold.note(note).await?;
        }
        Ok(found)
    }

    /// Marks a checkpoint as unusable. The next call of [`Self::next`] adds that to the record.
    pub(super) fn refused(&mut self, checkpoint: &Checkpoint, why: &str) {
        self.unusable.push(format!("the checkpoint of {checkpoint} cannot be used ({why})"));
    }
}

/// The job that made a checkpoint of this order's job. `None` if the record names one that is trained otherwise: what it
/// says of other jobs is not believed.
pub(super) fn maker(order: &JobOrder, checkpoint: &Checkpoint) -> Option<JobId> {
    let Some(origin) = checkpoint.origin else { return Some(order.job) };
    let is_alike = kinds::lasting(&order.content, origin.epochs).as_ref().map(Job::id) == Some(origin.job);
    is_alike.then_some(origin.job)
}

/// Waits while the server is away. A blob counts as damaged only if it is missing or wrong, or if the server failed
/// twice to send its bytes.
async fn fetch(bus: &Bus, blob: &BlobRef) -> Result<Bytes, BusError> {
    let mut stalled = false;
    let passes = |error: &BusError| match error {
        BusError::Stalled { .. } => !std::mem::replace(&mut stalled, true),
        other => other.is_transient(),
    };
    let get = || bus.get_blob(Bucket::Checkpoints, blob);
    Backoff::every(AGAIN).endless().run(get, passes, |_| ()).await
}
