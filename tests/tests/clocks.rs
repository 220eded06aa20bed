//! Nothing depends on the time of day: ages come from the server's timestamps and from monotonic clocks.

use std::path::{Path, PathBuf};

use tests::programs::root;

/// Code that would read the wall clock.
const WALL_CLOCKS: [&str; 5] =
    ["SystemTime::now", "UNIX_EPOCH.elapsed", "OffsetDateTime::now", "Utc::now", "Local::now"];

/// Only certificates need a date, from which they are valid.
const DATED: &str = "coordinator/orchestrator/src/cluster/certificates.rs";

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn nothing_is_decided_by_the_wall_clock() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for part in ["shared/src", "coordinator/src", "coordinator/orchestrator/src", "worker/src"] {
        sources(&root().join(part), &mut files)?;
    }
    assert!(files.len() > 100, "the sources were found");
    for file in files.into_iter().filter(|file| !file.ends_with(DATED)) {
        let text = std::fs::read_to_string(&file)?;
        for clock in WALL_CLOCKS {
            assert!(!text.contains(clock), "{} reads the wall clock ({clock})", file.display());
        }
    }
    Ok(())
}
