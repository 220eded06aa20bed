//! `ferry workers`: who trains on a server, and which of them take no jobs for now.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use shared::books::{Standing, incidents_in_words};
use shared::plural::count;
use shared::protocol::Drain;
use shared::stdio;
use shared::terminal::plain;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use super::exit::BadInput;
use orchestrator::service::{Does, Present, Undrained, WorkerStatus, asker, drain, undrain, workers};

/// The workers of a server.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  ferry workers\n  ferry workers drain 'node7-*'        # they finish what they train\n  \
    ferry workers drain gpu0 --now       # it hands its job back, with a checkpoint\n  \
    ferry workers undrain 'node7-*' gpu0\n\n\
    Exit codes: 0 done, 1 something failed, 2 bad input."
)]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    command: Option<WorkersCommand>,
    #[command(flatten)]
    list: ListArgs,
}

/// What listing needs.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    books: BooksArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum WorkersCommand {
    /// Let workers take no more jobs; their processes stay, and wait.
    #[command(after_help = "Example:\n  ferry workers drain 'node7-*' --now")]
    Drain(DrainArgs),
    /// Let drained workers take jobs again, within seconds.
    #[command(after_help = "Example:\n  ferry workers undrain 'node7-*'")]
    Undrain(UndrainArgs),
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// Names of workers; `*` stands for any part of a name.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not finish what they train: store a checkpoint and hand the job back.
    #[arg(long)]
    now: bool,
    /// A name may be that of a worker that is still to come.
    #[arg(long)]
    absent: bool,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
struct UndrainArgs {
    /// Names of drained workers; `*` stands for any part of a name.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
}

impl WorkersArgs {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            None => self.list.json,
            Some(WorkersCommand::Drain(args)) => args.list.json,
            Some(WorkersCommand::Undrain(args)) => args.list.json,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input when a name fits no worker, or the server's address or credential cannot be used; failed work when it cannot
/// be reached.
pub(crate) fn run(args: &WorkersArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let text = runtime.block_on(async {
        match &args.command {
            None => list(&args.list).await,
            Some(WorkersCommand::Drain(args)) => drained(args).await,
            Some(WorkersCommand::Undrain(args)) => undrained(args).await,
        }
    })?;
    stdio::print_line(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn list(ListArgs { books, json }: &ListArgs) -> anyhow::Result<String> {
    let Some(access) = Access::open(books, "ferry-workers").await? else {
        return Err(BadInput(books.no_sweep()).into());
    };
    let outcome = workers(&access.bus).await;
    access.close().await;
    let workers = outcome?;
    Ok(if *json { json!({ "workers": workers }).to_string() } else { plain(&text(&workers)) })
}

async fn drained(DrainArgs { names, now, absent, list }: &DrainArgs) -> anyhow::Result<String> {
    let access = open_to_change(&list.books).await?;
    let how = Drain { by: asker(), now: *now };
    let outcome = drain(&access.bus, names, &how, *absent).await;
    access.close().await;
    let names = outcome?;
    if list.json {
        return Ok(json!({ "drained": names, "now": now }).to_string());
    }
    let what = if *now { "hands back what it trains" } else { "finishes what it trains" };
    let lines = names.iter().map(|name| format!("{name} takes no more jobs, and {what}"));
    Ok(plain(&lines.collect::<Vec<_>>().join("\n")))
}

async fn undrained(UndrainArgs { names, list }: &UndrainArgs) -> anyhow::Result<String> {
    let access = open_to_change(&list.books).await?;
    let outcome = undrain(&access.bus, names, &asker()).await;
    access.close().await;
    let workers = outcome?;
    if list.json {
        return Ok(json!({ "undrained": workers }).to_string());
    }
    let line = |Undrained { name, was_out }: &Undrained| {
        if *was_out {
            format!("{name} may take jobs again; the coordinator had drained it, so start its process again")
        } else {
            format!("{name} takes jobs again")
        }
    };
    Ok(plain(&workers.iter().map(line).collect::<Vec<_>>().join("\n")))
}

async fn open_to_change(books: &BooksArgs) -> anyhow::Result<Access> {
    let access = Access::open_as_coordinator(books, "ferry-workers").await?;
    access.ok_or_else(|| BadInput(books.no_sweep()).into())
}

fn text(workers: &[WorkerStatus]) -> String {
    let width = workers.iter().map(|worker| worker.name.chars().count()).max().unwrap_or(0);
    let mut lines = vec![count(workers.len(), "worker")];
    for WorkerStatus { name, present, drained, standing } in workers {
        let mut told = vec![present.as_ref().map_or_else(|| "not connected".to_owned(), does)];
        told.extend(drained.as_ref().map(|drain| format!("drained by {}", drain.by)));
        told.extend(match standing {
            Standing::Trusted => None,
            Standing::Probation { incidents } => {
                Some(format!("on probation: {}", incidents_in_words(incidents)))
            }
            Standing::Drained { .. } => {
                standing.refusal().map(|why| format!("drained by the coordinator: {why}"))
            }
            Standing::Unfit { reason } => Some(format!("unfit: {reason}")),
        });
        let place = present.as_ref().map(|Present { host, device, trainers, .. }| {
            format!("  ({host}, {device}; trains {})", trainers.join(", "))
        });
        lines.push(format!("  {name:width$}  {}{}", told.join("; "), place.unwrap_or_default()));
    }
    lines.join("\n")
}

fn does(present: &Present) -> String {
    match &present.does {
        Does::Starting => "starting".to_owned(),
        Does::Idle => "idle".to_owned(),
        Does::Training { job, label, sweep } => match (label, sweep) {
            (Some(label), Some(sweep)) => format!("training {label} of {sweep}"),
            (Some(label), None) => format!("training {label}"),
            (None, _) => format!("training {}", job.short()),
        },
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::JobId;

    use super::*;

    #[test]
    fn the_list_reads_well() {
        let job = JobId::new(uuid::Uuid::from_u128(7 << 96));
        let present = |does| {
            Some(Present {
                host: "node7".into(),
                device: "cuda:0".into(),
                trainers: vec!["mtl".into()],
                does,
            })
        };
        let training = |label: Option<&str>| {
            let sweep = label.map(|_| "demo".to_owned());
            present(Does::Training { job, label: label.map(str::to_owned), sweep })
        };
        let worker = |name: &str, present, drained: Option<&str>, standing| WorkerStatus {
            name: name.into(),
            present,
            drained: drained.map(|by| Drain { by: by.into(), now: false }),
            standing,
        };
        let unfit = Standing::Unfit { reason: "no device".into() };
        let workers = [
            worker("gpu0", training(Some("weak seed=1")), None, Standing::Trusted),
            worker("gpu1", training(None), Some("ada@head"), Standing::Trusted),
            worker("gpu2", present(Does::Idle), None, Standing::Probation { incidents: Vec::new() }),
            worker("node9-gpu0", None, Some("ada@head"), unfit),
        ];
        insta::assert_snapshot!(text(&workers), @r"
        4 workers
          gpu0        training weak seed=1 of demo  (node7, cuda:0; trains mtl)
          gpu1        training 00000007; drained by ada@head  (node7, cuda:0; trains mtl)
          gpu2        idle; on probation:   (node7, cuda:0; trains mtl)
          node9-gpu0  not connected; drained by ada@head; unfit: no device
        ");
    }
}
