//! Counts what a pack holds.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::expression::{CLASSES, Expression};
use shared::pack::{Pack, Split};
use shared::plural::count;

use super::duplicates::Duplicates;
use super::import::{Frame, Origin, Unit};

/// A pack in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub digest: String,
    pub image_size: u32,
    pub splits: Vec<SplitSummary>,
    /// Smallest and largest x and y of all landmarks, in [-1, 1] of the image; `None` without landmarks.
    pub landmark_bounds: Option<[[f32; 2]; 2]>,
    pub provenance: Value,
    /// `None` if they were not looked for.
    pub duplicates: Option<Duplicates>,
}

/// One split in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitSummary {
    pub split: Split,
    pub images: usize,
    /// Images per class, by class index.
    pub classes: [usize; CLASSES],
    pub unlabelled: usize,
    pub with_landmarks: usize,
    /// Share of the largest class among the labelled images, in percent; 0 without labels.
    pub majority_percent: f64,
}

/// Counts what `pack` holds.
pub fn summarize(pack: &Pack) -> Summary {
    Summary {
        digest: pack.digest().to_owned(),
        image_size: pack.image_size(),
        splits: Split::ALL.map(|split| summarize_split(pack, split)).to_vec(),
        landmark_bounds: landmark_bounds(pack),
        provenance: pack.provenance().clone(),
        duplicates: None,
    }
}

fn landmark_bounds(pack: &Pack) -> Option<[[f32; 2]; 2]> {
    let samples = Split::ALL.into_iter().flat_map(|split| (0..pack.len(split)).map(move |i| (split, i)));
    let points = samples.filter_map(|(split, i)| pack.landmarks(split, i)).flatten();
    points.fold(None, |bounds, [x, y]| {
        let [[left, right], [top, bottom]] = bounds.unwrap_or([[x; 2], [y; 2]]);
        Some([[left.min(x), right.max(x)], [top.min(y), bottom.max(y)]])
    })
}

fn summarize_split(pack: &Pack, split: Split) -> SplitSummary {
    let mut classes = [0; CLASSES];
    for label in pack.labels(split).iter().flatten() {
        classes[usize::from(*label)] += 1;
    }
    let images = pack.len(split);
    let labelled: usize = classes.iter().sum();
    let largest = classes.iter().copied().max().unwrap_or_default();
    SplitSummary {
        split,
        images,
        classes,
        unlabelled: images - labelled,
        with_landmarks: (0..images).filter(|&i| pack.landmarks(split, i).is_some()).count(),
        majority_percent: 100.0 * largest as f64 / labelled.max(1) as f64,
    }
}

impl SplitSummary {
    /// Classes without an image.
    pub fn missing_classes(&self) -> Vec<Expression> {
        Expression::ALL.into_iter().filter(|class| self.classes[class.index()] == 0).collect()
    }

    /// What is missing in this split, and what follows from that.
    fn note(&self) -> Option<String> {
        let split = self.split;
        if self.images == 0 {
            let meaning = match split {
                Split::Train => ": no model can be trained on it",
                Split::Validation => {
                    ": a sweep needs them to choose epochs and ensembles, so it cannot use this pack"
                }
                Split::Test => "",
            };
            return Some(format!("the pack has no {split} images{meaning}"));
        }
        let missing = self.missing_classes();
        if missing.is_empty() || self.unlabelled == self.images {
            return None;
        }
        let most = 100.0 * (CLASSES - missing.len()) as f64 / CLASSES as f64;
        let names = missing.iter().map(|class| class.name()).collect::<Vec<_>>().join(", ");
        let (it, its) = if missing.len() == 1 { ("it", "its") } else { ("them", "their") };
        Some(match split {
            Split::Train => {
                format!(
                    "no training image shows {names}: models cannot learn {it}, so macro F1 is at most {most:.1} %"
                )
            }
            Split::Validation | Split::Test => {
                format!(
                    "no {split} image shows {names}: {its} F1 is 0, so macro F1 on this split is at most {most:.1} %"
                )
            }
        })
    }
}

impl Summary {
    /// What is missing, for people.
    pub fn notes(&self) -> Vec<String> {
        self.splits.iter().filter_map(SplitSummary::note).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}", "split")?;
        for expression in Expression::ALL {
            write!(f, "{:>10}", expression.name())?;
        }
        writeln!(f, "{:>11}{:>9}{:>11}{:>10}", "unlabelled", "images", "landmarks", "majority")?;
        for split in &self.splits {
            write!(f, "{:<11}", split.split)?;
            for count in split.classes {
                write!(f, "{count:>10}")?;
            }
            let (unlabelled, images, marks) = (split.unlabelled, split.images, split.with_landmarks);
            writeln!(f, "{unlabelled:>11}{images:>9}{marks:>11}{:>9.1}%", split.majority_percent)?;
        }
        writeln!(f, "image size  {0} x {0}", self.image_size)?;
        if let Some([[left, right], [top, bottom]]) = self.landmark_bounds {
            writeln!(
                f,
                "landmarks   x {left:.2} to {right:.2}, y {top:.2} to {bottom:.2} of the image's [-1, 1]"
            )?;
            if left >= 0.0 && top >= 0.0 {
                let remedy = "import them with --landmark-unit fraction if they are fractions of the image";
                writeln!(f, "            all are in its lower right quarter: {remedy}")?;
            } else if right <= 0.0 && bottom <= 0.0 {
                let question = "were they made on smaller copies of the images?";
                writeln!(f, "            all are in its upper left quarter: {question}")?;
            }
        }
        if let Ok(origin) = Origin::deserialize(&self.provenance) {
            write_origin(f, &origin)?;
        }
        write!(f, "digest      {}", self.digest)?;
        match &self.duplicates {
            Some(duplicates) => write!(f, "\n{duplicates}"),
            None => Ok(()),
        }
    }
}

