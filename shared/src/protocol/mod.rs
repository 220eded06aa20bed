//! What travels between coordinator and workers, by direction, and the subjects it travels on.

pub mod subjects;

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, WorkerId};
use crate::job::JobSpec;

/// Coordinator to worker: what to train. Frozen when the job is admitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobOrder {
    pub v: u32,
    pub job: JobId,
    pub spec: JobSpec,
    /// Content digest of the pack to train on.
    pub dataset_digest: String,
    /// [`crate::job::TRAINER_REVISION`] of whoever made the order; a worker of another revision leaves it alone.
    pub trainer_revision: u32,
}

impl JobOrder {
    /// Version of this message's layout. 2: a job may start from weights, which a program of version 1 would pass over.
    pub const VERSION: u32 = 2;
}

/// Worker to anyone who listens: a hint for displays, never stored, never decided upon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveReport {
    pub worker: WorkerId,
    pub job: JobId,
    /// Epoch in training, from 1, of `epochs`.
    pub epoch: u32,
    pub epochs: u32,
    /// Finished steps of this epoch, of `steps`.
    pub step: u32,
    pub steps: u32,
}

/// Worker to the presence bucket: who is there. Expires by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub worker: WorkerId,
    pub host: String,
    /// `cpu` or `cuda:0`, and the model's name.
    pub device: String,
    pub job: Option<JobId>,
}

/// A pack's files in the object store, under its content digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackManifest {
    pub v: u32,
    pub digest: String,
    /// File name within the pack and where its bytes are.
    pub files: Vec<(String, crate::result::BlobRef)>,
}

impl PackManifest {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;
}

/// A file of weights in the object store, under its content digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsManifest {
    pub v: u32,
    pub blob: crate::result::BlobRef,
}

impl WeightsManifest {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;
}

/// A sweep in the books: a pointer to its plan, which may be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRecord {
    pub v: u32,
    pub name: String,
    /// The coordinator's plan as JSON.
    pub plan: crate::result::BlobRef,
}

impl SweepRecord {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;
}
