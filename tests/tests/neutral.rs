//! The orchestrating half works for any trainer: its files name no face, no network and no class of the paper.

use std::collections::BTreeSet;

use tests::sources::{begins, files, from_the_crate, is_rust, paths, without_tests};

/// Files and folders that know no trainer.
const NEUTRAL: [&str; 20] = [
    "shared/src/books/",
    "shared/src/bus/",
    "shared/src/protocol/",
    "shared/src/blob.rs",
    "shared/src/confusion.rs",
    "shared/src/device.rs",
    "shared/src/ids.rs",
    "shared/src/job.rs",
    "shared/src/metrics.rs",
    "shared/src/predictions.rs",
    "shared/src/result.rs",
    "shared/src/retraining.rs",
    "shared/src/settings.rs",
    "shared/src/trainer.rs",
    "shared/src/vote.rs",
    "shared/src/warning.rs",
    "coordinator/orchestrator/src/engine/",
    "coordinator/orchestrator/src/service/",
    "coordinator/orchestrator/src/verification/",
    "worker/src/agent/",
];

/// Modules of `shared` that are about faces and the paper's trainer.
const FACES: [&str; 6] = ["mtl", "expression", "pack", "subset", "weights", "image"];

/// Neutral files that use some of these modules, and why they have to. Add none.
const ADAPTERS: [(&str, &[&str], &str); 6] = [
    ("shared/src/result.rs", &["mtl"], "reads results of earlier versions"),
    ("shared/src/protocol/order.rs", &["mtl"], "reads orders of earlier versions"),
    ("shared/src/protocol/mod.rs", &["pack"], "a pack is stored under the names of its files"),
    ("coordinator/orchestrator/src/service/dataset.rs", &["pack"], "opens and uploads the pack"),
    ("worker/src/agent/packs.rs", &["pack"], "downloads the pack"),
    ("worker/src/agent/spool/files.rs", &["mtl"], "reads what earlier versions left in the spool"),
];

#[test]
fn what_works_for_any_trainer_names_no_face() -> anyhow::Result<()> {
    let files = files()?;
    let found = |place: &str| files.iter().any(|(path, _)| path.starts_with(place));
    let places = NEUTRAL.into_iter().chain(ADAPTERS.map(|(file, ..)| file));
    let gone: Vec<_> = places.filter(|place| !found(place)).collect();
    assert!(gone.is_empty(), "no longer there, take them out of NEUTRAL and ADAPTERS: {gone:?}");
    let broken = files.iter().flat_map(|(path, text)| problems(path, text));
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn problems(path: &str, text: &str) -> Vec<String> {
    // A test may try a neutral file with any trainer.
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !is_rust(path) || is_test || !NEUTRAL.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let named = faces(path, text);
    let adapter = ADAPTERS.iter().find(|(file, ..)| *file == path);
    let allowed: BTreeSet<&str> =
        adapter.map(|(_, faces, _)| faces.iter().copied().collect()).unwrap_or_default();
    let foreign = named.difference(&allowed);
    let foreign = foreign.map(|face| format!("{path}: uses `{face}`, but must work for any trainer"));
    let unneeded = allowed.difference(&named);
    let unneeded =
        unneeded.map(|face| format!("{path}: does not use `{face}` any more, so ADAPTERS must not say so"));
    foreign.chain(unneeded).collect()
}

/// The modules of [`FACES`] that the file's code outside its tests uses.
fn faces(path: &str, text: &str) -> BTreeSet<&'static str> {
    let root = if path.starts_with("shared/") { "crate" } else { "shared" };
    let paths = paths(&without_tests(text).0);
    let paths: Vec<String> = paths.iter().map(|named| from_the_crate(path, named)).collect();
    let used = |face: &&str| paths.iter().any(|path| begins(path, &format!("{root}::{face}")));
    FACES.into_iter().filter(used).collect()
}

#[test]
fn a_broken_rule_is_seen() {
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::mtl::MtlSpec;\n}";
    for (path, code, words) in [
        ("shared/src/job.rs", "use crate::mtl::MtlSpec;", "uses `mtl`, but must work"),
        ("shared/src/job.rs", "use super::{ids, mtl::MtlSpec};", "uses `mtl`, but must work"),
        ("shared/src/job.rs", "fn f() -> crate::pack::Pack { todo!() }", "uses `pack`, but"),
        ("shared/src/job.rs", "// Not crate::mtl.\nuse crate::mtl_like::Spec;", ""),
        ("shared/src/job.rs", tests, ""),
        ("shared/src/books/tests.rs", "use crate::mtl::MtlSpec;", ""),
        ("shared/src/mtl/mod.rs", "use crate::expression::CLASSES;", ""),
        ("shared/src/bus/live.rs", "use super::super::expression::CLASSES;", "uses `expression`, but"),
        ("shared/src/bus/nats/live.rs", "use crate::expression::CLASSES;", "uses `expression`, but"),
        ("worker/src/agent/serve.rs", "use shared::{ids::JobId, weights::Slot};", "uses `weights`, but"),
        // The worker's own module.
        ("worker/src/agent/serve.rs", "use crate::weights::load;", ""),
        ("worker/src/train/step.rs", "use shared::mtl::MtlSpec;", ""),
        ("worker/src/agent/packs.rs", "use shared::pack::Pack;", ""),
        ("worker/src/agent/packs.rs", "use shared::{mtl::Mtl, pack::Pack};", "uses `mtl`, but"),
        ("worker/src/agent/packs.rs", "use shared::ids::JobId;", "does not use `pack` any more"),
    ] {
        let problems = problems(path, &format!("//! Purpose.\n{code}\n"));
        match problems.as_slice() {
            [] => assert_eq!(words, "", "{path}: nothing was seen in {code:?}"),
            [only] => assert!(!words.is_empty() && only.contains(words), "{only}"),
            several => panic!("{several:?}"),
        }
    }
}
