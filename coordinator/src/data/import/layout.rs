//! Finds the images of each split, their labels and their landmark files. Reads no image.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use shared::expression::Expression;
use shared::pack::Split;

use super::landmarks::Naming;
use super::{Consequence, ImportError, ImportOptions, Problem, table};

const TRAIN: &[&str] = &["training_set_synthetic_images"];
const VALIDATION: &[&str] = &["validation_set_real_images"];
const TEST: &[&str] = &["lsd_test_data", "ABAW4_test_data"];
const TEST_LIST: &str = "LSD_Challenge_test_set_release.txt";
const TEST_LABELS: &str = "test_labels.csv";

/// One folder of images.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) split: Split,
    /// Relative to the source.
    pub(super) path: String,
    /// Its name if it is a class; the first part of its images' ids.
    class: Option<String>,
    /// Its split has landmarks, so a missing file is worth a note.
    pub(super) landmarks_expected: bool,
}

/// A file that should be an image. There are hundreds of thousands, so it holds no path.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) folder: usize,
    pub(super) name: String,
    pub(super) label: Option<u8>,
    pub(super) landmarks: LandmarksAt,
}

/// Where the landmarks of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LandmarksAt {
    Nowhere,
    /// In the folder of landmarks, under the image's folder.
    Root(Naming),
    /// In the image's own folder.
    Beside(Naming),
    /// In this row of a table.
    Row(usize),
}

/// Everything found, in pack order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) source: PathBuf,
    /// The root of the landmark files.
    landmarks: PathBuf,
    pub(super) folders: Vec<Folder>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) problems: Vec<Problem>,
}

impl Found {
    pub(super) fn folder(&self, candidate: &Candidate) -> &Folder {
        &self.folders[candidate.folder]
    }

    /// `CLASS/N.jpg`, or `N.jpg` for a test image.
    pub(super) fn id(&self, candidate: &Candidate) -> String {
        match &self.folder(candidate).class {
            Some(class) => format!("{class}/{}", candidate.name),
            None => candidate.name.clone(),
        }
    }

    /// The image's path relative to the source, for messages.
    pub(super) fn file(&self, candidate: &Candidate) -> PathBuf {
        Path::new(&self.folder(candidate).path).join(&candidate.name)
    }

    /// The landmark file and its naming, if the image has one.
    pub(super) fn landmark_file(&self, candidate: &Candidate) -> Option<(PathBuf, Naming)> {
        let folder = Path::new(&self.folder(candidate).path);
        let stem = Path::new(&candidate.name).file_stem()?.to_str()?;
        match candidate.landmarks {
            LandmarksAt::Root(naming) => Some((self.landmarks.join(folder).join(naming.file(stem)), naming)),
            LandmarksAt::Beside(naming) => Some((self.source.join(folder).join(naming.file(stem)), naming)),
            LandmarksAt::Nowhere | LandmarksAt::Row(_) => None,
        }
    }

    /// `path` relative to the source if it lies in there.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        // Problems are written as JSON, so their paths are text.
        path.strip_prefix(&self.source).unwrap_or(path).to_string_lossy().into_owned().into()
    }

    fn ignore(&mut self, file: PathBuf, reason: &str) {
        self.problems.push(Problem { file, reason: reason.to_owned(), consequence: Consequence::Ignored });
    }
}

/// Finds all; `root` is the folder of landmark files.
pub(super) fn find(options: &ImportOptions, root: &Path) -> Result<Found, ImportError> {
    let source = options.source.as_path();
    let mut found = Found { source: source.to_owned(), landmarks: root.to_owned(), ..Found::default() };
    let train = subfolder(source, TRAIN)?.ok_or_else(|| ImportError::NoTrainingFolder(source.to_owned()))?;
    found.classes(Split::Train, &train)?;
    if let Some(validation) = subfolder(source, VALIDATION)? {
        found.classes(Split::Validation, &validation)?;
    }
    if let Some(test) = subfolder(source, TEST)? {
        found.test(&test, options.test_labels.as_deref())?;
    }
    Ok(found)
}

