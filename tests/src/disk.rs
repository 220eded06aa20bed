//! A small disk for one test, which can be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, which is unmounted after the test.
#[derive(Debug)]
pub struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// Mounts a disk of this size. If this user may not mount, says so and returns `None`.
    ///
    /// # Errors
    ///
    /// There is no place for a temporary folder.
    pub fn mount(megabytes: usize) -> anyhow::Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Some(Self { dir })),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                eprintln!("SKIPPED: no small disk can be mounted here ({why})");
                Ok(None)
            }
            Err(error) => {
                eprintln!("SKIPPED: no small disk can be mounted here ({error})");
                Ok(None)
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the disk read-only, or writable again.
    ///
    /// # Errors
    ///
    /// It cannot be mounted again.
    pub fn set_writable(&self, writable: bool) -> anyhow::Result<()> {
        let how = if writable { "remount,rw" } else { "remount,ro" };
        let status = Command::new("mount").args(["-o", how]).arg(self.dir.path()).status()?;
        anyhow::ensure!(status.success(), "mount -o {how}: {status}");
        Ok(())
    }

    /// Fills the rest of the disk.
    ///
    /// # Errors
    ///
    /// A write fails for another reason than a full disk.
    pub fn fill(&self) -> anyhow::Result<Filling> {
        use std::io::Write;
        let path = self.path().join("filling");
        let mut file = std::fs::File::create(&path)?;
        let block = vec![0_u8; 4096];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(Filling { path }),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because a process of the test may still have it as its working folder.
        let _unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// A file that fills a disk.
#[derive(Debug)]
pub struct Filling {
    path: PathBuf,
}

impl Filling {
    /// Removes the file.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn remove(self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.path)?)
    }
}
