//! `ferry verify RUN JOB`: trains a part of a job again, and grades how well its numbers are reproduced.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use shared::books::Checkpoint;
use shared::bus::Endpoint;
use shared::exit::Exit;
use shared::plural::count;
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
use orchestrator::verification::{Changed, Circumstances, Grade, Section, Unequal};
use orchestrator::view::labels::Labels;

/// How many differences are shown as text, and as JSON.
const SHOWN: usize = 10;
const LISTED: usize = 1000;

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

/// `value` says which job it is.
fn in_json(mut value: Value, verified: &Verified, grade: Grade) -> Value {
    let Verified { section, comparison, then, now, notes_then, notes_now } = verified;
    let (grade, largest) = match grade {
        Grade::BitExact => ("bit_exact", 0.0),
        Grade::WithinEpsilon { largest } => ("within_epsilon", largest),
        Grade::NotReproduced { largest } => ("not_reproduced", largest),
    };
    let finite = |number: f64| number.is_finite().then_some(number);
    let differences = comparison.differences.iter().take(LISTED).map(|unequal| {
        let mut value = json!(unequal);
        value["difference"] = json!(finite(unequal.difference()));
        value
    });
    let from =
        section.from.as_ref().map(|Checkpoint { epoch, step, .. }| json!({ "epoch": epoch, "step": step }));
    value["grade"] = json!(grade);
    value["largest_difference"] = json!(finite(largest));
    value["from"] = json!(from);
    value["until"] = json!(section.until);
    value["to_the_end"] = json!(section.to_the_end);
    value["numbers"] = json!(comparison.numbers);
    value["unequal"] = json!(comparison.unequal);
    value["differences"] = differences.collect();
    value["changes"] = json!(then.changes(now));
    value["then"] = circumstances(then, notes_then);
    value["now"] = circumstances(now, notes_now);
    value
}

fn circumstances(Circumstances { trainer, device, software }: &Circumstances, notes: &[String]) -> Value {
    json!({ "trainer": trainer, "device": device, "software": software, "notes": notes })
}

/// `of` names the job.
fn in_words(of: &str, verified: &Verified, grade: Grade, epsilon: f64) -> String {
    let Verified { section, comparison, then, now, notes_then, notes_now } = verified;
    let end = if section.to_the_end { ", its end" } else { "" };
    let mut text = format!("{of}, trained again {section}{end}\n");
    let (numbers, unequal) = (count(comparison.numbers, "number"), comparison.unequal);
    let size = |largest: f64| {
        if largest.is_finite() { format!("{largest:.2e}") } else { "without a size".to_owned() }
    };
    // Writing to a string cannot fail.
    let _ = match grade {
        Grade::BitExact => writeln!(text, "BIT-EXACT: {numbers}, the same bits then and now"),
        Grade::WithinEpsilon { largest } => writeln!(
            text,
            "WITHIN EPSILON: {unequal} of {numbers} have other bits; the largest difference is {}, and {epsilon} is \
             allowed",
            size(largest)
        ),
        Grade::NotReproduced { largest } => writeln!(
            text,
            "NOT REPRODUCED: {unequal} of {numbers} have other bits; the largest difference is {}, and {epsilon} is \
             allowed",
            size(largest)
        ),
    };
    differences(&mut text, &comparison.differences);
    let is_exact = match grade {
        Grade::BitExact => true,
        Grade::WithinEpsilon { .. } | Grade::NotReproduced { .. } => false,
    };
    if !is_exact {
        reasons(&mut text, &then.changes(now));
        for (when, note) in
            notes_then.iter().map(|note| ("then", note)).chain(notes_now.iter().map(|note| ("now", note)))
        {
            let _ = writeln!(text, "  {when}: {note}");
        }
    }
    text
}

/// A line for each difference, the largest first.
fn differences(text: &mut String, differences: &[Unequal]) {
    let mut sorted: Vec<&Unequal> = differences.iter().collect();
    sorted.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    for unequal in sorted.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", difference(unequal));
    }
    if sorted.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more (--json lists them)", sorted.len() - SHOWN);
    }
}

