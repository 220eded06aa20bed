//! `ferry pause`, `resume`, `cancel`, `retry`, `priority` and `first`: how jobs of a sweep are carried out from now on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::bus::Bus;
use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::{Answer, Demand, JobChange, Priority, Request};
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::confirm::is_confirmed;
use super::error::CommandError;
use super::exit::BadInput;
use orchestrator::service::{Chosen, JobStatus, ask, choose, new_request};

/// How many jobs are listed.
const LISTED: usize = 20;
/// How long to wait for the answer of the `ferry run` that conducts the sweep. It is busy for seconds at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Which jobs, and where.
#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    /// The sweep, which may be left out if there is only one; then which of its jobs: conditions such as
    /// `augmentation=mixup`, all of which must hold, or beginnings of ids. Without any, all jobs are meant.
    #[arg(value_name = "SWEEP|CONDITION|JOB")]
    words: Vec<String>,
    #[command(flatten)]
    books: BooksArgs,
    /// Show which jobs are meant, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `ferry retry` has besides.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) steer: SteerArgs,
    /// Only jobs that have failed.
    #[arg(long)]
    failed: bool,
    /// Train failed jobs from the start, too, instead of from their last checkpoint.
    #[arg(long)]
    anew: bool,
}

/// What `ferry priority` needs besides: its last word is the priority.
#[derive(Debug, Args)]
#[command(override_usage = "ferry priority [OPTIONS] [SWEEP|CONDITION|JOB]... N")]
pub(crate) struct PriorityArgs {
    /// The sweep, which may be left out if there is only one; then which of its jobs, as for `ferry pause`; at the end the
    /// priority, from -100 to 100.
    #[arg(value_name = "SWEEP|CONDITION|JOB", required = true, allow_negative_numbers = true)]
    words: Vec<String>,
    #[command(flatten)]
    books: BooksArgs,
    /// Show which jobs are meant, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Pause,
    Resume,
    Cancel,
    Priority(Priority),
    Retry { only_failed: bool, anew: bool },
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Priority(_) => "change the priority of",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry { .. } => "train again",
        }
    }

    /// What it means for a job in this state; `None` if the job is left alone. Without requests, the jobs have the priority
    /// `of_plan`.
    pub(super) fn change(self, state: &str, of_plan: Priority) -> Option<JobChange> {
        match (self, state) {
            (Self::Pause, "pending" | "running") => Some(JobChange::Pause),
            (Self::Resume, "paused" | "cancelled" | "failed")
            | (Self::Retry { anew: false, .. }, "failed") => Some(JobChange::Resume),
            (Self::Cancel, "pending" | "running" | "paused") => Some(JobChange::Cancel),
            (Self::Priority(priority), "pending" | "running" | "paused") => {
                Some(JobChange::Priority { priority: Some(priority).filter(|wanted| *wanted != of_plan) })
            }
            (Self::Retry { only_failed: false, .. }, "done") | (Self::Retry { anew: true, .. }, "failed") => {
                Some(JobChange::TrainAnew)
            }
            (Self::Pause | Self::Resume | Self::Cancel | Self::Priority(_) | Self::Retry { .. }, _) => None,
        }
    }

    /// True if something is given up that took time to get.
    fn gives_up(self) -> bool {
        match self {
            Self::Pause | Self::Resume | Self::Priority(_) => false,
            Self::Cancel | Self::Retry { .. } => true,
        }
    }

    /// True if it is most likely a mistake to mean all jobs.
    fn is_for_some(self) -> bool {
        match self {
            Self::Priority(_) => false,
            Self::Pause | Self::Resume | Self::Cancel | Self::Retry { .. } => true,
        }
    }

    /// What follows, for the person who is asked.
    fn consequence(self) -> &'static str {
        match self {
            Self::Pause => "Workers store a checkpoint and leave these jobs.",
            Self::Resume => "They continue from their last checkpoint.",
            Self::Cancel => "Nobody trains these jobs again, unless `ferry resume` takes it back.",
            Self::Priority(_) => "Workers take jobs of a higher priority first.",
            Self::Retry { .. } => {
                "Finished jobs are trained from the start; their earlier results stay in the run folder, under `earlier/`. \
                 Failed ones continue from their last checkpoint, unless you say --anew."
            }
        }
    }
}

