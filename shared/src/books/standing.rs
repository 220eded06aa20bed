//! A worker's standing: whether it may take jobs, and which ones it leaves to others. Pure.
//!
//! A worker is known by its name, which outlives its processes: a bad GPU is as bad after a restart.

use serde::{Deserialize, Serialize};

use super::JobRecord;
use crate::ids::JobId;

/// What the books say of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub v: u32,
    /// The worker's name ([`crate::ids::WorkerId::name`]).
    pub name: String,
    pub standing: Standing,
}

/// May it take jobs?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    Trusted,
    /// Different jobs failed on it, and nobody knows yet whether they or it are to blame: it tries only what failed
    /// elsewhere, until others have tried these.
    Probation {
        charges: Vec<Charge>,
    },
    /// It takes no job any more: jobs that failed on it went on elsewhere.
    Drained {
        charges: Vec<Charge>,
    },
    /// Its own canary failed, or it cannot have what it needs.
    Unfit {
        reason: String,
    },
}

/// One job that did not fare well on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub job: JobId,
    pub offence: Offence,
}

/// What happened to it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "offence", rename_all = "snake_case")]
pub enum Offence {
    Failed {
        error: String,
    },
    /// The worker fell silent before it stored a checkpoint.
    Lost,
}

impl std::fmt::Display for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.offence {
            Offence::Failed { error } => write!(f, "job {}: {error}", self.job.short()),
            Offence::Lost => write!(f, "job {}: the worker fell silent", self.job.short()),
        }
    }
}

impl WorkerRecord {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    pub fn new(name: &str, standing: Standing) -> Self {
        Self { v: Self::VERSION, name: name.to_owned(), standing }
    }
}

impl Standing {
    /// Why it takes no job any more; `None` while it does.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Trusted | Self::Probation { .. } => None,
            Self::Drained { charges } => Some(format!(
                "{} jobs went wrong on it that went on elsewhere ({})",
                charges.len(),
                charges_in_words(charges)
            )),
            Self::Unfit { reason } => Some(reason.clone()),
        }
    }

    /// True when the worker called `me` should leave this job to another one, if there is another: its own failure
    /// tells nothing new about the job, and on probation it only helps to tell who is to blame.
    pub fn leaves_to_others(&self, record: &JobRecord, me: &str) -> bool {
        let failed_on = record.failed_on();
        match self {
            Self::Trusted => failed_on.contains(me),
            Self::Probation { .. } | Self::Drained { .. } | Self::Unfit { .. } => {
                failed_on.is_empty() || failed_on.contains(me)
            }
        }
    }
}

/// Charges as one line.
pub fn charges_in_words(charges: &[Charge]) -> String {
    charges.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, token};
    use super::*;
    use uuid::Uuid;

    fn failed_on(name: &str) -> JobRecord {
        let by = token(1, name);
        running(&by).failed(&by, "x", &[], 1).unwrap()
    }

    #[test]
    fn a_second_opinion_comes_from_another_worker() {
        let trusted = Standing::Trusted;
        assert!(trusted.leaves_to_others(&failed_on("a"), "a"));
        assert!(!trusted.leaves_to_others(&failed_on("b"), "a"));
        assert!(!trusted.leaves_to_others(&JobRecord::pending(), "a"));
    }

    #[test]
    fn on_probation_a_worker_only_tries_what_failed_elsewhere() {
        let probation = Standing::Probation { charges: Vec::new() };
        assert!(probation.leaves_to_others(&JobRecord::pending(), "a"));
        assert!(probation.leaves_to_others(&failed_on("a"), "a"));
        assert!(!probation.leaves_to_others(&failed_on("b"), "a"));
    }

    #[test]
    fn who_is_out_says_why() {
        let job = JobId::new(Uuid::nil());
        let charges = vec![Charge { job, offence: Offence::Failed { error: "no memory".into() } }];
        assert_eq!(Standing::Probation { charges: charges.clone() }.refusal(), None);
        let drained = Standing::Drained { charges }.refusal().unwrap();
        assert!(drained.contains("job 00000000: no memory"), "{drained}");
        let record = WorkerRecord::new("gpu0", Standing::Unfit { reason: "r".into() });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<WorkerRecord>(&text).unwrap(), record);
    }
}
