//! How fast `ferry data import` is and how much memory it takes; with `--kill`, also that a killed import ends in the
//! same pack. Run through `scripts/bench-import`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use image::codecs::jpeg::JpegEncoder;
use orchestrator::data::synth::synthesize;
use orchestrator::sweep::plan::SyntheticOptions;
use rayon::prelude::*;
use shared::expression::Expression;
use shared::pack::{Pack, Split};

const FERRY: &str = env!("CARGO_BIN_EXE_ferry");
const TRAIN: &str = "training_set_synthetic_images";
/// Faces that are drawn; every image is one of them with noise of its own.
const FACES: u32 = 240;

/// Makes a folder of JPEG files, imports it and reports images per second and peak memory.
#[derive(Debug, Parser)]
struct Options {
    /// Number of images.
    #[arg(long, default_value_t = 50_000)]
    images: u32,
    /// Height and width of the files and of the pack, in pixels.
    #[arg(long, default_value_t = 112)]
    size: u32,
    /// Also kill an import in the middle, run it again and compare the digests.
    #[arg(long)]
    kill: bool,
    /// Where to work; needs room for the files and up to two packs [default: the temporary folder].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]
fn measure(options: &Options) -> anyhow::Result<()> {
    let mut place = tempfile::Builder::new();
    place.prefix("bench-import-");
    let root = match &options.dir {
        Some(dir) => place.tempdir_in(dir),
        None => place.tempdir(),
    }?;
    let source = root.path().join("source");
    let start = Instant::now();
    let bytes = make_images(options, &root.path().join("faces"), &source)?;
    println!(
        "made {} JPEG files of {} x {}, {:.0} MB, in {:.0} s",
        options.images,
        options.size,
        options.size,
        bytes as f64 / 1e6,
        start.elapsed().as_secs_f64()
    );
    let whole = root.path().join("whole");
    let (time, peak) = import(options, &source, &whole)?;
    let rate = f64::from(options.images) / time.as_secs_f64();
    println!(
        "imported in {:.1} s: {rate:.0} images per second, peak memory {peak} MB, {} cores",
        time.as_secs_f64(),
        std::thread::available_parallelism()?
    );
    if options.kill {
        let killed = root.path().join("killed");
        kill_midway(options, &source, &killed)?;
        let (time, peak) = import(options, &source, &killed)?;
        println!(
            "killed in the middle; the same command ended it in {:.1} s, peak memory {peak} MB",
            time.as_secs_f64()
        );
        let [whole, killed] = [Pack::open(&whole)?, Pack::open(&killed)?];
        killed.verify()?;
        ensure!(
            whole.digest() == killed.digest(),
            "the digests differ: {} and {}",
            whole.digest(),
            killed.digest()
        );
        println!("same digest: {}", whole.digest());
    }
    Ok(())
}

/// Writes the files in the challenge's layout, with landmarks; returns the bytes of the images.
fn make_images(options: &Options, faces: &Path, source: &Path) -> anyhow::Result<u64> {
    let drawn = SyntheticOptions {
        seed: 1,
        train: FACES,
        validation: 6,
        test: 6,
        image_size: options.size,
        imbalanced: false,
    };
    synthesize(faces, &drawn, &mut |_, _| {})?;
    let pack = Pack::open(faces)?;
    for expression in Expression::ALL {
        for root in [source.to_owned(), source.join("landmarks")] {
            fs::create_dir_all(root.join(TRAIN).join(expression.name().to_uppercase()))?;
        }
    }
    let sizes: Vec<u64> = (0..options.images)
        .into_par_iter()
        .map(|i| make_image(&pack, source, i))
        .collect::<Result<_, _>>()?;
    fs::remove_dir_all(faces)?;
    Ok(sizes.iter().sum())
}

fn make_image(pack: &Pack, source: &Path, i: u32) -> anyhow::Result<u64> {
    let face = (i % FACES) as usize;
    let mut state = u64::from(i).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let pixels: Vec<u8> = pack
        .image(Split::Train, face)
        .iter()
        .map(|&v| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            v.saturating_add((state % 12) as u8)
        })
        .collect();
    let mut jpeg = Vec::new();
    let size = pack.image_size();
    JpegEncoder::new_with_quality(&mut jpeg, 90).encode(
        &pixels,
        size,
        size,
        image::ExtendedColorType::Rgb8,
    )?;
    let label = pack.labels(Split::Train)[face].context("a drawn face has a label")?;
    let class = Expression::from_index(label.into()).context("a label is a class")?.name().to_uppercase();
    let points = pack.landmarks(Split::Train, face).context("a drawn face has landmarks")?;
    let lines: Vec<String> = points.iter().map(|[x, y]| format!("{x:.18e} {y:.18e}\n")).collect();
    fs::write(source.join(TRAIN).join(&class).join(format!("{i}.jpg")), &jpeg)?;
    fs::write(source.join("landmarks").join(TRAIN).join(&class).join(format!("{i}.txt")), lines.concat())?;
    Ok(jpeg.len() as u64)
}

fn command(options: &Options, source: &Path, dir: &Path) -> Command {
    let mut command = Command::new(FERRY);
    command.args(["data", "import", "--size", &options.size.to_string()]).arg(source).arg(dir);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Imports to the end; returns the time and the peak of resident memory in MB, as the kernel last had it.
fn import(options: &Options, source: &Path, dir: &Path) -> anyhow::Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = command(options, source, dir).spawn()?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let told = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
    let mut peak = 0;
    for line in told {
        line?;
        peak = peak.max(high_water_mark(&status).unwrap_or_default());
    }
    ensure!(child.wait()?.success(), "the import failed");
    Ok((start.elapsed(), peak))
}

fn high_water_mark(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let kilobytes: u64 =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1000)
}

/// Kills an import when it says that half of the images are done.
fn kill_midway(options: &Options, source: &Path, dir: &Path) -> anyhow::Result<()> {
    let mut child = command(options, source, dir).spawn()?;
    let told = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
    for line in told {
        let line = line?;
        let done =
            line.strip_prefix("importing: ").and_then(|rest| rest.split('/').next()?.parse::<u32>().ok());
        if done.is_some_and(|done| done >= options.images / 2) {
            child.kill()?;
            break;
        }
    }
    child.wait()?;
    if dir.exists() {
        bail!("the import was done before it was killed; take more --images");
    }
    Ok(())
}
