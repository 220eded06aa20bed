//! Messages between coordinator and workers, by direction, and the subjects and keys that they use.

mod checkpoint_every;
mod drain;
mod execution;
mod order;
mod priority;
mod request;
mod scoreboard;
mod stored_file;
pub mod subjects;
pub mod timing;

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, WorkerId};
use crate::job::TrainerId;
use crate::pack::FILES;

pub use checkpoint_every::{CheckpointEvery, NotADistance};
pub use drain::{Drain, Drains};
pub use execution::{Execution, JobChange, Steering, Wish};
pub use order::JobOrder;
pub use priority::{NotAPriority, Priorities, Prioritised, Priority};
pub use request::{Answer, Demand, Request};
pub use scoreboard::{EnsembleState, Scoreboard, ScoredEnsemble};
pub use stored_file::StoredFile;
pub use timing::{Timing, TimingError};

/// Version of a server's store: raised with every new layout in the books. A worker only serves a store of its own
/// version; `ferry run` updates an older one. Version 1 was not written down. 2: jobs may be parked, workers have a
/// standing, checkpoints may lie within an epoch. 3: jobs of any trainer.
pub const SCHEMA: u32 = 3;

/// Worker to anyone who listens: progress for displays. It is never stored, and no decision depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReport {
    pub worker: WorkerId,
    pub job: JobId,
    /// The current epoch, from 1, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
    /// Finished steps of this epoch, of `steps`.
    pub step: u32,
    pub steps: u32,
}

/// Worker to the presence bucket: this worker is here. It expires by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub worker: WorkerId,
    pub host: String,
    /// `cpu` or `cuda:0`, and the model's name.
    pub device: String,
    pub job: Option<JobId>,
    /// The trainers that it offers: it takes no other jobs.
    #[serde(default)]
    pub trainers: Vec<TrainerId>,
    /// Workers of earlier versions do not say.
    #[serde(default)]
    pub readiness: Readiness,
}

/// Whether a worker takes jobs yet. A job is left to other workers even if they are only starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Its process is being started, or checks its device.
    Starting,
    #[default]
    Ready,
}

impl Presence {
    /// The presence of a worker whose process is about to be started. Whoever starts it reports this, because the
    /// process itself needs some seconds before it can. The worker withdraws it when it reports for itself; else it
    /// expires.
    pub fn announced(name: &str, host: &str, trainers: Vec<TrainerId>) -> Self {
        Self {
            worker: WorkerId::new(name, uuid::Uuid::nil()),
            host: host.to_owned(),
            device: "not known yet".to_owned(),
            job: None,
            trainers,
            readiness: Readiness::Starting,
        }
    }

    /// True if it offers this trainer.
    pub fn offers(&self, trainer: &TrainerId) -> bool {
        self.trainers.contains(trainer)
    }

    /// True if the texts are short and have no control characters, which a terminal would obey.
    pub fn is_plain(&self) -> bool {
        [&self.host, &self.device].iter().all(|text| text.len() <= 512 && !text.contains(char::is_control))
    }
}

/// A pack's files in the object store, under its content digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackManifest {
    pub v: u32,
    pub digest: String,
    /// File name within the pack and where its bytes are.
    pub files: Vec<(String, StoredFile)>,
}

impl PackManifest {
    /// Version of this record's layout. 2: files come in parts.
    pub const VERSION: u32 = 2;

    /// Checks a manifest that was received. It must name each file of a pack once and nothing else, because the names
    /// become paths.
    ///
    /// # Errors
    /// When it has another digest, or does not name exactly the files of a pack.
    pub fn check(&self, digest: &str) -> Result<(), String> {
        if self.digest != digest {
            return Err(format!("it belongs to another dataset, {:?}", self.digest));
        }
        let mut names: Vec<&str> = self.files.iter().map(|(name, _)| name.as_str()).collect();
        let mut expected = FILES;
        names.sort_unstable();
        expected.sort_unstable();
        if names == expected {
            Ok(())
        } else {
            Err(format!("it names the files {names:?}, but a pack has {expected:?}"))
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, (_, file)| sum.saturating_add(file.size()))
    }
}

/// A file of weights in the object store, under its content digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsManifest {
    pub v: u32,
    #[serde(alias = "blob")]
    pub file: StoredFile,
}

impl WeightsManifest {
    /// Version of this record's layout. 2: the file comes in parts.
    pub const VERSION: u32 = 2;
}

/// A sweep in the books: a pointer to its plan, which may be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRecord {
    pub v: u32,
    pub name: String,
    /// The coordinator's plan as JSON.
    pub plan: crate::blob::BlobRef,
    /// How often the plan was changed while the sweep ran.
    #[serde(default)]
    pub generation: u64,
    /// The newest request that changed the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<crate::ids::RequestId>,
}

impl SweepRecord {
    /// Version of this record's layout. 2: the plan may change.
    pub const VERSION: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobRef;

    const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_pack_is_its_four_files_and_nothing_else() {
        let file =
            || StoredFile { parts: vec![BlobRef { name: "b".into(), sha256: DIGEST.into(), size: 5 }] };
        let manifest = |names: &[&str]| PackManifest {
            v: PackManifest::VERSION,
            digest: DIGEST.into(),
            files: names.iter().map(|&name| (name.to_owned(), file())).collect(),
        };
        let good = manifest(&FILES);
        assert_eq!((good.check(DIGEST), good.size()), (Ok(()), 20));
        assert!(good.check("bbbb").is_err());
        let [a, b, c, d] = FILES;
        for names in
            [vec![], vec![a, b, c], vec![a, b, c, c], vec![a, b, c, "../x"], vec![a, b, c, d, "/etc/x"]]
        {
            assert!(manifest(&names).check(DIGEST).is_err(), "{names:?}");
        }
    }
}
