//! Bad files: each is reported with its reason, and nothing else is lost.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use shared::image::Conversion;

use super::*;

/// A training image's path, with usable landmarks beside it.
fn place(source: &Source, name: &str) -> PathBuf {
    let file = format!("{TRAIN}/ANGRER/{name}");
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    source.write(&format!("landmarks/{TRAIN}/ANGRER/{stem}.txt"), lines(&face(0.25, 0.5)));
    source.path(&file)
}

#[test]
fn broken_images_are_named_and_nothing_else_is_lost() {
    let source = Source::small();
    let whole = fs::read(source.path(&format!("{TRAIN}/ANGRER/10.jpg"))).unwrap();
    fs::write(place(&source, "20.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(place(&source, "21.jpg"), "").unwrap();
    fs::write(place(&source, "22.jpg"), "not an image").unwrap();
    fs::create_dir(place(&source, "23.jpg")).unwrap();
    symlink("24.jpg", place(&source, "24.jpg")).unwrap();
    symlink("nowhere", place(&source, "25.jpg")).unwrap();
    symlink("/proc/self/mem", place(&source, "26.jpg")).unwrap();
    symlink("..", place(&source, "27.jpg")).unwrap();
    fs::write(place(&source, "28\n.jpg"), &whole).unwrap();
    source.image(&format!("{TRAIN}/stray.jpg"), 1);
    let (pack, problems) = source.imported();
    check_problems(
        &problems,
        &[
            ("ANGRER/23.jpg", "it is a folder, not a file"),
            ("ANGRER/27.jpg", "it is a folder, not a file"),
            ("ANGRER/28\n.jpg", "not one line of text"),
            ("ANGRER/20.jpg", "truncated"),
            ("ANGRER/21.jpg", "empty"),
            ("ANGRER/22.jpg", "not a JPEG or PNG"),
            ("ANGRER/24.jpg", "symbolic links"),
            ("ANGRER/25.jpg", "No such file"),
            ("ANGRER/26.jpg", "os error"),
            ("stray.jpg", "not in a class folder"),
            ("ANGRER/28\n.txt", "belongs to no image"),
        ],
    );
    assert_eq!(pack.digest(), Source::small().imported().0.digest());
}

#[test]
fn names_that_are_not_utf8_are_named_as_far_as_they_can_be() {
    let source = Source::small();
    let whole = fs::read(source.path(&format!("{TRAIN}/ANGRER/10.jpg"))).unwrap();
    for folder in [format!("{TRAIN}/ANGRER"), format!("landmarks/{TRAIN}/ANGRER"), "lsd_test_data".to_owned()]
    {
        fs::write(source.path(&folder).join(OsStr::from_bytes(b"3\xff.jpg")), &whole).unwrap();
    }
    let (pack, problems) = source.imported();
    let expected = ("3\u{fffd}.jpg", "not UTF-8");
    check_problems(&problems, &[expected, expected, expected]);
    assert_eq!(pack.digest(), Source::small().imported().0.digest());
}

#[test]
fn a_source_under_a_name_that_is_not_utf8_can_be_imported() {
    let source = Source::small();
    let odd = source.root.path().join(OsStr::from_bytes(b"s\xff"));
    fs::rename(source.path(""), &odd).unwrap();
    let report = source.import(&ImportOptions { source: odd, ..source.options() }).unwrap();
    assert_eq!(report.problems, []);
    serde_json::to_string(&report).unwrap();
}

#[test]
fn odd_but_whole_images_are_packed_and_counted() {
    let source = Source::small();
    let png = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 0, 0]));
    for name in ["30.jpg", "31.jpg"] {
        png.save_with_format(place(&source, name), image::ImageFormat::Png).unwrap();
    }
    image::GrayImage::new(9, 5).save(place(&source, "32.png")).unwrap();
    let report = source.import(&source.options()).unwrap();
    assert_eq!(report.problems, []);
    let pack = Pack::open(&source.pack_dir()).unwrap();
    assert_eq!(pack.len(Split::Train), 6);
    let origin: Origin = serde_json::from_value(pack.provenance().clone()).unwrap();
    assert_eq!(origin.source_sizes, [("12x20".to_owned(), 7), ("8x8".to_owned(), 2), ("9x5".to_owned(), 1)]);
    let misnamed = &origin.conversions[&Conversion::Misnamed];
    assert_eq!((misnamed.images, &*misnamed.first), (2, &*format!("{TRAIN}/ANGRER/30.jpg")));
    assert_eq!(origin.conversions[&Conversion::Grey].images, 1);
    assert_eq!(origin.landmarks, [LandmarkKind { format: Format::Text, unit: Unit::Normalized, images: 8 }]);
}

#[test]
fn images_that_the_test_list_does_not_name_are_noted() {
    let source = Source::small();
    source.image("lsd_test_data/7.jpg", 7);
    let (pack, problems) = source.imported();
    check_problems(&problems, &[("lsd_test_data/7.jpg", "does not name it")]);
    assert_eq!(pack.samples(Split::Test).ids, ["1.jpg", "0.jpg"]);
}
