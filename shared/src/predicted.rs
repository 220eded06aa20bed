//! Predictions and labels by image as CSV: what `ferry-worker predict` writes and `ferry evaluate` reads.
//!
//! Three forms, told apart by their header: probabilities (`image`, a column for each class, `class`), the challenge's
//! submission (`image,expression`), and a run folder's sample list (`id,label`). A class is an index from 0 to 5 or a
//! name; fields are quoted after RFC 4180.

use crate::expression::{CLASSES, Expression};
use crate::vote::most_probable;

/// What is predicted for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub image: String,
    pub probabilities: [f64; CLASSES],
}

impl Prediction {
    /// The most probable class; the lowest index wins a tie.
    pub fn class(&self) -> usize {
        most_probable(&self.probabilities)
    }
}

/// One image and its class, as a line of a table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub image: String,
    /// `None` where the field is empty or absent.
    pub class: Option<usize>,
    /// From 1.
    pub line: u64,
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TableError {
    pub line: u64,
    pub reason: String,
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
    table(&lines)
}

/// The challenge's format: `image,expression`, a class index for each image.
pub fn to_submission(predictions: &[Prediction]) -> String {
    let mut lines = vec![vec!["image".to_owned(), "expression".to_owned()]];
    lines.extend(predictions.iter().map(|p| vec![p.image.clone(), p.class().to_string()]));
    table(&lines)
}

fn table(lines: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        if let Err(error) = writer.write_record(line) {
            unreachable!("lines of one length go into memory, yet: {error}");
        }
    }
    match writer.into_inner().map(String::from_utf8) {
        Ok(Ok(text)) => text,
        other => unreachable!("text was written into memory, yet: {other:?}"),
    }
}

/// Reads a table in any of the forms. Where it has probabilities and a class, they must agree.
pub fn read(bytes: &[u8]) -> Result<Vec<Classified>, TableError> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let mut columns: Option<Columns> = None;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| TableError {
            line: error.position().map_or(1, csv::Position::line),
            reason: error.to_string(),
        })?;
        let line = record.position().map_or(1, csv::Position::line);
        let wrong = |reason| TableError { line, reason };
        match &columns {
            None => columns = Some(Columns::of(&record).map_err(wrong)?),
            Some(columns) => {
                let (image, class) = columns.row(&record).map_err(wrong)?;
                rows.push(Classified { image, class, line });
            }
        }
    }
    match columns {
        Some(_) => Ok(rows),
        None => Err(TableError { line: 1, reason: "the table is empty".to_owned() }),
    }
}

/// Where in a line the parts lie.
#[derive(Debug)]
struct Columns {
    number: usize,
    image: usize,
    class: Option<usize>,
    probabilities: Option<[usize; CLASSES]>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, String> {
        let find = |names: &[&str]| {
            header.iter().position(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)))
        };
        let image = find(&["image", "id"]).ok_or(
            "the header names no column `image`: `image,expression` or what `ferry-worker predict` writes",
        )?;
        let places: Vec<usize> = Expression::ALL.iter().filter_map(|e| find(&[e.name()])).collect();
        let probabilities = places.try_into().ok();
        let class = find(&["class", "expression", "label"]);
        if class.is_none() && probabilities.is_none() {
            return Err(
                "the header names neither a column `expression` (or `class`, `label`) nor the six classes"
                    .to_owned(),
            );
        }
        Ok(Self { number: header.len(), image, class, probabilities })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<(String, Option<usize>), String> {
        if record.len() > self.number {
            return Err(format!("{} fields under a header of {}", record.len(), self.number));
        }
        let image = record.get(self.image).filter(|image| !image.is_empty()).ok_or("no image is named")?;
        let class = match self.class.and_then(|place| record.get(place)) {
            None | Some("") => None,
            Some(text) => Some(class_of(text).ok_or_else(|| {
                format!("{text:?} is no class: use an index from 0 to 5 or a name such as `fear`")
            })?),
        };
        let Some(places) = self.probabilities else { return Ok((image.to_owned(), class)) };
        let probable = most_probable(&probabilities(record, places)?);
        match class {
            Some(class) if class != probable => {
                let name = |class: usize| Expression::from_index(class).map_or("", Expression::name);
                Err(format!(
                    "the class is {}, the highest probability is that of {}",
                    name(class),
                    name(probable)
                ))
            }
            Some(_) | None => Ok((image.to_owned(), Some(probable))),
        }
    }
}

fn probabilities(record: &csv::StringRecord, places: [usize; CLASSES]) -> Result<[f64; CLASSES], String> {
    let mut values = [0.0; CLASSES];
    for (value, place) in values.iter_mut().zip(places) {
        let text = record.get(place).unwrap_or_default();
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        *value = number.ok_or_else(|| format!("{text:?} is not a probability"))?;
    }
    Ok(values)
}

fn class_of(text: &str) -> Option<usize> {
    let named = || Expression::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(text));
    let expression = text.parse::<usize>().map_or_else(|_| named(), Expression::from_index);
    expression.map(Expression::index)
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
        let bare = "image,fear,anger,disgust,happiness,sadness,surprise\nx,1,0,0,0,0,0\n";
        assert_eq!(rows(bare), [("x".to_owned(), Some(2))]);
    }

    #[test]
    fn wrong_lines_are_named() {
        let head = "image,anger,disgust,fear,happiness,sadness,surprise,class\n";
        for (text, line, word) in [
            ("", 1, "empty"),
            ("0.jpg,3\n", 1, "header"),
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