/// Runs one of the commands.
///
/// # Errors
/// Bad input when the words mean nothing here; failed work when the server cannot be reached.
pub(crate) fn run(verb: Verb, args: &SteerArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    Ok(runtime.block_on(steer(verb, args))?)
}

/// Runs `ferry priority`.
///
/// # Errors
/// As [`run`]; bad input also when the last word is no priority.
pub(crate) fn priority(args: &PriorityArgs) -> Result<ExitCode, CommandError> {
    let PriorityArgs { words, books, dry_run, json } = args;
    let number = words.last().map_or("", String::as_str);
    let priority =
        number.parse().map_err(|error| anyhow::Error::from(BadInput(format!("the last word: {error}"))))?;
    let words = words[..words.len().saturating_sub(1)].to_vec();
    let steer = SteerArgs { words, books: books.clone(), dry_run: *dry_run, yes: true, json: *json };
    run(Verb::Priority(priority), &steer)
}

/// Runs `ferry retry`.
///
/// # Errors
/// As [`run`].
pub(crate) fn retry(args: &RetryArgs) -> Result<ExitCode, CommandError> {
    run(Verb::Retry { only_failed: args.failed, anew: args.anew }, &args.steer)
}

async fn steer(verb: Verb, args: &SteerArgs) -> anyhow::Result<ExitCode> {
    let Some(access) = Access::open_as_coordinator(&args.books, "ferry-steer").await? else {
        return Err(BadInput(args.books.no_sweep()).into());
    };
    let outcome = with_books(verb, args, &access.bus).await;
    access.close().await;
    outcome
}

