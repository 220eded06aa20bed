//! Reads landmarks from the files that detectors write.

mod arrays;
mod columns;
mod crops;
mod frame;
mod pairing;
mod probe;
mod table;
mod text;
mod units;

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
pub(super) use table::{IgnoredRow, Table, none_usable};
pub(super) use units::{Census, doubt};

/// The most bytes of a landmark file of one image.
const MOST_BYTES: u64 = 256 * 1024;

/// Points (x, y) as in the file, in any unit.
type Points = [[f32; 2]; LANDMARKS];

/// The format of landmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// 68 lines `x y`, as in NumPy's `savetxt` and DECA's `_kpt2d.txt`.
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

impl Format {
    /// The kind of pixels that its numbers are, if they are pixels.
    pub(super) fn pixels(self) -> Unit {
        match self {
            Self::Pts => Unit::PixelsFromOne,
            Self::Text | Self::Csv | Self::Npy | Self::Npz => Unit::Pixels,
        }
    }

    /// The name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text files",
            Self::Pts => "pts files",
            Self::Csv => "CSV",
            Self::Npy => "npy files",
            Self::Npz => "NPZ",
        }
    }
}

/// The unit of landmarks; x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// -1 and 1 are the outer edges, as in DECA.
    Normalized,
    /// 0 and 1 are the outer edges.
    Fraction,
    /// Pixels; 0 is the centre of the first one, as in OpenCV, dlib and OpenFace.
    Pixels,
    /// Pixels; 1 is the centre of the first one, as in MATLAB and iBUG's files.
    PixelsFromOne,
}

/// The landmarks of one image, as in the file.
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
    /// `STEM/STEM_kpt2d.txt`: a folder per image, as DECA's demo writes them.
    Kpt2dFolder,
    Pts,
    Csv,
    Npy,
    Npz,
}

impl Naming {
    const FILES: [Self; 6] = [Self::Kpt2d, Self::Txt, Self::Pts, Self::Csv, Self::Npy, Self::Npz];

    /// The stem and naming of the entry `name` of `folder`; `None` if it is not a landmark file.
    pub(super) fn of(folder: &Path, name: &str, is_folder: bool) -> Option<(String, Self)> {
        if is_folder {
            let nested = folder.join(Self::Kpt2dFolder.file(name));
            return nested.is_file().then(|| (name.to_owned(), Self::Kpt2dFolder));
        }
        let found =
            Self::FILES.into_iter().find_map(|naming| Some((name.strip_suffix(naming.ending())?, naming)));
        found.filter(|(stem, _)| !stem.is_empty()).map(|(stem, naming)| (stem.to_owned(), naming))
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

/// Reads the landmark file of one image. The error is the reason why it cannot be used.
pub(super) fn read(path: &Path, naming: Naming) -> Result<(Points, Format), String> {
    let bytes = bytes(path)?;
    Ok(match naming {
        Naming::Txt | Naming::Kpt2d | Naming::Kpt2dFolder => (text::lines(utf8(&bytes)?)?, Format::Text),
        Naming::Pts => (text::pts(utf8(&bytes)?)?, Format::Pts),
        Naming::Csv => (columns::only_row(&bytes)?, Format::Csv),
        Naming::Npy => (arrays::one_npy(&bytes)?, Format::Npy),
        Naming::Npz => (arrays::one_npz(&bytes)?, Format::Npz),
    })
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

    /// Case 12: stems may have dots, whatever the layout.
    #[test]
    fn file_names_and_stems_belong_together() {
        let root = tempfile::tempdir().unwrap();
        for stem in ["7", "frame.0001", "a.b.txt"] {
            fs::create_dir(root.path().join(stem)).unwrap();
            fs::write(root.path().join(Naming::Kpt2dFolder.file(stem)), "").unwrap();
            for naming in Naming::FILES.into_iter().chain([Naming::Kpt2dFolder]) {
                let file = naming.file(stem);
                let name = file.iter().next().unwrap().to_str().unwrap();
                let is_folder = naming == Naming::Kpt2dFolder;
                assert_eq!(Naming::of(root.path(), name, is_folder), Some((stem.to_owned(), naming)));
            }
        }
        fs::create_dir(root.path().join("8")).unwrap();
        for (other, is_folder) in
            [("8", true), ("7.jpg", false), ("7.PTS", false), ("notes", false), (".txt", false)]
        {
            assert_eq!(Naming::of(root.path(), other, is_folder), None, "{other}");
        }
    }
}
