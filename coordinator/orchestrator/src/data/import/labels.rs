//! Reads `image,expression` tables: the list of test images, and their labels.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use shared::predicted::{self, Classified, TableError};

use super::ImportError;
use super::folder::Entry;
use super::names::stem_of_image;
use super::problems::Reason;

/// A test image, and its class index if it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) image: String,
    pub(super) label: Option<u8>,
}

/// Reads the table at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, ImportError> {
    Ok(classified(path)?.into_iter().map(Row::from).collect())
}

/// The images of a test folder without a list.
pub(super) fn rows_of(entries: Vec<Entry>) -> Vec<Row> {
    entries.into_iter().map(|entry| Row { image: entry.name, label: None }).collect()
}

/// Gives `rows` the labels of the table at `path`, whose names may lack the extension. Returns the problems of lines that
/// label no test image.
///
/// # Errors
/// If the table cannot be read, or labels no test image.
pub(super) fn join(path: &Path, rows: &mut [Row]) -> Result<Vec<Reason>, ImportError> {
    let labels = classified(path)?;
    let error =
        |line, reason: &str| ImportError::Table { path: path.to_owned(), line, reason: reason.to_owned() };
    if labels.iter().all(|row| row.class.is_none()) {
        return Err(error(labels[0].line, "no image has a label"));
    }
    let places = Places::of(rows);
    let (count, mut strays) = (labels.len(), Vec::new());
    for label in labels {
        match places.find(&label.image) {
            Some(i) => rows[i].label = Row::from(label).label.or(rows[i].label),
            None => strays.push(label),
        }
    }
    if strays.len() == count {
        let reason = format!("none of its {count} images is a test image; this one is {:?}", strays[0].image);
        return Err(error(strays[0].line, &reason));
    }
    let reason = |stray: Classified| Reason {
        place: Some(format!("line {}: {:?}", stray.line, stray.image)),
        text: "it is not a test image".to_owned(),
    };
    Ok(strays.into_iter().map(reason).collect())
}

/// Where the test images are in their list.
struct Places {
    by_name: HashMap<String, usize>,
    /// `None` if several images have this stem.
    by_stem: HashMap<String, Option<usize>>,
}

impl Places {
    fn of(rows: &[Row]) -> Self {
        let mut by_stem = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            let stem = stem_of_image(&row.image).to_owned();
            by_stem.entry(stem).and_modify(|place| *place = None).or_insert(Some(i));
        }
        Self { by_name: rows.iter().enumerate().map(|(i, row)| (row.image.clone(), i)).collect(), by_stem }
    }

    fn find(&self, image: &str) -> Option<usize> {
        self.by_name.get(image).copied().or_else(|| self.by_stem.get(image).copied().flatten())
    }
}

fn classified(path: &Path) -> Result<Vec<Classified>, ImportError> {
    let error = |TableError { line, reason }| ImportError::Table { path: path.to_owned(), line, reason };
    let rows = predicted::read_list(&fs::read(path).map_err(ImportError::read(path))?).map_err(error)?;
    for Classified { image, line, .. } in &rows {
        if image.contains(['/', '\\']) || image == ".." {
            let reason = format!("{image:?} is not a file name");
            return Err(error(TableError { line: *line, reason }));
        }
    }
    Ok(rows)
}

impl From<Classified> for Row {
    fn from(row: Classified) -> Self {
        Self { image: row.image, label: row.class.map(|class| class as u8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(image: &str, label: Option<u8>) -> Row {
        Row { image: image.to_owned(), label }
    }

    fn with<T>(text: &str, run: impl FnOnce(&Path) -> Result<T, ImportError>) -> Result<T, String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("table.csv");
        fs::write(&path, text).unwrap();
        run(&path).map_err(|error| error.to_string().replace(&*root.path().to_string_lossy(), ""))
    }

    /// Case 13: quotes, names of classes and other line breaks, as `evaluate` reads them.
    #[test]
    fn labels_are_optional_and_order_is_kept() {
        for text in [
            "\u{feff}image,expression\r\n10.jpg\r\n2.jpg,3\r\n\r\n1.jpg,\r\n",
            "\"Image\";\"Expression\"\r\"10.jpg\";\"\"\r\"2.jpg\";\"happiness\"\r\"1.jpg\";NA\r",
        ] {
            let rows = with(text, read).unwrap();
            assert_eq!(rows, [of("10.jpg", None), of("2.jpg", Some(3)), of("1.jpg", None)]);
        }
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
            let error = with(text, read).unwrap_err();
            assert!(error.starts_with(&format!("/table.csv:{line}: ")), "{text:?}: {error}");
        }
    }

    #[test]
    fn labels_join_by_name() {
        let rows = || vec![of("a", None), of("b", Some(1)), of("c", None)];
        let mut joined = rows();
        let strays = with("image,expression\nc,5\nx,0\nb,2\n", |path| join(path, &mut joined)).unwrap();
        assert_eq!(joined, [of("a", None), of("b", Some(2)), of("c", Some(5))]);
        assert_eq!(strays[0].place.as_deref(), Some("line 3: \"x\""));
        // Case 12: names without an extension are found, unless they may mean two images.
        let mut named =
            vec![of("1.jpg", None), of("2.jpg", None), of("2.png", None), of("2", None), of("a.1.png", None)];
        let strays = with("image,expression\n1,0\n2,5\na.1,4\na,3\n", |path| join(path, &mut named)).unwrap();
        assert_eq!(
            named.iter().map(|row| row.label).collect::<Vec<_>>(),
            [Some(0), None, None, Some(5), Some(4)]
        );
        assert_eq!(strays.len(), 1, "{strays:?}");
        let refuse = |text: &str| with(text, |path| join(path, &mut rows())).unwrap_err();
        // Case 13: a table that yields nothing is an error.
        assert_eq!(refuse("image,expression\na,\nb,\n"), "/table.csv:2: no image has a label");
        let none = "/table.csv:2: none of its 2 images is a test image; this one is \"x\"";
        assert_eq!(refuse("image,expression\nx,1\ny,2\n"), none);
    }
}
