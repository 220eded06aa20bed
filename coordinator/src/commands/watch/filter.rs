//! The filter of the screen: a selection as it is typed. Pure.

use std::collections::BTreeMap;

use super::jobs::Jobs;
use orchestrator::selection::Selection;

/// Reads a filter, in the words of a command line.
///
/// # Errors
/// Why it cannot be used, in words.
pub(super) fn read(text: &str, jobs: &Jobs) -> Result<Selection, String> {
    let words = shlex::split(text).ok_or("a quotation mark is not closed")?;
    let selection = Selection::parse(words.iter().map(String::as_str));
    let selection = selection.map_err(|error| error.to_string())?;
    if selection != Selection::default() {
        let facts: BTreeMap<_, _> =
            (0..jobs.len()).map(|place| (jobs.id(place), jobs.facts(place))).collect();
        selection.choose(&jobs.plan, &facts).map_err(|error| error.to_string())?;
    }
    Ok(selection)
}
