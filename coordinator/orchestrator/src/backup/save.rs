//! Making a backup of the books of a server that may be at work.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::blob::BlobRef;
use shared::books::{JobRecord, JobState, Release};
use shared::bus::{BookEntry, Bus, BusError};
use shared::files;
use shared::ids::JobId;
use shared::protocol::{JobOrder, PackManifest, SweepRecord, WeightsManifest, subjects};

use super::manifest::{Entry, Manifest, Store, Stored};
use super::{BLOBS, BackupError, MANIFEST, PartialFolder, SUMS, Summary, Tell, io};

/// How often a job may replace its checkpoints while they are copied.
const TRIES: u32 = 10;

/// Copies the books behind `bus`, and every blob that they point to, into the folder `dest`, which must not be there.
/// Every blob is verified by its digest. A record and the result that it was accepted with belong together, and other
/// jobs do not matter to it: so each job is copied as it stands when its turn comes.
pub async fn save(bus: &Bus, dest: &Path, tell: Tell<'_>) -> Result<Summary, BackupError> {
    let partial = PartialFolder::beside(dest)?;
    let mut backup = Backup::new(partial.root.clone())?;
    let mut keys = bus.keys("").await?;
    keys.sort();
    let total = keys.len() as u64;
    for (index, key) in keys.iter().enumerate() {
        tell(index as u64, total);
        backup.take(bus, key).await?;
    }
    tell(total, total);
    let summary = backup.close()?;
    partial.keep()?;
    Ok(summary)
}

struct Backup {
    root: PathBuf,
    entries: Vec<Entry>,
    blobs: Vec<Stored>,
    known: HashSet<Stored>,
    /// Digests of the files, by name relative to the folder.
    sums: BTreeMap<String, String>,
    summary: Summary,
}

/// What a key of the books holds.
enum Kind {
    Record(JobId),
    /// It is taken with its record.
    Result,
    Order,
    Sweep,
    Pack,
    Weights,
    /// Says what goes on on this server now: it means nothing on another.
    Momentary,
    /// Something that this program does not know: it is kept as it is.
    Other,
}

impl Kind {
    fn of(key: &str) -> Self {
        match key.split_once('.') {
            Some(("job", _)) => subjects::job_of_record_key(key).map_or(Self::Other, Self::Record),
            Some(("result", _)) => Self::Result,
            Some(("order", _)) => Self::Order,
            Some(("sweep", _)) => Self::Sweep,
            Some(("pack", _)) => Self::Pack,
            Some(("weights", _)) => Self::Weights,
            Some(("conductor", _)) => Self::Momentary,
            None if [subjects::TRIAL_KEY, subjects::COLLECTION_KEY].contains(&key) => Self::Momentary,
            Some(_) | None => Self::Other,
        }
    }
}

impl Backup {
    fn new(root: PathBuf) -> Result<Self, BackupError> {
        let blobs = root.join(BLOBS);
        std::fs::create_dir_all(&blobs).map_err(io(&blobs))?;
        Ok(Self {
            root,
            entries: Vec::new(),
            blobs: Vec::new(),
            known: HashSet::new(),
            sums: BTreeMap::new(),
            summary: Summary::default(),
        })
    }

    async fn take(&mut self, bus: &Bus, key: &str) -> Result<(), BackupError> {
        match Kind::of(key) {
            Kind::Record(job) => self.job(bus, job).await?,
            Kind::Result | Kind::Momentary => {}
            Kind::Order => {
                let order: JobOrder = bus.read(key, JobOrder::VERSION).await?;
                self.enter(key, &order);
            }
            Kind::Sweep => {
                let sweep: SweepRecord = bus.read(key, SweepRecord::VERSION).await?;
                self.blob(bus, Store::Results, &sweep.plan).await?;
                self.enter(key, &sweep);
            }
            Kind::Pack => {
                let pack: PackManifest = bus.read(key, PackManifest::VERSION).await?;
                for part in pack.files.iter().flat_map(|(_, file)| &file.parts) {
                    self.blob(bus, Store::Packs, part).await?;
                }
                self.enter(key, &pack);
            }
            Kind::Weights => {
                let weights: WeightsManifest = bus.read(key, WeightsManifest::VERSION).await?;
                for part in &weights.file.parts {
                    self.blob(bus, Store::Weights, part).await?;
                }
                self.enter(key, &weights);
            }
            Kind::Other => {
                let value: serde_json::Value = bus.read(key, u32::MAX).await?;
                self.enter(key, &value);
            }
        }
        Ok(())
    }

