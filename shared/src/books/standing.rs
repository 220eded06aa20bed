//! A worker's standing: whether it may take jobs, and which jobs it leaves to others. Pure.
//!
//! Workers are known by name, which stays the same when they restart: a bad GPU is still bad after a restart.

use serde::{Deserialize, Serialize};

use super::JobRecord;
use crate::ids::JobId;

/// What the books say about one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub v: u32,
    /// The worker's name ([`crate::ids::WorkerId::name`]).
    pub name: String,
    pub standing: Standing,
    /// The user who trusts it again: what counted against it before counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Whether a worker may take jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    Trusted,
    /// Different jobs failed on it, and it is not known yet whether the jobs or the worker are the cause. Until others
    /// have tried these jobs, it only takes jobs that failed elsewhere.
    Probation {
        #[serde(rename = "charges")]
        incidents: Vec<Incident>,
    },
    /// It gets no more jobs, because jobs that failed on it got further elsewhere.
    Drained {
        #[serde(rename = "charges")]
        incidents: Vec<Incident>,
    },
    /// It took itself out: its self-test failed, or something it needs is missing.
    Unfit {
        reason: String,
    },
}

/// One job that failed or was lost on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub job: JobId,
    #[serde(rename = "offence")]
    pub kind: IncidentKind,
}

/// What happened to the job there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "offence", rename_all = "snake_case")]
pub enum IncidentKind {
    Failed {
        error: String,
    },
    /// The worker stopped responding before it stored a checkpoint.
    Lost,
}

impl std::fmt::Display for Incident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            IncidentKind::Failed { error } => write!(f, "job {}: {error}", self.job.short()),
            IncidentKind::Lost => write!(f, "job {}: the worker stopped responding", self.job.short()),
        }
    }
}

impl WorkerRecord {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    pub fn new(name: &str, standing: Standing) -> Self {
        Self { v: Self::VERSION, name: name.to_owned(), standing, by: None }
    }
}

impl Standing {
    /// Why it gets no more jobs; `None` while it may still take some.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Trusted | Self::Probation { .. } => None,
            Self::Drained { incidents } => Some(format!(
                "{} failed on it and went further elsewhere ({})",
                if incidents.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", incidents.len()) },
                incidents_in_words(incidents)
            )),
            Self::Unfit { reason } => Some(reason.clone()),
        }
    }

    /// True if the worker named `me` should leave this job to another worker, if there is one. If the job failed here
    /// before, another failure would say nothing new; on probation, a worker only takes jobs that help find the cause.
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

/// Incidents in one line.
pub fn incidents_in_words(incidents: &[Incident]) -> String {
    incidents.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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
        let probation = Standing::Probation { incidents: Vec::new() };
        assert!(probation.leaves_to_others(&JobRecord::pending(), "a"));
        assert!(probation.leaves_to_others(&failed_on("a"), "a"));
        assert!(!probation.leaves_to_others(&failed_on("b"), "a"));
    }

    #[test]
    fn a_worker_that_is_out_says_why() {
        let job = JobId::new(Uuid::nil());
        let incidents = vec![Incident { job, kind: IncidentKind::Failed { error: "no memory".into() } }];
        assert_eq!(Standing::Probation { incidents: incidents.clone() }.refusal(), None);
        let drained = Standing::Drained { incidents }.refusal().unwrap();
        assert!(drained.contains("job 00000000: no memory"), "{drained}");
        let record = WorkerRecord::new("gpu0", Standing::Unfit { reason: "r".into() });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<WorkerRecord>(&text).unwrap(), record);
    }
}
