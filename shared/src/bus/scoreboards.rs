//! How the ensembles of each sweep stand, in the books.

use super::values::decode;
use super::{Bus, BusError};
use crate::protocol::{Scoreboard, subjects};

impl Bus {
    /// How the ensembles of a sweep stand. An entry that cannot be read counts as none: it is for displays only.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn scoreboard(&self, sweep: &str) -> Result<Option<Scoreboard>, BusError> {
        let Some(entry) = self.entry(&subjects::scoreboard_key(sweep)).await? else { return Ok(None) };
        let known = decode(&entry.key, &entry.value, Scoreboard::VERSION);
        known.map(Some).or_else(|error| {
            tracing::warn!("{error}; it is left out");
            Ok(None)
        })
    }

    /// Writes how the ensembles of a sweep stand; a scoreboard without any is deleted. Only the run that conducts the
    /// sweep does this.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn write_scoreboard(&self, sweep: &str, board: &Scoreboard) -> Result<(), BusError> {
        let key = subjects::scoreboard_key(sweep);
        if !board.ensembles.is_empty() {
            return self.write(&key, board).await;
        }
        if self.entry(&key).await?.is_some() { self.delete(&key).await } else { Ok(()) }
    }
}
