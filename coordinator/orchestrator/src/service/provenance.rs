//! Tells the run folder who stores results in it, when, and from which state of the sweep file.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::bus::Bus;
use shared::job::TrainerId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::Command;

use super::{ask, garbage};
use crate::run_dir::{GitState, RunDir, RunDirError, RunProvenance};

/// How long `git` may look at the folder, which may be large, and how long the server may take to tell the time. No run
/// fails because of either.
const PATIENCE: Duration = Duration::from_secs(3);

/// A run has begun to store results of jobs of this trainer. `file` is its sweep file.
pub(super) async fn begun(
    run_dir: &RunDir,
    file: &Path,
    trainer: &TrainerId,
    bus: &Bus,
) -> Result<(), RunDirError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let run = RunProvenance {
        begun: now(bus).await,
        ended: None,
        by: ask::asker(),
        ferry: env!("CARGO_PKG_VERSION").to_owned(),
        trainer: trainer.clone(),
        file: shown(file),
        file_sha256: std::fs::read(file).ok().map(|bytes| hex::encode(Sha256::digest(bytes))),
        git: git(folder.unwrap_or(Path::new(".")), file.file_name()).await,
    };
    run_dir.add_run(run)
}

/// It has written its report.
pub(super) async fn ended(run_dir: &RunDir, bus: &Bus) -> Result<(), RunDirError> {
    match now(bus).await {
        Some(now) => run_dir.end_run(now),
        None => Ok(()),
    }
}

/// The server's time; `None` if it does not answer.
async fn now(bus: &Bus) -> Option<String> {
    let nanos = tokio::time::timeout(PATIENCE, garbage::server_time(bus)).await.ok()?.ok()?;
    Some(in_words(nanos))
}

/// A time in nanoseconds since the Unix epoch, to the second.
fn in_words(nanos: i128) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos / 1_000_000_000 * 1_000_000_000);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_else(|error| unreachable!("years have four digits: {error}"))
}

/// A run folder may be moved to another machine, where an absolute path means nothing.
fn shown(file: &Path) -> String {
    let shown = if file.is_absolute() { file.file_name().map_or(file, Path::new) } else { file };
    shown.display().to_string()
}

/// What `git` says of `folder`; `None` if it is in no repository, or nothing is committed there yet. Of the files that are not
/// part of the repository, only the sweep file counts: a run's own folders lie beside it.
async fn git(folder: &Path, file: Option<&OsStr>) -> Option<GitState> {
    let commit = said(folder, &["rev-parse", "--verify", "HEAD"], None).await?;
    let tracked = ["status", "--porcelain", "--untracked-files=no", "--", "."];
    let mut changed = said(folder, &tracked, None).await?;
    if file.is_some() {
        changed += &said(folder, &["status", "--porcelain", "--untracked-files=all", "--"], file).await?;
    }
    Some(GitState { commit: commit.trim().to_owned(), dirty: !changed.trim().is_empty() })
}

async fn said(folder: &Path, words: &[&str], file: Option<&OsStr>) -> Option<String> {
    let mut git = Command::new("git");
    // Looking changes nothing, not even git's own index.
    git.arg("--no-optional-locks").arg("-C").arg(folder).args(words).args(file);
    git.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, git.output()).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs git with nothing of the user's own settings.
    fn make(folder: &Path, words: &[&str]) -> bool {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(folder).args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ]);
        git.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        git.status().is_ok_and(|status| status.success())
    }

    #[tokio::test]
    async fn a_folder_is_clean_dirty_or_in_no_repository() {
        let root = tempfile::tempdir().unwrap();
        let sweeps = root.path().join("sweeps");
        std::fs::create_dir(&sweeps).unwrap();
        std::fs::write(sweeps.join("a.yaml"), "name: a\n").unwrap();
        let git = |name: &'static str| git(&sweeps, Some(OsStr::new(name)));
        assert_eq!(git("a.yaml").await, None);
        if !make(root.path(), &["init", "--quiet"]) {
            return println!("skipped: there is no git here");
        }
        assert_eq!(git("a.yaml").await, None, "nothing is committed yet");
        assert!(make(root.path(), &["add", "."]) && make(root.path(), &["commit", "--quiet", "-m", "a"]));
        let clean = git("a.yaml").await.unwrap();
        assert_eq!((clean.commit.len(), clean.dirty), (40, false));
        std::fs::create_dir(sweeps.join("runs")).unwrap();
        std::fs::write(sweeps.join("runs/results.json"), "{}").unwrap();
        std::fs::write(sweeps.join("b.yaml"), "name: b\n").unwrap();
        assert_eq!(git("a.yaml").await, Some(clean.clone()), "what a run stores is no change");
        let dirty = Some(GitState { dirty: true, ..clean });
        assert_eq!(git("b.yaml").await, dirty, "that file was never committed");
        std::fs::write(sweeps.join("a.yaml"), "name: b\n").unwrap();
        assert_eq!(git("a.yaml").await, dirty);
    }

    #[test]
    fn times_and_files_are_written_for_people() {
        assert_eq!(in_words(1_700_000_000_999_999_999), "2023-11-14T22:13:20Z");
        assert_eq!(shown(Path::new("/home/me/sweeps/a.yaml")), "a.yaml");
        assert_eq!(shown(Path::new("sweeps/a.yaml")), "sweeps/a.yaml");
    }
}
