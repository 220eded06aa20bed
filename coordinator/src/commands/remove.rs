//! `ferry remove`: removes a sweep that is no longer wanted from a state directory or a server.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::access::{Access, BooksArgs};
use super::error::CommandError;
use super::progress::Progress;
use orchestrator::service::{Amount, Holdings, Removal, RemovalError, Target};
use shared::plural::count;
use shared::stdio;

/// Removes a sweep from the store for good: its jobs, checkpoints and results.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ferry remove demo\n  \
    ferry remove demo --yes --json\n  \
    ferry remove --unlisted --nats tls://head:4222 --creds coordinator.creds\n\n\
    Jobs, datasets and weights that other sweeps use are kept, and so are run folders. A sweep that is running, or \
    whose jobs are being trained, is not removed.\n\
    Exit codes: 0 done, 1 something failed, 2 bad input.")]
pub(crate) struct RemoveArgs {
    /// Name of the sweep; `ferry status` lists them.
    #[arg(required_unless_present = "unlisted", conflicts_with = "unlisted")]
    pub sweep: Option<String>,
    /// Remove what no sweep lists any more: jobs, datasets and weights of earlier versions of sweep files.
    #[arg(long)]
    pub unlisted: bool,
    #[command(flatten)]
    pub books: BooksArgs,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &RemoveArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Work(error.into()))?;
    runtime.block_on(remove(args))
}

async fn remove(args: &RemoveArgs) -> Result<ExitCode, CommandError> {
    let Some(access) = Access::open_as_coordinator(&args.books, "ferry-remove").await.map_err(refusal)?
    else {
        let home = args.books.home.display();
        return Err(CommandError::Input(anyhow::anyhow!(
            "no sweep has run in {home}: name another state directory with --home"
        )));
    };
    let outcome = look_and_remove(args, &access).await;
    access.close().await;
    outcome
}

async fn look_and_remove(args: &RemoveArgs, access: &Access) -> Result<ExitCode, CommandError> {
    let target = args.sweep.clone().map_or(Target::Unlisted, Target::Sweep);
    let removal =
        Removal::of(&access.bus, &target, access.is_alone()).await.map_err(|error| match error {
            RemovalError::Unknown { .. } | RemovalError::Running(_) | RemovalError::Held { .. } => {
                CommandError::Input(error.into())
            }
            RemovalError::Bus(_) | RemovalError::Plan { .. } => refusal(error.into()),
        })?;
    let what = what(&target);
    if !args.json {
        let text = if removal.is_empty() {
            format!("{what}: nothing to remove\n")
        } else {
            text(&what, removal.holdings())
        };
        print(&text)?;
    }
    let wanted = removal.is_empty() || args.yes || ask()?;
    if wanted {
        let mut progress = Progress::counting("removing", "entries");
        let carried_out = removal.carry_out(&access.bus, &mut |done, total| progress.show(done, total)).await;
        carried_out.map_err(|error| CommandError::Work(error.into()))?;
    }
    if args.json {
        let sweep = args.sweep.as_deref();
        print(&format!(
            "{}\n",
            json!({ "sweep": sweep, "removed": wanted, "holdings": removal.holdings() })
        ))?;
    } else if !removal.is_empty() {
        print(if wanted { "removed\n" } else { "nothing was removed\n" })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A wrong server or credential is bad input.
fn refusal(error: anyhow::Error) -> CommandError {
    let bad_input =
        error.downcast_ref::<shared::bus::BusError>().is_some_and(shared::bus::BusError::is_bad_input);
    if bad_input { CommandError::Input(error) } else { CommandError::Work(error) }
}

fn print(text: &str) -> Result<(), CommandError> {
    Ok(stdio::print(text)?)
}

/// Asks the person at the terminal; scripts must use `--yes`.
fn ask() -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CommandError::Input(anyhow::anyhow!("nothing was removed: add --yes to remove it")));
    }
    eprint!("Remove it for good? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CommandError::Work(error.into()))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn what(target: &Target) -> String {
    match target {
        Target::Sweep(name) => format!("sweep {name}"),
        Target::Unlisted => "what no sweep lists".to_owned(),
    }
}

/// What would be removed, and what would be kept.
fn text(what: &str, holdings: &Holdings) -> String {
    let Holdings { jobs, done, shared_jobs, checkpoints, results, packs, weights, bytes } = holdings;
    let jobs = count(*jobs, "job");
    let mut lines = vec![format!("{what}: {jobs}, {done} of them done, {:.1} MB", megabytes(*bytes))];
    let mut list = |text: String, Amount { count, bytes }: Amount| {
        if count > 0 {
            lines.push(format!("  {text}, {:.1} MB", megabytes(bytes)));
        }
    };
    list(format!("results in {}", count(results.count, "file")), *results);
    list(count(checkpoints.count, "checkpoint"), *checkpoints);
    list(count(packs.count, "dataset"), *packs);
    list(
        if weights.count == 1 {
            "1 file of weights".to_owned()
        } else {
            format!("{} files of weights", weights.count)
        },
        *weights,
    );
    if *shared_jobs > 0 {
        lines.push(format!("  {} that other sweeps also list: kept", count(*shared_jobs, "job")));
    }
    lines.push("Run folders are kept. A later run of a removed sweep trains its jobs again.".to_owned());
    lines.join("\n") + "\n"
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_stays_is_said() {
        let amount = |count, bytes| Amount { count, bytes };
        let holdings = Holdings {
            jobs: 4,
            done: 1,
            shared_jobs: 2,
            checkpoints: amount(2, 3_100_000),
            results: amount(3, 12_300_000),
            packs: amount(1, 10_200_000),
            weights: amount(0, 0),
            bytes: 25_600_000,
        };
        insta::assert_snapshot!(text("sweep demo", &holdings), @r"
        sweep demo: 4 jobs, 1 of them done, 25.6 MB
          results in 3 files, 12.3 MB
          2 checkpoints, 3.1 MB
          1 dataset, 10.2 MB
          2 jobs that other sweeps also list: kept
        Run folders are kept. A later run of a removed sweep trains its jobs again.
        ");
    }
}
