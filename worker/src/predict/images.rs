//! The images to predict: a split of a pack, or a folder, which is decoded as in `ferry data import`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use shared::image::{is_clutter, square_rgb};
use shared::pack::{Pack, PackWriter, Sample, Split};
use shared::predicted::{self, Prediction};

use super::PredictError;
use super::order::natural;

/// Images decoded at once; bounds memory.
const BATCH: usize = 256;

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// A pack, or a folder of images, including its subfolders.
    pub images: PathBuf,
    /// The split, if `images` is a pack.
    pub split: Split,
    /// A table with a column `image`: predict only these images, in this order.
    pub list: Option<PathBuf>,
}

/// An image without a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub image: String,
    pub reason: String,
}

/// Decoded images, ready for any model.
#[derive(Debug)]
pub struct Images {
    pub pack: Pack,
    pub split: Split,
    /// Number of requested images, including the broken ones.
    pub found: usize,
    pub broken: Vec<Broken>,
    /// Images that the list does not name.
    pub unlisted: usize,
    list: Option<Vec<String>>,
}

impl Images {
    /// Opens a pack, or decodes a folder to squares of `stored_size` pixels. `progress` is called with the number of
    /// images read and their total number.
    ///
    /// # Errors
    ///
    /// The images or the list cannot be read, no image is left to predict, or a folder is given without `stored_size`.
    pub fn open(
        input: &Input,
        stored_size: Option<u32>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, PredictError> {
        let list = input.list.as_deref().map(read_list).transpose()?;
        if input.images.join("pack.json").is_file() {
            return Self::of_pack(input, list);
        }
        let size = stored_size.ok_or(PredictError::NoStoredSize)?;
        let files = files(&input.images)?;
        let count = files.len();
        let (files, mut broken, unlisted) = chosen(files, list.as_deref());
        if files.is_empty() {
            return Err(nothing(input, count));
        }
        let found = files.len() + broken.len();
        let (pack, unreadable) = decode(&files, size, progress)?;
        broken.extend(unreadable);
        let Some(pack) = pack else {
            let first = broken.first().map_or(String::new(), |b| format!("{}: {}", b.image, b.reason));
            return Err(PredictError::AllBroken { path: input.images.clone(), count: files.len(), first });
        };
        Ok(Self { pack, split: Split::Test, found, broken, unlisted, list })
    }

    fn of_pack(input: &Input, list: Option<Vec<String>>) -> Result<Self, PredictError> {
        let (pack, split) = (Pack::open(&input.images)?, input.split);
        if pack.is_empty(split) {
            return Err(PredictError::EmptySplit { path: input.images.clone(), split });
        }
        let present: HashSet<&str> = (0..pack.len(split)).map(|i| pack.id(split, i)).collect();
        let listed = list.iter().flatten();
        let absent: Vec<&String> = listed.filter(|image| !present.contains(image.as_str())).collect();
        let named = list.as_ref().map_or(present.len(), |list| list.len() - absent.len());
        if named == 0 {
            return Err(nothing(input, present.len()));
        }
        let (found, unlisted) = (named + absent.len(), present.len() - named);
        let broken = absent.into_iter().map(|image| broken(image, "it is not in the pack")).collect();
        Ok(Self { pack, split, found, broken, unlisted, list })
    }

    /// Names in the order of the rows of a model's probabilities.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.pack.len(self.split)).map(|i| self.pack.id(self.split, i))
    }

    /// With a list: the predictions that it names, in its order. Without: all, in the natural order of their names.
    pub(super) fn in_order(&self, mut predictions: Vec<Prediction>) -> Vec<Prediction> {
        match &self.list {
            None => predictions.sort_by(|a, b| natural(&a.image, &b.image)),
            Some(list) => {
                let place: HashMap<&str, usize> =
                    list.iter().enumerate().map(|(place, image)| (image.as_str(), place)).collect();
                predictions.retain(|prediction| place.contains_key(prediction.image.as_str()));
                predictions.sort_by_key(|prediction| place[prediction.image.as_str()]);
            }
        }
        predictions
    }
}

