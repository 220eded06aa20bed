//! Imports of small folders: complete ones here, damaged and interrupted ones in the submodules.

mod bad_files;
mod landmark_formats;
mod layouts;
mod resume;

use std::fs;

use shared::pack::{Pack, Split};
use tempfile::TempDir;

use super::*;

const TRAIN: &str = "training_set_synthetic_images";
const VALIDATION: &str = "validation_set_real_images";

type Points = [[f32; 2]; 68];

/// A face in [-1, 1] whose first point is (x, y).
fn face(x: f32, y: f32) -> Points {
    std::array::from_fn(|i| {
        let angle = i as f32 / 68.0 * std::f32::consts::TAU;
        if i == 0 { [x, y] } else { [0.6 * angle.cos(), 0.6 * angle.sin()] }
    })
}

/// `face` in another unit, for an image of 12 x 20 pixels, which the sources have.
fn in_unit(face: &Points, unit: Unit) -> Points {
    face.map(|point| {
        [0, 1].map(|axis| {
            let (v, side) = (point[axis], [12.0, 20.0][axis]);
            match unit {
                Unit::Normalized => v,
                Unit::Fraction => f32::midpoint(v, 1.0),
                Unit::Pixels => f32::midpoint(v, 1.0) * side - 0.5,
                Unit::PixelsFromOne => f32::midpoint(v, 1.0) * side + 0.5,
            }
        })
    })
}

fn lines(points: &Points) -> String {
    points.map(|[x, y]| format!("{x} {y}\n")).concat()
}

/// A source folder, and the place of its pack.
struct Source {
    root: TempDir,
}

impl Source {
    /// Two training images (number 10 before 9 by name), two validation images with landmarks, two test images.
    fn small() -> Self {
        let source = Self { root: tempfile::tempdir().unwrap() };
        for (file, red) in [("ANGRER/10.jpg", 10), ("ANGRER/9.jpg", 90), ("sadness/1.jpg", 1)] {
            source.image(&format!("{TRAIN}/{file}"), red);
            source.marks(&format!("landmarks/{TRAIN}/{file}"), 0.25);
        }
        for (file, red) in [("FEAR/1.jpg", 40), ("SURPRISE/2.jpg", 50)] {
            source.image(&format!("{VALIDATION}/{file}"), red);
            source.marks(&format!("landmarks/{VALIDATION}/{file}"), -0.5);
        }
        source.image("lsd_test_data/0.jpg", 60);
        source.image("lsd_test_data/1.jpg", 70);
        source.write("LSD_Challenge_test_set_release.txt", "image,expression\n1.jpg\n0.jpg\n");
        source.write("test_labels.csv", "image,expression\n0.jpg,2\n1.jpg,5\n");
        source
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("source").join(file)
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn image(&self, file: &str, red: u8) {
        let picture = image::RgbImage::from_pixel(12, 20, image::Rgb([red, 100, 100]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        self.write(file, bytes.into_inner());
    }

    fn marks(&self, file: &str, value: f32) {
        self.write(&file.replace("jpg", "txt"), lines(&face(value, 0.5)));
    }

    /// Rewrites the landmarks of all images, changed by `change`.
    fn all_marks(&self, change: impl Fn(Points) -> Points) {
        for image in ["ANGRER/10", "ANGRER/9", "sadness/1"] {
            self.write(&format!("landmarks/{TRAIN}/{image}.txt"), lines(&change(face(0.25, 0.5))));
        }
        for image in ["FEAR/1", "SURPRISE/2"] {
            self.write(&format!("landmarks/{VALIDATION}/{image}.txt"), lines(&change(face(-0.5, 0.5))));
        }
    }

    fn options(&self) -> ImportOptions {
        ImportOptions {
            source: self.path(""),
            image_size: 8,
            landmarks: None,
            landmark_unit: None,
            landmark_crops: None,
            test_labels: None,
            exclude_classes: Vec::new(),
            strict: false,
        }
    }

    fn pack_dir(&self) -> PathBuf {
        self.root.path().join("pack")
    }

    fn import(&self, options: &ImportOptions) -> Result<Report, ImportError> {
        import(&self.pack_dir(), options, &mut |_| {})
    }

    /// Imports and returns the pack and the problems in words.
    fn imported(&self) -> (Pack, Vec<String>) {
        let report = self.import(&self.options()).unwrap();
        let pack = Pack::open(&self.pack_dir()).unwrap();
        pack.verify().unwrap();
        assert_eq!(report.digest.as_deref(), Some(pack.digest()));
        (pack, report.problems.iter().map(ToString::to_string).collect())
    }

    /// The number of entries beside the source: a pack, or nothing.
    fn left(&self) -> usize {
        fs::read_dir(self.root.path()).unwrap().count() - 1
    }
}

fn check_problems(problems: &[String], expected: &[(&str, &str)]) {
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, (file, reason)) in problems.iter().zip(expected) {
        assert!(problem.contains(file) && problem.contains(reason), "{problem} is not {file}: {reason}");
    }
}

#[test]
fn a_whole_folder_is_packed_in_class_and_number_order() {
    let (pack, problems) = Source::small().imported();
    check_problems(&problems, &[]);
    assert_eq!(pack.samples(Split::Train).ids, ["ANGRER/9.jpg", "ANGRER/10.jpg", "sadness/1.jpg"]);
    assert_eq!(pack.labels(Split::Train), [Some(0), Some(0), Some(4)]);
    assert_eq!(pack.labels(Split::Validation), [Some(2), Some(5)]);
    assert_eq!(pack.samples(Split::Test).ids, ["1.jpg", "0.jpg"]);
    assert_eq!(pack.labels(Split::Test), [Some(5), Some(2)]);
    assert_eq!(pack.landmarks(Split::Train, 0), Some(face(0.25, 0.5)));
    assert_eq!(pack.landmarks(Split::Validation, 1), Some(face(-0.5, 0.5)));
    assert_eq!(pack.landmarks(Split::Test, 0), None);
    let red = pack.image(Split::Train, 0)[0];
    assert!(red.abs_diff(90) < 4, "{red}");
}

#[test]
fn equal_sources_give_equal_digests() {
    let [first, second] = [Source::small(), Source::small()].map(|source| source.imported().0);
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn validation_images_stay_without_landmarks_and_are_noted() {
    let source = Source::small();
    fs::remove_file(source.path(&format!("landmarks/{VALIDATION}/FEAR/1.txt"))).unwrap();
    let (pack, problems) = source.imported();
    check_problems(&problems, &[("FEAR/1.jpg", "no landmarks")]);
    assert_eq!((pack.len(Split::Validation), pack.landmarks(Split::Validation, 0)), (2, None));
    fs::remove_dir_all(source.path(&format!("landmarks/{VALIDATION}"))).unwrap();
    let (pack, problems) = source.imported();
    check_problems(&problems, &[]);
    assert_eq!(pack.landmarks(Split::Validation, 1), None);
}

#[test]
fn strict_ends_without_a_pack_and_keeps_an_older_one() {
    let source = Source::small();
    source.write(&format!("{TRAIN}/FEAR/1.jpg"), "");
    let options = ImportOptions { strict: true, ..source.options() };
    let report = source.import(&options).unwrap();
    assert_eq!((report.digest, report.problems.len(), source.left()), (None, 1, 0));

    let (pack, _) = source.imported();
    source.import(&options).unwrap();
    assert_eq!(Pack::open(&source.pack_dir()).unwrap().digest(), pack.digest());
    assert_eq!(source.left(), 1);
}

#[test]
fn landmarks_may_lie_beside_the_image_or_elsewhere_and_names_may_lie() {
    let source = Source::small();
    fs::rename(source.path("landmarks"), source.root.path().join("elsewhere")).unwrap();
    assert!(matches!(source.import(&source.options()), Err(ImportError::NoTrainingImage { .. })));
    let elsewhere = source.root.path().join("elsewhere");
    source.import(&ImportOptions { landmarks: Some(elsewhere), ..source.options() }).unwrap();
    assert_eq!(Pack::open(&source.pack_dir()).unwrap().len(Split::Train), 3);

    let png = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 0, 0]));
    png.save_with_format(source.path(&format!("{TRAIN}/sadness/7.jpg")), image::ImageFormat::Png).unwrap();
    source.marks(&format!("{TRAIN}/sadness/7.jpg"), 0.75);
    let (pack, _) = source.imported();
    assert_eq!(pack.samples(Split::Train).ids, ["sadness/7.jpg"]);
    assert_eq!(pack.image(Split::Train, 0)[..3], [200, 0, 0]);
    assert_eq!(pack.landmarks(Split::Train, 0), Some(face(0.75, 0.5)));
}

