//! `ferry data import`: pack a folder of images, labels and landmarks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::files;
use shared::pack::{Pack, destination};

use super::{print, print_summary};
use crate::commands::progress::Progress;
use orchestrator::data::import::{
    Event, ImportError, ImportOptions, Problem, Report, Unit, import, is_summed_up, summary, to_csv, totals,
};
use orchestrator::data::inspect;

const EXAMPLES: &str = "\
Examples:
  ferry data import LSD data/faces --size 112
  ferry data import LSD data/faces --landmarks openface.csv --landmark-unit pixels
  ferry data import LSD data/faces --landmarks deca --landmark-crops crops.csv
  ferry data import faces data/faces --exclude-class NEUTRAL

An interrupted import, even one ended by kill -9, continues when the same command is run again. docs/data.md describes \
the layout, the landmark formats and what happens to bad files.";

/// Options of `ferry data import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Folder with `training_set_synthetic_images`, `validation_set_real_images` and, optionally, test images.
    source: PathBuf,
    /// Folder of the new pack, or a link to it; a pack in it is replaced once the new one is complete.
    dir: PathBuf,
    /// Height and width to store, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 112)]
    size: u32,
    /// Folder of landmark files (.txt, .pts, .csv, .npy, .npz for each image), or one table of all of them
    /// (.csv, .npz) [default: `landmarks` in the source].
    #[arg(long, value_name = "PATH")]
    landmarks: Option<PathBuf>,
    /// Unit of the landmarks [default: inferred from the numbers of all images].
    #[arg(long, value_name = "UNIT")]
    landmark_unit: Option<Unit>,
    /// Table of DECA's crops, for landmarks in [-1, 1] of these crops: a CSV with `image` and, for each crop, its
    /// square in pixels (`left,top,size` or `center_x,center_y,size`) or its `tform` (`m00,m01,m02,m10,m11,m12`).
    #[arg(long, value_name = "CSV")]
    landmark_crops: Option<PathBuf>,
    /// Labels of the test images, `image,expression` [default: `test_labels.csv` in the source].
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
    /// Leave out the class folders with this name, in upper or lower case; may be repeated.
    #[arg(long = "exclude-class", value_name = "NAME")]
    exclude_classes: Vec<String>,
    /// Write nothing and end with exit code 1 when any file has a problem.
    #[arg(long)]
    strict: bool,
    /// Print summary and problems as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let options = ImportOptions {
        source: args.source.clone(),
        image_size: args.size,
        landmarks: args.landmarks.clone(),
        landmark_unit: args.landmark_unit,
        landmark_crops: args.landmark_crops.clone(),
        test_labels: args.test_labels.clone(),
        exclude_classes: args.exclude_classes.clone(),
        strict: args.strict,
    };
    let mut progress = Progress::new("importing");
    let imported = import(&args.dir, &options, &mut |event| match event {
        Event::Note(note) => eprintln!("note: {note}"),
        Event::Done { done, total } => progress.show(done, total),
    });
    let report = match imported {
        Ok(report) => report,
        Err(error) => {
            if let ImportError::NoTrainingImage { problems, .. } = &error {
                list_problems(&args.dir, problems)?;
            }
            return Err(error.into());
        }
    };
    if args.json {
        print(&import_json(&args.dir, &report)?)?;
    } else {
        tell_problems(&args.dir, &report.problems)?;
    }
    if report.digest.is_none() {
        eprintln!("no pack was written: --strict allows no problem");
        return Ok(ExitCode::FAILURE);
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    let pack = Pack::open(&args.dir)?;
    print_summary(&inspect::summarize(&pack), false)
}

fn import_json(dir: &Path, report: &Report) -> anyhow::Result<String> {
    let summary = match report.digest {
        Some(_) => Some(inspect::summarize(&Pack::open(dir)?)),
        None => None,
    };
    let value = json!({
        "pack": summary,
        "problems": report.problems,
        "conversions": report.tally.conversions,
        "resumed_at": report.resumed_at,
    });
    Ok(serde_json::to_string_pretty(&value)?)
}

fn tell_problems(dir: &Path, problems: &[Problem]) -> anyhow::Result<()> {
    for line in summary(problems) {
        eprintln!("{line}");
    }
    if !problems.is_empty() {
        eprintln!("{}", totals(problems));
    }
    list_problems(dir, problems)
}

/// Writes the list of all problems if not all were shown; otherwise removes the list of an earlier import.
fn list_problems(dir: &Path, problems: &[Problem]) -> anyhow::Result<()> {
    let path = problem_list(dir)?;
    let shown = || path.display().to_string();
    if is_summed_up(problems) {
        files::write(&path, to_csv(problems).as_bytes()).with_context(shown)?;
        eprintln!("all of them are listed in {}", path.display());
    } else if fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&to_csv(&[]))) {
        fs::remove_file(&path).with_context(shown)?;
    }
    Ok(())
}

/// `PACK.problems.csv`, beside the pack because a pack only holds its own files.
fn problem_list(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut path = destination(dir)?.into_os_string();
    path.push(".problems.csv");
    Ok(path.into())
}
