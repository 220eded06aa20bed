//! The story of a job, for `ferry why RUN JOB`: from the server if it knows the job, or else from the run folder.

use std::path::Path;

use orchestrator::run_dir::{RunDir, RunDirError};
use orchestrator::service::{FollowError, story, sweep_plan};
use orchestrator::story::{Named, Story, named};
use orchestrator::sweep::plan::{Plan, PlannedJob};
use orchestrator::view::labels::Labels;
use shared::bus::Bus;
use shared::causes::in_words;
use shared::ids::JobId;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::exit::BadInput;

/// The name of the connection on the server.
const CONNECTION: &str = "ferry-why";

/// What the name on the command line means.
#[derive(Debug)]
pub(super) enum Meant {
    /// An ensemble of the sweep in this run folder.
    Ensemble(RunDir),
    Job(Box<Story>),
}

/// Finds out what `name` means in a sweep. `run` is its run folder, or its name on a server.
///
/// # Errors
/// Bad input when there is no such folder, sweep or name; failed work when a server cannot be reached that was named.
pub(super) fn meant(run: &Path, name: &str, books: &BooksArgs) -> anyhow::Result<Meant> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = match RunDir::open(run) {
        Ok(folder) => folder,
        Err(RunDirError::NotARun { .. }) => return runtime.block_on(of_sweep(run, name, books)),
        Err(error) => return Err(error.into()),
    };
    let plan = folder.plan()?;
    let job = match named(&plan, name).map_err(|error| BadInput(error.to_string()))? {
        Named::Ensemble { also } => {
            say_also(&plan, name, &also);
            return Ok(Meant::Ensemble(folder));
        }
        Named::Job(job) => planned(&plan, job)?,
    };
    let told = match runtime.block_on(of_server(&plan, job, books)) {
        Ok(told) => told,
        Err(error) if books.server.nats.is_some() => return Err(error),
        Err(error) => {
            let home = books.home.display();
            let why = in_words(error.as_ref());
            stdio::remark(&plain(&format!("what {home} knows of the job cannot be read: {why}")));
            None
        }
    };
    let story = match told {
        Some(story) => story,
        None => Story::of_folder(&plan, job, &folder.files_of(job.id)?),
    };
    Ok(Meant::Job(Box::new(story)))
}

/// A name that is an ensemble's could be a job's, too.
fn say_also(plan: &Plan, name: &str, also: &[JobId]) {
    if let [job, ..] = also {
        let (id, label) = (job.short(), Labels::of(plan).get(*job));
        stdio::remark(&plain(&format!(
            "`{name}` could also mean job {id} ({label}): give more of its id for its story"
        )));
    }
}

fn planned(plan: &Plan, id: JobId) -> anyhow::Result<&PlannedJob> {
    let found = plan.jobs.iter().find(|job| job.id == id);
    found.ok_or_else(|| BadInput(format!("the sweep {} has no job {id}", plan.name)).into())
}

/// The story on the server; `None` if there is none, or it does not know the job.
async fn of_server(plan: &Plan, job: &PlannedJob, books: &BooksArgs) -> anyhow::Result<Option<Story>> {
    let Some(access) = Access::open(books, CONNECTION).await? else { return Ok(None) };
    let told = story(&access.bus, plan, job).await;
    access.close().await;
    Ok(told?)
}

/// The story of a job of a sweep that is named, and whose run folder need not be here.
async fn of_sweep(run: &Path, name: &str, books: &BooksArgs) -> anyhow::Result<Meant> {
    let sweep = run.display().to_string();
    let Some(access) = Access::open(books, CONNECTION).await? else {
        return Err(no_folder(&sweep, &books.no_sweep()).into());
    };
    let told = told_by(&access.bus, &sweep, name).await;
    access.close().await;
    Ok(Meant::Job(Box::new(told?)))
}

async fn told_by(bus: &Bus, sweep: &str, name: &str) -> anyhow::Result<Story> {
    let plan = match sweep_plan(bus, sweep).await {
        Ok(plan) => plan,
        Err(error @ FollowError::Unknown(_)) => return Err(no_folder(sweep, &error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    let job = match named(&plan, name).map_err(|error| BadInput(error.to_string()))? {
        Named::Ensemble { .. } => {
            let how = "an ensemble is explained from a run folder: give its path";
            return Err(BadInput(format!("{how}, such as runs/{sweep}")).into());
        }
        Named::Job(job) => planned(&plan, job)?,
    };
    let told = story(bus, &plan, job).await?;
    Ok(told.ok_or_else(|| BadInput(format!("the server has no record of job {} yet", job.id)))?)
}

fn no_folder(run: &str, more: &str) -> BadInput {
    BadInput(format!("{run} is not a run folder, and {more}"))
}
