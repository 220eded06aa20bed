//! What a pack holds, counted.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use shared::expression::{CLASSES, Expression};
use shared::pack::{Pack, Split};

/// A pack in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub digest: String,
    pub image_size: u32,
    pub splits: Vec<SplitSummary>,
    pub provenance: Value,
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
        provenance: pack.provenance().clone(),
    }
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
        write!(f, "digest      {}", self.digest)
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
        assert_eq!(
            (test.images, test.with_landmarks, test.unlabelled, test.majority_percent),
            (1, 0, 1, 0.0)
        );
        let table = found.to_string();
        assert!(table.contains("75.0%") && table.contains(&found.digest), "{table}");
    }
}
