//! One child process: started, killed, asked to end, suspended and resumed. It ends when this process ends.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use orchestrator::guard;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

/// How a process is started.
#[derive(Debug)]
pub(super) struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The server's token. It is not an argument, because every user of the machine can see arguments.
    pub token: Option<String>,
    /// The file to which its standard output and error are appended.
    pub log: PathBuf,
}

/// A process that can be started again.
#[derive(Debug)]
pub(super) struct Process {
    launch: Launch,
    state: State,
}

#[derive(Debug)]
enum State {
    Running(Child),
    Suspended(Child),
    /// It was asked to end at this time.
    Ending(Child, Instant),
    Down,
}

/// How long a process may take to end when asked to.
const END_LIMIT: Duration = Duration::from_secs(20);

impl Process {
    /// A process that is not started yet.
    pub(super) fn new(launch: Launch) -> Self {
        Self { launch, state: State::Down }
    }

    /// Starts it, unless it runs; returns false while the previous process is still ending. Call this only from the
    /// main thread (see [`guard`]).
    pub(super) async fn start(&mut self) -> io::Result<bool> {
        if let State::Ending(child, since) = &mut self.state {
            if child.try_wait()?.is_none() && since.elapsed() < END_LIMIT {
                return Ok(false);
            }
            self.kill().await?;
        }
        if matches!(self.state, State::Down) {
            self.state = State::Running(spawn(&self.launch)?);
        }
        Ok(true)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(super) fn log(&self) -> &Path {
        &self.launch.log
    }

    /// SIGKILL, even if it is suspended.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(mut child) | State::Suspended(mut child) | State::Ending(mut child, _) => {
                if child.try_wait()?.is_none() {
                    child.kill().await?;
                }
                Ok(())
            }
            State::Down => Ok(()),
        }
    }

    /// SIGTERM; [`Self::start`] waits up to [`END_LIMIT`] for its end.
    pub(super) fn ask_to_end(&mut self) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(child) => {
                guard::ask_to_end(&child);
                self.state = State::Ending(child, Instant::now());
            }
            other @ (State::Suspended(_) | State::Ending(..) | State::Down) => self.state = other,
        }
    }

    /// SIGSTOP.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Running(child) => {
                signal(&child, Signal::STOP)?;
                State::Suspended(child)
            }
            other @ (State::Suspended(_) | State::Ending(..) | State::Down) => other,
        };
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Suspended(child) => {
                signal(&child, Signal::CONT)?;
                State::Running(child)
            }
            other @ (State::Running(_) | State::Ending(..) | State::Down) => other,
        };
        Ok(())
    }

    /// Its exit status, if it has ended on its own.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let State::Running(child) = &mut self.state else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.state = State::Down;
        }
        Ok(status)
    }
}

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    match pid {
        Some(pid) => Ok(kill_process(pid, signal)?),
        None => Ok(()), // It has already ended, as `ended` will show.
    }
}

fn spawn(launch: &Launch) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&launch.log)?;
    let mut command = guard::command(&launch.program, guard::OnParentDeath::Kill)?;
    command.args(&launch.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    for variable in ["FERRY_NATS", "FERRY_TOKEN", "FERRY_CREDS", "FERRY_HOME", "FERRY_LOG"] {
        command.env_remove(variable);
    }
    if let Some(token) = &launch.token {
        command.env("FERRY_TOKEN", token);
    }
    command.spawn()
}
