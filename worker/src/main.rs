//! The command `ferry-worker`.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use shared::causes::in_words;
use shared::stdio::{self, StdoutError};
use tracing_subscriber::EnvFilter;
use worker::agent::{self, AgentError};
use worker::cli::{AgentArgs, Cli};
use worker::commands::{self, Command, Ending};

/// A training step makes and drops thousands of small tensors: with the C library's allocator, a seventh of the time of
/// small networks goes into it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // What goes wrong while connecting is told by us, in one sentence.
    let usual = "info,async_nats=warn,async_nats::connector=off";
    let filter = EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(shared::terminal::wants_colour())
        .init();
    match Cli::try_parse() {
        Ok(Cli { command: Some(command), .. }) => verb(&command),
        Ok(Cli { command: None, agent }) => serve(agent),
        Err(error) => usage(&error),
    }
}

/// `--help`, `--version` or a wrong command line.
fn usage(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(error) if !answer.use_stderr() => failed(&StdoutError::from(error).into()),
        Err(_) | Ok(()) => ExitCode::from(answer.exit_code() as u8),
    }
}

/// Does one thing and ends.
fn verb(command: &Command) -> ExitCode {
    commands::run(command).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let ending = Ending::of(error);
    if !ending.is_quiet {
        stdio::remark(&format!("error: {}", in_words(error.as_ref())));
    }
    ExitCode::from(ending.code)
}

/// Works for a server until asked to stop.
fn serve(args: AgentArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(AgentError::Runtime).and_then(|runtime| runtime.block_on(agent::run(args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is_hopeless() { 2 } else { 1 };
            tracing::error!("{error}"); // Each of our errors says what caused it.
            ExitCode::from(code)
        }
    }
}
