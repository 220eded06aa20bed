//! Wrong sweep files are refused with exit code 2, a place and the nearest known name, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small valid file; each case replaces one piece of it.
const RIGHT: &str = "\
name: little
dataset: {synthetic: {train: 60, validation: 12, test: 12, image_size: 32}}
defaults:
  epochs: 2
  width: 8
groups:
  strong:
    matrix:
      augmentation: [mixaug, mixup]
      heads: [1, 4]
    exclude:
      - {augmentation: mixup, heads: 1}
  weak:
    matrix:
      subset_seed: [0, 1]
    settings: {subset_fraction: 0.2}
ensembles:
  both:
    members:
      - {where: {group: weak}}
      - {where: {group: strong}, top: 2}
tables:
  - {title: strong, where: {group: strong}, rows: [augmentation, heads], mean_by: [augmentation]}
";

fn ferry(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferry")).current_dir(folder).args(words).output().unwrap()
}

fn stderr_of_plan(text: &[u8], words: &[&str]) -> (i32, String, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.yaml"), text).unwrap();
    let output = ferry(folder.path(), &[&["plan", "s.yaml"], words].concat());
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap(), left)
}

/// `RIGHT` with `from` (which stands in it) replaced by `to` must be refused at `place` with all of `words`.
#[track_caller]
fn check(from: &str, to: &str, place: &str, words: &[&str]) {
    assert!(RIGHT.contains(from), "{from}");
    let text = RIGHT.replacen(from, to, 1);
    let (code, stderr, left) = stderr_of_plan(text.as_bytes(), &[]);
    assert_eq!(code, 2, "{stderr}");
    let plain: String = stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for word in words.iter().copied().chain([format!("s.yaml:{place}: ").as_str()]) {
        let word = word.trim();
        assert!(plain.contains(word), "{word:?} is missing from:\n{stderr}");
    }
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn the_right_file_is_right() {
    let (code, stderr, left) = stderr_of_plan(RIGHT.as_bytes(), &[]);
    assert_eq!((code, stderr.as_str(), left.len()), (0, "", 1));
}

#[test]
fn unknown_keys_are_answered_with_the_nearest() {
    check("ensembles:", "ensemble:", "17:1", &["unknown key `ensemble`", "did you mean `ensembles`?"]);
    check("  epochs: 2", "  epoch: 2", "4:3", &["unknown key `epoch`", "did you mean `epochs`?"]);
    check("heads: [1", "head: [1", "10:7", &["unknown key `head` in `matrix`", "did you mean `heads`?"]);
    check("top: 2", "tops: 2", "21:34", &["unknown key `tops`", "did you mean `top`?"]);
    check("train: 60", "trian: 60", "2:23", &["unknown key `trian`", "did you mean `train`?"]);
    check("rows: [aug", "rows: [augmentatoin, aug", "23:52", &["did you mean `augmentation`?"]);
}

#[test]
fn misspelt_values_are_answered_with_the_nearest() {
    check("[mixaug, mixup]", "[mixaug, mixpu]", "9:30", &["there is no \"mixpu\"", "did you mean `mixup`?"]);
    check("{group: weak}", "{group: waek}", "20:25", &["no group `waek`", "did you mean `weak`?"]);
    check(
        "{where: {group: weak}}",
        "{where: {augmentation: mixup, heads: 3}}",
        "20:46",
        &["no job has `heads` = 3", "the jobs have 1, 4"],
    );
    check("{group: weak}", "{augmentation: none}", "20:32", &["no job has `augmentation` = \"none\""]);
}

#[test]
fn wrong_types_are_told_in_plain_words() {
    check("epochs: 2", "epochs: many", "4:11", &["`epochs`: expected a whole number, got \"many\""]);
    check("epochs: 2", "epochs: 2.5", "4:11", &["`epochs`: expected a whole number, got 2.5"]);
    check("epochs: 2", "epochs: [2]", "4:11", &["`epochs`: expected a whole number, got [2]"]);
    check("epochs: 2", "epochs:", "4:9", &["expected a whole number, got nothing (null)"]);
    check("epochs: 2", "basic_augmentation: on", "4:23", &["expected true or false, got \"on\""]);
    check("epochs: 2", "blocks: [1, 1]", "4:11", &["`blocks`: expected a list of 4, got one of 2"]);
    check("heads: [1, 4]", "heads: 4", "10:14", &["`heads`: expected a list, got 4"]);
    check("name: little", "name: [little]", "1:7", &["`name`: expected a text, got [\"little\"]"]);
    check("dataset: {synthetic", "dataset: 7 #", "2:10", &["expected a text or a map"]);
    check("name: little\n", "", "1:1", &["the key `name` is missing"]);
}

#[test]
fn values_out_of_range_are_refused() {
    check("epochs: 2", "epochs: 0", "4:11", &["`epochs`: must lie between 1 and 100000; got 0"]);
    check("epochs: 2", "epochs: -1", "4:11", &["`epochs`: -1 is too small; the least is 0"]);
    check("epochs: 2", "epochs: 5000000000", "4:11", &["too large; the most is 4294967295"]);
    check("0.2", "1.5", "16:33", &["`subset_fraction`: must be above 0 and at most 1; got 1.5"]);
    check("heads: [1, 4]", "heads: [1, 400]", "10:18", &["`heads`: must lie between 1 and 64"]);
    check("train: 60", "train: 5", "2:22", &["`train` must be at least 6"]);
    check("name: little", "name: ../up", "1:7", &["cannot be the name of a run folder"]);
    check("epochs: 2", "alpha: .nan", "4:10", &[]);
}

#[test]
fn empty_and_duplicate_entries_are_refused() {
    check("heads: [1, 4]", "heads: []", "10:14", &["`heads` is an empty list"]);
    check("subset_seed: [0, 1]", "{}", "15:7", &["`matrix` is empty"]);
    check("[1, 4]", "[1, 4, 1]", "10:21", &["`heads` lists 1 twice"]);
    check("  weak:\n", "  strong:\n", "13:3", &["`strong` appears twice"]);
    check("  width: 8", "  epochs: 3", "5:3", &["`epochs` appears twice"]);
    check("{subset_fraction", "{subset_seed: 1, subset_fraction", "16:16", &["an axis of this group"]);
    check("tables:", "tables:\n  - {title: strong, rows: [heads]}", "24:13", &["two tables have the title"]);
}

#[test]
fn what_selects_nothing_is_refused() {
    check("heads: 1}", "heads: 8}", "12:9", &["matches no combination", "the group has 1, 4"]);
    check(
        "- {augmentation: mixup, heads: 1}",
        "- {heads: 1}\n      - {heads: 4}",
        "7:3",
        &["every combination"],
    );
    check("top: 2", "top: 9", "21:39", &["`top` asks for the 9 best, but only 3 jobs match"]);
    check("top: 2", "top: 0", "21:39", &["`top`: 0 is too small; the least is 1"]);
    check(
        "{where: {group: weak}}",
        "{where: {group: weak, heads: 1}}",
        "20:9",
        &["no job meets all of these conditions"],
    );
    check("top: 2", "best_group: [epochs]", "21:47", &["all have the same `epochs`"]);
    check("top: 2", "top: 2, best_group: [heads]", "21:39", &["cannot be combined"]);
    check("mean_by: [augmentation]", "mean_by: [heads]", "23:84", &["the first of `rows`"]);
    check(
        "mean_by: [augmentation]",
        "paper: [{augmentation: mixup, heads: 1, f1: 50}]",
        "23:82",
        &["no job of the table is in this row"],
    );
}

#[test]
fn a_million_jobs_by_accident_are_refused_before_they_are_made() {
    let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let axes = format!("subset_seed: [{}]\n      seed: [{}]", many(1000), many(1000));
    check("subset_seed: [0, 1]", &axes, "13:3", &["1000004 jobs", "at most 100000", "`max_jobs`"]);
    let huge = format!(
        "{axes}\n      cpu_threads: [{}]",
        (1..=1000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
    );
    check("subset_seed: [0, 1]", &huge, "13:3", &["at most 100000"]);
    let raised = RIGHT.replacen("name: little", "name: little\nmax_jobs: 6", 1);
    assert_eq!(stderr_of_plan(raised.as_bytes(), &[]).0, 0);
    check("name: little", "max_jobs: 5\nname: little", "14:3", &["6 jobs", "at most 5"]);
    let most = "max_jobs: 18446744073709551615\nname: little";
    check("name: little", most, "1:11", &["`max_jobs`", "the most is 1000000"]);
}

#[test]
fn a_wrong_checkpoint_interval_is_refused() {
    for wrong in ["5 hours", "0 steps", "99999999999 minutes"] {
        let line = format!("checkpoint_every: {wrong}\nname: little");
        check("name: little", &line, "1:19", &["`checkpoint_every`", wrong, "write `epoch`, `200 steps`"]);
    }
    let right = RIGHT.replacen("name: little", "name: little\ncheckpoint_every: 200 steps", 1);
    assert_eq!(stderr_of_plan(right.as_bytes(), &[]).0, 0);
}

#[test]
fn wrong_yaml_is_refused_with_its_place() {
    check("  epochs: 2", "  epochs: 2\n bad", "5:2", &[]);
    check("heads: [1, 4]", "heads: [1, 4", "11:12", &[]);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    for text in
        [bomb.into_bytes(), vec![b'['; 5000], b"name: \xff\xfe\n".to_vec(), Vec::new(), vec![b' '; 2 << 20]]
    {
        let (code, stderr, left) = stderr_of_plan(&text, &[]);
        assert_eq!((code, left.len()), (2, 1), "{stderr}");
        assert!(stderr.contains("s.yaml"), "{stderr}");
        assert!(!stderr.contains("budget"), "the crate's own words: {stderr}");
    }
}

#[test]
fn what_is_not_utf8_has_a_place() {
    let (code, stderr, _) = stderr_of_plan(b"name: a\ndataset: \xff\xfe\n", &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("s.yaml:2:10: the file is not UTF-8"), "{stderr}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("none.yaml", "none.yaml: cannot be read"),
        (".", ".: is a folder"),
        ("/dev/zero", "/dev/zero: is too long"),
    ];
    for (file, words) in cases {
        let output = ferry(folder.path(), &["plan", file]);
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn several_problems_are_reported_together_and_as_json() {
    let text = RIGHT.replacen("epochs: 2", "epochs: many", 1).replacen("mixup]", "mixpu]", 1);
    let (code, stderr, _) = stderr_of_plan(text.as_bytes(), &["--json"]);
    let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(code, 2);
    assert_eq!(error["error"], "`epochs`: expected a whole number, got \"many\"");
    assert_eq!((&error["file"], &error["line"], &error["column"]), (&"s.yaml".into(), &4.into(), &11.into()));
    assert_eq!(error["problems"].as_array().unwrap().len(), 2);
    assert_eq!(error["problems"][1]["help"], "did you mean `mixup`?");
}

/// A converted file of weights as the worker writes it; the tensors themselves are the worker's affair.
fn weights(backbone: &str) -> Vec<u8> {
    weights_with(backbone, None)
}

/// The same with a tensor `a` of one value.
fn weights_with(backbone: &str, value: Option<f32>) -> Vec<u8> {
    let serde_json::Value::Object(facts) = serde_json::json!({
        "format": "ferry-weights", "version": 1, "layout": "vggface2", "preprocessing": "vggface2_bgr",
        "holds": { "backbone": backbone }, "source": { "sha256": "abab", "format": "" },
    }) else {
        unreachable!("an object is written above")
    };
    let bytes = value.map(f32::to_le_bytes);
    let (key, facts) = shared::seal::metadata(facts, bytes.iter().map(|bytes| ("a", bytes.as_slice())));
    let mut header = serde_json::json!({ "__metadata__": { key: facts } });
    if value.is_some() {
        header["a"] = serde_json::json!({ "dtype": "F32", "shape": [1], "data_offsets": [0, 4] });
    }
    let (header, data) = (header.to_string(), bytes.map(Vec::from).unwrap_or_default());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn plan_beside(files: &[(&str, &[u8])], text: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/s.yaml"), text).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join("sub").join(name), bytes).unwrap();
    }
    ferry(folder.path(), &[&["plan", "sub/s.yaml"], words].concat())
}

#[test]
fn weights_are_found_from_the_sweep_files_folder_and_named_by_content() {
    let caffe = weights("vggface2_resnet50");
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&caffe));
    let text = RIGHT.replacen("heads: [1, 4]", "emotion_weights: [null, a.safetensors]", 1);
    let text = text
        .replacen("heads: 1}", "emotion_weights: a.safetensors}", 1)
        .replace(", heads]", ", emotion_weights]");
    let plan = |name: &str, text: &str| -> serde_json::Value {
        let output = plan_beside(&[(name, &caffe)], text, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = plan("a.safetensors", &text);
    let seen = first["jobs"].as_array().unwrap().iter().map(|job| &job["params"]["emotion_weights"]);
    let named = format!("sha256:{digest}");
    assert_eq!(seen.filter(|value| **value == *named).count(), 1);
    assert_eq!(
        (&first["weights"][0]["digest"], &first["weights"][0]["name"]),
        (&digest.into(), &"a.safetensors".into())
    );
    assert!(first["weights"][0]["remarks"][0].as_str().unwrap().contains("`normalization: vggface2_bgr`"));
    // The path is not part of a job's identity, and neither is whether a path or a digest is written.
    let ids = |plan: &serde_json::Value| -> Vec<String> {
        plan["jobs"].as_array().unwrap().iter().map(|job| job["id"].to_string()).collect()
    };
    let elsewhere = plan("b.safetensors", &text.replace("a.safetensors", "b.safetensors"));
    let by_digest = plan("a.safetensors", &text.replace("a.safetensors", &named));
    assert_eq!((ids(&elsewhere), ids(&by_digest)), (ids(&first), ids(&first)));
    assert_ne!(ids(&first)[0], ids(&first)[1]);
}

#[test]
fn missing_and_wrong_weights_are_refused_with_their_place() {
    let caffe = weights("vggface2_resnet50");
    let model = [&28_u64.to_le_bytes(), br#"{"__metadata__":{"a":"b"}}  "#.as_slice()].concat();
    let nan = weights_with("vggface2_resnet50", Some(f32::NAN));
    let damaged = String::from_utf8(caffe.clone()).unwrap().replace("abab", "abba").into_bytes();
    let files = [
        ("caffe.safetensors", caffe.as_slice()),
        ("raw.pth", b"\x80\x02raw"),
        ("empty.safetensors", b""),
        ("page.safetensors", b"<!DOCTYPE html><html></html>"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("nan.safetensors", &nan),
        ("plain.safetensors", &model),
        ("damaged.safetensors", &damaged),
    ];
    for (setting, place, words) in [
        ("emotion_weights: none.safetensors", "5:20", "sub/none.safetensors cannot be read: No such file"),
        ("emotion_weights: .", "5:20", "is not a file"),
        (
            "emotion_weights: raw.pth",
            "5:20",
            "is not a Ferry file; convert it first: ferry-worker weights convert",
        ),
        ("emotion_weights: empty.safetensors", "5:20", "sub/empty.safetensors is an empty file"),
        ("emotion_weights: page.safetensors", "5:20", "sub/page.safetensors is a web page, not weights"),
        ("emotion_weights: pointer.safetensors", "5:20", "is a Git LFS pointer, not the weights themselves"),
        // Case 9: the tensor is named.
        ("emotion_weights: nan.safetensors", "5:20", "has NaN or infinite values in `a`: use other weights"),
        ("head_weights: plain.safetensors", "5:17", "does not say what it holds; convert it first"),
        ("emotion_weights: damaged.safetensors", "5:20", "the bytes are damaged"),
        ("head_weights: caffe.safetensors", "5:17", "it has no attention heads but a backbone"),
        ("head_weights: 'sha256:12'", "5:17", "must be `sha256:` and 64 hexadecimal digits"),
        ("head_weights: 3", "5:17", "expected a text or null, got 3"),
        (
            "backbone: dino_resnet50\n  appearance_weights: caffe.safetensors",
            "6:23",
            "caffe.safetensors: it holds a ResNet50 in Caffe's topology, the job's `backbone: dino_resnet50`",
        ),
    ] {
        let text = RIGHT.replacen("  width: 8", &format!("  {setting}"), 1);
        let output = plan_beside(&files, &text, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let plain: String =
            stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(plain.contains(&format!("sub/s.yaml:{place}: ")), "{setting}: {stderr}");
        assert!(plain.contains(words), "{setting}: {stderr}");
    }
}
