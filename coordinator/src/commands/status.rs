//! `ferry status`: the progress of all sweeps in a state directory or on a server.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::books::{Standing, incidents_in_words};
use shared::bus::Bus;
use shared::ids::JobId;
use shared::metrics::Goal;
use shared::plural::count;
use shared::protocol::Readiness;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use orchestrator::service::{
    BucketStatus, Chosen, EnsembleStatus, JobStatus, Status, SweepStatus, choose, interrupted, read_status,
    status_with,
};
use orchestrator::view::ensembles::standing;

/// Shows the progress of all sweeps in a state directory or on a server, even while they run: jobs, the scores of ensembles so
/// far, workers, store.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferry status\n  ferry status demo state=running augmentation=mixup --watch\n  \
    ferry status --nats nats://head:4222 --json\n  \
    ferry status --nats tls://head:4222 --creds observer.creds"
)]
pub(crate) struct StatusArgs {
    /// Only one sweep, or those of its jobs that meet conditions such as `augmentation=mixup`, or whose ids begin so.
    #[arg(value_name = "SWEEP|CONDITION|JOB")]
    words: Vec<String>,
    /// List the jobs of sweeps that are over, too.
    #[arg(long)]
    all: bool,
    /// Show it again every two seconds, until Ctrl-C or the end of the run in this state directory. Where nothing runs,
    /// nothing changes, and it is shown once.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Print one JSON object instead of text; with --watch, one in each line.
    #[arg(long)]
    pub json: bool,
}

/// The pause of `--watch`.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// Bad input when the server's address or credential cannot be used; failed work when it cannot be reached.
pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode, CommandError> {
    Ok(show(args)?)
}

