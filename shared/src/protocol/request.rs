//! Somebody to the coordinator of a sweep: a request to change it while it runs, and the answer.
//!
//! A request stands in the books before anything happens, so it waits for a coordinator if none runs, and outlives one
//! that dies between the request and its effect.

use serde::{Deserialize, Serialize};

use super::JobChange;
use crate::blob::BlobRef;
use crate::ids::{JobId, RequestId};
use crate::plural::count;

/// A request and, once there is one, its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub v: u32,
    pub id: RequestId,
    /// The sweep that is to change.
    pub sweep: String,
    /// Who asks, for people.
    pub by: String,
    pub demand: Demand,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// What is to change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "demand", rename_all = "snake_case")]
pub enum Demand {
    /// How jobs of the sweep are carried out.
    Jobs {
        jobs: Vec<JobId>,
        #[serde(flatten)]
        change: JobChange,
    },
    /// The jobs, ensembles and tables of this plan that the sweep does not have yet are added to it.
    Add { plan: BlobRef },
    /// These jobs are no longer part of the sweep.
    Withdraw { jobs: Vec<JobId> },
    /// The sweep's file was edited, and this is its plan now. What was requested of the sweep before stays.
    Edit { plan: BlobRef },
}

impl Demand {
    /// Whether it names this job. Those about a plan name none.
    pub fn is_about(&self, job: JobId) -> bool {
        match self {
            Self::Jobs { jobs, .. } | Self::Withdraw { jobs } => jobs.contains(&job),
            Self::Add { .. } | Self::Edit { .. } => false,
        }
    }
}

/// What became of a request. It is given once and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was carried out. The remarks say what changed in the plan, or for which jobs it was not carried out, and why.
    Done { remarks: Vec<String> },
    /// It cannot be met.
    Refused { why: String },
    /// A later request contradicts it, and wins.
    Superseded { by: RequestId },
}

/// The most jobs that one request may name.
const MOST_JOBS: usize = 100_000;
/// The longest name of whoever asks, in bytes.
const LONGEST_NAME: usize = 256;

impl Request {
    /// Version of this record's layout. 2: an edited sweep file. 3: priorities.
    pub const VERSION: u32 = 3;

    pub fn new(id: RequestId, sweep: &str, by: &str, demand: Demand) -> Self {
        Self { v: Self::VERSION, id, sweep: sweep.to_owned(), by: by.to_owned(), demand, answer: None }
    }

    /// Checks a request that was received under the key of `id`.
    ///
    /// # Errors
    /// When it has another id, names no job or too many, or its texts would disturb a display.
    pub fn check(&self, id: RequestId) -> Result<(), String> {
        if self.id != id {
            return Err(format!("it is request {}", self.id));
        }
        if self.by.len() > LONGEST_NAME || self.by.contains(char::is_control) {
            return Err("the name of whoever asks is too long or not plain text".to_owned());
        }
        match &self.demand {
            Demand::Jobs { jobs, .. } | Demand::Withdraw { jobs } if jobs.is_empty() => {
                Err("it names no job".to_owned())
            }
            Demand::Jobs { jobs, .. } | Demand::Withdraw { jobs } if jobs.len() > MOST_JOBS => {
                Err(format!("it names {} jobs, more than {MOST_JOBS}", jobs.len()))
            }
            Demand::Jobs { .. } | Demand::Withdraw { .. } => Ok(()),
            Demand::Add { plan } | Demand::Edit { plan } => plan.check(u64::MAX),
        }
    }
}

impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jobs { jobs, change } => write!(f, "{} ({})", change.in_words(), count(jobs.len(), "job")),
            Self::Add { .. } => f.write_str("add jobs"),
            Self::Withdraw { jobs } => write!(f, "withdraw {}", count(jobs.len(), "job")),
            Self::Edit { .. } => f.write_str("follow the edited sweep file"),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done { remarks } if remarks.is_empty() => f.write_str("done"),
            Self::Done { remarks } => write!(f, "done; {}", remarks.join("; ")),
            Self::Refused { why } => write!(f, "refused: {why}"),
            Self::Superseded { by } => write!(f, "not done, because the later request {by} contradicts it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn request(demand: Demand) -> Request {
        Request::new(RequestId::new(Uuid::from_u128(7)), "demo", "ada on head", demand)
    }

    #[test]
    fn requests_survive_being_stored() {
        let jobs = vec![JobId::new(Uuid::from_u128(1))];
        let limit = JobChange::Limit { epochs: Some(4) };
        for demand in [
            Demand::Jobs { jobs: jobs.clone(), change: JobChange::Pause },
            Demand::Jobs { jobs: jobs.clone(), change: limit },
            Demand::Withdraw { jobs },
            Demand::Add { plan: BlobRef::of("plan.demo", b"{}") },
            Demand::Edit { plan: BlobRef::of("plan.demo", b"{}") },
        ] {
            let mut stored = request(demand);
            assert_eq!(stored.check(stored.id), Ok(()));
            stored.answer = Some(Answer::Refused { why: "it is done".into() });
            let text = serde_json::to_string(&stored).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), stored, "{text}");
        }
    }

    #[test]
    fn requests_that_cannot_be_meant_are_refused() {
        let id = |n| RequestId::new(Uuid::from_u128(n));
        let job = JobId::new(Uuid::from_u128(1));
        let pause = |jobs: usize| request(Demand::Jobs { jobs: vec![job; jobs], change: JobChange::Pause });
        assert!(pause(1).check(id(8)).is_err(), "under another key");
        assert!(pause(0).check(id(7)).is_err());
        assert!(pause(MOST_JOBS + 1).check(id(7)).is_err());
        assert!(Request { by: "\u{1b}[2J".into(), ..pause(1) }.check(id(7)).is_err());
    }
}
