//! Keeps a fetched result, or tells why that must wait.

use anyhow::Context;
use shared::bus::BusError;
use shared::causes::in_words;
use shared::disk;
use shared::ids::JobId;

use super::downloads::FetchedResult;
use crate::engine::Event;
use crate::run_dir::RunDirError;

/// True if a full disk is the cause of the error.
fn wants_room(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(disk::is_lack_of_room)
}

/// True if the result cannot be used, so that its job counts as failed in this run.
pub(super) fn is_refused(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RunDirError::Refused { .. }))
}

/// Stores a fetched result, and returns the event that follows.
pub(super) fn stored(
    job: JobId,
    outcome: Result<FetchedResult, BusError>,
    store: &mut dyn FnMut(&FetchedResult) -> anyhow::Result<()>,
) -> anyhow::Result<Event> {
    match outcome {
        Ok(fetched) => match store(&fetched) {
            Ok(()) => Ok(Event::Stored(job)),
            Err(error) if wants_room(&error) => {
                let why = in_words(error.as_ref());
                tracing::warn!(%job, "{why}: make room on the disk; the result is safe on the server and is fetched again");
                Ok(Event::NotStored(job))
            }
            Err(error) => match error.downcast_ref() {
                Some(RunDirError::Refused { problem, .. }) => {
                    let why = format!("its result cannot be used: {problem}");
                    tracing::warn!(%job, "{why}; the job counts as failed in this run");
                    Ok(Event::Refused { job, why })
                }
                Some(_) | None => Err(error),
            },
        },
        Err(error) if error.is_transient() => {
            tracing::warn!(%job, %error, "cannot fetch a result now; it is fetched again later");
            Ok(Event::NotStored(job))
        }
        Err(error) => Err(error).context(format!("the server has lost the result of job {job}")),
    }
}
