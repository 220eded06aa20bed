//! An opened source: images and their landmarks, which any thread can read in any order.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use shared::image::{Picture, square_rgb};
use shared::pack::{Landmarks, Split};

use super::landmarks::{
    self, Census, Crops, Format, IgnoredRow, Marks, Pairing, Table, Unit, none_usable, to_image,
};
use super::layout::{self, Candidate, Found, LandmarksAt};
use super::problems::{Consequence, Reason};
use super::tally::Frame;
use super::{ImportError, ImportOptions};

/// Everything that an import reads.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) found: Found,
    image_size: u32,
    /// The declared unit of all landmarks.
    unit: Option<Unit>,
    /// The inferred units, by the format of landmark files.
    judged: BTreeMap<Format, Unit>,
    table: Option<Table>,
    crops: Option<Crops>,
    /// Tables of landmarks and crops.
    tables: Vec<PathBuf>,
}

/// An image for the pack.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) picture: Picture,
    pub(super) landmarks: Option<(Landmarks, Format, Unit)>,
    /// What is wrong with its landmarks, or why it has none, although its split has some.
    pub(super) note: Option<(Reason, Consequence)>,
}

impl Source {
    /// Finds and opens everything that `options` name. `scratch` is a folder with room for a table of landmarks.
    pub(super) fn open(options: &ImportOptions, scratch: &Path) -> Result<Self, ImportError> {
        let default = options.source.join("landmarks");
        let landmarks = options.landmarks.as_ref().unwrap_or(&default);
        if options.landmarks.is_some() && !landmarks.exists() {
            return Err(ImportError::NoLandmarks(landmarks.clone()));
        }
        let found = layout::find(options, landmarks)?;
        let mut source = Self {
            found,
            image_size: options.image_size,
            unit: options.landmark_unit,
            judged: BTreeMap::new(),
            table: None,
            crops: None,
            tables: Vec::new(),
        };
        if landmarks.is_file() {
            source.open_table(landmarks, scratch)?;
        } else if source.unit.is_none() {
            source.judge_units()?;
        }
        if let Some(path) = &options.landmark_crops {
            source.open_crops(path)?;
        }
        Ok(source)
    }

    fn open_table(&mut self, path: &Path, scratch: &Path) -> Result<(), ImportError> {
        std::fs::create_dir_all(scratch).map_err(ImportError::read(scratch))?;
        let unusable = |reason| ImportError::LandmarkTable { path: path.to_owned(), reason };
        let (table, rows) = Table::open(path, scratch, self.unit).map_err(unusable)?;
        let mut places = vec![None; self.found.candidates.len()];
        let mut ignored = Vec::new();
        let pairing = pairing(&self.found);
        for (i, row) in rows.iter().enumerate() {
            let reason = match pairing.find(&row.image) {
                Ok(place) if places[place].is_none_or(|before| !table.has_points(before)) => {
                    places[place] = Some(i);
                    continue;
                }
                Ok(_) => "the image already has a row".to_owned(),
                Err(reason) => reason,
            };
            ignored.push(IgnoredRow { at: format!("{}: {:?}", row.at, row.image), reason });
        }
        if places.iter().all(Option::is_none) {
            return Err(unusable(none_usable(&ignored)));
        }
        for (candidate, row) in self.found.candidates.iter_mut().zip(places) {
            candidate.landmarks = row.map_or(LandmarksAt::Nowhere, LandmarksAt::Row);
        }
        for folder in &mut self.found.folders {
            folder.landmarks_expected = folder.split != Split::Test;
        }
        self.table = Some(table);
        self.note_rows(path, ignored);
        Ok(())
    }

    fn open_crops(&mut self, path: &Path) -> Result<(), ImportError> {
        let images = self.found.candidates.len();
        let opened = Crops::open(path, &pairing(&self.found), images);
        let (crops, ignored) =
            opened.map_err(|reason| ImportError::LandmarkTable { path: path.to_owned(), reason })?;
        self.crops = Some(crops);
        self.note_rows(path, ignored);
        Ok(())
    }

    fn note_rows(&mut self, path: &Path, rows: Vec<IgnoredRow>) {
        let file = self.found.shown(path);
        for IgnoredRow { at, reason } in rows {
            self.found.ignore(file.clone(), Reason { place: Some(at), text: reason });
        }
        self.tables.push(path.to_owned());
    }

    /// Infers the unit of each format from all its landmark files together.
    fn judge_units(&mut self) -> Result<(), ImportError> {
        let found = &self.found;
        let count = |mut counted: BTreeMap<Format, Census>, candidate: &Candidate| {
            if let Some((path, naming)) = found.landmark_file(candidate)
                && let Ok((points, format)) = landmarks::read(&path, naming)
            {
                counted.entry(format).or_default().add(&points);
            }
            counted
        };
        let merge = |mut one: BTreeMap<Format, Census>, other: BTreeMap<Format, Census>| {
            for (format, census) in other {
                let sum = one.entry(format).or_default();
                *sum = sum.merge(census);
            }
            one
        };
        let counted = found.candidates.par_iter().fold(BTreeMap::new, count).reduce(BTreeMap::new, merge);
        for (format, census) in counted {
            let unit = census.unit(format.pixels());
            let unit = unit.map_err(|reason| ImportError::LandmarkUnit { format, reason })?;
            self.judged.insert(format, unit);
        }
        Ok(())
    }

    pub(super) fn frame(&self) -> Frame {
        if self.crops.is_some() { Frame::DecaCrop } else { Frame::Image }
    }

