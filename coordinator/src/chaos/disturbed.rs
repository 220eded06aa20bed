//! The disturbed run: real processes in a folder of their own, a play on them, and what their books say afterwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use shared::bus::{Bucket, Bus};
use shared::ids::JobId;
use shared::result::{BlobRef, JobResult};
use tokio::time::Instant;

use super::actor::{Actor, Recipe};
use super::audit::{Output, Page};
use super::disk::{self, Disk};
use super::observer::Observer;
use super::proxy::Proxy;
use super::stage::{Seat, Stage};
use crate::broker::{self, Broker};
use crate::fleet;
use crate::home::Home;

/// Folders of one disturbed run.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    /// An empty folder `root`; what an earlier run of the same seed left there is gone.
    pub(super) fn make(root: PathBuf) -> std::io::Result<Self> {
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        std::fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Starts server, coordinator and workers. The coordinator uses the server as one that is given to it, and each worker
/// reaches it through a proxy of its own, with nothing but its address and token.
pub(super) async fn set_up(
    place: &Place,
    sweep: &Path,
    workers: usize,
    jobs: usize,
    start: Instant,
) -> anyhow::Result<Stage> {
    let server = Home::new(place.root.join("server"));
    let store = server.broker_dir()?.join("store");
    let disk = if disk::can_mount() { Some(Disk::mount(&store, jobs)?) } else { None };
    let broker = Broker::start(&server).await?;
    let endpoint = broker.endpoint()?;
    let bus = broker::connect(&endpoint, "ferry-chaos").await?;
    let observer = Observer::start(bus.clone(), start);
    let token = endpoint.token().map(str::to_owned);
    let logs = place.root.join("logs");
    std::fs::create_dir_all(&logs)?;
    let mut coordinator = Actor::new(Recipe {
        program: std::env::current_exe()?,
        args: coordinator_args(place, sweep, endpoint.url()),
        token: token.clone(),
        log: logs.join("coordinator.log"),
    });
    coordinator.start().await?;
    let program = fleet::worker_program()?;
    let mut seats = Vec::new();
    for index in 0..workers {
        let name = format!("w{index}");
        let link = Proxy::start(broker.port()).await?;
        let cache = place.root.join("workers").join(&name);
        let mut worker = Actor::new(Recipe {
            program: program.clone(),
            args: worker_args(&name, link.port(), &cache),
            token: token.clone(),
            log: logs.join(format!("{name}.log")),
        });
        worker.start().await?;
        seats.push(Seat { name, worker, link, busy: false });
    }
    let damaged = Vec::new();
    let (server_busy, coordinator_busy) = (false, false);
    Ok(Stage { broker, coordinator, seats, disk, bus, observer, server_busy, coordinator_busy, damaged })
}

fn coordinator_args(place: &Place, sweep: &Path, url: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["run".into(), sweep.into(), "--nats".into(), url.into()];
    args.extend(["--home".into(), place.root.join("home").into(), "--out".into(), place.runs().into()]);
    args.extend(["--workers", "0", "--models", "none", "--json"].map(OsString::from));
    args
}

fn worker_args(name: &str, port: u16, cache: &Path) -> Vec<OsString> {
    let url = format!("nats://127.0.0.1:{port}");
    let mut args: Vec<OsString> = ["--name", name, "--device", "cpu", "--nats", &url].map(Into::into).into();
    args.extend(["--cache".into(), cache.into()]);
    args
}

/// What the books, the store and the run folder hold of every job that is expected or known.
pub(super) async fn read_books(
    bus: &Bus,
    jobs: impl Iterator<Item = JobId>,
    mut stored: BTreeMap<JobId, Output>,
) -> anyhow::Result<BTreeMap<JobId, Page>> {
    let mut pages = BTreeMap::new();
    for job in jobs {
        let record = bus.record(job).await?.map(|entry| entry.record);
        let result = match bus.result(job).await {
            Ok(result) => Some(result),
            Err(shared::bus::BusError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let damaged = match &result {
            Some(result) => unreadable(bus, result).await,
            None => None,
        };
        pages.insert(job, Page { record, result, damaged, stored: stored.remove(&job) });
    }
    Ok(pages)
}

/// Why a blob of this result cannot be had whole, if one cannot.
async fn unreadable(bus: &Bus, result: &JobResult) -> Option<String> {
    let test = result.test.as_ref().map(|test| &test.probabilities);
    let blobs: Vec<&BlobRef> =
        [&result.validation.probabilities, &result.model].into_iter().chain(test).collect();
    for blob in blobs {
        if let Err(error) = bus.get_blob(Bucket::Results, blob).await {
            return Some(error.to_string());
        }
    }
    None
}

/// What a person needs who looks into a sweep that did not end: open records, and the end of every log.
pub(super) fn dump(stage: &Stage) -> String {
    let mut newest = BTreeMap::new();
    for sighting in stage.observer.sightings() {
        newest.insert(sighting.job, sighting);
    }
    let open = newest.values().filter(|sighting| !sighting.record.state.is_final());
    let mut lines: Vec<String> = open
        .map(|sighting| {
            let at = sighting.at.as_secs();
            format!("job {} since {at} s: {}", sighting.job, sighting.record.state.describe())
        })
        .collect();
    let logs = stage.seats.iter().map(|seat| seat.worker.log()).chain([stage.coordinator.log()]);
    for log in logs {
        lines.push(format!("--- the end of {}\n{}", log.display(), broker::tail(log, 8)));
    }
    lines.join("\n")
}

/// Ends every process; the server last and in good order.
pub(super) async fn tear_down(stage: Stage) {
    let Stage { broker, mut coordinator, mut seats, bus, observer, .. } = stage;
    for actor in seats.iter_mut().map(|seat| &mut seat.worker).chain([&mut coordinator]) {
        if let Err(error) = actor.kill().await {
            tracing::warn!(%error, "a process could not be ended");
        }
    }
    drop((observer, bus)); // Else the end of their server is news to them.
    broker.stop().await;
}
