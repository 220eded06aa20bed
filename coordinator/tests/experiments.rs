//! The experiments that come with ferry: what they ask for, and that editors accept them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::path::{Path, PathBuf};

use orchestrator::sweep::plan::Plan;
use orchestrator::sweep::{load, parse, schema};
use serde_json::json;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments").join(name)
}

fn plan(name: &str) -> Plan {
    let home = tempfile::tempdir().unwrap();
    load(&path(name), home.path()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn paper_and_demo_have_the_same_shape() {
    for plan in [plan("abaw4-lsd.yaml"), plan("demo.yaml")] {
        assert_eq!(plan.jobs.len(), 38);
        assert_eq!(plan.jobs.iter().filter(|job| job.group == "strong").count(), 8);
        let ensembles: Vec<_> = plan.ensembles.iter().map(|rule| (rule.name.as_str(), rule.size)).collect();
        let expected = [
            ("MU MobileViTv2 Weak", 5),
            ("MU Strong & MU Weak", 17),
            ("MA Strong & MA Best Weak", 7),
            ("MU & MA Best Weak", 10),
            ("Best Strong & MA VGG Weak & MU MobileViTv2 Weak", 12),
        ];
        assert_eq!(ensembles, expected);
        assert!(plan.ensembles.iter().all(|rule| rule.paper.is_some()));
        let numbers: Vec<usize> = plan.tables.iter().map(|table| table.paper.len()).collect();
        assert_eq!(numbers, [8, 6]);
    }
}

#[test]
fn the_paper_file_writes_every_setting_out_as_the_default_has_it() {
    let text = std::fs::read_to_string(path("abaw4-lsd.yaml")).unwrap();
    let file = parse::parse(&text).unwrap().json();
    let mut named = file["defaults"].as_object().unwrap().clone();
    for group in ["strong", "weak"] {
        for part in ["matrix", "settings"] {
            named.extend(file["groups"][group][part].as_object().unwrap().clone());
        }
    }
    for (name, value) in shared::mtl::MtlSpec::default().settings() {
        assert!(named.contains_key(&name), "{name} is not written out");
        if let Some(written) = file["defaults"].get(&name) {
            assert_eq!(written, &value, "{name}");
        }
    }
}

#[test]
fn experiments_are_valid_and_misspelled_ones_are_not() {
    let validator = jsonschema::validator_for(schema::root(&shared::mtl::Mtl)).unwrap();
    for name in ["abaw4-lsd.yaml", "demo.yaml", "from-scratch.yaml", "real-faces.yaml", "smoke.yaml"] {
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=sweep.schema.json\n"), "{name}");
        plan(name);
        let file = parse::parse(&text).unwrap().json();
        let errors: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        if file.pointer("/groups/strong/matrix").is_none() {
            continue;
        }
        for (at, value) in [
            ("/groups/strong/matrix/augmentatoin", json!(["mixup"])),
            ("/groups/strong/matrix/augmentation", json!(["mixpu"])),
            ("/groups/strong/matrix/augmentation", json!([])),
            ("/defaults/epochs", json!("many")),
            ("/defaults/lerning_rate", json!(1)),
            ("/tabels", json!([])),
        ] {
            let mut wrong = file.clone();
            let (parent, key) = at.rsplit_once('/').unwrap();
            wrong.pointer_mut(parent).unwrap()[key] = value;
            assert!(!validator.is_valid(&wrong), "{name}: {at}");
        }
    }
}

/// Every kind of trainer has a schema of its own, which editors can use.
#[test]
fn the_schema_of_another_trainer_accepts_its_sweeps_alone() {
    let validator = jsonschema::validator_for(schema::root(&shared::empty::Empty)).unwrap();
    let file = json!({
        "name": "a", "trainer": "empty", "rank_by": {"metric": "loss", "goal": "min"}, "defaults": {"epochs": 1},
        "groups": {"g": {"matrix": {"seed": [0, 1], "fail_in_epoch": [null, 1]}}},
        "ensembles": {"e": {"members": [{"where": {"group": "g", "seed": [0, 1]}, "best_group": ["seed"]}]}},
        "tables": [{"title": "t", "rows": ["seed"], "paper": [{"seed": 1, "f1": 50}]}],
    });
    let errors: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (at, value) in [
        ("/dataset", json!("pack")),
        ("/trainer", json!("mtl")),
        ("/defaults/preset", json!("paper")),
        ("/defaults/heads", json!(1)),
        ("/groups/g/matrix/seed", json!([-1])),
        ("/rank_by/goal", json!("mx")),
    ] {
        let mut wrong = file.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&wrong), "{at}");
    }
    let mut unnamed = file;
    unnamed.as_object_mut().unwrap().remove("trainer");
    assert!(!validator.is_valid(&unnamed));
}

#[test]
fn the_example_of_the_readme_is_right() {
    let readme = std::fs::read_to_string(path("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let plan = orchestrator::sweep::plan(example, Path::new(""), Path::new(""));
    let plan = plan.unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!((plan.jobs.len(), plan.ensembles[0].size), (21, 7));
}
