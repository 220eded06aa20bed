//! The sweep: many small jobs on synthetic faces that compute the same bits however often they are trained.

use std::fmt::Write as _;

/// Name of the sweep and of its run folder.
pub const NAME: &str = "chaos";

/// The largest number of jobs.
pub const MAX_JOBS: usize = 10_000;

/// A sweep file with this many jobs. Each job uses one thread, so that a CPU computes the same bits every time.
pub fn text(jobs: usize) -> String {
    let mut seeds = String::new();
    for seed in 0..jobs {
        let _ = write!(seeds, "{}{seed}", if seed == 0 { "" } else { ", " }); // Writing to a string cannot fail.
    }
    format!(
        "# Written by `ferry chaos`.
name: {NAME}
dataset:
  synthetic: {{seed: 3, train: 240, validation: 120, test: 60, image_size: 32}}

defaults:
  emotion_backbone: resnet18
  backbone: resnet18
  width: 4
  blocks: [1, 1, 1, 1]
  image_size: 32
  batch_size: 16
  learning_rate: 2.0e-3
  cpu_threads: 1
  epochs: 8

groups:
  toy:
    matrix:
      subset_seed: [{seeds}]
    settings: {{subset_fraction: 0.5}}

ensembles: {{}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchestrator::sweep::plan;

    #[test]
    fn it_has_as_many_different_jobs_as_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let plan = plan(&text(60), home.path(), home.path()).unwrap();
        assert_eq!((plan.jobs.len(), plan.name.as_str()), (60, NAME));
    }
}
