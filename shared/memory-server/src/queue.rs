//! The work queue: one message per subject, handed to one waiting pull at a time, again when nobody answers in time.
//!
//! As on a real server, an answer only names the message's sequence number and counts whoever gives it: a late answer
//! of an earlier holder deletes, delays or prolongs a message that somebody else works on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;

use shared::bus::server::{Ack, Queued};
use shared::protocol::Timing;

/// How long a pull waits at the server.
pub(super) const PULL_LIFE: Duration = Duration::from_secs(30);

/// A message on its way to a puller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) sequence: u64,
    pub(super) subject: String,
}

/// A receiver that waits for a message.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) client: u64,
    pub(super) expires: Duration,
    pub(super) mailbox: mpsc::UnboundedSender<Handed>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    delivered: Duration,
    /// When it is handed out again.
    due: Duration,
}

/// All times are measured from the server's first start.
#[derive(Debug)]
pub(super) struct WorkQueue {
    deadline: Duration,
    sequence: u64,
    messages: BTreeMap<u64, String>,
    pending: BTreeMap<u64, Pending>,
    waiting: VecDeque<Pull>,
}

impl Default for WorkQueue {
    fn default() -> Self {
        Self {
            deadline: Timing::default().lease(),
            sequence: 0,
            messages: BTreeMap::new(),
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }
}

impl WorkQueue {
    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// True if it is queued or handed out.
    pub(super) fn holds(&self, subject: &str) -> bool {
        self.messages.values().any(|queued| queued == subject)
    }

    pub(super) fn publish(&mut self, subject: &str) -> Queued {
        if self.holds(subject) {
            return Queued::Already;
        }
        self.sequence += 1;
        self.messages.insert(self.sequence, subject.to_owned());
        Queued::Now
    }

    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.pending.clear();
    }

    pub(super) fn withdraw(&mut self, subject: &str) {
        self.messages.retain(|_, queued| queued != subject);
        let messages = &self.messages;
        self.pending.retain(|sequence, _| messages.contains_key(sequence));
    }

    pub(super) fn wait(&mut self, pull: Pull) {
        self.waiting.push_back(pull);
    }

    /// The connection was closed: its pulls are dropped.
    pub(super) fn hang_up(&mut self, client: u64) {
        self.waiting.retain(|pull| pull.client != client);
    }

    /// Only a message that was handed out can be answered.
    pub(super) fn answer(&mut self, sequence: u64, ack: Ack, now: Duration) {
        let Some(pending) = self.pending.get_mut(&sequence) else { return };
        match ack {
            Ack::Done => {
                self.pending.remove(&sequence);
                self.messages.remove(&sequence);
            }
            Ack::Back(delay) => pending.due = now + delay,
            Ack::Working => pending.due = now + self.deadline,
        }
    }

    /// A crash: pulls are lost. What was handed out after `remembered` is forgotten too, because that is written to
    /// disk only from time to time. Those messages are handed out again immediately.
    pub(super) fn crash(&mut self, remembered: Duration) {
        self.waiting.clear();
        self.pending.retain(|_, pending| pending.delivered <= remembered);
    }

    /// Hands out what is due: returns each message with the client that got it.
    pub(super) fn dispatch(&mut self, now: Duration) -> Vec<(u64, Handed)> {
        self.waiting.retain(|pull| pull.expires > now);
        let mut handed = Vec::new();
        while !self.waiting.is_empty() {
            let Some(sequence) = self.next(now) else { break };
            let Some(pull) = self.waiting.pop_front() else { break };
            self.pending.insert(sequence, Pending { delivered: now, due: now + self.deadline });
            let message = Handed { sequence, subject: self.messages[&sequence].clone() };
            // If the receiver is gone, the message is lost until its deadline.
            let _gone = pull.mailbox.send(message.clone());
            handed.push((pull.client, message));
        }
        handed
    }

    /// When [`Self::dispatch`] should next be called.
    pub(super) fn due(&self) -> Option<Duration> {
        self.pending.values().map(|pending| pending.due).min().filter(|_| !self.waiting.is_empty())
    }

    /// Overdue messages go before those that were never handed out.
    fn next(&self, now: Duration) -> Option<u64> {
        let overdue = self.pending.iter().filter(|(_, pending)| pending.due <= now);
        let fresh = || self.messages.keys().find(|sequence| !self.pending.contains_key(sequence));
        overdue
            .min_by_key(|(sequence, pending)| (pending.due, **sequence))
            .map(|(s, _)| s)
            .or_else(fresh)
            .copied()
    }
}
