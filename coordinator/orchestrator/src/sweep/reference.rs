//! Generates docs/settings.md: everything that a sweep file may contain, from the schema and the settings themselves.
//! The page is that of the first kind of trainer; the others have one of their own.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use shared::kinds::KINDS;
use shared::mtl::MtlSpec;
use shared::settings::{SettingError, Settings};
use shared::trainer::TrainerKind;

use super::schema;
use super::setting_schemas::resolve;

const INTRODUCTION: &str = "\
<!-- Made by `ferry schema --markdown > docs/settings.md`; do not edit. -->

# Settings

Everything that a sweep file may say. [experiments/README.md](../experiments/README.md) shows the format in an example;
[model.md](model.md) explains the settings of a job and where they come from.
";

const SETTINGS: &str = "\
## Settings of a job

Any of these may stand in `defaults`, in a group's `settings`, `exclude` and `include`, as an axis in `matrix`, and in
conditions (`where`). A setting that the file does not name has ";

const COVERED: &str = "A job's id covers all of them except those that another setting makes meaningless.\n";

const PRESETS: &str = "\
## Presets

`preset` may stand wherever a sweep file names settings. It gives the settings that the file does not name the values
below; settings that are not in this table are the same in every preset.
";

/// The whole page for `kind`.
pub fn markdown(kind: &dyn TrainerKind) -> String {
    let schema = schema::root(kind);
    let none = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&none);
    let mut page = introduction(kind);
    section(&mut page, "The file", schema, definitions);
    let synthetic = ("`dataset: {synthetic: …}`: faces drawn on first use", "SyntheticOptions");
    let parts = [
        ("`rank_by`: what makes a job better than another", "RankBy"),
        ("A group", "Group"),
        ("An ensemble", "Ensemble"),
        ("A member of an ensemble", "Member"),
        ("A table", "Table"),
    ];
    for (title, name) in kind.needs_dataset().then_some(synthetic).into_iter().chain(parts) {
        section(&mut page, title, &definitions[name], definitions);
    }
    let presets = kind.presets();
    let unnamed = match presets.first() {
        Some((first, _)) => format!("the value of its preset, `{first}` unless the file names\nanother. "),
        None => "its default.\n".to_owned(),
    };
    let _ = write!(page, "\n{SETTINGS}{unnamed}{COVERED}");
    let all = &definitions["Settings"]["properties"];
    for (title, names) in sections(kind) {
        let settings = names.iter().map(|name| (name, &all[name.as_str()]));
        let _ = write!(page, "\n{title}");
        let with_range = |(name, schema): (&String, &Value)| {
            let mut row = row(name, schema, definitions);
            row[2].extend(range(kind, name).map(|range| format!(", {range}")));
            row
        };
        table(&mut page, settings.map(with_range));
    }
    write_presets(&mut page, &presets);
    page
}

/// What stands above everything else.
fn introduction(kind: &dyn TrainerKind) -> String {
    let id = kind.id();
    if id == KINDS[0].id() {
        return INTRODUCTION.to_owned();
    }
    let name = id.kind;
    format!(
        "<!-- Made by `ferry schema --trainer {name} --markdown`; do not edit. -->\n\n# Settings of the trainer \
         `{name}`\n\nEverything that a sweep file with `trainer: {name}` may say.\n"
    )
}

/// The settings in sections, each with its heading: those of the paper's trainer as its types group them.
fn sections(kind: &dyn TrainerKind) -> Vec<(String, Vec<String>)> {
    if kind.id() != shared::mtl::trainer() {
        return vec![(String::new(), kind.defaults().keys().cloned().collect())];
    }
    let MtlSpec { network, loss, augment, training, subset, transfer, arithmetic } = MtlSpec::default();
    let names = |part: Value| part.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let sections: [(_, Vec<String>); 7] = [
        ("Network", names(json!(network))),
        ("Loss", names(json!(loss))),
        ("Images and augmentation", names(json!(augment))),
        ("Training", names(json!(training))),
        ("Share of the training images", names(json!(subset))),
        ("Weights to start from", names(json!(transfer))),
        ("Arithmetic", names(json!(arithmetic))),
    ];
    sections.into_iter().map(|(title, names)| (format!("### {title}\n\n"), names)).collect()
}