#[test]
fn a_wrong_source_is_explained_and_nothing_written() {
    let source = Source::small();
    let refuse = |options: &ImportOptions| source.import(options).unwrap_err().to_string();
    let elsewhere = |file: &str| ImportOptions { source: source.path(file), ..source.options() };
    assert!(refuse(&elsewhere("absent")).contains("absent"));
    assert!(refuse(&elsewhere("lsd_test_data")).contains("training_set_synthetic_images"));
    let marks = ImportOptions { landmarks: Some("/absent".into()), ..source.options() };
    assert!(refuse(&marks).contains("landmarks"));

    source.write("test_labels.csv", "image,expression\n0.jpg,happy\n");
    assert!(refuse(&source.options()).contains("test_labels.csv:2"));
    source.write("test_labels.csv", "image,expression\n");
    fs::create_dir(source.path(&format!("{VALIDATION}/CONTEMPT"))).unwrap();
    assert!(refuse(&source.options()).contains("CONTEMPT"));
    assert_eq!(source.left(), 0);
}

#[test]
fn listed_images_that_are_missing_and_stray_labels_are_named() {
    let source = Source::small();
    source.write("LSD_Challenge_test_set_release.txt", "image,expression\n1.jpg\n5.jpg\n");
    let (pack, problems) = source.imported();
    check_problems(
        &problems,
        &[
            ("lsd_test_data/5.jpg", "No such file"),
            ("test_labels.csv", "line 2: \"0.jpg\": it is not a test image"),
            ("lsd_test_data/0.jpg", "does not name it"),
        ],
    );
    assert_eq!(pack.samples(Split::Test).ids, ["1.jpg"]);
}
