//! What the server in memory holds, and how each request changes it. Everything here is instantaneous.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::queue::{Handed, WorkQueue};
use super::{Damage, Event, Observer, ServerBug};
use shared::blob::BlobRef;
use shared::bus::server::{Ack, Entry, Inventory, Queued, ServerError, Stored, Upload, Write};
use shared::rng::{Purpose, Stream};

/// The server's clock at its first start, chosen arbitrarily.
const BIRTH_NANOS: i128 = 1_700_000_000_000_000_000;

/// Entries of presence expire after this time.
const PRESENCE_LIFE: Duration = Duration::from_secs(45);

/// Server time in nanoseconds since the Unix epoch.
pub(super) fn server_nanos(now: Duration) -> i128 {
    BIRTH_NANOS + i128::try_from(now.as_nanos()).unwrap_or(0)
}

/// An object's description: which chunks it is made of.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) chunks: u64,
    pub(super) sha256: String,
}

pub(super) struct State {
    pub(super) up: bool,
    /// Counts the server's starts: watches and pulls from before a restart must be renewed.
    pub(super) life: u64,
    pub(super) queue: WorkQueue,
    pub(super) chance: Stream,
    pub(super) bug: Option<ServerBug>,
    revision: u64,
    books: BTreeMap<String, Entry>,
    presence: BTreeMap<String, (Duration, Bytes)>,
    metas: BTreeMap<(String, String), Meta>,
    chunks: BTreeMap<u64, Bytes>,
    /// When chunks and descriptions were written.
    chunk_times: BTreeMap<u64, Duration>,
    meta_times: BTreeMap<(String, String), Duration>,
    last_chunks: u64,
    /// How far the server's clock was set back.
    set_back_nanos: i128,
    /// The first values of the keys that the server loses, if it has such a bug.
    first: BTreeMap<String, Bytes>,
    observer: Option<Observer>,
}

impl ServerBug {
    /// The beginning of the keys whose changes are lost when a coordinator connects.
    fn loses(self) -> Option<&'static str> {
        match self {
            Self::BlindSwap | Self::TornBatch => None,
            Self::LostOrders => Some("order."),
            Self::LostPlans => Some("sweep."),
        }
    }
}

impl State {
    pub(super) fn new(seed: u64, observer: Option<Observer>, bug: Option<ServerBug>) -> Self {
        Self {
            up: true,
            life: 0,
            queue: WorkQueue::default(),
            chance: Stream::new(seed, Purpose::Simulation, &[1]),
            bug,
            revision: 0,
            books: BTreeMap::new(),
            presence: BTreeMap::new(),
            metas: BTreeMap::new(),
            chunks: BTreeMap::new(),
            chunk_times: BTreeMap::new(),
            meta_times: BTreeMap::new(),
            last_chunks: 0,
            set_back_nanos: 0,
            first: BTreeMap::new(),
            observer,
        }
    }

