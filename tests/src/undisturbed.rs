//! What a sweep gives when nothing goes wrong: trained once, for all tests that compare with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;
use serde_json::Value;

use crate::programs::{Workdir, expect, root};
use crate::results::comparable;

/// The sweep that most tests disturb: jobs of a few seconds with several epochs.
pub fn faults() -> PathBuf {
    root().join("tests/sweeps/faults.yaml")
}

/// The [`comparable`] results of a run that nothing disturbs. The first caller trains the sweep; the others wait for it.
///
/// # Errors
///
/// The sweep fails.
pub fn results(sweep: &Path) -> anyhow::Result<Value> {
    static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Value>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(results) = known.get(sweep) {
        return Ok(results.clone());
    }
    let workdir = Workdir::new()?;
    expect(workdir.ferry(&["run"]).arg(sweep), 0)?;
    let name = sweep.file_stem().context("a sweep file has a name")?;
    let results = comparable(&workdir.path().join("runs").join(name).join("results.json"))?;
    known.insert(sweep.to_owned(), results.clone());
    Ok(results)
}
