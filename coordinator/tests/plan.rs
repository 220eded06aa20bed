//! `ferry plan` on datasets and files that are not what they were meant to be: refused in one sentence, or noted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use shared::expression::LANDMARKS;
use shared::pack::{PackWriter, Sample, Split};

fn ferry(folder: &Path, words: &[&str]) -> Output {
    let mut ferry = Command::new(env!("CARGO_BIN_EXE_ferry"));
    ferry.current_dir(folder).env("NO_COLOR", "1").args(words).output().unwrap()
}

/// A pack of grey images of 16 pixels: so many of each class in each split.
fn pack(dir: &Path, classes: [[usize; 6]; 3]) {
    let mut writer = PackWriter::create(dir, 16, serde_json::Value::Null).unwrap();
    for (split, counts) in Split::ALL.into_iter().zip(classes) {
        let labels = counts.iter().enumerate().flat_map(|(class, &n)| std::iter::repeat_n(class as u8, n));
        for (number, label) in labels.enumerate() {
            let id = format!("{split}/{number}");
            let landmarks = [[0.0; 2]; LANDMARKS];
            let pixels = [128; 16 * 16 * 3];
            writer
                .add(&Sample {
                    split,
                    id: &id,
                    label: Some(label),
                    landmarks: Some(&landmarks),
                    pixels: &pixels,
                })
                .unwrap();
        }
    }
    writer.finish().unwrap();
}

const SWEEP: &str = "\
name: s
dataset: pack
defaults: {image_size: 16, batch_size: 8}
groups:
  a: {matrix: {heads: [1, 2]}}
";

/// A folder with the sweep file `s.yaml` and the pack that it names.
fn folder(sweep: &str, classes: [[usize; 6]; 3]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), sweep).unwrap();
    pack(&folder.path().join("pack"), classes);
    folder
}

