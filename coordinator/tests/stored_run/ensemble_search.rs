//! `ferry ensemble search` on a run folder.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fixture::{plan, run};

fn search(root: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(["ensemble", "search"]).arg(root).args(["--replicates", "50"]).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn ensembles_are_ranked_by_what_they_score_on_other_images() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    run(root.path(), &plan, |n, _| n % 3 == 0);
    let found = search(root.path(), &[]);
    insta::assert_snapshot!(text(&found.stdout), @"
    abaw4-lsd: 13 candidates, 600 labelled images of validation

                        members  on others  macro F1 (95 %)        over the best job (95 %)     ECE    test
      best k                  2      78.20  79.93 (77.51 to 82.35)  +3.13 (+1.39 to +5.61)      0.238   71.65
      greedy                  6      78.05  80.56 (78.08 to 83.54)  +3.76 (+1.60 to +6.06)      0.262   70.18
      majority vote          13      76.39  76.39 (74.13 to 79.42)  -0.41 (-3.26 to +3.02)      0.069   67.17
      weighted by score      13      76.07  76.13 (73.92 to 79.40)  -0.67 (-3.42 to +2.19)      0.238   66.51
      all                    13      75.95  75.96 (73.57 to 79.32)  -0.84 (-3.48 to +2.15)      0.237   66.51
      calibrated             13      75.89  75.79 (73.52 to 79.24)  -1.01 (-3.56 to +2.00)      0.092   66.67
      best single job         1      75.07  76.80 (73.71 to 80.12)  -                           0.197   67.03

    Overfitted to these images: on images that it was not chosen by, best k falls to 78.20, greedy falls to 78.05, best single job falls to 75.07.

    Members of `best k`
      b018f61f  strong mixaug dino_resnet50 -basic_augmentation  weight  50.0 %
      d2826a0c  strong mixup dino_resnet50 +basic_augmentation   weight  50.0 %

    The two members disagree on 22.2 % of the images.
    ");
    let found: Value = serde_json::from_slice(&search(root.path(), &["--json"]).stdout).unwrap();
    let methods: Vec<&Value> = found["found"].as_array().unwrap().iter().collect();
    assert_eq!(methods.len(), 7);
    assert!(methods.windows(2).all(|two| two[0]["on_others"].as_f64() >= two[1]["on_others"].as_f64()));
    assert!(methods.iter().all(|one| one["test_macro_f1"].is_f64() && one["calibration"]["bins"].is_array()));
    let again: Value = serde_json::from_slice(&search(root.path(), &["--json"]).stdout).unwrap();
    assert_eq!(again, found, "the same seed gives the same answer");
}

#[test]
fn nothing_is_chosen_on_the_test_split() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    run(root.path(), &plan, |n, _| n < 2);
    let refused = search(root.path(), &["--split", "test"]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(text(&refused.stderr), @"error: an ensemble that is chosen on the test split has no test score that means anything; choose on validation, which is the default");
    let empty = tempfile::tempdir().unwrap();
    run(empty.path(), &plan, |_, _| false);
    let refused = search(empty.path(), &[]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(text(&refused.stderr), @"error: no finished job of abaw4-lsd has predictions for labelled `validation` images");
}
