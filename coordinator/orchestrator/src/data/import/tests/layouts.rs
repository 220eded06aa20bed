//! Folders as users have them: stems with dots, nested folders, clutter, other classes, links instead of packs.

use std::os::unix::fs::symlink;

use super::*;

fn ids(source: &Source, options: &ImportOptions) -> (Vec<String>, Vec<String>) {
    let report = source.import(options).unwrap();
    let pack = Pack::open(&source.pack_dir()).unwrap();
    (pack.samples(Split::Train).ids, report.problems.iter().map(ToString::to_string).collect())
}

/// Case 12: a stem may have dots in every layout of landmark files.
#[test]
fn stems_may_have_dots() {
    for name in
        ["frame.0001.txt", "frame.0001_kpt2d.txt", "frame.0001/frame.0001_kpt2d.txt", "frame.0001.jpg.txt"]
    {
        for folder in [format!("landmarks/{TRAIN}/ANGRER"), format!("{TRAIN}/ANGRER")] {
            let source = Source::small();
            source.image(&format!("{TRAIN}/ANGRER/frame.0001.jpg"), 7);
            source.write(&format!("{folder}/{name}"), lines(&face(0.0, 0.0)));
            let (ids, problems) = ids(&source, &source.options());
            let is_of_image = !name.ends_with(".jpg.txt");
            assert_eq!(
                ids.contains(&"ANGRER/frame.0001.jpg".to_owned()),
                is_of_image,
                "{name}: {problems:?}"
            );
            assert_eq!(problems.is_empty(), is_of_image, "{name}: {problems:?}");
        }
    }
}

/// Case 7: two images with one stem in a folder share a landmark file, which is reported.
#[test]
fn a_landmark_file_of_two_images_is_named() {
    let source = Source::small();
    let png = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 0, 0]));
    png.save(source.path(&format!("{TRAIN}/ANGRER/9.png"))).unwrap();
    let (ids, problems) = ids(&source, &source.options());
    assert_eq!(ids, ["ANGRER/9.jpg", "ANGRER/9.png", "ANGRER/10.jpg", "sadness/1.jpg"]);
    insta::assert_snapshot!(problems.join("\n"), @"training_set_synthetic_images/ANGRER/9.png: its landmarks landmarks/training_set_synthetic_images/ANGRER/9.txt are also those of 9.jpg (kept)");
    let options = ImportOptions { strict: true, ..source.options() };
    assert_eq!(source.import(&options).unwrap().digest, None);
}

