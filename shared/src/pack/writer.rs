//! Writes a pack sample by sample into another folder, and moves the complete pack to its place.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::content::{ContentDigest, encode};
use super::folder::{Folder, PartFile, destination, parent, put_in_place, refuse_foreign, sync_folder};
use super::manifest::{Manifest, VERSION};
use super::{
    Checkpoint, LANDMARK_FILE, MANIFEST, MAX_IMAGE_SIZE, PIXELS, PackError, SAMPLES, Sample, Split, check,
    image_bytes, index, resume,
};

/// Writes one pack. Nothing appears at the destination before [`Self::finish`]; if the writer is dropped earlier, an
/// existing pack is unchanged.
#[derive(Debug)]
pub struct PackWriter {
    dir: PathBuf,
    folder: Folder,
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
    /// Begins a pack of `image_size` x `image_size` images for `dir`, in a folder beside it that is removed with the
    /// writer.
    ///
    /// `dir` may be absent, empty or an older pack (which the new one will replace), or a link to one of these.
    ///
    /// # Errors
    /// When `image_size` is out of range, `dir` holds anything but a pack, or a file cannot be made.
    pub fn create(dir: &Path, image_size: u32, provenance: Value) -> Result<Self, PackError> {
        let dir = &destination(dir)?;
        check_request(dir, image_size)?;
        Self::begin(dir, Folder::beside(dir)?, image_size, provenance)
    }

    /// Like [`Self::create`], but writes in the empty folder `staging`, which stays when the writer is dropped, for
    /// [`Self::resume`]. `dir` is a [`destination`], `staging` lies beside it.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn stage(staging: &Path, dir: &Path, image_size: u32) -> Result<Self, PackError> {
        check_request(dir, image_size)?;
        Self::begin(dir, Folder::Lent(staging.to_owned()), image_size, Value::Null)
    }

    fn begin(dir: &Path, folder: Folder, image_size: u32, provenance: Value) -> Result<Self, PackError> {
        let mut index = PartFile::create(folder.path(), SAMPLES)?;
        // Locked until the end, so that other writers do not take this folder for abandoned.
        index.file.get_ref().try_lock().map_err(|e| PackError::io(&index.path)(e.into()))?;
        index.write(index::HEADER.as_bytes())?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
            landmarks: PartFile::create(folder.path(), LANDMARK_FILE)?,
            pixels: PartFile::create(folder.path(), PIXELS)?,
            folder,
            image_size,
            samples: [0; 3],
            with_landmarks: 0,
            provenance,
            content: ContentDigest::new(image_size),
            last: Split::Train,
            ids: HashSet::new(),
        })
    }

    /// Continues after the checkpoint `reached` of a killed writer, with the files that it left in `staging`; what it
    /// wrote after the checkpoint is dropped.
    ///
    /// # Errors
    /// When the staged content does not have the digest of `reached`, another writer is at work in `staging`, or as
    /// [`Self::create`].
    pub fn resume(
        staging: &Path,
        dir: &Path,
        image_size: u32,
        reached: &Checkpoint,
    ) -> Result<Self, PackError> {
        check_request(dir, image_size)?;
        let found = resume::reread(staging, image_size, reached)?;
        // Checked before anything is written, because others may still read a pack in this folder.
        let index = PartFile::cut(staging, SAMPLES, reached.index_bytes)?;
        index.file.get_ref().try_lock().map_err(|e| PackError::io(&index.path)(e.into()))?;
        let manifest = staging.join(MANIFEST);
        if manifest.exists() {
            fs::remove_file(&manifest).map_err(PackError::io(&manifest))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            folder: Folder::Lent(staging.to_owned()),
            index,
            landmarks: PartFile::cut(staging, LANDMARK_FILE, reached.landmark_bytes())?,
            pixels: PartFile::cut(staging, PIXELS, reached.pixel_bytes(image_size))?,
            image_size,
            samples: reached.samples,
            with_landmarks: reached.with_landmarks,
            provenance: Value::Null,
            content: found.content,
            last: found.last,
            ids: found.ids,
        })
    }

    /// Syncs everything added so far to disk, and returns how far that is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, PackError> {
        self.index.sync()?;
        self.landmarks.sync()?;
        self.pixels.sync()?;
        Ok(Checkpoint {
            samples: self.samples,
            with_landmarks: self.with_landmarks,
            index_bytes: self.index.written,
            digest: self.content.clone().finish(),
        })
    }

    /// Number of samples of `split` so far.
    pub fn samples(&self, split: Split) -> u64 {
        self.samples[split as usize]
    }

    /// Sets the origin that the manifest records. It is not part of the digest.
    pub fn set_provenance(&mut self, provenance: Value) {
        self.provenance = provenance;
    }

    /// Appends a sample. Samples come in split order: all of train, then validation, then test.
    ///
    /// # Errors
    /// When the sample breaks a rule of the format or comes out of order, or the disk fails.
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
            return Err(format!("it comes after samples of the {} split", self.last));
        }
        if sample.id.is_empty() || sample.id.contains(char::is_control) {
            return Err("its id is not one line of text".to_owned());
        }
        if self.ids.contains(sample.id) {
            return Err("its id is already taken".to_owned());
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

    /// Syncs everything to disk, moves the pack to its place and returns its content digest.
    ///
    /// # Errors
    /// When the disk fails, or `dir` now holds anything but a pack.
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
        let mut file = PartFile::create(self.folder.path(), MANIFEST)?;
        let text =
            serde_json::to_string_pretty(&manifest).map_err(|e| PackError::io(&file.path)(e.into()))?;
        file.write(text.as_bytes())?;
        file.finish()?;
        sync_folder(self.folder.path())?;
        // Somebody may have put files there in the meantime.
        refuse_foreign(&self.dir)?;
        put_in_place(self.folder.path(), &self.dir)?;
        sync_folder(parent(&self.dir))?;
        Ok(digest)
    }
}

fn check_request(dir: &Path, image_size: u32) -> Result<(), PackError> {
    if !(1..=MAX_IMAGE_SIZE).contains(&image_size) {
        return Err(PackError::ImageSize(image_size));
    }
    refuse_foreign(dir)
}
