//! `ferry data`: draw, import and inspect packs.

mod import;
mod inspect;
mod synth;

use std::process::ExitCode;

use clap::Subcommand;
use shared::stdio;

use orchestrator::data::inspect::Summary;

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Draw a dataset of faces: six expressions, 68 landmarks, subjects that differ between the splits.
    Synth(synth::SynthArgs),
    /// Pack the images, labels and landmarks of a folder with the challenge's layout.
    Import(import::ImportArgs),
    /// Show what a pack holds: classes, sizes, landmarks, and images that are in several splits.
    Inspect(inspect::InspectArgs),
}

/// Runs `command`. Exit code 1 means that a strict import found problems.
pub(crate) fn run(command: &DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Synth(args) => synth::run(args),
        DataCommand::Import(args) => import::run(args),
        DataCommand::Inspect(args) => inspect::run(args),
    }
}

fn print_summary(summary: &Summary, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json { serde_json::to_string_pretty(&summary)? } else { summary.to_string() };
    print(&text)?;
    for note in summary.notes() {
        eprintln!("note: {note}");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(stdio::print_line(text)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use shared::pack::{Pack, Split};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: DataCommand,
    }

    /// A landmark file: 68 points on a circle.
    fn face() -> String {
        (0..68).map(|i| f64::from(i) / 68.0 * std::f64::consts::TAU).fold(String::new(), |text, angle| {
            format!("{text}{:.3} {:.3}\n", 0.5 * angle.cos(), 0.5 * angle.sin())
        })
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
        std::fs::write(class.join("1.txt"), face()).unwrap();
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
