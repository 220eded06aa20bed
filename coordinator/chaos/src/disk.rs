//! A small disk that can be filled: a tmpfs in this process's own mount namespace, which ends with the process.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set for a process that already runs in its own namespace.
const INSIDE: &str = "FERRY_CHAOS_NAMESPACE";

/// Room for the server itself, and for twice what a job ever writes: eight checkpoints of half a MiB, and a model. The
/// server needs two minutes or more to free deleted data (a block that records deletions in earlier blocks stays until
/// then), and here it is often killed earlier.
const MEGABYTES: usize = 128;
const MEGABYTES_PER_JOB: usize = 12;

/// Replaces this process by the same command in its own mount namespace. Returns if that is not allowed, or if this
/// process already runs in one.
pub fn enter_namespace() {
    if can_mount() {
        return;
    }
    let works = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if let (true, Ok(program)) = (works, std::env::current_exe()) {
        let error = unshare().arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
        tracing::warn!(%error, "cannot enter a mount namespace; the server's disk will not be filled");
    }
}

/// True in a namespace made by [`enter_namespace`].
pub(super) fn can_mount() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--"]);
    command
}

/// A mounted disk.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Makes the folder `root` and mounts an empty disk on it that is large enough for this many jobs.
    pub(super) fn mount(root: &Path, jobs: usize) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let size = format!("size={}m,mode=700", MEGABYTES + MEGABYTES_PER_JOB * jobs);
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(root).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Takes every free byte.
    pub(super) fn fill(&self) -> io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for piece in [1 << 20, 1 << 12] {
            let zeros = vec![0; piece];
            loop {
                match ballast.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Frees the bytes again.
    pub(super) fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}
