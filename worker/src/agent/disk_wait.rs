//! What a worker does when it cannot get a job's dataset or weights. If the problem may pass, it waits; otherwise it
//! ends and records that it is unfit.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::retry::Backoff;

use super::error::AgentError;
use super::fitness::unfit;
use super::state::Agent;

/// How many jobs in a row may be given back because the server lacks their inputs, which another machine may still be
/// storing.
const MAX_WITHOUT_INPUTS: u32 = 12;
const NEXT_JOB_AFTER: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A disk with less room than this counts as full.
const PROBE: usize = 4 << 20;

impl Agent {
    /// Recovers after a job was given back because its inputs are not available.
    ///
    /// # Errors
    ///
    /// Waiting would not help, so the worker must end; or it was told that it is out.
    pub(super) async fn recover(&self, error: AgentError) -> Result<(), AgentError> {
        if matches!(error, AgentError::Out { .. }) {
            return Err(error);
        }
        if let Some(folder) = error.unwritable_folder() {
            tracing::warn!("{error}");
            tokio::select! {
                () = self.stopped() => {}
                () = wait_until_writable(folder) => tracing::info!("{} can be written again", folder.display()),
            }
            return Ok(());
        }
        if error.is_transient() && self.without_inputs.fetch_add(1, Ordering::Relaxed) < MAX_WITHOUT_INPUTS {
            tracing::warn!("{error}; trying again in {} s", NEXT_JOB_AFTER.as_secs());
            tokio::select! {
                () = self.stopped() => {}
                () = tokio::time::sleep(NEXT_JOB_AFTER) => {}
            }
            return Ok(());
        }
        Err(unfit(&self.bus, &self.me, error).await)
    }
}

/// Resolves when a file of [`PROBE`] bytes can be written to the folder again.
async fn wait_until_writable(folder: &Path) {
    tracing::warn!(
        "{} cannot be written, and this worker takes no job until it can: make room, or choose another folder with \
         --cache",
        folder.display()
    );
    Backoff::every(LOOK_AGAIN)
        .until_done(
            || std::future::ready(probe(folder)),
            |error| tracing::debug!(%error, "still not writable"),
        )
        .await;
}

/// Writes a file and removes it.
fn probe(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![0; PROBE])?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_takes_files_is_writable() {
        let dir = tempfile::tempdir().unwrap();
        probe(&dir.path().join("new")).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(probe(&file).is_err());
    }
}
