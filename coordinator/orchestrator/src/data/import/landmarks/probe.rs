//! Runs every reader of landmarks on one file: the entry point for `fuzz/`.

use std::path::Path;

use super::{Census, Crops, Naming, Pairing, Table, Unit, read, to_image};

const UNITS: [Unit; 2] = [Unit::Fraction, Unit::PixelsFromOne];

/// Reads `path` as the landmarks of one image, as a table of all images and as a table of crops. Returns how many of
/// these succeed. The folder of `path` must be writable.
pub fn probe(path: &Path) -> usize {
    let folder = path.parent().unwrap_or(Path::new("."));
    [one(path, folder), table(path, folder), crops(path)].into_iter().filter(|&found| found).count()
}

fn one(path: &Path, folder: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((_, naming)) = Naming::of(folder, &name, false) else { return false };
    let Ok((points, format)) = read(path, naming) else { return false };
    let mut census = Census::default();
    census.add(&points);
    for unit in census.unit(format.pixels()).into_iter().chain(UNITS) {
        let _landmarks = to_image(&points, unit, [64, 48], None);
    }
    true
}

fn table(path: &Path, scratch: &Path) -> bool {
    // If the unit cannot be inferred, declare one, so that the rows are read.
    let opened = Table::open(path, scratch, None).or_else(|_| Table::open(path, scratch, Some(Unit::Pixels)));
    let Ok((table, rows)) = opened else { return false };
    for (row, name) in rows.iter().enumerate() {
        let _place = pairing().find(&name.image);
        if let Ok(marks) = table.read(row) {
            let _landmarks = to_image(&marks.points, marks.unit, [64, 48], None);
        }
    }
    true
}

fn crops(path: &Path) -> bool {
    let Ok((crops, _problems)) = Crops::open(path, &pairing(), IMAGES.len()) else { return false };
    for crop in (0..IMAGES.len()).filter_map(|place| crops.of(place).ok()) {
        let _landmarks = to_image(&[[0.5; 2]; 68], Unit::Normalized, [64, 48], Some(crop));
    }
    true
}

const IMAGES: [(&str, &str); 3] = [("train/FEAR", "1.jpg"), ("val/FEAR", "1.jpg"), ("", "2.jpg")];

fn pairing() -> Pairing<'static> {
    Pairing::new(IMAGES.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_content_says() {
        let root = tempfile::tempdir().unwrap();
        let found = |name: &str, text: String| {
            std::fs::write(root.path().join(name), text).unwrap();
            probe(&root.path().join(name))
        };
        assert_eq!(found("1.txt", "0.1 0.2\n".repeat(68)), 1);
        assert_eq!(found("1.csv", "image,left,top,size\n2.jpg,1,1,20\n".to_owned()), 1);
        assert_eq!(found("1.npz", "PK".to_owned()), 0);
    }
}
