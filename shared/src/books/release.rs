//! A holder that hands its job back: unharmed, because something is in the way, or to be trained anew. Pure.

use super::journal::in_brief;
use super::{Fenced, JobRecord, JobState, Move, Release, Token};

impl JobRecord {
    /// The holder hands the job back unharmed; it continues elsewhere from its last checkpoint.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn released(&self, by: &Token, why: Release) -> Result<Self, Fenced> {
        self.handed_back(by, Move::Released { why })
    }

    /// The holder hands the job back because of the server, the network or a disk. This counts as neither loss nor
    /// failure.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn deferred(&self, by: &Token, why: String) -> Result<Self, Fenced> {
        let next = self.handed_back(by, Move::Deferred { why: in_brief(&why) })?;
        Ok(Self { deferrals: self.deferrals.saturating_add(1), ..next.with_note(why) })
    }

    /// The holder hands the job back, and drops everything that it has so far: it is trained anew.
    ///
    /// # Errors
    /// When `by` does not hold the job.
    pub fn dropped(&self, by: &Token) -> Result<Self, Fenced> {
        Ok(self.handed_back(by, Move::Dropped)?.begun_anew())
    }

    fn handed_back(&self, by: &Token, how: Move) -> Result<Self, Fenced> {
        self.held(by)?;
        Ok(Self { state: JobState::Pending, ..self.clone() }.moved(by.attempt, how))
    }
}
