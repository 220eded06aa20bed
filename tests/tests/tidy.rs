//! Rules that hold in every source file: purpose line, length, names, who may import what, no import cycles.

use std::collections::BTreeSet;
use std::path::Path;

use tests::import_graph::{Circle, ImportGraph};
use tests::sources::{begins, files, from_the_crate, is_rust, paths};

/// Lines that a source file may have.
const MOST_LINES: usize = 400;

/// Longer files, with the lines that they may have. Shorten them, and add none.
const LONGER: [(&str, usize); 0] = [];

/// Names that say nothing about the content of a file.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "helper", "helpers", "misc"];

/// Outside technologies, and the only files or folders that may name them.
const OWNERS: [(&str, &[&str]); 4] = [
    // The module `bus` also has a child with this name, and one test sends requests that Ferry never sends.
    ("nats", &["shared/src/bus/nats/", "shared/src/bus/mod.rs", "tests/tests/permissions.rs"]),
    ("serde_yaml", &["coordinator/orchestrator/src/sweep/parse.rs"]),
    ("crossterm", &["coordinator/src/commands/watch/terminal.rs"]),
    ("ratatui", &["coordinator/src/commands/watch/"]),
];

/// Folders, and the paths that no file in them may use.
const APART: [(&str, &[&str]); 14] = [
    ("coordinator/orchestrator/src/cost/", PURE),
    (
        "coordinator/orchestrator/src/cost/",
        &["crate::engine", "crate::view", "crate::report", "crate::run_dir"],
    ),
    ("coordinator/orchestrator/src/engine/", PURE),
    ("coordinator/orchestrator/src/ensemble/", PURE),
    ("coordinator/orchestrator/src/story/", PURE),
    ("coordinator/orchestrator/src/verification/", PURE),
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
    ("worker/src/train/", &["crate::agent", "crate::commands", "crate::trainers"]),
    (
        "worker/src/agent/",
        &["crate::trainers", "crate::train", "crate::models", "crate::losses", "crate::data"],
    ),
    ("coordinator/orchestrator/src/engine/", &["crate::service", "crate::commands"]),
    ("coordinator/orchestrator/src/service/", &["crate::commands"]),
];

/// No runtime, no clock, no bus.
const PURE: &[&str] =
    &["tokio", "std::time::Instant", "std::time::SystemTime", "crate::bus", "shared::bus", "crate::service"];

/// Files that may import each other, with the reason. Allowed only if serde or schemars makes it necessary.
const CIRCLES: [(&[&str], &str); 0] = [];

/// The reported faults of docs/cases.md.
const CASES: u32 = 34;

/// Words with the prefix of environment variables that are not environment variables.
const NOT_VARIABLES: [&str; 1] = ["FERRY_JOBS"];

type Rule = fn(&str, &str) -> Vec<String>;

const RULES: [Rule; 5] = [purpose, length, name, owners, apart];

#[test]
fn every_file_keeps_the_rules() -> anyhow::Result<()> {
    let files = files()?;
    assert!(files.len() > 250, "only {} files were found", files.len());
    let broken = files.iter().flat_map(|(path, text)| all(path, text).into_iter());
    let broken: Vec<String> = broken.chain(crates(&files)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// A file that main.rs does not name is not compiled, and its tests would never run.
#[test]
fn every_test_file_is_part_of_the_program() -> anyhow::Result<()> {
    let main = include_str!("main.rs");
    let stem = |path: &str| Some(path.strip_prefix("tests/tests/")?.strip_suffix(".rs")?.to_owned());
    let all: Vec<String> = files()?.iter().filter_map(|(path, _)| stem(path)).collect();
    let left_out: Vec<_> =
        all.iter().filter(|stem| *stem != "main" && !main.contains(&format!("\nmod {stem};\n"))).collect();
    assert!(all.len() > 20 && left_out.is_empty(), "not in tests/tests/main.rs: {left_out:?}");
    Ok(())
}

/// docs/cases.md has a row for each case, and some source file has a comment that names it above a test.
#[test]
fn every_case_has_a_test() -> anyhow::Result<()> {
    let files = files()?;
    let text = |path: &str| files.iter().find(|(file, _)| file == path).map_or("", |(_, text)| text.as_str());
    let named: BTreeSet<u32> =
        files.iter().filter(|(path, _)| is_rust(path)).flat_map(|(_, text)| cases(text)).collect();
    let listed = |case: &u32| text("docs/cases.md").contains(&format!("\n| {case} | "));
    let missing: Vec<u32> = (1..=CASES).filter(|case| !named.contains(case) || !listed(case)).collect();
    assert!(missing.is_empty(), "no test, or no row in docs/cases.md, has case {missing:?}");
    Ok(())
}

/// The numbers in comments such as `/// Case 12: …` and `/// Cases 9 and 10: …`.
fn cases(text: &str) -> Vec<u32> {
    let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let named = comments.filter_map(|comment| comment.trim_start_matches(['/', ' ']).strip_prefix("Case"));
    let numbers = named.filter_map(|rest| rest.split_once(':')).flat_map(|(numbers, _)| {
        numbers
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect::<Vec<_>>()
    });
    numbers.collect()
}

fn all(path: &str, text: &str) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(path, text)).map(|problem| format!("{path}: {problem}")).collect()
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
    // This file's own tests quote code.
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

/// Every member of the workspace uses the workspace's lints.
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

#[test]
fn no_files_import_each_other() -> anyhow::Result<()> {
    let circles = ImportGraph::of(&files()?).circles();
    let allowed = |circle: &Circle| CIRCLES.iter().any(|(files, _)| circle.files == *files);
    let new: Vec<String> = circles
        .iter()
        .filter(|circle| !allowed(circle))
        .map(|circle| format!("{}\n  {}", circle.files.join(" <-> "), circle.imports.join("\n  ")))
        .collect();
    assert!(new.is_empty(), "files that import each other:\n{}", new.join("\n"));
    let gone = CIRCLES.iter().filter(|(files, _)| !circles.iter().any(|circle| circle.files == *files));
    let gone: Vec<_> = gone.map(|(files, _)| files.join(" <-> ")).collect();
    assert!(gone.is_empty(), "no longer true, take them out of CIRCLES:\n{}", gone.join("\n"));
    Ok(())
}

#[test]
fn every_environment_variable_is_documented() -> anyhow::Result<()> {
    let page = "docs/environment.md";
    let (documented, code): (Vec<_>, Vec<_>) = files()?.into_iter().partition(|(path, _)| path == page);
    let code = code.iter().filter(|(path, _)| !is_prose(path));
    let used: BTreeSet<&str> = code.flat_map(|(_, text)| variables(text)).collect();
    let documented: BTreeSet<&str> = documented.iter().flat_map(|(_, text)| variables(text)).collect();
    let missing: Vec<_> = used.difference(&documented).collect();
    assert!(missing.is_empty(), "not in {page}: {missing:?}");
    let unused: Vec<_> = documented.difference(&used).collect();
    assert!(unused.is_empty(), "in {page}, but read nowhere: {unused:?}");
    Ok(())
}

fn is_prose(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "md")
}

