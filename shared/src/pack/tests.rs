//! Packs round trip, damage is found, and a failed writer changes nothing.

use std::fs;
use std::path::Path;

use proptest::prelude::{any, prop_assert};
use proptest::test_runner::TestRunner;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::version::VersionError;

const SIZE: u32 = 3;

fn pixels(seed: u8) -> Vec<u8> {
    (0..27).map(|i| seed.wrapping_mul(31).wrapping_add(i)).collect()
}

fn points(seed: u8) -> Landmarks {
    std::array::from_fn(|i| [i as f32 / 68.0, f32::from(seed) / 100.0])
}

fn sample<'a>(split: Split, id: &'a str, pixels: &'a [u8], landmarks: Option<&'a Landmarks>) -> Sample<'a> {
    Sample { split, id, label: Some(2), landmarks, pixels }
}

/// Three training, two validation (one without landmarks) and one unlabelled test sample.
fn write(dir: &Path) -> Result<String, PackError> {
    let mut writer = PackWriter::create(dir, SIZE, json!({ "source": "a test" }))?;
    for i in 0..3u8 {
        let id = format!("t{i}");
        writer.add(&Sample { label: Some(i), ..sample(Split::Train, &id, &pixels(i), Some(&points(i))) })?;
    }
    writer.add(&sample(Split::Validation, "v0", &pixels(10), None))?;
    writer.add(&sample(Split::Validation, "v1", &pixels(11), Some(&points(11))))?;
    writer.add(&Sample { label: None, ..sample(Split::Test, "x", &pixels(20), None) })?;
    writer.finish()
}

fn packed() -> (TempDir, PathBuf, String) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pack");
    let digest = write(&dir).unwrap();
    (root, dir, digest)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read_back() {
    let (root, dir, digest) = packed();
    let pack = Pack::open(&dir).unwrap();
    pack.verify().unwrap();
    assert_eq!(pack.digest(), digest);
    assert_eq!(Split::ALL.map(|split| pack.len(split)), [3, 2, 1]);
    assert_eq!(pack.labels(Split::Train), [Some(0), Some(1), Some(2)]);
    assert_eq!(pack.samples(Split::Validation).ids, ["v0", "v1"]);
    assert_eq!(pack.labels(Split::Test), [None]);
    assert_eq!(pack.image(Split::Validation, 1), pixels(11));
    assert_eq!(pack.image(Split::Test, 0), pixels(20));
    assert_eq!(pack.landmarks(Split::Train, 2), Some(points(2)));
    assert_eq!(pack.landmarks(Split::Validation, 0), None);
    assert_eq!(pack.landmarks(Split::Validation, 1), Some(points(11)));
    assert_eq!(names(root.path()), ["pack"]);
    assert!(files(&dir).iter().all(|file| file.is_file()) && names(&dir).len() == FILES.len());
}

#[test]
fn the_digest_is_over_content_only() {
    let (_root, dir, digest) = packed();
    let (_other_root, other, _) = packed();
    let text = fs::read_to_string(other.join(MANIFEST)).unwrap();
    fs::write(other.join(MANIFEST), text.replace("a test", "elsewhere")).unwrap();
    Pack::open(&other).unwrap().verify().unwrap();
    assert_eq!(Pack::open(&other).unwrap().digest(), digest);

    let mut writer = PackWriter::create(&dir, SIZE, json!(null)).unwrap();
    writer.add(&sample(Split::Train, "t0", &pixels(0), Some(&points(0)))).unwrap();
    assert_ne!(writer.finish().unwrap(), digest);
}

#[test]
fn every_truncation_is_refused_with_the_file_named() {
    let (_root, dir, _) = packed();
    for file in files(&dir) {
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let error = Pack::open(&dir).expect_err("truncated").to_string();
            assert!(error.contains(&*file.to_string_lossy()), "{error}");
        }
        fs::remove_file(&file).unwrap();
        assert!(Pack::open(&dir).is_err());
        fs::write(&file, [&whole[..], b"\n"].concat()).unwrap();
        assert_eq!(Pack::open(&dir).is_ok(), file.ends_with(MANIFEST), "a byte too many in {file:?}");
        fs::write(&file, &whole).unwrap();
    }
    Pack::open(&dir).unwrap();
}

