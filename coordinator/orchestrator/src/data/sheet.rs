//! The contact sheet: a few images of each class, each shown plain and with its landmarks drawn in.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use shared::expression::Expression;
use shared::files;
use shared::pack::{Landmarks, Pack, Split};

/// Images per class.
const COLUMNS: usize = 6;
/// Images are enlarged by whole factors to about this many pixels.
const CELL: u32 = 128;
const GAP: u32 = 2;
const MARK: Rgb<u8> = Rgb([0, 255, 90]);

/// Writes a sheet of `split` to `path`, one row per class. The file name's extension sets the format.
///
/// # Errors
/// When the format is unknown, or the file cannot be written.
pub fn write(pack: &Pack, split: Split, path: &Path) -> Result<(), image::ImageError> {
    let zoom = (CELL / pack.image_size()).max(1);
    let cell = pack.image_size() * zoom + GAP;
    let mut sheet = RgbImage::new(cell * 2 * COLUMNS as u32, cell * Expression::ALL.len() as u32);
    for expression in Expression::ALL {
        let label = Some(expression as u8);
        let members: Vec<usize> = (0..pack.len(split)).filter(|&i| pack.labels(split)[i] == label).collect();
        for (column, &i) in members.iter().step_by((members.len() / COLUMNS).max(1)).take(COLUMNS).enumerate()
        {
            let corner = [2 * column as u32 * cell, expression.index() as u32 * cell];
            let beside = [corner[0] + cell, corner[1]];
            place(&mut sheet, pack, split, i, corner);
            place(&mut sheet, pack, split, i, beside);
            if let Some(landmarks) = pack.landmarks(split, i) {
                mark(&mut sheet, &landmarks, beside, cell - GAP);
            }
        }
    }
    let mut picture = Cursor::new(Vec::new());
    sheet.write_to(&mut picture, ImageFormat::Png)?;
    Ok(files::write(path, picture.get_ref())?)
}

fn place(sheet: &mut RgbImage, pack: &Pack, split: Split, i: usize, corner: [u32; 2]) {
    let (size, pixels) = (pack.image_size(), pack.image(split, i));
    let zoom = (CELL / size).max(1);
    for y in 0..size * zoom {
        for x in 0..size * zoom {
            let at = 3 * ((y / zoom) * size + x / zoom) as usize;
            sheet.put_pixel(corner[0] + x, corner[1] + y, Rgb([pixels[at], pixels[at + 1], pixels[at + 2]]));
        }
    }
}

fn mark(sheet: &mut RgbImage, landmarks: &Landmarks, corner: [u32; 2], side: u32) {
    for point in landmarks {
        let [x, y] = point.map(|v| f64::midpoint(f64::from(v), 1.0) * f64::from(side));
        let inside = |v: f64| (0.0..f64::from(side - 1)).contains(&v);
        if inside(x) && inside(y) {
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                sheet.put_pixel(corner[0] + x as u32 + dx, corner[1] + y as u32 + dy, MARK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synth::synthesize;
    use crate::sweep::plan::SyntheticOptions;

    #[test]
    fn a_sheet_shows_the_first_image_and_its_landmarks_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pack");
        let options =
            SyntheticOptions { train: 12, validation: 6, test: 6, image_size: 32, ..Default::default() };
        synthesize(&dir, &options, &mut |_, _| {}).unwrap();
        let pack = Pack::open(&dir).unwrap();
        let path = root.path().join("sheet.png");
        write(&pack, Split::Train, &path).unwrap();
        let sheet = image::open(&path).unwrap().to_rgb8();
        assert_eq!(sheet.dimensions(), ((32 * 4 + 2) * 12, (32 * 4 + 2) * 6));
        let first = pack.labels(Split::Train).iter().position(|&label| label == Some(0)).unwrap();
        assert_eq!(sheet.get_pixel(0, 0).0, pack.image(Split::Train, first)[..3]);
        let marks = |columns: std::ops::Range<u32>| {
            columns
                .flat_map(|x| (0..130).map(move |y| (x, y)))
                .filter(|&(x, y)| *sheet.get_pixel(x, y) == MARK)
        };
        assert_eq!(marks(0..130).count(), 0);
        assert!(marks(130..260).count() > 40);
    }
}
