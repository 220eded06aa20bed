//! The models of an ensemble, as listed in a run folder's results.json.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use shared::ids::JobId;

use super::error::PredictError;

/// A model to predict with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub path: PathBuf,
    /// What the run recorded about it; `None` for a model given by its file.
    pub recorded: Option<Recorded>,
}

/// What a run folder records about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub job: JobId,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
}

impl Member {
    /// A model given by its file.
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), recorded: None }
    }
}

#[derive(Debug, Deserialize)]
struct Results {
    jobs: Vec<Job>,
    ensembles: Vec<Ensemble>,
}

#[derive(Debug, Deserialize)]
struct Job {
    id: JobId,
    #[serde(default)]
    model: Option<ModelFile>,
}

#[derive(Debug, Deserialize)]
struct ModelFile {
    path: PathBuf,
    sha256: String,
}

#[derive(Debug, Deserialize)]
struct Ensemble {
    name: String,
    members: Vec<JobId>,
    state: String,
}

const RESULTS: &str = "results.json";

/// The members of `RUN/NAME`: a run folder and the name of one of its ensembles. The name may contain slashes.
///
/// # Errors
///
/// There is no such run folder or ensemble, its results.json cannot be read, or the ensemble or one of its models is
/// not stored yet.
pub fn ensemble(run_and_name: &str) -> Result<Vec<Member>, PredictError> {
    let (run, name) = split(run_and_name)?;
    let path = run.join(RESULTS);
    let wrong = |problem: String| PredictError::Run { path: path.clone(), problem };
    let bytes = fs::read(&path).map_err(PredictError::io(&path))?;
    let results: Results = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("{error}; rebuild it with `ferry report {}`", run.display())))?;
    let Some(ensemble) = results.ensembles.iter().find(|ensemble| ensemble.name == name) else {
        let names: Vec<String> = results.ensembles.iter().map(|e| format!("`{}`", e.name)).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(wrong(format!("the run has no ensemble `{name}`; its ensembles: {known}")));
    };
    if ensemble.members.is_empty() {
        return Err(wrong(format!("ensemble `{name}` has no members yet: let `ferry run` finish")));
    }
    if ensemble.state != "final" {
        tracing::warn!(
            "ensemble `{name}` is {}: its members may change when more jobs finish",
            ensemble.state
        );
    }
    ensemble.members.iter().map(|id| member(&run, &results, *id).map_err(wrong)).collect()
}

fn member(run: &Path, results: &Results, id: JobId) -> Result<Member, String> {
    let job = results.jobs.iter().find(|job| job.id == id);
    let job = job.ok_or_else(|| {
        format!(
            "the file is damaged: it lists no job {id}, which is a member; rebuild it with `ferry report {}`",
            run.display()
        )
    })?;
    let model = job.model.as_ref().ok_or_else(|| {
        format!(
            "the model of member {id} is not in the run folder: repeat the `ferry run` command of this sweep with \
             --models members or --models all"
        )
    })?;
    if !model.path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("{} is not inside the run folder", model.path.display()));
    }
    let recorded = Some(Recorded { job: id, sha256: model.sha256.clone() });
    Ok(Member { path: run.join(&model.path), recorded })
}

/// Splits at the last slash before which there is a run folder.
fn split(run_and_name: &str) -> Result<(PathBuf, &str), PredictError> {
    let slashes = run_and_name.rmatch_indices('/').map(|(place, _)| place);
    for place in slashes {
        let (run, name) = (&run_and_name[..place], &run_and_name[place + 1..]);
        if Path::new(run).join(RESULTS).is_file() {
            return Ok((run.into(), name));
        }
    }
    if Path::new(run_and_name).join(RESULTS).is_file() {
        return Ok((run_and_name.into(), ""));
    }
    let problem =
        format!("no run folder with a {RESULTS}; use RUN/NAME, such as `runs/demo/MU & MA Best Weak`");
    Err(PredictError::Run { path: run_and_name.into(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn id(n: u32) -> String {
        format!("00000000-0000-0000-0000-{n:012}")
    }

    /// A run folder whose results.json is `results`.
    fn run(results: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RESULTS), results.to_string()).unwrap();
        folder
    }

    fn results() -> Value {
        let model =
            |n| json!({ "path": format!("models/{}.safetensors", id(n)), "sha256": format!("digest {n}") });
        json!({
            "jobs": [{ "id": id(1), "model": model(1) }, { "id": id(2), "model": model(2) },
                { "id": id(3), "model": null }, { "id": id(4), "model": { "path": "../x", "sha256": "" } }],
            "ensembles": [
                { "name": "Best 1/2 & all", "members": [id(2), id(1)], "state": "final" },
                { "name": "whole", "members": [id(1), id(3)], "state": "final" },
                { "name": "outside", "members": [id(4)], "state": "final" },
                { "name": "early", "members": [], "state": "provisional" },
            ],
        })
    }

    #[test]
    fn members_are_found_by_run_and_name() {
        let folder = run(&results());
        let found = ensemble(&format!("{}/Best 1/2 & all", folder.path().display())).unwrap();
        let expected = [2, 1].map(|n| Member {
            path: folder.path().join(format!("models/{}.safetensors", id(n))),
            recorded: Some(Recorded { job: id(n).parse().unwrap(), sha256: format!("digest {n}") }),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_found_is_explained() {
        let folder = run(&results());
        let refused =
            |name: &str| ensemble(&format!("{}{name}", folder.path().display())).unwrap_err().to_string();
        assert!(refused("/best").contains("`Best 1/2 & all`, `whole`"));
        assert!(refused("").contains("`whole`"));
        assert!(refused("/whole").contains("--models members"));
        assert!(refused("/early").contains("no members yet"));
        assert!(refused("/outside").contains("is not inside the run folder"));
        assert!(ensemble("nowhere/whole").unwrap_err().to_string().contains("no run folder"));
        fs::write(folder.path().join(RESULTS), "{").unwrap();
        assert!(refused("/whole").contains("ferry report"));
    }
}
