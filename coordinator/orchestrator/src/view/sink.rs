//! Where a running session tells what happens. Displays and other subscribers get all of it alike.

use super::labels::Labels;
use super::model::Snapshot;
use crate::events::SweepEvent;

/// Somebody who is told what happens while a sweep runs.
pub trait Subscriber {
    /// Something happened to the sweep. `snapshot` is the state before it.
    fn event(&mut self, event: &SweepEvent, snapshot: &Snapshot);
    /// Something happened to the run itself, such as the restart of a server or worker.
    fn remark(&mut self, text: &str);
    /// The current state; called about once a second.
    fn refresh(&mut self, snapshot: &Snapshot);
    /// The plan has changed, and with it the labels of the jobs.
    fn relabel(&mut self, labels: &Labels);
    /// The run ends. Remarks may still follow.
    fn close(&mut self);
}

/// All subscribers of a run.
#[derive(Default)]
pub struct Sink {
    subscribers: Vec<Box<dyn Subscriber>>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("subscribers", &self.subscribers.len()).finish()
    }
}

impl Sink {
    pub fn of(subscriber: impl Subscriber + 'static) -> Self {
        Self { subscribers: vec![Box::new(subscriber)] }
    }

    /// Adds somebody who is told everything from now on.
    #[must_use]
    pub fn and(mut self, subscriber: impl Subscriber + 'static) -> Self {
        self.subscribers.push(Box::new(subscriber));
        self
    }

    pub(crate) fn event(&mut self, event: &SweepEvent, snapshot: &Snapshot) {
        self.each(|subscriber| subscriber.event(event, snapshot));
    }

    pub(crate) fn remark(&mut self, text: &str) {
        self.each(|subscriber| subscriber.remark(text));
    }

    pub(crate) fn refresh(&mut self, snapshot: &Snapshot) {
        self.each(|subscriber| subscriber.refresh(snapshot));
    }

    pub(crate) fn relabel(&mut self, labels: &Labels) {
        self.each(|subscriber| subscriber.relabel(labels));
    }

    pub(crate) fn close(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.close();
        }
    }

    fn each(&mut self, tell: impl Fn(&mut (dyn Subscriber + 'static))) {
        self.subscribers.iter_mut().for_each(|subscriber| tell(subscriber.as_mut()));
    }
}
