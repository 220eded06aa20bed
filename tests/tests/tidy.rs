//! Keeps the sources tidy: what a reader may rely on everywhere, checked file by file.

use std::fs;
use std::path::Path;

use tests::programs::root;

/// Lines that a source file may have.
const MOST_LINES: usize = 400;

/// Files that are longer, with the lines that they may have: to be shortened, never to be added to.
const LONGER: [(&str, usize); 0] = [];

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "helper", "helpers", "misc"];

/// A technology that one place knows: where it may be named.
const OWNERS: [(&str, &[&str]); 2] = [
    // The module `bus` also has a child of that name, and one test asks a server for what Ferry never would.
    ("nats", &["shared/src/bus/nats/", "shared/src/bus/mod.rs", "tests/tests/permissions.rs"]),
    ("serde_yaml", &["coordinator/src/sweep/parse.rs"]),
];

/// Folders, and the paths that nothing in them may begin.
const APART: [(&str, &[&str]); 9] = [
    ("coordinator/src/engine/", PURE),
    ("coordinator/src/ensemble/", PURE),
    ("shared/src/books/", PURE),
    (
        "worker/src/models/",
        &["crate::train", "crate::losses", "crate::data", "crate::weights", "crate::agent"],
    ),
    ("worker/src/losses/", &["crate::train", "crate::weights", "crate::agent"]),
    (
        "worker/src/data/",
        &["crate::train", "crate::models", "crate::losses", "crate::weights", "crate::agent"],
    ),
    ("worker/src/train/", &["crate::agent", "crate::commands"]),
    ("coordinator/src/engine/", &["crate::service", "crate::commands"]),
    ("coordinator/src/service/", &["crate::commands"]),
];

/// No runtime, no clock, no bus.
const PURE: &[&str] =
    &["tokio", "std::time::Instant", "std::time::SystemTime", "crate::bus", "shared::bus", "crate::service"];

/// What the project does not speak of: who wrote it and where. In halves, so that this file may hold them.
const UNSPOKEN: [(&str, &str); 12] = [
    ("anthro", "pic"),
    ("clau", "de"),
    ("chat", "gpt"),
    ("assist", "ant"),
    ("language ", "model"),
    ("this work", "place"),
    ("issue", " #"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/wo", "rk/"),
    ("pypi", ".org"),
    ("crates", ".io/"),
];

type Rule = fn(&str, &str) -> Vec<String>;

const RULES: [Rule; 6] = [purpose, length, name, owners, apart, unspoken];

#[test]
fn every_file_keeps_the_rules() -> anyhow::Result<()> {
    let files = files()?;
    assert!(files.len() > 250, "only {} files were found", files.len());
    let broken = files.iter().flat_map(|(path, text)| all(path, text).into_iter());
    let broken: Vec<String> = broken.chain(crates(&files)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn all(path: &str, text: &str) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(path, text)).map(|problem| format!("{path}: {problem}")).collect()
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "rs")
}

fn purpose(path: &str, text: &str) -> Vec<String> {
    let missing = is_rust(path) && !text.starts_with("//! ");
    missing
        .then(|| "the first line does not say what the file is for (`//! …`)".to_owned())
        .into_iter()
        .collect()
}

fn length(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let own = LONGER.iter().find(|(longer, _)| *longer == path).map(|(_, most)| *most);
    let problem = match own {
        _ if !is_rust(path) => None,
        Some(_) if lines <= MOST_LINES => Some("it is short enough now: take it out of LONGER".to_owned()),
        Some(most) if lines < most => Some(format!("it got shorter: write {lines} in LONGER")),
        own if lines > own.unwrap_or(MOST_LINES) => {
            Some(format!("{lines} lines, where {} are allowed: split it", own.unwrap_or(MOST_LINES)))
        }
        Some(_) | None => None,
    };
    problem.into_iter().collect()
}

fn name(path: &str, _text: &str) -> Vec<String> {
    let parts = Path::new(path).components().map(|part| Path::new(part.as_os_str()));
    let stems = parts.filter_map(|part| part.file_stem()?.to_str());
    let empty = stems.filter(|stem| EMPTY_NAMES.contains(stem));
    empty.map(|stem| format!("`{stem}` says nothing: name it after what it does")).collect()
}

