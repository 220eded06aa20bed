//! One process of the play: started, killed, ended, frozen and thawed; gone when this process is gone.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::guard;

/// How a process is started.
#[derive(Debug)]
pub(super) struct Recipe {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The server's token: not an argument, those are visible to every user of the machine.
    pub token: Option<String>,
    /// Where its standard output and error are appended.
    pub log: PathBuf,
}

/// A process that may run, stand still, or not be there.
#[derive(Debug)]
pub(super) struct Actor {
    recipe: Recipe,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Up(Child),
    Frozen(Child),
    /// It was asked to end at this time.
    Leaving(Child, Instant),
    Down,
}

/// How long a process may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(20);

impl Actor {
    /// One that is not started yet.
    pub(super) fn new(recipe: Recipe) -> Self {
        Self { recipe, life: Life::Down }
    }

    /// Starts it, unless it runs; false while it has still to end before. From the main thread only (see [`guard`]).
    pub(super) async fn start(&mut self) -> io::Result<bool> {
        if let Life::Leaving(child, since) = &mut self.life {
            if child.try_wait()?.is_none() && since.elapsed() < PATIENCE {
                return Ok(false);
            }
            self.kill().await?;
        }
        if matches!(self.life, Life::Down) {
            self.life = Life::Up(spawn(&self.recipe)?);
        }
        Ok(true)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.life, Life::Up(_))
    }

    pub(super) fn log(&self) -> &Path {
        &self.recipe.log
    }

    /// SIGKILL, also to one that stands still.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Up(mut child) | Life::Frozen(mut child) | Life::Leaving(mut child, _) => {
                if child.try_wait()?.is_none() {
                    child.kill().await?;
                }
                Ok(())
            }
            Life::Down => Ok(()),
        }
    }

    /// SIGTERM; it ends in its own time, [`PATIENCE`] at most.
    pub(super) fn ask_to_end(&mut self) {
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Up(child) => {
                guard::ask_to_end(&child);
                self.life = Life::Leaving(child, Instant::now());
            }
            other @ (Life::Frozen(_) | Life::Leaving(..) | Life::Down) => self.life = other,
        }
    }

    /// SIGSTOP.
    pub(super) fn freeze(&mut self) -> io::Result<()> {
        self.life = match std::mem::replace(&mut self.life, Life::Down) {
            Life::Up(child) => {
                signal(&child, Signal::STOP)?;
                Life::Frozen(child)
            }
            other @ (Life::Frozen(_) | Life::Leaving(..) | Life::Down) => other,
        };
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn thaw(&mut self) -> io::Result<()> {
        self.life = match std::mem::replace(&mut self.life, Life::Down) {
            Life::Frozen(child) => {
                signal(&child, Signal::CONT)?;
                Life::Up(child)
            }
            other @ (Life::Up(_) | Life::Leaving(..) | Life::Down) => other,
        };
        Ok(())
    }

    /// How it ended, when it ran and nobody here ended it.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let Life::Up(child) = &mut self.life else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.life = Life::Down;
        }
        Ok(status)
    }
}

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    match pid {
        Some(pid) => Ok(kill_process(pid, signal)?),
        None => Ok(()), // It has ended already, which is noticed elsewhere.
    }
}

fn spawn(recipe: &Recipe) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&recipe.log)?;
    let mut command = guard::command(&recipe.program, guard::Death::Kill)?;
    command.args(&recipe.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    for variable in ["FERRY_NATS", "FERRY_TOKEN", "FERRY_HOME", "FERRY_LOG"] {
        command.env_remove(variable);
    }
    if let Some(token) = &recipe.token {
        command.env("FERRY_TOKEN", token);
    }
    command.spawn()
}
