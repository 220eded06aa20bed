//! Enters into the books what killed a local worker, which only this process knows.

use shared::books::JobState;
use shared::bus::{BookEntry, Bus, BusError};
use shared::ids::{JobId, WorkerId};
use shared::trainer::Remedies;

use super::conductor::Conductor;
use crate::engine::crash::Crash;

impl Conductor {
    /// A local worker has died, and only this process knows why: enters that into the books for the jobs that it held,
    /// in the background. With a `crash` the job has failed there, with `log` as its last lines; without one, the job
    /// lost its worker. A worker has several jobs only if they are short, and then nobody can say which of them killed
    /// it: all of them lost it, and from then on each is taken alone.
    pub fn worker_died(&self, worker: &WorkerId, held: &[JobId], crash: Option<Crash>, log: &str) {
        let log: Vec<String> = log.lines().map(str::to_owned).collect();
        for &job in held {
            let to_blame = crash.filter(|_| held.len() == 1);
            let error = to_blame.map(|crash| crash.error(&self.remedies(job)));
            let (bus, worker, log) = (self.bus().clone(), worker.clone(), log.clone());
            tokio::spawn(async move {
                if let Err(error) = close_for(&bus, &worker, job, error, &log).await {
                    tracing::warn!(%job, %error, "cannot enter into the books how {worker} died");
                }
            });
        }
    }

    fn remedies(&self, job: JobId) -> Remedies {
        let planned = self.plan().jobs.iter().find(|planned| planned.id == job);
        let known = self.plan().kind().zip(planned);
        known.map_or_else(Remedies::default, |(kind, planned)| kind.remedies(&planned.settings.to_map()))
    }
}

/// Changes a job's record in the name of the dead worker that holds it, unless somebody else changed it first.
async fn close_for(
    bus: &Bus,
    worker: &WorkerId,
    job: JobId,
    error: Option<String>,
    log: &[String],
) -> Result<(), BusError> {
    while let Some(BookEntry { record, revision, .. }) = bus.record(job).await? {
        let JobState::Running { token, .. } = &record.state else { return Ok(()) };
        if &token.owner != worker {
            return Ok(());
        }
        let next = match &error {
            Some(error) => record.failed(token, error, log, revision),
            None => record.lost(token),
        };
        let Ok(next) = next else { return Ok(()) };
        match bus.swap(job, revision, &next.dated(bus.server_seconds())).await {
            Err(BusError::Conflict { .. }) => {} // The worker's last heartbeat was still on its way.
            outcome => return outcome.map(drop),
        }
    }
    Ok(())
}
