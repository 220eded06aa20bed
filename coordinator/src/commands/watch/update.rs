//! What the screen does with what it is told. Pure.

use shared::bus::{BookEntry, Change, Fed, RequestEntry};
use shared::protocol::Demand;
use shared::result::JobResult;

use super::ensembles;
use super::filter;
use super::job::State;
use super::message::{Action, Message};
use super::model::{self, Model, Server};
use orchestrator::sweep::plan::Plan;
use orchestrator::view::labels::Labels;

impl Model {
    /// Takes a message, and returns what is to be done.
    pub(super) fn update(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Key(key) => return self.press(&key),
            Message::Book(fed) => return self.book(*fed),
            Message::Planned { plan, added } => return self.planned(*plan, added),
            Message::Steered(steered) => {
                self.is_stale = true;
                for (job, steering) in steered {
                    self.jobs.steer(job, steering);
                }
            }
            Message::Present { workers, drains } => {
                self.server = Server::Answers;
                self.is_stale |= self.workers != workers || self.drains != drains;
                (self.workers, self.drains) = (workers, drains);
                self.worker = self.worker.min(self.workers.len().saturating_sub(1));
                // The newest entry of the start may be gone: then nothing comes any more.
                let all_read = if self.is_fresh { Vec::new() } else { self.all_read() };
                self.is_fresh = false;
                if self.is_stale {
                    self.take_stock();
                }
                return all_read;
            }
            Message::Silent => match self.server {
                Server::Answers => self.server = Server::Away { since: self.now },
                Server::Away { .. } | Server::AtRest => {}
            },
            Message::Live(report) => {
                if self.jobs.place(report.job).is_some() {
                    self.live.insert(report.job, report);
                }
            }
            Message::Answered(words) => self.notice = Some(words),
            Message::Tick(now) => self.now = now,
            Message::Resized => {}
        }
        Vec::new()
    }

    /// Nothing runs in the state directory, and everything was read.
    pub(super) fn rest(&mut self) {
        (self.server, self.reading) = (Server::AtRest, None);
        self.take_stock();
    }

    fn book(&mut self, fed: Fed) -> Vec<Action> {
        let Fed { revision, written_nanos, change } = fed;
        self.is_fresh = true;
        let mut actions = Vec::new();
        match change {
            Change::Record(entry) => self.record(*entry),
            Change::Result(result) => self.result(&result),
            Change::Standing(record) => {
                self.is_stale = true; // It may take jobs no longer, or again.
                self.standings.insert(record.name, record.standing);
            }
            Change::Request(entry) => actions.extend(self.request(&entry)),
            Change::Scoreboard { sweep, board } => {
                if sweep == self.jobs.plan.name {
                    self.board = board;
                }
            }
            Change::Sweep(record) => {
                if record.name == self.jobs.plan.name {
                    self.times.saw(written_nanos, self.now);
                }
            }
        }
        if let Some((seen, end)) = &mut self.reading {
            *seen = revision;
            if revision >= *end {
                actions.extend(self.all_read());
            }
        }
        actions
    }

    fn record(&mut self, entry: BookEntry) {
        if !self.jobs.is_news(&entry) {
            return;
        }
        self.agenda.saw_record(&entry);
        let (job, written_nanos) = (entry.job, entry.written_nanos);
        let Some(place) = self.jobs.record(entry) else { return };
        self.is_stale = true;
        self.times.saw(written_nanos, self.now);
        if self.jobs.get(place).state() != State::Running {
            self.live.remove(&job);
        }
    }

    fn result(&mut self, result: &JobResult) {
        if self.jobs.result(result).is_none() {
            return;
        }
        self.is_stale = true;
        self.agenda.saw_result(result);
    }

    /// Once everything was read, what is wanted of jobs is looked up after each request that was answered.
    fn request(&self, RequestEntry { request, .. }: &RequestEntry) -> Option<Action> {
        if request.sweep != self.jobs.plan.name || request.answer.is_none() || self.reading.is_some() {
            return None;
        }
        match &request.demand {
            Demand::Jobs { jobs, .. } => Some(Action::Look(jobs.iter().copied().collect())),
            // The plan follows.
            Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. } => None,
        }
    }

    /// Everything that was in the books at the start was read.
    fn all_read(&mut self) -> Vec<Action> {
        if self.reading.take().is_none() {
            return Vec::new();
        }
        self.estimate_due = self.now;
        self.take_stock();
        self.look()
    }

    /// Looks what is wanted of all jobs that have not ended.
    fn look(&self) -> Vec<Action> {
        let open = [State::Running, State::Pending, State::Paused, State::Cancelled];
        let open = self.jobs.in_states(&open);
        if open.is_empty() {
            return Vec::new();
        }
        vec![Action::Look(open.into_iter().map(|(job, _)| job).collect())]
    }

    fn planned(&mut self, plan: Plan, added: Vec<(BookEntry, Option<JobResult>)>) -> Vec<Action> {
        (self.labels, self.ensembles) = (Labels::of(&plan), ensembles::of(&plan));
        self.ensemble = self.ensemble.min(self.ensembles.len().saturating_sub(1));
        self.agenda.follow(&plan);
        self.jobs.follow(plan, &|job| self.agenda.epochs(job));
        self.widest_label = model::widest(&self.jobs, &self.labels);
        for (record, result) in added {
            if let Some(result) = result {
                self.result(&result);
            }
            self.record(record);
        }
        if let Ok(selection) = filter::read(&self.filter, &self.jobs) {
            self.jobs.show(selection);
        } else {
            self.filter.clear();
        }
        self.live.retain(|job, _| self.jobs.place(*job).is_some());
        self.take_stock();
        if self.reading.is_some() { Vec::new() } else { self.look() }
    }
}
