//! Writes a pack as a stream, beside its place, and swaps it in whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

use super::content::{ContentDigest, encode};
use super::manifest::{MAX_IMAGE_SIZE, Manifest, VERSION};
use super::{
    FILES, LANDMARK_FILE, MANIFEST, PIXELS, PackError, SAMPLES, Sample, Split, check, image_bytes, index,
};

/// Writes one pack. Nothing is seen at the destination before [`Self::finish`]; a writer dropped earlier leaves
/// nothing behind, and a pack that was there stays.
#[derive(Debug)]
pub struct PackWriter {
    dir: PathBuf,
    partial: Partial,
    index: PartFile,
    landmarks: PartFile,
    pixels: PartFile,
    image_size: u32,
    samples: [u64; 3],
    with_landmarks: u64,
    provenance: Value,
    content: ContentDigest,
    last: Split,
    ids: HashSet<String>,
}

impl PackWriter {
    /// Begins a pack of `image_size` x `image_size` images that will lie in `dir`, in a folder beside it.
    ///
    /// `dir` may be absent, empty or an older pack (which the new one will replace), nothing else.
    pub fn create(dir: &Path, image_size: u32, provenance: Value) -> Result<Self, PackError> {
        if !(1..=MAX_IMAGE_SIZE).contains(&image_size) {
            return Err(PackError::ImageSize(image_size));
        }
        refuse_foreign(dir)?;
        let partial = Partial::create(dir)?;
        let mut index = PartFile::create(&partial.path, SAMPLES)?;
        // Held until the end: tells other writers that this unfinished folder is not abandoned.
        index.file.get_ref().try_lock().map_err(|e| PackError::io(&index.path)(e.into()))?;
        index.write(index::HEADER.as_bytes())?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
            landmarks: PartFile::create(&partial.path, LANDMARK_FILE)?,
            pixels: PartFile::create(&partial.path, PIXELS)?,
            partial,
            image_size,
            samples: [0; 3],
            with_landmarks: 0,
            provenance,
            content: ContentDigest::new(image_size),
            last: Split::Train,
            ids: HashSet::new(),
        })
    }

    /// Appends a sample. Samples come in split order: all of train, then validation, then test.
    pub fn add(&mut self, sample: &Sample<'_>) -> Result<(), PackError> {
        if sample.split > self.last {
            self.last = sample.split;
            self.ids.clear();
        }
        self.check(sample).map_err(|reason| PackError::Sample {
            split: sample.split,
            id: sample.id.to_owned(),
            reason,
        })?;
        self.ids.insert(sample.id.to_owned());
        self.index.write(index::line(sample).as_bytes())?;
        if let Some(landmarks) = sample.landmarks {
            self.landmarks.write(&encode(landmarks))?;
            self.with_landmarks += 1;
        }
        self.pixels.write(sample.pixels)?;
        self.content.add(sample);
        self.samples[sample.split as usize] += 1;
        Ok(())
    }

    fn check(&self, sample: &Sample<'_>) -> Result<(), String> {
        check(sample.split, sample.label, sample.landmarks.is_some())?;
        if sample.split < self.last {
            return Err(format!("it comes after {} samples", self.last));
        }
        if sample.id.is_empty() || sample.id.contains(char::is_control) {
            return Err("its id is not one line of text".to_owned());
        }
        if self.ids.contains(sample.id) {
            return Err("its id is taken".to_owned());
        }
        let bytes = image_bytes(self.image_size);
        if sample.pixels.len() != bytes {
            return Err(format!("it has {} bytes of pixels, not {bytes}", sample.pixels.len()));
        }
        if sample.landmarks.is_some_and(|points| points.iter().flatten().any(|v| !v.is_finite())) {
            return Err("a landmark is not a finite number".to_owned());
        }
        Ok(())
    }

    /// Makes everything durable, moves the pack to its place and returns its content digest.
    pub fn finish(self) -> Result<String, PackError> {
        let digest = self.content.finish();
        let manifest = Manifest {
            version: VERSION,
            image_size: self.image_size,
            samples: self.samples,
            with_landmarks: self.with_landmarks,
            index_bytes: self.index.written,
            digest: digest.clone(),
            provenance: self.provenance,
        };
        self.index.finish()?;
        self.landmarks.finish()?;
        self.pixels.finish()?;
        let mut file = PartFile::create(&self.partial.path, MANIFEST)?;
        let text =
            serde_json::to_string_pretty(&manifest).map_err(|e| PackError::io(&file.path)(e.into()))?;
        file.write(text.as_bytes())?;
        file.finish()?;
        sync_folder(&self.partial.path)?;
        // What was written meanwhile must not be lost either.
        refuse_foreign(&self.dir)?;
        put_in_place(&self.partial.path, &self.dir)?;
        sync_folder(parent(&self.dir))?;
        Ok(digest)
    }
}

/// The unfinished pack's folder; after the swap, the replaced pack's. Removed on drop.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(dir: &Path) -> Result<Self, PackError> {
        let name = dir.file_name().ok_or_else(|| PackError::Occupied(dir.to_owned()))?;
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        let folder = parent(dir);
        fs::create_dir_all(folder).map_err(PackError::io(folder))?;
        remove_abandoned(folder, &prefix);
        for attempt in 0u32.. {
            let path = folder.join(format!("{prefix}{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(PackError::io(&path)(e)),
            }
        }
        Err(PackError::Occupied(dir.to_owned()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing sensible can be done about a failure here; the next writer tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what killed writers left: their lock on the sample list went with them.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let unlocked = || File::open(entry.path().join(SAMPLES)).is_ok_and(|file| file.try_lock().is_ok());
        if entry.file_name().to_string_lossy().starts_with(prefix) && unlocked() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder that holds anything but a pack is never replaced.
fn refuse_foreign(dir: &Path) -> Result<(), PackError> {
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

/// Swaps the finished folder with what is at `dir`, in one step where the file system can.
fn put_in_place(partial: &Path, dir: &Path) -> Result<(), PackError> {
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

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(dir: &Path) -> Result<(), PackError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(PackError::io(dir))
}

/// A buffered file that knows its path and length.
#[derive(Debug)]
struct PartFile {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl PartFile {
    fn create(dir: &Path, name: &str) -> Result<Self, PackError> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(PackError::io(&path))?;
        Ok(Self { path, file: BufWriter::new(file), written: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(PackError::io(&self.path))
    }

    fn finish(mut self) -> Result<(), PackError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(PackError::io(&self.path))
    }
}
