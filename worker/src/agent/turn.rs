//! Whether a job should be left to another worker.
//!
//! The second try of a job should run on another worker than the first, because that shows whether the job or the worker
//! is bad. Presence tells whether there is another worker, or will be soon. If that is wrong, it costs time but never a
//! result.

use std::time::Duration;

use shared::books::JobRecord;
use shared::bus::BusError;
use shared::job::TrainerId;

use super::conditions::Conditions;
use super::state::Agent;

/// The shortest and longest time in milliseconds for which a job is left to other workers. The time is random: with
/// equal times, the queue would always hand the same jobs to the same workers.
const OTHERS_FIRST: (u64, u64) = (1000, 6000);

impl Agent {
    /// For how long a job is left to other workers.
    pub(super) fn time_for_others(&self) -> Duration {
        let (least, most) = OTHERS_FIRST;
        Duration::from_millis(least + self.memory().draws.below(most - least))
    }

    /// True if another worker with this trainer should try the job first. Starting workers count too, because a bad job
    /// often fails before another worker has started. A worker that never becomes ready stops counting when its presence
    /// expires.
    pub(super) async fn is_others_turn(
        &self,
        record: &JobRecord,
        trainer: &TrainerId,
        conditions: &Conditions,
    ) -> Result<bool, BusError> {
        let me = self.me.name();
        if record.state.is_final() || !conditions.standing.leaves_to_others(record, me) {
            return Ok(false);
        }
        let failed_on = record.failed_on();
        for worker in self.bus.workers().await? {
            let name = worker.worker.name();
            let may_work = worker.offers(trainer) && conditions.drains.of(name).is_none();
            let other = name != me && !failed_on.contains(name) && may_work;
            if other && self.bus.standing(name).await?.refusal().is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
