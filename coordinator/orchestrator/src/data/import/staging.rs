//! How an import survives `kill -9`: a folder beside the target holds the pack so far, and a journal records how much of
//! it is safely on disk.
//!
//! The folder is named after the subject of the import (options and the source's fingerprint), so that no other import
//! can continue it. A journal line is written after its data is on disk; a torn last line counts as not written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::pack::{Checkpoint, PackWriter};

use super::ImportError;
use super::problems::Problem;
use super::tally::Tally;

/// Raise it whenever the same files give other pixels or landmarks, or journal lines change, so that no build continues
/// an import of a build that would make another pack.
const REVISION: u32 = 2;
const JOURNAL: &str = "journal.jsonl";
const PACK: &str = "pack";

/// What is imported, and how: the first line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) image_size: u32,
    /// The other options that change the content, in words.
    pub(super) options: String,
    /// [`super::source::Source::fingerprint`].
    pub(super) fingerprint: String,
    pub(super) images: usize,
}

/// A journal line: everything up to image `done` is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) done: usize,
    pub(super) checkpoint: Checkpoint,
    /// Counts and problems since the previous line.
    pub(super) tally: Tally,
    pub(super) problems: Vec<Problem>,
}

/// A staged import, locked by this process.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
    journal: File,
}

/// An import at its start, or at the point where an earlier one stopped.
#[derive(Debug)]
pub(super) struct StagedImport {
    pub(super) staging: Staging,
    pub(super) writer: PackWriter,
    /// Images that are staged or have a recorded problem.
    pub(super) done: usize,
    pub(super) tally: Tally,
    pub(super) problems: Vec<Problem>,
    /// Notes for the user about earlier imports.
    pub(super) notes: Vec<String>,
}

/// Begins the import of `subject` into the pack folder `dir`, or continues it.
pub(super) fn begin(dir: &Path, subject: &Subject) -> Result<StagedImport, ImportError> {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (folder, prefix) = (parent(dir), format!(".{name}.import-"));
    let header = header(subject);
    let key = hex::encode(Sha256::digest(format!("{REVISION} {header}")));
    let root = folder.join(format!("{prefix}{}", &key[..16]));
    let mut notes = remove_others(folder, &prefix, &root, subject);

    fs::create_dir_all(&root).map_err(ImportError::read(&root))?;
    let mut staging = Staging { journal: lock(&root)?, root };
    let found = staging.read(&header);
    if let Some(last) = found.entries.last() {
        match PackWriter::resume(&staging.root.join(PACK), dir, subject.image_size, &last.checkpoint) {
            Ok(writer) => {
                staging.cut(found.bytes)?;
                notes.push(format!("continuing at image {} of {}", last.done, subject.images));
                return Ok(StagedImport::after(staging, writer, found.entries, notes));
            }
            Err(error) => {
                notes.push(format!("an interrupted import cannot be continued ({error}); starting over"));
            }
        }
    }
    match staging.start(&header, dir, subject.image_size) {
        Ok(writer) => Ok(StagedImport::after(staging, writer, Vec::new(), notes)),
        Err(error) => {
            staging.remove();
            Err(error)
        }
    }
}

impl StagedImport {
    fn after(staging: Staging, writer: PackWriter, entries: Vec<Entry>, notes: Vec<String>) -> Self {
        let done = entries.last().map_or(0, |last| last.done);
        let (mut tally, mut problems) = (Tally::default(), Vec::new());
        for entry in entries {
            tally.add(&entry.tally);
            problems.extend(entry.problems);
        }
        Self { staging, writer, done, tally, problems, notes }
    }
}

/// The complete lines of a journal, and their size in bytes with the header.
struct Lines {
    entries: Vec<Entry>,
    bytes: u64,
}

