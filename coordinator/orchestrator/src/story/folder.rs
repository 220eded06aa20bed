//! The story as a run folder tells it: results and final failures, without times.

use shared::result::JobResult;

use super::{Outcome, Source, Story, Told, What, begun, score, warnings};
use crate::run_dir::JobFiles;
use crate::sweep::plan::{Plan, PlannedJob};
use crate::view::labels::Labels;

impl Story {
    /// The story of a job of `plan`.
    pub fn of_folder(plan: &Plan, job: &PlannedJob, files: &JobFiles) -> Self {
        let outcome = match (&files.result, &files.failure) {
            (Some(result), _) => Outcome::Done {
                worker: result.worker.name().to_owned(),
                attempt: result.attempt,
                stopped_after: result.stopped_after,
                result: Some(score(plan, result)),
            },
            (None, Some(failure)) => Outcome::Failed {
                reason: failure.error.clone(),
                log: failure.log.clone(),
                reproduce: Labels::of(plan).reproduce(job.id),
            },
            (None, None) => Outcome::Unknown,
        };
        let mut story = begun(plan, job, Source::Folder, outcome);
        let replaced = |result: &JobResult| What::Replaced {
            attempt: result.attempt,
            worker: result.worker.name().to_owned(),
            score: plan.ranking.score(&result.metrics),
            epochs: result.epochs(),
        };
        let earlier = files.earlier.iter().map(|result| Told { at: None, what: replaced(result) });
        story.events = earlier.collect();
        let attempts = files.result.as_ref().map_or(0, |result| result.attempt.0);
        let told = files.earlier.len() + usize::from(files.result.is_some());
        story.untold = attempts.saturating_sub(u32::try_from(told).unwrap_or(u32::MAX));
        story.warnings = files.result.as_ref().map_or_else(Vec::new, |result| warnings(plan, job, result));
        story
    }
}
