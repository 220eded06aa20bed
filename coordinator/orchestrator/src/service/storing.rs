//! Keeps a fetched result, or tells why that must wait.

use anyhow::Context;
use shared::bus::BusError;
use shared::causes::in_words;
use shared::disk;
use shared::ids::JobId;

use super::downloads::FetchedResult;
use crate::engine::Event;

/// True if a full disk is the cause of the error.
fn wants_room(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(disk::is_lack_of_room)
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
            Err(error) => Err(error),
        },
        Err(error) if error.is_transient() => {
            tracing::warn!(%job, %error, "cannot fetch a result now; it is fetched again later");
            Ok(Event::NotStored(job))
        }
        Err(error) => Err(error).context(format!("the server has lost the result of job {job}")),
    }
}
