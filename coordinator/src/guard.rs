//! Children that cannot outlive this process: each is started through `ferry guard`, which asks the kernel for a
//! signal at its parent's death and then becomes the program.
//!
//! The kernel sends that signal when the *thread* that spawned the child ends, so children are spawned from the main
//! thread only (the commands run on a single-threaded runtime).

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};

/// The hidden verb that [`command`] starts.
pub const VERB: &str = "guard";

/// How a child ends when this process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Death {
    /// It may tidy up first: a server closes its store.
    Ask,
    /// At once: a worker cannot hand its job back when the server goes with it.
    Kill,
}

/// A command that runs `program` in a process group of its own (a Ctrl-C at the terminal does not reach it) and ends
/// it when this process is gone.
pub fn command(program: &Path, death: Death) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let death = match death {
        Death::Ask => "ask",
        Death::Kill => "kill",
    };
    command.args([VERB, death]).arg(std::process::id().to_string()).arg(program).process_group(0);
    Ok(command)
}

/// What `ferry guard DEATH PARENT PROGRAM ARGS…` does; returns only when it fails.
pub fn run(death: Death, parent: u32, program: &Path, args: &[std::ffi::OsString]) -> std::io::Error {
    let signal = match death {
        Death::Ask => Signal::TERM,
        Death::Kill => Signal::KILL,
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

/// Asks a child to end; kills it when it has not within `patience`.
pub async fn terminate(child: &mut Child, patience: Duration) {
    ask_to_end(child);
    if tokio::time::timeout(patience, child.wait()).await.is_err() {
        tracing::warn!(pid = child.id(), "a child did not end when asked and is killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "it cannot be killed");
        }
    }
}

/// Sends SIGTERM to a child that still runs.
pub fn ask_to_end(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::debug!(%error, "a child was gone before it was asked to end");
    }
}
