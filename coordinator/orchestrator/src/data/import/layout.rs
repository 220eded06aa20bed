//! Finds the images of each split, their labels and their landmark files. Reads no image.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use shared::expression::Expression;
use shared::pack::Split;

use super::folder::{self, Entry};
use super::landmarks::Naming;
use super::names::{is_of_image, stem_of_image};
use super::problems::{Consequence, Problem, Reason};
use super::{ImportError, ImportOptions, labels};

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
    /// Its name, if it is a class folder: the first part of its images' ids.
    class: Option<String>,
    /// True if the split has landmarks, so that an image without them is a problem.
    pub(super) landmarks_expected: bool,
}

/// A file that should be an image. It does not store its path, because there may be hundreds of thousands of them.
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
    /// Classes to leave out.
    exclude: Vec<String>,
    /// Those of them that were found, in lower case.
    excluded: BTreeSet<String>,
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

    /// The landmark file of an image and its naming, if it has one.
    pub(super) fn landmark_file(&self, candidate: &Candidate) -> Option<(PathBuf, Naming)> {
        let folder = Path::new(&self.folder(candidate).path);
        let stem = stem_of_image(&candidate.name);
        match candidate.landmarks {
            LandmarksAt::Root(naming) => Some((self.landmarks.join(folder).join(naming.file(stem)), naming)),
            LandmarksAt::Beside(naming) => Some((self.source.join(folder).join(naming.file(stem)), naming)),
            LandmarksAt::Nowhere | LandmarksAt::Row(_) => None,
        }
    }

    /// `path`, relative to the source if it is inside.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        // Problems are written as JSON, so their paths must be text.
        path.strip_prefix(&self.source).unwrap_or(path).to_string_lossy().into_owned().into()
    }

    pub(super) fn ignore(&mut self, file: PathBuf, reason: impl Into<Reason>) {
        self.problems.push(Problem::ignored(file, reason));
    }
}

/// Finds everything; `root` is the folder of landmark files.
pub(super) fn find(options: &ImportOptions, root: &Path) -> Result<Found, ImportError> {
    let source = options.source.as_path();
    let mut found = Found {
        source: source.to_owned(),
        landmarks: root.to_owned(),
        exclude: options.exclude_classes.clone(),
        ..Found::default()
    };
    let train = subfolder(source, TRAIN)?.ok_or_else(|| ImportError::NoTrainingFolder(source.to_owned()))?;
    found.classes(Split::Train, &train)?;
    if let Some(validation) = subfolder(source, VALIDATION)? {
        found.classes(Split::Validation, &validation)?;
    }
    if let Some(test) = subfolder(source, TEST)? {
        found.test(&test, options.test_labels.as_deref())?;
    }
    if let Some(name) = found.exclude.iter().find(|name| !found.excluded.contains(&name.to_lowercase())) {
        return Err(ImportError::NothingExcluded(name.clone()));
    }
    Ok(found)
}

