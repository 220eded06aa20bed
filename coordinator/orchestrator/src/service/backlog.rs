//! Which jobs belong into the server's queue, and which come next. Pure.
//!
//! A worker takes the oldest message, so jobs are queued in the order in which they should be trained: those that a
//! worker holds already, then those of the highest priority, and of these the ones with the most work. Of those that
//! wait for a worker, only so many are in the queue at a time; the next ones follow as these end. Jobs below the normal
//! priority are not in the queue at all: workers take them from a list when the queue is empty ([`super::window`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shared::ids::JobId;
use shared::protocol::Priority;

/// How many jobs are published in one go: in a batch, each costs a fraction of what it costs alone.
pub(super) const BATCH: usize = 256;

/// A job's place in the order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A worker holds it; its message is for the case that this one dies.
    Held,
    /// It waits for a worker, with this priority and so much work left.
    Work(Reverse<Priority>, Reverse<u64>),
}

impl Rank {
    pub(super) fn work(priority: Priority, left: u64) -> Self {
        Self::Work(Reverse(priority), Reverse(left))
    }

    /// Its priority and the work that is left, if it waits for a worker.
    pub(super) fn waits(self) -> Option<(Priority, u64)> {
        match self {
            Self::Held => None,
            Self::Work(Reverse(priority), Reverse(left)) => Some((priority, left)),
        }
    }

    /// Whether its message belongs into the queue.
    fn is_queued(self) -> bool {
        match self {
            Self::Held => true,
            Self::Work(Reverse(priority), _) => priority >= Priority::NORMAL,
        }
    }
}

/// Where a job's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Here.
    Waiting,
    /// On its way.
    Publishing,
    /// In the queue, or handed out.
    Queued,
    /// It is being taken out of the queue.
    Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    rank: Rank,
    place: Place,
}

impl Job {
    /// True if it is one of those that are counted: in the queue, or on its way there, and held by nobody.
    fn takes_room(self) -> bool {
        let is_sent = match self.place {
            Place::Waiting | Place::Leaving => false,
            Place::Publishing | Place::Queued => true,
        };
        is_sent && self.rank != Rank::Held
    }
}

/// Jobs whose messages are to be published, or taken out of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Batch {
    /// Probably none of them is in the queue.
    New(Vec<JobId>),
    /// Probably all of them are.
    Again(Vec<JobId>),
    /// To be taken out.
    Out(Vec<JobId>),
}

/// The jobs of a sweep that need a message in the queue.
#[derive(Debug)]
pub(super) struct Backlog {
    jobs: BTreeMap<JobId, Job>,
    waiting: BTreeSet<(Rank, JobId)>,
    /// Queued jobs whose messages may be lost.
    again: BTreeSet<JobId>,
    /// Queued jobs that do not belong into the queue.
    out: BTreeSet<JobId>,
    /// How many jobs take room, and how many may.
    taken: usize,
    most: usize,
}

impl Backlog {
    /// Nothing yet. At most `most` jobs that wait for a worker will be in the queue at a time.
    pub(super) fn new(most: usize) -> Self {
        let (again, out) = (BTreeSet::new(), BTreeSet::new());
        Self { jobs: BTreeMap::new(), waiting: BTreeSet::new(), again, out, taken: 0, most }
    }

    /// A job needs a message at this place of the order, or none any more.
    pub(super) fn follow(&mut self, id: JobId, rank: Option<Rank>) {
        let place = self.jobs.get(&id).map_or(Place::Waiting, |job| job.place);
        self.set(id, rank.map(|rank| Job { rank, place }));
        if rank.is_none() {
            self.again.remove(&id);
        }
    }

