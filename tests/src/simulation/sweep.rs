//! The sweep of a history: its plan, and a dataset of a few grey images that no training reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrator::sweep::plan::{DatasetSource, Plan, PlannedJob};
use shared::expression::LANDMARKS;
use shared::ids::JobId;
use shared::job::JobSpec;
use shared::job::training::TrainingSpec;
use shared::pack::{Pack, PackWriter, Sample, Split};

use super::history::{History, Script};

/// The dataset that all histories of a process share.
#[derive(Debug, Clone)]
pub struct Fixture {
    pub(super) pack: Arc<Pack>,
}

impl Fixture {
    /// Writes the dataset, opens it, and removes its files again.
    ///
    /// # Errors
    ///
    /// The temporary folder cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("pack");
        let mut writer = PackWriter::create(&dir, 1, serde_json::Value::Null)?;
        let landmarks = [[0.0; 2]; LANDMARKS];
        for split in Split::ALL {
            for index in 0..3u8 {
                writer.add(&Sample {
                    split,
                    id: &index.to_string(),
                    label: Some(index),
                    landmarks: Some(&landmarks),
                    pixels: &[index; 3],
                })?;
            }
        }
        writer.finish()?;
        Ok(Self { pack: Arc::new(Pack::open(&dir)?) })
    }

    /// The dataset.
    pub fn pack(&self) -> Arc<Pack> {
        self.pack.clone()
    }
}

/// A history's jobs.
pub(super) struct Sweep {
    pub(super) plan: Plan,
    pub(super) jobs: BTreeMap<JobId, (JobSpec, Script)>,
}

impl Sweep {
    pub(super) fn of(history: &History, fixture: &Fixture) -> Self {
        let digest = fixture.pack.digest();
        let specs = history.jobs.iter().enumerate().map(|(index, script)| {
            let seed = index as u64;
            let training = TrainingSpec { seed, epochs: script.epochs, ..TrainingSpec::default() };
            let spec = JobSpec { training, ..JobSpec::default() };
            (spec.id(digest), (spec, *script))
        });
        let jobs: BTreeMap<_, _> = specs.collect();
        let planned = jobs.iter().map(|(&id, (spec, _))| PlannedJob {
            id,
            group: "all".to_owned(),
            also_in: Vec::new(),
            params: serde_json::Map::new(),
            spec: spec.clone(),
        });
        let plan = Plan {
            name: "simulated".to_owned(),
            dataset: DatasetSource::Pack("pack".into()),
            dataset_digest: Some(digest.to_owned()),
            checkpoint_every: history.checkpoint_every,
            jobs: planned.collect(),
            ensembles: Vec::new(),
            tables: Vec::new(),
            weights: Vec::new(),
            notes: Vec::new(),
        };
        Self { plan, jobs }
    }

    /// Scripts by the seed in the job's settings, by which a training finds its script.
    pub(super) fn scripts(&self) -> BTreeMap<u64, Script> {
        self.jobs.values().map(|(spec, script)| (spec.training.seed, *script)).collect()
    }
}
