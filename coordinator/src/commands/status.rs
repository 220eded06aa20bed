//! `ferry status`: where the sweeps of a home or a server stand.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::bus::BusError;
use shared::protocol::Presence;

use super::access::{Access, BooksArgs};
use super::failure::Failure;
use crate::service::{SweepStatus, read_status};

/// Shows where the sweeps stand.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferry status\n  ferry status --nats nats://head:4222 --json\n  \
    ferry status --nats tls://head:4222 --creds observer.creds")]
pub struct StatusArgs {
    #[command(flatten)]
    pub books: BooksArgs,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Shows it.
pub fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    show(args).map_err(|error| {
        let wrong_server = error.downcast_ref::<BusError>().is_some_and(BusError::is_bad_input);
        if wrong_server { Failure::Input(error) } else { Failure::Work(error) }
    })
}

fn show(args: &StatusArgs) -> anyhow::Result<ExitCode> {
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
    let Some(access) = Access::open(&args.books, "ferry-status").await? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let status = read_status(&access.bus).await;
    access.close().await;
    status
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
