//! Reads a table with the landmarks of all images. It is read once and kept as fixed-size records in an unnamed file,
//! so that memory use does not grow with it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use shared::expression::LANDMARKS;
use shared::table::TableReader;

use super::units::Census;
use super::{Format, Marks, Points, Unit, arrays, columns};

const RECORD: usize = LANDMARKS * 2 * size_of::<f32>();

/// The rows of a table.
#[derive(Debug)]
pub(in super::super) struct Table {
    records: File,
    /// Rows that have no landmarks, and why.
    broken: HashMap<usize, String>,
    format: Format,
    unit: Unit,
}

/// The image that a row names, and where the row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct RowName {
    pub(in super::super) image: String,
    pub(in super::super) at: String,
}

/// A row that is not used for any image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct IgnoredRow {
    /// Its line and what it names.
    pub(in super::super) at: String,
    pub(in super::super) reason: String,
}

/// Why no row of a table can be used.
pub(in super::super) fn none_usable(ignored: &[IgnoredRow]) -> String {
    match ignored.first() {
        Some(IgnoredRow { at, reason }) => format!("none of its rows can be used; {at} {reason}"),
        None => "the table has no rows".to_owned(),
    }
}

impl Table {
    /// Reads the table at `path` and returns it with the names of its rows, in order. `scratch` is a folder with room
    /// for 544 bytes per image; `unit` is the declared unit, if any. The error is the reason why the table cannot be
    /// used.
    pub(in super::super) fn open(
        path: &Path,
        scratch: &Path,
        unit: Option<Unit>,
    ) -> Result<(Self, Vec<RowName>), String> {
        let records = tempfile::tempfile_in(scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
        let mut sink = Sink { file: BufWriter::new(records), face: Vec::new(), census: Census::default() };
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (format, names, broken) = match ending.as_str() {
            "npz" => (Format::Npz, read_npz(path, &mut sink)?, HashMap::new()),
            "csv" | "tsv" | "txt" => {
                read_csv(path, &mut sink).map(|(names, broken)| (Format::Csv, names, broken))?
            }
            _ => return Err("a table of landmarks ends in .csv, .tsv, .txt or .npz".to_owned()),
        };
        if names.is_empty() {
            return Err("the table has no rows".to_owned());
        }
        let unit = match unit {
            Some(unit) => unit,
            None => sink.census.unit(Unit::Pixels)?,
        };
        let records = sink.file.into_inner().map_err(|e| e.to_string())?;
        Ok((Self { records, broken, format, unit }, names))
    }

    /// False if row `row` has no landmarks.
    pub(in super::super) fn has_points(&self, row: usize) -> bool {
        !self.broken.contains_key(&row)
    }

    /// The landmarks of row `row`, or the reason if it has none.
    pub(in super::super) fn read(&self, row: usize) -> Result<Marks, String> {
        if let Some(reason) = self.broken.get(&row) {
            return Err(reason.clone());
        }
        let mut record = [0; RECORD];
        self.records.read_exact_at(&mut record, (row * RECORD) as u64).map_err(|e| e.to_string())?;
        let value = |i: usize| f32::from_le_bytes(std::array::from_fn(|byte| record[4 * i + byte]));
        let points = std::array::from_fn(|i| [value(2 * i), value(2 * i + 1)]);
        Ok(Marks { points, format: self.format, unit: self.unit })
    }
}

/// Writes the numbers, and counts what units the faces fit.
struct Sink {
    file: BufWriter<File>,
    /// The numbers of the current face so far.
    face: Vec<f32>,
    census: Census,
}

impl Sink {
    fn number(&mut self, value: f32) -> std::io::Result<()> {
        self.face.push(value);
        if let Some((points, [])) = self.face.as_chunks().0.split_first_chunk::<{ LANDMARKS }>() {
            self.census.add(points);
            self.face.clear();
        }
        self.file.write_all(&value.to_le_bytes())
    }
}

/// The names of the rows, and the rows that have no landmarks.
type Rows = (Vec<RowName>, HashMap<usize, String>);

fn read_csv(path: &Path, sink: &mut Sink) -> Result<Rows, String> {
    let mut table =
        TableReader::new(File::open(path).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let columns = columns::Columns::of(table.header())?;
    if !columns.has_names() {
        return Err("the header has no column `image` that says which image a row is about".to_owned());
    }
    let (mut names, mut broken) = (Vec::new(), HashMap::new());
    while let Some(row) = table.next_row().map_err(|e| e.to_string())? {
        let at = format!("line {}", row.line());
        let points = columns.points(&row).unwrap_or_else(|reason| {
            broken.insert(names.len(), format!("{at}: {reason}"));
            Points::from([[f32::NAN; 2]; LANDMARKS])
        });
        points.as_flattened().iter().try_for_each(|&v| sink.number(v)).map_err(|e| e.to_string())?;
        names.push(RowName { image: columns.name(&row).to_owned(), at });
    }
    Ok((names, broken))
}

fn read_npz(path: &Path, sink: &mut Sink) -> Result<Vec<RowName>, String> {
    let names = arrays::named_rows(path, |value| sink.number(value))?;
    let row = |(i, image)| RowName { image, at: format!("row {i}") };
    Ok(names.into_iter().enumerate().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str, bytes: &[u8], unit: Option<Unit>) -> Result<(Table, Vec<RowName>), String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(name), bytes).unwrap();
        Table::open(&root.path().join(name), root.path(), unit)
    }

