//! Lease and heartbeat, which apply to everyone on a server.

use super::{Bus, BusError};
use crate::protocol::{Timing, subjects};

impl Bus {
    /// The timing of this server: what a coordinator wrote, else the default.
    ///
    /// # Errors
    /// When the server does not answer, or the stored timing cannot be used.
    pub async fn timing(&self) -> Result<Timing, BusError> {
        match self.read::<Timing>(subjects::TIMING_KEY, Timing::VERSION).await {
            Ok(timing) => {
                timing.check().map_err(|source| BusError::Timing { source })?;
                Ok(timing)
            }
            Err(BusError::Missing { .. }) => Ok(Timing::default()),
            Err(error) => Err(error),
        }
    }

    /// Sets the timing for every job that is claimed from now on. Running jobs keep their heartbeat; if it is longer than
    /// the new lease, another worker may take them over once.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn agree_on(&self, timing: &Timing) -> Result<(), BusError> {
        if self.timing().await.ok().as_ref() != Some(timing) {
            self.write(subjects::TIMING_KEY, timing).await?;
        }
        let set = self.server.set_deadline(timing.lease()).await;
        set.map_err(|e| BusError::failed("set the queue's deadline", e))
    }
}
