//! `ferry status`: where the sweeps of a home or a server stand.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use shared::books::{Standing, charges_in_words};
use shared::bus::BusError;
use shared::protocol::Readiness;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::failure::Failure;
use crate::service::{JobStatus, Status, SweepStatus, read_status};

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
    let status = runtime.block_on(read(args))?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let Status { sweeps, workers, standings, store } = &status;
        let all = json!({ "sweeps": sweeps, "workers": workers, "standings": standings, "store": store });
        writeln!(stdout, "{all}")?;
    } else {
        write!(stdout, "{}", plain(&text(&status)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(args: &StatusArgs) -> anyhow::Result<Status> {
    let Some(access) = Access::open(&args.books, "ferry-status").await? else {
        return Ok(Status::default());
    };
    let status = read_status(&access.bus).await;
    access.close().await;
    status
}

fn text(status: &Status) -> String {
    if status.sweeps.is_empty() {
        return "no sweep has run here yet\n".to_owned();
    }
    let mut lines: Vec<String> = status.sweeps.iter().flat_map(sweep).collect();
    lines.push(format!("{} workers", status.workers.len()));
    for worker in &status.workers {
        let (name, host, device) = (worker.worker.name(), &worker.host, &worker.device);
        lines.push(match (worker.readiness, worker.job) {
            (Readiness::Starting, _) => format!("  {name} on {host}: starting"),
            (Readiness::Ready, None) => format!("  {name} on {host}, {device}: idle"),
            (Readiness::Ready, Some(job)) => format!("  {name} on {host}, {device}: trains {}", job.short()),
        });
    }
    for record in &status.standings {
        let why = match &record.standing {
            Standing::Trusted => continue,
            Standing::Probation { charges } => format!("on probation: {}", charges_in_words(charges)),
            out @ (Standing::Drained { .. } | Standing::Unfit { .. }) => {
                format!("drained: {}", out.refusal().unwrap_or_default())
            }
        };
        lines.push(format!("  {} is {why}", record.name));
    }
    lines.push("store".to_owned());
    lines.extend(status.store.iter().map(|bucket| {
        let (objects, uploads) = (bucket.objects, bucket.uploads);
        let dead = if uploads > 0 { format!(", {uploads} unfinished uploads") } else { String::new() };
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let (live, all) = (megabytes(bucket.live_bytes), megabytes(bucket.bytes));
        format!("  {:18} {live:>8.1} MB in {objects} blobs, {all:.1} MB on the server{dead}", bucket.bucket)
    }));
    lines.join("\n") + "\n"
}

fn sweep(sweep: &SweepStatus) -> Vec<String> {
    let count = |state: &str| sweep.jobs.iter().filter(|job| job.state == state).count();
    let states = ["done", "running", "pending", "failed"];
    let counts: Vec<String> = states.iter().map(|state| format!("{} {state}", count(state))).collect();
    let mut lines = vec![format!("{}: {}", sweep.name, counts.join(", "))];
    let width = sweep.jobs.iter().map(|job| job.label.chars().count()).max().unwrap_or(0);
    for job in &sweep.jobs {
        let f1 = job.macro_f1.map_or_else(|| "-".to_owned(), |f1| format!("{f1:.1}"));
        let worker = job.worker.as_deref().unwrap_or("");
        let (label, state, epoch, epochs) = (&job.label, job.state, job.epoch, job.epochs);
        let troubles = troubles(job);
        lines.push(format!(
            "  {label:width$}  {state:7}  epoch {epoch:>3}/{epochs:<3}  F1 {f1:>5}  {worker}{troubles}"
        ));
        lines.extend(job.error.iter().map(|error| format!("      {error}")));
        if job.error.is_some() {
            lines.extend(job.log.iter().map(|line| format!("      | {line}")));
        }
        lines.extend(job.reproduce.iter().map(|command| format!("      see it fail: {command}")));
    }
    lines
}

/// What went wrong so far, each kind by itself: errors of the training use up its tries, the others do not.
fn troubles(job: &JobStatus) -> String {
    let kinds = [
        (job.failures, "failed"),
        (job.losses as usize, "worker lost"),
        (job.setbacks as usize, "set back by server, network or disk"),
    ];
    let told: Vec<String> = kinds
        .iter()
        .filter(|(times, _)| *times > 0)
        .map(|(times, what)| format!("{what} {times}×"))
        .collect();
    if told.is_empty() { String::new() } else { format!("  ({})", told.join(", ")) }
}