impl Found {
    /// The class folders of one split, in class order.
    fn classes(&mut self, split: Split, split_folder: &str) -> Result<(), ImportError> {
        let root = self.source.join(split_folder);
        let mut classes = Vec::new();
        for name in self.names(&root)? {
            if !root.join(&name).is_dir() {
                self.ignore(Path::new(split_folder).join(name), "it lies in no class folder");
                continue;
            }
            let expression = expression_of(&name)
                .ok_or_else(|| ImportError::UnknownClass { parent: root.clone(), name: name.clone() })?;
            classes.push((expression, name));
        }
        classes.sort();
        let landmarks_expected = self.landmarks.join(split_folder).is_dir();
        if landmarks_expected {
            self.classes_without_images(split_folder, &classes)?;
        }
        for (expression, class) in classes {
            let path = format!("{split_folder}/{class}");
            let folder = Folder { split, path, class: Some(class), landmarks_expected };
            self.images(folder, None, |_| Some(expression as u8))?;
        }
        Ok(())
    }

    /// Notes the landmark folders of a split that no images belong to.
    fn classes_without_images(
        &mut self,
        split_folder: &str,
        classes: &[(Expression, String)],
    ) -> Result<(), ImportError> {
        let root = self.landmarks.join(split_folder);
        for name in self.names(&root)? {
            if !classes.iter().any(|(_, class)| *class == name) {
                let file = self.shown(&root.join(name));
                self.ignore(file, "no folder of images has this name");
            }
        }
        Ok(())
    }

    /// The flat test folder, in the order of its list if there is one.
    fn test(&mut self, folder: &str, labels: Option<&Path>) -> Result<(), ImportError> {
        let list = self.source.join(TEST_LIST);
        let listed = if list.is_file() { Some(table::read(&list)?) } else { None };
        let mut rows = match &listed {
            Some(rows) => rows.clone(),
            None => rows_of(&self.source.join(folder))?,
        };
        let default = self.source.join(TEST_LABELS);
        if let Some(path) = labels.or(default.is_file().then_some(default.as_path())) {
            let strays = table::join(&mut rows, table::read(path)?);
            let file = self.shown(path);
            for image in strays {
                self.ignore(file.clone(), &format!("{image:?} is not a test image"));
            }
        }
        let label: BTreeMap<&str, Option<u8>> =
            rows.iter().map(|row| (row.image.as_str(), row.label)).collect();
        let landmarks_expected = self.landmarks.join(folder).is_dir();
        let folder = Folder { split: Split::Test, path: folder.to_owned(), class: None, landmarks_expected };
        let order = listed.is_some().then(|| rows.iter().map(|row| row.image.clone()).collect());
        self.images(folder, order, |name| label.get(name).copied().flatten())
    }

    /// One folder: its images in number order or in that of `listed`, and their landmark files.
    fn images(
        &mut self,
        folder: Folder,
        listed: Option<Vec<String>>,
        label: impl Fn(&str) -> Option<u8>,
    ) -> Result<(), ImportError> {
        let here = self.source.join(&folder.path);
        let there = self.landmarks.join(&folder.path);
        let mut beside = LandmarkFiles::default();
        let present = self.names(&here)?;
        let mut images: Vec<String> = present.into_iter().filter(|name| !beside.take(&here, name)).collect();
        let mut root = LandmarkFiles::default();
        if there.is_dir() {
            for name in self.names(&there)? {
                root.take(&there, &name);
            }
        }
        match listed {
            Some(listed) => {
                let known: HashSet<&String> = listed.iter().collect();
                for name in images.iter().filter(|name| !known.contains(name)) {
                    self.ignore(
                        Path::new(&folder.path).join(name),
                        "the list of test images does not name it",
                    );
                }
                images = listed;
            }
            None => images.sort_by_cached_key(|name| (number(name), name.clone())),
        }
        for name in images {
            let file = Path::new(&folder.path).join(&name);
            if name.contains(char::is_control) {
                let reason = "its name is not one line of text".to_owned();
                self.problems.push(Problem { file, reason, consequence: Consequence::LeftOut });
                continue;
            }
            let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let landmarks = match (root.of(stem), beside.of(stem)) {
                (Some(naming), _) => LandmarksAt::Root(naming),
                (None, Some(naming)) => LandmarksAt::Beside(naming),
                (None, None) => LandmarksAt::Nowhere,
            };
            let label = label(&name);
            self.candidates.push(Candidate { folder: self.folders.len(), name, label, landmarks });
        }
        self.folders.push(folder);
        for (files, folder) in [(root, there), (beside, here)] {
            for (file, reason) in files.unused() {
                let file = self.shown(&folder.join(file));
                self.ignore(file, reason);
            }
        }
        Ok(())
    }