impl Found {
    /// The class folders of one split, in class order.
    fn classes(&mut self, split: Split, split_folder: &str) -> Result<(), ImportError> {
        let root = self.source.join(split_folder);
        let mut classes = Vec::new();
        for Entry { name, is_folder } in self.entries(&root)? {
            if !is_folder {
                self.ignore(Path::new(split_folder).join(name), "it is not in a class folder");
            } else if !self.is_excluded(&name) {
                let expression = Expression::from_name(&name)
                    .ok_or_else(|| ImportError::UnknownClass { parent: root.clone(), name: name.clone() })?;
                classes.push((expression, name));
            }
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

    /// True if the class folder `name` is to be left out.
    fn is_excluded(&mut self, name: &str) -> bool {
        let excluded = self.exclude.iter().any(|excluded| excluded.eq_ignore_ascii_case(name));
        if excluded {
            self.excluded.insert(name.to_lowercase());
        }
        excluded
    }

    /// Notes the landmark folders of a split that have no folder of images.
    fn classes_without_images(
        &mut self,
        split_folder: &str,
        classes: &[(Expression, String)],
    ) -> Result<(), ImportError> {
        let root = self.landmarks.join(split_folder);
        for Entry { name, .. } in self.entries(&root)? {
            if !classes.iter().any(|(_, class)| *class == name) && !self.is_excluded(&name) {
                let file = self.shown(&root.join(name));
                self.ignore(file, "no folder of images has this name");
            }
        }
        Ok(())
    }

    /// The test folder, in the order of its list if there is one.
    fn test(&mut self, folder: &str, labels: Option<&Path>) -> Result<(), ImportError> {
        let list = self.source.join(TEST_LIST);
        let listed = if list.is_file() { Some(labels::read(&list)?) } else { None };
        let mut rows = if let Some(rows) = &listed {
            rows.clone()
        } else {
            let path = self.source.join(folder);
            labels::rows_of(folder::list(&path).map_err(ImportError::read(&path))?.entries)
        };
        let default = self.source.join(TEST_LABELS);
        if let Some(path) = labels.or(default.is_file().then_some(default.as_path())) {
            let strays = labels::join(path, &mut rows)?;
            let file = self.shown(path);
            for stray in strays {
                self.ignore(file.clone(), stray);
            }
        }
        let label: BTreeMap<&str, Option<u8>> =
            rows.iter().map(|row| (row.image.as_str(), row.label)).collect();
        let landmarks_expected = self.landmarks.join(folder).is_dir();
        let folder = Folder { split: Split::Test, path: folder.to_owned(), class: None, landmarks_expected };
        let order = listed.is_some().then(|| rows.iter().map(|row| row.image.clone()).collect());
        self.images(folder, order, |name| label.get(name).copied().flatten())
    }

    /// One folder: its images, in number order or in the order of `listed`, and their landmark files.
    fn images(
        &mut self,
        folder: Folder,
        listed: Option<Vec<String>>,
        label: impl Fn(&str) -> Option<u8>,
    ) -> Result<(), ImportError> {
        let here = self.source.join(&folder.path);
        let there = self.landmarks.join(&folder.path);
        let mut beside = LandmarkFiles::default();
        let (mut images, mut folders) = (Vec::new(), Vec::new());
        for entry in self.entries(&here)? {
            match (beside.take(&here, &entry), entry.is_folder) {
                (true, _) => {}
                (false, true) => folders.push(entry.name),
                (false, false) => images.push(entry.name),
            }
        }
        let mut root = LandmarkFiles::default();
        if there.is_dir() {
            self.entries(&there)?.iter().for_each(|entry| _ = root.take(&there, entry));
        }
        for name in folders {
            // The landmark file of something that only looks like an image belongs to that.
            let _landmarks = (root.of(stem_of_image(&name)), beside.of(stem_of_image(&name)));
            self.nested(&folder.path, &name);
        }
        match listed {
            Some(listed) => {
                let known: HashSet<&String> = listed.iter().collect();
                for name in images.iter().filter(|name| !known.contains(name)) {
                    let file = Path::new(&folder.path).join(name);
                    self.ignore(file, "the list of test images does not name it");
                }
                images = listed;
            }
            None => images.sort_by_cached_key(|name| (number(name), name.clone())),
        }
        let first = self.candidates.len();
        for name in images {
            if name.contains(char::is_control) {
                let file = Path::new(&folder.path).join(&name);
                self.leave_out(file, "its name is not one line of text", 1);
                continue;
            }
            let stem = stem_of_image(&name);
            let landmarks = match (root.of(stem), beside.of(stem)) {
                (Some(naming), _) => LandmarksAt::Root(naming),
                (None, Some(naming)) => LandmarksAt::Beside(naming),
                (None, None) => LandmarksAt::Nowhere,
            };
            let label = label(&name);
            self.candidates.push(Candidate { folder: self.folders.len(), name, label, landmarks });
        }
        self.folders.push(folder);
        self.shared_landmark_files(first);
        for (files, folder) in [(root, there), (beside, here)] {
            for (file, reason) in files.unused() {
                let file = self.shown(&folder.join(file));
                self.ignore(file, reason);
            }
        }
        Ok(())
    }

    /// Notes the folder `name` among the images in `folder`, and how many images in it are not imported.
    fn nested(&mut self, folder: &str, name: &str) {
        let file = Path::new(folder).join(name);
        let path = self.source.join(&file);
        // A link may form a circle.
        let inside = if path.is_symlink() { 0 } else { folder::images_below(&path) };
        let is_left_out = inside > 0 || is_of_image(name);
        let reason = match inside {
            0 => "it is a folder, not a file".to_owned(),
            1 => format!("it is a folder, not a file; move the image in it up to {folder}"),
            _ => format!("it is a folder, not a file; move the {inside} images in it up to {folder}"),
        };
        if is_left_out {
            self.leave_out(file, &reason, inside.max(1));
        } else {
            self.ignore(file, reason);
        }
    }

    fn leave_out(&mut self, file: PathBuf, reason: &str, images: u64) {
        let problem = Problem::of_image(file, reason.into(), Consequence::LeftOut);
        self.problems.push(Problem { images, ..problem });
    }

    /// Notes the images from `first` on that share their landmark file with another image.
    fn shared_landmark_files(&mut self, first: usize) {
        let mut owners: HashMap<(&str, LandmarksAt), &Candidate> = HashMap::new();
        let mut shared = Vec::new();
        for candidate in &self.candidates[first..] {
            let Some((path, _)) = self.landmark_file(candidate) else { continue };
            let key = (stem_of_image(&candidate.name), candidate.landmarks);
            if let Some(owner) = owners.get(&key) {
                let path = self.shown(&path);
                let text = format!("its landmarks {} are also those of {}", path.display(), owner.name);
                shared.push(Problem::of_image(self.file(candidate), text.into(), Consequence::Kept));
            } else {
                owners.insert(key, candidate);
            }
        }
        self.problems.extend(shared);
    }

    /// The entries of a folder, sorted and without clutter. Those whose names are not UTF-8 are noted as problems.
    fn entries(&mut self, folder: &Path) -> Result<Vec<Entry>, ImportError> {
        let listing = folder::list(folder).map_err(ImportError::read(folder))?;
        for name in listing.not_utf8 {
            let file = self.shown(&folder.join(name));
            self.leave_out(file, "its name is not UTF-8; rename it", 1);
        }
        Ok(listing.entries)
    }
}

/// The landmark files of one folder, by stem.
#[derive(Debug, Default)]
struct LandmarkFiles {
    /// For each stem its files, the preferred one first, and whether an image with this stem was seen.
    files: BTreeMap<String, (Vec<Naming>, bool)>,
}

impl LandmarkFiles {
    /// Takes `entry` if it is a landmark file.
    fn take(&mut self, folder: &Path, entry: &Entry) -> bool {
        let Some((stem, naming)) = Naming::of(folder, &entry.name, entry.is_folder) else { return false };
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

/// The first of `known` that is in `root`, in upper or lower case.
fn subfolder(root: &Path, known: &[&str]) -> Result<Option<String>, ImportError> {
    let present = folder::list(root).map_err(ImportError::read(root))?.entries;
    let folder = |wanted: &&str| {
        let mut fitting =
            present.iter().filter(|entry| entry.is_folder && entry.name.eq_ignore_ascii_case(wanted));
        fitting.next().map(|entry| entry.name.clone())
    };
    Ok(known.iter().find_map(folder))
}

/// The number by which images are sorted, before their names.
fn number(name: &str) -> u64 {
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.parse().unwrap_or(u64::MAX)
}
