//! `ferry-worker preview`: both views of some training images of one job, as a picture.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use shared::ids::JobId;
use shared::job::JobSpec;
use shared::pack::Pack;
use shared::predicted::column;

use super::output::write_whole;
use crate::preview::{Preview, preview};

/// Options of `ferry-worker preview`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry-worker preview experiments/demo.yaml --job 1f3a -o sheet.png\n\n\
    Each pair is one training image: left the emotion view after basic augmentation, right the appearance view with\n\
    its landmarks. Mixing comes later, on whole batches. `ferry plan SWEEP --all` names the jobs.")]
pub struct PreviewArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// The job's id, or as much of its beginning as no other job has.
    #[arg(long, value_name = "ID")]
    job: String,
    /// The picture to write.
    #[arg(short, long, value_name = "PNG")]
    out: PathBuf,
    /// Number of images.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    samples: u16,
    /// The epoch whose first images are drawn; every epoch draws anew.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    epoch: u32,
    /// State directory, in which synthetic datasets lie.
    #[arg(long, env = "FERRY_HOME", value_name = "DIR", default_value = ".ferry")]
    home: PathBuf,
    /// Print what is shown as JSON.
    #[arg(long)]
    json: bool,
}

/// What `ferry plan --spec` says of a job.
#[derive(Debug, Deserialize)]
struct Planned {
    id: JobId,
    spec: JobSpec,
    pack: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the list of images is this verb's output")]
pub(super) fn run(args: &PreviewArgs) -> anyhow::Result<ExitCode> {
    let planned = plan(args)?;
    let pack = Pack::open(&planned.pack)?;
    let Preview { sheet, shown } = preview(&pack, &planned.spec, args.epoch, usize::from(args.samples))?;
    let mut picture = Cursor::new(Vec::new());
    sheet.write_to(&mut picture, image::ImageFormat::Png)?;
    write_whole(&args.out, picture.get_ref())?;
    if args.json {
        let images: Vec<_> =
            shown.iter().map(|(id, class)| json!({ "image": id, "class": column(*class) })).collect();
        println!("{:#}", json!({ "job": planned.id, "sheet": args.out, "images": images }));
    } else {
        for (number, (id, class)) in (1..).zip(&shown) {
            println!("{number:>4}  {:<10} {id}", class.name());
        }
        println!("job {}, epoch {}: {}", planned.id, args.epoch, args.out.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks `ferry`, which alone reads sweep files.
fn plan(args: &PreviewArgs) -> anyhow::Result<Planned> {
    let ferry = ferry()?;
    let output = Command::new(&ferry)
        .arg("plan")
        .arg(&args.sweep)
        .arg("--home")
        .arg(&args.home)
        .args(["--spec", &args.job])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} cannot be started", ferry.display()))?;
    ensure!(output.status.success(), "`ferry plan` did not give the job (see above)");
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("{} speaks of jobs in another way: use the `ferry` built with this program", ferry.display())
    })
}

/// The program `ferry`: beside this one, else on the PATH.
fn ferry() -> anyhow::Result<PathBuf> {
    let beside =
        std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(beside.clone()).chain(std::env::split_paths(&path));
    match places.find_map(|folder| Some(folder.join("ferry")).filter(|program| program.is_file())) {
        Some(program) => Ok(program),
        None => bail!(
            "there is no `ferry`, which reads the sweep file, beside {} or on the PATH: build it with `make build`",
            beside.display()
        ),
    }
}