/// A section on the properties of `schema`.
fn section(page: &mut String, title: &str, schema: &Value, definitions: &Map<String, Value>) {
    let about = schema["description"].as_str().map(one_line).unwrap_or_default();
    let _ = write!(page, "\n## {title}\n\n{about}\n\n");
    let required = schema["required"].as_array();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let properties = properties.filter(|(_, schema)| schema.get("not").is_none());
    table(
        page,
        properties.map(|(name, schema)| {
            let mut row = row(name, schema, definitions);
            if required.is_some_and(|names| names.iter().any(|required| required == name)) {
                "required".clone_into(&mut row[1]);
            }
            row
        }),
    );
}

fn table(page: &mut String, rows: impl Iterator<Item = [String; 4]>) {
    page.push_str("| Key | Default | Values | Meaning |\n|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(page, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
}

fn row(name: &str, schema: &Value, definitions: &Map<String, Value>) -> [String; 4] {
    let target = resolve(schema, definitions);
    let about = schema["description"].as_str().or(target["description"].as_str());
    let default = schema.get("default").map_or("–".to_owned(), |default| format!("`{}`", plain(default)));
    [format!("`{name}`"), default, values(target, definitions), about.map(one_line).unwrap_or_default()]
}

/// The allowed values: the words of an enumeration with their meanings, otherwise the type.
fn values(schema: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(choice).collect::<Vec<_>>().join("<br>");
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        let branches = branches.iter().map(|branch| values(resolve(branch, definitions), definitions));
        return branches.collect::<Vec<_>>().join(" or ");
    }
    if schema["enum"].is_array() {
        return names(schema);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let types: Vec<&str> = types.into_iter().map(word).collect();
    let most = schema["maximum"].as_u64().map_or_else(String::new, |most| format!(", at most {most}"));
    types.join(" or ") + &most
}

fn choice(schema: &Value) -> String {
    let about = schema["description"].as_str().map(one_line);
    let names = names(schema);
    about.map_or(names.clone(), |about| format!("{names}: {about}"))
}

/// The words of an enumeration.
fn names(schema: &Value) -> String {
    let values = schema["const"].as_str().into_iter();
    let values = values.chain(schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str));
    values.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

fn word(schema_type: &str) -> &str {
    match schema_type {
        "string" => "text",
        "integer" => "whole number",
        "number" => "number",
        "boolean" => "`true` or `false`",
        "array" => "list",
        "object" => "map",
        other => other,
    }
}

/// The range of a job's setting, in the words of the error for a value outside of it.
fn range(kind: &dyn TrainerKind, name: &str) -> Option<String> {
    let outside = [json!(-1.0), json!(0), json!(u32::MAX), json!([0, 0, 0, 0]), json!([0, 0, 0])];
    outside.into_iter().find_map(|value| match kind.normal(name, &value) {
        Err(SettingError::Value { problem, .. }) if !problem.starts_with("invalid") => {
            Some(problem.replace("must lie ", "").replace("must be ", ""))
        }
        Err(SettingError::Value { .. } | SettingError::Unknown { .. }) | Ok(_) => None,
    })
}

fn write_presets(page: &mut String, presets: &[(&str, Settings)]) {
    let Some((_, first)) = presets.first() else { return };
    let _ = write!(page, "\n{PRESETS}\n| Setting |");
    for (name, _) in presets {
        let _ = write!(page, " `{name}` |");
    }
    let _ = writeln!(page, "\n|---|{}", "---|".repeat(presets.len()));
    for name in first.keys() {
        let values = presets.iter().map(|(_, settings)| format!("`{}`", plain(&settings[name])));
        let values: Vec<String> = values.collect();
        if values.iter().any(|value| *value != values[0]) {
            let _ = writeln!(page, "| `{name}` | {} |", values.join(" | "));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_page_is_made_from_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        let advice = "make it again: cargo run --bin ferry -- schema --markdown > docs/settings.md";
        assert!(published == markdown(KINDS[0]), "docs/settings.md differs from the schema; {advice}");
    }

    #[test]
    fn every_setting_has_a_row_with_its_meaning_and_its_values() {
        for kind in KINDS {
            let page = markdown(kind);
            for name in kind.defaults().keys() {
                let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` | `"))).unwrap();
                let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
                assert_eq!(cells.len(), 4, "{row}");
                assert!(cells[2].len() > 3 && cells[3].len() > 3, "{row}");
            }
            let named = |words: &str| page.contains(words);
            assert_eq!(named("## Presets"), !kind.presets().is_empty());
            assert_eq!(named("synthetic"), kind.needs_dataset());
        }
    }
}