    #[test]
    fn a_csv_is_read_row_by_row_and_broken_rows_are_known() {
        let (header, row) = columns::tests::table(columns::tests::blocks);
        let text =
            format!("image,{header}\nFEAR/1.jpg,{row}\n2,{}\n\"3, b\",{row}\n", row.replace("67", "?"));
        let (table, names) = open("all.csv", text.as_bytes(), None).unwrap();
        let places: Vec<_> = names.iter().map(|name| (&*name.image, &*name.at)).collect();
        assert_eq!(places, [("FEAR/1.jpg", "line 2"), ("2", "line 3"), ("3, b", "line 4")]);
        let marks = table.read(2).unwrap();
        assert_eq!((marks.points[5], marks.unit, marks.format), ([5.0, 10.0], Unit::Pixels, Format::Csv));
        assert!(table.read(1).unwrap_err().contains("line 3: point 67"));
        let (table, _) = open("all.csv", text.as_bytes(), Some(Unit::PixelsFromOne)).unwrap();
        assert_eq!(table.read(0).unwrap().unit, Unit::PixelsFromOne);
    }

    #[test]
    fn an_npz_is_read_row_by_row() {
        let (table, names) = open("all.npz", &arrays::tests::archive(&["1.jpg", "2.jpg"]), None).unwrap();
        assert_eq!((&*names[1].image, &*names[1].at), ("2.jpg", "row 1"));
        let marks = table.read(1).unwrap();
        assert_eq!(
            (marks.points[3], marks.unit, marks.format),
            ([0.03, -0.03], Unit::Normalized, Format::Npz)
        );
    }

    #[test]
    fn tables_that_cannot_be_used_are_explained() {
        let (header, row) = columns::tests::table(columns::tests::blocks);
        for (name, text, reason) in [
            ("all.csv", format!("{header}\n{row}\n"), "no column `image`"),
            ("all.csv", "image,x_0\n".to_owned(), "no column `y_0`"),
            ("all.npz", "PK".to_owned(), "zip"),
            ("all.mat", String::new(), ".csv, .tsv, .txt or .npz"),
            ("all.csv", format!("image,{header}\n"), "no rows"),
        ] {
            let error = open(name, text.as_bytes(), None).unwrap_err().to_lowercase();
            assert!(error.contains(reason), "{error}");
        }
    }
}
