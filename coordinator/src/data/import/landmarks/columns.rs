//! Landmarks in the columns of a comma-separated table (OpenFace wiki, "Output Format").

use std::io::Read;

use csv::{ReaderBuilder, StringRecord, Trim};
use shared::expression::LANDMARKS;

use super::Points;

/// Headers that a column of image names may have.
const NAMES: [&str; 6] = ["image", "file", "filename", "name", "path", "image_path"];

/// Where a table has what. The header decides, so `x_0,…,x_67,y_0,…` and `x_0,y_0,x_1,…` are both read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    points: [[usize; 2]; LANDMARKS],
    name: Option<usize>,
    success: Option<usize>,
}

/// A reader that forgives spaces around fields, which OpenFace's headers have.
pub(super) fn reader<R: Read>(table: R) -> csv::Reader<R> {
    ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(table)
}

/// The place of each wanted column of `header`; `None` if it is not there.
pub(super) fn place(header: &StringRecord, wanted: &str) -> Option<usize> {
    header.iter().position(|name| name.trim_start_matches('\u{feff}') == wanted)
}

/// The place of the column of image names.
pub(super) fn name_place(header: &StringRecord) -> Option<usize> {
    NAMES.iter().find_map(|name| place(header, name))
}

impl Columns {
    /// `x_0` or `x0`; numbered from 1 if there is no 0. OpenFace's `X_0` is something else: millimetres in space.
    pub(super) fn of(header: &StringRecord) -> Result<Self, String> {
        let column = |axis: &str, i: usize| {
            [format!("{axis}_{i}"), format!("{axis}{i}")].iter().find_map(|name| place(header, name))
        };
        let first = usize::from(column("x", 0).is_none());
        let mut points = [[0; 2]; LANDMARKS];
        for (i, point) in points.iter_mut().enumerate() {
            for (axis, place) in ["x", "y"].into_iter().zip(point) {
                *place = column(axis, first + i)
                    .ok_or_else(|| format!("the header has no column `{axis}_{}`", first + i))?;
            }
        }
        Ok(Self { points, name: name_place(header), success: place(header, "success") })
    }

    pub(super) fn has_names(&self) -> bool {
        self.name.is_some()
    }

    /// The image that `row` is about; empty without a column of names.
    pub(super) fn name<'a>(&self, row: &'a StringRecord) -> &'a str {
        self.name.and_then(|place| row.get(place)).unwrap_or_default()
    }

    pub(super) fn points(&self, row: &StringRecord) -> Result<Points, String> {
        if self.success.and_then(|place| row.get(place)) == Some("0") {
            return Err("the detector found no face (success 0)".to_owned());
        }
        let mut points = [[0.0; 2]; LANDMARKS];
        for (i, (point, places)) in points.iter_mut().zip(self.points).enumerate() {
            for (value, place) in point.iter_mut().zip(places) {
                let field = row.get(place).ok_or("the row is too short")?;
                *value = field.parse().map_err(|_| format!("point {i}: {field:?} is not a number"))?;
            }
        }
        Ok(points)
    }
}

/// The landmarks of a table with one row: one image, one face.
pub(super) fn only_row(table: &[u8]) -> Result<Points, String> {
    let mut reader = reader(table);
    let columns = Columns::of(reader.headers().map_err(|e| e.to_string())?)?;
    let rows: Vec<StringRecord> = reader.records().collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    match rows.as_slice() {
        [row] => columns.points(row),
        rows => Err(format!("{} rows, where one image has one face", rows.len())),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header and the row of points (i, 2i), each column's axis and number given by `order`.
    pub(in super::super) fn table(order: impl Fn(usize) -> (char, usize)) -> (String, String) {
        let columns: Vec<(char, usize)> = (0..136).map(order).collect();
        let header: Vec<String> = columns.iter().map(|(axis, i)| format!("{axis}_{i}")).collect();
        let value =
            |&(axis, i): &(char, usize)| if axis == 'x' { i.to_string() } else { (2 * i).to_string() };
        (header.join(","), columns.iter().map(value).collect::<Vec<_>>().join(","))
    }

    pub(in super::super) fn blocks(i: usize) -> (char, usize) {
        (if i < 68 { 'x' } else { 'y' }, i % 68)
    }

    fn interleaved(i: usize) -> (char, usize) {
        (if i.is_multiple_of(2) { 'x' } else { 'y' }, i / 2)
    }

    fn expected() -> Points {
        std::array::from_fn(|i| [i as f32, 2.0 * i as f32])
    }

    #[test]
    fn both_orders_are_read_by_their_headers() {
        for (header, row) in [table(blocks), table(interleaved)] {
            assert_eq!(only_row(format!("{header}\n{row}\n").as_bytes()).unwrap(), expected());
            let spaced = header.replace(',', ", ");
            let openface = format!("frame, confidence, success, {spaced}, X_0\r\n1, 0.98, 1, {row}, 77\r\n");
            assert_eq!(only_row(openface.as_bytes()).unwrap(), expected());
        }
        let (header, row) = table(|i| (blocks(i).0, blocks(i).1 + 1));
        let from_one = only_row(format!("{}\n{row}\n", header.replace('_', "")).as_bytes()).unwrap();
        assert_eq!((from_one[0], from_one[67]), ([1.0, 2.0], [68.0, 136.0]));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said() {
        let (header, row) = table(blocks);
        for (text, reason) in [
            (row.clone(), "no column `x_1`"),
            (format!("{}\n{row}", header.replace("y_67", "y")), "no column `y_67`"),
            (format!("{header}\n{row}\n{row}"), "2 rows"),
            (header.clone(), "0 rows"),
            (format!("{header}\n1,2,3"), "too short"),
            (format!("{header}\n{}", row.replace("67", "nose")), "\"nose\" is not a number"),
            (format!("success,{header}\n0,{row}"), "no face"),
            (String::new(), "no column"),
        ] {
            let error = only_row(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error} is not {reason}");
        }
    }
}
