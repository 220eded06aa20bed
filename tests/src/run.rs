//! A `ferry run --json` in the background, followed event by event.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::processes::Owned;

/// A running sweep. It ends with the test.
#[derive(Debug)]
pub struct Run {
    child: Owned,
    events: Receiver<Value>,
    /// All events so far, for the messages of failed waits.
    seen: Vec<Value>,
}

impl Run {
    /// Starts `command`, which must print one JSON object per line.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line)
                    && sender.send(event).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { child: Owned(child), events, seen: Vec::new() })
    }

    /// The process id of `ferry`.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Every event so far.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// Waits for an event with this name and returns it.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_until`].
    pub fn wait_for(&mut self, name: &str, limit: Duration) -> anyhow::Result<Value> {
        self.wait_until(name, limit, |event| event["event"] == name)
    }

    /// Waits for an event that `wanted` accepts.
    ///
    /// # Errors
    ///
    /// There is none within `limit`, or `ferry` ends before it. The error shows all events.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if wanted(&event) {
                        return Ok(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    anyhow::bail!("waited {} s for {what}; seen:\n{}", limit.as_secs(), listed(&self.seen))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.0.wait()?;
                    anyhow::bail!("ferry ended ({status}) before {what}; seen:\n{}", listed(&self.seen))
                }
            }
        }
    }

    /// Waits until `ferry` ends.
    ///
    /// # Errors
    ///
    /// It does not end within `limit`.
    pub fn end(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.0.try_wait()? {
                return Ok(status);
            }
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(100)) {
                self.seen.push(event);
            }
            anyhow::ensure!(Instant::now() < deadline, "ferry did not end; seen:\n{}", listed(&self.seen));
        }
    }

    /// Kills `ferry` itself with SIGKILL.
    ///
    /// # Errors
    ///
    /// It cannot be killed.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.0.kill()?;
        self.child.0.wait()?;
        Ok(())
    }
}

/// One event per line. Of consecutive progress events, which come every second, only the last.
fn listed(events: &[Value]) -> String {
    let progress = |event: &Value| event["event"] == "progress";
    let streaks = events.chunk_by(|one, next| progress(one) && progress(next));
    let lines: Vec<String> = streaks.filter_map(<[_]>::last).map(Value::to_string).collect();
    lines.join("\n")
}
