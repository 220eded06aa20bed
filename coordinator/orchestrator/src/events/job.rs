//! What was told of one job, compared with what its record and its result say. Pure.

use std::collections::BTreeMap;

use shared::books::{JobRecord, JobState, LogTail, Reported, Token};
use shared::bus::BookEntry;
use shared::ids::{Attempt, JobId, WorkerId};
use shared::metrics::{Point, Ranking};

use super::EventKind;

/// What was told of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// Revision of the newest record that was told.
    revision: u64,
    state: State,
    notes: Vec<String>,
    /// The newest attempt whose failure was told.
    failed: u32,
    deferrals: u32,
    losses: u32,
    /// Of attempts up to this one, nothing is left.
    anew_after: u32,
    reports: Reports,
    /// The job is done and did not end early, so it never goes on.
    is_whole: bool,
    /// The attempt whose log was told, and how many lines of it.
    log: (Attempt, u64),
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Waiting,
    Held(Token),
    Done(Attempt),
    GivenUp,
}

/// The reports that were told.
#[derive(Debug, Clone, PartialEq, Default)]
struct Reports {
    /// Those of the last record that had any.
    known: Vec<(Attempt, (u32, u32))>,
    /// Those before them that the record no longer has, because there were too many. By place.
    earlier: BTreeMap<(u32, u32), Attempt>,
    /// The attempt whose result was told with all its reports, and where it ended.
    finished: Option<(Attempt, (u32, u32))>,
}

/// The reports in a job's result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResultReports {
    pub(super) attempt: Attempt,
    pub(super) points: Vec<Point>,
}

impl Told {
    /// Nothing was told of a job that waits for its first worker.
    pub(super) fn nothing() -> Self {
        Self {
            revision: 0,
            state: State::Waiting,
            notes: Vec::new(),
            failed: 0,
            deferrals: 0,
            losses: 0,
            anew_after: 0,
            reports: Reports::default(),
            is_whole: false,
            log: (Attempt(0), 0),
        }
    }

    /// Takes all of a record as known, and tells only the job's state.
    pub(super) fn now(entry: &BookEntry, ranking: &Ranking) -> (Self, Vec<EventKind>) {
        let BookEntry { job, record, .. } = entry;
        let (job, mut told) = (*job, Self::nothing());
        told.record(entry, None, ranking);
        let state = match &record.state {
            JobState::Pending | JobState::Done { .. } => None,
            JobState::Running { token, progress, .. } => Some(EventKind::Started {
                job,
                worker: token.owner.clone(),
                attempt: token.attempt,
                epoch: progress.epoch,
            }),
            JobState::Failed { .. } | JobState::Parked { .. } => given_up(job, record),
        };
        if let JobState::Done { token, stopped_after } = &record.state {
            let end = (stopped_after.unwrap_or(u32::MAX), 0);
            told.reports.finished = Some((token.attempt, end));
        }
        (told, state.into_iter().collect())
    }

