//! `ferry-worker retrain`: what `ferry verify` starts. It trains a part of a job again and prints one JSON object a line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shared::bus::{Bus, BusError, Credential, Endpoint};
use shared::causes::in_words;
use shared::exit::Exit;
use shared::retraining::{Fault, REQUEST, RetrainedResult, Retraining, RetrainingEvent, matrix_name};
use shared::stdio;
use shared::version::Versions;

use super::output;
use crate::agent::{FinishedWork, PackStore, Retrainer, WeightsStore, user_cache};
use crate::device::DeviceChoice;
use crate::{device, native, trainers};

/// Options of `ferry-worker retrain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ferry verify runs/demo 3f2a9c41\n\n\
    `ferry verify` starts this command with what it has found out about the job.")]
pub struct RetrainArgs {
    /// A folder with the request; predictions are written into it.
    folder: PathBuf,
    /// The server that may have the job's checkpoint, dataset and weights.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Access token of that server.
    #[arg(long, env = "FERRY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Credential for that server.
    #[arg(long, env = "FERRY_CREDS", value_name = "FILE", conflicts_with = "token")]
    creds: Option<PathBuf>,
    /// Where to train: auto (a GPU if there is one), cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// A pack on this machine, or a folder of packs and weights.
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// Directory for downloaded datasets.
    #[arg(long, env = "FERRY_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Why it cannot begin, or did not get to its end.
#[derive(Debug)]
struct Failure {
    error: String,
    fault: Fault,
}

impl Failure {
    fn input(error: &anyhow::Error) -> Self {
        Self { error: in_words(error.as_ref()), fault: Fault::Input }
    }
}

/// Runs the command. What went wrong is its last line.
pub(super) fn run(args: &RetrainArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let (event, exit) = match runtime.block_on(retrain(args)) {
        Ok(result) => (RetrainingEvent::Ended { result }, Exit::Done),
        Err(Failure { error, fault: fault @ Fault::Input }) => {
            (RetrainingEvent::Failed { error, fault }, Exit::BadInput)
        }
        Err(Failure { error, fault: fault @ Fault::Work }) => {
            (RetrainingEvent::Failed { error, fault }, Exit::Failed)
        }
    };
    tell(&event);
    // A training that was abandoned may still compute.
    native::exit(exit.code());
}

async fn retrain(args: &RetrainArgs) -> Result<Option<RetrainedResult>, Failure> {
    let retraining = request(&args.folder).map_err(|error| Failure::input(&error))?;
    let device = device::choose(args.device).map_err(|error| Failure::input(&error.into()))?;
    let bus = bus(args).await.map_err(|error| {
        let fault = if error.is_bad_input() { Fault::Input } else { Fault::Work };
        Failure { error: error.to_string(), fault }
    })?;
    let cache = args.cache.clone().unwrap_or_else(user_cache);
    let retrainer = Retrainer {
        bus,
        host: device::host(),
        trainers: trainers::all(device),
        packs: PackStore::new(args.data.clone(), &cache),
        weights: WeightsStore::new(args.data.clone(), &cache),
    };
    let work = retrainer.retrain(&retraining, |event| tell(&event)).await;
    match work.map_err(|error| Failure { error: error.to_string(), fault: error.fault() })? {
        Some(work) => {
            let error =
                |error: anyhow::Error| Failure { error: in_words(error.as_ref()), fault: Fault::Work };
            Ok(Some(kept(*work, &args.folder).map_err(error)?))
        }
        None => Ok(None),
    }
}

fn request(folder: &Path) -> anyhow::Result<Retraining> {
    let path = folder.join(REQUEST);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Versions::up_to(Retraining::VERSION).decode(&bytes).with_context(|| path.display().to_string())
}

async fn bus(args: &RetrainArgs) -> Result<Option<Bus>, BusError> {
    let Some(url) = &args.nats else { return Ok(None) };
    let credential = args.creds.as_deref().map(Credential::read).transpose()?;
    let endpoint = Endpoint::parse(url, args.token.clone())?.with_credential(credential);
    Ok(Some(Bus::connect(&endpoint, "ferry-verify").await?))
}

/// Writes the predictions into the folder, where the other program compares them.
fn kept(FinishedWork { result, blobs }: FinishedWork, folder: &Path) -> anyhow::Result<RetrainedResult> {
    for (name, predictions) in &result.predictions {
        let bytes = blobs.iter().find(|(blob, _)| *blob == predictions.probabilities).map(|(_, bytes)| bytes);
        let bytes = bytes.with_context(|| format!("the predictions `{name}` are not in the result"))?;
        output::write(&folder.join(matrix_name(name)), bytes)?;
    }
    let predictions = result.predictions.into_keys().collect();
    Ok(RetrainedResult { metrics: result.metrics, predictions })
}

/// If nobody reads it, nobody waits for this process either.
fn tell(event: &RetrainingEvent) {
    let line = serde_json::to_string(event);
    let line = line.unwrap_or_else(|error| unreachable!("an event is plain data: {error}"));
    if stdio::print_line(&line).is_err() {
        native::exit(Exit::Failed.code());
    }
}