/// The names in `text` that look like Ferry's environment variables.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words
        .filter(|word| word.starts_with("FERRY_") && word.len() > "FERRY_".len() && !word.ends_with('_'))
        .filter(|word| !NOT_VARIABLES.contains(word))
}

mod a_broken_rule_is_seen {
    use super::*;

    #[test]
    fn of_cases() {
        assert_eq!(
            cases("/// Case 12: dots.\n    // Cases 9 and 10: names.\n/// In case 3: no."),
            [12, 9, 10]
        );
    }

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
            ("coordinator/orchestrator/src/fleet.rs", "use nats::Client;", "names `nats`"),
            ("coordinator/orchestrator/src/fleet.rs", "fn f(c: nats::Client) {}", "names `nats`"),
            ("coordinator/orchestrator/src/fleet.rs", "use shared::bus::nats::connect;", ""),
            ("shared/src/bus/nats/queue.rs", "use nats::Client;", ""),
            (
                "coordinator/orchestrator/src/sweep/plan.rs",
                "fn f() { serde_yaml::from_str(\"\") }",
                "names `serde_yaml`",
            ),
            ("coordinator/orchestrator/src/engine/jobs.rs", "use tokio::time;", "uses `tokio`"),
            ("coordinator/orchestrator/src/engine/jobs.rs", "// tokio::time is not known here", ""),
            (
                "coordinator/orchestrator/src/ensemble/x.rs",
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

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files: Vec<_> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        ImportGraph::of(&files).circles().into_iter().map(|circle| circle.files).collect()
    }

    #[test]
    fn of_circles() {
        let root = ("a/src/lib.rs", "pub mod b;\nmod c;\nmod d;");
        let b_uses_c = ("a/src/b.rs", "use crate::c::C;\npub struct B;");
        assert_eq!(circles(&[root, b_uses_c, ("a/src/c.rs", "pub struct C;")]), Vec::<Vec<String>>::new());
        for text in [
            "use super::b::B;",
            "use crate::b::{self, B as Other};",
            "fn f() -> super::b::B { todo!() }",
            "use crate::b;\nfn f() { b::new() }",
            "use super::b::*;",
            "use a::b::B;",
        ] {
            assert_eq!(
                circles(&[root, b_uses_c, ("a/src/c.rs", text)]),
                [["a/src/b.rs", "a/src/c.rs"]],
                "{text}"
            );
        }
        let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n";
        assert_eq!(circles(&[root, b_uses_c, ("a/src/c.rs", in_tests)]), Vec::<Vec<String>>::new());
        let through_d =
            [root, b_uses_c, ("a/src/c.rs", "use crate::d::D;"), ("a/src/d.rs", "use crate::b::B;")];
        assert_eq!(circles(&through_d), [["a/src/b.rs", "a/src/c.rs", "a/src/d.rs"]]);
    }

    #[test]
    fn of_circles_between_a_parent_and_its_children() {
        let root = ("a/src/lib.rs", "pub mod p;\npub mod q;");
        let circle = |parent: &str, child: &str| {
            let q = ("a/src/q.rs", "use crate::p::C;\npub struct Q;");
            circles(&[root, ("a/src/p/mod.rs", parent), ("a/src/p/c.rs", child), q])
        };
        let defines = "use super::Rule;\npub struct C;";
        assert_eq!(
            circle("mod c;\npub use c::C;\nuse c::D;\npub struct Rule;", defines),
            Vec::<Vec<String>>::new()
        );
        // A re-exported item belongs to the child: importing it from the parent counts as an import from the child.
        let uses_q = "use crate::q::Q;\npub struct C;";
        assert_eq!(circle("mod c;\npub use c::C;", uses_q), [["a/src/p/c.rs", "a/src/q.rs"]]);
        assert_eq!(circle("mod c;\npub use c::*;\npub struct C;", uses_q), Vec::<Vec<String>>::new());
        let parent_uses_q = "mod c;\nuse crate::q::Q;\nfn f() { c::g() }\npub struct C;";
        assert_eq!(circle(parent_uses_q, "pub fn g() {}"), [["a/src/p/mod.rs", "a/src/q.rs"]]);
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
