//! The jobs that workers take out of the queue's order, in the books.

use std::collections::BTreeSet;

use super::values::decode;
use super::{Bus, BusError};
use crate::ids::JobId;
use crate::protocol::{Priorities, Prioritised, subjects};

impl Bus {
    /// The jobs that workers take out of the queue's order, and the revision of that list. A list that cannot be read
    /// counts as empty.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn priorities(&self) -> Result<(Priorities, u64), BusError> {
        let Some(entry) = self.entry(subjects::PRIORITIES_KEY).await? else {
            return Ok((Priorities::default(), 0));
        };
        let known = decode::<Priorities>(&entry.key, &entry.value, Priorities::VERSION);
        let known = known.unwrap_or_else(|error| {
            tracing::debug!(%error, "no job is taken out of the queue's order");
            Priorities::default()
        });
        Ok((known.bounded(), entry.revision))
    }

    /// Puts `now` into the list in place of the jobs in `ours`. What other sweeps have there stays.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn prioritise(&self, ours: &BTreeSet<JobId>, now: &[Prioritised]) -> Result<(), BusError> {
        loop {
            let (known, revision) = self.priorities().await?;
            let next = known.with(|job| ours.contains(&job), now);
            let is_done = next.jobs == known.jobs;
            if is_done || self.changed(subjects::PRIORITIES_KEY, &next, revision).await?.is_some() {
                return Ok(());
            }
        }
    }
}