    /// What is new in a record. `result` has the reports of a finished job, if they came first.
    pub(super) fn record(
        &mut self,
        entry: &BookEntry,
        result: Option<ResultReports>,
        ranking: &Ranking,
    ) -> Vec<EventKind> {
        let BookEntry { job, record, revision, .. } = entry;
        if *revision <= self.revision {
            return Vec::new();
        }
        self.revision = *revision;
        let job = *job;
        let mut events = self.new_notes(job, record);
        let before = events.len();
        let known_failure = self.failed;
        events.extend(self.new_failures(job, record));
        if self.failed > known_failure && self.state == State::GivenUp {
            self.state = State::Waiting; // It was tried again meanwhile.
        }
        for _ in self.deferrals..record.deferrals {
            events.push(EventKind::Deferred { job });
        }
        let is_explained = events.len() > before;
        let is_lost = record.losses > self.losses;
        (self.deferrals, self.losses) = (record.deferrals, record.losses);
        self.anew_after = record.anew_after;
        let holder = match &record.state {
            JobState::Running { token, .. } | JobState::Done { token, .. } => Some(token),
            JobState::Pending | JobState::Failed { .. } | JobState::Parked { .. } => None,
        };
        let reports = self.new_reports(&record.history.reports);
        let (earlier, own): (Vec<&Reported>, Vec<&Reported>) =
            reports.into_iter().partition(|report| holder.is_none_or(|token| report.attempt < token.attempt));
        events.extend(earlier.into_iter().map(|report| reported(job, None, report, ranking)));
        let first = own.first().map(|report| report.point.epoch.saturating_sub(1));
        events.extend(self.moved(job, record, first, is_explained, is_lost));
        let worker = holder.map(|token| &token.owner);
        events.extend(own.into_iter().map(|report| reported(job, worker, report, ranking)));
        events.extend(record.history.log.as_ref().and_then(|tail| self.new_lines(job, tail)));
        if let JobState::Done { token, stopped_after } = &record.state
            && self.state != State::Done(token.attempt)
        {
            self.state = State::Done(token.attempt);
            self.is_whole = stopped_after.is_none();
            if let Some(result) = result {
                events.extend(self.result(job, &token.owner, &result, ranking));
            }
            events.push(EventKind::Done { job, worker: token.owner.clone(), stopped_after: *stopped_after });
        }
        events
    }

    /// The reports of the job's result that were not told, once the job is done.
    pub(super) fn result(
        &mut self,
        job: JobId,
        worker: &WorkerId,
        result: &ResultReports,
        ranking: &Ranking,
    ) -> Vec<EventKind> {
        let attempt = result.attempt;
        // Reports of attempt 0 are of the job that this one goes on from.
        let is_still_part = |told: Attempt| self.anew_after == 0 || told.0 > self.anew_after;
        let Reports { known, earlier, finished } = &self.reports;
        let known: BTreeMap<(u32, u32), Attempt> = known.iter().map(|&(told, at)| (at, told)).collect();
        let is_told = |place: (u32, u32)| match finished {
            Some((told, _)) if *told == attempt => true,
            // It went on where that attempt had ended.
            Some((told, end)) if is_still_part(*told) && place <= *end => true,
            Some(_) | None => {
                known.get(&place).or_else(|| earlier.get(&place)).is_some_and(|told| is_still_part(*told))
            }
        };
        if self.state != State::Done(attempt) {
            return Vec::new();
        }
        let new: Vec<&Point> = result.points.iter().filter(|point| !is_told(point.place())).collect();
        self.reports.finished = Some((attempt, result.points.last().map(Point::place).unwrap_or_default()));
        if self.is_whole {
            // There may be many such jobs.
            (self.reports.known, self.reports.earlier) = (Vec::new(), BTreeMap::new());
        }
        new.into_iter()
            .map(|point| reported(job, Some(worker), &Reported { attempt, point: point.clone() }, ranking))
            .collect()
    }

    /// The attempt that finished the job, if it is done.
    pub(super) fn finished_by(&self) -> Option<Attempt> {
        match self.state {
            State::Done(attempt) => Some(attempt),
            State::Waiting | State::Held(_) | State::GivenUp => None,
        }
    }

    /// A record keeps only the last notes, so what was told may have lost its beginning.
    fn new_notes(&mut self, job: JobId, record: &JobRecord) -> Vec<EventKind> {
        let most = self.notes.len().min(record.notes.len());
        let known =
            (0..=most).rev().find(|&known| self.notes[self.notes.len() - known..] == record.notes[..known]);
        let new = &record.notes[known.unwrap_or(0)..];
        let events = new.iter().map(|note| EventKind::Note { job, note: note.clone() }).collect();
        if !new.is_empty() {
            self.notes.clone_from(&record.notes);
        }
        events
    }

    /// The last failure of a job that failed for good is told with its end.
    fn new_failures(&mut self, job: JobId, record: &JobRecord) -> Vec<EventKind> {
        let told = self.failed;
        let new: Vec<_> = record.failures.iter().filter(|failure| failure.token.attempt.0 > told).collect();
        self.failed = new.last().map_or(told, |failure| failure.token.attempt.0);
        let last = usize::from(record.state.failure().is_some());
        let told = new.iter().take(new.len().saturating_sub(last));
        told.map(|failure| EventKind::Failed { job, error: failure.error.clone() }).collect()
    }