    /// A job that moves on while its blobs are copied is looked at again: its old checkpoints may be gone by then.
    async fn job(&mut self, bus: &Bus, job: JobId) -> Result<(), BackupError> {
        let fail = |source| BackupError::Job { job, source };
        for _ in 0..TRIES {
            let Some(entry) = bus.record(job).await? else { return Ok(()) };
            let mut record = at_rest(&entry);
            if let JobState::Done { .. } = record.state {
                let result = bus.result(job).await.map_err(fail)?;
                for blob in result.blobs() {
                    self.blob(bus, Store::Results, blob).await.map_err(|error| named(job, error))?;
                }
                self.enter(&subjects::result_key(job), &result);
                self.summary.done += 1;
            }
            let lost = self.checkpoints(bus, &record).await?;
            if !lost.is_empty() {
                let now = bus.record(job).await?.map(|entry| entry.record.checkpoints);
                if now.as_ref() != Some(&entry.record.checkpoints) {
                    continue;
                }
                // It is the store that has lost them; the training will find the one before, or start over.
                record.checkpoints.retain(|checkpoint| !lost.contains(&checkpoint.blob));
                record.notes.push(format!("{} unusable checkpoints were left out of a backup", lost.len()));
                self.summary.left_out += lost.len();
            }
            self.summary.jobs += 1;
            self.enter(&subjects::record_key(job), &record);
            return Ok(());
        }
        Err(BackupError::TooFast(job))
    }

    /// Copies the checkpoints of a record; gives those that are not to be had.
    async fn checkpoints(&mut self, bus: &Bus, record: &JobRecord) -> Result<Vec<BlobRef>, BackupError> {
        let mut lost = Vec::new();
        for checkpoint in &record.checkpoints {
            match self.blob(bus, Store::Checkpoints, &checkpoint.blob).await {
                Ok(()) => {}
                Err(BackupError::Bus(
                    BusError::Missing { .. } | BusError::Damaged { .. } | BusError::Stalled { .. },
                )) => lost.push(checkpoint.blob.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }

    /// Copies a blob, unless its bytes are there already.
    async fn blob(&mut self, bus: &Bus, store: Store, blob: &BlobRef) -> Result<(), BackupError> {
        let stored = Stored { store, blob: blob.clone() };
        if self.known.contains(&stored) {
            return Ok(());
        }
        if stored.stem().is_none() {
            let problem = format!("the books refer to `{}`, which is not the name of a blob", blob.name);
            return Err(BackupError::Unusable { path: self.root.clone(), problem });
        }
        let name = format!("{BLOBS}/{}", blob.sha256);
        if !self.sums.contains_key(&name) {
            let path = self.root.join(&name);
            let mut file = File::create(&path).map_err(io(&path))?;
            let full = |source| BusError::File { path: path.clone(), source };
            let read = bus.read_blob(store.bucket(), blob, |piece| file.write_all(piece).map_err(full));
            if let Err(error) = read.await {
                std::fs::remove_file(&path).map_err(io(&path))?;
                return Err(error.into());
            }
            file.sync_all().map_err(io(&path))?;
            self.sums.insert(name, blob.sha256.clone());
            self.summary.blobs += 1;
            self.summary.bytes += blob.size;
        }
        self.known.insert(stored.clone());
        self.blobs.push(stored);
        Ok(())
    }

    fn enter<T: Serialize>(&mut self, key: &str, value: &T) {
        match serde_json::to_value(value) {
            Ok(value) => self.entries.push(Entry { key: key.to_owned(), value }),
            Err(error) => unreachable!("plain data always becomes JSON: {error}"),
        }
    }

    /// Writes the manifest, then the digests of all files.
    fn close(mut self) -> Result<Summary, BackupError> {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { v: Manifest::VERSION, program, entries: self.entries, blobs: self.blobs };
        let path = self.root.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| io(&path)(error.into()))?;
        write(&path, &text)?;
        self.sums.insert(MANIFEST.to_owned(), hex::encode(Sha256::digest(&text)));
        let sums: Vec<String> =
            self.sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        write(&self.root.join(SUMS), sums.concat().as_bytes())?;
        Ok(self.summary)
    }
}

/// The record as it is when nobody works on it: whoever held the job does not in the restored books.
fn at_rest(entry: &BookEntry) -> JobRecord {
    let BookEntry { record, written_nanos, .. } = entry;
    match &record.state {
        JobState::Running { token, .. } => match record.released(token, Release::Restored) {
            // It was last heard of then.
            Ok(released) => released.dated(u64::try_from(written_nanos / 1_000_000_000).ok()),
            Err(fenced) => unreachable!("the holder may always give its job back: {fenced}"),
        },
        JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            record.clone()
        }
    }
}

/// An error of the bus about one job's blob says which job's.
fn named(job: JobId, error: BackupError) -> BackupError {
    match error {
        BackupError::Bus(source) => BackupError::Job { job, source },
        other => other,
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    files::write(path, bytes).map_err(io(path))
}