/// The notes of `ferry plan`, one a line.
fn notes(sweep: &str, classes: [[usize; 6]; 3]) -> String {
    let folder = folder(sweep, classes);
    let output = ferry(folder.path(), &["plan", "s.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let notes = text.split_once("\nNotes\n").map_or("", |(_, notes)| notes);
    notes.lines().map(|note| note.strip_prefix("  ").unwrap()).collect::<Vec<_>>().join("\n")
}

/// Case 8: a pack without validation images.
#[test]
fn a_dataset_without_validation_images_is_refused_by_plan_and_run_alike() {
    let folder = folder(SWEEP, [[2; 6], [0; 6], [1; 6]]);
    let plan = ferry(folder.path(), &["plan", "s.yaml"]);
    let said = String::from_utf8(plan.stderr).unwrap();
    assert_eq!(plan.status.code(), Some(2), "{said}");
    assert_snapshot!(said.trim_end(), @r#"
      × s.yaml:2:10: the dataset has no validation images; every epoch is scored on them, so no job can finish
       ╭─[s.yaml:2:10]
     1 │ name: s
     2 │ dataset: pack
       ·          ────
     3 │ defaults: {image_size: 16, batch_size: 8}
       ╰────
      help: import it again with a folder `validation_set_real_images` (docs/data.md)
    "#);
    let run = ferry(folder.path(), &["run", "s.yaml"]);
    assert_eq!((run.status.code(), String::from_utf8(run.stderr).unwrap()), (Some(2), said));
    assert!(!folder.path().join("runs").exists() && !folder.path().join(".ferry").exists());
}

/// Case 32: too few training images.
#[test]
fn a_dataset_with_a_single_training_image_is_refused() {
    let folder = folder(SWEEP, [[1, 0, 0, 0, 0, 0], [2; 6], [0; 6]]);
    let plan = ferry(folder.path(), &["plan", "s.yaml", "--json"]);
    let error: serde_json::Value = serde_json::from_slice(&plan.stderr).unwrap();
    assert_eq!(plan.status.code(), Some(2));
    assert_snapshot!(error["error"].as_str().unwrap(), @"a job would have 1 training image; it needs at least 2");
}

/// Case 8: a split without some class.
#[test]
fn missing_classes_and_a_missing_test_split_are_noted() {
    assert_snapshot!(notes(SWEEP, [[4, 4, 0, 4, 4, 4], [2, 2, 0, 2, 2, 0], [0; 6]]), @r"
      the training images have no Fear: a class without images cannot be learned, so macro F1 is at most 83.3
      the validation images have no Fear, no Surprise: a class without images has F1 0, so macro F1 is at most 66.7
      the dataset has no test images, so jobs and ensembles get no test scores
    ");
    assert_eq!(notes(SWEEP, [[4; 6], [2; 6], [1; 6]]), "");
}

/// Case 32: image_size above the dataset's, batch_size above a job's images, a subset of single images.
#[test]
fn jobs_that_train_but_may_not_be_meant_are_noted() {
    let sweep = "\
name: s
dataset: pack
defaults: {image_size: 16}
groups:
  large: {matrix: {image_size: [32]}, settings: {batch_size: 8}}
  strong: {matrix: {heads: [1, 2]}, settings: {batch_size: 24}}
  weak: {matrix: {subset_seed: [0, 1]}, settings: {subset_fraction: 0.25, batch_size: 8}}
";
    assert_snapshot!(notes(sweep, [[4; 6], [2; 6], [1; 6]]), @r"
      large: `image_size` 32 is above the dataset's 16 pixels: images are enlarged, which takes time and adds no detail
      weak: `batch_size` 8 is above the 6 training images of a job: an epoch is a single step
      weak: `subset_fraction` 0.25 leaves 6 of 24 training images, a single one of the rarest class
    ");
}

/// Case 32: settings that do nothing in any job they are named for.
#[test]
fn settings_without_effect_are_noted_and_written_out_defaults_are_not() {
    let sweep = "\
name: s
dataset: pack
defaults: {image_size: 16, batch_size: 8, mobilevitv2_width: 0.5, mixaug_terms: all, basic_off: all}
groups:
  vit: {matrix: {backbone: [mobilevitv2, resnet18], augmentation: [mixup]}}
  seeds: {matrix: {subset_seed: [0, 1], heads: [2]}, settings: {affine: 0, affine_degrees: 5, augmentation: mixup}}
";
    assert_snapshot!(notes(sweep, [[4; 6], [2; 6], [1; 6]]), @r"
      `mixaug_terms` in `defaults` does nothing: `augmentation` has a value that makes it meaningless
      `affine_degrees` in group `seeds` does nothing: `affine` has a value that makes it meaningless
      `subset_seed` in group `seeds` does nothing: `subset_fraction` has a value that makes it meaningless
    ");
}

/// Case 32: a folder that does not exist is said to be missing, and a folder that is not a pack is refused.
#[test]
fn a_missing_dataset_is_told_and_a_folder_that_is_not_a_pack_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SWEEP).unwrap();
    let plan = ferry(folder.path(), &["plan", "s.yaml"]);
    assert_eq!(plan.status.code(), Some(0));
    let text = String::from_utf8(plan.stdout).unwrap();
    assert_snapshot!(text.lines().take(2).collect::<Vec<_>>().join("\n"), @r"
    s: 2 jobs, dataset pack
    There is no dataset in pack: `ferry run` will refuse this sweep until `ferry data import` has made it. Job ids are provisional until then.
    ");
    let run = ferry(folder.path(), &["run", "s.yaml"]);
    assert_eq!(run.status.code(), Some(2));
    fs::create_dir(folder.path().join("pack")).unwrap();
    for verb in ["plan", "run"] {
        let output = ferry(folder.path(), &[verb, "s.yaml"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("s.yaml:2:10: the dataset cannot be used"), "{said}");
    }
}

/// Case 20: values that YAML does not read as text are shown as the file has them, with the remedy.
#[test]
fn values_are_quoted_as_the_file_has_them() {
    let mut told = String::new();
    for value in
        ["007", "1e3", "0x10", "0o17", "1_000", "+1", "1.0", "true", "null", "~", "", ".inf", "-.inf", "[a]"]
    {
        let text = SWEEP.replacen("name: s", &format!("name: {value}"), 1);
        let problems = orchestrator::sweep::plan(&text, Path::new(""), Path::new("")).unwrap_err();
        let help = problems[0].help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        writeln!(told, "{}{help}", problems[0].message).unwrap();
    }
    assert_snapshot!(told, @r#"
    `name`: expected a text, got 007 (quote it: "007")
    `name`: expected a text, got 1e3 (quote it: "1e3")
    `name`: expected a text, got 0x10 (quote it: "0x10")
    `name`: expected a text, got 0o17 (quote it: "0o17")
    `name`: expected a text, got 1_000 (quote it: "1_000")
    `name`: expected a text, got +1 (quote it: "+1")
    `name`: expected a text, got 1.0 (quote it: "1.0")
    `name`: expected a text, got true (quote it: "true")
    `name`: expected a text, got null (quote it: "null")
    `name`: expected a text, got ~ (quote it: "~")
    `name`: expected a text, got nothing (null)
    .inf is not a finite number
    -.inf is not a finite number
    `name`: expected a text, got ["a"]
    "#);
    // Text as it is.
    for value in ["yes", "no", "on", "2026-11-28", "\"007\"", "'1e3'", "v1.0"] {
        let text = SWEEP.replacen("name: s", &format!("name: {value}"), 1);
        let plan = orchestrator::sweep::plan(&text, Path::new(""), Path::new("")).unwrap();
        assert_eq!(plan.name, value.trim_matches(['"', '\'']));
    }
}

/// Case 20, its siblings: elsewhere than in `name`, and where a number is right but out of range.
#[test]
fn other_values_are_quoted_as_the_file_has_them() {
    let mut told = String::new();
    for (from, to) in [
        ("dataset: pack", "dataset: 007"),
        ("image_size: 16", "image_size: 1e3"),
        ("image_size: 16", "alpha: 1e3"),
        ("image_size: 16", "epochs: 0x0"),
        ("image_size: 16", "emotion_weights: 007"),
        ("image_size: 16", "class_weights: 007"),
        ("heads: [1, 2]", "heads: [0x1, 1]"),
        ("groups:", "tables: [{title: 2026, rows: [heads]}]\ngroups:"),
        ("groups:", "ensembles: {e: {members: [{where: {group: 007}}]}}\ngroups:"),
    ] {
        assert!(SWEEP.contains(from), "{from}");
        let text = SWEEP.replacen(from, to, 1);
        let problems = orchestrator::sweep::plan(&text, Path::new(""), Path::new("")).unwrap_err();
        let help = problems[0].help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        writeln!(told, "{}{help}", problems[0].message).unwrap();
    }
    assert_snapshot!(told, @r#"
    `dataset`: expected a text or a map (`key: value`), got 007 (quote it: "007")
    `image_size`: expected a whole number, got 1e3
    `alpha`: must lie between 0 and 100; got 1e3
    `epochs`: must lie between 1 and 100000; got 0x0
    `emotion_weights`: expected a text or null, got 007 (quote it: "007")
    `class_weights`: expected one of off, inverse_share; got 007
    `heads` lists 1 twice
    `title`: expected a text, got 2026 (quote it: "2026")
    `group`: expected a text or a list, got 007 (quote it: "007")
    "#);
}

#[test]
fn a_plan_in_words() {
    let sweep = "\
name: little
dataset: {synthetic: {train: 24, validation: 12, test: 6, image_size: 16}}
defaults: {image_size: 16, batch_size: 8, width: 8, epochs: 1}
groups:
  strong:
    matrix: {augmentation: [mixaug, mixup], heads: [1, 4]}
    exclude: [{augmentation: mixup, heads: 1}]
  weak:
    matrix: {subset_seed: [0, 1]}
    settings: {subset_fraction: 0.5}
ensembles:
  both:
    members:
      - {where: {group: weak}}
      - {where: {group: strong}, top: 2}
";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), sweep).unwrap();
    let output = ferry(folder.path(), &["plan", "s.yaml"]);
    assert_snapshot!(String::from_utf8(output.stdout).unwrap().trim_end(), @r#"
    little: 5 jobs, 24 + 12 + 6 synthetic faces of 16 pixels
    `ferry run` will draw the faces first. Job ids are provisional until then.

    Groups
      strong  3 jobs  augmentation {mixaug, mixup} × heads {1, 4}
      weak    2 jobs  subset_seed {0, 1}

    Ensembles
      both  4  all with group weak
               the 2 best with group strong

    Jobs
      5d31832b  strong  augmentation=mixaug heads=1 subset_fraction=1.0 subset_seed=0
      fd9edf14  strong  augmentation=mixaug heads=4 subset_fraction=1.0 subset_seed=0
      6b6c7c13  strong  augmentation=mixup heads=4 subset_fraction=1.0 subset_seed=0
      6632f42f  weak    augmentation=mixaug heads=4 subset_fraction=0.5 subset_seed=0
      572667e3  weak    augmentation=mixaug heads=4 subset_fraction=0.5 subset_seed=1

    Work: 5 epochs, about 96 images
    Time: not known yet, because no sweep like this was measured here
    "#);
}

/// A sweep of a trainer that reads no dataset.
const EMPTY: &str = "\
name: tiny
trainer: empty
rank_by: {metric: loss, goal: min}
defaults: {epochs: 2}
groups:
  a: {matrix: {seed: [0, 1], gain: [1, 2]}}
  b: {matrix: {fail_in_epoch: [1]}}
ensembles:
  e: {members: [{where: {group: a}, top: 3}]}
";

#[test]
fn a_plan_without_a_dataset() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), EMPTY).unwrap();
    let output = ferry(folder.path(), &["plan", "s.yaml"]);
    assert_snapshot!(String::from_utf8(output.stdout).unwrap().trim_end(), @r"
    tiny: 5 jobs, trainer empty, ranked by loss (lowest first)

    Groups
      a  4 jobs  gain {1.0, 2.0} × seed {0, 1}
      b  1 job

    Ensembles
      e  3  the 3 best with group a

    Jobs
      9e492cf9  a  fail_in_epoch=null gain=1.0 seed=0
      f8f6dc8e  a  fail_in_epoch=null gain=2.0 seed=0
      3bee3c7d  a  fail_in_epoch=null gain=1.0 seed=1
      949bd24b  a  fail_in_epoch=null gain=2.0 seed=1
      bdf50447  b  fail_in_epoch=1 gain=1.0 seed=0

    Work: 10 epochs
    Time: not known yet, because no sweep like this was measured here
    ");
    let output = ferry(folder.path(), &["plan", "s.yaml", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&plan["dataset_digest"], &plan["provisional"]), (&().into(), &false.into()));
    assert_eq!(
        plan["jobs"][1]["params"],
        serde_json::json!({ "seed": 0, "gain": 2.0, "fail_in_epoch": null })
    );
    let id = plan["jobs"][1]["id"].as_str().unwrap();
    let output = ferry(folder.path(), &["plan", "s.yaml", "--spec", id]);
    let job: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&job["id"], &job["pack"], &job["spec"]["epochs"]), (&id.into(), &().into(), &2.into()));
}

#[test]
fn a_plan_for_a_wrong_trainer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = String::new();
    for (from, to) in [("empty", "emtpy"), ("defaults", "dataset: pack\ndefaults"), ("epochs", "heads")] {
        fs::write(folder.path().join("s.yaml"), EMPTY.replacen(from, to, 1)).unwrap();
        let output = ferry(folder.path(), &["plan", "s.yaml"]);
        assert_eq!(output.status.code(), Some(2));
        told += &String::from_utf8(output.stderr).unwrap();
    }
    assert_snapshot!(told.trim_end(), @r#"
      × s.yaml:2:10: `trainer`: there is no "emtpy"
       ╭─[s.yaml:2:10]
     1 │ name: tiny
     2 │ trainer: emtpy
       ·          ─────
     3 │ rank_by: {metric: loss, goal: min}
       ╰────
      help: did you mean `empty`?
      × s.yaml:4:10: `dataset`: the trainer `empty` reads no dataset; leave `dataset` out
       ╭─[s.yaml:4:10]
     3 │ rank_by: {metric: loss, goal: min}
     4 │ dataset: pack
       ·          ────
     5 │ defaults: {epochs: 2}
       ╰────
      × s.yaml:4:12: unknown key `heads` in `defaults`
       ╭─[s.yaml:4:12]
     3 │ rank_by: {metric: loss, goal: min}
     4 │ defaults: {heads: 2}
       ·            ─────
     5 │ groups:
       ╰────
      help: known: classes, epoch_ms, epochs, fail_in_epoch, gain, samples, seed
    "#);
}
