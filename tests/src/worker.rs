//! A worker process for one test, which ends with the test, and its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use crate::processes::signal;
use crate::programs::Workdir;
use crate::wait;

/// A running `ferry-worker`, whose cache is `cache` in its working folder.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker named `name` for the server at `url`.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start(workdir: &Workdir, url: &str, name: &str) -> anyhow::Result<Self> {
        let log = workdir.path().join(format!("{name}.log"));
        let mut command =
            workdir.worker(&["--nats", url, "--name", name, "--cache", "cache", "--device", "cpu"]);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        Ok(Self { child, log })
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Errors
    ///
    /// The worker has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        signal(self.child.id(), name)
    }

    /// Waits until the worker ends.
    ///
    /// # Errors
    ///
    /// It does not end within `limit`.
    pub fn end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        wait::until(limit, "the worker's end", || child.try_wait().transpose())?.map_err(Into::into)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log contains `text`.
    ///
    /// # Errors
    ///
    /// It does not within `limit`; the error shows the log.
    pub fn wait_for(&self, text: &str, limit: Duration) -> anyhow::Result<()> {
        let found = wait::until(limit, text, || self.log().contains(text).then_some(()));
        found.map_err(|error| error.context(format!("the worker's log:\n{}", self.log())))
    }

    /// Files named `name` in the spool below the working folder of `workdir`.
    pub fn spooled(workdir: &Workdir, name: &str) -> Vec<PathBuf> {
        below(&workdir.path().join("cache/spool")).into_iter().filter(|path| path.ends_with(name)).collect()
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
