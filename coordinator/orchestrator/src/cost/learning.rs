//! What the cost model takes in: records and results as they come, or as the books have them.

use shared::books::{History, JobRecord, JobState};
use shared::ids::{Attempt, JobId};
use shared::result::JobResult;
use shared::settings::Settings;
use shared::trainer::Effort;

use super::{CostModel, Measured, logarithm};

impl CostModel {
    /// Learns from a job's record, written at this time of the server.
    pub fn saw_record(&mut self, job: JobId, record: &JobRecord, nanos: i128) {
        let Some(&known) = self.jobs.get(&job) else {
            self.saw_other(record, nanos);
            return;
        };
        match &record.state {
            JobState::Pending => {}
            JobState::Running { token, beat, .. } => {
                let worker = self.staff.worker(token.owner.name());
                if *beat == 0 && token.attempt == Attempt(1) {
                    self.overheads.claimed(job, nanos);
                }
                let foretold = match self.running.get(&job) {
                    Some(measured) => measured.foretold,
                    None if record.history.reports.is_empty() => self.foretold(known, worker),
                    None => None,
                };
                let (epochs, seconds) = measured(&record.history, token.attempt);
                self.running
                    .insert(job, Measured { worker, attempt: token.attempt, epochs, seconds, foretold });
            }
            JobState::Done { token, .. } if token.attempt == Attempt(1) => {
                let worker = self.staff.worker(token.owner.name());
                self.ended(job, worker, nanos);
            }
            JobState::Done { .. } => self.overheads.forget(job),
            JobState::Failed { .. } | JobState::Parked { .. } => {
                self.running.remove(&job);
                self.overheads.forget(job);
            }
        }
    }

    /// A job of another sweep: if it is done, its worker is free since.
    fn saw_other(&mut self, record: &JobRecord, nanos: i128) {
        if let JobState::Done { token, .. } = &record.state
            && let Some(worker) = self.staff.find(token.owner.name()).and_then(|seat| seat.worker)
        {
            self.overheads.free(worker, nanos);
        }
    }

    /// Learns from a result of this sweep.
    pub fn saw_result(&mut self, result: &JobResult) {
        let worker = self.staff.equip(result.worker.name(), &result.device.model);
        let Some(known) = self.jobs.get_mut(&result.job) else { return };
        let seconds = result.train_seconds;
        if known.trained.to_bits() == (seconds as f32).to_bits() {
            return; // It is known from before.
        }
        known.trained = seconds as f32;
        let (units, profile) = (f64::from(known.units), known.profile);
        self.overheads.trained(result.job, seconds);
        let measured = self.running.remove(&result.job);
        if let Some(bytes) = result.peak_memory {
            self.memory.measured(profile, worker, bytes);
        }
        let epochs = f64::from(result.epochs());
        let Some(y) = logarithm(seconds, epochs, units) else { return };
        self.cells.entry((profile, worker)).or_default().add(y);
        // An epoch that another worker began was foretold of that one.
        if let Some(Measured { attempt, foretold: Some(foretold), .. }) = measured
            && attempt == result.attempt
        {
            self.errors.push((foretold * epochs / seconds - 1.0).abs());
        }
    }

    /// Learns from a result of another sweep with the same trainer, whose jobs need such effort.
    pub fn saw_elsewhere(&mut self, effort: Effort, settings: &Settings, result: &JobResult) {
        let worker = self.staff.equip(result.worker.name(), &result.device.model);
        let (units, profile) = self.described(effort, settings);
        if let Some(bytes) = result.peak_memory {
            self.memory.measured(profile, worker, bytes);
        }
        if let Some(y) = logarithm(result.train_seconds, f64::from(result.epochs()), units) {
            self.cells.entry((profile, worker)).or_default().add(y);
        }
    }

    /// Like [`Self::saw_record`], but records need not come in the order in which they were written, until
    /// [`Self::saw_all`].
    pub fn saw_record_of_many(&mut self, job: JobId, record: &JobRecord, nanos: i128) {
        match &record.state {
            JobState::Done { token, .. } if token.attempt == Attempt(1) => {
                let worker = self.staff.worker(token.owner.name());
                self.ends.push((nanos, job, worker));
            }
            JobState::Done { .. }
            | JobState::Pending
            | JobState::Running { .. }
            | JobState::Failed { .. }
            | JobState::Parked { .. } => self.saw_record(job, record, nanos),
        }
    }

    /// All records have come.
    pub fn saw_all(&mut self) {
        self.ends.sort_unstable();
        for (nanos, job, worker) in std::mem::take(&mut self.ends) {
            self.ended(job, worker, nanos);
        }
    }

    fn ended(&mut self, job: JobId, worker: u32, nanos: i128) {
        let trained = self.jobs.get(&job).map(|known| f64::from(known.trained));
        self.overheads.finished(job, worker, nanos, trained.filter(|&seconds| seconds >= 0.0));
    }
}

/// How many epochs an attempt has finished, and how long they took.
fn measured(history: &History, attempt: Attempt) -> (u32, f64) {
    let (mut epochs, mut seconds, mut part) = (0, 0.0, 0.0);
    // If the oldest reports were dropped, it is not known where the first one begins.
    let mut before = (history.dropped == 0).then_some(0);
    for report in &history.reports {
        let point = &report.point;
        if report.attempt == attempt && before.is_some() {
            part += point.seconds;
        }
        if point.step == 0 {
            if let Some(before) = before.filter(|_| report.attempt == attempt) {
                epochs += point.epoch.saturating_sub(before);
                seconds += part;
            }
            (before, part) = (Some(point.epoch), 0.0);
        }
    }
    (epochs, seconds)
}
