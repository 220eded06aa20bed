//! What the books say to every worker before a claim: its standing, whether it is drained, which jobs are out of the queue's
//! order, and how long a lease lasts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::books::Standing;
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::{Drains, Priorities, Timing};
use tokio::time::Instant;

/// For so long what was read is good enough for the next of many short jobs. A worker that has one job at a time reads
/// it again for each.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Conditions {
    read: Instant,
    pub(super) standing: Standing,
    pub(super) drains: Drains,
    pub(super) timing: Timing,
    listed: Listed,
}

/// The jobs out of the queue's order that were not looked at yet.
#[derive(Debug)]
struct Listed {
    revision: u64,
    /// Those that come before what the queue hands out.
    before: Mutex<VecDeque<JobId>>,
    /// Those that come when it hands out nothing.
    after: Mutex<VecDeque<JobId>>,
    /// There were none when the list was read.
    is_empty: bool,
}

impl Listed {
    /// The list as just read. Short jobs must not cost a look at each job that others have taken: of those that come
    /// first, what was looked at under the same revision is left out. They are in the queue, too.
    fn new(priorities: &Priorities, revision: u64, known: Option<&Self>) -> Self {
        let before: VecDeque<JobId> = match known.filter(|known| known.revision == revision) {
            Some(known) => jobs(&known.before).clone(),
            None => priorities.before().collect(),
        };
        let after: VecDeque<JobId> = priorities.after().collect();
        let is_empty = before.is_empty() && after.is_empty();
        Self { revision, before: Mutex::new(before), after: Mutex::new(after), is_empty }
    }

    fn is_used_up(&self) -> bool {
        !self.is_empty && jobs(&self.before).is_empty() && jobs(&self.after).is_empty()
    }
}

fn jobs(jobs: &Mutex<VecDeque<JobId>>) -> std::sync::MutexGuard<'_, VecDeque<JobId>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conditions {
    /// The next job that comes before what the queue hands out. Each is given once.
    pub(super) fn next_before(&self) -> Option<JobId> {
        jobs(&self.listed.before).pop_front()
    }

    /// The next job that comes when the queue hands out nothing. Each is given once.
    pub(super) fn next_after(&self) -> Option<JobId> {
        jobs(&self.listed.after).pop_front()
    }

    fn is_fresh(&self) -> bool {
        self.read.elapsed() < FRESH && !self.listed.is_used_up()
    }
}

/// The conditions, as last read.
#[derive(Debug, Default)]
pub(super) struct KnownConditions(tokio::sync::Mutex<Option<Arc<Conditions>>>);

impl KnownConditions {
    /// What holds now for the worker `name`, or a moment ago if it `is_brisk`.
    pub(super) async fn now(
        &self,
        bus: &Bus,
        name: &str,
        is_brisk: bool,
    ) -> Result<Arc<Conditions>, BusError> {
        let mut known = self.0.lock().await;
        if let Some(known) = known.as_ref().filter(|known| is_brisk && known.is_fresh()) {
            return Ok(known.clone());
        }
        let read = Instant::now();
        let (standing, (priorities, revision), drains, timing) =
            tokio::try_join!(bus.standing(name), bus.priorities(), bus.drains(), bus.timing())?;
        let last = known.as_ref().filter(|_| is_brisk).map(|known| &known.listed);
        let listed = Listed::new(&priorities, revision, last);
        let conditions = Arc::new(Conditions { read, standing, drains, timing, listed });
        *known = Some(conditions.clone());
        Ok(conditions)
    }
}

#[cfg(test)]
mod tests {
    use memory_server::MemoryServer;
    use shared::protocol::{Prioritised, Priority};
    use uuid::Uuid;

    use super::*;

    fn entry(n: u128, priority: i64) -> Prioritised {
        Prioritised { job: JobId::new(Uuid::from_u128(n)), priority: Priority::new(priority).unwrap() }
    }

    #[tokio::test]
    async fn short_jobs_do_not_look_twice_at_what_comes_first() {
        let server = MemoryServer::start(0, None, None);
        let bus = server.connect("test").0;
        bus.prioritise(&[].into(), &[entry(1, 5), entry(2, 5), entry(3, -5)]).await.unwrap();
        let known = KnownConditions::default();
        let now = known.now(&bus, "w", true).await.unwrap();
        assert_eq!((now.next_before(), now.next_after()), (Some(entry(1, 0).job), Some(entry(3, 0).job)));
        let again = known.now(&bus, "w", true).await.unwrap();
        assert_eq!(again.next_before(), Some(entry(2, 0).job), "it was read a moment ago");
        let again = known.now(&bus, "w", true).await.unwrap();
        assert_eq!(again.next_before(), None, "all of them were looked at");
        assert_eq!(again.next_after(), Some(entry(3, 0).job), "these are not in the queue");
        let slow = known.now(&bus, "w", false).await.unwrap();
        assert_eq!(slow.next_before(), Some(entry(1, 0).job), "long jobs look at all of them");
        bus.prioritise(&[entry(1, 0).job].into(), &[entry(4, 9)]).await.unwrap();
        let changed = known.now(&bus, "w", false).await.unwrap();
        assert_eq!(changed.next_before(), Some(entry(4, 0).job));
    }
}
