//! The program `ferry-worker`.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use shared::causes::in_words;
use shared::log_format::LogFormat;
use shared::stdio::{self, StdoutError};
use tracing_subscriber::EnvFilter;
use worker::agent::{self, AgentError};
use worker::cli::{AgentArgs, Cli};
use worker::commands::{self, Command, Ending};
use worker::{native, trainers};

/// A training step creates and drops thousands of small tensors. With the C library's allocator, small networks would
/// spend a seventh of their time in it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Ferry reports connection problems itself, in one sentence.
    let usual = "info,async_nats=warn,async_nats::connector=off";
    let filter = EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match LogFormat::of_environment() {
        LogFormat::Text => log.with_ansi(shared::terminal::wants_colour()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    match Cli::try_parse() {
        Ok(Cli { command: Some(command), .. }) => run(&command),
        Ok(Cli { command: None, agent }) => serve(agent),
        Err(error) => usage(&error),
    }
}

/// Prints the answer to `--help`, `--version` or a wrong command line.
fn usage(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(error) if !answer.use_stderr() => failed(&StdoutError::from(error).into()),
        Err(_) | Ok(()) => ExitCode::from(answer.exit_code() as u8),
    }
}

fn run(command: &Command) -> ExitCode {
    commands::run(command).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let ending = Ending::of(error);
    if !ending.is_quiet {
        stdio::remark(&format!("error: {}", in_words(error.as_ref())));
    }
    ExitCode::from(ending.code)
}

/// Works for a server until asked to stop, which may be during the self-test.
fn serve(args: AgentArgs) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(AgentError::Runtime)
        .and_then(|runtime| runtime.block_on(agent::run(args, trainers::ids(), trainers::all)));
    native::exit(match outcome {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error}"); // The message of an `AgentError` includes its cause.
            if error.is_permanent() { 2 } else { 1 }
        }
    })
}
