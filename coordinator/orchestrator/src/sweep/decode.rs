//! Decodes a checked tree into the types of `spec`. Decoding cannot fail, because the check covers every name and type.

use serde_json::Value;
use shared::protocol::Priority;
use shared::trainer::TrainerKind;

use super::parse::{Key, Node};
use super::spec::{
    Conditions, DEFAULT_MAX_JOBS, Dataset, Ensemble, Group, Located, Member, PaperRow, RankBy, Settings,
    SweepFile, Synthetic, Table,
};

/// The content of a file with jobs for `kind`.
pub fn decode(root: &Node, kind: &dyn TrainerKind) -> SweepFile {
    SweepFile {
        name: text_at(root, "name"),
        trainer: root.get("trainer").map(text),
        dataset: root.get("dataset").map(dataset),
        rank_by: root.get("rank_by").map(rank_by),
        defaults: root.get("defaults").map(settings).unwrap_or_default(),
        groups: named(root, "groups", group),
        ensembles: named(root, "ensembles", |node| ensemble(node, kind)),
        tables: items(root, "tables").iter().map(|node| table(node, kind)).collect(),
        checkpoint_every: root.get("checkpoint_every").map(text),
        keep_checkpoints: root.get("keep_checkpoints").and_then(|node| node.json().as_bool()).unwrap_or(true),
        // The check has refused what is too large.
        priority: root
            .get("priority")
            .and_then(|node| node.json().as_i64())
            .and_then(|number| Priority::new(number).ok())
            .unwrap_or_default(),
        max_jobs: root.get("max_jobs").and_then(|node| node.json().as_u64()).unwrap_or(DEFAULT_MAX_JOBS),
    }
}

fn dataset(node: &Node) -> Dataset {
    match node.get("synthetic") {
        // Every option has a default, so this could only fail for a value that the check refuses.
        Some(node) => Dataset::Synthetic(Synthetic {
            synthetic: Located {
                value: serde_json::from_value(node.json()).unwrap_or_default(),
                span: node.span,
            },
        }),
        None => Dataset::Pack(text(node)),
    }
}

fn rank_by(node: &Node) -> RankBy {
    let goal = node.get("goal").and_then(|node| serde_json::from_value(node.json()).ok());
    RankBy { metric: text_at(node, "metric"), goal: goal.unwrap_or_default() }
}

fn group(node: &Node) -> Group {
    let axis = |(key, values): &(Key, Node)| (name(key), values.items().iter().map(value).collect());
    let combinations = |key| {
        items(node, key).iter().map(|entry| Located { value: settings(entry), span: entry.span }).collect()
    };
    Group {
        matrix: node.get("matrix").map(Node::entries).unwrap_or_default().iter().map(axis).collect(),
        settings: node.get("settings").map(settings).unwrap_or_default(),
        exclude: combinations("exclude"),
        include: combinations("include"),
    }
}

fn ensemble(node: &Node, kind: &dyn TrainerKind) -> Ensemble {
    let member = |node: &Node| Located { value: member(node, kind), span: node.span };
    Ensemble {
        members: items(node, "members").iter().map(member).collect(),
        paper: node.get("paper").and_then(|node| serde_json::from_value(node.json()).ok()),
    }
}

fn member(node: &Node, kind: &dyn TrainerKind) -> Member {
    let count = |node: &Node| node.json().as_u64().map(|value| Located { value, span: node.span });
    Member {
        filter: node.get("where").map(|node| conditions(node, kind)).unwrap_or_default(),
        top: node.get("top").and_then(count),
        best_group: items(node, "best_group").iter().map(text).collect(),
    }
}

fn table(node: &Node, kind: &dyn TrainerKind) -> Table {
    Table {
        title: text_at(node, "title"),
        filter: node.get("where").map(|node| conditions(node, kind)).unwrap_or_default(),
        rows: items(node, "rows").iter().map(text).collect(),
        mean_by: items(node, "mean_by").iter().map(text).collect(),
        paper: items(node, "paper").iter().map(paper_row).collect(),
    }
}

fn paper_row(node: &Node) -> Located<PaperRow> {
    let row = settings(node).into_iter().filter(|(name, _)| name.value != "f1").collect();
    let f1 = node.get("f1").and_then(|node| node.json().as_f64()).unwrap_or_default();
    Located { value: PaperRow { row, f1 }, span: node.span }
}

fn settings(node: &Node) -> Settings {
    node.entries().iter().map(|(key, node)| (name(key), value(node))).collect()
}

/// Decodes conditions. A list is a single value of a setting that takes lists, and several allowed values of any other.
fn conditions(node: &Node, kind: &dyn TrainerKind) -> Conditions {
    let condition = |(key, node): &(Key, Node)| {
        let one = node.items().is_empty() || kind.normal(&key.name, &node.json()).is_ok();
        (name(key), if one { vec![value(node)] } else { node.items().iter().map(value).collect() })
    };
    node.entries().iter().map(condition).collect()
}

fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map(Node::items).unwrap_or_default()
}

fn named<T>(node: &Node, key: &str, read: impl Fn(&Node) -> T) -> Vec<(Located<String>, T)> {
    let entries = node.get(key).map(Node::entries).unwrap_or_default();
    entries.iter().map(|(key, node)| (name(key), read(node))).collect()
}

fn name(key: &Key) -> Located<String> {
    Located { value: key.name.clone(), span: key.span }
}

fn value(node: &Node) -> Located<Value> {
    Located { value: node.json(), span: node.span }
}

fn text(node: &Node) -> Located<String> {
    Located { value: node.json().as_str().unwrap_or_default().to_owned(), span: node.span }
}

fn text_at(node: &Node, key: &str) -> Located<String> {
    node.get(key).map(text).unwrap_or(Located { value: String::new(), span: node.span })
}