async fn with_books(verb: Verb, args: &SteerArgs, bus: &Bus) -> anyhow::Result<ExitCode> {
    let chosen = choose(bus, &args.words).await?;
    let meant = Meant::of(verb, &chosen);
    if meant.changes.is_empty() {
        return Err(BadInput(meant.nothing(verb, &chosen)).into());
    }
    let is_question = verb.gives_up() || (verb.is_for_some() && meant.is_everything(verb, &chosen));
    if !args.json || (is_question && !args.yes) {
        stdio::remark(&plain(meant.text(verb, &chosen).trim_end()));
    }
    if args.dry_run {
        if args.json {
            stdio::print_line(&meant.json(verb, &chosen, &[]).to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if is_question && !args.yes && !is_confirmed(&format!("{} Continue?", verb.consequence()))? {
        stdio::remark("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    let mut answers = Vec::new();
    for (change, jobs) in &meant.changes {
        let demand = Demand::Jobs { jobs: jobs.clone(), change: *change };
        let request = new_request(&chosen.plan.name, demand);
        let answer = ask(bus, &request, PATIENCE).await?;
        answers.push((request, answer));
    }
    let text = if args.json {
        meant.json(verb, &chosen, &answers).to_string()
    } else {
        let lines: Vec<String> = answers.iter().map(answered).collect();
        plain(&lines.join("\n"))
    };
    stdio::print_line(&text)?;
    let is_done = |answer: &Option<Answer>| match answer {
        Some(Answer::Done { .. }) | None => true,
        Some(Answer::Refused { .. } | Answer::Superseded { .. }) => false,
    };
    let all_done = answers.iter().all(|(_, answer)| is_done(answer));
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a request, in words.
pub(super) fn answered((request, answer): &(Request, Option<Answer>)) -> String {
    match answer {
        Some(answer) => format!("{}: {answer}", request.demand),
        None => format!(
            "{}: the `ferry run` of {} has not answered within {} s; the request is kept, and carried out as soon as that \
             run can",
            request.demand,
            request.sweep,
            PATIENCE.as_secs()
        ),
    }
}

/// What the words of the command line ask for.
struct Meant<'a> {
    /// One request each.
    changes: Vec<(JobChange, Vec<JobId>)>,
    /// The jobs that are changed.
    jobs: Vec<&'a JobStatus>,
    /// How many jobs were chosen and are left alone, by their state.
    alone: BTreeMap<&'static str, usize>,
}

impl<'a> Meant<'a> {
    fn of(verb: Verb, chosen: &'a Chosen) -> Self {
        let wanted: BTreeSet<JobId> = chosen.jobs.iter().copied().collect();
        let mut meant = Self { changes: Vec::new(), jobs: Vec::new(), alone: BTreeMap::new() };
        for job in chosen.status.jobs.iter().filter(|job| wanted.contains(&job.id)) {
            let Some(change) = verb.change(job.state, chosen.plan.priority) else {
                *meant.alone.entry(job.state).or_default() += 1;
                continue;
            };
            meant.jobs.push(job);
            match meant.changes.iter_mut().find(|(known, _)| *known == change) {
                Some((_, jobs)) => jobs.push(job.id),
                None => meant.changes.push((change, vec![job.id])),
            }
        }
        meant
    }

    /// True if nothing is left out that the verb could be applied to.
    fn is_everything(&self, verb: Verb, chosen: &Chosen) -> bool {
        let can = |job: &&JobStatus| verb.change(job.state, chosen.plan.priority).is_some();
        let possible = chosen.status.jobs.iter().filter(can).count();
        self.jobs.len() == possible && possible > 1
    }

    fn text(&self, verb: Verb, chosen: &Chosen) -> String {
        let of = chosen.status.jobs.len();
        let mut text =
            format!("{}: {} {} of {}\n", chosen.plan.name, verb.name(), self.jobs.len(), count(of, "job"));
        let width = self.jobs.iter().take(LISTED).map(|job| job.label.chars().count()).max().unwrap_or(0);
        for job in self.jobs.iter().take(LISTED) {
            let JobStatus { id, label, state, epoch, epochs, .. } = job;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}  {label:width$}  {state}, epoch {epoch}/{epochs}", id.short());
        }
        if self.jobs.len() > LISTED {
            let _ = writeln!(text, "  … and {} more", self.jobs.len() - LISTED);
        }
        if !self.alone.is_empty() {
            let _ = writeln!(text, "left alone: {}", self.left_alone());
        }
        text
    }

    fn left_alone(&self) -> String {
        let alone: Vec<String> = self.alone.iter().map(|(state, jobs)| format!("{jobs} {state}")).collect();
        alone.join(", ")
    }

    /// Why nothing is changed.
    fn nothing(&self, verb: Verb, chosen: &Chosen) -> String {
        let name = &chosen.plan.name;
        if chosen.jobs.is_empty() {
            return format!(
                "no job of {name} meets all of these conditions: `ferry status --json` shows what there is"
            );
        }
        format!("there is nothing to {} in {name}: of the jobs you mean, {}", verb.name(), self.left_alone())
    }

    fn json(&self, verb: Verb, chosen: &Chosen, answers: &[(Request, Option<Answer>)]) -> serde_json::Value {
        let answers: Vec<_> = answers
            .iter()
            .map(|(request, answer)| json!({ "request": request.id, "demand": request.demand, "answer": answer }))
            .collect();
        let jobs: Vec<_> = self
            .jobs
            .iter()
            .map(|job| json!({ "id": job.id, "label": job.label, "was": job.state }))
            .collect();
        json!({
            "sweep": chosen.plan.name, "verb": verb.name(), "jobs": jobs, "left_alone": self.alone,
            "answers": answers,
        })
    }
}