fn difference(unequal: &Unequal) -> String {
    let value = |value: &Option<f64>| value.map_or_else(|| "missing".to_owned(), |value| value.to_string());
    let size = |size: &Option<(usize, usize)>| {
        size.map_or_else(|| "missing".to_owned(), |(rows, classes)| format!("{rows} × {classes}"))
    };
    match unequal {
        Unequal::Report { epoch, step, metric, then, now } => {
            let step = if *step == 0 { String::new() } else { format!(" and {step} steps") };
            format!("epoch {epoch}{step}, {metric}: {} then, {} now", value(then), value(now))
        }
        Unequal::Result { metric, then, now } => {
            format!("result, {metric}: {} then, {} now", value(then), value(now))
        }
        Unequal::Prediction { predictions, row, class, then, now } => {
            format!("{predictions}, most in row {row}, class {class} (from 0): {then} then, {now} now")
        }
        Unequal::Size { predictions, then, now } => {
            format!("{predictions}, rows × classes: {} then, {} now", size(then), size(now))
        }
    }
}

/// What is different now.
fn reasons(text: &mut String, changes: &[Changed]) {
    if changes.is_empty() {
        text.push_str("trainer, device, CPU capability, threads and versions are the same as then\n");
        return;
    }
    text.push_str("what may be why:\n");
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    for Changed { what, then, now } in changes {
        let _ = writeln!(text, "  {what}: {} then, {} now", value(then), value(now));
    }
}

#[cfg(test)]
mod tests {
    use orchestrator::verification::Comparison;
    use shared::job::{Kind, TrainerId};

    use super::*;

    fn verified(differences: Vec<Unequal>) -> Verified {
        let trainer = |revision| TrainerId { kind: Kind::new("empty").unwrap(), revision };
        let circumstances =
            |revision| Circumstances { trainer: trainer(revision), device: None, software: None };
        Verified {
            section: Section { from: None, until: 2, to_the_end: true },
            comparison: Comparison { numbers: 40, unequal: differences.len(), differences },
            then: circumstances(1),
            now: circumstances(2),
            notes_then: Vec::new(),
            notes_now: vec!["a batch did not fit".to_owned()],
        }
    }

    fn report(then: f64, now: Option<f64>) -> Unequal {
        Unequal::Report { epoch: 2, step: 0, metric: "loss".to_owned(), then: Some(then), now }
    }

    fn words(differences: Vec<Unequal>) -> String {
        let verified = verified(differences);
        in_words("job 1f (all)", &verified, verified.comparison.grade(0.01), 0.01)
    }

    #[test]
    fn the_grade_is_told_first_and_what_may_be_why_last() {
        insta::assert_snapshot!(words(Vec::new()), @r"
        job 1f (all), trained again from the start, 2 epochs, its end
        BIT-EXACT: 40 numbers, the same bits then and now
        ");
        let small = words(vec![report(0.5, Some(0.501))]);
        assert!(
            small.contains(
                "\nWITHIN EPSILON: 1 of 40 numbers have other bits; the largest difference is 1.00e-3"
            ),
            "{small}"
        );
        let large = words(vec![report(0.5, Some(0.501)), report(0.5, Some(0.25)), report(0.5, None)]);
        let lines: Vec<&str> = large.lines().collect();
        assert_eq!(
            lines[1],
            "NOT REPRODUCED: 3 of 40 numbers have other bits; the largest difference is without a size, and 0.01 is \
             allowed"
        );
        assert_eq!(
            lines[2..5],
            [
                "  epoch 2, loss: 0.5 then, missing now",
                "  epoch 2, loss: 0.5 then, 0.25 now",
                "  epoch 2, loss: 0.5 then, 0.501 now",
            ]
        );
        assert!(large.contains("  trainer: empty (revision 1) then, empty (revision 2) now\n"), "{large}");
        assert!(large.contains("  libtorch: not known then, not known now\n"), "{large}");
        assert!(large.ends_with("  now: a batch did not fit\n"), "{large}");
    }

    #[test]
    fn what_has_no_size_is_null_in_json() {
        let verified = verified(vec![report(0.5, None)]);
        let value = in_json(json!({ "job": "1f" }), &verified, verified.comparison.grade(0.01));
        assert_eq!((&value["grade"], &value["largest_difference"]), (&json!("not_reproduced"), &Value::Null));
        let difference = &value["differences"][0];
        assert_eq!((&difference["of"], &difference["difference"]), (&json!("report"), &Value::Null));
        assert_eq!(value["from"], Value::Null);
    }

    #[test]
    fn an_epsilon_is_a_number_that_is_not_below_0() {
        assert_eq!(epsilon("0"), Ok(0.0));
        for bad in ["-1", "nan", "inf", "x"] {
            assert!(epsilon(bad).is_err(), "{bad}");
        }
    }
}
