//! Coordinator to worker: a job, and how it is carried out.

use serde::{Deserialize, Serialize};

use super::{CheckpointEvery, Execution};
use crate::ids::JobId;
use crate::job::Job;
use crate::mtl::earlier::EarlierJob;
use crate::trainer::TrainerKind;

/// A job and how it is carried out. The job is fixed when it is admitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Layout")]
pub struct JobOrder {
    pub v: u32,
    /// The digest of `content`.
    pub job: JobId,
    pub content: Job,
    pub execution: Execution,
    /// When it was first written, if it was changed since: the server's time in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_nanos: Option<i64>,
}

/// The layouts of orders: versions 1 to 4 were of one trainer only.
#[derive(Deserialize)]
#[serde(untagged)]
enum Layout {
    Now {
        v: u32,
        job: JobId,
        content: Job,
        execution: Box<Execution>,
        #[serde(default)]
        admitted_nanos: Option<i64>,
    },
    Earlier {
        job: JobId,
        #[serde(flatten)]
        content: Box<EarlierJob>,
        #[serde(default)]
        checkpoint_every: CheckpointEvery,
    },
}

impl From<Layout> for JobOrder {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Now { v, job, content, execution, admitted_nanos } => {
                Self { v, job, content, execution: *execution, admitted_nanos }
            }
            Layout::Earlier { job, content, checkpoint_every } => {
                let execution = Execution::new(checkpoint_every, crate::mtl::Mtl.ranking());
                let content = (*content).into();
                Self { v: Self::VERSION, job, content, execution, admitted_nanos: None }
            }
        }
    }
}

impl JobOrder {
    /// Version of this message's layout. 2: a job may start from weights. 3: a job may have an arithmetic of its own.
    /// 4: how often to store checkpoints. 5: of any trainer.
    pub const VERSION: u32 = 5;

    /// The order for a job.
    pub fn new(content: Job, execution: Execution) -> Self {
        Self { v: Self::VERSION, job: content.id(), content, execution, admitted_nanos: None }
    }

    /// Checks an order that was received for `job`. A job's id covers everything that its result depends on, so nobody
    /// can put other settings or another dataset under it.
    ///
    /// # Errors
    /// When a digest is malformed, or the order's contents do not hash to the job's id.
    pub fn check(&self, job: JobId) -> Result<(), String> {
        self.content.inputs.check()?;
        if self.job != job || self.content.id() != job {
            return Err("its contents belong to another job".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mtl::{MtlSpec, REVISION};

    const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn order(spec: &MtlSpec, dataset_digest: &str) -> JobOrder {
        let execution = Execution::new(CheckpointEvery::default(), crate::mtl::Mtl.ranking());
        JobOrder::new(spec.job(dataset_digest), execution)
    }

    #[test]
    fn an_order_that_does_not_match_its_id_is_refused() {
        let good = order(&MtlSpec::default(), DIGEST);
        assert_eq!(good.check(good.job), Ok(()));
        let mut spec = MtlSpec::default();
        spec.training.epochs += 1;
        let other = order(&spec, DIGEST);
        assert!(other.check(good.job).is_err(), "the order of another job");
        assert!(JobOrder { job: good.job, ..other }.check(good.job).is_err(), "other settings under this id");
        for digest in ["../../etc", "", &DIGEST.to_uppercase(), &"a".repeat(65)] {
            let bad = order(&MtlSpec::default(), digest);
            assert!(bad.check(bad.job).is_err(), "{digest}");
        }
    }

    #[test]
    fn an_order_of_an_earlier_version_is_the_same_job() {
        let weights = format!("sha256:{DIGEST}");
        let spec = MtlSpec::default().with("head_weights", json!(weights)).unwrap();
        let now = order(&spec, DIGEST);
        let earlier = json!({
            "v": 4, "job": now.job, "spec": spec, "dataset_digest": DIGEST, "trainer_revision": REVISION,
            "checkpoint_every": "200 steps",
        });
        let read: JobOrder = serde_json::from_value(earlier).unwrap();
        assert_eq!(read.check(now.job), Ok(()));
        assert_eq!(
            (&read.content, read.execution.checkpoint_every.to_string()),
            (&now.content, "200 steps".into())
        );
        let again: JobOrder = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
        assert_eq!(again, now);
    }

    #[test]
    fn numbers_survive_being_stored() {
        let spec = MtlSpec::default().with("learning_rate", json!(0.1 + 0.2)).unwrap();
        let now = order(&spec, DIGEST);
        let again: JobOrder = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
        assert_eq!(again.check(now.job), Ok(()));
    }
}
