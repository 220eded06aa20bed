//! `ferry-worker reproduce`: one job of a sweep, trained here without a server, to see how it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use shared::pack::Pack;
use shared::weights::Slot;

use super::planned::Planned;
use crate::cli::DeviceChoice;
use crate::device;
use crate::train::{Control, Outcome, TrainEvent, TrainTask, train_from};

/// Options of `ferry-worker reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "Example, for a job that failed in a sweep:\n  \
    ferry-worker reproduce experiments/demo.yaml --job 1f3a2b4c\n\n\
    The training is the worker's own, from fresh weights; nothing is stored. Exit codes: 0 it did not fail here, 1 it\n\
    failed, 2 it could not begin.")]
pub struct ReproduceArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// The job's id, or as much of its beginning as no other job has.
    #[arg(long, value_name = "ID")]
    job: String,
    /// Where to train: auto (a GPU where there is one), cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// State directory, in which synthetic datasets lie.
    #[arg(long, env = "FERRY_HOME", value_name = "DIR", default_value = ".ferry")]
    home: PathBuf,
    /// Print one JSON object at the end, instead of lines.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "how the training goes is this verb's output")]
pub(super) fn run(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let planned = Planned::ask(&args.sweep, &args.job, &args.home)?;
    let pack = Pack::open(&planned.pack)?;
    pack.verify()?;
    let weights = weights(&planned)?;
    let device = device::choose(args.device)?;
    let task = TrainTask { spec: &planned.spec, pack: &pack, device, resume: None };
    let mut last = None;
    let mut sink = |event: TrainEvent| {
        match event {
            TrainEvent::Step { epoch, step, steps, loss } => last = Some((epoch, step, steps, loss)),
            TrainEvent::Epoch { report, .. } if !args.json => {
                println!("epoch {}: F1 {:.2}", report.epoch, report.validation.macro_f1);
            }
            TrainEvent::OutOfMemory { epoch, step, micro_batches } if !args.json => {
                println!("epoch {epoch}, step {step}: out of memory; batches are cut into {micro_batches}");
            }
            TrainEvent::Epoch { .. } | TrainEvent::Checkpoint { .. } | TrainEvent::OutOfMemory { .. } => {}
        }
        Control::Continue
    };
    let outcome = train_from(&task, &weights, &mut sink);
    let error = match &outcome {
        Ok(Outcome::Finished(_) | Outcome::Stopped) => None,
        Err(error) => Some(error.to_string()),
    };
    let job = planned.id;
    if args.json {
        let step = last.map(|(epoch, step, ..)| json!({ "epoch": epoch, "step": step }));
        println!(
            "{}",
            json!({ "job": job, "device": device::name(device), "last_step": step, "error": error })
        );
    } else {
        if let Some((epoch, step, steps, loss)) = last.filter(|_| error.is_some()) {
            println!("last step: epoch {epoch}, step {step} of {steps}, loss {loss}");
        }
        match &error {
            Some(error) => println!("job {job} FAILED on {}: {error}", device::name(device)),
            None => println!("job {job} did not fail on {}", device::name(device)),
        }
    }
    Ok(if error.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The files of weights that the job starts from.
fn weights(planned: &Planned) -> anyhow::Result<BTreeMap<Slot, Bytes>> {
    let mut files = BTreeMap::new();
    for (slot, digest) in planned.spec.transfer.digests() {
        let place = planned.weights.iter().find(|place| place.digest == digest);
        let place =
            place.with_context(|| format!("the sweep names no file with the weights sha256:{digest}"))?;
        let bytes = std::fs::read(&place.path).with_context(|| place.path.display().to_string())?;
        files.insert(slot, bytes.into());
    }
    Ok(files)
}
