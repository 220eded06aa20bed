//! Checks a located tree against the JSON Schema, and says in plain words what is wrong, where, and what was meant.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::parse::{Content, Node};
use super::problem::{Problem, Span};
use super::setting_schemas::resolve;

/// All differences between `root`, which was read from `text`, and the schema of sweep files.
pub fn check(root: &Node, schema: &Value, text: &str) -> Vec<Problem> {
    part(root, schema, text, "the file")
}

/// All differences between `node`, which was read from `text`, and its schema. `label` names it in messages.
pub(super) fn part(node: &Node, schema: &Value, text: &str, label: &str) -> Vec<Problem> {
    let no_definitions = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&no_definitions);
    let mut checker = Checker { definitions, text, problems: Vec::new() };
    checker.node(node, schema, label);
    checker.problems
}

struct Checker<'a> {
    definitions: &'a Map<String, Value>,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, span: Span, message: String) {
        self.problems.push(Problem::new(span, message));
    }

    /// Checks a node. `label` names it in messages.
    fn node(&mut self, node: &Node, schema: &'a Value, label: &str) {
        let schema = resolve(schema, self.definitions);
        if schema["not"].is_object() {
            // Nothing may stand here, and the description says why.
            let why = schema["description"].as_str().unwrap_or("must be left out");
            self.report(node.span, format!("{label}: {why}"));
        } else if let Some(choices) = choices(schema) {
            self.choice(node, &choices, label);
        } else if let Some(branches) = schema["anyOf"].as_array() {
            self.branches(node, branches, label);
        } else if !accepts(schema, node) {
            self.wrong_type(node, label, &expected(schema));
        } else {
            match &node.content {
                Content::Scalar(value) => self.range(node.span, value, schema, label),
                Content::List(items) => self.list(node, items, schema, label),
                Content::Map(_) => self.map(node, schema, label),
            }
        }
    }

    fn choice(&mut self, node: &Node, choices: &[&'a str], label: &str) {
        match &node.content {
            Content::Scalar(Value::String(text)) if choices.contains(&text.as_str()) => {}
            Content::Scalar(Value::String(text)) => {
                let problem = Problem::new(node.span, format!("{label}: there is no \"{text}\""));
                self.problems.push(problem.suggest(text, choices.iter().copied()));
            }
            _ => {
                let list = choices.join(", ");
                let got = self.got(node);
                self.report(node.span, format!("{label}: expected one of {list}; got {got}"));
            }
        }
    }

    /// Checks alternatives: one that matches is enough. If none does, the one of the node's type says why.
    fn branches(&mut self, node: &Node, branches: &'a [Value], label: &str) {
        let mut reasons = Vec::new();
        for branch in branches {
            let mut trial = Checker { definitions: self.definitions, text: self.text, problems: Vec::new() };
            trial.node(node, branch, label);
            if trial.problems.is_empty() {
                return;
            }
            reasons.push((self.same_type(branch, node), trial.problems));
        }
        if let Some((_, problems)) = reasons.into_iter().rev().find(|(same_type, _)| *same_type) {
            self.problems.extend(problems);
            return;
        }
        let all = branches.iter().map(|branch| expected(resolve(branch, self.definitions)));
        self.wrong_type(node, label, &all.collect::<Vec<_>>().join(" or "));
    }

    /// Reports a wrong type. YAML reads `007`, `1e3` or `null` as a number or nothing; if a text is expected, quotes
    /// help.
    fn wrong_type(&mut self, node: &Node, label: &str, expected: &str) {
        let got = self.got(node);
        let problem = Problem::new(node.span, format!("{label}: expected {expected}, got {got}"));
        let written = self.written(node.span);
        let quotable = matches!(node.content, Content::Scalar(_)) && !written.is_empty();
        self.problems.push(if quotable && expected.contains("a text") {
            problem.help(format!("quote it: \"{written}\""))
        } else {
            problem
        });
    }

    /// The text of the file at `span`.
    fn written(&self, span: Span) -> &'a str {
        let Span { offset, len } = span.within(self.text);
        &self.text[offset..offset + len]
    }

    fn got(&self, node: &Node) -> String {
        match &node.content {
            Content::Map(_) => "a map".to_owned(),
            Content::List(items) if items.len() > 8 => "a long list".to_owned(),
            Content::Scalar(Value::String(_)) | Content::List(_) => node.json().to_string(),
            Content::Scalar(value) => match self.written(node.span) {
                "" if value.is_null() => "nothing (null)".to_owned(),
                "" => value.to_string(),
                written => written.to_owned(),
            },
        }
    }

    fn same_type(&self, branch: &Value, node: &Node) -> bool {
        let branch = resolve(branch, self.definitions);
        let text = matches!(&node.content, Content::Scalar(Value::String(_)));
        if choices(branch).is_some() { text } else { accepts(branch, node) }
    }

    fn range(&mut self, span: Span, value: &Value, schema: &Value, label: &str) {
        let Some(number) = value.as_f64() else { return };
        let least = schema["minimum"].as_f64();
        let most = schema["maximum"].as_f64().or_else(|| match schema["format"].as_str() {
            Some("uint32") => Some(f64::from(u32::MAX)),
            _ => None,
        });
        if let Some(least) = least.filter(|&least| number < least) {
            let written = self.written(span);
            self.report(span, format!("{label}: {written} is too small; the least is {least}"));
        }
        if let Some(most) = most.filter(|&most| number > most) {
            let written = self.written(span);
            self.report(span, format!("{label}: {written} is too large; the most is {most}"));
        }
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Value, label: &str) {
        let length = items.len() as u64;
        match (schema["minItems"].as_u64(), schema["maxItems"].as_u64()) {
            (Some(least), Some(most)) if least == most && length != least => {
                self.report(node.span, format!("{label}: expected a list of {least}, got one of {length}"));
            }
            (Some(least), _) if length < least => {
                self.report(node.span, format!("{label} is an empty list; it needs a value"));
            }
            _ => {}
        }
        let mut seen = HashSet::new();
        for item in items {
            self.node(item, &schema["items"], label);
            if schema["uniqueItems"] == true && !seen.insert(alike(&item.json())) {
                let got = self.got(item);
                self.report(item.span, format!("{label} lists {got} twice"));
            }
        }
    }

    fn map(&mut self, node: &Node, schema: &'a Value, label: &str) {
        let entries = node.entries();
        let mut seen = HashSet::new();
        for (key, value) in entries {
            let name = key.name.as_str();
            if !seen.insert(name) {
                self.report(key.span, format!("`{name}` appears twice in {label}"));
            }
            let own = schema["properties"].get(name);
            match own.or_else(|| schema.get("additionalProperties").filter(|other| other.is_object())) {
                Some(schema) => self.node(value, schema, &format!("`{name}`")),
                None => self.unknown_key(key.span, name, schema, label),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if node.get(name).is_none() {
                self.report(node.span, format!("{label}: the key `{name}` is missing"));
            }
        }
        if schema["minProperties"].as_u64().is_some_and(|least| (entries.len() as u64) < least) {
            let lack = if entries.is_empty() { "is empty" } else { "has too few entries" };
            self.report(node.span, format!("{label} {lack}; add one"));
        }
    }

    fn unknown_key(&mut self, span: Span, name: &str, schema: &Value, label: &str) {
        let known = schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let problem = Problem::new(span, format!("unknown key `{name}` in {label}"));
        self.problems.push(problem.suggest(name, known));
    }
}

/// The texts that an enumeration allows; `None` for any other schema.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(name) = schema["const"].as_str() {
        return Some(vec![name]);
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.iter().map(Value::as_str).collect();
    }
    let branches: Option<Vec<Vec<&str>>> = schema["oneOf"].as_array()?.iter().map(choices).collect();
    branches.map(|branches| branches.concat())
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(schema: &Value, node: &Node) -> bool {
    let types = types(schema);
    let is = |name: &str| types.is_empty() || types.contains(&name);
    match &node.content {
        Content::Scalar(Value::Null) => is("null"),
        Content::Scalar(Value::Bool(_)) => is("boolean"),
        Content::Scalar(Value::Number(number)) => is("number") || (is("integer") && !number.is_f64()),
        Content::Scalar(_) => is("string"),
        Content::List(_) => is("array"),
        Content::Map(_) => is("object"),
    }
}

fn expected(schema: &Value) -> String {
    if let Some(choices) = choices(schema) {
        return format!("one of {}", choices.join(", "));
    }
    let word = |name: &&str| match *name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map (`key: value`)",
        _ => "null",
    };
    types(schema).iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// A text that is the same for equal values, such as 1 and 1.0.
fn alike(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:?}"))
}
