//! Which source files import from which others, and where these imports form a cycle.
//!
//! `mod x;` is not an import, and neither is a parent's re-export of its children's items. Imports of a child from its
//! own parents do not count either, because the errors and types of a module are often in its `mod.rs`, which calls the
//! children. A path is followed to the file that defines the item. Test modules are ignored.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Import, is_rust, read, without_tests};

/// A module: the folder of its crate, then its path in the crate.
type Module = Vec<String>;

/// One source file without its tests.
#[derive(Debug)]
struct Source {
    file: String,
    imports: Vec<Import>,
    inline: Vec<String>,
}

/// The files, and what each of them imports from others.
#[derive(Debug)]
pub struct ImportGraph {
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

/// Files that import each other, and every import among them: from, to, names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    pub files: Vec<String>,
    pub imports: Vec<String>,
}

impl ImportGraph {
    /// The graph of all Rust files below the `src` folder of a crate. `files` are paths and texts.
    pub fn of(files: &[(String, String)]) -> Self {
        let sources = sources(files);
        let mut edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        let mut take = |from: &str, found: Option<(&Source, String)>| {
            if let Some((to, name)) = found.filter(|(to, _)| to.file != from) {
                edges.entry(from.to_owned()).or_default().entry(to.file.clone()).or_default().insert(name);
            }
        };
        for (module, source) in &sources {
            for import in &source.imports {
                let found = resolve(&sources, module, &import.path, 0);
                let found = found.filter(|found| !(import.reexport && found.module.starts_with(module)));
                take(&source.file, found.and_then(|found| found.item(&sources, module)));
            }
            for path in &source.inline {
                let found = resolve(&sources, module, &with_alias(source, path), 0);
                take(&source.file, found.and_then(|found| found.item(&sources, module)));
            }
        }
        Self { edges }
    }

    /// Every set of files that reach each other.
    pub fn circles(&self) -> Vec<Circle> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reach(file))).collect();
        let mut circles: Vec<Circle> = Vec::new();
        for (file, reach) in &reached {
            let back = |other: &&&str| reached.get(*other).is_some_and(|far| far.contains(file));
            let files: Vec<String> = reach.iter().filter(back).map(|file| (*file).to_owned()).collect();
            if files.first().is_some_and(|first| first == file) {
                let imports = self.imports_among(&files);
                circles.push(Circle { files, imports });
            }
        }
        circles
    }

    /// All files that `file` reaches by one import or several.
    fn reach(&self, file: &str) -> BTreeSet<&str> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(file) = open.pop() {
            for next in self.edges.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        reached
    }

    fn imports_among(&self, files: &[String]) -> Vec<String> {
        let mut imports = Vec::new();
        for from in files {
            for (to, names) in self.edges.get(from).into_iter().flatten().filter(|(to, _)| files.contains(to))
            {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                imports.push(format!("{from} -> {to}: {}", names.join(", ")));
            }
        }
        imports
    }
}

fn sources(files: &[(String, String)]) -> BTreeMap<Module, Source> {
    let mut sources = BTreeMap::new();
    let mut of_tests = BTreeSet::new();
    for (file, text) in files.iter().filter(|(file, _)| is_rust(file)) {
        let Some(mut module) = module_of(file) else { continue };
        // If a crate also has a library, `main.rs` is not a module of it.
        if module.len() == 2
            && module[1] == "main"
            && !files.iter().any(|(lib, _)| *lib == format!("{}/src/lib.rs", module[0]))
        {
            module.pop();
        }
        let (code, test_modules) = without_tests(text);
        of_tests.extend(test_modules.into_iter().map(|name| below(&module, &name)));
        let (imports, inline) = read(&code);
        sources.insert(module, Source { file: file.clone(), imports, inline });
    }
    sources.retain(|module, _| !of_tests.iter().any(|test| module.starts_with(test)));
    sources
}

/// The module in a file; `None` if the file is not below a `src` folder.
fn module_of(file: &str) -> Option<Module> {
    let (krate, path) = file.split_once("/src/")?;
    let mut module = vec![krate.to_owned()];
    module.extend(path.trim_end_matches(".rs").split('/').map(str::to_owned));
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    Some(module)
}

fn below(module: &[String], name: &str) -> Module {
    let mut child = module.to_owned();
    child.push(name.to_owned());
    child
}

/// Where a path leads: a module, and the rest of the path in it.
struct Found {
    module: Module,
    rest: Vec<String>,
}

impl Found {
    /// The file that defines the item, and its name, if `from` is not below it. A path to a module alone takes nothing.
    fn item<'a>(
        self,
        sources: &'a BTreeMap<Module, Source>,
        from: &[String],
    ) -> Option<(&'a Source, String)> {
        let name = self.rest.first().filter(|_| !from.starts_with(&self.module))?.clone();
        Some((sources.get(&self.module)?, name))
    }
}

/// `path`, with its first segment replaced by the path of the import that has this name.
fn with_alias(source: &Source, path: &str) -> String {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    match source.imports.iter().find(|import| import.name == first) {
        Some(import) => format!("{}::{rest}", import.path),
        None => path.to_owned(),
    }
}

/// Follows `path`, named in `module`, through modules and re-exports.
fn resolve(sources: &BTreeMap<Module, Source>, module: &[String], path: &str, depth: usize) -> Option<Found> {
    let mut segments = path.split("::").map(str::to_owned);
    let mut at = module.to_vec();
    let mut rest: Vec<String> = Vec::new();
    let first = segments.next()?;
    match first.as_str() {
        "crate" => at.truncate(1),
        "self" => {}
        "super" => drop(at.pop()),
        _ => match crate_folder(sources, &first) {
            _ if sources.contains_key(&below(module, &first)) => at.push(first),
            Some(folder) => at = vec![folder],
            None => return None,
        },
    }
    for segment in segments {
        if rest.is_empty() && segment == "super" {
            at.pop();
        } else if rest.is_empty() && sources.contains_key(&below(&at, &segment)) {
            at.push(segment);
        } else {
            rest.push(segment);
        }
    }
    let Some(name) = rest.first().filter(|_| depth < 8) else { return Some(Found { module: at, rest }) };
    let exports = sources.get(&at).into_iter().flat_map(|source| &source.imports);
    let export = exports.filter(|import| import.reexport).find(|import| import.name == *name);
    let Some(export) = export else { return Some(Found { module: at, rest }) };
    let further: Vec<String> =
        std::iter::once(export.path.clone()).chain(rest[1..].iter().cloned()).collect();
    resolve(sources, &at, &further.join("::"), depth + 1).or(Some(Found { module: at, rest }))
}

/// The folder of the crate named `name`.
fn crate_folder(sources: &BTreeMap<Module, Source>, name: &str) -> Option<String> {
    let folders = sources.keys().filter_map(|module| module.first());
    folders.filter(|folder| folder.rsplit('/').next() == Some(name)).min().cloned()
}
