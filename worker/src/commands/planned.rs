//! One job of a sweep file. Only `ferry` reads sweep files, so this asks it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use shared::ids::JobId;
use shared::job::TrainerId;
use shared::mtl::MtlSpec;
use shared::settings::Settings;

/// The output of `ferry plan --spec`.
#[derive(Debug, Deserialize)]
pub(super) struct Planned {
    pub(super) id: JobId,
    #[serde(default = "shared::mtl::trainer")]
    trainer: TrainerId,
    /// Every setting of the trainer.
    #[serde(rename = "spec")]
    settings: Settings,
    /// The folder of its dataset, if it has one.
    #[serde(default)]
    pack: Option<PathBuf>,
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

    /// The job's settings and the folder of its dataset.
    ///
    /// # Errors
    ///
    /// Another kind of trainer than that of the networks trains the job.
    pub(super) fn network_job(&self) -> anyhow::Result<(MtlSpec, &Path)> {
        let own = shared::mtl::trainer();
        ensure!(
            self.trainer.kind == own.kind,
            "job {} needs trainer {}, but this command knows jobs of trainer {} only",
            self.id,
            self.trainer.kind,
            own.kind
        );
        let spec = serde_json::from_value(Value::Object(self.settings.clone())).with_context(|| {
            format!("the settings of job {} are not those of trainer {}", self.id, own.kind)
        })?;
        let pack = self.pack.as_deref();
        Ok((spec, pack.with_context(|| format!("job {} has no dataset", self.id))?))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn planned(trainer: &TrainerId, settings: &Settings) -> Planned {
        let id = MtlSpec::default().id("d");
        let answer =
            json!({ "id": id, "trainer": trainer, "spec": settings, "pack": "there", "weights": [] });
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn only_jobs_of_networks_are_known_here() {
        let spec = MtlSpec::default().with("seed", json!(3)).unwrap();
        let job = planned(&shared::mtl::trainer(), &spec.settings());
        assert_eq!(job.network_job().unwrap(), (spec, Path::new("there")));
        let other =
            planned(&shared::empty::trainer(), &Settings::new()).network_job().unwrap_err().to_string();
        assert!(
            other.ends_with("needs trainer empty, but this command knows jobs of trainer mtl only"),
            "{other}"
        );
    }
}
