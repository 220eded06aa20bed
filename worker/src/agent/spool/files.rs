//! The files of one job in the spool. They are written atomically, and their version and digest are checked on reading.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::blob::BlobRef;
use shared::bus::Bucket;
use shared::files::{self, Access, Durability};
use shared::metrics::Point;
use shared::mtl::report::EpochReport;
use shared::result::JobResult;
use shared::version::{DecodeError, VersionError, Versions};

use super::super::work::{FinishedWork, Saved, WorkClaim};

const CLAIM: &str = "claim.json";
const RESULT: &str = "result.json";

/// Why a job's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Decode { path: PathBuf, source: serde_json::Error },
    #[error("{} {source}", path.display())]
    Version { path: PathBuf, source: VersionError },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf },
}

/// The spooled work of one job.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) claim: WorkClaim,
    /// Checkpoints, oldest first, without damaged ones.
    pub(crate) saved: Vec<Saved>,
    pub(crate) finished_work: Option<FinishedWork>,
}

#[derive(Serialize, Deserialize)]
struct SavedFacts {
    v: u32,
    epoch: u32,
    step: u32,
    report: Option<StoredReport>,
    sha256: String,
}

impl SavedFacts {
    /// Version of this record's layout. 2: reports of any trainer.
    const VERSION: u32 = 2;
}

/// The layouts of reports: those of version 1 were of one trainer only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredReport {
    Now(Point),
    Earlier(Box<EpochReport>),
}

impl From<StoredReport> for Point {
    fn from(stored: StoredReport) -> Self {
        match stored {
            StoredReport::Now(point) => point,
            StoredReport::Earlier(report) => report.point(),
        }
    }
}

impl Content {
    /// Reads `folder`. Damaged checkpoints and results are skipped with a warning.
    pub(crate) fn read(folder: &Path) -> Result<Self, SpoolError> {
        let claim: WorkClaim = decode(&folder.join(CLAIM), WorkClaim::VERSION)?;
        let mut saved = Vec::new();
        for facts in names(folder).into_iter().filter(|path| is_checkpoint(path)) {
            saved.extend(usable(read_saved(&facts))?);
        }
        let finished_work = if folder.join(RESULT).exists() { usable(read_result(folder))? } else { None };
        Ok(Self { claim, saved, finished_work })
    }
}

/// If one part is damaged, only that part is skipped. If it has a newer version, the whole folder is kept for a newer
/// program.
fn usable<T>(read: Result<T, SpoolError>) -> Result<Option<T>, SpoolError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error @ SpoolError::Version { .. }) => Err(error),
        Err(error @ (SpoolError::Io { .. } | SpoolError::Decode { .. } | SpoolError::Damaged { .. })) => {
            tracing::warn!("{error}; this file is skipped");
            Ok(None)
        }
    }
}

pub(super) fn write_claim(folder: &Path, claim: &WorkClaim) -> Result<(), SpoolError> {
    put(&folder.join(CLAIM), &json(claim), Durability::Cached)
}

pub(super) fn write_saved(folder: &Path, saved: &Saved) -> Result<(), SpoolError> {
    let sha256 = hex::encode(Sha256::digest(&saved.checkpoint));
    let (epoch, step, report) = (saved.epoch, saved.step, saved.report.clone().map(StoredReport::Now));
    let facts = SavedFacts { v: SavedFacts::VERSION, epoch, step, report, sha256 };
    let [facts_path, bytes_path] = saved_paths(folder, (epoch, step));
    put(&bytes_path, &saved.checkpoint, Durability::Cached)?;
    put(&facts_path, &json(&facts), Durability::Cached)
}

pub(super) fn remove_saved(folder: &Path, place: (u32, u32)) {
    for path in saved_paths(folder, place) {
        let _gone = std::fs::remove_file(path);
    }
}

/// A result may be hours of work, so it is synced to disk before this returns.
pub(super) fn write_result(folder: &Path, finished_work: &FinishedWork) -> Result<(), SpoolError> {
    for (blob, bytes) in &finished_work.blobs {
        put(&blob_path(folder, blob), bytes, Durability::Synced)?;
    }
    put(&folder.join(RESULT), &json(&finished_work.result), Durability::Synced)
}

fn read_saved(path: &Path) -> Result<Saved, SpoolError> {
    let facts: SavedFacts = decode(path, SavedFacts::VERSION)?;
    let bytes_path = path.with_extension("bin");
    let checkpoint = bytes(&bytes_path)?;
    if hex::encode(Sha256::digest(&checkpoint)) != facts.sha256 {
        return Err(SpoolError::Damaged { path: bytes_path });
    }
    Ok(Saved { epoch: facts.epoch, step: facts.step, report: facts.report.map(Point::from), checkpoint })
}

fn read_result(folder: &Path) -> Result<FinishedWork, SpoolError> {
    let result: JobResult = decode(&folder.join(RESULT), JobResult::VERSION)?;
    let damaged = || SpoolError::Damaged { path: folder.join(RESULT) };
    result.check().map_err(|_| damaged())?;
    let blobs = result.blobs().map(|blob| {
        blob.check(Bucket::Results.largest()).map_err(|_| damaged())?;
        let path = blob_path(folder, blob);
        let bytes = bytes(&path)?;
        if bytes.len() as u64 != blob.size || hex::encode(Sha256::digest(&bytes)) != blob.sha256 {
            return Err(SpoolError::Damaged { path });
        }
        Ok((blob.clone(), bytes))
    });
    let blobs = blobs.collect::<Result<_, _>>()?;
    Ok(FinishedWork { result, blobs })
}

/// The path of a blob. The caller has checked that `sha256` is a digest.
fn blob_path(folder: &Path, blob: &BlobRef) -> PathBuf {
    folder.join(format!("result-{}.bin", blob.sha256))
}

/// The paths of a checkpoint's facts and bytes. Their order by name is the order of the checkpoints.
fn saved_paths(folder: &Path, (epoch, step): (u32, u32)) -> [PathBuf; 2] {
    ["json", "bin"].map(|kind| folder.join(format!("checkpoint-{epoch:010}-{step:010}.{kind}")))
}

fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"checkpoint-") && path.extension().is_some_and(|kind| kind == "json")
}

/// The folders in `folder`, sorted by name. Hidden ones are unfinished and skipped.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    names(folder).into_iter().filter(|path| path.is_dir() && !hidden(path)).collect()
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    names.sort();
    names
}

fn put(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), SpoolError> {
    files::write_with(path, Access::Owner, durability, bytes)
        .map_err(|source| SpoolError::Io { path: path.to_owned(), source })
}

fn bytes(path: &Path) -> Result<Bytes, SpoolError> {
    let read = std::fs::read(path).map_err(|source| SpoolError::Io { path: path.to_owned(), source })?;
    Ok(read.into())
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("plain data always becomes JSON: {error}"),
    }
}

/// Reads a file of at most version `newest`.
fn decode<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<T, SpoolError> {
    let text = bytes(path)?;
    Versions::up_to(newest).decode(&text).map_err(|error| {
        let path = path.to_owned();
        match error {
            DecodeError::Version(source) => SpoolError::Version { path, source },
            DecodeError::Json(source) => SpoolError::Decode { path, source },
        }
    })
}
