//! Hands in the leftovers of other workers on this machine that were killed, or ended while the server was away.

use std::io::ErrorKind;
use std::path::Path;

use shared::books::{JobRecord, JobState, Token};
use shared::bus::{Bus, BusError};
use shared::protocol::JobOrder;

use super::hold::{Hold, Lost};
use super::settle::{Settled, settle};
use super::spool::{Content, Spool, SpoolError};
use super::uplink;
use super::work::{Saved, WorkClaim};

/// Why a job's folder is kept for now.
#[derive(Debug, thiserror::Error)]
enum KeepReason {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("this server does not know the job, so it belongs to another one")]
    Unknown,
}

/// Hands in all leftovers. What the server has or does not need is removed; the rest is kept for the next time.
pub(super) async fn hand_in(bus: &Bus, spool: &Spool) {
    for orphan in spool.leftovers() {
        for folder in orphan.jobs() {
            match close(bus, &folder).await {
                Ok(()) => remove(&folder),
                Err(KeepReason::Spool(SpoolError::Decode { path, source })) => {
                    tracing::warn!("cannot read {} ({source}), so its folder is removed", path.display());
                    remove(&folder);
                }
                // The worker ended before it had stored anything.
                Err(KeepReason::Spool(SpoolError::Io { source, .. }))
                    if source.kind() == ErrorKind::NotFound =>
                {
                    remove(&folder);
                }
                Err(reason) => tracing::debug!("{} is kept: {reason}", folder.display()),
            }
        }
    }
}

/// If the folder cannot be removed, that does no harm: it is looked at again.
fn remove(folder: &Path) {
    let _gone = std::fs::remove_dir_all(folder);
}

/// Hands in what a dead worker left of one job.
async fn close(bus: &Bus, folder: &Path) -> Result<(), KeepReason> {
    let Content { claim, saved, finished_work } = Content::read(folder)?;
    let WorkClaim { order, token, admitted_nanos, .. } = claim;
    let job = order.job;
    let known = bus.order_entry(job).await?.filter(|known| known.admitted_nanos == admitted_nanos);
    let execution = known.ok_or(KeepReason::Unknown)?.order.execution;
    let entry = bus.record(job).await?.ok_or(KeepReason::Unknown)?;
    if let Some(finished_work) = finished_work {
        tracing::info!(%job, "handing in a result that {token} left behind");
        let settled = settle(bus, &token, &finished_work, &execution).await?;
        settled.tell(job, &token);
        return if settled == Settled::Unknown { Err(KeepReason::Unknown) } else { Ok(()) };
    }
    if !is_held(&entry.record, &token) {
        let now = entry.record.state.describe();
        tracing::warn!(%job, "the leftovers of {token} are no longer needed: the job is {now}");
        return Ok(());
    }
    let heartbeat = bus.timing().await?.heartbeat();
    let record = (entry.record, entry.revision);
    let hold = Hold::new(bus.clone(), job, token, record, None, heartbeat, execution);
    match give_back(bus, hold, &order, &saved).await {
        Ok(()) => Ok(()),
        Err(Lost::Fenced(fenced)) => {
            tracing::warn!(%job, "{fenced}");
            Ok(())
        }
        Err(Lost::Bus(error)) => Err(error.into()),
    }
}

/// Gives the job back with its newest checkpoints. The holder is dead, so there is no need to wait for its lease to end.
async fn give_back(bus: &Bus, mut hold: Hold, order: &JobOrder, saved: &[Saved]) -> Result<(), Lost> {
    let newest = hold.checkpoints().next().map_or((0, 0), shared::books::Checkpoint::place);
    for saved in saved.iter().filter(|saved| saved.place() > newest) {
        uplink::send(bus, &mut hold, order, saved, saved.report.iter().cloned().collect()).await?;
    }
    let token = hold.token().clone();
    hold.lose().await?;
    tracing::info!(job = %order.job, "given back in the name of {token}, which has died");
    Ok(())
}

fn is_held(record: &JobRecord, by: &Token) -> bool {
    match &record.state {
        JobState::Running { token, .. } => token == by,
        JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
            false
        }
    }
}
