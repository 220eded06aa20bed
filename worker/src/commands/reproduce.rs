//! `ferry-worker reproduce`: one job of a sweep, trained here without a server, to see why it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use shared::mtl::MtlSpec;
use shared::pack::Pack;
use shared::stdio;
use shared::weights::Slot;

use super::planned::Planned;
use crate::device;
use crate::device::DeviceChoice;
use crate::train::{Control, TaskOutcome, TrainEvent, TrainTask, train_from};

/// Options of `ferry-worker reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "Example, for a job that failed in a sweep:\n  \
    ferry-worker reproduce experiments/demo.yaml --job 1f3a2b4c\n\n\
    The job is trained as on a worker, from the start, and nothing is stored. Exit codes: 0 the job did not fail here, \
    1 it failed, 2 it could not start.")]
pub struct ReproduceArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// The job's id, or a prefix of it that no other job has.
    #[arg(long, value_name = "ID")]
    job: String,
    /// Where to train: auto (a GPU if there is one), cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// State directory, which contains the synthetic datasets.
    #[arg(long, env = "FERRY_HOME", value_name = "DIR", default_value = ".ferry")]
    home: PathBuf,
    /// Print one JSON object at the end, instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let planned = Planned::ask(&args.sweep, &args.job, &args.home)?;
    let (spec, pack) = planned.network_job()?;
    let pack = Pack::open(pack)?;
    pack.verify()?;
    let weights = weights(&planned, &spec)?;
    let device = device::choose(args.device)?;
    let task = TrainTask { spec: &spec, pack: &pack, device, resume: None };
    let mut last = None;
    let mut printed = Ok(());
    let mut sink = |event: TrainEvent| {
        let line = match event {
            TrainEvent::Step { epoch, step, steps, loss } => {
                last = Some((epoch, step, steps, loss));
                None
            }
            TrainEvent::Epoch { report, .. } => {
                Some(format!("epoch {}: F1 {:.2}", report.epoch, report.validation.macro_f1))
            }
            TrainEvent::OutOfMemory { epoch, step, micro_batches } => Some(format!(
                "epoch {epoch}, step {step}: out of memory; splitting each batch into {micro_batches}"
            )),
            TrainEvent::Checkpoint { .. } => None,
        };
        if let Some(line) = line.filter(|_| !args.json) {
            printed = stdio::print_line(&line);
        }
        if printed.is_ok() { Control::Continue } else { Control::Stop }
    };
    let outcome = train_from(&task, &weights, &mut sink);
    printed?;
    let error = match &outcome {
        Ok(TaskOutcome::Finished(_) | TaskOutcome::Stopped) => None,
        Err(error) => Some(error.to_string()),
    };
    let job = planned.id;
    if args.json {
        let step = last.map(|(epoch, step, ..)| json!({ "epoch": epoch, "step": step }));
        let facts = json!({ "job": job, "device": device::name(device), "last_step": step, "error": error });
        stdio::print_line(&facts.to_string())?;
    } else {
        if let Some((epoch, step, steps, loss)) = last.filter(|_| error.is_some()) {
            stdio::print_line(&format!("last step: epoch {epoch}, step {step} of {steps}, loss {loss}"))?;
        }
        stdio::print_line(&match &error {
            Some(error) => format!("job {job} FAILED on {}: {error}", device::name(device)),
            None => format!("job {job} did not fail on {}", device::name(device)),
        })?;
    }
    Ok(if error.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The weights files from which the job starts.
fn weights(planned: &Planned, spec: &MtlSpec) -> anyhow::Result<BTreeMap<Slot, Bytes>> {
    let mut files = BTreeMap::new();
    for (slot, digest) in spec.transfer.digests() {
        let place = planned.weights.iter().find(|place| place.digest == digest);
        let place =
            place.with_context(|| format!("the sweep names no weights file with digest sha256:{digest}"))?;
        let bytes = std::fs::read(&place.path).with_context(|| place.path.display().to_string())?;
        files.insert(slot, bytes.into());
    }
    Ok(files)
}
