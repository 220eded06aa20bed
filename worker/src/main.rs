//! The command `ferry-worker`.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use shared::causes::in_words;
use shared::exit::Exit;
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

/// Does one thing and ends.
fn verb(command: &Command) -> ExitCode {
    match commands::run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_words(error.as_ref()));
            exit_of(&error).into()
        }
    }
}

/// What libtorch or the system refuses is a failure; everything else that a verb refuses, its caller can change.
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<tch::TchError>()) {
        return Exit::Failed;
    }
    Exit::of_causes(error.as_ref()).unwrap_or(Exit::BadInput)
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

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_full_disk_and_libtorch_are_failures_and_the_rest_is_bad_input() {
        let of = |error: anyhow::Error| exit_of(&error.context("out.csv cannot be written"));
        assert_eq!(of(Error::from(ErrorKind::StorageFull).into()), Exit::Failed);
        assert_eq!(of(Error::from(ErrorKind::NotFound).into()), Exit::BadInput);
        assert_eq!(of(tch::TchError::Torch("internal".to_owned()).into()), Exit::Failed);
        assert_eq!(of(anyhow::anyhow!("not a model")), Exit::BadInput);
    }
}
