//! Schemas of the places where a sweep file names settings, made from the settings of a job for the types of `spec`.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use shared::job::JobSpec;
use shared::job::preset::Preset;

/// Every setting of a job with its schema and its default, and `preset`.
fn settings(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let job = generator.subschema_for::<JobSpec>();
    let job = resolve(job.as_value(), generator.definitions()).clone();
    let defaults = JobSpec::default().settings();
    let properties = job["properties"].as_object().cloned().unwrap_or_default();
    let with_default = |(name, mut schema): (String, Value)| {
        schema["default"] = defaults[&name].clone();
        (name, schema)
    };
    let mut settings: Map<String, Value> = properties.into_iter().map(with_default).collect();
    settings.insert(Preset::KEY.to_owned(), preset(generator));
    settings
}

fn preset(generator: &mut SchemaGenerator) -> Value {
    let mut schema = generator.subschema_for::<Preset>().to_value();
    schema["description"] = json!("Gives the settings that are not named their values.");
    schema["default"] = json!(Preset::default());
    schema
}

fn settings_and_group(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut properties = settings(generator);
    properties
        .insert("group".to_owned(), json!({ "type": "string", "description": "A group of this file." }));
    properties
}

/// The schema that a `$ref` points to in `definitions`; any other schema is returned unchanged.
pub(super) fn resolve<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}

fn object(properties: &Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A reference to the definition `name`, which is added on first use.
fn defined(generator: &mut SchemaGenerator, name: &str, make: fn(&mut SchemaGenerator) -> Value) -> Schema {
    if !generator.definitions().contains_key(name) {
        let definition = make(generator);
        generator.definitions_mut().insert(name.to_owned(), definition);
    }
    json_schema!({ "$ref": format!("#/$defs/{name}") })
}

/// Settings with one value each.
pub(super) fn one_value(generator: &mut SchemaGenerator) -> Schema {
    defined(generator, "Settings", |generator| object(&settings(generator)))
}

/// Settings with a list of values each: the axes of a matrix.
pub(super) fn axes(generator: &mut SchemaGenerator) -> Schema {
    defined(generator, "Matrix", |generator| {
        let axis = |(name, schema): (String, Value)| {
            (name, json!({ "type": "array", "items": schema, "minItems": 1, "uniqueItems": true }))
        };
        let mut schema = object(&settings(generator).into_iter().map(axis).collect());
        schema["minProperties"] = json!(1);
        schema
    })
}

/// Conditions: settings, or `group`, with one allowed value or a list of them.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    defined(generator, "Conditions", |generator| {
        let condition = |(name, schema): (String, Value)| {
            let several = json!({ "type": "array", "items": schema, "minItems": 1 });
            (name, json!({ "anyOf": [schema, several] }))
        };
        object(&settings_and_group(generator).into_iter().map(condition).collect())
    })
}

/// The paper's numbers: the settings of a row, and its F1.
pub(super) fn paper_rows(generator: &mut SchemaGenerator) -> Schema {
    let row = defined(generator, "PaperRow", |generator| {
        let mut properties = settings_and_group(generator);
        let about = "Macro F1 in percent.";
        let percent = json!({ "type": "number", "minimum": 0, "maximum": 100, "description": about });
        properties.insert("f1".to_owned(), percent);
        let mut schema = object(&properties);
        schema["required"] = json!(["f1"]);
        schema["minProperties"] = json!(2);
        schema
    });
    json_schema!({ "type": "array", "items": row })
}

/// A list of combinations.
pub(super) fn combinations(generator: &mut SchemaGenerator) -> Schema {
    let entry = one_value(generator);
    json_schema!({ "type": "array", "items": entry })
}

/// A list of names of settings, or `group`.
pub(super) fn setting_names(generator: &mut SchemaGenerator) -> Schema {
    let name = defined(generator, "SettingName", |_| {
        let settings = JobSpec::default().settings();
        let names: Vec<&str> = settings.keys().map(String::as_str).chain(["group", Preset::KEY]).collect();
        json!({ "type": "string", "enum": names })
    });
    json_schema!({ "type": "array", "items": name, "minItems": 1, "uniqueItems": true })
}
