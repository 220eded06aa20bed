//! The JSON Schema of sweep files, generated from the types: for completion in editors, and for `check`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::spec::SweepFile;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<SweepFile>();
    schema.insert("title".to_owned(), json!("A sweep of ferry"));
    // The settings are copied into other definitions; nothing refers to the definition itself.
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.remove("JobSpec");
    }
    schema.to_value()
});

/// The schema of a whole file.
pub fn root() -> &'static Value {
    &SCHEMA
}

/// The schema as `ferry schema` prints it and `experiments/sweep.schema.json` holds it.
pub fn text() -> String {
    format!("{:#}\n", *SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/sweep.schema.json");
        let published = std::fs::read_to_string(path).unwrap();
        let advice = "regenerate it: cargo run --bin ferry -- schema > experiments/sweep.schema.json";
        assert!(published == text(), "experiments/sweep.schema.json is not that of the types; {advice}");
    }
}
