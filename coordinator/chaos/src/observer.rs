//! Watches the books from outside during the run, and notes what every record said and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use shared::books::{JobRecord, JobState, Token};
use shared::bus::{BookEntry, Bus};
use shared::ids::JobId;
use shared::protocol::subjects;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A record at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observation {
    /// Since the start of the run.
    pub at: Duration,
    pub job: JobId,
    pub revision: u64,
    pub record: JobRecord,
}

#[derive(Debug, Default)]
struct Seen {
    all: Vec<Observation>,
    /// Index into `all` of each job's newest observation.
    newest: BTreeMap<JobId, usize>,
}

/// Follows the records until it is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Observer {
    pub(super) fn start(bus: Bus, start: Instant) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(follow(bus, start, seen.clone()));
        Self { seen, task }
    }

    /// Jobs by state: pending, running, done or failed.
    pub(super) fn tally(&self) -> [usize; 4] {
        let mut tally = [0; 4];
        self.read(|seen| {
            for &index in seen.newest.values() {
                tally[match &seen.all[index].record.state {
                    JobState::Pending => 0,
                    JobState::Running { .. } => 1,
                    JobState::Done { .. } => 2,
                    JobState::Failed { .. } | JobState::Parked { .. } => 3,
                }] += 1;
            }
        });
        tally
    }

    /// Number of jobs that have ended.
    pub(super) fn ended(&self) -> usize {
        let [_, _, done, failed] = self.tally();
        done + failed
    }

    /// The job that a worker of this name holds, with its token.
    pub(super) fn held_by(&self, name: &str) -> Option<(JobId, Token)> {
        self.read(|seen| {
            seen.newest.iter().find_map(|(&job, &index)| match &seen.all[index].record.state {
                JobState::Running { token, .. } if token.owner.name() == name => Some((job, token.clone())),
                JobState::Running { .. }
                | JobState::Pending
                | JobState::Done { .. }
                | JobState::Failed { .. }
                | JobState::Parked { .. } => None,
            })
        })
    }

    /// Every job observed so far.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.read(|seen| seen.newest.keys().copied().collect())
    }

    /// Every observation so far, in order.
    pub(super) fn observations(&self) -> Vec<Observation> {
        self.read(|seen| seen.all.clone())
    }

    fn read<T>(&self, get: impl FnOnce(&Seen) -> T) -> T {
        get(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(bus: Bus, start: Instant, seen: Arc<Mutex<Seen>>) {
    let mut feed = bus.feed(&[subjects::RECORD_KEYS]);
    loop {
        let BookEntry { job, revision, record, .. } = feed.record().await;
        let observation = Observation { at: start.elapsed(), job, revision, record };
        seen.lock().unwrap_or_else(PoisonError::into_inner).add(observation);
    }
}

impl Seen {
    /// A watch that was started again repeats what was observed before.
    fn add(&mut self, observation: Observation) {
        let known = self.newest.get(&observation.job).map(|&index| &self.all[index]);
        if known.is_none_or(|known| {
            (known.revision, &known.record) != (observation.revision, &observation.record)
        }) {
            self.newest.insert(observation.job, self.all.len());
            self.all.push(observation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_record_is_kept_once() {
        let observation = |revision, record| Observation {
            at: Duration::ZERO,
            job: JobId::new(uuid::Uuid::nil()),
            revision,
            record,
        };
        let mut seen = Seen::default();
        seen.add(observation(1, JobRecord::pending()));
        seen.add(observation(1, JobRecord::pending()));
        assert_eq!(seen.all.len(), 1);
        seen.add(observation(2, JobRecord::pending()));
        assert_eq!((seen.all.len(), seen.newest.len()), (2, 1));
        // The audit must see the same revision with other content.
        seen.add(observation(2, JobRecord { attempts: 9, ..JobRecord::pending() }));
        assert_eq!(seen.all.len(), 3);
    }
}
