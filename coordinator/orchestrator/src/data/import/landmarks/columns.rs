//! Reads landmarks from the columns of a table (OpenFace wiki, "Output Format").

use shared::expression::LANDMARKS;
use shared::table::{Header, Row, TableReader};

use super::Points;

/// The places of the columns, from the header, so that `x_0,…,x_67,y_0,…` and `x_0,y_0,x_1,…` are both read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    points: [[usize; 2]; LANDMARKS],
    image: Option<usize>,
    success: Option<usize>,
    confidence: Option<usize>,
}

impl Columns {
    /// Columns are called `x_0` or `x0`, and are numbered from 1 if there is no 0.
    pub(super) fn of(header: &Header) -> Result<Self, String> {
        // OpenFace's X_0, Y_0, Z_0 are millimetres in space; its x_0, y_0 are pixels of the image.
        let in_space = ["z_0", "z0"].iter().any(|name| header.place(name).is_some());
        let column = |axis: &str, i: usize| {
            let mut names = [format!("{axis}_{i}"), format!("{axis}{i}")].into_iter();
            names.find_map(|name| if in_space { header.exact_place(&name) } else { header.place(&name) })
        };
        let first = usize::from(column("x", 0).is_none());
        let mut points = [[0; 2]; LANDMARKS];
        for (i, point) in points.iter_mut().enumerate() {
            for (axis, place) in ["x", "y"].into_iter().zip(point) {
                *place = column(axis, first + i).ok_or_else(|| {
                    let hint = if in_space { " (X_0, Y_0 and Z_0 are positions in space)" } else { "" };
                    format!("the header has no column `{axis}_{}`{hint}", first + i)
                })?;
            }
        }
        let [success, confidence] = ["success", "confidence"].map(|name| header.place(name));
        Ok(Self { points, image: header.image_place(), success, confidence })
    }

    pub(super) fn has_names(&self) -> bool {
        self.image.is_some()
    }

    /// The image that `row` is about; empty if there is no column of names.
    pub(super) fn name<'a>(&self, row: &Row<'a>) -> &'a str {
        self.image.and_then(|place| row.get(place)).unwrap_or_default()
    }

    /// The points of `row`, or the reason if it has none.
    pub(super) fn points(&self, row: &Row<'_>) -> Result<Points, String> {
        row.check_width()?;
        for (name, place) in [("success", self.success), ("confidence", self.confidence)] {
            let found = place.map(|place| row.flag(place)).transpose();
            let found = found.map_err(|reason| format!("column `{name}`: {reason}"))?;
            if found == Some(Some(false)) {
                let text = place.and_then(|place| row.get(place)).unwrap_or_default();
                return Err(format!("the detector found no face ({name} {text})"));
            }
        }
        let mut points = [[0.0; 2]; LANDMARKS];
        for (i, (point, places)) in points.iter_mut().zip(self.points).enumerate() {
            for (value, place) in point.iter_mut().zip(places) {
                *value = row.number(place).map_err(|reason| format!("point {i}: {reason}"))?;
            }
        }
        Ok(points)
    }
}

/// The landmarks of a table with one row: one image, one face.
pub(super) fn only_row(bytes: &[u8]) -> Result<Points, String> {
    let mut table = TableReader::new(bytes).map_err(|e| e.to_string())?;
    let columns = Columns::of(table.header())?;
    let (mut rows, mut only) = (0, None);
    while let Some(row) = table.next_row().map_err(|e| e.to_string())? {
        only.get_or_insert_with(|| columns.points(&row));
        rows += 1;
    }
    match only {
        Some(points) if rows == 1 => points,
        Some(_) | None => Err(format!("{rows} rows, where one image has one face")),
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

    /// Case 5: whether a face was found, as OpenFace, pandas, R and spreadsheets write it.
    #[test]
    fn rows_without_a_face_are_found_in_any_spelling() {
        let (header, row) = table(blocks);
        let found =
            |name: &str, value: &str| only_row(format!("{name},{header}\n{value},{row}\n").as_bytes());
        for no in ["0", "-1", "0.0", "0.00", "False", "FALSE", "false", "F", "no"] {
            for name in ["success", "Success", "confidence"] {
                let error = found(name, no).unwrap_err();
                assert!(error.contains("found no face") && error.contains(no), "{name} {no}: {error}");
            }
        }
        for yes in ["1", "1.0", "True", "TRUE", "0.35", "", "NaN", "NA"] {
            assert!(found("success", yes).is_ok(), "{yes}");
        }
        assert!(found("success", "maybe").unwrap_err().contains("column `success`: \"maybe\" is neither"));
        let (header, row) = (header.replace(',', ";"), row.replace(',', ",5;"));
        let spreadsheet = format!("Confidence;Success;{}\r\n0,98;WAHR;{row}\r\n", header.to_uppercase());
        assert_eq!(format!("{:?}", only_row(spreadsheet.as_bytes()).unwrap()[1]), "[1.5, 2.5]");
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
            (String::new(), "empty"),
            (format!("{header},X_0,Y_0,Z_0\n1,{row},0,0,0"), "140 fields under a header of 139"),
            (format!("{},Z_0\n{row},0", header.to_uppercase()), "X_0, Y_0 and Z_0 are positions in space"),
        ] {
            let error = only_row(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error} is not {reason}");
        }
    }
}
