//! Predictions and labels by image as tables: what `ferry-worker predict` writes and `ferry evaluate` reads.
//!
//! Three forms, told apart by their header: probabilities (`image`, a column for each class, `class`), the challenge's
//! submission (`image,expression`), and a run folder's sample list (`id,label`). A class is an index from 0 to 5 or a
//! name.

use std::collections::HashMap;

use crate::confusion::argmax;
use crate::expression::{CLASSES, Expression};
use crate::table::{self, Header, Row, TableReader};

pub use crate::table::TableError;

/// What is predicted for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub image: String,
    pub probabilities: [f64; CLASSES],
}

impl Prediction {
    /// The most probable class; the lowest index wins a tie.
    pub fn class(&self) -> usize {
        argmax(&self.probabilities)
    }
}

/// One line of a table: an image and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub image: String,
    /// `None` if the field is empty or says that there is no value.
    pub class: Option<usize>,
    /// From 1.
    pub line: u64,
}

/// The column of a class's probability.
pub fn column(expression: Expression) -> String {
    expression.name().to_lowercase()
}

/// `image`, six probabilities, `class` (its name). Numbers are written so that a 64-bit reader gets every bit back.
pub fn to_csv(predictions: &[Prediction]) -> String {
    let classes = Expression::ALL.map(column);
    let header = std::iter::once("image".to_owned()).chain(classes.clone());
    let mut lines = vec![header.chain(["class".to_owned()]).collect::<Vec<_>>()];
    for prediction in predictions {
        let probabilities = prediction.probabilities.map(|p| format!("{p:?}"));
        let line = std::iter::once(prediction.image.clone()).chain(probabilities);
        lines.push(line.chain([classes[prediction.class()].clone()]).collect());
    }
    table::write(&lines)
}

/// The challenge's format: `image,expression`, a class index for each image.
pub fn to_submission(predictions: &[Prediction]) -> String {
    let mut lines = vec![vec!["image".to_owned(), "expression".to_owned()]];
    lines.extend(predictions.iter().map(|p| vec![p.image.clone(), p.class().to_string()]));
    table::write(&lines)
}

/// Reads a table of classes in any of the forms. Where it has probabilities and a class, they must agree.
///
/// # Errors
/// If the columns are missing, a line cannot be understood, or there is no row.
pub fn read(bytes: &[u8]) -> Result<Vec<Classified>, TableError> {
    rows(bytes, |columns, header| {
        if columns.class.is_some() || columns.probabilities.is_some() {
            return Ok(());
        }
        let shown = header.shown();
        Err(format!(
            "the header has neither a column `expression` nor one for each of the six classes, but {shown}"
        ))
    })
}

/// Reads a list of images: a table with the column `image`. Classes are read where it has them.
///
/// # Errors
/// If the column is missing, a line cannot be understood, an image is listed twice, or there is no row.
pub fn read_list(bytes: &[u8]) -> Result<Vec<Classified>, TableError> {
    let rows = rows(bytes, |_columns, _header| Ok(()))?;
    let mut lines = HashMap::new();
    for row in &rows {
        if let Some(first) = lines.insert(row.image.as_str(), row.line) {
            let reason = format!("{:?} is in line {first} already", row.image);
            return Err(TableError { line: row.line, reason });
        }
    }
    Ok(rows)
}

fn rows(
    bytes: &[u8],
    check: impl Fn(&Columns, &Header) -> Result<(), String>,
) -> Result<Vec<Classified>, TableError> {
    let mut table = TableReader::new(bytes)?;
    let header = table.header();
    let columns = Columns::of(header).and_then(|columns| check(&columns, header).map(|()| columns));
    let columns = columns.map_err(|reason| TableError { line: table.header_line(), reason })?;
    let mut rows = Vec::new();
    while let Some(row) = table.next_row()? {
        let line = row.line();
        let (image, class) = columns.row(&row).map_err(|reason| TableError { line, reason })?;
        rows.push(Classified { image, class, line });
    }
    if rows.is_empty() {
        let reason = "the table has a header and no rows".to_owned();
        return Err(TableError { line: table.header_line(), reason });
    }
    Ok(rows)
}

/// The places of the columns in a row.
#[derive(Debug)]
struct Columns {
    image: usize,
    class: Option<usize>,
    probabilities: Option<[usize; CLASSES]>,
}

impl Columns {
    fn of(header: &Header) -> Result<Self, String> {
        let image = header.image_place().ok_or_else(|| {
            format!("the header has no column `image`, such as `image,expression`, but {}", header.shown())
        })?;
        let places: Vec<usize> = Expression::ALL.iter().filter_map(|e| header.place(e.name())).collect();
        let class = ["class", "expression", "label"].iter().find_map(|name| header.place(name));
        Ok(Self { image, class, probabilities: places.try_into().ok() })
    }

    fn row(&self, row: &Row<'_>) -> Result<(String, Option<usize>), String> {
        row.check_width()?;
        let image = row.get(self.image).filter(|image| !image.is_empty()).ok_or("no image is named")?;
        let class = self.class.and_then(|place| row.value(place).map(|text| class_of(row, place, text)));
        let class = class.transpose()?;
        let Some(places) = self.probabilities else { return Ok((image.to_owned(), class)) };
        let probable = argmax(&probabilities(row, places)?);
        match class {
            Some(class) if class != probable => {
                let name = |class: usize| Expression::from_index(class).map_or("", Expression::name);
                Err(format!("the class is {}, but {} is the most probable", name(class), name(probable)))
            }
            Some(_) | None => Ok((image.to_owned(), Some(probable))),
        }
    }
}

