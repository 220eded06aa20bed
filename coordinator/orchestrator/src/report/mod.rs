//! The report of a run, rebuilt from its folder alone: results.json, results.csv, report.md, report.html.
//!
//! Nothing here reads a clock or looks at the machine, so two builds from one folder give the same bytes.

mod charts;
mod configurations;
mod csv;
mod error;
mod foretold;
mod html;
mod labels;
mod markdown;
mod measure;
mod reasons;
mod results;
mod summary;
mod tables;
mod view;
pub mod why;

use std::collections::BTreeSet;
use std::path::PathBuf;

use shared::ids::JobId;

use crate::run_dir::{RunDir, RunRecord};
pub use error::ReportError;
pub use results::{DrainedWorker, EnsembleRow, JobRow, JobState, Results, ScoreWarning, WarningKind};
pub use summary::summary;

/// The files of one report.
#[derive(Debug, Clone)]
pub struct Written {
    pub results: Results,
    pub html: PathBuf,
    pub markdown: PathBuf,
    pub json: PathBuf,
    pub csv: PathBuf,
}

/// The finished jobs that are members of an ensemble.
///
/// # Errors
/// When the members of an ensemble cannot vote together.
pub fn members(record: &RunRecord) -> Result<BTreeSet<JobId>, ReportError> {
    if record.plan.ensembles.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ensembles = results::build(record)?.ensembles;
    Ok(ensembles.into_iter().flat_map(|ensemble| ensemble.selection.members).collect())
}

/// Builds all four files of the report in the run folder. Any subset of the jobs may be finished.
///
/// # Errors
/// When the run folder is damaged or cannot be written, or the members of an ensemble cannot vote together.
pub fn write(run: &RunDir) -> Result<Written, ReportError> {
    write_of(run, &run.load()?)
}

/// The same from what was read of the run folder before.
///
/// # Errors
/// As [`write`].
pub fn write_of(run: &RunDir, record: &RunRecord) -> Result<Written, ReportError> {
    let results = results::build(record)?;
    let view = view::View::new(record, &results);
    Ok(Written {
        json: run.write_report_json("results.json", &results)?,
        csv: run.write_report("results.csv", &csv::render(&view))?,
        markdown: run.write_report("report.md", &markdown::render(&view))?,
        html: run.write_report("report.html", &html::render(&view))?,
        results,
    })
}
