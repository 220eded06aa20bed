//! `image,expression` tables: the list of test images and their labels.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use shared::expression::Expression;

use super::ImportError;

/// One line: an image's file name and perhaps its class index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) image: String,
    pub(super) label: Option<u8>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Row>, ImportError> {
    let text = fs::read_to_string(path).map_err(ImportError::read(path))?;
    parse(&text).map_err(|(line, reason)| ImportError::Table { path: path.to_owned(), line, reason })
}

/// The first line is a header. A name alone, or one with nothing after the comma, has no label.
fn parse(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
    match lines.next() {
        Some((_, header)) if header.split(',').next() == Some("image") => {}
        _ => return Err((1, "the header `image,expression` is missing".to_owned())),
    }
    let mut seen = HashMap::new();
    let mut rows = Vec::new();
    for (i, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let row = row(line).map_err(|reason| (i + 1, reason))?;
        if let Some(first) = seen.insert(row.image.clone(), i + 1) {
            return Err((i + 1, format!("{:?} is already in line {first}", row.image)));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row, String> {
    let (image, label) = line.split_once(',').unwrap_or((line, ""));
    if image.is_empty() || image.contains(['/', '\\']) || image == ".." {
        return Err(format!("{image:?} is not a file name"));
    }
    let label = match label.trim() {
        "" => None,
        class => Some(class_index(class).ok_or_else(|| format!("{class:?} is not a class index"))?),
    };
    Ok(Row { image: image.to_owned(), label })
}

fn class_index(text: &str) -> Option<u8> {
    text.parse().ok().and_then(Expression::from_index).map(|expression| expression as u8)
}

/// Gives `rows` the labels of `labels`; returns the images that are labelled but not among the rows.
pub(super) fn join(rows: &mut [Row], labels: Vec<Row>) -> Vec<String> {
    let place: HashMap<String, usize> =
        rows.iter().enumerate().map(|(i, row)| (row.image.clone(), i)).collect();
    let mut strays = Vec::new();
    for Row { image, label } in labels {
        match place.get(&image) {
            Some(&i) => rows[i].label = label.or(rows[i].label),
            None => strays.push(image),
        }
    }
    strays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(image: &str, label: Option<u8>) -> Row {
        Row { image: image.to_owned(), label }
    }

    #[test]
    fn labels_are_optional_and_order_is_kept() {
        let rows = parse("\u{feff}image,expression\r\n10.jpg\r\n2.jpg,3\r\n\r\n1.jpg,\r\n").unwrap();
        assert_eq!(rows, [of("10.jpg", None), of("2.jpg", Some(3)), of("1.jpg", None)]);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line) in [
            ("", 1),
            ("0.jpg\n", 1),
            ("image,expression\na.jpg,6\n", 2),
            ("image,expression\na.jpg,1\n\na.jpg,2\n", 4),
            ("image,expression\na.jpg,-1\n", 2),
            ("image,expression\n../a.jpg,1\n", 2),
            ("image,expression\n,1\n", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text:?}");
        }
    }

    #[test]
    fn labels_join_by_name() {
        let mut rows = vec![of("a", None), of("b", Some(1)), of("c", None)];
        let strays = join(&mut rows, vec![of("c", Some(5)), of("x", Some(0)), of("b", Some(2))]);
        assert_eq!(rows, [of("a", None), of("b", Some(2)), of("c", Some(5))]);
        assert_eq!(strays, ["x"]);
    }
}
