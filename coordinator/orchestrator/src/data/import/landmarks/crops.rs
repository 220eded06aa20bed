//! Reads where each of DECA's crops is in its image: a table with one row per image.

use std::fs::File;
use std::path::Path;

use shared::table::{Header, Row, TableReader};

use super::Pairing;
use super::frame::Crop;
use super::table::{IgnoredRow, none_usable};

const TFORM: [&str; 6] = ["m00", "m01", "m02", "m10", "m11", "m12"];
const SQUARE: [&str; 3] = ["left", "top", "size"];
const CENTRE: [&str; 3] = ["center_x", "center_y", "size"];

/// The crop of each image, by the image's place; `None` if the table has no usable row for it.
#[derive(Debug)]
pub(in super::super) struct Crops(Vec<Option<Crop>>);

/// The kind of columns that a table has, and their places.
enum Layout {
    /// The first two rows of `tform` of DECA's `datasets.py`, from image pixels to crop pixels.
    Tform([usize; 6]),
    /// Corner and side of the square.
    Square([usize; 3]),
    /// `center` and `size` of DECA's `datasets.py`.
    Centre([usize; 3]),
}

impl Crops {
    /// Reads the table at `path` for `images` images. Also returns the rows that were ignored. The error is the reason
    /// why the table cannot be used at all.
    pub(in super::super) fn open(
        path: &Path,
        pairing: &Pairing<'_>,
        images: usize,
    ) -> Result<(Self, Vec<IgnoredRow>), String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut table = TableReader::new(file).map_err(|e| e.to_string())?;
        let header = table.header();
        let name = header.image_place().ok_or("the header has no column `image`")?;
        let layout = Layout::of(header)
            .ok_or_else(|| format!("the header has neither {TFORM:?} nor {SQUARE:?} nor {CENTRE:?}"))?;
        let (mut crops, mut ignored) = (vec![None; images], Vec::new());
        while let Some(row) = table.next_row().map_err(|e| e.to_string())? {
            let image = row.get(name).unwrap_or_default();
            let taken = pairing.find(image).and_then(|place| match crops[place] {
                Some(_) => Err("the image already has a row".to_owned()),
                None => layout.crop(&row).map(|crop| crops[place] = Some(crop)),
            });
            if let Err(reason) = taken {
                ignored.push(IgnoredRow { at: format!("line {}: {image:?}", row.line()), reason });
            }
        }
        if crops.iter().all(Option::is_none) {
            return Err(none_usable(&ignored));
        }
        Ok((Self(crops), ignored))
    }

    /// The crop of the image at `place`, or the reason if it has none.
    pub(in super::super) fn of(&self, place: usize) -> Result<Crop, String> {
        self.0[place].ok_or_else(|| "the table of crops has no usable row for it".to_owned())
    }
}

impl Layout {
    fn of(header: &Header) -> Option<Self> {
        fn places<const N: usize>(header: &Header, names: [&str; N]) -> Option<[usize; N]> {
            let found: Option<Vec<usize>> = names.iter().map(|name| header.place(name)).collect();
            found?.try_into().ok()
        }
        places(header, TFORM)
            .map(Self::Tform)
            .or_else(|| places(header, SQUARE).map(Self::Square))
            .or_else(|| places(header, CENTRE).map(Self::Centre))
    }

    fn crop(&self, row: &Row<'_>) -> Result<Crop, String> {
        row.check_width()?;
        let value = |place: usize| row.number::<f64>(place);
        let crop = match *self {
            Self::Tform(places) => {
                let mut rows = [0.0; 6];
                for (number, place) in rows.iter_mut().zip(places) {
                    *number = value(place)?;
                }
                Crop::from_tform([rows[0], rows[1], rows[2]], [rows[3], rows[4], rows[5]])
            }
            Self::Square([left, top, side]) => Crop::from_square(value(left)?, value(top)?, value(side)?),
            Self::Centre([x, y, side]) => {
                let half = value(side)? / 2.0;
                Crop::from_square(value(x)? - half, value(y)? - half, 2.0 * half)
            }
        };
        crop.ok_or_else(|| "the crop is impossible".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_layouts_say_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("crops.csv");
        let images = [("train/FEAR", "1.jpg"), ("train/FEAR", "2.jpg")];
        let pairing = Pairing::new(images.into_iter());
        for text in [
            "image,left,top,size\n1.jpg,20,10,44.6\n2.jpg,0,0,0\n9,1,1,1\n1,0,0,9\n",
            "image,center_x,center_y,size\nFEAR/1,42.3,32.3,44.6\n2,5,5\n9,1,1,1\n1,0,0,9\n",
            "m00,m01,m02,m10,m11,m12,image\n5,0,-100,0,5,-50,1\n0,0,0,0,0,0,2\n1,0,0,0,1,0,9\n1,0,0,0,1,0,1\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let (crops, problems) = Crops::open(&path, &pairing, 2).unwrap();
            let corner = super::super::to_image(
                &super::super::units::tests::face([-1.0; 2], 0.5),
                super::super::Unit::Normalized,
                [100, 50],
                Some(crops.of(0).unwrap()),
            );
            let [x, y] = corner.unwrap()[0];
            assert!((x + 0.6).abs() < 1e-5 && (y + 0.6).abs() < 1e-5, "{text}: {x}, {y}");
            assert!(crops.of(1).is_err());
            assert_eq!(problems.len(), 3, "{problems:?}");
            assert!(problems[0].at.starts_with("line 3: \"2"), "{problems:?}");
            assert!(problems[1].reason.contains("no image"), "{problems:?}");
            assert!(problems[2].reason.contains("already has a row"), "{problems:?}");
        }
        std::fs::write(&path, "image,left,top,size\n9,1,1,1\n").unwrap();
        let error = Crops::open(&path, &pairing, 2).unwrap_err();
        assert_eq!(error, "none of its rows can be used; line 2: \"9\" belongs to no image");
        std::fs::write(&path, "image,left,top\n").unwrap();
        assert!(Crops::open(&path, &pairing, 2).unwrap_err().contains("neither"));
    }
}
