//! The one way to write a file: whole or not at all where the target is a regular file, straight through where it is not.
//!
//! A regular file is written beside its place, flushed and renamed, so that readers and a power cut see the old file or
//! the whole new one. A symbolic link stays, and what it points to is written. A FIFO, a device or an open descriptor
//! (`/dev/stdout`, `/dev/fd/3`) cannot be replaced: the bytes are written into it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::NamedTempFile;

/// Symbolic links that are followed one after the other: the kernel's own limit.
const LINKS: usize = 40;

/// Who may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whom the process's umask lets; a file that is replaced passes its permissions on.
    Umask,
    /// Its owner alone.
    Owner,
}

/// What is on the disk when a write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The file and its name.
    Synced,
    /// Perhaps nothing yet: a power cut may leave the old file, or a torn one. A killed process leaves neither torn.
    Cached,
}

/// Writes `path`, as everybody may read it.
///
/// # Errors
/// When the file cannot be written; then what was there before is still there.
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

/// A file that is being written. Nobody sees it at its place before [`Self::finish`]; dropped earlier it leaves nothing.
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
    /// Begins to write what `path` names.
    ///
    /// # Errors
    /// When nothing can be written there: no such folder, no permission, a folder of that name.
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

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When it cannot be flushed or renamed; an existing file is then unchanged.
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
        Ok(()) // Files have no buffer of their own here.
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

/// Follows `path` by hand: to replace a file, its own name must be known, also where a link points to nothing yet.
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

/// True for an entry of `/proc/PID/fd`: what it links to need not be a path at all.
fn is_descriptor(link: &Path) -> bool {
    let folder = folder_of(link).canonicalize();
    folder.is_ok_and(|folder| folder.starts_with("/proc") && folder.ends_with("fd"))
}

/// Standard output and error are shared, with the place up to which they are written: what this process prints later
/// must not overwrite it. Any other descriptor is written at its end.
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
    // Not the target's name, which may be as long as a name can be. `make_in`, because other errors would tell the
    // temporary name, which means nothing to a reader.
    tempfile::Builder::new().prefix(".ferry-").suffix(".partial").make_in(folder_of(place), |path| {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    })
}

/// Gives `file` the permissions of the file that it replaces, and its owner as far as this process may.
fn inherit(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only root may; everybody else's new file is their own.
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
