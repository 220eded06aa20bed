//! Child processes that cannot outlive this one: each is started through `ferry guard`, which asks the kernel for a
//! signal when its parent dies and then becomes the program.
//!
//! The kernel sends that signal when the *thread* that spawned the child ends, so children are spawned from the main
//! thread only (the commands run on a single-threaded runtime). A signal that this process ignores is ignored by its
//! children, too (see [`shared::signals`]).

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use shared::signals::is_ignored;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;

/// The hidden verb that [`command`] starts.
pub const VERB: &str = "guard";

/// How a child ends when this process has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnParentDeath {
    /// SIGTERM, so that it can clean up first: a server closes its store.
    Ask,
    /// SIGKILL: a worker cannot hand its job back when the server ends with it.
    Kill,
}

/// A command that runs `program` in a process group of its own (Ctrl-C at the terminal does not reach it) and ends it
/// when this process has died.
pub fn command(program: &Path, death: OnParentDeath) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let death = match death {
        OnParentDeath::Ask => "ask",
        OnParentDeath::Kill => "kill",
    };
    command.args([VERB, death]).arg(std::process::id().to_string()).arg(program).process_group(0);
    Ok(command)
}

/// What `ferry guard DEATH PARENT PROGRAM ARGS…` does; returns only when it fails.
pub fn run(death: OnParentDeath, parent: u32, program: &Path, args: &[std::ffi::OsString]) -> std::io::Error {
    let signal = match death {
        OnParentDeath::Ask => Signal::TERM,
        OnParentDeath::Kill => Signal::KILL,
    };
    if let Err(error) = set_parent_process_death_signal(Some(signal)) {
        return error.into();
    }
    // The parent may have died before the signal was asked for.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(parent).ok() {
        return std::io::Error::other("the parent process is gone");
    }
    std::process::Command::new(program).args(args).exec()
}

/// Asks a child to end, and kills it if it has not ended after `patience`.
pub async fn terminate(child: &mut Child, patience: Duration) {
    ask_to_end(child);
    if tokio::time::timeout(patience, child.wait()).await.is_err() {
        tracing::warn!(pid = child.id(), "a child process did not end when asked, so it is killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "a child process cannot be killed");
        }
    }
}

/// Sends a child that still runs a signal on which it cleans up and ends.
pub fn ask_to_end(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, stop_signal())
    {
        tracing::debug!(%error, "a child process had already ended");
    }
}

/// SIGTERM, or SIGINT where this process, and so its children, ignore SIGTERM.
fn stop_signal() -> Signal {
    match is_ignored(SignalKind::terminate()) {
        Ok(true) => Signal::INT,
        Ok(false) | Err(_) => Signal::TERM,
    }
}
