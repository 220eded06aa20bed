//! `ferry data inspect`: show what a pack holds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shared::pack::{Pack, Split};

use super::print_summary;
use crate::commands::progress::Progress;
use orchestrator::data::{duplicates, inspect, sheet};

/// Options of `ferry data inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry data inspect data/faces --sheet sheet.png")]
pub(crate) struct InspectArgs {
    /// Folder of the pack.
    pack: PathBuf,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Write a contact sheet: a few training images of each class with their landmarks.
    #[arg(long, value_name = "PNG")]
    sheet: Option<PathBuf>,
    /// Recompute the digest from every byte.
    #[arg(long)]
    verify: bool,
    /// Skip the search for equal images, which reads all pixels.
    #[arg(long)]
    quick: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let pack = Pack::open(&args.pack)?;
    if args.verify {
        pack.verify()?;
    }
    if let Some(path) = &args.sheet {
        sheet::write(&pack, Split::Train, path).with_context(|| format!("{}", path.display()))?;
    }
    let mut summary = inspect::summarize(&pack);
    if !args.quick {
        let mut progress = Progress::quiet_at_first("comparing");
        summary.duplicates = Some(duplicates::find(&pack, &mut |done, total| progress.show(done, total)));
    }
    print_summary(&summary, args.json)
}
