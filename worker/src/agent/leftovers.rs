//! Hands in what other workers of this machine left behind: they were killed, or ended while the server was away.

use std::io::ErrorKind;
use std::path::Path;

use shared::books::{JobRecord, JobState, Token};
use shared::bus::{Bus, BusError};

use super::hold::{Hold, Lost};
use super::settle::{Settled, settle};
use super::spool::{Content, Spool, SpoolError};
use super::uplink;
use super::work::Saved;

/// Why a job's folder stays where it is for now.
#[derive(Debug, thiserror::Error)]
enum Stays {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the server does not know the job: it belongs to another one")]
    Unknown,
}

/// Goes through everything that was left behind. What the server has or does not want is removed; the rest stays for the
/// next time.
pub(super) async fn hand_in(bus: &Bus, spool: &Spool) {
    for orphan in spool.leftovers() {
        for folder in orphan.jobs() {
            match close(bus, &folder).await {
                Ok(()) => remove(&folder),
                Err(Stays::Spool(SpoolError::Decode { path, source })) => {
                    tracing::warn!("{} cannot be read ({source}): its folder is removed", path.display());
                    remove(&folder);
                }
                // The worker ended before it had kept anything.
                Err(Stays::Spool(SpoolError::Io { source, .. })) if source.kind() == ErrorKind::NotFound => {
                    remove(&folder);
                }
                Err(stays) => tracing::debug!("{} stays: {stays}", folder.display()),
            }
        }
    }
}

/// What cannot be removed does no harm and is looked at again.
fn remove(folder: &Path) {
    let _gone = std::fs::remove_dir_all(folder);
}

/// Finishes with one job of a dead worker.
async fn close(bus: &Bus, folder: &Path) -> Result<(), Stays> {
    let Content { claim, saved, finished_work } = Content::read(folder)?;
    let (job, token) = (claim.order.job, claim.token);
    if bus.admitted_at(job).await? != Some(claim.admitted_nanos) {
        return Err(Stays::Unknown);
    }
    let entry = bus.record(job).await?.ok_or(Stays::Unknown)?;
    if let Some(finished_work) = finished_work {
        tracing::info!(%job, "handing in a result that {token} left behind");
        let settled = settle(bus, &token, &finished_work).await?;
        settled.tell(job, &token);
        return if settled == Settled::Unknown { Err(Stays::Unknown) } else { Ok(()) };
    }
    if !is_held(&entry.record, &token) {
        let now = entry.record.state.describe();
        tracing::warn!(%job, "what {token} left behind is not needed any more: the job is {now}");
        return Ok(());
    }
    let heartbeat = bus.timing().await?.heartbeat();
    let hold = Hold::new(bus.clone(), job, token, (entry.record, entry.revision), None, heartbeat);
    match give_back(bus, hold, job, &saved).await {
        Ok(()) => Ok(()),
        Err(Lost::Fenced(fenced)) => {
            tracing::warn!(%job, "{fenced}");
            Ok(())
        }
        Err(Lost::Bus(error)) => Err(error.into()),
    }
}

/// The holder is dead, so there is no need to wait for its lease: the job goes back with the newest checkpoints.
async fn give_back(bus: &Bus, mut hold: Hold, job: shared::ids::JobId, saved: &[Saved]) -> Result<(), Lost> {
    let newest = hold.checkpoints().next().map_or((0, 0), shared::books::Checkpoint::place);
    for saved in saved.iter().filter(|saved| (saved.epoch, saved.step) > newest) {
        uplink::send(bus, &mut hold, job, saved).await?;
    }
    let token = hold.token().clone();
    hold.lose().await?;
    tracing::info!(%job, "given back for {token}, which died");
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
