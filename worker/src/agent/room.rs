//! Waiting for a folder that cannot be written: a full or read-only disk is mended by somebody, sooner or later.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A disk with less room than this is full for what a worker wants with it.
const PROBE: usize = 4 << 20;

/// Resolves when the folder takes a file of some size again.
pub(super) async fn wait(folder: &Path) {
    tracing::warn!(
        "{} cannot be written: this worker takes no job until it can; make room, or choose another folder with --cache",
        folder.display()
    );
    while let Err(error) = probe(folder) {
        tracing::debug!(%error, "still not");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Writes a file and takes it away again.
pub(super) fn probe(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![0; PROBE])?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_takes_files_has_room() {
        let dir = tempfile::tempdir().unwrap();
        probe(&dir.path().join("new")).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(probe(&file).is_err());
    }
}
