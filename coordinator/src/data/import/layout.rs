//! Finds the images of each split, their labels and where their landmarks should lie. Reads no image.

use std::fs;
use std::path::{Path, PathBuf};

use shared::expression::Expression;
use shared::pack::Split;

use super::{Consequence, ImportError, ImportOptions, Problem, table};

const TRAIN: &[&str] = &["training_set_synthetic_images"];
const VALIDATION: &[&str] = &["validation_set_real_images"];
const TEST: &[&str] = &["lsd_test_data", "ABAW4_test_data"];
const TEST_LIST: &str = "LSD_Challenge_test_set_release.txt";
const TEST_LABELS: &str = "test_labels.csv";

/// A file that should be an image.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) split: Split,
    /// `CLASS/N.jpg`, or `N.jpg` for a test image.
    pub(super) id: String,
    pub(super) path: PathBuf,
    /// The path for messages: relative to the source.
    pub(super) file: PathBuf,
    pub(super) label: Option<u8>,
    /// Where its landmarks may lie, best first.
    pub(super) landmarks: [PathBuf; 2],
    /// The split has a landmark folder, so a missing file is worth a note.
    pub(super) landmarks_expected: bool,
}

/// Everything found, in pack order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn find(options: &ImportOptions) -> Result<Found, ImportError> {
    if let Some(root) = options.landmarks.as_ref().filter(|root| !root.is_dir()) {
        return Err(ImportError::NoLandmarkFolder(root.clone()));
    }
    let source = options.source.as_path();
    let mut search = Search {
        source,
        landmarks: options.landmarks.clone().unwrap_or_else(|| source.join("landmarks")),
        found: Found::default(),
    };
    let train = subfolder(source, TRAIN)?.ok_or_else(|| ImportError::NoTrainingFolder(source.to_owned()))?;
    search.classes(Split::Train, &train)?;
    if let Some(validation) = subfolder(source, VALIDATION)? {
        search.classes(Split::Validation, &validation)?;
    }
    if let Some(test) = subfolder(source, TEST)? {
        search.test(&test, options.test_labels.as_deref())?;
    }
    Ok(search.found)
}

struct Search<'a> {
    source: &'a Path,
    landmarks: PathBuf,
    found: Found,
}

impl Search<'_> {
    /// The class folders of one split, in class order.
    fn classes(&mut self, split: Split, folder: &str) -> Result<(), ImportError> {
        let root = self.source.join(folder);
        let mut classes = Vec::new();
        for name in names(&root)? {
            let path = root.join(&name);
            if path.is_dir() {
                let expression = expression_of(&name)
                    .ok_or_else(|| ImportError::UnknownClass { parent: root.clone(), name: name.clone() })?;
                classes.push((expression, name));
            }
        }
        classes.sort();
        for (expression, class) in classes {
            for name in image_names(&root.join(&class))? {
                let id = format!("{class}/{name}");
                self.candidate(split, folder, id, Some(expression as u8));
            }
        }
        Ok(())
    }

    /// The flat test folder, in the order of its list if there is one.
    fn test(&mut self, folder: &str, labels: Option<&Path>) -> Result<(), ImportError> {
        let list = self.source.join(TEST_LIST);
        let mut rows = if list.is_file() {
            table::read(&list)?
        } else {
            let names = image_names(&self.source.join(folder))?;
            names.into_iter().map(|image| table::Row { image, label: None }).collect()
        };
        let default = self.source.join(TEST_LABELS);
        if let Some(path) = labels.or(default.is_file().then_some(default.as_path())) {
            let strays = table::join(&mut rows, table::read(path)?);
            let file = path.strip_prefix(self.source).unwrap_or(path).to_owned();
            self.found.problems.extend(strays.into_iter().map(|image| Problem {
                file: file.clone(),
                reason: format!("{image:?} is not a test image"),
                consequence: Consequence::Ignored,
            }));
        }
        for row in rows {
            self.candidate(Split::Test, folder, row.image, row.label);
        }
        Ok(())
    }

    fn candidate(&mut self, split: Split, folder: &str, id: String, label: Option<u8>) {
        let file = Path::new(folder).join(&id);
        if id.contains(char::is_control) {
            let reason = "its name is not one line of text".to_owned();
            self.found.problems.push(Problem { file, reason, consequence: Consequence::LeftOut });
            return;
        }
        let path = self.source.join(&file);
        self.found.candidates.push(Candidate {
            split,
            landmarks: [self.landmarks.join(&file).with_extension("txt"), path.with_extension("txt")],
            landmarks_expected: self.landmarks.join(folder).is_dir(),
            id,
            path,
            file,
            label,
        });
    }
}

/// "ANGRER" is how the challenge's archive spells anger.
fn expression_of(folder: &str) -> Option<Expression> {
    if folder.eq_ignore_ascii_case("angrer") {
        return Some(Expression::Anger);
    }
    Expression::ALL.into_iter().find(|expression| folder.eq_ignore_ascii_case(expression.name()))
}

/// The first of `known` that lies in `root`, whatever its case.
fn subfolder(root: &Path, known: &[&str]) -> Result<Option<String>, ImportError> {
    let present = names(root)?;
    let folder = |wanted: &&str| {
        present.iter().find(|name| name.eq_ignore_ascii_case(wanted) && root.join(name).is_dir()).cloned()
    };
    Ok(known.iter().find_map(folder))
}

/// What should be images in `folder`, by number and then by name; landmark files may lie among them.
fn image_names(folder: &Path) -> Result<Vec<String>, ImportError> {
    let mut names = names(folder)?;
    names.retain(|name| !Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("txt")));
    names.sort_by_cached_key(|name| {
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        (stem.parse::<u64>().unwrap_or(u64::MAX), name.clone())
    });
    Ok(names)
}

/// The visible entries of a folder, sorted; names that are not Unicode keep what can be shown of them.
fn names(folder: &Path) -> Result<Vec<String>, ImportError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(ImportError::read(folder))? {
        let name = entry.map_err(ImportError::read(folder))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "Thumbs.db" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
