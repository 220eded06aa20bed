//! Landmarks from the files that detectors write: what the formats are, and one file of each.

mod arrays;
mod columns;
mod crops;
mod frame;
mod pairing;
mod probe;
mod table;
mod text;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use shared::expression::LANDMARKS;

pub(super) use crops::Crops;
pub(super) use frame::to_image;
pub(super) use pairing::Pairing;
pub use probe::probe;
pub(super) use table::Table;

/// No landmark file of one image is longer.
const MOST_BYTES: u64 = 256 * 1024;

/// The points as a file has them, x then y, in whatever unit.
type Points = [[f32; 2]; LANDMARKS];

/// What a landmark file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// 68 lines `x y`, as NumPy's `savetxt` and DECA's `_kpt2d.txt` have them.
    Text,
    /// iBUG's `.pts`.
    Pts,
    /// Columns `x_0` to `x_67` and `y_0` to `y_67` in any order, as OpenFace writes them.
    Csv,
    /// A NumPy array [68, 2].
    Npy,
    /// An archive of NumPy arrays.
    Npz,
}

/// What the numbers of a landmark file measure. x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// -1 and 1 are the outer edges, as DECA has it.
    Normalized,
    /// 0 and 1 are the outer edges.
    Fraction,
    /// Pixels; 0 is the centre of the first one, as in OpenCV, dlib and OpenFace.
    Pixels,
    /// Pixels; 1 is the centre of the first one, as in MATLAB and iBUG's files.
    PixelsFromOne,
}

/// One image's landmarks as read, with what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Marks {
    pub(super) points: Points,
    pub(super) format: Format,
    pub(super) unit: Unit,
}

/// How a landmark file of one image is named after the image's stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Naming {
    Txt,
    /// `STEM_kpt2d.txt`.
    Kpt2d,
    /// `STEM/STEM_kpt2d.txt`: a folder an image, as DECA's demo leaves them.
    Kpt2dFolder,
    Pts,
    Csv,
    Npy,
    Npz,
}

impl Naming {
    /// The stem and naming of the entry `name` of `folder`; `None` if it is no landmark file.
    pub(super) fn of(folder: &Path, name: &str) -> Option<(String, Self)> {
        if let Some(stem) = name.strip_suffix("_kpt2d.txt") {
            return Some((stem.to_owned(), Self::Kpt2d));
        }
        let path = Path::new(name);
        let Some(ending) = path.extension() else {
            let nested = folder.join(Self::Kpt2dFolder.file(name));
            return nested.is_file().then(|| (name.to_owned(), Self::Kpt2dFolder));
        };
        let ending = ending.to_str()?.to_ascii_lowercase();
        let naming = [Self::Txt, Self::Pts, Self::Csv, Self::Npy, Self::Npz]
            .into_iter()
            .find(|naming| naming.ending() == format!(".{ending}"))?;
        // A file of another case than `file` would look for cannot be opened by it.
        (naming.file(path.file_stem()?.to_str()?) == Path::new(name))
            .then(|| (name[..name.len() - naming.ending().len()].to_owned(), naming))
    }

    /// The file's path in its folder.
    pub(super) fn file(self, stem: &str) -> PathBuf {
        match self {
            Self::Kpt2dFolder => Path::new(stem).join(format!("{stem}{}", self.ending())),
            Self::Txt | Self::Kpt2d | Self::Pts | Self::Csv | Self::Npy | Self::Npz => {
                format!("{stem}{}", self.ending()).into()
            }
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Txt => ".txt",
            Self::Kpt2d | Self::Kpt2dFolder => "_kpt2d.txt",
            Self::Pts => ".pts",
            Self::Csv => ".csv",
            Self::Npy => ".npy",
            Self::Npz => ".npz",
        }
    }
}

/// Reads the landmark file of one image; `unit` is what the caller says about it. The reason if it cannot be used.
pub(super) fn read(path: &Path, naming: Naming, unit: Option<Unit>) -> Result<Marks, String> {
    let bytes = bytes(path)?;
    let (points, format, own_unit) = match naming {
        Naming::Txt | Naming::Kpt2d | Naming::Kpt2dFolder => {
            (text::lines(utf8(&bytes)?)?, Format::Text, Some(Unit::Normalized))
        }
        Naming::Pts => (text::pts(utf8(&bytes)?)?, Format::Pts, Some(Unit::PixelsFromOne)),
        Naming::Csv => (columns::only_row(&bytes)?, Format::Csv, None),
        Naming::Npy => (arrays::one_npy(&bytes)?, Format::Npy, None),
        Naming::Npz => (arrays::one_npz(&bytes)?, Format::Npz, None),
    };
    let unit = unit.or(own_unit).unwrap_or_else(|| frame::recognise(points.as_flattened()));
    Ok(Marks { points, format, unit })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    if !fs::metadata(path).map_err(|e| e.to_string())?.is_file() {
        return Err("not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes are too many for the landmarks of one image"));
    }
    Ok(bytes)
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not text: {e}"))?;
    Ok(text.trim_start_matches('\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_and_stems_belong_together() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("7")).unwrap();
        fs::write(root.path().join("7/7_kpt2d.txt"), "").unwrap();
        fs::create_dir(root.path().join("8")).unwrap();
        for naming in [
            Naming::Txt,
            Naming::Kpt2d,
            Naming::Kpt2dFolder,
            Naming::Pts,
            Naming::Csv,
            Naming::Npy,
            Naming::Npz,
        ] {
            let file = naming.file("7");
            let name = file.iter().next().unwrap().to_str().unwrap();
            assert_eq!(Naming::of(root.path(), name), Some(("7".to_owned(), naming)));
        }
        for other in ["8", "7.jpg", "7.PTS", "notes"] {
            assert_eq!(Naming::of(root.path(), other), None, "{other}");
        }
    }
}
