//! Parses YAML text into a tree in which each value has its place in the file. The only file that names the YAML crate.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml::{Location, Spanned};

use super::problem::{Problem, Span};

/// Largest sweep file in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most nodes after aliases are expanded: far more than any sweep needs, but far too few to fill the memory.
const MAX_NODES: usize = 400_000;
const MAX_DEPTH: usize = 32;

/// One value of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub content: Content,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the file; a key may appear twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: String,
    pub span: Span,
}

impl Node {
    /// The value without places. Of equal keys the last one wins.
    pub fn json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.json())).collect())
            }
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Self] {
        if let Content::List(items) = &self.content { items } else { &[] }
    }

    /// The entries of a map; empty for anything else.
    pub fn entries(&self) -> &[(Key, Self)] {
        if let Content::Map(entries) = &self.content { entries } else { &[] }
    }

    /// The value under `name` of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
}

/// Reads one YAML document.
///
/// # Errors
/// When the text is too long, is not a single valid YAML document, or expands to too much.
pub fn parse(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        let text = format!("the file has {} bytes; a sweep file may have {MAX_BYTES}", text.len());
        return Err(Problem::new(Span::default(), text));
    }
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH, },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_NODES, },
        // The check against the schema reports duplicate keys.
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| syntax_problem(text, &error))
}

fn syntax_problem(text: &str, error: &serde_yaml::Error) -> Problem {
    let span = error.location().map_or(Span::default(), |location| place_of(text, location));
    Problem::new(span, syntax_message(error))
}

/// The crate's message, unless it refers to the crate's own options.
fn syntax_message(error: &serde_yaml::Error) -> String {
    use serde_yaml::Error;
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => syntax_message(error),
        Error::MultipleDocuments { .. } => {
            "a sweep file is a single YAML document; a second one starts here".to_owned()
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the file is nested too deeply or its aliases expand to far more than a sweep can need".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias is part of the value that it refers to".to_owned()
        }
        Error::NonFiniteFloat { value, .. } => format!("{value} is not a finite number"),
        Error::NullIntoString { .. } => "a key must be a text".to_owned(),
        other => {
            // The place is printed by the diagnostic itself.
            let message = other.to_string();
            message.split(" at line ").next().unwrap_or(&message).to_owned()
        }
    }
}

/// The place of an error. The scanner's errors have line and column (in characters, from 1), but no byte offset.
fn place_of(text: &str, location: Location) -> Span {
    if location.span().byte_offset().is_some() {
        return span_of(location);
    }
    let (line, column) = (location.line().saturating_sub(1), location.column().saturating_sub(1));
    let start: usize = text.split_inclusive('\n').take(line as usize).map(str::len).sum();
    let before = text[start..].chars().take(column as usize).map(char::len_utf8).sum::<usize>();
    Span { offset: start + before, len: 1 }
}

fn span_of(location: Location) -> Span {
    let span = location.span();
    let offset = span.byte_offset().unwrap_or(0) as usize;
    Span { offset, len: span.byte_len().unwrap_or(0) as usize }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { span: span_of(spanned.referenced), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, null, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            if entries.len() >= MAX_NODES {
                return Err(A::Error::custom("the map is too long"));
            }
            let span = span_of(key.referenced);
            entries.push((Key { name: key.value, span }, access.next_value()?));
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use serde_json::json;

    fn at(text: &str, span: Span) -> &str {
        &text[span.offset..span.offset + span.len]
    }

    #[test]
    fn values_know_their_place() {
        let text = "name: x # ü\ngroups:\n  a: {epochs: [1, 2.5, \"3\", null, true, on]}\n";
        let root = parse(text).unwrap();
        assert_eq!(
            root.json(),
            json!({"name": "x", "groups": {"a": {"epochs": [1, 2.5, "3", null, true, "on"]}}})
        );
        let (key, group) = &root.get("groups").unwrap().entries()[0];
        assert_eq!(at(text, key.span), "a");
        let (axis, values) = &group.entries()[0];
        assert_eq!(at(text, axis.span), "epochs");
        let places: Vec<_> = values.items().iter().map(|item| at(text, item.span)).collect();
        assert_eq!(places, ["1", "2.5", "\"3\"", "null", "true", "on"]);
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let root = parse("a: &x {p: 1}\nb: {<<: *x, q: 2}\nc: *x\n").unwrap();
        assert_eq!(root.json(), json!({"a": {"p": 1}, "b": {"p": 1, "q": 2}, "c": {"p": 1}}));
    }

    #[test]
    fn exponential_aliases_are_refused_before_they_are_expanded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..=9 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
        }
        let problem = parse(&text).unwrap_err();
        assert!(problem.message.contains("aliases expand to far more"), "{problem:?}");
        assert!(problem.span.offset > 0, "{problem:?}");
        assert!(parse(&"[".repeat(10_000)).is_err());
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn wrong_syntax_has_a_place() {
        let text = "name: x\ngroups: [a, b\ndefaults: {}\n";
        let problem = parse(text).unwrap_err();
        assert!(problem.span.offset > 8, "{problem:?}");
        assert!(!problem.message.contains("line"), "{problem:?}");
    }
}
