//! `ferry data import`: pack a folder of images, labels and landmarks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::pack::Pack;

use super::{print, print_summary};
use crate::commands::progress::Progress;
use crate::data::import::{Consequence, Event, ImportOptions, Report, Unit, import};
use crate::data::inspect;

const EXAMPLES: &str = "\
Examples:
  ferry data import LSD data/faces --size 112
  ferry data import LSD data/faces --landmarks openface.csv --landmark-unit pixels
  ferry data import LSD data/faces --landmarks deca --landmark-crops crops.csv

An import that was interrupted, even by kill -9, goes on when the same command is given again. docs/data.md describes \
the layout, the landmark formats and what becomes of bad files.";

/// Options of `ferry data import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Folder with `training_set_synthetic_images`, `validation_set_real_images` and perhaps test images.
    source: PathBuf,
    /// Folder of the new pack; a pack that lies there is replaced when the new one is complete.
    dir: PathBuf,
    /// Height and width to store, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 112)]
    size: u32,
    /// Root of the landmark files (.txt, .pts, .csv, .npy, .npz by image), or one .csv or .npz of all
    /// [default: `landmarks` in the source].
    #[arg(long, value_name = "PATH")]
    landmarks: Option<PathBuf>,
    /// What the landmarks' numbers measure [default: .txt normalized, .pts pixels-from-one, others by their size].
    #[arg(long, value_name = "UNIT")]
    landmark_unit: Option<Unit>,
    /// The landmarks lie in [-1, 1] of DECA's crops; a CSV with `image` and the square (`left,top,size` or
    /// `center_x,center_y,size`, in pixels) or `tform` (`m00,m01,m02,m10,m11,m12`) of each crop.
    #[arg(long, value_name = "CSV")]
    landmark_crops: Option<PathBuf>,
    /// Labels of the test images, `image,expression` [default: `test_labels.csv` in the source].
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
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
        strict: args.strict,
    };
    let mut progress = Progress::new("importing");
    let report = import(&args.dir, &options, &mut |event| match event {
        Event::Note(note) => eprintln!("note: {note}"),
        Event::Done { done, total } => progress.show(done, total),
    })?;
    if args.json {
        print(&import_json(&args.dir, &report)?)?;
    } else {
        tell_problems(&report);
    }
    if report.digest.is_none() {
        eprintln!("nothing was written: a strict import allows no problem");
        return Ok(ExitCode::FAILURE);
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    let pack = Pack::open(&args.dir)?;
    print_summary(&pack, &inspect::summarize(&pack), false)
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

fn tell_problems(report: &Report) {
    for problem in &report.problems {
        let consequence = match problem.consequence {
            Consequence::LeftOut => "left out",
            Consequence::NoLandmarks => "without landmarks",
            Consequence::Ignored => "ignored",
        };
        eprintln!("{}: {} ({consequence})", problem.file.display(), problem.reason);
    }
    let left_out = report.problems.iter().filter(|p| p.consequence == Consequence::LeftOut).count();
    if !report.problems.is_empty() {
        eprintln!("{} problems, {left_out} images left out", report.problems.len());
    }
}
