//! What a job is, whatever its trainer: a kind of trainer, its revision, settings, and inputs by content digest.
//!
//! How a job is carried out is not part of it ([`crate::protocol::Execution`]).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::blob::is_digest;
use crate::ids::JobId;
use crate::settings::Settings;

/// A kind of trainer: a short word such as `mtl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kind(String);

impl Kind {
    /// The kind of jobs from before there was another one.
    const FIRST: &'static str = "mtl";

    /// The kind with this name.
    ///
    /// # Errors
    /// When the name is not a plain word: it becomes part of messages and displays.
    pub fn new(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if (1..=32).contains(&name.len()) && name.chars().all(plain) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("{:?} is not the name of a trainer", name.chars().take(80).collect::<String>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kind of trainer at one revision. The revision is raised whenever the trainer computes something else for the same
/// settings, so that old results are not reused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrainerId {
    pub kind: Kind,
    pub revision: u32,
}

impl fmt::Display for TrainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (revision {})", self.kind, self.revision)
    }
}

/// What a job reads besides its settings, by SHA-256 digest of the content. A job may have no inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// Content digest of the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Files of weights.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub weights: BTreeSet<String>,
    /// A script or archive of code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Inputs {
    /// Checks inputs that came in a message: the digests become names of files.
    ///
    /// # Errors
    /// When one of them is not a digest.
    pub fn check(&self) -> Result<(), String> {
        match self.dataset.iter().chain(&self.weights).chain(&self.code).find(|digest| !is_digest(digest)) {
            None => Ok(()),
            Some(bad) => {
                Err(format!("{:?} is not a SHA-256 digest", bad.chars().take(80).collect::<String>()))
            }
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub trainer: TrainerId,
    /// The settings that matter for the result, in their canonical form.
    pub settings: Settings,
    #[serde(default)]
    pub inputs: Inputs,
}

/// Namespace of job ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6665_7272_795f_4a6f_a273_5f69_6473_0001);

impl Job {
    /// `UUIDv5` over everything that the job's result depends on.
    ///
    /// The first kind of trainer is not named in it, and its weights count by their digests in the settings, so that its
    /// jobs keep the ids that they had before there were other kinds.
    pub fn id(&self) -> JobId {
        let Self { trainer, settings, inputs } = self;
        let of_any_kind = trainer.kind.as_str() != Kind::FIRST;
        let identity = Identity {
            code: of_any_kind.then_some(&inputs.code),
            dataset: inputs.dataset.as_deref().unwrap_or_default(),
            kind: of_any_kind.then_some(&trainer.kind),
            settings,
            trainer: trainer.revision,
            weights: of_any_kind.then_some(&inputs.weights),
        };
        match serde_json::to_vec(&identity) {
            Ok(text) => JobId::new(Uuid::new_v5(&NAMESPACE, &text)),
            Err(error) => unreachable!("settings and digests are plain data: {error}"),
        }
    }
}

/// What a job's id is computed from, as JSON. Names are in order, like those in serde_json's map of settings, and numbers
/// have their shortest form, so equal content is equal text.
#[derive(Serialize)]
struct Identity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a Option<String>>,
    dataset: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a Kind>,
    settings: &'a Settings,
    trainer: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<&'a BTreeSet<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: &str) -> Job {
        let trainer = TrainerId { kind: Kind::new(kind).unwrap(), revision: 1 };
        Job { trainer, settings: Settings::new(), inputs: Inputs::default() }
    }

    #[test]
    fn kinds_are_plain_words() {
        for bad in ["", "a b", "../x", "Mtl", "a.b", &"a".repeat(33)] {
            assert!(Kind::new(bad).is_err(), "{bad:?}");
        }
        let kind = Kind::new("empty").unwrap();
        assert_eq!(serde_json::from_str::<Kind>(&serde_json::to_string(&kind).unwrap()).unwrap(), kind);
    }

    #[test]
    fn everything_that_matters_counts_in_the_id() {
        let plain = job("empty");
        let mut others = vec![job("other"), job("mtl")];
        for change in [
            |job: &mut Job| job.trainer.revision = 2,
            |job: &mut Job| drop(job.settings.insert("a".into(), 1.into())),
            |job: &mut Job| job.inputs.dataset = Some("d".into()),
            |job: &mut Job| assert!(job.inputs.weights.insert("w".into())),
            |job: &mut Job| job.inputs.code = Some("c".into()),
        ] {
            others.push(plain.clone());
            change(others.last_mut().unwrap());
        }
        let ids: BTreeSet<JobId> = others.iter().chain([&plain]).map(Job::id).collect();
        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn inputs_are_digests() {
        let digest = "a".repeat(64);
        let inputs = |dataset: &str| Inputs { dataset: Some(dataset.to_owned()), ..Inputs::default() };
        assert_eq!(inputs(&digest).check(), Ok(()));
        for bad in ["../../etc", "", &digest.to_uppercase()] {
            assert!(inputs(bad).check().is_err(), "{bad}");
        }
    }
}
