//! The folder of an unfinished pack, and the single step that moves it to its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{FILES, PackError, SAMPLES};

/// A longer chain of links than this is taken for a circle.
const MOST_LINKS: usize = 40;

/// The folder of an unfinished pack; after the swap, of the replaced pack.
#[derive(Debug)]
pub(super) enum Folder {
    /// Removed on drop.
    Own(PathBuf),
    /// Kept on drop: the caller may continue in it or remove it.
    Lent(PathBuf),
}

impl Folder {
    /// A new folder beside `dir`.
    pub(super) fn beside(dir: &Path) -> Result<Self, PackError> {
        let name = dir.file_name().ok_or_else(|| PackError::Occupied(dir.to_owned()))?;
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        let folder = parent(dir);
        fs::create_dir_all(folder).map_err(PackError::io(folder))?;
        remove_abandoned(folder, &prefix);
        for attempt in 0u32.. {
            let path = folder.join(format!("{prefix}{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self::Own(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(PackError::io(&path)(e)),
            }
        }
        Err(PackError::Occupied(dir.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Lent(path) => path,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match self {
            // A failure cannot be handled here; the next writer tries again.
            Self::Own(path) => {
                let _ = fs::remove_dir_all(path);
            }
            Self::Lent(_) => {}
        }
    }
}

/// Removes what killed writers left. A folder is abandoned if nobody holds the lock on its sample list.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let unlocked = || File::open(entry.path().join(SAMPLES)).is_ok_and(|file| file.try_lock().is_ok());
        if entry.file_name().to_string_lossy().starts_with(prefix) && unlocked() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The folder that `dir` leads to after following links. What is written beside it is on the same disk, and so can be
/// renamed to its place in one step.
///
/// # Errors
/// When links form a circle, a link leads to a folder that cannot be made, or `dir` is a mount point.
pub fn destination(dir: &Path) -> Result<PathBuf, PackError> {
    let linked = |to: &Path| PackError::Link { dir: dir.to_owned(), to: to.to_owned() };
    // With a trailing slash the system would follow the link before it can be seen.
    let mut place: PathBuf = dir.components().collect();
    if place.file_name().is_none() {
        place = fs::canonicalize(&place).map_err(PackError::io(dir))?;
    }
    for _ in 0..MOST_LINKS {
        if let Ok(target) = fs::read_link(&place) {
            place = parent(&place).join(target).components().collect();
            continue;
        }
        let linked_away = place != dir.components().collect::<PathBuf>();
        if linked_away && !parent(&place).is_dir() {
            return Err(linked(&place));
        }
        return if is_mount_point(&place) { Err(PackError::MountPoint(place)) } else { Ok(place) };
    }
    Err(linked(&place))
}

/// True when `dir` is on another disk than its parent folder: nothing beside it can be renamed to its place.
fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev());
    matches!((device(dir), device(parent(dir))), (Ok(own), Ok(outer)) if own != outer)
}

/// Refuses to replace a folder that holds anything but a pack.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), PackError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(PackError::Occupied(dir.to_owned()));
        }
        Err(e) => return Err(PackError::io(dir)(e)),
    };
    for entry in entries {
        let name = entry.map_err(PackError::io(dir))?.file_name();
        if !FILES.iter().any(|file| name == *file) {
            return Err(PackError::Occupied(dir.to_owned()));
        }
    }
    Ok(())
}

/// Exchanges the finished folder with what is at `dir`, in one step where the file system can do that.
pub(super) fn put_in_place(partial: &Path, dir: &Path) -> Result<(), PackError> {
    if !dir.exists() {
        return fs::rename(partial, dir).map_err(PackError::io(dir));
    }
    if renameat_with(CWD, partial, CWD, dir, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let aside = partial.with_extension("replaced");
    fs::rename(dir, &aside).map_err(PackError::io(dir))?;
    if let Err(error) = fs::rename(partial, dir) {
        fs::rename(&aside, dir).map_err(PackError::io(dir))?;
        return Err(PackError::io(dir)(error));
    }
    fs::remove_dir_all(&aside).map_err(PackError::io(&aside))
}

pub(super) fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn sync_folder(dir: &Path) -> Result<(), PackError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(PackError::io(dir))
}

/// A buffered file that knows its path and length.
#[derive(Debug)]
pub(super) struct PartFile {
    pub(super) path: PathBuf,
    pub(super) file: BufWriter<File>,
    pub(super) written: u64,
}

impl PartFile {
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, PackError> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(PackError::io(&path))?;
        Ok(Self { path, file: BufWriter::new(file), written: 0 })
    }

    /// Opens a file that a killed writer left and drops everything after its first `length` bytes.
    pub(super) fn cut(dir: &Path, name: &str, length: u64) -> Result<Self, PackError> {
        let path = dir.join(name);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(PackError::io(&path))?;
        let found = file.metadata().map_err(PackError::io(&path))?.len();
        if found < length {
            return Err(PackError::Size { path, found, expected: length });
        }
        let cut = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
        cut.map_err(PackError::io(&path))?;
        Ok(Self { path, file: BufWriter::new(file), written: length })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(PackError::io(&self.path))
    }

    /// Syncs to disk what was written so far.
    pub(super) fn sync(&mut self) -> Result<(), PackError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(PackError::io(&self.path))
    }

    pub(super) fn finish(mut self) -> Result<(), PackError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(PackError::io(&self.path))
    }
}