    /// A job's message may be lost.
    pub(super) fn again(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| job.place == Place::Queued && job.rank.is_queued()) {
            self.again.insert(id);
        }
    }

    /// Nothing is known any more of what is in the queue.
    pub(super) fn forget(&mut self) {
        self.again.clear();
        let queued = self.jobs.iter().filter(|(_, job)| job.place == Place::Queued);
        for id in queued.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.put(id, Place::Waiting);
        }
    }

    /// What to do next. [`Self::published`] or [`Self::left`] must follow for each of these jobs.
    pub(super) fn next(&mut self) -> Option<Batch> {
        let out: Vec<JobId> = self.out.iter().copied().take(BATCH).collect();
        for &id in &out {
            self.put(id, Place::Leaving);
        }
        if !out.is_empty() {
            return Some(Batch::Out(out));
        }
        let new = self.next_new();
        for &id in &new {
            self.put(id, Place::Publishing);
        }
        if !new.is_empty() {
            return Some(Batch::New(new));
        }
        let again: Vec<JobId> = self.again.iter().copied().take(BATCH).collect();
        for id in &again {
            self.again.remove(id);
        }
        (!again.is_empty()).then_some(Batch::Again(again))
    }

    /// As many as there is room for, but rather a whole batch later than a few at once.
    fn next_new(&self) -> Vec<JobId> {
        let mut room = self.most.saturating_sub(self.taken);
        if room < self.waiting.len().min(BATCH).min(self.most / 2) {
            room = 0;
        }
        let fits = |&&(rank, _): &&(Rank, JobId)| match rank {
            Rank::Held => true,
            Rank::Work(..) if room == 0 => false,
            Rank::Work(..) => {
                room -= 1;
                true
            }
        };
        self.waiting.iter().take(BATCH).take_while(fits).map(|&(_, id)| id).collect()
    }

    /// A job's message is in the queue, or could not be published.
    pub(super) fn published(&mut self, id: JobId, is_queued: bool) {
        match (self.jobs.get(&id).map(|job| job.place), is_queued) {
            (Some(Place::Publishing), true) => self.put(id, Place::Queued),
            (Some(Place::Publishing), false) => self.put(id, Place::Waiting),
            (Some(Place::Queued), false) => drop(self.again.insert(id)),
            (Some(Place::Queued), true) | (Some(Place::Waiting | Place::Leaving) | None, _) => {}
        }
    }

    /// A job's message was taken out of the queue, or could not be.
    pub(super) fn left(&mut self, id: JobId, is_out: bool) {
        match (self.jobs.get(&id).map(|job| job.place), is_out) {
            (Some(Place::Leaving), true) => self.put(id, Place::Waiting),
            (Some(Place::Leaving), false) => self.put(id, Place::Queued),
            (Some(Place::Waiting | Place::Publishing | Place::Queued) | None, _) => {}
        }
    }

    fn put(&mut self, id: JobId, place: Place) {
        if let Some(&job) = self.jobs.get(&id) {
            self.set(id, Some(Job { place, ..job }));
        }
    }

    fn set(&mut self, id: JobId, now: Option<Job>) {
        let before = match now {
            Some(now) => self.jobs.insert(id, now),
            None => self.jobs.remove(&id),
        };
        if let Some(job) = before {
            self.taken -= usize::from(job.takes_room());
            self.waiting.remove(&(job.rank, id));
            self.out.remove(&id);
        }
        if let Some(job) = now {
            self.taken += usize::from(job.takes_room());
            match (job.place, job.rank.is_queued()) {
                (Place::Waiting, true) => drop(self.waiting.insert((job.rank, id))),
                (Place::Queued, false) => drop(self.out.insert(id)),
                (Place::Waiting, false) | (Place::Queued, true) | (Place::Publishing | Place::Leaving, _) => {
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    fn new(jobs: &[u128]) -> Batch {
        Batch::New(jobs.iter().map(|&n| id(n)).collect())
    }

    /// Jobs 1, 2, …, each with so much work left.
    fn backlog(most: usize, work: &[u64]) -> Backlog {
        let mut backlog = Backlog::new(most);
        for (n, &work) in (1..).zip(work) {
            backlog.follow(id(n), Some(work_of(work)));
        }
        backlog
    }

    fn work_of(left: u64) -> Rank {
        Rank::work(Priority::NORMAL, left)
    }

    fn publish(backlog: &mut Backlog) {
        while let Some(batch) = backlog.next() {
            match batch {
                Batch::New(jobs) | Batch::Again(jobs) => {
                    for job in jobs {
                        backlog.published(job, true);
                    }
                }
                Batch::Out(jobs) => {
                    for job in jobs {
                        backlog.left(job, true);
                    }
                }
            }
        }
    }

    #[test]
    fn the_most_work_comes_first_and_the_next_when_there_is_room() {
        let mut backlog = backlog(2, &[5, 9, 7, 9]);
        assert_eq!(backlog.next(), Some(new(&[2, 4])));
        assert_eq!(backlog.next(), None, "messages on their way take room");
        backlog.published(id(2), true);
        backlog.published(id(4), true);
        assert_eq!(backlog.next(), None);
        backlog.follow(id(2), Some(Rank::Held));
        assert_eq!(backlog.next(), Some(new(&[3])), "a job that a worker holds takes none");
        backlog.follow(id(2), Some(work_of(8)));
        backlog.follow(id(4), None);
        assert_eq!(backlog.next(), None, "it was handed back: its message is still in the queue");
        backlog.follow(id(2), None);
        assert_eq!(backlog.next(), Some(new(&[1])));
    }

    #[test]
    fn the_priority_counts_before_the_work() {
        let mut backlog = backlog(4, &[5, 9, 7]);
        let [high, low] = [1, -1].map(|priority| Priority::new(priority).unwrap());
        backlog.follow(id(4), Some(Rank::work(high, 1)));
        backlog.follow(id(5), Some(Rank::work(low, 99)));
        assert_eq!(
            backlog.next(),
            Some(new(&[4, 2, 3, 1])),
            "below the normal priority, none is in the queue"
        );
        assert_eq!(backlog.next(), None);
        backlog.published(id(2), true);
        backlog.follow(id(2), Some(Rank::work(low, 9)));
        assert_eq!(backlog.next(), Some(Batch::Out(vec![id(2)])));
        backlog.left(id(2), false);
        assert_eq!(backlog.next(), Some(Batch::Out(vec![id(2)])), "until it is out");
        backlog.follow(id(2), Some(Rank::Held));
        backlog.left(id(2), true);
        assert_eq!(backlog.next(), Some(new(&[2])), "a worker has taken it in the meantime");
        backlog.published(id(2), true);
        backlog.follow(id(2), Some(Rank::work(low, 3)));
        backlog.follow(id(2), Some(work_of(3)));
        assert_eq!(backlog.next(), None, "it may stay");
    }

    #[test]
    fn a_held_job_gets_its_message_whatever_the_room() {
        let mut backlog = backlog(1, &[5, 9]);
        publish(&mut backlog);
        backlog.follow(id(3), Some(Rank::Held));
        backlog.follow(id(4), Some(Rank::Held));
        assert_eq!(backlog.next(), Some(new(&[3, 4])));
    }

    #[test]
    fn room_is_filled_in_batches_while_many_wait() {
        let mut backlog = backlog(4 * BATCH, &vec![1; 8 * BATCH]);
        publish(&mut backlog);
        assert_eq!(backlog.taken, 4 * BATCH);
        for n in 1..BATCH as u128 {
            backlog.follow(id(n), None);
            assert_eq!(backlog.next(), None);
        }
        backlog.follow(id(BATCH as u128), None);
        assert!(matches!(backlog.next(), Some(Batch::New(jobs)) if jobs.len() == BATCH));
    }

    #[test]
    fn only_what_is_in_the_queue_is_published_again() {
        let mut backlog = backlog(1, &[5, 9]);
        publish(&mut backlog);
        backlog.again(id(1));
        backlog.again(id(2));
        assert_eq!(backlog.next(), Some(Batch::Again(vec![id(2)])));
        assert_eq!(backlog.next(), None, "once");
        backlog.published(id(2), false);
        assert_eq!(backlog.next(), Some(Batch::Again(vec![id(2)])), "until it is there");
        backlog.again(id(2));
        backlog.follow(id(2), None);
        assert_eq!(backlog.next(), Some(new(&[1])), "not if it has ended");
    }

    #[test]
    fn what_could_not_be_published_waits_again() {
        let mut backlog = backlog(1, &[5, 9]);
        assert_eq!(backlog.next(), Some(new(&[2])));
        backlog.published(id(2), false);
        assert_eq!(backlog.next(), Some(new(&[2])));
        // It ends and is opened again while its message is on its way.
        backlog.follow(id(2), None);
        backlog.follow(id(2), Some(work_of(9)));
        backlog.published(id(2), true);
        assert_eq!(backlog.next(), Some(new(&[2])), "its message may have gone with its end");
    }

    #[test]
    fn whoever_takes_over_publishes_everything() {
        let mut backlog = backlog(2, &[5, 9, 7]);
        publish(&mut backlog);
        backlog.forget();
        assert_eq!((backlog.taken, backlog.next()), (0, Some(new(&[2, 3]))));
    }
}
