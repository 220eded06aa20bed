//! `ferry verify RUN JOB`: trains a part of a job again, and grades how well its numbers are reproduced.

mod words;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use shared::bus::Endpoint;
use shared::exit::Exit;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use super::exit::BadInput;
use orchestrator::fleet;
use orchestrator::run_dir::RunDir;
use orchestrator::service::{Past, RetrainSetup, Verified, VerifyError, interrupted, past, verify};
use orchestrator::sweep::dataset::pack_dir;
use orchestrator::sweep::plan::{Plan, PlannedJob};
use orchestrator::verification::{Grade, Section};
use orchestrator::view::labels::Labels;
use words::{in_json, in_words};

/// Trains a part of a job again and tells whether its numbers come out the same: bit-exact, within epsilon, or not
/// reproduced.
///
/// A finished job is trained from the start; a job that is not finished, or has ended early, from its newest checkpoint
/// after which there are reports. Every metric of the epochs is compared with what the job reported, and, if the job's end
/// is reached, so are its predictions. Nothing in the store, the books and the run folder is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry verify runs/demo 3f2a9c41                     # its first epoch\n  \
    ferry verify runs/demo 3f2a9c41 --epochs 99         # to its end, with its predictions\n  \
    ferry verify runs/demo 3f2a9c41 --epsilon 0         # only the same bits will do\n\n\
    Exit codes: 0 bit-exact or within epsilon, 1 the training, a server or a disk failed, 2 bad input, 3 not \
    reproduced, 130 interrupted.")]
pub(crate) struct VerifyArgs {
    /// A sweep's run folder, such as runs/demo.
    run: PathBuf,
    /// The beginning of a job's id.
    job: String,
    /// How many epochs to train.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Train from the start, even if there is a checkpoint.
    #[arg(long)]
    from_start: bool,
    /// The largest difference that counts as reproduced: absolute, or relative to numbers above 1. 0 asks for the same
    /// bits.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.01, value_parser = epsilon)]
    epsilon: f64,
    /// Where to train: auto (a GPU if there is one), cpu, or cuda:N. Default: cpu if the job was trained on one, else
    /// auto.
    #[arg(long)]
    device: Option<String>,
    /// The job's dataset, or a folder of datasets and weights, on this machine. What is not found there is downloaded from
    /// the server into the cache.
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// Directory for downloaded datasets and weights [default: the user's cache directory].
    #[arg(long, env = "FERRY_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    books: BooksArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

fn epsilon(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        Ok(_) | Err(_) => Err("use a number that is not below 0, such as 0.01".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input when there is no such job, nothing to compare, or something is missing that the training needs; failed work
/// when the training fails.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, CommandError> {
    // Single-threaded, because children must be spawned from the main thread (see `guard`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    Ok(runtime.block_on(async {
        tokio::select! {
            exit = verified(args) => exit,
            stopped = interrupted() => stopped.context("cannot wait for Ctrl-C").map(|()| Exit::Interrupted.into()),
        }
    })?)
}

async fn verified(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let run = RunDir::open(&args.run)?;
    let plan = run.plan()?;
    let job = the_job(&plan, &args.job)?;
    let access = Access::open_as_coordinator(&args.books, "ferry-verify").await?;
    let known = past(&run, &plan, job, access.as_ref().map(|access| &access.bus)).await;
    let begun = match known {
        Ok(past) => again(args, &plan, job, past, access).await,
        Err(error) => {
            close(access).await;
            Err(error.into())
        }
    };
    let verified = begun?;
    let grade = verified.comparison.grade(args.epsilon);
    let label = Labels::of(&plan).get(job.id);
    let text = if args.json {
        let facts = json!({ "sweep": plan.name, "job": job.id, "label": label, "epsilon": args.epsilon });
        format!("{:#}\n", in_json(facts, &verified, grade))
    } else {
        let of = format!("job {} ({label})", job.id.short());
        plain(&in_words(&of, &verified, grade, args.epsilon))
    };
    stdio::print(&text)?;
    Ok(match grade {
        Grade::BitExact | Grade::WithinEpsilon { .. } => Exit::Done.into(),
        Grade::NotReproduced { .. } => Exit::NotReproduced.into(),
    })
}

async fn close(access: Option<Access>) {
    if let Some(access) = access {
        access.close().await;
    }
}

/// Trains the job again. The server that was started for this ends as soon as it is no longer needed.
async fn again(
    args: &VerifyArgs,
    plan: &Plan,
    job: &PlannedJob,
    past: Past,
    access: Option<Access>,
) -> anyhow::Result<Verified> {
    let nothing = |source| VerifyError::Nothing { job: job.id.short(), source };
    let section = past.evidence.section(args.epochs, args.from_start).map_err(nothing);
    let endpoint = access.as_ref().map(|access| access.endpoint.clone());
    let prepared: anyhow::Result<(Section, RetrainSetup)> = section
        .map_err(anyhow::Error::from)
        .and_then(|section| Ok((section, setup(args, plan, &past, endpoint)?)));
    let access = RefCell::new(access);
    let outcome = match prepared {
        Ok((section, setup)) => {
            if !args.json {
                stdio::remark(&plain(&format!("training job {} again {section}", job.id.short())));
            }
            let until = section.until;
            let told = |epoch| {
                if !args.json {
                    stdio::remark(&format!("epoch {epoch} of {until} is trained"));
                }
            };
            let begun = async || {
                let access = access.borrow_mut().take();
                close(access).await;
            };
            verify(past, section, &setup, begun, told).await.map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    close(access.into_inner()).await;
    outcome
}

/// How the worker program is started for this job.
fn setup(
    args: &VerifyArgs,
    plan: &Plan,
    past: &Past,
    endpoint: Option<Endpoint>,
) -> anyhow::Result<RetrainSetup> {
    let was_on_cpu = past.circumstances.device.as_ref().is_some_and(|device| device.device == "cpu");
    let usual = if was_on_cpu { "cpu" } else { "auto" };
    let mut data = args.data.clone();
    let dataset = plan.dataset.as_ref().map(|source| pack_dir(source, &args.books.home));
    data.extend(dataset.filter(|folder| folder.is_dir()));
    Ok(RetrainSetup {
        program: fleet::worker_program()?,
        device: args.device.clone().unwrap_or_else(|| usual.to_owned()),
        data,
        cache: args.cache.clone(),
        endpoint,
    })
}

/// The job whose id begins so.
fn the_job<'a>(plan: &'a Plan, id: &str) -> Result<&'a PlannedJob, BadInput> {
    let mut found = plan.jobs.iter().filter(|job| job.id.begins_with(id));
    match (found.next(), found.count()) {
        (Some(job), 0) => Ok(job),
        (Some(_), more) => {
            let (sweep, number) = (&plan.name, more + 1);
            Err(BadInput(format!(
                "the ids of {number} jobs of {sweep} begin with `{id}`: give more of the id"
            )))
        }
        (None, _) => Err(BadInput(format!(
            "no job of {} has an id that begins with `{id}`; results.csv in the run folder lists them",
            plan.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epsilon_is_a_number_that_is_not_below_0() {
        assert_eq!(epsilon("0"), Ok(0.0));
        for bad in ["-1", "nan", "inf", "x"] {
            assert!(epsilon(bad).is_err(), "{bad}");
        }
    }
}
