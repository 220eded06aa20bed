//! The jobs that a worker is about to claim, or holds. It must not claim one of them a second time: the books would let it,
//! because it is the holder, and what it trains already would be fenced off.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::ids::JobId;

/// These jobs. A job may come twice, because it was both handed out by the queue and put first.
#[derive(Debug, Default)]
pub(super) struct OwnJobs(Mutex<BTreeSet<JobId>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct OwnJob<'a> {
    all: &'a OwnJobs,
    job: JobId,
}

impl OwnJobs {
    /// `None` if the worker has the job already.
    pub(super) fn take(&self, job: JobId) -> Option<OwnJob<'_>> {
        let is_new = self.jobs().insert(job);
        is_new.then(|| OwnJob { all: self, job })
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnJob<'_> {
    fn drop(&mut self) {
        self.all.jobs().remove(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_job_is_taken_once_until_it_is_handed_back() {
        let (own, [one, two]) = (OwnJobs::default(), [1, 2].map(|n| JobId::new(Uuid::from_u128(n))));
        let held = own.take(one);
        assert!(held.is_some() && own.take(one).is_none() && own.take(two).is_some());
        assert!(own.take(one).is_none(), "a failed try does not end the first");
        drop(held);
        assert!(own.take(one).is_some());
    }
}
