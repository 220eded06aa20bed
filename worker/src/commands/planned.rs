//! One job of a sweep file. Only `ferry` reads sweep files, so this asks it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use shared::ids::JobId;
use shared::job::JobSpec;

/// The output of `ferry plan --spec`.
#[derive(Debug, Deserialize)]
pub(super) struct Planned {
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    pub(super) pack: PathBuf,
    /// The weights files that the sweep names.
    #[serde(default)]
    pub(super) weights: Vec<WeightsPlace>,
}

/// Where a weights file is.
#[derive(Debug, Deserialize)]
pub(super) struct WeightsPlace {
    pub(super) digest: String,
    pub(super) path: PathBuf,
}

impl Planned {
    /// The job of `sweep` whose id starts with `job`. Synthetic datasets are in `home`.
    pub(super) fn ask(sweep: &Path, job: &str, home: &Path) -> anyhow::Result<Self> {
        let ferry = ferry()?;
        let output = Command::new(&ferry)
            .arg("plan")
            .arg(sweep)
            .arg("--home")
            .arg(home)
            .args(["--spec", job])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", ferry.display()))?;
        ensure!(output.status.success(), "`ferry plan` did not give the job (see above)");
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "{} has another version than this program: use the `ferry` that was built with it",
                ferry.display()
            )
        })
    }
}

/// The program `ferry`: next to this one, otherwise on the PATH.
fn ferry() -> anyhow::Result<PathBuf> {
    let beside =
        std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(beside.clone()).chain(std::env::split_paths(&path));
    match places.find_map(|folder| Some(folder.join("ferry")).filter(|program| program.is_file())) {
        Some(program) => Ok(program),
        None => bail!(
            "`ferry`, which reads the sweep file, is neither in {} nor on the PATH: build it with `make build`",
            beside.display()
        ),
    }
}
