//! The worker program as a child that trains a part of a job again and tells how it goes.

use std::path::PathBuf;
use std::process::Stdio;

use shared::bus::Endpoint;
use shared::predictions::{Matrix, from_npy};
use shared::retraining::{REQUEST, Retraining, RetrainingEvent, matrix_name};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::VerifyError;
use crate::guard;

/// How the worker program is started.
#[derive(Debug, Clone)]
pub struct RetrainSetup {
    pub program: PathBuf,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Packs on this machine, and folders of packs and weights.
    pub data: Vec<PathBuf>,
    /// Where the program keeps what it downloads, if not at the usual place.
    pub cache: Option<PathBuf>,
    /// The server that may have what this machine has not.
    pub endpoint: Option<Endpoint>,
}

/// The running program. It ends with this value.
#[derive(Debug)]
pub(super) struct Retrainer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

impl Retrainer {
    /// Starts it. Call this on the main thread (see [`guard`]).
    pub(super) fn start(setup: &RetrainSetup, retraining: &Retraining) -> Result<Self, VerifyError> {
        let RetrainSetup { program, device, data, cache, endpoint } = setup;
        let fail = |source| VerifyError::Start { program: program.clone(), source };
        let folder = tempfile::tempdir().map_err(fail)?;
        let request = serde_json::to_vec(retraining).map_err(|error| fail(error.into()))?;
        std::fs::write(folder.path().join(REQUEST), request).map_err(fail)?;
        let mut command = guard::command(program, guard::OnParentDeath::Kill).map_err(fail)?;
        command.arg("retrain").arg(folder.path()).args(["--device", device]);
        for place in data {
            command.arg("--data").arg(place);
        }
        if let Some(cache) = cache {
            command.arg("--cache").arg(cache);
        }
        command.env_remove("FERRY_NATS").env_remove("FERRY_CREDS").env_remove("FERRY_TOKEN");
        if let Some(endpoint) = endpoint {
            command.args(["--nats", endpoint.url()]);
            if let Some(token) = endpoint.token() {
                command.env("FERRY_TOKEN", token); // Not an argument: those are visible to every user of the machine.
            }
            if let Some(credential) = endpoint.credential() {
                command.env("FERRY_CREDS", credential.path());
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(fail)?;
        let stdout = child.stdout.take().ok_or_else(|| fail(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), folder })
    }

    /// The next thing that it tells. Do not call it after the last event.
    pub(super) async fn next(&mut self) -> Result<RetrainingEvent, VerifyError> {
        match self.lines.next_line().await.map_err(VerifyError::Listen)? {
            Some(line) => serde_json::from_str(&line).map_err(VerifyError::Foreign),
            None => Err(VerifyError::Ended(self.child.wait().await.map_err(VerifyError::Listen)?)),
        }
    }

    /// Predictions of a training that reached its end.
    pub(super) fn matrix(&self, name: &str) -> Result<Matrix, VerifyError> {
        let path = self.folder.path().join(matrix_name(name));
        let bytes = std::fs::read(path).map_err(VerifyError::Listen)?;
        from_npy(&bytes).map_err(|source| VerifyError::Predictions { name: name.to_owned(), source })
    }
}
