//! The log of a training, as its result keeps it: bounded, with its beginning and its end.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many of the first and of the last lines are kept.
pub const FIRST_LINES: usize = 40;
pub const LAST_LINES: usize = 160;

/// How many characters of a line are kept.
pub const LONGEST_LINE: usize = 400;

/// What one attempt logged. Of a long log, lines in the middle are missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobLog {
    pub first: Vec<String>,
    /// How many lines after `first` were dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    pub last: VecDeque<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl JobLog {
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub fn add(&mut self, line: &str) {
        let line = shortened(line);
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.last.push_back(line);
    }

    /// How many lines were logged.
    pub fn lines(&self) -> u64 {
        (self.first.len() as u64).saturating_add(self.dropped).saturating_add(self.last.len() as u64)
    }

    /// Checks a log that was received.
    ///
    /// # Errors
    /// When there is more of it than this program would keep.
    pub fn check(&self) -> Result<(), String> {
        let is_long = |line: &String| line.len() > LONGEST_LINE * 4; // bytes of a character
        if self.first.len() > FIRST_LINES || self.last.len() > LAST_LINES {
            Err(format!("its log has more than {FIRST_LINES} first or {LAST_LINES} last lines"))
        } else if self.first.iter().chain(&self.last).any(is_long) {
            Err(format!("its log has a line of more than {LONGEST_LINE} characters"))
        } else {
            Ok(())
        }
    }
}

/// The beginning of a line of a log.
pub fn shortened(line: &str) -> String {
    line.chars().take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_of_a_long_log_are_kept() {
        let mut log = JobLog::default();
        for line in 0..FIRST_LINES + LAST_LINES {
            log.add(&line.to_string());
        }
        assert_eq!(log.dropped, 0);
        log.add("one more");
        log.add(&"x".repeat(1000));
        assert_eq!((log.dropped, log.lines()), (2, (FIRST_LINES + LAST_LINES + 2) as u64));
        assert_eq!((log.first[0].as_str(), log.last[0].as_str()), ("0", "42"));
        assert_eq!(log.last.back().map(String::len), Some(LONGEST_LINE));
        log.check().unwrap();
    }

    #[test]
    fn a_log_that_is_too_large_is_refused() {
        let lines = vec![String::new(); FIRST_LINES + 1];
        assert!(JobLog { first: lines, ..JobLog::default() }.check().is_err());
        let long = JobLog { first: vec!["x".repeat(2000)], ..JobLog::default() };
        assert_eq!(long.check().unwrap_err(), "its log has a line of more than 400 characters");
    }
}
