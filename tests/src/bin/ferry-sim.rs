//! `ferry-sim`: runs thousands of sweeps under random faults, or shows one of them event by event.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use memory_server::ServerBug;
use tests::simulation::{self, Counts, History, Options};

/// Runs sweeps of the real orchestration code on a server in memory, under random faults, and checks every promise after
/// every write.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  ferry-sim --seeds 10000\n  ferry-sim --seed 17 --trace\n\n\
    Exit codes: 0 all promises were kept, 1 a promise was broken.")]
struct Cli {
    /// Number of histories.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this history.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print every event of this history, and the logs of the programs.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Histories to run at the same time [default: one per core].
    #[arg(long)]
    threads: Option<usize>,
    /// Break a rule of the server on purpose, to see whether the checks notice.
    #[arg(long)]
    flaw: Option<Broken>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Broken {
    /// A compare-and-swap that does not compare.
    BlindSwap,
    /// Batches that are sometimes written only in part.
    TornBatch,
    /// A coordinator that starts again does not see that jobs were paused.
    LostPause,
    /// A coordinator that starts again does not see that jobs were withdrawn.
    HiddenWithdrawals,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let bug = cli.flaw.map(|flaw| match flaw {
        Broken::BlindSwap => ServerBug::BlindSwap,
        Broken::TornBatch => ServerBug::TornBatch,
        Broken::LostPause => ServerBug::LostOrders,
        Broken::HiddenWithdrawals => ServerBug::LostPlans,
    });
    match cli.seed {
        Some(seed) => Ok(one(seed, Options { bug, trace: cli.trace })),
        None => many(&cli, Options { bug, trace: false }),
    }
}

#[expect(clippy::print_stdout, reason = "the outcome is the requested output")]
fn one(seed: u64, options: Options) -> ExitCode {
    if options.trace {
        let filter =
            tracing_subscriber::EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| "info".into());
        let log = tracing_subscriber::fmt().without_time().with_target(false).with_env_filter(filter);
        log.with_writer(std::io::stdout).init();
    } else {
        println!("{:#?}", History::draw(seed));
    }
    let outcome = simulation::run(History::draw(seed), options);
    println!("digest {:016x}, {}", outcome.digest, outcome.counts);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("BROKEN {violation}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the outcome is the requested output")]
fn many(cli: &Cli, options: Options) -> anyhow::Result<ExitCode> {
    let threads = cli.threads.unwrap_or(std::thread::available_parallelism().map_or(1, usize::from));
    let style = ProgressStyle::with_template("{pos}/{len} histories {wide_bar} {per_sec}, {eta} left {msg}")?;
    let bar = ProgressBar::new(cli.seeds).with_style(style);
    let next = AtomicU64::new(cli.from);
    let last = cli.from.saturating_add(cli.seeds);
    let (sender, outcomes) = mpsc::channel();
    let (mut counts, mut broken) = (Counts::default(), Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let outcome = simulation::run(History::draw(seed), options);
                    if sender.send((seed, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, outcome) in outcomes {
            bar.inc(1);
            counts += outcome.counts;
            if let Some(violation) = outcome.violation {
                bar.suspend(|| println!("seed {seed}: {violation}"));
                broken.push(seed);
                bar.set_message(format!("{} broken", broken.len()));
            }
        }
    });
    bar.finish_and_clear();
    println!("{} histories, {} broken ({counts})", cli.seeds, broken.len());
    let Some(seed) = broken.into_iter().min() else { return Ok(ExitCode::SUCCESS) };
    let flaw = cli.flaw.and_then(|flaw| flaw.to_possible_value());
    let flaw = flaw.map(|value| format!(" --flaw {}", value.get_name())).unwrap_or_default();
    println!("to see one: cargo run --bin ferry-sim -- --seed {seed}{flaw} --trace");
    Ok(ExitCode::FAILURE)
}
