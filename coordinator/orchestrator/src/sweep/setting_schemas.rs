//! Schemas of the places where a sweep file names settings. For the types of `spec` they are references only; the
//! definitions are made from the settings of one kind of trainer.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use shared::trainer::TrainerKind;

/// The preset's key among the settings of a sweep file.
pub(super) const PRESET: &str = "preset";

const DEFINITIONS: &str = "#/$defs/";

/// Settings with one value each.
pub(super) fn one_value(_: &mut SchemaGenerator) -> Schema {
    reference("Settings")
}

/// Settings with a list of values each: the axes of a matrix.
pub(super) fn axes(_: &mut SchemaGenerator) -> Schema {
    reference("Matrix")
}

/// Conditions: settings, or `group`, with one allowed value or a list of them.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    reference("Conditions")
}

/// The paper's numbers: the settings of a row, and its F1.
pub(super) fn paper_rows(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": reference("PaperRow") })
}

/// A list of combinations.
pub(super) fn combinations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": reference("Settings") })
}

/// A list of names of settings, or `group`.
pub(super) fn setting_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": reference("SettingName"), "minItems": 1, "uniqueItems": true })
}

fn reference(name: &str) -> Schema {
    json_schema!({ "$ref": format!("{DEFINITIONS}{name}") })
}

/// Adds to `generator` what the references of this file mean for `kind`.
pub(super) fn define(kind: &dyn TrainerKind, generator: &mut SchemaGenerator) {
    let settings = settings(kind, generator);
    let mut with_group = settings.clone();
    with_group
        .insert("group".to_owned(), json!({ "type": "string", "description": "A group of this file." }));
    let has_preset = settings.contains_key(PRESET);
    let names = kind.defaults().keys().map(String::as_str);
    let names: Vec<&str> = names.chain(["group"]).chain(has_preset.then_some(PRESET)).collect();
    let definitions = [
        ("Settings", object(&settings)),
        ("Matrix", matrix(&settings)),
        ("Conditions", allowed(&with_group)),
        ("PaperRow", row(&with_group)),
        ("SettingName", json!({ "type": "string", "enum": names })),
    ];
    let definitions = definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema));
    generator.definitions_mut().extend(definitions);
}

/// Every setting of a job with its schema and its default, and `preset` if there are any.
fn settings(kind: &dyn TrainerKind, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let job = kind.schema(generator).to_value();
    let own = resolve(&job, generator.definitions()).clone();
    if let Some(name) = target(&job) {
        // The settings are copied into other definitions; nothing refers to the definition itself.
        generator.definitions_mut().remove(name);
    }
    let properties = own["properties"].as_object().cloned().unwrap_or_default();
    let with_default = |(name, mut schema): (String, Value)| {
        schema["default"] = kind.defaults().get(&name).cloned().unwrap_or_default();
        (name, schema)
    };
    let mut settings: Map<String, Value> = properties.into_iter().map(with_default).collect();
    if let (Some(schema), Some((first, _))) = (kind.preset_schema(generator), kind.presets().first()) {
        let mut schema = schema.to_value();
        schema["description"] = json!("Gives the settings that are not named their values.");
        schema["default"] = json!(first);
        settings.insert(PRESET.to_owned(), schema);
    }
    settings
}

/// The name of the definition to which a `$ref` points.
fn target(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(DEFINITIONS))
}

/// The schema that a `$ref` points to in `definitions`; any other schema is returned unchanged.
pub(super) fn resolve<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    target(schema).and_then(|name| definitions.get(name)).unwrap_or(schema)
}

fn object(properties: &Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// An object in which each of `properties` is changed by `change`.
fn each(properties: &Map<String, Value>, change: fn(&Value) -> Value) -> Value {
    object(&properties.iter().map(|(name, schema)| (name.clone(), change(schema))).collect())
}

fn matrix(settings: &Map<String, Value>) -> Value {
    let axis =
        |schema: &Value| json!({ "type": "array", "items": schema, "minItems": 1, "uniqueItems": true });
    let mut schema = each(settings, axis);
    schema["minProperties"] = json!(1);
    schema
}

fn allowed(settings: &Map<String, Value>) -> Value {
    each(settings, |schema| {
        let several = json!({ "type": "array", "items": schema, "minItems": 1 });
        json!({ "anyOf": [schema, several] })
    })
}

fn row(settings: &Map<String, Value>) -> Value {
    let about = "Macro F1 in percent.";
    let mut schema = object(settings);
    schema["properties"]["f1"] =
        json!({ "type": "number", "minimum": 0, "maximum": 100, "description": about });
    schema["required"] = json!(["f1"]);
    schema["minProperties"] = json!(2);
    schema
}