fn broken(image: &str, reason: &str) -> Broken {
    Broken { image: image.to_owned(), reason: reason.to_owned() }
}

fn nothing(input: &Input, found: usize) -> PredictError {
    let images = input.images.clone();
    match &input.list {
        Some(list) if found > 0 => PredictError::NothingListed { list: list.clone(), images },
        Some(_) | None => PredictError::NoImage(images),
    }
}

fn read_list(path: &Path) -> Result<Vec<String>, PredictError> {
    let bytes = fs::read(path).map_err(PredictError::io(path))?;
    let rows = predicted::read_list(&bytes)
        .map_err(|problem| PredictError::List { path: path.to_owned(), problem })?;
    Ok(rows.into_iter().map(|row| row.image).collect())
}

/// The files that should be images, by their path in `folder` with `/` between its parts, in natural order. Hidden
/// files and text files (landmarks) are skipped, as in an import.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, PredictError> {
    if !folder.is_dir() {
        return Err(PredictError::NoFolder(folder.to_owned()));
    }
    let mut files = Vec::new();
    let mut waiting = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = waiting.pop() {
        for entry in fs::read_dir(&folder).map_err(PredictError::io(&folder))? {
            let entry = entry.map_err(PredictError::io(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let text = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
            // Only links to files are followed, because links to folders may form a cycle.
            if entry.file_type().map_err(PredictError::io(&path))?.is_dir() {
                if !is_clutter(&name) {
                    waiting.push((format!("{prefix}{name}/"), path));
                }
            } else if !is_clutter(&name) && !text {
                files.push((format!("{prefix}{name}"), path));
            }
        }
    }
    files.sort_by(|(a, _), (b, _)| natural(a, b));
    Ok(files)
}

type Chosen = (Vec<(String, PathBuf)>, Vec<Broken>, usize);

/// The listed files in the order of the list, the listed files that do not exist, and the number of unlisted files.
fn chosen(files: Vec<(String, PathBuf)>, list: Option<&[String]>) -> Chosen {
    let Some(list) = list else { return (files, Vec::new(), 0) };
    let mut files: BTreeMap<String, PathBuf> = files.into_iter().collect();
    let (mut chosen, mut absent) = (Vec::new(), Vec::new());
    for image in list {
        match files.remove_entry(image) {
            Some(file) => chosen.push(file),
            None => absent.push(broken(image, "it is not in the folder")),
        }
    }
    (chosen, absent, files.len())
}

/// Decodes in parallel, in the order of `files`, into a temporary pack: its files are mapped and already deleted, so
/// they vanish with the process. Returns no pack if nothing could be decoded.
fn decode(
    files: &[(String, PathBuf)],
    size: u32,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Option<Pack>, Vec<Broken>), PredictError> {
    let place = tempfile::tempdir().map_err(PredictError::io(&std::env::temp_dir()))?;
    let dir = place.path().join("images");
    let mut writer = PackWriter::create(&dir, size, Value::Null)?;
    let mut unreadable = Vec::new();
    for (number, batch) in files.chunks(BATCH).enumerate() {
        let decoded: Vec<_> = batch.par_iter().map(|(image, path)| read(image, path, size)).collect();
        for ((image, _), decoded) in batch.iter().zip(decoded) {
            match decoded {
                Ok(pixels) => writer.add(&Sample {
                    split: Split::Test,
                    id: image,
                    label: None,
                    landmarks: None,
                    pixels: &pixels,
                })?,
                Err(reason) => unreadable.push(broken(image, &reason)),
            }
        }
        progress(number * BATCH + batch.len(), files.len());
    }
    if unreadable.len() == files.len() {
        return Ok((None, unreadable));
    }
    writer.finish()?;
    Ok((Some(Pack::open(&dir)?), unreadable))
}

fn read(image: &str, path: &Path, size: u32) -> Result<Vec<u8>, String> {
    // The replacement character stands for bytes that are not text, so two such names may look the same.
    if image.contains(char::is_control) || image.contains(char::REPLACEMENT_CHARACTER) {
        return Err("its name is not one line of text".to_owned());
    }
    Ok(square_rgb(path, size)?.pixels)
}
