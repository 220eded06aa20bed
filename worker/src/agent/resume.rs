//! Finds the checkpoint to resume from: the newest one that is intact and accepted by the training, if there is any.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use shared::blob::BlobRef;
use shared::books::Checkpoint;
use shared::bus::{Bucket, Bus, BusError};
use shared::retry::Backoff;

use super::hold::{Hold, Lost};

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
    ) -> Result<Option<(Checkpoint, Bytes)>, Lost> {
        let mut found = None;
        while let Some(checkpoint) = self.left.pop_front() {
            match hold.while_alive(fetch(bus, &checkpoint.blob)).await? {
                Ok(bytes) => {
                    found = Some((checkpoint, bytes));
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
