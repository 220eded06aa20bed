//! Landmarks in every format and frame, paired with their images.

use super::*;

/// Images have 12 x 20 pixels, so (0.5, 0.5) is pixel (8.5, 14.5), or (9.5, 15.5) when counted from one.
const AT: f32 = 0.5;

fn first(source: &Source, options: &ImportOptions) -> (Option<[f32; 2]>, Vec<Problem>) {
    let report = source.import(options).unwrap();
    let pack = Pack::open(&source.pack_dir()).unwrap();
    pack.verify().unwrap();
    (pack.landmarks(Split::Train, 0).map(|points| points[0]), report.problems)
}

/// The header of a table of points.
fn header() -> String {
    (0..68).map(|i| format!("x_{i},y_{i}")).collect::<Vec<_>>().join(",")
}

/// A face in pixels as a row of a table.
fn row(x: f32, y: f32) -> String {
    in_unit(&face(x, y), Unit::Pixels).map(|[x, y]| format!("{x},{y}")).join(",")
}

fn from(unit: Unit) -> String {
    lines(&in_unit(&face(AT, AT), unit))
}

#[test]
fn every_file_format_gives_the_same_landmarks() {
    for (name, text) in [
        ("9_kpt2d.txt", from(Unit::Normalized)),
        ("9/9_kpt2d.txt", from(Unit::Normalized)),
        ("9.pts", format!("version: 1\nn_points: 68\n{{\n{}}}\n", from(Unit::PixelsFromOne))),
        ("9.csv", format!("{}\n{}\n", header(), row(AT, AT))),
    ] {
        let source = Source::small();
        fs::remove_file(source.path(&format!("landmarks/{TRAIN}/ANGRER/9.txt"))).unwrap();
        source.write(&format!("landmarks/{TRAIN}/ANGRER/{name}"), text);
        let (found, problems) = first(&source, &source.options());
        assert_eq!((found, problems.len()), (Some([AT, AT]), 0), "{name}: {problems:?}");
    }
}

#[test]
fn the_unit_may_be_declared() {
    for unit in [Unit::Normalized, Unit::Fraction, Unit::Pixels, Unit::PixelsFromOne] {
        let source = Source::small();
        source.all_marks(|face| in_unit(&face, unit));
        source.write(&format!("landmarks/{TRAIN}/ANGRER/9.txt"), from(unit));
        let (found, problems) =
            first(&source, &ImportOptions { landmark_unit: Some(unit), ..source.options() });
        assert_eq!((found, problems), (Some([AT, AT]), vec![]), "{unit:?}");
        let pack = Pack::open(&source.pack_dir()).unwrap();
        let origin: Origin = serde_json::from_value(pack.provenance().clone()).unwrap();
        assert!(origin.landmarks.iter().all(|kind| kind.unit == unit), "{origin:?}");
    }
}

/// Cases 4 and 6: the unit is inferred from all files together; numbers that fit two units are refused.
#[test]
fn the_unit_of_text_files_is_judged_by_all_of_them() {
    let source = Source::small();
    source.all_marks(|face| in_unit(&face, Unit::Pixels));
    source.write(&format!("landmarks/{TRAIN}/ANGRER/9.txt"), from(Unit::Pixels));
    source.write(&format!("landmarks/{VALIDATION}/FEAR/1.txt"), from(Unit::Normalized));
    let (found, problems) = first(&source, &source.options());
    assert_eq!(found, Some([AT, AT]));
    assert!(problems[0].to_string().contains("smaller than four pixels"), "{problems:?}");
    assert_eq!(problems.len(), 1);

    source.all_marks(|face| in_unit(&face, Unit::Fraction));
    let error = source.import(&source.options()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"landmarks in text files: the numbers of 5 of 5 faces lie in [0, 1]: fractions of the image (--landmark-unit fraction), or faces in the lower right quarter (--landmark-unit normalized)? Say which");
}

/// Cases 4 and 6: a face whose numbers alone fit two units is named, unless the unit was declared.
#[test]
fn a_face_that_fits_another_unit_is_named() {
    for (unit, named) in [(None, 1), (Some(Unit::Normalized), 0)] {
        let source = Source::small();
        source.write(&format!("landmarks/{VALIDATION}/FEAR/1.txt"), from(Unit::Fraction));
        let (_, problems) = first(&source, &ImportOptions { landmark_unit: unit, ..source.options() });
        assert_eq!(problems.len(), named, "{problems:?}");
        let of_face = |problem: &Problem| {
            problem.consequence == Consequence::Kept && problem.reason.starts_with("the points lie in [0, 1]")
        };
        assert!(problems.iter().all(of_face), "{problems:?}");
    }
}

