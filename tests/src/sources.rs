//! The project's source files, and the paths in Rust code, as far as they can be found without a parser.

use std::fs;
use std::path::Path;

use crate::programs::root;

/// A path in a `use` declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub path: String,
    /// Its name in the file; `*` for all names below the path.
    pub name: String,
    /// `pub use`, also `pub(super) use` and the like.
    pub reexport: bool,
}

/// The path and the content of every text file in the project.
///
/// # Errors
///
/// git cannot list the files.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()?;
    let error = String::from_utf8_lossy(&listed.stderr);
    anyhow::ensure!(listed.status.success(), "git cannot list the files: {error}");
    let names = String::from_utf8(listed.stdout)?;
    let read = |name: &str| fs::read_to_string(root().join(name)).ok();
    Ok(names.split_terminator('\0').filter_map(|name| Some((name.to_owned(), read(name)?))).collect())
}

pub fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "rs")
}

/// All paths with at least two segments in `text`, in `use` declarations and elsewhere.
pub fn paths(text: &str) -> Vec<String> {
    let (imports, inline) = read(text);
    imports.into_iter().map(|import| import.path).chain(inline).collect()
}

/// `path` in `file`, rewritten to start with `crate` if its `super`s lead to the root of the crate.
pub fn from_the_crate(file: &str, path: &str) -> String {
    let below = file.split_once("/src/").map_or("", |(_, below)| below);
    let depth = below.matches('/').count() + usize::from(!below.ends_with("mod.rs"));
    let rest = path.trim_start_matches("super::");
    let ups = (path.len() - rest.len()) / "super::".len();
    if ups > 0 && ups >= depth { format!("crate::{rest}") } else { path.to_owned() }
}

/// True if `path` is `start` or below it.
pub fn begins(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The `use` declarations in `text`, with every group expanded (`a::{b, c::d}` is `a::b` and `a::c::d`), and the paths
/// with at least two segments in the rest of the code.
pub fn read(text: &str) -> (Vec<Import>, Vec<String>) {
    let (mut imports, mut inline, mut open) = (Vec::new(), Vec::new(), None);
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        let (reexport, mut declaration) = match (open.take(), start_of_use(line)) {
            (Some((reexport, mut before)), _) => {
                before = format!("{before}{line}");
                (reexport, before)
            }
            (None, Some((reexport, start))) => (reexport, start.to_owned()),
            (None, None) => {
                inline.extend(inline_paths(line));
                continue;
            }
        };
        match declaration.find(';') {
            Some(end) => {
                declaration.truncate(end);
                expand("", &declaration, reexport, &mut imports);
            }
            None => open = Some((reexport, declaration)),
        }
    }
    (imports, inline)
}

/// `text` without its test modules, and the names of the test modules that are separate files.
pub fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut code, mut files) = (String::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let module = lines.peek().filter(|_| line == "#[cfg(test)]").and_then(|next| module_name(next));
        let Some(name) = module else {
            code += line;
            code.push('\n');
            continue;
        };
        if lines.next().is_some_and(|declaration| declaration.ends_with(';')) {
            files.push(name.to_owned());
        } else {
            // rustfmt puts the closing brace of a module at the file's top level at the start of a line.
            lines.by_ref().find(|line| *line == "}");
        }
    }
    (code, files)
}

fn module_name(line: &str) -> Option<&str> {
    let (before, name) = line.split_once("mod ")?;
    let name = name.trim_end_matches([';', '{', ' ']);
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// Whether the `use` declaration that starts in this line is a re-export, and the text after `use`.
fn start_of_use(line: &str) -> Option<(bool, &str)> {
    let (before, start) = line.split_once("use ")?;
    let before = before.trim();
    let reexport = before == "pub" || (before.starts_with("pub(") && before.ends_with(')'));
    (before.is_empty() || reexport).then_some((reexport, start))
}

/// Paths with at least two segments in `code`.
fn inline_paths(code: &str) -> impl Iterator<Item = String> + '_ {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.contains("::")).map(|word| word.trim_matches(':').to_owned())
}

fn expand(prefix: &str, group: &str, reexport: bool, imports: &mut Vec<Import>) {
    for item in items(group) {
        if let Some((start, inner)) = item.split_once('{') {
            let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
            expand(&format!("{prefix}{}", start.trim()), inner, reexport, imports);
        } else if !item.trim().is_empty() {
            let (item, alias) = item.split_once(" as ").unwrap_or((item, ""));
            let path = format!("{prefix}{}", item.trim());
            let path = path.trim_end_matches("::self").trim_start_matches("::").to_owned();
            let last = path.rsplit("::").next().unwrap_or_default();
            let name = if alias.is_empty() { last.to_owned() } else { alias.trim().to_owned() };
            imports.push(Import { path, name, reexport });
        }
    }
}

/// Splits `group` at its commas outside braces.
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
