//! Writes results.json as it is encoded: its text would take a hundred megabytes for a hundred thousand jobs.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;
use shared::files::{Access, Durability, NewFile};

use super::{RunDir, RunDirError};

impl RunDir {
    /// Stores a report file directly under the folder, as JSON for people and scripts.
    pub(crate) fn write_report_json<T: Serialize>(
        &self,
        name: &str,
        value: &T,
    ) -> Result<PathBuf, RunDirError> {
        let path = self.root.join(name);
        let write = || -> io::Result<()> {
            let mut text = BufWriter::new(NewFile::create(&path, Access::Umask)?);
            serde_json::to_writer_pretty(&mut text, value)?;
            text.write_all(b"\n")?;
            text.into_inner()?.finish(Durability::Synced)
        };
        write().map_err(RunDirError::io("write", &path))?;
        Ok(path)
    }
}
