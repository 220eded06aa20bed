//! Models in the run folder: large files, written as they arrive and visible only when complete.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use shared::files::{Access, Durability, NewFile};
use shared::ids::JobId;
use shared::result::JobResult;

use super::{RunDir, RunDirError};

/// A model that is being fetched. It appears at its place with [`Self::keep`]; if dropped earlier, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    file: NewFile,
}

impl RunDir {
    /// True if the folder has the model of this result, judged by its size. Its digest was checked when it was stored,
    /// and is checked again when it is used.
    pub fn has_model(&self, result: &JobResult) -> bool {
        result.model().is_some_and(|model| {
            fs::metadata(self.root.join(Self::model_name(result.job)))
                .is_ok_and(|file| file.is_file() && file.len() == model.size)
        })
    }

    /// Begins to write a job's model.
    pub(crate) fn receive_model(&self, job: JobId) -> Result<Incoming, RunDirError> {
        let path = self.root.join(Self::model_name(job));
        let folder = self.root.join("models");
        fs::create_dir_all(&folder).map_err(RunDirError::io("create", &folder))?;
        let file = NewFile::create(&path, Access::Umask).map_err(RunDirError::io("write", &path))?;
        Ok(Incoming { path, file })
    }
}

impl Incoming {
    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Moves the complete, verified model to its place.
    pub(crate) fn keep(self) -> Result<(), RunDirError> {
        self.file.finish(Durability::Synced).map_err(RunDirError::io("write", &self.path))
    }
}
