//! Counts over an import, and those that the manifest keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::image::Conversion;

use super::landmarks::{Format, Unit};

/// How many images were converted in one way, and the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converted {
    pub images: u64,
    pub first: String,
}

/// How many images have landmarks in one format and unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandmarkKind {
    pub format: Format,
    pub unit: Unit,
    pub images: u64,
}

/// Counts over the images that are in the pack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of images by the `WIDTHxHEIGHT` of their file, upright.
    pub sizes: BTreeMap<String, u64>,
    pub conversions: BTreeMap<Conversion, Converted>,
    pub landmarks: Vec<LandmarkKind>,
}

impl Tally {
    pub(super) fn image(&mut self, file: &str, source: [u32; 2], conversions: &[Conversion]) {
        *self.sizes.entry(format!("{}x{}", source[0], source[1])).or_default() += 1;
        for &conversion in conversions {
            let first = || Converted { images: 0, first: file.to_owned() };
            self.conversions.entry(conversion).or_insert_with(first).images += 1;
        }
    }

    pub(super) fn landmarks(&mut self, format: Format, unit: Unit, images: u64) {
        match self.landmarks.iter_mut().find(|kind| kind.format == format && kind.unit == unit) {
            Some(kind) => kind.images += images,
            None => self.landmarks.push(LandmarkKind { format, unit, images }),
        }
    }

    /// Adds the counts of later images.
    pub(super) fn add(&mut self, later: &Self) {
        for (size, images) in &later.sizes {
            *self.sizes.entry(size.clone()).or_default() += images;
        }
        for (&conversion, converted) in &later.conversions {
            let first = || Converted { images: 0, first: converted.first.clone() };
            self.conversions.entry(conversion).or_insert_with(first).images += converted.images;
        }
        for kind in &later.landmarks {
            self.landmarks(kind.format, kind.unit, kind.images);
        }
    }
}

/// What the landmarks were relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The image file.
    Image,
    /// DECA's crop of the image. The landmarks were mapped to the image.
    DecaCrop,
}

/// How many sizes a manifest lists.
const SIZES_LISTED: usize = 16;

/// The provenance of an imported pack, as its manifest keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Always [`Self::SOURCE`].
    pub source: String,
    /// The imported folder, as the user named it.
    pub folder: String,
    /// Sizes of the image files, the most frequent first.
    pub source_sizes: Vec<(String, u64)>,
    /// Number of images with sizes that are not listed.
    pub of_other_sizes: u64,
    pub conversions: BTreeMap<Conversion, Converted>,
    pub landmark_frame: Frame,
    pub landmarks: Vec<LandmarkKind>,
    /// Number of images that are not in the pack.
    pub left_out: u64,
    /// Class folders that the user left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_classes: Vec<String>,
}

impl Origin {
    pub const SOURCE: &str = "imported images";

    pub(super) fn new(folder: String, tally: Tally, landmark_frame: Frame, left_out: u64) -> Self {
        let mut source_sizes: Vec<(String, u64)> = tally.sizes.into_iter().collect();
        source_sizes.sort_by_key(|(size, images)| (std::cmp::Reverse(*images), size.clone()));
        let others = source_sizes.split_off(source_sizes.len().min(SIZES_LISTED));
        Self {
            source: Self::SOURCE.to_owned(),
            folder,
            source_sizes,
            of_other_sizes: others.iter().map(|(_, images)| images).sum(),
            conversions: tally.conversions,
            landmark_frame,
            landmarks: tally.landmarks,
            left_out,
            excluded_classes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_parts_add_up_to_the_counts_of_the_whole() {
        let parts =
            [("a.png", 7, Conversion::Grey), ("b.png", 9, Conversion::Grey)].map(|(file, side, how)| {
                let mut tally = Tally::default();
                tally.image(file, [side, 5], &[how]);
                tally.landmarks(Format::Pts, Unit::PixelsFromOne, 1);
                tally
            });
        let mut whole = parts[0].clone();
        whole.add(&parts[1]);
        assert_eq!(whole.sizes, BTreeMap::from([("7x5".to_owned(), 1), ("9x5".to_owned(), 1)]));
        assert_eq!(whole.conversions[&Conversion::Grey], Converted { images: 2, first: "a.png".to_owned() });
        assert_eq!(
            whole.landmarks,
            [LandmarkKind { format: Format::Pts, unit: Unit::PixelsFromOne, images: 2 }]
        );
    }

    #[test]
    fn the_most_frequent_sizes_are_listed_and_the_others_counted() {
        let mut tally = Tally::default();
        for side in (1..=40).chain([30, 30]) {
            tally.image("x", [side, side], &[]);
        }
        let origin = Origin::new(String::new(), tally, Frame::Image, 0);
        assert_eq!(origin.source_sizes[0], ("30x30".to_owned(), 3));
        assert_eq!((origin.source_sizes.len(), origin.of_other_sizes), (16, 24));
        let stored = serde_json::to_value(&origin).unwrap();
        assert_eq!(serde_json::from_value::<Origin>(stored).unwrap(), origin);
    }
}
