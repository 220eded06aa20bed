//! The workers that users have drained, in the books.

use super::{Bus, BusError};
use crate::protocol::{Drains, subjects};

impl Bus {
    /// The workers that users have drained.
    ///
    /// # Errors
    /// When the server does not answer, or the entry cannot be read.
    pub async fn drains(&self) -> Result<Drains, BusError> {
        Ok(self
            .read_entry(subjects::DRAINS_KEY, Drains::VERSION)
            .await?
            .map(|(known, _)| known)
            .unwrap_or_default())
    }

    /// Changes which workers are drained. Only the coordinator's role may.
    ///
    /// # Errors
    /// When the server refuses or does not answer, or the entry cannot be read.
    pub async fn change_drains(&self, change: impl Fn(&mut Drains)) -> Result<(), BusError> {
        loop {
            let known = self.read_entry::<Drains>(subjects::DRAINS_KEY, Drains::VERSION).await?;
            let (known, revision) = known.unwrap_or_default();
            let mut next = known.clone();
            change(&mut next);
            if next == known || self.write_entry(subjects::DRAINS_KEY, &next, revision).await? {
                return Ok(());
            }
        }
    }
}
