//! Which jobs of a sweep stand in the list of those that workers take out of the queue's order, and when that list is
//! written again. Pure.
//!
//! Only the next few jobs on either side of the normal priority are listed, however many have one. As workers take them,
//! the list is filled up when half of them are gone, so that it costs a fraction of a write for each job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shared::ids::JobId;
use shared::protocol::{Prioritised, Priority};
use uuid::Uuid;

/// How many jobs of one sweep are listed on either side.
const LISTED: usize = 32;

/// A job's place in the order: by priority, then by the work that is left.
type Place = (Reverse<Priority>, Reverse<u64>);

/// The jobs of a sweep that wait and have another priority than the normal one.
#[derive(Debug, Default)]
pub(super) struct Window {
    waiting: BTreeSet<(Place, JobId)>,
    places: BTreeMap<JobId, Place>,
    /// What the list says of this sweep's jobs, as far as is known.
    listed: BTreeMap<JobId, Priority>,
    /// Listed jobs that wait with another priority by now.
    wrong: BTreeSet<JobId>,
    /// Jobs of which it is not known what the list says.
    doubtful: BTreeSet<JobId>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Whatever is listed of these jobs is replaced.
    pub(super) ours: BTreeSet<JobId>,
    pub(super) now: Vec<Prioritised>,
}

impl Window {
    /// A job waits for a worker, with this priority and so much work left; or it does not.
    pub(super) fn follow(&mut self, job: JobId, waits: Option<(Priority, u64)>) {
        if let Some(place) = self.places.remove(&job) {
            self.waiting.remove(&(place, job));
        }
        self.wrong.remove(&job);
        let Some((priority, work)) = waits else { return };
        if priority != Priority::NORMAL {
            let place = (Reverse(priority), Reverse(work));
            self.places.insert(job, place);
            self.waiting.insert((place, job));
        }
        if self.listed.get(&job).is_some_and(|listed| *listed != priority) {
            self.wrong.insert(job);
        }
    }

    /// The list may say anything of these jobs: another run has written it, or a write may have failed.
    pub(super) fn doubt(&mut self, jobs: impl IntoIterator<Item = JobId>) {
        self.doubtful.extend(jobs);
    }

    /// What to write now, if anything. If that fails, [`Self::doubt`] must follow.
    pub(super) fn next(&mut self) -> Option<List> {
        if self.places.is_empty() && self.listed.is_empty() && self.doubtful.is_empty() {
            return None; // No priorities: the usual case.
        }
        let below = (Reverse(Priority::NORMAL), Reverse(u64::MAX));
        let below = (below, JobId::new(Uuid::nil()));
        let sides = [
            self.waiting.range(..below).take(LISTED).copied().collect::<Vec<_>>(),
            self.waiting.range(below..).take(LISTED).copied().collect(),
        ];
        let is_due = !self.wrong.is_empty()
            || !self.doubtful.is_empty()
            || self.is_due(&sides[0], |priority| priority > Priority::NORMAL)
            || self.is_due(&sides[1], |priority| priority < Priority::NORMAL);
        if !is_due {
            return None;
        }
        let now: Vec<Prioritised> = sides
            .into_iter()
            .flatten()
            .map(|((Reverse(priority), _), job)| Prioritised { job, priority })
            .collect();
        let mut ours = std::mem::take(&mut self.doubtful);
        ours.extend(self.listed.keys().copied().chain(now.iter().map(|entry| entry.job)));
        self.listed = now.iter().map(|entry| (entry.job, entry.priority)).collect();
        self.wrong.clear();
        Some(List { ours, now })
    }

    /// Every job that may be in the list.
    pub(super) fn all(&self) -> BTreeSet<JobId> {
        self.doubtful.iter().chain(self.listed.keys()).copied().collect()
    }

    /// Whether one side of the list must be written again: half of it is gone, or a job is missing that there is room for,
    /// or that comes before one of those listed. `wanted` should be on that side.
    fn is_due(&self, wanted: &[(Place, JobId)], is_side: impl Fn(Priority) -> bool) -> bool {
        let listed = self.listed.iter().filter(|(_, priority)| is_side(**priority)).map(|(job, _)| job);
        let (waiting, gone): (Vec<&JobId>, Vec<&JobId>) =
            listed.partition(|job| self.places.contains_key(job));
        let last = waiting.iter().filter_map(|job| Some((*self.places.get(job)?, **job))).max();
        let missing = wanted.iter().find(|(_, job)| !self.listed.contains_key(job));
        let has_room = waiting.len() + gone.len() < LISTED;
        let comes_first = |missing: &(Place, JobId)| last.is_none_or(|last| *missing < last);
        (!gone.is_empty() && gone.len() >= waiting.len())
            || missing.is_some_and(|missing| has_room || comes_first(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    fn priority(n: i64) -> Priority {
        Priority::new(n).unwrap()
    }

    fn follow(window: &mut Window, n: u128, number: i64) {
        window.follow(id(n), Some((priority(number), 10)));
    }

    /// The jobs that are written now.
    fn written(window: &mut Window) -> Option<Vec<u128>> {
        let List { ours, now } = window.next()?;
        assert!(now.iter().all(|entry| ours.contains(&entry.job)));
        let number = |entry: &Prioritised| (1..=1000).find(|&n| id(n) == entry.job).unwrap();
        Some(now.iter().map(number).collect())
    }

    #[test]
    fn without_priorities_nothing_is_written() {
        let mut window = Window::default();
        for n in 1..100 {
            follow(&mut window, n, 0);
            window.follow(id(n), None);
        }
        assert_eq!(window.next(), None);
    }

    #[test]
    fn the_highest_come_first_and_a_change_is_written_at_once() {
        let mut window = Window::default();
        for (n, number) in [(1, 5), (2, -5), (3, 50), (4, 0)] {
            follow(&mut window, n, number);
        }
        assert_eq!(written(&mut window), Some(vec![3, 1, 2]));
        assert_eq!(written(&mut window), None, "once");
        follow(&mut window, 4, 7);
        assert_eq!(written(&mut window), Some(vec![3, 4, 1, 2]));
        follow(&mut window, 3, 0);
        assert_eq!(written(&mut window), Some(vec![4, 1, 2]), "it must not be taken first any more");
        for n in [4, 1] {
            window.follow(id(n), None);
        }
        assert_eq!(written(&mut window), Some(vec![2]), "nothing is left above");
        window.follow(id(2), None);
        assert_eq!(written(&mut window), Some(vec![]));
        assert_eq!(window.next(), None);
    }

    #[test]
    fn a_long_list_is_short_and_filled_up_when_half_of_it_is_gone() {
        let mut window = Window::default();
        (1..=1000).for_each(|n| follow(&mut window, n, 3));
        assert_eq!(written(&mut window).map(|jobs| jobs.len()), Some(LISTED));
        let mut writes = 0;
        for n in 1..=1000 {
            window.follow(id(n), None);
            writes += usize::from(written(&mut window).is_some());
        }
        assert!((1000 / LISTED..=2 * 1000 / LISTED + 10).contains(&writes), "{writes} writes for 1000 jobs");
        assert_eq!((window.next(), window.all().len()), (None, 0));
    }

    #[test]
    fn what_may_not_have_been_written_is_written_again() {
        let mut window = Window::default();
        follow(&mut window, 1, 5);
        let list = window.next().unwrap();
        window.doubt(list.ours.clone());
        assert_eq!(window.next(), Some(list));
        window.doubt([id(9)]);
        let list = window.next().unwrap();
        assert!(list.ours.contains(&id(9)) && list.now.len() == 1, "{list:?}");
    }
}
