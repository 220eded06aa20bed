//! The command `ferry-worker`.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use shared::causes::in_words;
use tracing_subscriber::EnvFilter;
use worker::agent::{self, AgentError};
use worker::cli::{AgentArgs, Cli};
use worker::commands::{self, Command};

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
    match Cli::parse() {
        Cli { command: Some(command), .. } => verb(&command),
        Cli { command: None, agent } => serve(agent),
    }
}

/// Does one thing and ends: exit code 2 for everything that the caller can mend.
fn verb(command: &Command) -> ExitCode {
    match commands::run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_words(error.as_ref()));
            ExitCode::from(2)
        }
    }
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
