//! The command `ferry-worker`.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use worker::agent::{self, AgentError};
use worker::cli::Cli;

fn main() -> ExitCode {
    let filter =
        EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{:#}", anyhow::Error::new(error.source));
            ExitCode::from(if error.hopeless { 2 } else { 1 })
        }
    }
}

struct Failure {
    source: AgentError,
    /// Starting again cannot help.
    hopeless: bool,
}

fn run(cli: Cli) -> Result<(), Failure> {
    let classify = |source: AgentError| Failure { hopeless: source.is_hopeless(), source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| classify(AgentError::Runtime(error)))?;
    runtime.block_on(agent::run(cli)).map_err(classify)
}
