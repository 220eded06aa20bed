//! What a pack holds, counted.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::expression::{CLASSES, Expression};
use shared::pack::{Pack, Split};

use super::duplicates::Duplicates;
use super::import::{Format, Frame, Origin, Unit};

/// A pack in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub digest: String,
    pub image_size: u32,
    pub splits: Vec<SplitSummary>,
    /// Smallest and largest x and y of all landmarks, in [-1, 1] of the image; `None` without landmarks.
    pub landmark_bounds: Option<[[f32; 2]; 2]>,
    pub provenance: Value,
    /// `None`: not looked for.
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
                writeln!(f, "            all lie in its lower right quarter: {remedy}")?;
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
    writeln!(f, "source      {}; {} files left out", origin.folder, origin.left_out)?;
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
        let (format, unit) = (format_name(kind.format), unit_name(kind.unit));
        writeln!(f, "            {} with landmarks from {format}, in {unit} {frame}", kind.images)?;
    }
    Ok(())
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Text => "text files",
        Format::Pts => "pts files",
        Format::Csv => "CSV",
        Format::Npy => "npy files",
        Format::Npz => "NPZ",
    }
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
        let table = found.to_string();
        assert!(table.contains("75.0%") && table.contains(&found.digest), "{table}");
    }
}
