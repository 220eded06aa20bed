//! A small disk that can be filled: a tmpfs in a mount namespace of this process's own, gone with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tells a process that it runs in its own namespace already.
const INSIDE: &str = "FERRY_CHAOS_NAMESPACE";

/// Room for the server in any case, and for all that a job ever writes, twice over: eight checkpoints of half a MiB and a
/// model. The server gives back what was deleted every two minutes at best (a block that also notes deletions in earlier
/// blocks stays until then), and in a play it seldom lives for as long.
const MEGABYTES: usize = 128;
const MEGABYTES_PER_JOB: usize = 12;

/// Starts this very command again in a mount namespace of its own, where that is allowed. Comes back when it is not,
/// or when this is the command that was started so.
pub fn enter_namespace() {
    if can_mount() {
        return;
    }
    let works = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if let (true, Ok(program)) = (works, std::env::current_exe()) {
        let error = unshare().arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
        tracing::warn!(%error, "no namespace of its own; disks are not filled");
    }
}

/// True in a namespace that [`enter_namespace`] made.
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
    /// Mounts an empty one, large enough for so many jobs, on the folder `root`, which is made.
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

    /// Gives them back.
    pub(super) fn free(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}
