//! The one way to write a file: a regular file is replaced as a whole, anything else is written into.
//!
//! A regular file is written under another name in the same folder, flushed and renamed, so that readers see the old
//! file or the whole new one, even after a power cut. A symbolic link stays, and its target is written. A FIFO, a
//! device or an open descriptor (`/dev/stdout`, `/dev/fd/3`) cannot be replaced: the bytes are written into it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::NamedTempFile;

/// How many symbolic links are followed one after the other: the kernel's own limit.
const LINKS: usize = 40;

/// Who may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the process's umask says; a file that is replaced keeps its permissions.
    Umask,
    /// Only its owner.
    Owner,
}

/// What is on the disk when a write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The file and its name.
    Synced,
    /// Perhaps nothing yet: after a power cut the file may be old or torn. A killed process leaves no torn file.
    Cached,
}

/// Writes `path` with the usual permissions.
///
/// # Errors
/// When the file cannot be written. An existing file is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, Access::Umask, Durability::Synced, bytes)
}

/// Writes `path` for its owner alone.
///
/// # Errors
/// As [`write`].
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, Access::Owner, Durability::Synced, bytes)
}

/// Writes `path`.
///
/// # Errors
/// As [`write`].
pub fn write_with(path: &Path, access: Access, durability: Durability, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path, access)?;
    file.write_all(bytes)?;
    file.finish(durability)
}

/// A file that is being written. It appears at its place with [`Self::finish`]; if dropped earlier, it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Renamed to `place` when it is whole.
    Replace { file: NamedTempFile, place: PathBuf },
    /// Not a regular file.
    Through(File),
}

impl NewFile {
    /// Begins to write the file at `path`.
    ///
    /// # Errors
    /// When nothing can be written there: the folder is missing, permission is denied, or `path` is itself a folder.
    pub fn create(path: &Path, access: Access) -> io::Result<Self> {
        let target = match find(path)? {
            Found::Absent(place) => Target::Replace { file: beside(&place, access)?, place },
            Found::Regular(place, old) => {
                let file = beside(&place, access)?;
                if access == Access::Umask {
                    inherit(file.as_file(), &old)?;
                }
                Target::Replace { file, place }
            }
            Found::Special(file) => Target::Through(file),
        };
        Ok(Self { target })
    }

    /// Moves the file to its place.
    ///
    /// # Errors
    /// When it cannot be flushed or renamed. An existing file is then unchanged.
    pub fn finish(self, durability: Durability) -> io::Result<()> {
        match self.target {
            Target::Replace { file, place } => {
                if durability == Durability::Synced {
                    file.as_file().sync_all()?;
                }
                file.persist(&place).map_err(|failed| failed.error)?;
                if durability == Durability::Synced { sync_folder(folder_of(&place)) } else { Ok(()) }
            }
            Target::Through(mut file) => file.flush(),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Replace { file, .. } => file.as_file_mut().write(bytes),
            Target::Through(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // These files are not buffered.
    }
}

/// What a path leads to.
enum Found {
    /// Nothing yet.
    Absent(PathBuf),
    Regular(PathBuf, fs::Metadata),
    /// Open for writing.
    Special(File),
}

/// Follows links by hand: to replace a file, its real name must be known, even where a link points to nothing yet.
fn find(path: &Path) -> io::Result<Found> {
    let mut place = path.to_owned();
    for _ in 0..LINKS {
        if place.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Errno::ISDIR.into());
        }
        let kind = match place.symlink_metadata() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent(place)),
            Err(error) => return Err(error),
        };
        if kind.is_file() {
            return Ok(Found::Regular(place, kind));
        }
        if kind.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if !kind.is_symlink() {
            return OpenOptions::new().write(true).open(&place).map(Found::Special);
        }
        if is_descriptor(&place) {
            return descriptor(&place).map(Found::Special);
        }
        place = folder_of(&place).join(fs::read_link(&place)?);
    }
    Err(Errno::LOOP.into())
}

/// True for an entry of `/proc/PID/fd`, which may link to something that has no path.
fn is_descriptor(link: &Path) -> bool {
    let folder = folder_of(link).canonicalize();
    folder.is_ok_and(|folder| folder.starts_with("/proc") && folder.ends_with("fd"))
}

/// Opens the descriptor that an entry of `/proc/PID/fd` names. Standard output and error are duplicated, so that they
/// share their position: what this process prints later must not overwrite it. Any other descriptor is appended to.
fn descriptor(link: &Path) -> io::Result<File> {
    let own = fs::canonicalize("/proc/self")?;
    let is_own = folder_of(link).canonicalize()?.starts_with(own);
    let name = link.file_name().unwrap_or_default();
    if is_own && name == "1" {
        io::stdout().flush()?;
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    }
    if is_own && name == "2" {
        return Ok(io::stderr().as_fd().try_clone_to_owned()?.into());
    }
    OpenOptions::new().append(true).open(link)
}

/// A new file in the folder of `place`: a rename does not cross file systems.
fn beside(place: &Path, access: Access) -> io::Result<NamedTempFile> {
    let mode = match access {
        Access::Umask => 0o666, // Less the umask.
        Access::Owner => 0o600,
    };
    // Not derived from the target's name, which may already have the greatest length. `make_in`, because the errors of
    // the other methods would show the temporary name, which means nothing to a reader.
    tempfile::Builder::new().prefix(".ferry-").suffix(".partial").make_in(folder_of(place), |path| {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    })
}

/// Gives `file` the permissions of the file that it replaces, and its owner if this process may set it.
fn inherit(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only root may do this; for everybody else the new file stays their own.
        let _refused = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}

fn folder_of(place: &Path) -> &Path {
    place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename durable. Some file systems cannot sync a folder, and need not.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