    /// Reports that were not told yet. Those that the job no longer has are forgotten: an attempt whose checkpoints were
    /// lost made them. Those before the first one that the record has are still the job's.
    fn new_reports<'a>(&mut self, reports: &'a [Reported]) -> Vec<&'a Reported> {
        let key = |report: &Reported| (report.attempt, report.point.place());
        let Reports { known, earlier, finished } = &mut self.reports;
        let is_told = |report: &Reported| {
            known.contains(&key(report)) || finished.is_some_and(|(attempt, _)| report.attempt <= attempt)
        };
        let new = reports.iter().filter(|report| !is_told(report)).collect();
        if let Some(first) = reports.first().map(|report| report.point.place()) {
            earlier.split_off(&first);
            let dropped = known.iter().filter(|(_, place)| *place < first);
            earlier.extend(dropped.map(|&(attempt, place)| (place, attempt)));
            *known = reports.iter().map(key).collect();
        }
        new
    }

    fn new_lines(&mut self, job: JobId, tail: &LogTail) -> Option<EventKind> {
        let (attempt, known) = self.log;
        let known = if attempt == tail.attempt { known } else { 0 };
        let skipped = known.saturating_sub(tail.before).min(tail.lines.len() as u64);
        self.log = (tail.attempt, tail.before + tail.lines.len() as u64);
        let lines = tail.lines[skipped as usize..].to_vec();
        let line = tail.before + skipped;
        (!lines.is_empty()).then_some(EventKind::Logged { job, attempt: tail.attempt, line, lines })
    }

    /// Who holds the job now, if that has changed. `first` is the epoch before the holder's first new report.
    fn moved(
        &mut self,
        job: JobId,
        record: &JobRecord,
        first: Option<u32>,
        is_explained: bool,
        is_lost: bool,
    ) -> Option<EventKind> {
        match (&record.state, &self.state) {
            (JobState::Running { token, .. }, State::Held(known)) if token == known => None,
            (JobState::Running { token, progress, .. }, _) => {
                let (worker, attempt) = (token.owner.clone(), token.attempt);
                let epoch = first.unwrap_or(progress.epoch);
                match std::mem::replace(&mut self.state, State::Held(token.clone())) {
                    State::Held(lost) if is_lost && !is_explained => {
                        Some(EventKind::TakenOver { job, worker, from: lost.owner, attempt, epoch })
                    }
                    State::Held(_) | State::Waiting | State::Done(_) | State::GivenUp => {
                        Some(EventKind::Started { job, worker, attempt, epoch })
                    }
                }
            }
            (JobState::Pending, known) => {
                let was_held = matches!(known, State::Held(_));
                self.state = State::Waiting;
                (was_held && !is_explained).then_some(EventKind::GivenBack { job })
            }
            (JobState::Failed { .. } | JobState::Parked { .. }, State::GivenUp)
            | (JobState::Done { .. }, _) => None,
            (JobState::Failed { .. } | JobState::Parked { .. }, _) => {
                self.state = State::GivenUp;
                given_up(job, record)
            }
        }
    }
}

fn given_up(job: JobId, record: &JobRecord) -> Option<EventKind> {
    let log = record.failures.last().map_or_else(Vec::new, |failure| failure.log.clone());
    Some(EventKind::GivenUp { job, reason: record.state.failure()?.to_owned(), log })
}

fn reported(job: JobId, worker: Option<&WorkerId>, report: &Reported, ranking: &Ranking) -> EventKind {
    let Reported { attempt, point } = report;
    EventKind::Reported {
        job,
        worker: worker.cloned(),
        attempt: *attempt,
        epoch: point.epoch,
        step: point.step,
        seconds: point.seconds,
        score: ranking.score(&point.metrics),
        metrics: point.metrics.clone(),
    }
}