fn owners(path: &str, text: &str) -> Vec<String> {
    // The code in this file's own tests is quoted.
    if !is_rust(path) || path == "tests/tests/tidy.rs" {
        return Vec::new();
    }
    let paths = paths(text);
    let foreign = OWNERS.iter().filter(|(_, places)| !places.iter().any(|place| path.starts_with(place)));
    let named = foreign.filter(|(name, _)| paths.iter().any(|path| begins(path, name)));
    named.map(|(name, places)| format!("names `{name}`, which is known to {} alone", places[0])).collect()
}

fn apart(path: &str, text: &str) -> Vec<String> {
    let paths: Vec<String> = paths(text).iter().map(|named| from_the_crate(path, named)).collect();
    let kept = APART.iter().filter(|(folder, _)| is_rust(path) && path.starts_with(folder));
    let reached = kept.flat_map(|(folder, never)| never.iter().map(move |never| (folder, *never)));
    let broken = reached.filter(|(_, never)| paths.iter().any(|path| begins(path, never)));
    broken.map(|(folder, never)| format!("uses `{never}`, which {folder} must not know")).collect()
}

fn unspoken(path: &str, text: &str) -> Vec<String> {
    // The lock file is the package manager's, and a licence's text its author's.
    if path.ends_with("Cargo.lock") || path.contains("LICENSE") {
        return Vec::new();
    }
    let text = text.to_lowercase();
    let words = UNSPOKEN.iter().map(|(first, second)| format!("{first}{second}"));
    words.filter(|word| text.contains(word.as_str())).map(|word| format!("speaks of `{word}`")).collect()
}

/// Every member of the workspace takes the workspace's lints.
fn crates(files: &[(String, String)]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|(file, _)| file == path).map_or("", |(_, text)| text.as_str());
    let members = members(text("Cargo.toml"));
    assert!(members.len() >= 4, "the members of the workspace were not found: {members:?}");
    let lax = members.into_iter().filter(|member| !has_lints(text(&format!("{member}/Cargo.toml"))));
    lax.map(|member| format!("{member}/Cargo.toml: `[lints] workspace = true` is missing")).collect()
}

fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let names = list.map(|(list, _)| list.split(',')).into_iter().flatten();
    names.map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

fn has_lints(manifest: &str) -> bool {
    manifest.split_once("[lints]").is_some_and(|(_, rest)| rest.trim_start().starts_with("workspace = true"))
}

/// `path`, named in `file`, from the crate's root on where `super` leads there.
fn from_the_crate(file: &str, path: &str) -> String {
    let below = file.split_once("/src/").map_or("", |(_, below)| below);
    let depth = below.matches('/').count() + usize::from(!below.ends_with("mod.rs"));
    let rest = path.trim_start_matches("super::");
    let ups = (path.len() - rest.len()) / "super::".len();
    if ups > 0 && ups >= depth { format!("crate::{rest}") } else { path.to_owned() }
}

/// True when `path` is `start` or lies below it.
fn begins(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths that `text` names, with every group of a `use` written out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(text: &str) -> Vec<String> {
    let (mut paths, mut open) = (Vec::new(), String::new());
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        match begin_of_use(line) {
            Some(begin) if open.is_empty() => open.push_str(begin),
            None if open.is_empty() => paths.extend(inline(line)),
            Some(_) | None => open.push_str(line),
        }
        if let Some((group, _)) = open.split_once(';') {
            expand("", group, &mut paths);
            open.clear();
        }
    }
    paths
}

/// What follows `use` in a line that begins with it, `pub` or not.
fn begin_of_use(line: &str) -> Option<&str> {
    let (before, begin) = line.split_once("use ")?;
    let before = before.trim();
    (before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')')))
        .then_some(begin)
}

/// Paths of two parts and more in `code`.
fn inline(code: &str) -> Vec<String> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.contains("::")).map(|word| word.trim_matches(':').to_owned()).collect()
}

fn expand(prefix: &str, group: &str, paths: &mut Vec<String>) {
    for item in items(group) {
        if let Some((start, inner)) = item.split_once('{') {
            let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
            expand(&format!("{prefix}{}", start.trim()), inner, paths);
        } else {
            let name = item.split(" as ").next().unwrap_or_default().trim();
            paths.push(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
        }
    }
}

/// `group` at its commas outside of braces.
fn items(group: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[start..]);
    items
}

