//! Compares jobs of the paper's trainer with their dataset: refuses what cannot be trained, and notes what can be but
//! may not be intended.

use std::collections::{BTreeMap, BTreeSet};

use shared::expression::{CLASSES, Expression};
use shared::mtl::MtlSpec;
use shared::plural::count;
use shared::subset;

use super::dataset::{Content, Images};
use super::mtl::MtlJob;
use super::problem::{Problem, Span};

/// A batch norm in training needs two images.
const FEWEST_TRAINING_IMAGES: u64 = 2;

/// Why jobs cannot be trained on this dataset; `span` is the dataset's place in the sweep file.
pub(super) fn problems(content: &Content, jobs: &[MtlJob<'_>], span: Span) -> Vec<Problem> {
    let mut problems = Vec::new();
    if content.validation.count == 0 {
        let message =
            "the dataset has no validation images; every epoch is scored on them, so no job can finish";
        let help = "import it again with a folder `validation_set_real_images` (docs/data.md)";
        problems.push(Problem::new(span, message).help(help));
    }
    let too_few: BTreeSet<u64> = jobs
        .iter()
        .map(|job| Subset::of(&job.spec, &content.train).images())
        .filter(|images| *images < FEWEST_TRAINING_IMAGES)
        .collect();
    if let Some(&images) = too_few.first() {
        let found = count(images as usize, "training image");
        let message = format!("a job would have {found}; it needs at least {FEWEST_TRAINING_IMAGES}");
        problems.push(Problem::new(span, message).help("import more images, or raise `subset_fraction`"));
    }
    problems
}

/// What may be surprising, each in a sentence.
pub(super) fn notes(content: &Content, jobs: &[MtlJob<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    let train = missing_classes("training", &content.train, "cannot be learned");
    let validation = missing_classes("validation", &content.validation, "has F1 0");
    let test = missing_classes("test", &content.test, "has F1 0");
    notes.extend(train.into_iter().chain(validation).chain(test));
    if content.test.count == 0 {
        notes.push("the dataset has no test images, so jobs and ensembles get no test scores".to_owned());
    }
    notes.extend(by_group(jobs, |spec| of_job(content, spec)));
    notes
}

/// Notes missing classes, each of which costs a sixth of macro F1.
fn missing_classes(split: &str, images: &Images, effect: &str) -> Option<String> {
    let missing = Expression::ALL.into_iter().filter(|expression| images.by_class[expression.index()] == 0);
    let missing: Vec<&str> = missing.map(Expression::name).collect();
    if missing.is_empty() || missing.len() == CLASSES {
        return None; // A split without labels is not scored.
    }
    let most = 100.0 * (CLASSES - missing.len()) as f64 / CLASSES as f64;
    Some(format!(
        "the {split} images have no {}: a class without images {effect}, so macro F1 is at most {most:.1}",
        missing.join(", no ")
    ))
}

fn of_job(content: &Content, spec: &MtlSpec) -> Vec<String> {
    let mut notes = Vec::new();
    let (size, stored) = (spec.augment.image_size, content.image_size);
    if size > stored {
        notes.push(format!(
            "`image_size` {size} is above the dataset's {stored} pixels: images are enlarged, which takes time and adds \
             no detail"
        ));
    }
    let subset = Subset::of(spec, &content.train);
    let (batch, images) = (u64::from(spec.training.batch_size), subset.images());
    if batch > images {
        notes.push(format!(
            "`batch_size` {batch} is above the {} of a job: an epoch is a single step",
            count(images as usize, "training image")
        ));
    }
    let fraction = spec.subset.subset_fraction;
    if fraction < 1.0 && subset.smallest_class() == 1 {
        notes.push(format!(
            "`subset_fraction` {fraction} leaves {} of {}, a single one of the rarest class",
            images,
            count(content.train.count as usize, "training image")
        ));
    }
    notes
}

/// The part of the training images that a job sees.
struct Subset([u64; CLASSES]);

impl Subset {
    fn of(spec: &MtlSpec, train: &Images) -> Self {
        let fraction = spec.subset.subset_fraction;
        Self(train.by_class.map(|images| {
            if fraction < 1.0 { subset::count(images as usize, fraction) as u64 } else { images }
        }))
    }

    fn images(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Number of images of the rarest class that has any.
    fn smallest_class(&self) -> u64 {
        self.0.iter().copied().filter(|images| *images > 0).min().unwrap_or_default()
    }
}

/// Each sentence once, preceded by the groups that it is about unless it is about all jobs.
fn by_group(jobs: &[MtlJob<'_>], notes: impl Fn(&MtlSpec) -> Vec<String>) -> Vec<String> {
    let groups: BTreeSet<&str> = jobs.iter().map(|MtlJob { job, .. }| job.group.as_str()).collect();
    let mut told: Vec<String> = Vec::new();
    let mut about: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for MtlJob { job, spec } in jobs {
        for note in notes(spec) {
            if !told.contains(&note) {
                told.push(note.clone());
            }
            about.entry(note).or_default().insert(&job.group);
        }
    }
    told.into_iter()
        .map(|note| match &about[&note] {
            all if *all == groups => note,
            some => format!("{}: {note}", some.iter().copied().collect::<Vec<_>>().join(", ")),
        })
        .collect()
}
