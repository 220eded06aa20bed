//! `ferry status`: where the sweeps of a home or a server stand.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::bus::{Bus, Endpoint};
use shared::protocol::Presence;

use crate::broker::{self, Broker};
use crate::home::{self, Home, HomeError};
use crate::service::{SweepStatus, read_status};

/// Shows where the sweeps stand.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry status\n  ferry status --nats nats://head:4222 --json")]
pub struct StatusArgs {
    /// State directory to look into.
    #[arg(long, env = "FERRY_HOME", default_value = home::DEFAULT)]
    pub home: PathBuf,
    /// Look at this NATS server instead.
    #[arg(long, env = "FERRY_NATS", value_name = "URL")]
    pub nats: Option<String>,
    /// Access token of that server, when it is not in the URL.
    #[arg(long, env = "FERRY_TOKEN", hide_env_values = true, requires = "nats")]
    pub token: Option<String>,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Shows it.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sweeps, workers) = runtime.block_on(read(args))?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", json!({ "sweeps": sweeps, "workers": workers }))?;
    } else {
        write!(stdout, "{}", text(&sweeps, &workers))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(args: &StatusArgs) -> anyhow::Result<(Vec<SweepStatus>, Vec<Presence>)> {
    if let Some(url) = &args.nats {
        let bus = Bus::connect(&Endpoint::parse(url, args.token.clone())?, "ferry-status").await?;
        return read_status(&bus).await;
    }
    let home = Home::new(&args.home);
    if home.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    match home.lock() {
        // Nothing runs: its server is started for a moment to read the books.
        Ok(_lock) => {
            let broker = Broker::start(&home).await?;
            let bus = broker::connect(&broker.endpoint()?, "ferry-status").await?;
            let status = read_status(&bus).await;
            drop(bus); // Else the end of its server is news to it.
            broker.stop().await;
            status
        }
        Err(HomeError::Locked { .. }) => {
            let endpoint = home.endpoint().ok_or_else(|| {
                anyhow::anyhow!(
                    "a ferry runs on {} with a server given by --nats: ask that one",
                    home.root().display()
                )
            })?;
            read_status(&Bus::connect(&endpoint, "ferry-status").await?).await
        }
        Err(error) => Err(error.into()),
    }
}

fn text(sweeps: &[SweepStatus], workers: &[Presence]) -> String {
    if sweeps.is_empty() {
        return "no sweep has run here yet\n".to_owned();
    }
    let mut lines = Vec::new();
    for sweep in sweeps {
        let count = |state| sweep.jobs.iter().filter(|job| job.state == state).count();
        lines.push(format!(
            "{}: {} done, {} running, {} pending, {} failed",
            sweep.name,
            count("done"),
            count("running"),
            count("pending"),
            count("failed")
        ));
        let width = sweep.jobs.iter().map(|job| job.label.chars().count()).max().unwrap_or(0);
        for job in &sweep.jobs {
            let f1 = job.macro_f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.1}"));
            let worker = job.worker.as_deref().unwrap_or("");
            let (label, state, epoch, epochs) = (&job.label, job.state, job.epoch, job.epochs);
            lines.push(format!(
                "  {label:width$}  {state:7}  epoch {epoch:>3}/{epochs:<3}  F1 {f1:>5}  {worker}"
            ));
            lines.extend(job.error.iter().map(|error| format!("      {error}")));
        }
    }
    lines.push(format!("{} workers", workers.len()));
    for worker in workers {
        let job = worker.job.map_or_else(|| "idle".to_owned(), |job| format!("trains {}", job.short()));
        lines.push(format!("  {} on {}, {}: {job}", worker.worker.name(), worker.host, worker.device));
    }
    lines.join("\n") + "\n"
}