/// Path from the root and text of every file of the project that is text.
fn files() -> anyhow::Result<Vec<(String, String)>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()?;
    let said = String::from_utf8_lossy(&listed.stderr);
    anyhow::ensure!(listed.status.success(), "git lists no files: {said}");
    let names = String::from_utf8(listed.stdout)?;
    let read = |name: &str| fs::read_to_string(root().join(name)).ok();
    Ok(names.split_terminator('\0').filter_map(|name| Some((name.to_owned(), read(name)?))).collect())
}

mod a_broken_rule_is_seen {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, words: &str) {
        let problems = all(path, text);
        match problems.as_slice() {
            [] => assert_eq!(words, "", "{path}: nothing was seen in {text:?}"),
            [only] => assert!(!words.is_empty() && only.contains(words), "{only}"),
            several => panic!("{several:?}"),
        }
    }

    #[test]
    fn of_form() {
        check("a/src/x.rs", "//! Says it.\n", "");
        check("a/src/x.rs", "use std::fs;\n", "the first line");
        check("a/src/x.rs", &format!("//! Long.\n{}", "\n".repeat(400)), "401 lines");
        check("a/data.csv", &"\n".repeat(500), "");
        check("a/src/utils.rs", "//! Things.\n", "`utils` says nothing");
        check("a/src/helpers/x.rs", "//! Things.\n", "`helpers` says nothing");
    }

    #[test]
    fn of_imports() {
        for (path, code, words) in [
            ("coordinator/src/fleet.rs", "use nats::Client;", "names `nats`"),
            ("coordinator/src/fleet.rs", "fn f(c: nats::Client) {}", "names `nats`"),
            ("coordinator/src/fleet.rs", "use shared::bus::nats::connect;", ""),
            ("shared/src/bus/nats/queue.rs", "use nats::Client;", ""),
            ("coordinator/src/sweep/plan.rs", "fn f() { serde_yaml::from_str(\"\") }", "names `serde_yaml`"),
            ("coordinator/src/engine/cost.rs", "use tokio::time;", "uses `tokio`"),
            ("coordinator/src/engine/cost.rs", "// tokio::time is not known here", ""),
            (
                "coordinator/src/ensemble/x.rs",
                "use std::time::{Duration, Instant};",
                "uses `std::time::Instant`",
            ),
            ("shared/src/books/claim.rs", "use std::time::Duration;", ""),
            ("shared/src/books/claim.rs", "use crate::{bus::Bus, ids};", "uses `crate::bus`"),
            (
                "worker/src/models/dan.rs",
                "use crate::{\n    models::Mtl,\n    data::{Views, Loader},\n};",
                "uses `crate::data`",
            ),
            ("worker/src/models/dan.rs", "use crate::trained::Net;", ""),
            ("worker/src/models/dan.rs", "use super::super::train::Mode;", "uses `crate::train`"),
            ("worker/src/models/dan.rs", "use super::data;", ""),
            ("worker/src/train/step.rs", "fn f() { crate::agent::run(); }", "uses `crate::agent`"),
        ] {
            check(path, &format!("//! Purpose.\n{code}\n"), words);
        }
    }

    #[test]
    fn of_what_is_spoken_of() {
        for (first, second) in UNSPOKEN {
            check("docs/x.md", &format!("It says {first}{second}1.").to_uppercase(), "speaks of");
        }
        check("docs/x.md", "A training session that issues warnings.", "");
    }

    #[test]
    fn of_lints() {
        assert!(has_lints("[package]\n\n[lints]\nworkspace = true\n"));
        assert!(!has_lints("[package]\n\n[lints.rust]\nunsafe_code = \"allow\"\n"));
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let mut files = vec![file("Cargo.toml", "members = [\"a\", \"b\", \"c\", \"d\"]\n")];
        files.extend(
            ["a", "b", "c"].map(|name| file(&format!("{name}/Cargo.toml"), "[lints]\nworkspace = true")),
        );
        assert_eq!(crates(&files), ["d/Cargo.toml: `[lints] workspace = true` is missing"]);
    }
}
