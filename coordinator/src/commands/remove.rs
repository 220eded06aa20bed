//! `ferry remove`: removes a sweep that is no longer wanted from a state directory or a server.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::access::{Access, BooksArgs};
use super::confirm::is_confirmed;
use super::error::CommandError;
use super::exit::BadInput;
use super::progress::Progress;
use orchestrator::service::{Amount, Holdings, Removal, Target};
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
    Exit codes: 0 done, 1 something failed or you said no, 2 bad input.")]
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
    Ok(runtime.block_on(remove(args))?)
}

async fn remove(args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let Some(access) = Access::open_as_coordinator(&args.books, "ferry-remove").await? else {
        return Err(BadInput(args.books.no_sweep()).into());
    };
    let outcome = look_and_remove(args, &access).await;
    access.close().await;
    outcome
}

async fn look_and_remove(args: &RemoveArgs, access: &Access) -> anyhow::Result<ExitCode> {
    let target = args.sweep.clone().map_or(Target::Unlisted, Target::Sweep);
    let removal = Removal::of(&access.bus, &target, access.is_alone()).await?;
    let what = what(&target);
    if !args.json {
        let text = if removal.is_empty() {
            format!("{what}: nothing to remove\n")
        } else {
            text(&what, removal.holdings())
        };
        stdio::print(&text)?;
    }
    let wanted = removal.is_empty() || args.yes || is_confirmed("Remove it for good?")?;
    if wanted {
        let mut progress = Progress::counting("removing", "entries");
        removal.carry_out(&access.bus, &mut |done, total| progress.show(done, total)).await?;
    }
    if args.json {
        let sweep = args.sweep.as_deref();
        stdio::print_line(
            &json!({ "sweep": sweep, "removed": wanted, "holdings": removal.holdings() }).to_string(),
        )?;
    } else if !removal.is_empty() {
        stdio::print(if wanted { "removed\n" } else { "nothing was removed\n" })?;
    }
    Ok(if wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