#[test]
fn bad_landmarks_are_named() {
    let source = Source::small();
    let wild = face(60.0, 70.0);
    let endless = face(0.0, f32::NAN);
    let short = lines(&face(0.0, 0.0)).split_off("0 0\n".len());
    for (number, text) in [
        (20, lines(&wild)),
        (21, lines(&endless)),
        (22, short),
        (25, "0 0\n".repeat(68)),
        (26, "-1 -1\n".repeat(68)),
    ] {
        source.image(&format!("{TRAIN}/ANGRER/{number}.jpg"), 1);
        source.write(&format!("landmarks/{TRAIN}/ANGRER/{number}.txt"), text);
    }
    source.image(&format!("{TRAIN}/ANGRER/23.jpg"), 1);
    source.marks(&format!("landmarks/{TRAIN}/ANGRER/24.jpg"), 0.0);
    source.write(&format!("landmarks/{TRAIN}/ANGRER/9.pts"), "");
    source.marks(&format!("landmarks/{TRAIN}/FEAR/1.jpg"), 0.0);
    source.write(&format!("landmarks/{VALIDATION}/FEAR/1.txt"), "0 0\n");
    let (pack, problems) = source.imported();
    check_problems(
        &problems,
        &[
            ("ANGRER/20.jpg", "(60, 70) lies far outside of the image"),
            ("ANGRER/21.jpg", "point 0 is (0, NaN), which is not finite"),
            ("ANGRER/22.jpg", "22.txt: 67 lines"),
            ("ANGRER/23.jpg", "it has no landmarks"),
            // Case 5: the output of a detector that found no face.
            ("ANGRER/25.jpg", "68 of 68 points are (0, 0)"),
            ("ANGRER/26.jpg", "68 of 68 points are (-1, -1)"),
            ("FEAR/1.jpg", "1 lines"),
            ("landmarks/training_set_synthetic_images/FEAR", "no folder of images"),
            ("ANGRER/24.txt", "belongs to no image"),
            ("ANGRER/9.pts", "another landmark file"),
        ],
    );
    assert_eq!((pack.len(Split::Train), pack.len(Split::Validation)), (3, 2));
}

#[test]
fn one_table_serves_all_images() {
    let source = Source::small();
    fs::remove_dir_all(source.path("landmarks")).unwrap();
    let header = header();
    let (first_row, other) = (row(AT, AT), row(-AT, -AT));
    let broken = first_row.replacen("8.5", "NaN", 1);
    let text = [
        format!("image,{header}"),
        format!("ANGRER/10,{other}"),
        format!("{TRAIN}/ANGRER/9.jpg,{first_row}"),
        format!("sadness/1.jpg,{broken}"),
        format!("SURPRISE/2.jpg,{first_row}"),
        format!("ANGRER/9,{other}"),
        format!("1,{first_row}"),
        format!("FEAR/77.jpg,{first_row}"),
    ];
    source.write("all.csv", text.join("\n"));
    let options = ImportOptions { landmarks: Some(source.path("all.csv")), ..source.options() };
    let (found, problems) = first(&source, &options);
    assert_eq!(found, Some([AT, AT]));
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    check_problems(
        &problems,
        &[
            ("sadness/1.jpg", "landmarks all.csv: point 0 is (NaN, 14.5)"),
            ("FEAR/1.jpg", "it has no landmarks"),
            ("all.csv", "line 6: \"ANGRER/9\": the image already has a row"),
            ("all.csv", "line 7: \"1\": may mean"),
            ("all.csv", "line 8: \"FEAR/77.jpg\": belongs to no image"),
        ],
    );
    let pack = Pack::open(&source.pack_dir()).unwrap();
    assert_eq!(pack.landmarks(Split::Train, 1).map(|points| points[0]), Some([-AT, -AT]));
    assert_eq!(pack.landmarks(Split::Validation, 1).map(|points| points[0]), Some([AT, AT]));

    source.write("all.csv", "image,x_0\n");
    let error = source.import(&options).unwrap_err().to_string();
    assert!(error.contains("all.csv") && error.contains("y_0"), "{error}");
}

#[test]
fn landmarks_of_crops_are_mapped_to_their_images() {
    let source = Source::small();
    // A crop with a side of 223 image pixels has pixels as large as the image's. So its middle, pixel 112, is at (9,
    // 15) of the image if its corner is at (-103, -97).
    let small = face(0.0, 0.0).map(|point| point.map(|v| v / 20.0));
    source.write(&format!("landmarks/{TRAIN}/ANGRER/9.txt"), lines(&small));
    source.write("crops.csv", "image,left,top,size\nANGRER/9,-103,-97,223\nANGRER/10,0,0,9\n");
    let options = ImportOptions { landmark_crops: Some(source.path("crops.csv")), ..source.options() };
    let (found, problems) = first(&source, &options);
    assert_eq!(found, Some([AT, AT]));
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let missing = "no usable row";
    check_problems(
        &problems,
        &[("sadness/1.jpg", missing), ("FEAR/1.jpg", missing), ("SURPRISE/2.jpg", missing)],
    );
    let pack = Pack::open(&source.pack_dir()).unwrap();
    let origin: Origin = serde_json::from_value(pack.provenance().clone()).unwrap();
    assert_eq!(origin.landmark_frame, Frame::DecaCrop);
}
