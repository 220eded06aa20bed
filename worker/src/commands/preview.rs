//! `ferry-worker preview`: a picture with both views of some training images of a job.

use std::io::Cursor;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::pack::Pack;
use shared::predicted::column;
use shared::stdio;

use super::output::write;
use super::planned::Planned;
use crate::preview::{Preview, preview};

/// Options of `ferry-worker preview`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry-worker preview experiments/demo.yaml --job 1f3a -o sheet.png\n\n\
    Each pair is one training image: left the emotion view after basic augmentation, right the appearance view with \
    its landmarks. Mixing is not shown: it happens later, on whole batches. `ferry plan SWEEP --all` lists the jobs.")]
pub struct PreviewArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// The job's id, or a prefix of it that no other job has.
    #[arg(long, value_name = "ID")]
    job: String,
    /// The picture to write.
    #[arg(short, long, value_name = "PNG")]
    out: PathBuf,
    /// Number of images.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    samples: u16,
    /// The epoch whose first images are drawn; each epoch has its own order and augmentation.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    epoch: u32,
    /// State directory, which contains the synthetic datasets.
    #[arg(long, env = "FERRY_HOME", value_name = "DIR", default_value = ".ferry")]
    home: PathBuf,
    /// Print the list of shown images as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PreviewArgs) -> anyhow::Result<ExitCode> {
    let planned = Planned::ask(&args.sweep, &args.job, &args.home)?;
    let (spec, pack) = planned.network_job()?;
    let pack = Pack::open(pack)?;
    let Preview { sheet, shown } = preview(&pack, &spec, args.epoch, usize::from(args.samples))?;
    let mut picture = Cursor::new(Vec::new());
    sheet.write_to(&mut picture, image::ImageFormat::Png)?;
    write(&args.out, picture.get_ref())?;
    if args.json {
        let images: Vec<_> =
            shown.iter().map(|(id, class)| json!({ "image": id, "class": column(*class) })).collect();
        let facts = json!({ "job": planned.id, "sheet": args.out, "images": images });
        stdio::print_line(&format!("{facts:#}"))?;
    } else {
        let images = (1..).zip(&shown);
        let mut lines: Vec<String> =
            images.map(|(number, (id, class))| format!("{number:>4}  {:<10} {id}", class.name())).collect();
        lines.push(format!("job {}, epoch {}: {}", planned.id, args.epoch, args.out.display()));
        stdio::print_line(&lines.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