fn show(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(access) = Access::open(&args.books, "ferry-status").await? else {
            print(args, &Status::default())?;
            return Ok(ExitCode::SUCCESS);
        };
        let outcome = if args.watch && !access.is_alone() {
            tokio::select! {
                outcome = watch(args, &access) => outcome,
                stopped = interrupted() => stopped.context("cannot wait for Ctrl-C"),
            }
        } else {
            read(args, &access.bus).await.and_then(|status| print(args, &status))
        };
        access.close().await;
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

/// Shows the status again and again, until the ferry ends whose home this is.
async fn watch(args: &StatusArgs, access: &Access) -> anyhow::Result<()> {
    let is_terminal = std::io::stdout().is_terminal() && !args.json;
    loop {
        let status = match read(args, &access.bus).await {
            Ok(status) => status,
            Err(_) if access.has_ended() => {
                stdio::remark(&format!("the ferry that ran in {} has ended", args.books.home.display()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if is_terminal {
            stdio::print(CLEARED)?;
        }
        print(args, &status)?;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Moves to the first line of a terminal and clears it.
const CLEARED: &str = "\x1b[H\x1b[2J";

fn print(args: &StatusArgs, status: &Status) -> anyhow::Result<()> {
    let text = if args.json {
        let Status { sweeps, workers, standings, drains, store } = status;
        let all = json!({
            "sweeps": sweeps, "workers": workers, "standings": standings, "drained": drains.workers, "store": store,
        });
        format!("{all}\n")
    } else if status.sweeps.is_empty() {
        format!("{}\n", args.books.no_sweep())
    } else {
        plain(&text(status, args.all || !args.words.is_empty()))
    };
    Ok(stdio::print(&text)?)
}

async fn read(args: &StatusArgs, bus: &Bus) -> anyhow::Result<Status> {
    if args.words.is_empty() { read_status(bus).await } else { chosen(args, bus).await }
}

/// Only what the words mean.
async fn chosen(args: &StatusArgs, bus: &Bus) -> anyhow::Result<Status> {
    let Chosen { mut status, jobs, .. } = choose(bus, &args.words).await?;
    let jobs: HashSet<JobId> = jobs.into_iter().collect();
    status.jobs.retain(|job| jobs.contains(&job.id));
    status_with(bus, vec![status]).await
}

/// The status in words; with `all`, also the jobs of sweeps that are over.
fn text(status: &Status, all: bool) -> String {
    let mut lines = Vec::new();
    for one in &status.sweeps {
        lines.push(summary(one));
        if one.left.jobs > 0 {
            lines.push(format!("  left to do: {}", one.left));
        }
        lines.extend(one.ensembles.iter().map(ensemble));
        if all || !one.is_over() {
            lines.extend(jobs(one));
        }
    }
    if !all && status.sweeps.iter().any(SweepStatus::is_over) {
        lines.push("(`ferry status NAME` lists the jobs of a sweep that is over)".to_owned());
    }
    lines.push(count(status.workers.len(), "worker"));
    for worker in &status.workers {
        let (known_as, host, device) = (worker.worker.name(), &worker.host, &worker.device);
        let does = match (worker.readiness, worker.job) {
            (Readiness::Starting, _) => format!("  {known_as} on {host}: starting"),
            (Readiness::Ready, None) => format!("  {known_as} on {host}, {device}: idle"),
            (Readiness::Ready, Some(job)) => {
                format!("  {known_as} on {host}, {device}: training {}", name(status, job))
            }
        };
        let drained = status.drains.of(known_as).map(|drain| format!(", drained by {}", drain.by));
        lines.push(does + &drained.unwrap_or_default());
    }
    for record in &status.standings {
        let why = match &record.standing {
            Standing::Trusted => continue,
            Standing::Probation { incidents } => format!("on probation: {}", incidents_in_words(incidents)),
            out @ (Standing::Drained { .. } | Standing::Unfit { .. }) => {
                format!("drained: {}", out.refusal().unwrap_or_default())
            }
        };
        lines.push(format!("  {} is {why}", record.name));
    }
    lines.push("store".to_owned());
    lines.extend(status.store.iter().map(store));
    lines.join("\n") + "\n"
}

/// A job's label and sweep, or its id if no sweep here has it.
fn name(status: &Status, job: JobId) -> String {
    let named = |sweep: &SweepStatus| {
        let job = sweep.jobs.iter().find(|one| one.id == job)?;
        Some(format!("{} of {}", job.label, sweep.name))
    };
    status.sweeps.iter().find_map(named).unwrap_or_else(|| job.short())
}

fn store(bucket: &BucketStatus) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let unfinished = match bucket.uploads {
        0 => String::new(),
        uploads => format!(", {}", count(uploads, "unfinished upload")),
    };
    format!(
        "  {:18} {:>8.1} MB in {}, {:.1} MB on the server{unfinished}",
        bucket.bucket,
        megabytes(bucket.live_bytes),
        count(bucket.objects, "blob"),
        megabytes(bucket.bytes)
    )
}

/// How many jobs of a sweep are in which state, and the best score.
fn summary(sweep: &SweepStatus) -> String {
    let in_state = |state: &str| sweep.jobs.iter().filter(|job| job.state == state).count();
    let states = ["done", "running", "pending", "failed"].map(|state| (state, in_state(state)));
    // Only a request leads to these.
    let requested = ["paused", "cancelled"].map(|state| (state, in_state(state)));
    let requested = requested.into_iter().filter(|(_, number)| *number > 0);
    let counts: Vec<String> =
        states.into_iter().chain(requested).map(|(state, number)| format!("{number} {state}")).collect();
    let scored =
        sweep.jobs.iter().filter(|job| job.state == "done").filter_map(|job| Some((job.score?, job)));
    let better = |(one, _): &(f64, _), (other, _): &(f64, _)| match sweep.goal {
        Goal::Max => one.total_cmp(other),
        Goal::Min => other.total_cmp(one),
    };
    let best = scored.max_by(better).map_or_else(String::new, |(score, job)| {
        format!("; best {} {score:.2}: {}", sweep.score_name, job.label)
    });
    format!("{}: {}{best}", sweep.name, counts.join(", "))
}

/// An ensemble's score so far, and what it waits for.
fn ensemble(status: &EnsembleStatus) -> String {
    match status {
        EnsembleStatus::Scored(scored) => format!("  ensemble {}: {}", scored.name, standing(scored)),
        EnsembleStatus::Untold { name } => format!("  ensemble {name}: not scored yet"),
    }
}

fn jobs(sweep: &SweepStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let state_width = sweep.jobs.iter().map(|job| job.state.len()).max().unwrap_or(0).max("running".len());
    let width = sweep.jobs.iter().map(|job| job.label.chars().count()).max().unwrap_or(0);
    for job in &sweep.jobs {
        let score = job.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.1}"));
        let name = &sweep.score_name;
        let worker = job.worker.as_deref().unwrap_or("");
        let (id, label, state, epoch, epochs) =
            (job.id.short(), &job.label, job.state, job.epoch, job.epochs);
        let priority =
            if job.priority.is_normal() { String::new() } else { format!("  priority {}", job.priority) };
        let troubles = troubles(job);
        lines.push(format!(
            "  {id}  {label:width$}  {state:state_width$}  epoch {epoch:>3}/{epochs:<3}  {name} {score:>5}  {worker}{priority}\
             {troubles}"
        ));
        lines.extend(job.warnings.iter().map(|warning| format!("      {warning}")));
        lines.extend(job.error.iter().map(|error| format!("      {error}")));
        if job.error.is_some() {
            lines.extend(job.log.iter().map(|line| format!("      | {line}")));
        }
        lines.extend(job.reproduce.iter().map(|command| format!("      to see the error: {command}")));
    }
    lines
}

/// What went wrong so far, by kind. Errors of the training use up the job's tries; the others do not.
fn troubles(job: &JobStatus) -> String {
    let kinds = [
        (job.failures, "failed"),
        (job.losses as usize, "worker lost"),
        (job.deferrals as usize, "returned because of server, network or disk"),
    ];
    let told: Vec<String> = kinds
        .iter()
        .filter(|(times, _)| *times > 0)
        .map(|(times, what)| format!("{what} {times}×"))
        .collect();
    if told.is_empty() { String::new() } else { format!("  ({})", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use orchestrator::cost::Estimate;
    use orchestrator::service::Work;
    use shared::protocol::{EnsembleState, ScoredEnsemble};

    use super::*;

    fn job(n: u128, state: &'static str) -> JobStatus {
        let id = JobId::new(uuid::Uuid::from_u128(n << 96));
        JobStatus { state, ..JobStatus::pending(id, format!("weak subset_seed={n}"), 8) }
    }

    /// Cases 29 and 30: a job that was handed back shows its last score, and a count of one is singular.
    #[test]
    fn the_status_reads_well() {
        let jobs = vec![
            JobStatus { worker: Some("cpu0".into()), epoch: 8, score: Some(61.25), ..job(1, "done") },
            JobStatus {
                epoch: 6,
                priority: "-5".parse().unwrap(),
                score: Some(58.0),
                losses: 1,
                deferrals: 2,
                ..job(2, "pending")
            },
            JobStatus {
                failures: 3,
                error: Some("it failed on 2 workers: no memory".into()),
                log: vec!["loss: nan".into()],
                reproduce: Some("ferry-worker reproduce s.yaml --job 00000003".into()),
                ..job(3, "failed")
            },
        ];
        let training = |name: &str, job: Option<JobId>| shared::protocol::Presence {
            worker: shared::ids::WorkerId::new(name, uuid::Uuid::nil()),
            host: "node7".into(),
            device: "cpu".into(),
            job,
            readiness: Readiness::Ready,
            trainers: Vec::new(),
        };
        let bucket = |bucket, objects, uploads| BucketStatus {
            bucket,
            bytes: 46_000_000,
            objects,
            live_bytes: 1_000_000,
            uploads,
        };
        let status = Status {
            workers: vec![training("cpu0", Some(jobs[1].id)), training("cpu1", None)],
            sweeps: vec![SweepStatus {
                name: "demo".into(),
                score_name: "F1".into(),
                goal: Goal::Max,
                left: Work {
                    jobs: 1,
                    epochs: 2,
                    workers: 2,
                    time: Some(Estimate { likely: 95.0, low: 80.0, high: 113.0 }),
                },
                ensembles: vec![
                    EnsembleStatus::Scored(ScoredEnsemble {
                        name: "All".into(),
                        candidates: 3,
                        waiting: 1,
                        failed: 1,
                        state: EnsembleState::Provisional { members: 1, val_macro_f1: 61.25 },
                    }),
                    EnsembleStatus::Untold { name: "Best".into() },
                ],
                jobs,
            }],
            standings: Vec::new(),
            drains: shared::protocol::Drains {
                workers: [("cpu1".into(), shared::protocol::Drain { by: "ada@head".into(), now: true })]
                    .into(),
                ..Default::default()
            },
            store: vec![bucket("ferry-packs", 1, 0), bucket("ferry-checkpoints", 4, 1)],
        };
        insta::assert_snapshot!(text(&status, false), @"
        demo: 1 done, 0 running, 1 pending, 1 failed; best F1 61.25: weak subset_seed=1
          left to do: 1 job, 2 epochs, about 1 min 35 s (1 min 20 s to 1 min 53 s) on 2 workers
          ensemble All: F1 61.25 so far, with 1 member; waits for 1 of 3 candidates; 1 candidate failed
          ensemble Best: not scored yet
          00000001  weak subset_seed=1  done     epoch   8/8    F1  61.2  cpu0
          00000002  weak subset_seed=2  pending  epoch   6/8    F1  58.0    priority -5  (worker lost 1×, returned because of server, network or disk 2×)
          00000003  weak subset_seed=3  failed   epoch   0/8    F1     -    (failed 3×)
              it failed on 2 workers: no memory
              | loss: nan
              to see the error: ferry-worker reproduce s.yaml --job 00000003
        2 workers
          cpu0 on node7, cpu: training weak subset_seed=2 of demo
          cpu1 on node7, cpu: idle, drained by ada@head
        store
          ferry-packs             1.0 MB in 1 blob, 46.0 MB on the server
          ferry-checkpoints       1.0 MB in 4 blobs, 46.0 MB on the server, 1 unfinished upload
        ");
        let one = Status { workers: status.workers[..1].to_vec(), ..Status::default() };
        insta::assert_snapshot!(text(&one, false), @r"
        1 worker
          cpu0 on node7, cpu: training 00000002
        store
        ");
    }
}
