//! Jobs of the paper's trainer with their settings as its own types, for the checks that no other trainer needs.

use shared::mtl::{self, MtlSpec};
use shared::trainer::TrainerKind;

use super::plan::PlannedJob;

/// A job, and its settings.
#[derive(Debug)]
pub(super) struct MtlJob<'a> {
    pub(super) job: &'a PlannedJob,
    pub(super) spec: MtlSpec,
}

/// True if `kind` is the paper's trainer.
pub(super) fn is_mtl(kind: &dyn TrainerKind) -> bool {
    kind.id().kind == mtl::trainer().kind
}

/// The jobs with their settings.
pub(super) fn jobs(jobs: &[PlannedJob]) -> Vec<MtlJob<'_>> {
    // The settings are those of a plan, so they can be read.
    let with_spec =
        jobs.iter().map(|job| Some(MtlJob { job, spec: MtlSpec::read(&job.settings.to_map()).ok()? }));
    with_spec.flatten().collect()
}