    pub(super) fn tell(&mut self, now: Duration, by: &str, event: &Event<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(now, by, event);
        }
    }

    /// A client has connected. Coordinators are called `ferry` and something.
    pub(super) fn connected(&mut self, name: &str) {
        if !name.starts_with("ferry") {
            return;
        }
        for (key, value) in &self.first {
            if let Some(entry) = self.books.get_mut(key) {
                entry.value = value.clone();
            }
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<Entry> {
        self.books.get(key).cloned()
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.books.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Revision of the newest change under `prefix`, 0 if there is none.
    pub(super) fn newest(&self, prefix: &str) -> u64 {
        let below = self.books.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        below.map(|(_, entry)| entry.revision).max().unwrap_or(0)
    }

    /// The oldest change under `keys` after `revision`. Of several changes of one key only the last is kept.
    pub(super) fn change_after(&self, keys: &[&str], revision: u64) -> Option<Entry> {
        let prefixes = keys.iter().map(|keys| keys.trim_end_matches('*'));
        let entries = prefixes.flat_map(|prefix| {
            let below =
                self.books.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix));
            below.map(|(_, entry)| entry)
        });
        entries.filter(|entry| entry.revision > revision).min_by_key(|entry| entry.revision).cloned()
    }

    fn revision_of(&self, key: &str) -> u64 {
        self.books.get(key).map_or(0, |entry| entry.revision)
    }

    fn is_stale(&self, write: &Write) -> bool {
        write.expected.is_some_and(|expected| expected != self.revision_of(&write.key))
    }

    pub(super) fn update(&mut self, now: Duration, by: &str, write: Write) -> Result<u64, ServerError> {
        let blind = self.bug == Some(ServerBug::BlindSwap) && write.expected != Some(0);
        if self.is_stale(&write) && !blind {
            self.tell(now, by, &Event::Refused { key: &write.key });
            return Err(ServerError::Revision);
        }
        Ok(self.put(now, by, write.key, write.value))
    }

    pub(super) fn put(&mut self, now: Duration, by: &str, key: String, value: Bytes) -> u64 {
        self.revision += 1;
        let revision = self.revision;
        self.tell(now, by, &Event::Wrote { key: &key, value: &value, revision });
        if self.bug.and_then(ServerBug::loses).is_some_and(|prefix| key.starts_with(prefix)) {
            self.first.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let entry = Entry {
            key: key.clone(),
            value,
            revision,
            written_nanos: server_nanos(now) - self.set_back_nanos,
        };
        self.books.insert(key, entry);
        revision
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.books.remove(key);
    }

    pub(super) fn batch(&mut self, now: Duration, by: &str, writes: Vec<Write>) -> Result<u64, ServerError> {
        let stale = writes.iter().find(|write| self.is_stale(write));
        if let Some(write) = stale {
            self.tell(now, by, &Event::Refused { key: &write.key });
            return Err(ServerError::Revision);
        }
        let torn = self.bug == Some(ServerBug::TornBatch) && self.chance.chance(0.2);
        let lost = if torn { writes.len() - 1 } else { 0 };
        for write in writes.into_iter().skip(lost) {
            self.put(now, by, write.key, write.value);
        }
        Ok(self.revision)
    }

    pub(super) fn publish(&mut self, now: Duration, by: &str, subject: &str) -> Queued {
        let queued = self.queue.publish(subject);
        self.tell(now, by, &Event::Queued { subject, queued });
        queued
    }

    /// A batch that holds a queued subject is refused as a whole.
    pub(super) fn publish_all(&mut self, now: Duration, by: &str, subjects: &[String]) -> bool {
        let is_new = !subjects.iter().any(|subject| self.queue.holds(subject));
        for subject in subjects.iter().filter(|_| is_new) {
            self.publish(now, by, subject);
        }
        is_new
    }

    pub(super) fn answer(&mut self, now: Duration, by: &str, message: &Handed, ack: Ack) {
        self.queue.answer(message.sequence, ack, now);
        self.tell(now, by, &Event::Answered { subject: &message.subject, ack });
    }

    pub(super) fn holds(&self, bucket: &str, name: &str) -> bool {
        self.meta(bucket, name).is_some()
    }

    pub(super) fn meta(&self, bucket: &str, name: &str) -> Option<Meta> {
        self.metas.get(&(bucket.to_owned(), name.to_owned())).cloned()
    }

    pub(super) fn add_chunks(&mut self, now: Duration, bytes: Bytes) -> u64 {
        self.last_chunks += 1;
        self.chunk_times.insert(self.last_chunks, now);
        self.chunks.insert(self.last_chunks, bytes);
        self.last_chunks
    }

    pub(super) fn chunks(&self, chunks: u64) -> Option<Bytes> {
        self.chunks.get(&chunks).cloned()
    }

    /// Fails if the chunks were discarded in the meantime.
    pub(super) fn describe(
        &mut self,
        now: Duration,
        by: &str,
        bucket: &str,
        blob: &BlobRef,
        chunks: u64,
    ) -> Result<(), ServerError> {
        if !self.chunks.contains_key(&chunks) {
            return Err(ServerError::doubt("the upload was discarded"));
        }
        self.tell(now, by, &Event::Stored { bucket, name: &blob.name });
        let meta = Meta { chunks, sha256: blob.sha256.clone() };
        self.meta_times.insert((bucket.to_owned(), blob.name.clone()), now);
        self.metas.insert((bucket.to_owned(), blob.name.clone()), meta);
        Ok(())
    }

    /// Uploads have no bucket here: each bucket shows all of them.
    pub(super) fn inventory(&self, bucket: &str) -> Inventory {
        let size = |meta: &Meta| self.chunks.get(&meta.chunks).map_or(0, |bytes| bytes.len() as u64);
        let objects: Vec<Stored> = self
            .metas
            .iter()
            .filter(|((of, _), _)| of == bucket)
            .map(|(place, meta)| Stored {
                name: place.1.clone(),
                size: size(meta),
                written_nanos: server_nanos(self.meta_times.get(place).copied().unwrap_or_default()),
            })
            .collect();
        let unfinished = |chunks: &u64| self.metas.values().all(|meta| meta.chunks != *chunks);
        let uploads = self.chunks.keys().filter(|chunks| unfinished(chunks)).map(|chunks| Upload {
            id: chunks.to_string(),
            size: self.chunks.get(chunks).map_or(0, |bytes| bytes.len() as u64),
            written_nanos: server_nanos(self.chunk_times.get(chunks).copied().unwrap_or_default()),
        });
        Inventory {
            bytes: objects.iter().map(|object| object.size).sum(),
            objects,
            uploads: uploads.collect(),
        }
    }

    /// Leaves alone what has become an object in the meantime.
    pub(super) fn discard(&mut self, upload: &str) {
        if let Ok(chunks) = upload.parse::<u64>()
            && self.metas.values().all(|meta| meta.chunks != chunks)
        {
            self.chunks.remove(&chunks);
        }
    }

    pub(super) fn remove(
        &mut self,
        now: Duration,
        by: &str,
        bucket: &str,
        name: &str,
    ) -> Result<(), ServerError> {
        let meta = self.metas.remove(&(bucket.to_owned(), name.to_owned())).ok_or(ServerError::Missing)?;
        self.chunks.remove(&meta.chunks);
        self.tell(now, by, &Event::Removed { bucket, name });
        Ok(())
    }

    /// Names of the objects in a bucket.
    pub(super) fn names(&self, bucket: &str) -> Vec<String> {
        self.metas.keys().filter(|(of, _)| of == bucket).map(|(_, name)| name.clone()).collect()
    }

    /// Chunks that belong to no object.
    pub(super) fn unfinished_uploads(&self) -> usize {
        self.chunks.keys().filter(|&&chunks| self.metas.values().all(|meta| meta.chunks != chunks)).count()
    }

    pub(super) fn damage(&mut self, bucket: &str, name: &str, damage: Damage) {
        let place = (bucket.to_owned(), name.to_owned());
        let Some(meta) = self.metas.get(&place).cloned() else { return };
        match damage {
            Damage::NoDescription => drop(self.metas.remove(&place)),
            Damage::NoChunks => drop(self.chunks.remove(&meta.chunks)),
            Damage::OtherBytes => {
                let mut bytes = self.chunks.get(&meta.chunks).map_or_else(Vec::new, |bytes| bytes.to_vec());
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 0x55;
                }
                self.chunks.insert(meta.chunks, bytes.into());
            }
        }
    }

    /// Sets the server's clock back.
    pub(super) fn set_clock_back(&mut self, by: Duration) {
        self.set_back_nanos += i128::try_from(by.as_nanos()).unwrap_or(0);
    }

    pub(super) fn appear(&mut self, now: Duration, key: String, value: Bytes) {
        self.presence.insert(key, (now, value));
    }

    pub(super) fn seen(&self, key: &str) -> Option<i128> {
        self.presence.get(key).map(|(at, _)| server_nanos(*at) - self.set_back_nanos)
    }

    pub(super) fn present(&self, now: Duration) -> Vec<Bytes> {
        let fresh = self.presence.values().filter(|(at, _)| *at + PRESENCE_LIFE > now);
        fresh.map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn disappear(&mut self, key: &str) {
        self.presence.remove(key);
    }

    /// Everything confirmed survives, but not the knowledge of what was handed out last.
    pub(super) fn crash(&mut self, now: Duration) {
        self.up = false;
        let forgotten = Duration::from_millis(self.chance.below(150));
        self.queue.crash(now.saturating_sub(forgotten));
        self.tell(now, "server", &Event::Crashed);
    }

    pub(super) fn restart(&mut self, now: Duration) {
        self.up = true;
        self.life += 1;
        self.tell(now, "server", &Event::Restarted);
    }
}
