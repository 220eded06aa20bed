//! `ferry data`: draw, import and inspect packs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use shared::pack::{Pack, Split};

use super::progress::Progress;
use crate::data::import::{Consequence, ImportOptions, Report, import};
use crate::data::{inspect, sheet, synth};
use crate::sweep::plan::SyntheticOptions;

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Draw a dataset of faces: six expressions, 68 landmarks, subjects that differ between the splits.
    Synth(SynthArgs),
    /// Pack the images, labels and landmarks of a folder with the challenge's layout.
    Import(ImportArgs),
    /// Say what a pack holds.
    Inspect(InspectArgs),
}

/// Options of `ferry data synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Folder of the new pack; a pack that lies there is replaced when the new one is complete.
    dir: PathBuf,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of training images.
    #[arg(long, value_name = "N", default_value_t = SyntheticOptions::default().train)]
    train: u32,
    /// Number of validation images.
    #[arg(long, value_name = "N", default_value_t = SyntheticOptions::default().validation)]
    validation: u32,
    /// Number of test images.
    #[arg(long, value_name = "N", default_value_t = SyntheticOptions::default().test)]
    test: u32,
    /// Height and width in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = SyntheticOptions::default().image_size)]
    size: u32,
    /// Give the training classes the challenge's shares (paper, Fig. 3) instead of equal ones.
    #[arg(long)]
    imbalanced: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `ferry data import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder with `training_set_synthetic_images`, `validation_set_real_images` and perhaps test images.
    source: PathBuf,
    /// Folder of the new pack; a pack that lies there is replaced when the new one is complete.
    dir: PathBuf,
    /// Height and width to store, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 112)]
    size: u32,
    /// Root of the landmark files [default: `landmarks` in the source].
    #[arg(long, value_name = "DIR")]
    landmarks: Option<PathBuf>,
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

/// Options of `ferry data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the pack.
    pack: PathBuf,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Write a picture with a few training images of each class and their landmarks.
    #[arg(long, value_name = "PNG")]
    sheet: Option<PathBuf>,
    /// Recompute the digest from every byte.
    #[arg(long)]
    verify: bool,
}

/// Runs `command`. Exit code 1 is a strict import that found problems; an error is bad input or a failed disk.
pub fn run(command: &DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Synth(args) => synth_command(args),
        DataCommand::Import(args) => import_command(args),
        DataCommand::Inspect(args) => inspect_command(args),
    }
}

fn synth_command(args: &SynthArgs) -> anyhow::Result<ExitCode> {
    let options = SyntheticOptions {
        seed: args.seed,
        train: args.train,
        validation: args.validation,
        test: args.test,
        image_size: args.size,
        imbalanced: args.imbalanced,
    };
    let mut progress = Progress::new("drawing");
    synth::synthesize(&args.dir, &options, &mut |done, total| progress.show(done, total))?;
    print_summary(&Pack::open(&args.dir)?, args.json)
}

fn inspect_command(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let pack = Pack::open(&args.pack)?;
    if args.verify {
        pack.verify()?;
    }
    if let Some(path) = &args.sheet {
        sheet::write(&pack, Split::Train, path).with_context(|| format!("{}", path.display()))?;
    }
    print_summary(&pack, args.json)
}

fn import_command(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let options = ImportOptions {
        source: args.source.clone(),
        image_size: args.size,
        landmarks: args.landmarks.clone(),
        test_labels: args.test_labels.clone(),
        strict: args.strict,
    };
    let mut progress = Progress::new("importing");
    let report = import(&args.dir, &options, &mut |done, total| progress.show(done, total))?;
    if args.json {
        print(&import_json(&args.dir, &report)?)?;
    } else {
        tell_problems(&report);
    }
    if report.digest.is_none() {
        eprintln!("nothing was written: a strict import allows no problem");
        return Ok(ExitCode::FAILURE);
    }
    if args.json { Ok(ExitCode::SUCCESS) } else { print_summary(&Pack::open(&args.dir)?, false) }
}

fn import_json(dir: &Path, report: &Report) -> anyhow::Result<String> {
    let summary = match report.digest {
        Some(_) => Some(inspect::summarize(&Pack::open(dir)?)),
        None => None,
    };
    let value = json!({ "pack": summary, "problems": report.problems });
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

fn print_summary(pack: &Pack, json: bool) -> anyhow::Result<ExitCode> {
    let summary = inspect::summarize(pack);
    let text = if json { serde_json::to_string_pretty(&summary)? } else { summary.to_string() };
    print(&text)?;
    for split in Split::ALL.into_iter().filter(|&split| pack.is_empty(split)) {
        eprintln!("note: the pack has no {split} images");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: DataCommand,
    }

    fn run_line(words: &[&str]) -> anyhow::Result<ExitCode> {
        run(&Line::try_parse_from([&["data"], words].concat())?.command)
    }

    #[test]
    fn a_pack_is_drawn_and_inspected() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
        let (dir, picture) = (path("pack"), path("sheet.png"));
        let counts = ["--train", "12", "--validation", "6", "--test", "6", "--size", "16"];
        run_line(&[&["synth", &dir, "--seed", "5"], &counts[..]].concat()).unwrap();
        run_line(&["inspect", &dir, "--json", "--verify", "--sheet", &picture]).unwrap();
        assert!(Path::new(&picture).is_file());
        let pack = Pack::open(Path::new(&dir)).unwrap();
        assert_eq!(Split::ALL.map(|split| pack.len(split)), [12, 6, 6]);
    }

    #[test]
    fn a_strict_import_with_a_problem_ends_with_code_one() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("source/training_set_synthetic_images/FEAR");
        std::fs::create_dir_all(&class).unwrap();
        image::RgbImage::new(8, 8).save(class.join("1.png")).unwrap();
        std::fs::write(class.join("1.txt"), "0 0\n".repeat(68)).unwrap();
        std::fs::write(class.join("2.png"), "").unwrap();
        let (source, dir) = (root.path().join("source"), root.path().join("pack"));
        let words = ["import", &source.to_string_lossy(), &dir.to_string_lossy(), "--size", "8"];
        let strict = run_line(&[&words[..], &["--strict", "--json"]].concat()).unwrap();
        assert_eq!(format!("{strict:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(!dir.exists());
        let lenient = run_line(&words).unwrap();
        assert_eq!(format!("{lenient:?}"), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(Pack::open(&dir).unwrap().len(Split::Train), 1);
    }
}