/// Case 20: a folder among images is reported as one, and all images in it are counted.
#[test]
fn images_in_nested_folders_are_counted() {
    let source = Source::small();
    for file in ["subj1/1.jpg", "subj1/2.jpg", "subj1/night/3.png", "subj1/notes.txt", "subj2/1.jpg"] {
        source.image(&format!("{TRAIN}/sadness/{file}"), 1);
    }
    source.write(&format!("{TRAIN}/sadness/notes/readme.md"), "");
    let (_, problems) = ids(&source, &source.options());
    insta::assert_snapshot!(problems.join("\n"), @r#"
    training_set_synthetic_images/sadness/subj1: it is a folder, not a file; move the 3 images in it up to training_set_synthetic_images/sadness (left out)
    training_set_synthetic_images/sadness/subj2: it is a folder, not a file; move the image in it up to training_set_synthetic_images/sadness (left out)
    training_set_synthetic_images/sadness/notes: it is a folder, not a file (ignored)
    "#);
    let report = source.import(&source.options()).unwrap();
    insta::assert_snapshot!(totals(&report.problems), @"3 problems: 4 images left out, 1 ignored");
    let pack = Pack::open(&source.pack_dir()).unwrap();
    let origin: Origin = serde_json::from_value(pack.provenance().clone()).unwrap();
    assert_eq!(origin.left_out, 4);
}

/// Case 20: what file managers and notebooks leave is neither an image nor a problem.
#[test]
fn clutter_is_passed_over() {
    let source = Source::small();
    for folder in
        [TRAIN, &format!("{TRAIN}/ANGRER"), &format!("landmarks/{TRAIN}"), "lsd_test_data", "landmarks"]
    {
        for name in [".DS_Store", "._9.jpg", "Thumbs.db", "thumbs.db", "desktop.ini", "Icon\r"] {
            source.write(&format!("{folder}/{name}"), "junk");
        }
        source.write(&format!("{folder}/.ipynb_checkpoints/9-checkpoint.jpg"), "junk");
        source.write(&format!("{folder}/__MACOSX/._9.jpg"), "junk");
    }
    let (pack, problems) = source.imported();
    check_problems(&problems, &[]);
    assert_eq!(pack.digest(), Source::small().imported().0.digest());
}

/// Case 20: a class that the challenge does not have can be left out by name.
#[test]
fn classes_can_be_left_out_by_name() {
    let source = Source::small();
    for root in ["", "landmarks/"] {
        source.write(&format!("{root}{TRAIN}/NEUTRAL/1.jpg"), "");
        source.write(&format!("{root}{VALIDATION}/Neutral/1.jpg"), "");
    }
    let refused = source.import(&source.options()).unwrap_err().to_string();
    assert!(refused.contains("--exclude-class NEUTRAL"), "{refused}");
    let without = |names: &[&str]| ImportOptions {
        exclude_classes: names.iter().map(|name| (*name).to_owned()).collect(),
        ..source.options()
    };
    let (_, problems) = ids(&source, &without(&["neutral"]));
    check_problems(&problems, &[]);
    let pack = Pack::open(&source.pack_dir()).unwrap();
    assert_eq!(pack.digest(), Source::small().imported().0.digest());
    let origin: Origin = serde_json::from_value(pack.provenance().clone()).unwrap();
    assert_eq!(origin.excluded_classes, ["neutral"]);
    assert_eq!(ids(&source, &without(&["NEUTRAL", "sadness"])).0, ["ANGRER/9.jpg", "ANGRER/10.jpg"]);
    let typo = source.import(&without(&["neutral", "contempt"])).unwrap_err().to_string();
    assert_eq!(typo, "--exclude-class contempt: no class folder has this name");
}

/// Case 14: an import that finds no training image says why, with the right number of images.
#[test]
fn rows_that_name_no_folder_are_the_reason() {
    let source = Source::small();
    fs::remove_dir_all(source.path("landmarks")).unwrap();
    let header = (0..68).map(|i| format!("x_{i},y_{i}")).collect::<Vec<_>>().join(",");
    let row = face(0.0, 0.5).map(|[x, y]| format!("{x},{y}")).join(",");
    let options = ImportOptions { landmarks: Some(source.path("all.csv")), ..source.options() };
    let told = |names: &[&str]| {
        let rows = names.iter().map(|name| format!("{name},{row}\n")).collect::<Vec<_>>().concat();
        source.write("all.csv", format!("image,{header}\n{rows}"));
        let error = source.import(&options).unwrap_err().to_string();
        error.replace(&*source.root.path().to_string_lossy(), "")
    };
    insta::assert_snapshot!(told(&["1.jpg", "1.jpg"]), @r#"/source/all.csv: none of its rows can be used; line 2: "1.jpg" may mean 3 images; write their folders before the name"#);
    for number in 100..110 {
        source.image(&format!("{TRAIN}/FEAR/{number}.jpg"), 1);
    }
    insta::assert_snapshot!(told(&["2.jpg", "1.jpg", "1.jpg", "1.jpg", "1.jpg"]), @r#"
    /source/: none of the 13 training images can be used
      13 times: it has no landmarks (left out): training_set_synthetic_images/ANGRER/9.jpg, training_set_synthetic_images/ANGRER/10.jpg, training_set_synthetic_images/FEAR/100.jpg, …
      validation_set_real_images/FEAR/1.jpg: it has no landmarks (without landmarks)
      4 times: may mean 3 images; write their folders before the name (ignored): all.csv: line 3: "1.jpg", all.csv: line 4: "1.jpg", all.csv: line 5: "1.jpg", …
    "#);
    assert_eq!(source.left(), 0);
}

/// Case 3: if the pack's place is a link, the pack is built and stored where the link leads.
#[test]
fn a_pack_may_be_a_link_to_a_folder() {
    let source = Source::small();
    let (pack, elsewhere) = (source.pack_dir(), source.root.path().join("disk"));
    fs::create_dir(&elsewhere).unwrap();
    symlink("disk/faces", &pack).unwrap();
    for _again in 0..2 {
        let mut staged = 0;
        let options = source.options();
        import(&pack, &options, &mut |_| staged = fs::read_dir(&elsewhere).unwrap().count()).unwrap();
        assert!(staged >= 1, "nothing was staged on the other disk");
        assert!(pack.is_symlink() && elsewhere.join("faces/pack.json").is_file());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }
    fs::remove_file(&pack).unwrap();
    symlink("absent/faces", &pack).unwrap();
    let mut heard = 0;
    let error = import(&pack, &source.options(), &mut |_| heard += 1).unwrap_err().to_string();
    assert!(error.contains("absent/faces, which cannot be made"), "{error}");
    assert_eq!(heard, 0);
}