#[test]
fn every_flipped_bit_of_the_content_is_found() {
    let (_root, dir, _) = packed();
    for name in [SAMPLES, LANDMARK_FILE, PIXELS] {
        let file = dir.join(name);
        let whole = fs::read(&file).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << (position % 7);
            fs::write(&file, &damaged).unwrap();
            let found = Pack::open(&dir).and_then(|pack| pack.verify());
            assert!(found.is_err(), "{name}, byte {position}");
        }
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn another_version_and_another_folder_are_named() {
    let (root, dir, _) = packed();
    let text = fs::read_to_string(dir.join(MANIFEST)).unwrap();
    fs::write(dir.join(MANIFEST), text.replace("\"version\": 1", "\"version\": 9, \"new\": 0")).unwrap();
    assert!(matches!(
        Pack::open(&dir),
        Err(PackError::Version { source: VersionError::Newer { found: 9, .. }, .. })
    ));
    assert!(matches!(Pack::open(root.path()), Err(PackError::NotAPack(_))));
    assert!(matches!(Pack::open(&root.path().join("absent")), Err(PackError::NotAPack(_))));
    let huge = text.replace("\"image_size\": 3", "\"image_size\": 4294967295");
    fs::write(dir.join(MANIFEST), huge).unwrap();
    assert!(matches!(Pack::open(&dir), Err(PackError::Manifest { .. })));
}

#[test]
fn an_unfinished_writer_leaves_the_old_pack_and_nothing_else() {
    let (root, dir, digest) = packed();
    let mut writer = PackWriter::create(&dir, SIZE, json!(null)).unwrap();
    writer.add(&sample(Split::Train, "t", &pixels(1), Some(&points(1)))).unwrap();
    drop(writer);
    assert_eq!(names(root.path()), ["pack"]);
    assert_eq!(Pack::open(&dir).unwrap().digest(), digest);
}

#[test]
fn a_reader_keeps_the_pack_that_is_replaced() {
    let (root, dir, _) = packed();
    let old = Pack::open(&dir).unwrap();
    let mut writer = PackWriter::create(&dir, SIZE, json!(null)).unwrap();
    writer.add(&sample(Split::Train, "t", &pixels(1), Some(&points(1)))).unwrap();
    let digest = writer.finish().unwrap();
    old.verify().unwrap();
    assert_eq!(Pack::open(&dir).unwrap().digest(), digest);
    assert_eq!(names(root.path()), ["pack"]);
}

#[test]
fn abandoned_folders_go_and_living_ones_stay() {
    let (root, dir, _) = packed();
    let abandoned = root.path().join(".pack.partial-1-0");
    fs::create_dir(&abandoned).unwrap();
    fs::write(abandoned.join(SAMPLES), "").unwrap();
    let first = PackWriter::create(&dir, SIZE, json!(null)).unwrap();
    let second = PackWriter::create(&dir, SIZE, json!(null)).unwrap();
    assert!(!abandoned.exists());
    assert_eq!(names(root.path()).len(), 3);
    drop(second);
    first.finish().unwrap();
    assert_eq!(names(root.path()), ["pack"]);
}

/// Adds the samples of [`write`] from the `from`th on, with a checkpoint after each.
fn write_staged(mut writer: PackWriter, from: usize, mut each: impl FnMut(Checkpoint)) -> String {
    let (images, marks) = ([0, 1, 2, 10, 11, 20].map(pixels), [0, 1, 2, 11].map(points));
    let base = sample(Split::Train, "", &images[0], None);
    let all = [
        Sample { id: "t0", label: Some(0), landmarks: Some(&marks[0]), ..base },
        Sample { id: "t1", label: Some(1), landmarks: Some(&marks[1]), pixels: &images[1], ..base },
        Sample { id: "t2", label: Some(2), landmarks: Some(&marks[2]), pixels: &images[2], ..base },
        Sample { split: Split::Validation, id: "v0", pixels: &images[3], ..base },
        Sample { split: Split::Validation, id: "v1", pixels: &images[4], landmarks: Some(&marks[3]), ..base },
        Sample { split: Split::Test, id: "x", label: None, pixels: &images[5], ..base },
    ];
    for sample in &all[from..] {
        writer.add(sample).unwrap();
        each(writer.checkpoint().unwrap());
    }
    writer.finish().unwrap()
}

#[test]
fn a_killed_writer_is_taken_up_at_every_checkpoint() {
    let (root, _, digest) = packed();
    let (staging, dir) = (root.path().join("staging"), root.path().join("new"));
    for reached in 0..6 {
        fs::create_dir(&staging).unwrap();
        let mut checkpoints = Vec::new();
        let whole = root.path().join("whole");
        let writer = PackWriter::stage(&staging, &whole, SIZE).unwrap();
        assert_eq!(write_staged(writer, 0, |checkpoint| checkpoints.push(checkpoint)), digest);
        // A killed writer leaves the beginning of the finished files, followed by torn data.
        fs::create_dir(&staging).unwrap();
        for name in [SAMPLES, LANDMARK_FILE, PIXELS] {
            let torn = [&fs::read(whole.join(name)).unwrap()[..], b"torn"].concat();
            fs::write(staging.join(name), torn).unwrap();
        }
        let writer = PackWriter::resume(&staging, &dir, SIZE, &checkpoints[reached]).unwrap();
        assert!(!dir.exists());
        assert_eq!(write_staged(writer, reached + 1, |_| {}), digest, "after sample {reached}");
        Pack::open(&dir).unwrap().verify().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_dir_all(&whole).unwrap();
    }
}

#[test]
fn damaged_staging_is_not_taken_up() {
    let root = tempfile::tempdir().unwrap();
    let (staging, dir) = (root.path().join("staging"), root.path().join("pack"));
    fs::create_dir(&staging).unwrap();
    let mut writer = PackWriter::stage(&staging, &dir, SIZE).unwrap();
    writer.add(&sample(Split::Train, "t0", &pixels(0), Some(&points(0)))).unwrap();
    let reached = writer.checkpoint().unwrap();
    drop(writer);
    PackWriter::resume(&staging, &dir, SIZE, &reached).unwrap();
    for name in [SAMPLES, LANDMARK_FILE, PIXELS] {
        let whole = fs::read(staging.join(name)).unwrap();
        fs::write(staging.join(name), &whole[..whole.len() - 1]).unwrap();
        assert!(PackWriter::resume(&staging, &dir, SIZE, &reached).is_err(), "{name} cut");
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(staging.join(name), flipped).unwrap();
        assert!(PackWriter::resume(&staging, &dir, SIZE, &reached).is_err(), "{name} flipped");
        fs::write(staging.join(name), whole).unwrap();
    }
    assert!(!dir.exists());
}

#[test]
fn foreign_folders_are_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("thesis");
    fs::create_dir(&dir).unwrap();
    write(&dir).expect("an empty folder may be filled");
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert!(matches!(write(&dir), Err(PackError::Occupied(_))));
    assert!(matches!(write(&dir.join("notes.txt")), Err(PackError::Occupied(_))));
    assert_eq!(names(root.path()), ["thesis"]);
}

