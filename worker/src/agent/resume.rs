//! Which checkpoint to go on from: the newest that is whole and that the training takes, else none.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use shared::books::Checkpoint;
use shared::bus::{Bucket, Bus, BusError};
use shared::result::BlobRef;

use super::hold::{Hold, Lost};

/// The checkpoints that were not tried yet, and what was wrong with those that were.
pub(super) struct Search {
    left: VecDeque<Checkpoint>,
    unusable: Vec<String>,
}

impl Search {
    pub(super) fn of(hold: &Hold) -> Self {
        Self { left: hold.checkpoints().cloned().collect(), unusable: Vec::new() }
    }

    /// The next one that is whole; `None` to start over. Whatever was passed over goes into the record's notes.
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
            let note = format!("{}; goes on from {from}", std::mem::take(&mut self.unusable).join("; "));
            tracing::warn!("{note}");
            hold.note(note).await?;
        }
        Ok(found)
    }

    /// This one is of no use; the next call of [`Self::next`] says so in the record.
    pub(super) fn refused(&mut self, checkpoint: &Checkpoint, why: &str) {
        self.unusable.push(format!("the checkpoint of {checkpoint} is unusable ({why})"));
    }
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