impl Staging {
    /// Records `entry`. The caller must have synced its data to disk.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<(), ImportError> {
        let line = serde_json::to_string(entry).map_err(|e| self.failed(e.into()))?;
        let written =
            self.journal.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.journal.sync_data());
        written.map_err(|e| self.failed(e))
    }

    /// Removes the staging folder. If that fails, the next import removes it.
    pub(super) fn remove(self) {
        let _ = fs::remove_dir_all(&self.root);
    }

    fn read(&self, header: &str) -> Lines {
        let mut reader = BufReader::new(&self.journal);
        let mut line = String::new();
        let mut found = Lines { entries: Vec::new(), bytes: 0 };
        loop {
            line.clear();
            let read = reader.read_line(&mut line);
            // A line that is not text is treated like a torn one.
            if read.is_err() || !line.ends_with('\n') {
                break;
            }
            if found.bytes == 0 {
                if line.trim_end() != header {
                    break;
                }
            } else {
                let Ok(entry) = serde_json::from_str(&line) else { break };
                found.entries.push(entry);
            }
            found.bytes += line.len() as u64;
        }
        found
    }

    /// Drops what follows the complete lines.
    fn cut(&mut self, bytes: u64) -> Result<(), ImportError> {
        let cut =
            self.journal.set_len(bytes).and_then(|()| self.journal.seek(SeekFrom::Start(bytes)).map(drop));
        cut.map_err(|e| self.failed(e))
    }

    fn start(&mut self, header: &str, dir: &Path, image_size: u32) -> Result<PackWriter, ImportError> {
        let pack = self.root.join(PACK);
        if pack.exists() {
            fs::remove_dir_all(&pack).map_err(ImportError::read(&pack))?;
        }
        self.cut(0)?;
        fs::create_dir(&pack).map_err(ImportError::read(&pack))?;
        self.journal.write_all(format!("{header}\n").as_bytes()).map_err(|e| self.failed(e))?;
        Ok(PackWriter::stage(&pack, dir, image_size)?)
    }

    fn failed(&self, source: std::io::Error) -> ImportError {
        ImportError::Read { path: self.root.join(JOURNAL), source }
    }
}

fn header(subject: &Subject) -> String {
    // A struct of numbers and strings always has a JSON form.
    serde_json::to_string(subject).unwrap_or_default()
}

/// Opens and locks the journal in `root`. The lock ends with the process, however that ends.
fn lock(root: &Path) -> Result<File, ImportError> {
    let path = root.join(JOURNAL);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let journal = options.open(&path).map_err(ImportError::read(&path))?;
    match journal.try_lock() {
        Ok(()) => Ok(journal),
        Err(TryLockError::WouldBlock) => Err(ImportError::Busy(root.to_owned())),
        Err(TryLockError::Error(source)) => Err(ImportError::Read { path, source }),
    }
}

/// Removes what killed imports of other subjects left for the same target, and returns notes about it. Imports that are
/// still running hold their lock and keep their folders.
fn remove_others(folder: &Path, prefix: &str, mine: &Path, subject: &Subject) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_key = |key: &str| key.len() == 16 && key.bytes().all(|digit| digit.is_ascii_hexdigit());
    let others = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path != mine && name.strip_prefix(prefix).is_some_and(is_key)
    });
    let mut notes = Vec::new();
    for root in others {
        let Ok(journal) = lock(&root) else { continue };
        let mut first = String::new();
        let _ = BufReader::new(&journal).read_line(&mut first);
        let why = match serde_json::from_str::<Subject>(&first) {
            Ok(old) if (old.image_size, &old.options) != (subject.image_size, &subject.options) => {
                format!("its options differ: size {}, {}", old.image_size, old.options)
            }
            Ok(old) if old.fingerprint != subject.fingerprint => "the source has changed".to_owned(),
            Ok(_) | Err(_) => "another version of Ferry wrote it".to_owned(),
        };
        if fs::remove_dir_all(&root).is_ok() {
            notes.push(format!("removed what an interrupted import left: {why}"));
        }
    }
    notes
}

/// The folder that `dir` lies in.
pub(super) fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
