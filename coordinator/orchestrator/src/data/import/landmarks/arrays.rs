//! Reads landmarks from NumPy's files: the only file that knows `.npy` and `.npz`.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use npyz::{NpyFile, Order};
use shared::expression::LANDMARKS;
use zip::ZipArchive;

use super::Points;

/// The most bytes of a header; NumPy's own have a few hundred.
const MOST_HEADER: usize = 4096;
/// The most nested brackets: a dictionary with a list of fields, each with a shape.
const MOST_DEPTH: usize = 4;

/// The most bytes of an image's name: a path, at four bytes per letter.
const MOST_NAME: usize = 4 * 4096;

/// More images than this mean a damaged header.
const MOST_IMAGES: u64 = 1 << 24;

/// The landmarks of an array [68, 2] or [1, 68, 2].
pub(super) fn one_npy(bytes: &[u8]) -> Result<Points, String> {
    one(open(bytes)?)
}

/// Reads an array's header. The library multiplies the lengths in it unchecked, and a damaged header must not end an
/// import by an overflow.
fn open<R: Read>(mut file: R) -> Result<NpyFile<impl Read>, String> {
    let file = Cursor::new(start(&mut file).map_err(words)?).chain(file);
    let opened = catch_unwind(AssertUnwindSafe(|| NpyFile::new(file)));
    opened.unwrap_or_else(|_| Err(io::ErrorKind::InvalidData.into())).map_err(words)
}

/// The bytes up to the end of the header. The library would reserve whatever length a header claims, and follow its
/// brackets to any depth, so both are checked first.
fn start(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = vec![0; 10];
    file.read_exact(&mut start)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Ok(start); // The library reports the error.
    }
    if start[6] > 1 {
        // Format 1 has two bytes of length, later ones have four.
        start.resize(12, 0);
        file.read_exact(&mut start[10..])?;
    }
    let length = start[8..].iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    let refuse = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if length > MOST_HEADER {
        return refuse("its header is longer than that of any array");
    }
    let begin = start.len();
    start.resize(begin + length, 0);
    file.read_exact(&mut start[begin..])?;
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in &start[begin..] {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MOST_DEPTH { refuse("its header is nested too deeply") } else { Ok(start) }
}

/// The landmarks of the only array [68, 2] or [1, 68, 2] of an archive.
pub(super) fn one_npz(bytes: &[u8]) -> Result<Points, String> {
    let mut archive = Archive::open(Cursor::new(bytes))?;
    let at = archive.only("[68, 2]", |array| is_one(&array.shape))?;
    one(archive.array(at)?)
}

/// Passes every number of the only array [N, 68, 2] of an archive to `take`, in order. Returns the N names of the only
/// array of N strings.
pub(super) fn named_rows(
    path: &Path,
    mut take: impl FnMut(f32) -> io::Result<()>,
) -> Result<Vec<String>, String> {
    let mut archive = Archive::open(BufReader::new(File::open(path).map_err(words)?))?;
    let points = archive.only("[N, 68, 2]", |array| array.shape.get(1..) == Some(&[LANDMARKS as u64, 2]))?;
    let images = archive.arrays[points].shape[0];
    if images > MOST_IMAGES {
        return Err(format!("{images} images are too many"));
    }
    let of_names = |array: &Array| array.shape == [images] && array.is_text;
    let names =
        archive.only(&format!("[{images}] of strings (dtype str) with the images' names"), of_names)?;
    numbers(archive.array(points)?, &mut take)?;
    archive.array(names)?.into_vec::<String>().map_err(words)
}

fn is_one(shape: &[u64]) -> bool {
    matches!(shape, [68, 2] | [1, 68, 2])
}

fn one<R: Read>(file: NpyFile<R>) -> Result<Points, String> {
    if !is_one(file.shape()) {
        return Err(format!("the array is {:?}, not [68, 2]", file.shape()));
    }
    let mut points = [[0.0; 2]; LANDMARKS];
    let mut places = points.as_flattened_mut().iter_mut();
    numbers(file, &mut |number| {
        *places.next().ok_or(io::ErrorKind::InvalidData)? = number;
        Ok(())
    })?;
    Ok(points)
}

