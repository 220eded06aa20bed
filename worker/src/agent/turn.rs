//! Whose turn a job is.
//!
//! The second try of a job belongs to another worker than the first: only then is it clear whether the job or the worker
//! is bad. Presence tells whether there is another worker, or will be soon; being wrong about it costs time, never a
//! result.

use std::time::Duration;

use shared::books::JobRecord;
use shared::bus::{BusError, Delivery};
use shared::job::TRAINER_REVISION;

use super::state::Agent;

/// A job is left to other workers for a time between these, in milliseconds, before the queue hands it out again. Drawn
/// each time: with equal times the queue would hand the same jobs to the same workers for ever.
const OTHERS_FIRST: (u64, u64) = (1000, 6000);

impl Agent {
    /// Leaves a job to other workers for a while.
    pub(super) async fn leave(&mut self, delivery: &Delivery) {
        let (least, most) = OTHERS_FIRST;
        let time = Duration::from_millis(least + self.draws.below(most - least));
        delivery.hand_back(time).await;
    }

    /// True when another worker should try this job first. Workers that are starting count: the first try of a bad job
    /// takes less time than the start of a worker. One that never gets ready stops counting when its presence expires.
    pub(super) async fn is_others_turn(&self, record: &JobRecord) -> Result<bool, BusError> {
        let me = self.me.name();
        let standing = self.bus.standing(me).await?;
        if record.state.is_final() || !standing.leaves_to_others(record, me) {
            return Ok(false);
        }
        let failed_on = record.failed_on();
        for worker in self.bus.workers().await? {
            let name = worker.worker.name();
            let other =
                name != me && !failed_on.contains(name) && worker.trainer_revision == TRAINER_REVISION;
            if other && self.bus.standing(name).await?.refusal().is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
