//! The JSON Schema of sweep files, generated from the types for each kind of trainer: for completion in editors, and
//! for `check`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use shared::job::TrainerId;
use shared::kinds::KINDS;
use shared::trainer::TrainerKind;

use super::setting_schemas;
use super::spec::SweepFile;

/// The schemas made so far: at most one for each kind, so they are never freed.
static MADE: Mutex<BTreeMap<TrainerId, &'static Value>> = Mutex::new(BTreeMap::new());

/// The schema of a whole file with jobs for `kind`.
pub fn root(kind: &dyn TrainerKind) -> &'static Value {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(kind.id()).or_insert_with(|| Box::leak(Box::new(make(kind))))
}

/// The schema as `ferry schema` prints it; experiments/sweep.schema.json is that of the first kind.
pub fn text(kind: &dyn TrainerKind) -> String {
    format!("{:#}\n", root(kind))
}

fn make(kind: &dyn TrainerKind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    setting_schemas::define(kind, &mut generator);
    let mut schema = generator.into_root_schema_for::<SweepFile>().to_value();
    schema["title"] = json!("A sweep of ferry");
    let id = kind.id();
    let name = id.kind.as_str();
    let is_default = KINDS[0].id() == id;
    let properties = &mut schema["properties"];
    properties["trainer"]["enum"] = json!([name]);
    if is_default {
        properties["trainer"]["default"] = json!(name);
    }
    properties["rank_by"]["default"] = json!(kind.ranking());
    if !kind.needs_dataset() {
        let why = format!("the trainer `{name}` reads no dataset; leave `dataset` out");
        properties["dataset"] = json!({ "not": {}, "description": why });
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|key| kind.needs_dataset() || key != "dataset");
        required.extend((!is_default).then(|| json!("trainer")));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/sweep.schema.json");
        let published = std::fs::read_to_string(path).unwrap();
        let advice = "regenerate it: cargo run --bin ferry -- schema > experiments/sweep.schema.json";
        assert!(
            published == text(KINDS[0]),
            "experiments/sweep.schema.json is not that of the types; {advice}"
        );
    }

    #[test]
    fn every_kind_has_a_schema_of_its_own_settings() {
        for kind in KINDS {
            let schema = root(kind);
            assert!(std::ptr::eq(schema, root(kind)), "made once");
            let properties = &schema["$defs"]["Settings"]["properties"];
            for (setting, value) in kind.defaults() {
                assert_eq!(properties[setting]["default"], *value, "{setting}");
            }
            assert_eq!(properties.get("preset").is_some(), !kind.presets().is_empty());
            assert_eq!(properties["epochs"]["type"], "integer");
            let required = schema["required"].as_array().unwrap();
            assert_eq!(required.contains(&json!("dataset")), kind.needs_dataset());
            let text = text(kind);
            let (_, references) = text.split_once("\"$ref\": \"#/$defs/").unwrap();
            for reference in references.split("\"$ref\": \"#/$defs/") {
                let name = &reference[..reference.find('"').unwrap()];
                assert!(schema["$defs"].get(name).is_some(), "{name} is not defined");
            }
        }
    }
}
