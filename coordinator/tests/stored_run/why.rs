//! `ferry why`: the reasons for an ensemble's members, from a run folder.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fixture::{plan, run};

fn why(root: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferry")).arg("why").arg(root).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_ensemble_tells_why_it_has_its_members() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    run(root.path(), &plan, |_, _| true);
    let best = why(root.path(), &["MA Strong & MA Best Weak"]);
    insta::assert_snapshot!(text(&best.stdout), @"
    MA Strong & MA Best Weak: 7 members, macro F1 78.48 on validation

    Query 1: the 2 best by val_macro_f1 where augmentation=mixaug group=strong: 2 of 4 candidates
       1. b018f61f  strong mixaug dino_resnet50 -basic_augmentation      76.80  taken
       2. 8fdc32c6  strong mixaug dino_resnet50 +basic_augmentation      75.52  taken
       3. 82b12ef4  strong mixaug vggface2_resnet50 +basic_augmentation  72.99
       4. 2cc2be4f  strong mixaug vggface2_resnet50 -basic_augmentation  70.36

    Query 2: the best group by backbone, by the mean val_macro_f1 where augmentation=mixaug group=weak: one of 3 groups
       1. backbone=mobilevitv2        mean 72.87  5 of 5 jobs done  taken
       2. backbone=dino_resnet50      mean 70.80  5 of 5 jobs done
       3. backbone=vggface2_resnet50  mean 68.93  5 of 5 jobs done

    What each member adds (macro F1 on validation)
      8fdc32c6  strong mixaug dino_resnet50 +basic_augmentation  alone  75.52  the others  78.35  adds  +0.14
      b018f61f  strong mixaug dino_resnet50 -basic_augmentation  alone  76.80  the others  78.16  adds  +0.32
      5951dc6c  weak mixaug mobilevitv2 subset_seed=0            alone  74.08  the others  78.06  adds  +0.42
      ca06f372  weak mixaug mobilevitv2 subset_seed=1            alone  73.97  the others  78.35  adds  +0.14
      e2cab1d2  weak mixaug mobilevitv2 subset_seed=2            alone  68.95  the others  78.67  adds  -0.18
      faa27970  weak mixaug mobilevitv2 subset_seed=3            alone  75.23  the others  78.20  adds  +0.28
      5e31d21f  weak mixaug mobilevitv2 subset_seed=4            alone  72.11  the others  78.13  adds  +0.35
    ");
    let told = why(root.path(), &["MA Strong & MA Best Weak", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let members = told["contributions"].as_array().unwrap();
    assert_eq!(members.len(), told["ensemble"]["members"].as_array().unwrap().len());
    assert!(members.iter().all(|member| member["alone"].is_f64() && member["without"].is_f64()), "{told:#}");
}

#[test]
fn a_name_that_no_ensemble_has_is_refused_with_those_that_there_are() {
    let root = tempfile::tempdir().unwrap();
    let plan = plan();
    run(root.path(), &plan, |_, _| false);
    let refused = why(root.path(), &["Bets"]);
    assert_eq!(refused.status.code(), Some(2));
    insta::assert_snapshot!(text(&refused.stderr), @"error: the sweep abaw4-lsd has no ensemble and no job named `Bets`, and no job whose id begins so: its ensembles are `MU MobileViTv2 Weak`, `MU Strong & MU Weak`, `MA Strong & MA Best Weak`, `MU & MA Best Weak`, `Best Strong & MA VGG Weak & MU MobileViTv2 Weak`, and `ferry status abaw4-lsd` lists its jobs");
}
