//! A digest of all events of a history and, if requested, a printed line for each.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use memory_server::Event;
use shared::books::{Checkpoint, JobRecord};
use shared::ids::JobId;
use shared::protocol::subjects;

/// Records every event.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: DefaultHasher,
    verbose: bool,
}

impl Trace {
    pub(super) fn new(verbose: bool) -> Self {
        Self { hasher: DefaultHasher::new(), verbose }
    }

    pub(super) fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    /// An event on the server.
    pub(super) fn event(&mut self, now: Duration, by: &str, event: &Event<'_>) {
        (now, by).hash(&mut self.hasher);
        hash(event, &mut self.hasher);
        if self.verbose {
            print(now, by, &words(event));
        }
    }

    /// An action of the simulation itself.
    pub(super) fn note(&mut self, now: Duration, note: &str) {
        (now, note).hash(&mut self.hasher);
        if self.verbose {
            print(now, "***", note);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the trace is the requested output")]
fn print(now: Duration, by: &str, what: &str) {
    println!("{:>9.3} {by:<14} {what}", now.as_secs_f64());
}

fn hash(event: &Event<'_>, hasher: &mut DefaultHasher) {
    match event {
        Event::Wrote { key, value, revision } => (1, key, value, revision).hash(hasher),
        Event::Refused { key } => (2, key).hash(hasher),
        Event::Queued { subject, queued } => (3, subject, format!("{queued:?}")).hash(hasher),
        Event::Handed { subject } => (4, subject).hash(hasher),
        Event::Answered { subject, ack } => (5, subject, format!("{ack:?}")).hash(hasher),
        Event::Purged => 6.hash(hasher),
        Event::Stored { bucket, name } => (7, bucket, name).hash(hasher),
        Event::Removed { bucket, name } => (8, bucket, name).hash(hasher),
        Event::Crashed => 9.hash(hasher),
        Event::Restarted => 10.hash(hasher),
    }
}

fn words(event: &Event<'_>) -> String {
    match event {
        Event::Wrote { key, value, revision } => match subjects::job_of_record_key(key) {
            Some(job) => format!("r{revision} {}", record(job, value)),
            None => format!("r{revision} {}", short(key)),
        },
        Event::Refused { key } => format!("refused: {} has moved", short(key)),
        Event::Queued { subject, queued } => format!("queue {} ({queued:?})", short(subject)),
        Event::Handed { subject } => format!("is handed {}", short(subject)),
        Event::Answered { subject, ack } => format!("answers {}: {ack:?}", short(subject)),
        Event::Purged => "clears the queue".to_owned(),
        Event::Stored { bucket, name } => format!("stores {bucket} {}", short(name)),
        Event::Removed { bucket, name } => format!("removes {bucket} {}", short(name)),
        Event::Crashed => "CRASH".to_owned(),
        Event::Restarted => "RESTART".to_owned(),
    }
}

fn record(job: JobId, value: &[u8]) -> String {
    match serde_json::from_slice::<JobRecord>(value) {
        Ok(record) => {
            let saved: Vec<_> = record.checkpoints.iter().map(Checkpoint::place).collect();
            let (state, losses) = (record.state.describe(), record.losses);
            let (failures, notes) = (record.failures.len(), record.notes.join(" | "));
            format!("{} {state} saved {saved:?} losses {losses} failures {failures} {notes}", job.short())
        }
        Err(error) => format!("{} UNREADABLE {error}", job.short()),
    }
}

/// `text`, with ids shortened to their first part.
fn short(text: &str) -> String {
    text.split('.')
        .map(|part| if part.len() == 36 { part.split('-').next().unwrap_or(part) } else { part })
        .collect::<Vec<_>>()
        .join(".")
}