    /// Reads the image at `place` and its landmarks; the reason if it cannot be used.
    pub(super) fn read(&self, place: usize) -> Result<Read, Reason> {
        let candidate = &self.found.candidates[place];
        let folder = self.found.folder(candidate);
        let marks = match self.marks(candidate) {
            Ok(None) if folder.landmarks_expected || folder.split == Split::Train => {
                Err("it has no landmarks".into())
            }
            marks => marks,
        };
        // A training image without landmarks cannot be packed, so there is no need to decode it.
        if folder.split == Split::Train {
            marks.as_ref().map_err(Clone::clone)?;
        }
        let picture = square_rgb(&self.found.source.join(self.found.file(candidate)), self.image_size)?;
        let placed = marks.and_then(|marks| {
            let Some(marks) = marks else { return Ok(None) };
            let crop = self.crops.as_ref().map(|crops| crops.of(place)).transpose()?;
            let landmarks = to_image(&marks.points, marks.unit, picture.source, crop)
                .map_err(|reason| self.about_landmarks(candidate, reason))?;
            Ok(Some((landmarks, marks.format, marks.unit)))
        });
        match placed {
            Ok(landmarks) => {
                let doubt =
                    landmarks.as_ref().and_then(|(points, _, unit)| self.doubt(candidate, points, *unit));
                Ok(Read { picture, landmarks, note: doubt.map(|reason| (reason, Consequence::Kept)) })
            }
            Err(reason) if folder.split == Split::Train => Err(reason),
            Err(reason) => {
                Ok(Read { picture, landmarks: None, note: Some((reason, Consequence::NoLandmarks)) })
            }
        }
    }

    /// What speaks against the unit of these landmarks of an image, if it was inferred.
    fn doubt(&self, candidate: &Candidate, points: &Landmarks, unit: Unit) -> Option<Reason> {
        if self.unit.is_some() || self.crops.is_some() {
            return None;
        }
        Some(self.about_landmarks(candidate, landmarks::doubt(points, unit)?.to_owned()))
    }

    fn marks(&self, candidate: &Candidate) -> Result<Option<Marks>, Reason> {
        let marks = match (candidate.landmarks, &self.table) {
            (LandmarksAt::Row(row), Some(table)) => Some(table.read(row)),
            (LandmarksAt::Row(_), None) => None,
            (LandmarksAt::Nowhere | LandmarksAt::Root(_) | LandmarksAt::Beside(_), _) => {
                let file = self.found.landmark_file(candidate);
                file.map(|(path, naming)| {
                    let (points, format) = landmarks::read(&path, naming)?;
                    let judged = self.judged.get(&format).copied().unwrap_or(Unit::Normalized);
                    Ok(Marks { points, format, unit: self.unit.unwrap_or(judged) })
                })
            }
        };
        marks.transpose().map_err(|reason| self.about_landmarks(candidate, reason))
    }

    fn about_landmarks(&self, candidate: &Candidate, text: String) -> Reason {
        let file = self.found.landmark_file(candidate).map(|(path, _)| path);
        let file = file.as_ref().or(self.tables.first()).map(|path| self.found.shown(path));
        Reason { place: file.map(|file| format!("landmarks {}", file.display())), text }
    }

    /// SHA-256 over what determines the pack's content and can be seen without reading images: names, labels, sizes and
    /// modification times. An import may continue another one only if this is equal.
    pub(super) fn fingerprint(&self) -> String {
        let stats: Vec<[u8; 64]> =
            self.found.candidates.par_iter().map(|candidate| self.stat(candidate)).collect();
        let mut hash = Sha256::new();
        for folder in &self.found.folders {
            hash.update(format!("{}\0{}\0", folder.split, folder.path));
        }
        for (candidate, stat) in self.found.candidates.iter().zip(stats) {
            hash.update(format!("{}\0{}\0", candidate.folder, candidate.name));
            hash.update([candidate.label.map_or(u8::MAX, |class| class)]);
            hash.update(stat);
        }
        for table in &self.tables {
            hash.update(stamp(table));
        }
        hex::encode(hash.finalize())
    }

    /// The place of an image's landmarks, and the stamps of both files.
    fn stat(&self, candidate: &Candidate) -> [u8; 64] {
        let mut stat = [0; 64];
        let (path, _) = self.found.landmark_file(candidate).unzip();
        stat[..28].copy_from_slice(&stamp(&self.found.source.join(self.found.file(candidate))));
        stat[28..56].copy_from_slice(&path.map_or([0; 28], |path| stamp(&path)));
        let (kind, row) = match candidate.landmarks {
            LandmarksAt::Nowhere => (0, 0),
            LandmarksAt::Root(naming) => (1, naming as u32),
            LandmarksAt::Beside(naming) => (2, naming as u32),
            LandmarksAt::Row(row) => (3, row as u32),
        };
        stat[56..60].copy_from_slice(&u32::to_le_bytes(kind));
        stat[60..].copy_from_slice(&row.to_le_bytes());
        stat
    }
}

/// Kind, length and modification time of a file; zeros if there is none.
fn stamp(path: &Path) -> [u8; 28] {
    let changed = |about: &Metadata| {
        let since = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_nanos())
    };
    let mut stamp = [0; 28];
    if let Ok(about) = std::fs::metadata(path) {
        stamp[..8].copy_from_slice(&about.len().to_le_bytes());
        stamp[8..24].copy_from_slice(&changed(&about).unwrap_or_default().to_le_bytes());
        stamp[24] = 1 + u8::from(about.is_file());
    }
    stamp
}

fn pairing(found: &Found) -> Pairing<'_> {
    Pairing::new(
        found.candidates.iter().map(|image| (found.folder(image).path.as_str(), image.name.as_str())),
    )
}