#[test]
fn samples_that_do_not_belong_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = PackWriter::create(&root.path().join("pack"), SIZE, json!(null)).unwrap();
    let (image, marks) = (pixels(1), points(1));
    let good = sample(Split::Validation, "a", &image, Some(&marks));
    writer.add(&good).unwrap();
    let mut not_finite = marks;
    not_finite[5][1] = f32::NAN;
    for bad in [
        good,
        Sample { split: Split::Train, id: "b", ..good },
        Sample { id: "two\nlines", ..good },
        Sample { id: "b", label: Some(6), ..good },
        Sample { id: "b", label: None, ..good },
        Sample { id: "b", pixels: &image[1..], ..good },
        Sample { id: "b", landmarks: Some(&not_finite), ..good },
    ] {
        assert!(matches!(writer.add(&bad), Err(PackError::Sample { .. })), "{bad:?}");
    }
    assert!(matches!(PackWriter::create(root.path(), 0, json!(null)), Err(PackError::ImageSize(0))));
}

#[test]
fn no_manifest_makes_opening_panic() {
    let (_root, dir, _) = packed();
    let manifest = dir.join(MANIFEST);
    let good: serde_json::Value = serde_json::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
    let cases = ("\\PC*", 0usize..6, any::<u64>());
    TestRunner::default()
        .run(&cases, |(text, field, value)| {
            let name = ["version", "image_size", "with_landmarks", "index_bytes", "digest", "samples"][field];
            let mut json = good.clone();
            json[name] = if name == "samples" { json!([value, value, 1]) } else { json!(value) };
            fs::write(&manifest, json.to_string()).unwrap();
            prop_assert!(json == good || Pack::open(&dir).is_err());
            fs::write(&manifest, text).unwrap();
            prop_assert!(Pack::open(&dir).is_err());
            Ok(())
        })
        .unwrap();
}

/// Case 3: links are followed before anything is written.
#[test]
fn the_place_of_a_pack_is_where_its_links_lead() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("disk")).unwrap();
    for (link, to) in
        [("a", "disk/new"), ("b", "a"), ("gone", "absent/new"), ("round", "circle"), ("circle", "round")]
    {
        symlink(to, at(link)).unwrap();
    }
    for (dir, place) in
        [("plain", "plain"), ("a", "disk/new"), ("b", "disk/new"), ("b/", "disk/new"), ("no/dir", "no/dir")]
    {
        assert_eq!(destination(&at(dir)).unwrap(), at(place), "{dir}");
    }
    for dir in ["gone", "round"] {
        let error = destination(&at(dir)).unwrap_err();
        assert!(matches!(error, PackError::Link { .. }), "{error}");
    }
    assert!(matches!(destination(Path::new("/proc")), Err(PackError::MountPoint(_))));

    let digest = write(&at("b")).unwrap();
    assert_eq!(
        (write(&at("b")).unwrap(), Pack::open(&at("a")).unwrap().digest()),
        (digest.clone(), &*digest)
    );
    assert_eq!(names(&at("disk")), ["new"]);
    assert!(at("b").is_symlink() && at("a").is_symlink());
}
