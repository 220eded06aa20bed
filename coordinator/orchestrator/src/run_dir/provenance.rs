//! Where the results in a run folder come from: each `ferry run` that stored some, in `provenance.json`.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use shared::job::TrainerId;
use shared::version::{DecodeError, Versions};

use super::write::{json, write_file};
use super::{RunDir, RunDirError};

const PROVENANCE: &str = "provenance.json";

/// Layout version of the file.
const VERSION: u32 = 1;

/// The most runs that are kept; the oldest are dropped.
const MOST_RUNS: usize = 100;

/// One `ferry run` that stored results in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunProvenance {
    /// When it began, by the server's clock, as in RFC 3339; `None` if the server did not tell.
    pub begun: Option<String>,
    /// When it had written its report; `None` if it did not, or still runs.
    pub ended: Option<String>,
    /// The user, and the name of the machine.
    pub by: String,
    /// Version of `ferry`.
    pub ferry: String,
    pub trainer: TrainerId,
    /// The sweep file as the user wrote it, without the folders of an absolute path.
    pub file: String,
    /// SHA-256 of that file; `None` if it could not be read again.
    pub file_sha256: Option<String>,
    /// The commit of the folder with that file; `None` if it is in no git repository, or there is no `git`.
    pub git: Option<GitState>,
}

/// What `git` says of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitState {
    pub commit: String,
    /// True if a file of the repository below the folder, or the sweep file, is not as in that commit.
    pub dirty: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    v: u32,
    /// Oldest first.
    runs: Vec<RunProvenance>,
}

impl RunDir {
    /// The runs that stored results here, oldest first. Folders of earlier versions list none.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has another version.
    pub fn provenance(&self) -> Result<Vec<RunProvenance>, RunDirError> {
        let path = self.root.join(PROVENANCE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunDirError::io("read", &path)(error)),
        };
        let stored: Stored = Versions::up_to(VERSION).decode(&bytes).map_err(|error| match error {
            DecodeError::Version(source) => RunDirError::Version { path: path.clone(), source },
            DecodeError::Json(error) => RunDirError::damaged_run(&path, error.to_string()),
        })?;
        Ok(stored.runs)
    }

    /// Adds a run that has begun.
    ///
    /// # Errors
    /// As [`Self::provenance`], and when the file cannot be written.
    pub fn add_run(&self, run: RunProvenance) -> Result<(), RunDirError> {
        let mut runs = self.provenance()?;
        runs.push(run);
        let surplus = runs.len().saturating_sub(MOST_RUNS);
        runs.drain(..surplus);
        self.write_provenance(runs)
    }

    /// The newest run has ended.
    ///
    /// # Errors
    /// As [`Self::add_run`].
    pub fn end_run(&self, ended: String) -> Result<(), RunDirError> {
        let mut runs = self.provenance()?;
        let Some(last) = runs.last_mut() else { return Ok(()) };
        last.ended = Some(ended);
        self.write_provenance(runs)
    }

    fn write_provenance(&self, runs: Vec<RunProvenance>) -> Result<(), RunDirError> {
        let path = self.root.join(PROVENANCE);
        write_file(&path, &json(&path, &Stored { v: VERSION, runs })?)
    }
}

#[cfg(test)]
mod tests {
    use shared::job::Kind;

    use super::*;

    fn run(number: usize) -> RunProvenance {
        RunProvenance {
            begun: Some(number.to_string()),
            ended: None,
            by: "me@here".to_owned(),
            ferry: "1.0.0".to_owned(),
            trainer: TrainerId { kind: Kind::new("empty").unwrap(), revision: 1 },
            file: "demo.yaml".to_owned(),
            file_sha256: None,
            git: Some(GitState { commit: "c".repeat(40), dirty: true }),
        }
    }

    #[test]
    fn runs_are_added_and_ended_and_not_kept_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir { root: folder.path().to_owned() };
        assert!(run_dir.provenance().unwrap().is_empty());
        run_dir.end_run("never".to_owned()).unwrap();
        for number in 0..MOST_RUNS + 2 {
            run_dir.add_run(run(number)).unwrap();
        }
        run_dir.end_run("now".to_owned()).unwrap();
        let runs = run_dir.provenance().unwrap();
        assert_eq!((runs.len(), &runs[0]), (MOST_RUNS, &run(2)));
        let ended: Vec<&RunProvenance> = runs.iter().filter(|run| run.ended.is_some()).collect();
        assert_eq!(ended, [&RunProvenance { ended: Some("now".to_owned()), ..run(MOST_RUNS + 1) }]);
        fs::write(folder.path().join(PROVENANCE), "{").unwrap();
        assert!(matches!(run_dir.add_run(run(0)), Err(RunDirError::Damaged { .. })));
    }
}
