//! Hands in the result of an attempt that may have lost its job. The first result of a job is accepted; a later one is
//! compared with it.

use std::time::Duration;

use shared::books::{Fenced, JobRecord, Late, Token, difference};
use shared::bus::{Bucket, Bus, BusError};
use shared::ids::JobId;
use shared::protocol::Execution;
use shared::result::JobResult;
use shared::retry::Backoff;

use super::work::FinishedWork;

/// Time between two tries to reach a server that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// What happened to a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Settled {
    Accepted,
    /// It was accepted before, but the reply was lost.
    KnownAlready,
    /// Another attempt was faster and had the same result.
    SameAs(Token),
    /// Another attempt was faster and had another result, which is kept. A note in the record says so.
    DiffersFrom(Token, String),
    Refused(Fenced),
    /// The books do not have this job: it belongs to another server.
    Unknown,
}

/// Hands in the result of `by`, whose job is carried out like this. Waits while the server is away.
pub(super) async fn settle(
    bus: &Bus,
    by: &Token,
    finished_work: &FinishedWork,
    execution: &Execution,
) -> Result<Settled, BusError> {
    let result = &finished_work.result;
    loop {
        let Some(entry) = answered(|| bus.record(result.job)).await? else { return Ok(Settled::Unknown) };
        match entry.record.finished_by(by, result.stopped_after) {
            Late::Accept(next) => {
                let next = if execution.drops_last_checkpoint { next.without_checkpoints() } else { *next };
                upload(bus, finished_work).await;
                let next = next.dated(bus.server_seconds());
                match commit(bus, entry.revision, &next, result).await {
                    Ok(()) => return Ok(Settled::Accepted),
                    Err(BusError::Conflict { .. }) => {} // The holder has sent a heartbeat, so look again.
                    Err(error) => return Err(error),
                }
            }
            Late::Done(token) if &token == by => return Ok(Settled::KnownAlready),
            Late::Done(token) => {
                let accepted = answered(|| bus.result(result.job)).await?;
                let Some(what) = difference(&accepted, result) else { return Ok(Settled::SameAs(token)) };
                let Some(noted) = entry.record.contradicted(by, &what) else { continue };
                match bus.swap(result.job, entry.revision, &noted).await {
                    Ok(_) => return Ok(Settled::DiffersFrom(token, what)),
                    Err(BusError::Conflict { .. }) => {} // Somebody else has added a note, so look again.
                    Err(error) => return Err(error),
                }
            }
            Late::Refused(fenced) => return Ok(Settled::Refused(fenced)),
        }
    }
}

impl Settled {
    /// Logs it.
    pub(super) fn tell(&self, job: JobId, by: &Token) {
        match self {
            Self::Accepted | Self::KnownAlready => tracing::info!(%job, "the result of {by} was accepted"),
            Self::SameAs(token) => {
                tracing::warn!(%job, "the result of {by} was not needed: {token} had already handed in the same");
            }
            Self::DiffersFrom(token, what) => tracing::error!(
                %job,
                "the result of {by} was refused: it differs in {what} from that of {token}, which was accepted before"
            ),
            Self::Refused(fenced) => tracing::warn!(%job, "the result was refused: {fenced}"),
            Self::Unknown => {
                tracing::warn!(%job, "this server does not know the job; its result stays on this machine");
            }
        }
    }
}

/// Stores everything that a result points to. Returns when the server has it.
pub(super) async fn upload(bus: &Bus, finished_work: &FinishedWork) {
    for (blob, bytes) in &finished_work.blobs {
        bus.store_blob(Bucket::Results, blob, bytes.clone()).await;
    }
}

/// Enters a result, with the times that the record knows, together with the record's move to done. A log with which it is
/// too large for the server is left out.
pub(super) async fn commit(
    bus: &Bus,
    revision: u64,
    done: &JobRecord,
    result: &JobResult,
) -> Result<(), BusError> {
    let result = JobResult { times: done.journal.times(), ..result.clone() };
    match bus.commit(revision, done, &result).await {
        Err(BusError::TooLarge { .. }) if !result.log.is_empty() => {
            tracing::warn!(job = %result.job, "the result is too large for the server; its log is left out");
            bus.commit(revision, done, &result.without_log()).await
        }
        outcome => outcome,
    }
}

/// Repeats the request until the server answers.
async fn answered<T, F: Future<Output = Result<T, BusError>>>(ask: impl FnMut() -> F) -> Result<T, BusError> {
    Backoff::every(AGAIN).endless().run(ask, BusError::is_transient, |_| ()).await
}
