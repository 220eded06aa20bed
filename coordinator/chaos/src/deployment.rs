//! The processes that faults are injected into: a server, a coordinator, and workers, in a folder of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use orchestrator::broker::{self, Broker};
use orchestrator::fleet;
use orchestrator::home::Home;
use shared::bus::Bus;
use tokio::time::Instant;

use super::audit::Damaged;
use super::disk::{self, Disk};
use super::observer::Observer;
use super::process::{Launch, Process};
use super::proxy::Proxy;

/// The folder of one run with faults.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the empty folder `root`. What an earlier run of the same seed left there is removed.
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

/// A worker and its connection to the server.
#[derive(Debug)]
pub(super) struct Worker {
    pub name: String,
    pub process: Process,
    pub link: Proxy,
    /// True while a fault is in effect here, so that another one has to wait or hit the next worker.
    pub busy: bool,
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Deployment {
    pub broker: Broker,
    pub coordinator: Process,
    pub workers: Vec<Worker>,
    pub disk: Option<Disk>,
    /// Connected directly, not through a proxy.
    pub bus: Bus,
    pub observer: Observer,
    /// True while the server is down or its disk is full.
    pub server_busy: bool,
    pub coordinator_busy: bool,
    pub damaged: Vec<Damaged>,
}

impl Deployment {
    /// Starts server, coordinator and workers. The coordinator uses the server as one that it did not start. Each
    /// worker reaches the server through its own proxy, and only knows its address and token.
    pub(super) async fn start(
        folder: &Folder,
        sweep: &Path,
        workers: usize,
        jobs: usize,
        start: Instant,
    ) -> anyhow::Result<Self> {
        let server = Home::new(folder.root.join("server"));
        let store = server.broker_dir()?.join("store");
        let disk = if disk::can_mount() { Some(Disk::mount(&store, jobs)?) } else { None };
        let broker = Broker::start(&server).await?;
        let endpoint = broker.endpoint()?;
        let bus = broker::connect(&endpoint, "ferry-chaos").await?;
        let observer = Observer::start(bus.clone(), start);
        let token = endpoint.token().map(str::to_owned);
        let logs = folder.root.join("logs");
        std::fs::create_dir_all(&logs)?;
        let mut coordinator = Process::new(Launch {
            program: std::env::current_exe()?,
            args: coordinator_args(folder, sweep, endpoint.url()),
            token: token.clone(),
            log: logs.join("coordinator.log"),
        });
        coordinator.start().await?;
        let program = fleet::worker_program()?;
        let mut started = Vec::new();
        for index in 0..workers {
            let name = format!("w{index}");
            let link = Proxy::start(broker.port()).await?;
            let cache = folder.root.join("workers").join(&name);
            let mut process = Process::new(Launch {
                program: program.clone(),
                args: worker_args(&name, link.port(), &cache),
                token: token.clone(),
                log: logs.join(format!("{name}.log")),
            });
            process.start().await?;
            started.push(Worker { name, process, link, busy: false });
        }
        Ok(Self {
            broker,
            coordinator,
            workers: started,
            disk,
            bus,
            observer,
            server_busy: false,
            coordinator_busy: false,
            damaged: Vec::new(),
        })
    }

    /// Ends every process; the server last, with a clean shutdown.
    pub(super) async fn stop(self) {
        let Self { broker, mut coordinator, mut workers, bus, observer, .. } = self;
        for process in workers.iter_mut().map(|worker| &mut worker.process).chain([&mut coordinator]) {
            if let Err(error) = process.kill().await {
                tracing::warn!(%error, "a process could not be ended");
            }
        }
        drop((observer, bus)); // Otherwise they would report the server's end as a lost connection.
        broker.stop().await;
    }

    /// The open jobs and the end of every log, to find out why a sweep did not end.
    pub(super) fn dump(&self) -> String {
        let mut newest = BTreeMap::new();
        for observation in self.observer.observations() {
            newest.insert(observation.job, observation);
        }
        let open = newest.values().filter(|observation| !observation.record.state.is_final());
        let mut lines: Vec<String> = open
            .map(|observation| {
                let at = observation.at.as_secs();
                format!("job {} since {at} s: {}", observation.job, observation.record.state.describe())
            })
            .collect();
        let logs = self.workers.iter().map(|worker| worker.process.log()).chain([self.coordinator.log()]);
        for log in logs {
            lines.push(format!("--- the end of {}\n{}", log.display(), broker::tail(log, 8)));
        }
        lines.join("\n")
    }
}

fn coordinator_args(folder: &Folder, sweep: &Path, url: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["run".into(), sweep.into(), "--nats".into(), url.into()];
    args.extend(["--home".into(), folder.root.join("home").into(), "--out".into(), folder.runs().into()]);
    args.extend(["--workers", "0", "--models", "none", "--json"].map(OsString::from));
    args
}

fn worker_args(name: &str, port: u16, cache: &Path) -> Vec<OsString> {
    let url = format!("nats://127.0.0.1:{port}");
    let mut args: Vec<OsString> = ["--name", name, "--device", "cpu", "--nats", &url].map(Into::into).into();
    args.extend(["--cache".into(), cache.into()]);
    args
}
