//! `ferry data synth`: draw a dataset.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use shared::pack::Pack;

use super::print_summary;
use crate::commands::progress::Progress;
use orchestrator::data::{inspect, synth};
use orchestrator::sweep::plan::SyntheticOptions;

/// Options of `ferry data synth`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry data synth data/drawn --train 3000 --size 64")]
pub(crate) struct SynthArgs {
    /// Folder of the new pack; an existing pack is replaced when the new one is complete.
    dir: PathBuf,
    /// Seed of the drawing: the same seed draws the same faces.
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

pub(super) fn run(args: &SynthArgs) -> anyhow::Result<ExitCode> {
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
    let pack = Pack::open(&args.dir)?;
    print_summary(&inspect::summarize(&pack), args.json)
}