/// What the manifest of an imported pack says about the files.
fn write_origin(f: &mut fmt::Formatter<'_>, origin: &Origin) -> fmt::Result {
    let left_out = count(origin.left_out as usize, "image");
    writeln!(f, "source      {}; {left_out} left out", origin.folder)?;
    if !origin.excluded_classes.is_empty() {
        writeln!(f, "            without the classes {}", origin.excluded_classes.join(", "))?;
    }
    let sizes = origin.source_sizes.iter().map(|(size, images)| format!("{images} of {size}"));
    let others = (origin.of_other_sizes > 0).then(|| format!("{} of other sizes", origin.of_other_sizes));
    writeln!(f, "images      {}", sizes.chain(others).collect::<Vec<_>>().join(", "))?;
    for (conversion, converted) in &origin.conversions {
        let (images, phrase) = (converted.images, conversion.phrase());
        writeln!(f, "            {images} {phrase} (the first: {})", converted.first)?;
    }
    let frame = match origin.landmark_frame {
        Frame::Image => "of the image",
        Frame::DecaCrop => "of DECA's crop, mapped to the image",
    };
    for kind in &origin.landmarks {
        let (format, unit) = (kind.format.name(), unit_name(kind.unit));
        writeln!(f, "            {} with landmarks from {format}, in {unit} {frame}", kind.images)?;
    }
    Ok(())
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Normalized => "[-1, 1]",
        Unit::Fraction => "[0, 1]",
        Unit::Pixels => "pixels from 0",
        Unit::PixelsFromOne => "pixels from 1",
    }
}

#[cfg(test)]
mod tests {
    use shared::pack::{PackWriter, Sample};

    use super::*;

    #[test]
    fn counts_classes_landmarks_and_the_majority() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pack");
        let mut writer = PackWriter::create(&dir, 1, Value::Null).unwrap();
        let marks = [[0.5; 2]; 68];
        let base =
            Sample { split: Split::Train, id: "", label: None, landmarks: Some(&marks), pixels: &[1; 3] };
        for (id, label) in [("a", 4), ("b", 4), ("c", 4), ("d", 1)] {
            writer.add(&Sample { id, label: Some(label), ..base }).unwrap();
        }
        writer.add(&Sample { split: Split::Test, id: "e", landmarks: None, ..base }).unwrap();
        writer.finish().unwrap();
        let found = summarize(&Pack::open(&dir).unwrap());
        let train = &found.splits[0];
        assert_eq!((train.images, train.classes), (4, [0, 1, 0, 0, 3, 0]));
        assert_eq!((train.with_landmarks, train.unlabelled, train.majority_percent), (4, 0, 75.0));
        let test = &found.splits[2];
        assert_eq!(found.landmark_bounds, Some([[0.5; 2]; 2]));
        assert_eq!(
            (test.images, test.with_landmarks, test.unlabelled, test.majority_percent),
            (1, 0, 1, 0.0)
        );
        insta::assert_snapshot!(found.to_string().replace(&found.digest, "DIGEST"), @r#"
        split           Anger   Disgust      Fear Happiness   Sadness  Surprise unlabelled   images  landmarks  majority
        train               0         1         0         0         3         0          0        4          4     75.0%
        validation          0         0         0         0         0         0          0        0          0      0.0%
        test                0         0         0         0         0         0          1        1          0      0.0%
        image size  1 x 1
        landmarks   x 0.50 to 0.50, y 0.50 to 0.50 of the image's [-1, 1]
                    all are in its lower right quarter: import them with --landmark-unit fraction if they are fractions of the image
        digest      DIGEST
        "#);
        // Case 8: a class without images is reported, with its effect on macro F1.
        insta::assert_snapshot!(found.notes().join("\n"), @r#"
        no training image shows Anger, Fear, Happiness, Surprise: models cannot learn them, so macro F1 is at most 33.3 %
        the pack has no validation images: a sweep needs them to choose epochs and ensembles, so it cannot use this pack
        "#);
    }

    #[test]
    fn where_the_landmarks_lie_tells_of_a_wrong_unit() {
        let told = |bounds| {
            let summary = Summary {
                digest: String::new(),
                image_size: 8,
                splits: Vec::new(),
                landmark_bounds: Some(bounds),
                provenance: Value::Null,
                duplicates: None,
            };
            summary.to_string()
        };
        assert!(told([[0.1, 0.9], [0.0, 0.8]]).contains("--landmark-unit fraction"));
        assert!(told([[-0.9, -0.1], [-0.8, 0.0]]).contains("smaller copies"));
        assert!(!told([[-0.9, 0.9], [-0.8, 0.8]]).contains("quarter"));
    }
}
