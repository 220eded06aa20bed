//! How the ensembles of each sweep stand, in the books.

use super::values::decode;
use super::{Bus, BusError};
use crate::protocol::{Scoreboard, subjects};

impl Bus {
    /// How the ensembles of a sweep stand; `None` if none is listed. An entry that cannot be read counts as none: it is for
    /// displays only.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn scoreboard(&self, sweep: &str) -> Result<Option<Scoreboard>, BusError> {
        let Some(entry) = self.entry(&subjects::scoreboard_key(sweep)).await? else { return Ok(None) };
        match decode::<Scoreboard>(&entry.key, &entry.value, Scoreboard::VERSION) {
            Ok(board) => Ok(Some(board).filter(|board| !board.ensembles.is_empty())),
            Err(error) => {
                tracing::warn!("{error}; it is left out");
                Ok(None)
            }
        }
    }

    /// Writes how the ensembles of a sweep stand over the entry of this revision, or of the newest one if `over` is `None`,
    /// and returns the new revision. `None` when somebody else has written meanwhile: only the run that conducts the sweep
    /// does this, and another one may have taken its place.
    ///
    /// # Errors
    /// When the server refuses or does not answer. The scoreboard may have been written all the same.
    pub async fn write_scoreboard(
        &self,
        sweep: &str,
        board: &Scoreboard,
        over: Option<u64>,
    ) -> Result<Option<u64>, BusError> {
        let key = subjects::scoreboard_key(sweep);
        let over = match over {
            Some(revision) => revision,
            None => self.entry(&key).await?.map_or(0, |entry| entry.revision),
        };
        if over == 0 && board.ensembles.is_empty() {
            return Ok(Some(0));
        }
        self.changed(&key, board, over).await
    }
}
