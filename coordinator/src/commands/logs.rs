//! `ferry logs`: what the training of one job logged, and how its attempts ended.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shared::bus::BusError;
use shared::ids::{Attempt, JobId};
use shared::log::JobLog;
use shared::protocol::subjects;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use super::exit::BadInput;
use orchestrator::events::{EventKind, Since, SweepEvent};
use orchestrator::service::{Chosen, Following, choose, interrupted};
use orchestrator::view::json_line;
use orchestrator::view::labels::Labels;

/// How many jobs are named where one must be.
const LISTED: usize = 5;

/// Shows the end of a job's log, and how its attempts ended.
///
/// Of a job that is being trained, the server keeps the last 20 lines; of a job that is done, the first 40 and the last 160.
/// With `--follow`, every line is shown from now on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferry logs 3f2a9c41\n  ferry logs demo augmentation=mixup 'backbone=dino*' subset_seed=3 -f\n  \
    ferry logs 3f2a9c41 -f --nats tls://head:4222 --creds observer.creds"
)]
pub(crate) struct LogsArgs {
    /// The beginning of a job's id, or a sweep and conditions that one of its jobs meets.
    #[arg(value_name = "JOB|SWEEP|CONDITION", required = true)]
    words: Vec<String>,
    /// Go on until the job has ended.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    books: BooksArgs,
    /// Print one JSON object per event.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
///
/// # Errors
/// Bad input when the words do not mean one job; failed work when the server cannot be reached.
pub(crate) fn run(args: &LogsArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    Ok(runtime.block_on(logs(args))?)
}

async fn logs(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let Some(access) = Access::open(&args.books, "ferry-logs").await? else {
        return Err(BadInput(args.books.no_sweep()).into());
    };
    let outcome = tokio::select! {
        outcome = show(args, &access) => outcome,
        stopped = interrupted() => stopped.context("cannot wait for Ctrl-C"),
    };
    access.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn show(args: &LogsArgs, access: &Access) -> anyhow::Result<()> {
    let chosen = choose(&access.bus, &args.words).await?;
    let job = the_only_job(&chosen)?;
    let end = access.bus.newest(subjects::FOLLOWED_KEYS).await?;
    let mut following = Following::begin(&access.bus, &chosen.plan.name, Since::Beginning).await?;
    let labels = Labels::of(&chosen.plan);
    let kept = match access.bus.result(job).await {
        Ok(result) => Some((result.attempt, result.log)),
        Err(BusError::Missing { .. }) => None,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => {
            stdio::remark(&plain(&format!("{error}: only the end of the log is shown")));
            None
        }
    };
    let (mut shown, mut is_silent) = (Shown { kept, ..Shown::default() }, true);
    loop {
        for event in following.next().await.events.iter().filter(|event| event.kind.job() == Some(job)) {
            let lines =
                if args.json { vec![json_line(event, &labels).to_string()] } else { shown.lines(event) };
            is_silent &= lines.is_empty();
            for line in lines {
                // Nobody reads any more.
                if writeln!(std::io::stdout().lock(), "{line}").is_err() {
                    return Ok(());
                }
            }
        }
        let is_caught_up = following.seen() >= end;
        if is_caught_up && (!args.follow || access.is_alone() || shown.has_ended) {
            if is_silent {
                stdio::remark(&plain(&format!(
                    "job {} ({}) has not been trained yet",
                    job.short(),
                    labels.get(job)
                )));
            }
            return Ok(());
        }
    }
}

fn the_only_job(chosen: &Chosen) -> Result<JobId, BadInput> {
    match chosen.jobs.as_slice() {
        [job] => Ok(*job),
        [] => Err(BadInput(format!("no job of {} meets all of these conditions", chosen.plan.name))),
        several => {
            let named: Vec<String> = several.iter().take(LISTED).map(|job| job.short()).collect();
            let more = if several.len() > LISTED { ", …" } else { "" };
            let (number, named) = (several.len(), named.join(", "));
            Err(BadInput(format!(
                "{number} jobs are meant, but one must be: say more, or give an id ({named}{more})"
            )))
        }
    }
}

/// What has been shown.
#[derive(Debug, Default)]
struct Shown {
    attempt: Option<Attempt>,
    has_ended: bool,
    /// The log that the job's result keeps, and the attempt that logged it.
    kept: Option<(Attempt, JobLog)>,
}

impl Shown {
    /// The lines of an attempt before this one (from 0), as far as they are kept.
    fn before(&self, attempt: Attempt, line: u64) -> Vec<String> {
        let nothing = JobLog::default();
        let log = self.kept.as_ref().filter(|(of, _)| *of == attempt).map_or(&nothing, |(_, log)| log);
        let place = |line: u64| usize::try_from(line).unwrap_or(usize::MAX);
        let first = log.first.iter().take(place(line));
        let last = log.last.iter().take(place(line.saturating_sub(log.lines() - log.last.len() as u64)));
        let missing = line.saturating_sub((first.len() + last.len()) as u64);
        let gap = (missing > 0)
            .then(|| plain(&format!("-- {missing} earlier lines of attempt {} are not kept", attempt.0)));
        first.map(|line| plain(line)).chain(gap).chain(last.map(|line| plain(line))).collect()
    }

    /// An event as lines. Lines of the log stand for themselves; what else happens is set off.
    fn lines(&mut self, event: &SweepEvent) -> Vec<String> {
        let said = |text: String| vec![plain(&format!("-- {text}"))];
        match &event.kind {
            EventKind::Started { worker, attempt, epoch, .. } => {
                self.has_ended = false;
                said(format!("attempt {} on {}, after epoch {epoch}", attempt.0, worker.name()))
            }
            EventKind::TakenOver { worker, from, attempt, epoch, .. } => {
                let (worker, from) = (worker.name(), from.name());
                said(format!(
                    "attempt {} on {worker}, which takes over from {from}, after epoch {epoch}",
                    attempt.0
                ))
            }
            EventKind::Logged { attempt, line, lines, .. } => {
                let is_first = self.attempt.replace(*attempt) != Some(*attempt);
                let mut shown = if is_first { self.before(*attempt, *line) } else { Vec::new() };
                shown.extend(lines.iter().map(|line| plain(line)));
                shown
            }
            EventKind::GivenBack { .. } => said("given back".to_owned()),
            EventKind::Deferred { .. } => {
                said("given back because of the server, the network or a disk".to_owned())
            }
            EventKind::Failed { error, .. } => said(format!("failed: {error}")),
            EventKind::GivenUp { reason, log, .. } => {
                self.has_ended = true;
                let mut shown: Vec<String> = log.iter().map(|line| plain(line)).collect();
                shown.extend(said(format!("failed for good: {reason}")));
                shown
            }
            EventKind::Done { worker, stopped_after, .. } => {
                self.has_ended = true;
                let early =
                    stopped_after.map_or_else(String::new, |epochs| format!(", early, after epoch {epochs}"));
                said(format!("done by {}{early}", worker.name()))
            }
            EventKind::Note { note, .. } => said(note.clone()),
            EventKind::Reported { .. }
            | EventKind::Suspected { .. }
            | EventKind::Drained { .. }
            | EventKind::Trusted { .. }
            | EventKind::Asked { .. }
            | EventKind::Answered { .. }
            | EventKind::Planned { .. }
            | EventKind::EnsembleReady { .. }
            | EventKind::EnsembleScored { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_finished_job_is_shown_with_its_beginning() {
        let mut log = JobLog::default();
        for line in 0..300 {
            log.add(&line.to_string());
        }
        let shown = Shown { kept: Some((Attempt(2), log)), ..Shown::default() };
        let before = shown.before(Attempt(2), 280);
        assert_eq!((before.len(), before[39].as_str(), before[179].as_str()), (40 + 1 + 140, "39", "278"));
        assert_eq!(before[40], "-- 100 earlier lines of attempt 2 are not kept");
        assert_eq!(before[180], "279");
        assert_eq!(shown.before(Attempt(1), 7), ["-- 7 earlier lines of attempt 1 are not kept"]);
        assert!(shown.before(Attempt(1), 0).is_empty());
    }
}
