//! Images that a pack holds more than once, by their stored pixels.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::pack::{Pack, Split};
use shared::plural::count;

/// How many images are hashed between two reports of progress.
const BATCH: usize = 4096;
/// How many groups the text lists; the JSON lists all.
const LISTED: usize = 10;

/// The place of an image in a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImagePosition {
    pub split: Split,
    pub id: String,
    /// Class index.
    pub label: Option<u8>,
}

/// Images with equal pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Groups with images in more than one split. A model would be tested on what it was trained on.
    pub across_splits: Vec<Vec<ImagePosition>>,
    /// Groups whose labels differ.
    pub of_different_labels: Vec<Vec<ImagePosition>>,
    /// Images that repeat an earlier one of their own split, per split.
    pub repeated: [u64; 3],
}

/// Compares all pixels of `pack`; `done` is called with the number of images read and their total.
pub fn find(pack: &Pack, done: &mut dyn FnMut(u64, u64)) -> Duplicates {
    let places: Vec<(Split, usize)> =
        Split::ALL.into_iter().flat_map(|split| (0..pack.len(split)).map(move |i| (split, i))).collect();
    let mut hashes: Vec<([u8; 32], Split, usize)> = Vec::with_capacity(places.len());
    for batch in places.chunks(BATCH) {
        let hash = |&(split, i): &(Split, usize)| (Sha256::digest(pack.image(split, i)).into(), split, i);
        hashes.par_extend(batch.par_iter().map(hash));
        done(hashes.len() as u64, places.len() as u64);
    }
    hashes.sort_unstable();
    let mut groups: Vec<Vec<(Split, usize)>> = hashes
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|group| group.len() > 1)
        .map(|group| group.iter().map(|&(_, split, i)| (split, i)).collect())
        .collect();
    groups.sort_unstable();
    let mut found = Duplicates::default();
    for group in groups {
        found.add(pack, &group);
    }
    found
}

impl Duplicates {
    fn add(&mut self, pack: &Pack, group: &[(Split, usize)]) {
        let named = |&(split, i): &(Split, usize)| ImagePosition {
            split,
            id: pack.id(split, i).to_owned(),
            label: pack.labels(split)[i],
        };
        let places: Vec<ImagePosition> = group.iter().map(named).collect();
        for split in Split::ALL {
            let here = places.iter().filter(|place| place.split == split).count() as u64;
            self.repeated[split as usize] += here.saturating_sub(1);
        }
        let mut labels = places.iter().filter_map(|place| place.label);
        let first = labels.next();
        if labels.any(|label| Some(label) != first) {
            self.of_different_labels.push(places.clone());
        }
        if places.iter().any(|place| place.split != places[0].split) {
            self.across_splits.push(places);
        }
    }
}

impl fmt::Display for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, validation, test] = self.repeated;
        let across = count(self.across_splits.len(), "group");
        let have = if self.of_different_labels.len() == 1 { "has" } else { "have" };
        write!(f, "duplicates  {across} of equal images in several splits, ")?;
        write!(f, "{} {have} different labels; repeated within ", self.of_different_labels.len())?;
        write!(f, "train {train}, validation {validation}, test {test}")?;
        list(f, "several splits", &self.across_splits)?;
        list(f, "different labels", &self.of_different_labels)
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, groups: &[Vec<ImagePosition>]) -> fmt::Result {
    for group in groups.iter().take(LISTED) {
        let places: Vec<String> = group.iter().map(|place| format!("{} {}", place.split, place.id)).collect();
        write!(f, "\n  {what}: {}", places.join(" = "))?;
    }
    if groups.len() > LISTED {
        write!(f, "\n  {what}: and {} more; --json lists all", count(groups.len() - LISTED, "group"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::pack::{PackWriter, Sample};

    use super::*;

    #[test]
    fn equal_pixels_are_found_by_name() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pack");
        let mut writer = PackWriter::create(&dir, 1, Value::Null).unwrap();
        let marks = [[0.5; 2]; 68];
        for (split, id, label, grey) in [
            (Split::Train, "a", Some(0), 1),
            (Split::Train, "b", Some(0), 2),
            (Split::Train, "c", Some(1), 2),
            (Split::Validation, "d", Some(0), 1),
            (Split::Validation, "e", Some(0), 3),
            (Split::Test, "f", None, 1),
            (Split::Test, "g", None, 1),
            (Split::Test, "h", None, 4),
        ] {
            let pixels = [grey; 3];
            writer.add(&Sample { split, id, label, landmarks: Some(&marks), pixels: &pixels }).unwrap();
        }
        writer.finish().unwrap();
        let mut told = Vec::new();
        let found = find(&Pack::open(&dir).unwrap(), &mut |done, total| told.push((done, total)));
        let ids = |groups: &[Vec<ImagePosition>]| -> Vec<String> {
            groups.iter().map(|group| group.iter().map(|place| &*place.id).collect()).collect()
        };
        assert_eq!(ids(&found.across_splits), ["adfg"]);
        assert_eq!(ids(&found.of_different_labels), ["bc"]);
        assert_eq!((found.repeated, told), ([1, 0, 1], vec![(8, 8)]));
        insta::assert_snapshot!(found.to_string(), @r#"
        duplicates  1 group of equal images in several splits, 1 has different labels; repeated within train 1, validation 0, test 1
          several splits: train a = validation d = test f = test g
          different labels: train b = train c
        "#);
    }
}
