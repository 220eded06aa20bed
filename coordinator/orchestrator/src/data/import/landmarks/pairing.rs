//! Finds the image that a row of a table means: by its stem, and by as many of its folders as the row names.

use std::collections::HashMap;

use crate::data::import::names::{stem_of_image, stem_of_row};

/// The images that rows can mean.
#[derive(Debug)]
pub(in super::super) struct Pairing<'a> {
    /// Folders, name and place of each image, by stem.
    images: HashMap<&'a str, Vec<(&'a str, &'a str, usize)>>,
}

impl<'a> Pairing<'a> {
    /// `images` are (folders, file name), such as ("training_set_synthetic_images/FEAR", "12.jpg").
    pub(in super::super) fn new(images: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut by_stem: HashMap<&str, Vec<_>> = HashMap::new();
        for (place, (folders, name)) in images.enumerate() {
            by_stem.entry(stem_of_image(name)).or_default().push((folders, name, place));
        }
        Self { images: by_stem }
    }

    /// The place of the image that `row` names, with or without an extension and with any number of folders. The error
    /// is the reason if there is none, or more than one.
    pub(in super::super) fn find(&self, row: &str) -> Result<usize, String> {
        let row = row.replace('\\', "/");
        let (folders, name) = row.rsplit_once('/').unwrap_or(("", &row));
        let of_stem = self.images.get(name).or_else(|| self.images.get(stem_of_row(name)));
        let mut found: Vec<_> =
            of_stem.into_iter().flatten().filter(|image| ends_alike(image.0, folders)).collect();
        // Of several images with one stem, the row means the one with the extension that it gives.
        if found.iter().any(|image| image.1 == name) {
            found.retain(|image| image.1 == name);
        }
        match found[..] {
            [(_, _, only)] => Ok(*only),
            [] => Err("belongs to no image".to_owned()),
            [..] => Err(format!("may mean {} images; write their folders before the name", found.len())),
        }
    }
}

/// True if the shorter of two chains of folders is the end of the longer one.
fn ends_alike(a: &str, b: &str) -> bool {
    let named = |folder: &&str| !folder.is_empty() && *folder != ".";
    a.split('/').rev().filter(named).zip(b.split('/').rev().filter(named)).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases 7 and 12: of two images with one stem a row means the one with its extension; a number after a dot is not
    /// one.
    #[test]
    fn endings_and_dots_are_told_apart() {
        let images = [("a", "1.jpg"), ("a", "1.png"), ("a", "frame.0001.jpg"), ("a", "frame.jpg")];
        let pairing = Pairing::new(images.into_iter());
        for (row, place) in
            [("1.jpg", 0), ("a/1.png", 1), ("frame.0001.jpg", 2), ("frame.0001", 2), ("frame.png", 3)]
        {
            assert_eq!(pairing.find(row), Ok(place), "{row}");
        }
        assert!(pairing.find("1").unwrap_err().contains("may mean 2 images"));
        assert!(pairing.find("frame.0002").unwrap_err().contains("no image"));
    }

    #[test]
    fn rows_find_their_image_by_as_many_folders_as_they_name() {
        let images =
            [("train/FEAR", "1.jpg"), ("train/ANGER", "1.jpg"), ("val/FEAR", "1.jpg"), ("test", "v1.2.png")];
        let pairing = Pairing::new(images.into_iter());
        for (row, place) in [
            ("train/FEAR/1.jpg", 0),
            ("train/FEAR/1", 0),
            ("./ANGER/1.png", 1),
            ("/data/faces/val/FEAR/1.jpg", 2),
            ("val\\FEAR\\1", 2),
            ("v1.2", 3),
            ("v1.2.png", 3),
        ] {
            assert_eq!(pairing.find(row), Ok(place), "{row}");
        }
        for (row, reason) in [
            ("1.jpg", "may mean 3 images"),
            ("FEAR/1.jpg", "may mean 2 images"),
            ("HAPPINESS/1", "no image"),
            ("2", "no image"),
            ("", "no image"),
        ] {
            assert!(pairing.find(row).unwrap_err().contains(reason), "{row}");
        }
    }
}