    /// The visible entries of a folder, sorted; those whose names are not UTF-8 are noted instead.
    fn names(&mut self, folder: &Path) -> Result<Vec<String>, ImportError> {
        let (names, others) = utf8_names(folder)?;
        for name in others {
            let file = self.shown(&folder.join(name));
            let reason = "its name is not UTF-8; rename it".to_owned();
            self.problems.push(Problem { file, reason, consequence: Consequence::LeftOut });
        }
        Ok(names)
    }
}

/// The landmark files of one folder, by stem.
#[derive(Debug, Default)]
struct LandmarkFiles {
    /// Per stem its files, the preferred one first, and whether an image of this stem has been seen.
    files: BTreeMap<String, (Vec<Naming>, bool)>,
}

impl LandmarkFiles {
    /// Takes the entry `name` if it is a landmark file.
    fn take(&mut self, folder: &Path, name: &str) -> bool {
        let Some((stem, naming)) = Naming::of(folder, name) else { return false };
        let (namings, _) = self.files.entry(stem).or_default();
        namings.push(naming);
        namings.sort_unstable();
        true
    }

    /// The file of an image.
    fn of(&mut self, stem: &str) -> Option<Naming> {
        let (namings, seen) = self.files.get_mut(stem)?;
        *seen = true;
        namings.first().copied()
    }

    /// Files that no image uses, and why.
    fn unused(self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        self.files.into_iter().flat_map(|(stem, (namings, seen))| {
            let reason = if seen { "the image has another landmark file" } else { "it belongs to no image" };
            let used = usize::from(seen);
            namings.into_iter().skip(used).map(move |naming| (naming.file(&stem), reason)).collect::<Vec<_>>()
        })
    }
}

/// The images of a test folder without a list.
fn rows_of(folder: &Path) -> Result<Vec<table::Row>, ImportError> {
    let (names, _) = utf8_names(folder)?;
    Ok(names.into_iter().map(|image| table::Row { image, label: None }).collect())
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
    let (present, _) = utf8_names(root)?;
    let folder = |wanted: &&str| {
        present.iter().find(|name| name.eq_ignore_ascii_case(wanted) && root.join(name).is_dir()).cloned()
    };
    Ok(known.iter().find_map(folder))
}

/// What an image's name is sorted by before the name itself.
fn number(name: &str) -> u64 {
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.parse().unwrap_or(u64::MAX)
}

/// The visible entries of a folder, sorted: names in UTF-8, and what can be shown of the others.
fn utf8_names(folder: &Path) -> Result<(Vec<String>, Vec<String>), ImportError> {
    let (mut names, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(ImportError::read(folder))? {
        match entry.map_err(ImportError::read(folder))?.file_name().into_string() {
            Ok(name) if name.starts_with('.') || name == "Thumbs.db" => {}
            Ok(name) => names.push(name),
            Err(name) => others.push(name.to_string_lossy().into_owned()),
        }
    }
    names.sort();
    others.sort();
    Ok((names, others))
}