/// Passes every number of an array of floats or integers to `take`, last axis fastest.
fn numbers<R: Read>(file: NpyFile<R>, take: &mut dyn FnMut(f32) -> io::Result<()>) -> Result<(), String> {
    if file.order() != Order::C {
        return Err("the array is stored in Fortran order; save np.ascontiguousarray of it".to_owned());
    }
    let kind = file.dtype().descr();
    let file = match file.try_data::<f32>() {
        Ok(mut values) => return values.try_for_each(|v| take(v?)).map_err(words),
        Err(file) => file,
    };
    let file = match file.try_data::<f64>() {
        Ok(mut values) => return values.try_for_each(|v| take(v? as f32)).map_err(words),
        Err(file) => file,
    };
    let file = match file.try_data::<i64>() {
        Ok(mut values) => return values.try_for_each(|v| take(v? as f32)).map_err(words),
        Err(file) => file,
    };
    match file.try_data::<i32>() {
        Ok(mut values) => values.try_for_each(|v| take(v? as f32)).map_err(words),
        Err(_) => Err(format!("the array is of {kind}; save float32, float64, int32 or int64")),
    }
}

/// An archive with the shapes of its arrays.
struct Archive<R: Read + Seek> {
    zip: ZipArchive<R>,
    arrays: Vec<Array>,
}

struct Array {
    entry: usize,
    name: String,
    shape: Vec<u64>,
    is_text: bool,
}

impl<R: Read + Seek> Archive<R> {
    fn open(file: R) -> Result<Self, String> {
        let mut zip = ZipArchive::new(file).map_err(words)?;
        let mut arrays = Vec::new();
        for entry in 0..zip.len() {
            let file = zip.by_index(entry).map_err(words)?;
            let name = file.name().map_err(words)?.into_owned();
            if npyz::npz::array_name_from_file_name(&name).is_some() {
                let array = open(file).map_err(|e| format!("{name}: {e}"))?;
                let kind = array.dtype().descr();
                let is_short = array.dtype().num_bytes().is_some_and(|bytes| bytes <= MOST_NAME);
                let is_text = kind.contains(['U', 'S']) && is_short;
                arrays.push(Array { entry, name, shape: array.shape().to_vec(), is_text });
            }
        }
        Ok(Self { zip, arrays })
    }

    /// The place of the only array that `is_wanted`.
    fn only(&self, wanted: &str, is_wanted: impl Fn(&Array) -> bool) -> Result<usize, String> {
        let found: Vec<usize> = (0..self.arrays.len()).filter(|&i| is_wanted(&self.arrays[i])).collect();
        match found[..] {
            [only] => Ok(only),
            [] => Err(format!("it has no array {wanted}, but {}", self.list(0..self.arrays.len()))),
            [..] => Err(format!("it has several arrays {wanted}: {}", self.list(found))),
        }
    }

    fn list(&self, places: impl IntoIterator<Item = usize>) -> String {
        let each = places.into_iter().map(|i| format!("{} {:?}", self.arrays[i].name, self.arrays[i].shape));
        each.collect::<Vec<_>>().join(", ")
    }

    fn array(&mut self, place: usize) -> Result<NpyFile<impl Read + '_>, String> {
        let entry = self.arrays[place].entry;
        open(self.zip.by_index(entry).map_err(words)?)
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use npyz::{AutoSerialize, WriterBuilder};
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn npy<T: AutoSerialize>(shape: &[u64], values: impl IntoIterator<Item = T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        bytes
    }

