//! The log of one attempt: what its result keeps of it, and its last lines for the job's record.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::books::{LOG_TAIL, LogTail};
use shared::ids::Attempt;
use shared::log::JobLog;

/// What the trainings of an attempt log. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    before: u64,
    last: VecDeque<String>,
    kept: JobLog,
}

impl Log {
    pub(super) fn add(&self, line: String) {
        let mut lines = self.lock();
        lines.kept.add(&line);
        if lines.last.len() == LOG_TAIL {
            lines.last.pop_front();
            lines.before += 1;
        }
        lines.last.push_back(line);
    }

    /// The last lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    /// The end of the log of `attempt`, as its job's record keeps it. `None` if nothing was logged yet.
    pub(super) fn tail(&self, attempt: Attempt) -> Option<LogTail> {
        let Lines { before, last, .. } = &*self.lock();
        let last: Vec<String> = last.iter().cloned().collect();
        (!last.is_empty()).then(|| LogTail::of(attempt, *before, &last))
    }

    /// As the attempt's result keeps it.
    pub(super) fn kept(&self) -> JobLog {
        self.lock().kept.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_says_how_much_was_logged_before() {
        let log = Log::default();
        assert_eq!(log.tail(Attempt(1)), None);
        for line in 0..LOG_TAIL + 2 {
            log.add(line.to_string());
        }
        let tail = log.tail(Attempt(3)).unwrap();
        assert_eq!((tail.attempt, tail.before, tail.lines[0].as_str()), (Attempt(3), 2, "2"));
        assert_eq!(tail.lines, log.lines());
        assert_eq!(log.kept().lines(), LOG_TAIL as u64 + 2);
    }
}