fn probabilities(row: &Row<'_>, places: [usize; CLASSES]) -> Result<[f64; CLASSES], String> {
    let mut values = [0.0; CLASSES];
    for (value, place) in values.iter_mut().zip(places) {
        let number = row.number(place).ok().filter(|number: &f64| number.is_finite());
        *value =
            number.ok_or_else(|| format!("{:?} is not a probability", row.get(place).unwrap_or_default()))?;
    }
    Ok(values)
}

/// A class by index or name. Programs that keep missing labels as NaN write the others as `3.0`.
fn class_of(row: &Row<'_>, place: usize, text: &str) -> Result<usize, String> {
    let index = row.number::<f64>(place).ok();
    let of_index = |index: f64| {
        let whole = index >= 0.0 && index.fract() == 0.0;
        whole.then(|| Expression::from_index(index as usize)).flatten()
    };
    let expression = index.map_or_else(|| Expression::from_name(text), of_index);
    expression
        .map(Expression::index)
        .ok_or_else(|| format!("{text:?} is not a class: use an index from 0 to 5 or a name such as `fear`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions() -> Vec<Prediction> {
        let image = |image: &str, probabilities| Prediction { image: image.to_owned(), probabilities };
        vec![
            image("2.jpg", [0.1, 0.2, 1.0 / 3.0, 0.1, 1e-30, 0.0]),
            image("a, \"b\".jpg", [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]),
        ]
    }

    fn rows(text: &str) -> Vec<(String, Option<usize>)> {
        read(text.as_bytes()).unwrap().into_iter().map(|row| (row.image, row.class)).collect()
    }

    #[test]
    fn both_forms_are_read_back() {
        let expected = [("2.jpg".to_owned(), Some(2)), ("a, \"b\".jpg".to_owned(), Some(0))];
        assert_eq!(rows(&to_csv(&predictions())), expected);
        assert_eq!(rows(&to_submission(&predictions())), expected);
    }

    #[test]
    fn the_forms_are_those_documented() {
        let first = &predictions()[..1];
        assert_eq!(to_submission(first), "image,expression\n2.jpg,2\n");
        assert_eq!(
            to_csv(first),
            "image,anger,disgust,fear,happiness,sadness,surprise,class\n\
             2.jpg,0.1,0.2,0.3333333333333333,0.1,1e-30,0.0,fear\n"
        );
    }

    #[test]
    fn tables_of_others_are_read() {
        let released = "\u{feff}image,expression\r\n10.jpg\r\n2.jpg,3\r\n\r\n1.jpg, Fear\r\n";
        let expected = [("10.jpg", None), ("2.jpg", Some(3)), ("1.jpg", Some(2))];
        assert_eq!(rows(released), expected.map(|(image, class)| (image.to_owned(), class)));
        assert_eq!(rows("id,label\nx,\n"), [("x".to_owned(), None)]);
        assert_eq!(rows("Image;Label\nx;3.0\ny;NA\n"), [("x".to_owned(), Some(3)), ("y".to_owned(), None)]);
        let bare = "image,fear,anger,disgust,happiness,sadness,surprise\nx,1,0,0,0,0,0\n";
        assert_eq!(rows(bare), [("x".to_owned(), Some(2))]);
    }

    /// Case 13: a list needs the column `image` alone.
    #[test]
    fn a_list_needs_names_alone() {
        let names = |text: &str| {
            read_list(text.as_bytes()).map(|rows| rows.into_iter().map(|row| row.image).collect::<Vec<_>>())
        };
        assert_eq!(names("image\n2.jpg\n1.jpg\n").unwrap(), ["2.jpg", "1.jpg"]);
        assert_eq!(names("\"Image\",\"expression\"\r\"2.jpg\",\"4\"\r").unwrap(), ["2.jpg"]);
        for (text, error) in [
            ("image\n1\n2\n1\n", "line 4: \"1\" is in line 2 already"),
            ("image\n", "line 1: the table has a header and no rows"),
            ("1.jpg\n", "line 1: the header has no column `image`, such as `image,expression`, but `1.jpg`"),
        ] {
            assert_eq!(names(text).unwrap_err().to_string(), error);
        }
        assert!(read(b"image\nx\n").is_err());
    }

    #[test]
    fn wrong_lines_are_named() {
        let head = "image,anger,disgust,fear,happiness,sadness,surprise,class\n";
        for (text, line, word) in [
            ("", 1, "empty"),
            ("0.jpg,3\n", 1, "no column `image`"),
            ("image,expression\n", 1, "no rows"),
            ("image,age\n", 1, "neither"),
            ("image,expression\na.jpg,6\n", 2, "6"),
            ("image,expression\na.jpg,1\nb.jpg,-1\n", 3, "-1"),
            ("image,expression\na,b.jpg,1\n", 2, "3 fields"),
            ("image,expression\n,1\n", 2, "no image"),
            (&format!("{head}a,0,0,0,0,0,1,fear\n"), 2, "Surprise"),
            (&format!("{head}a,0,0,0,0,0,NaN,fear\n"), 2, "NaN"),
            (&format!("{head}a,0,0\n"), 2, "not a probability"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.reason.contains(word), "{text:?}: {error}");
        }
    }
}