    /// An array of strings as NumPy stores them: `<U8`, four bytes a character.
    fn strings(names: &[&str]) -> Vec<u8> {
        let header = format!("{{'descr': '<U24', 'fortran_order': False, 'shape': ({},), }}\n", names.len());
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        for name in names {
            let mut letters: Vec<u32> = name.chars().map(u32::from).collect();
            letters.resize(24, 0);
            bytes.extend(letters.into_iter().flat_map(u32::to_le_bytes));
        }
        bytes
    }

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            let method = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            zip.start_file(format!("{name}.npy"), method).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// An archive of `names` and points (i, -i) / 100 for all of them.
    pub(in super::super) fn archive(names: &[&str]) -> Vec<u8> {
        let row = (0..136).map(|i| f64::from(i / 2) * if i % 2 == 0 { 0.01 } else { -0.01 });
        let values = std::iter::repeat_n(row, names.len()).flatten();
        npz(&[("points", npy(&[names.len() as u64, 68, 2], values)), ("names", strings(names))])
    }

    #[test]
    fn one_image_may_come_in_any_number_type() {
        let values = || 0..136;
        let expected: Points = std::array::from_fn(|i| [2.0 * i as f32, 2.0 * i as f32 + 1.0]);
        for bytes in [
            npy(&[68, 2], values().map(|v| v as f32)),
            npy(&[1, 68, 2], values().map(f64::from)),
            npy(&[68, 2], values().map(i64::from)),
            npy(&[68, 2], values()),
        ] {
            assert_eq!(one_npy(&bytes).unwrap(), expected);
            assert_eq!(
                one_npz(&npz(&[("other", npy(&[3], [1.0_f32; 3])), ("kpt", bytes)])).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn wrong_arrays_are_named() {
        let good = npy(&[68, 2], [0.5_f32; 136]);
        for (bytes, reason) in [
            (
                npz(&[("a", good.clone()), ("b", good.clone())]),
                "several arrays [68, 2]: a.npy [68, 2], b.npy",
            ),
            (npz(&[("a", npy(&[2], [0_u8; 2]))]), "no array [68, 2], but a.npy [2]"),
            (npz(&[("a", npy(&[68, 2], [0_u8; 136]))]), "save float32"),
            (good[..good.len() - 1].to_vec(), "invalid Zip archive"),
        ] {
            let error = one_npz(&bytes).unwrap_err();
            assert!(error.to_lowercase().contains(&reason.to_lowercase()), "{error} is not {reason}");
        }
        assert!(one_npy(&good[..good.len() - 1]).is_err());
        let endless =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({0}, {0}, 2), }}\n", 1_u64 << 40);
        let header = [&b"\x93NUMPY\x01\x00"[..], &(endless.len() as u16).to_le_bytes(), endless.as_bytes()];
        assert!(one_npy(&header.concat()).is_err());
        let deep = [&b"\x93NUMPY\x01\x00\x00\x08"[..], &[b'('; 2048]].concat();
        assert!(one_npy(&deep).unwrap_err().contains("too deeply"));
        assert!(one_npy(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").unwrap_err().contains("longer"));
        assert!(one_npy(&npy(&[68, 3], [0.0_f32; 204])).unwrap_err().contains("[68, 3], not [68, 2]"));
        let fortran = String::from_utf8_lossy(&good[..128]).replace("False", "True ");
        let fortran = [good[..8].to_vec(), fortran.bytes().skip(10).collect(), good[128..].to_vec()].concat();
        assert!(one_npy(&fortran).is_err());
    }

    #[test]
    fn a_whole_folder_needs_names() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("all.npz");
        std::fs::write(&path, archive(&["FEAR/1.jpg", "ä"])).unwrap();
        let mut found = Vec::new();
        let names = named_rows(&path, |v| {
            found.push(v);
            Ok(())
        });
        assert_eq!(names.unwrap(), ["FEAR/1.jpg", "ä"]);
        assert_eq!((found.len(), found[2], found[136 + 3]), (272, 0.01, -0.01));
        std::fs::write(&path, npz(&[("points", npy(&[2, 68, 2], [0.0_f32; 272]))])).unwrap();
        assert!(named_rows(&path, |_| Ok(())).unwrap_err().contains("no array [2] of strings"));
    }
}
