//! What the books say to every worker before a claim: its standing, which jobs come first, and how long a lease lasts.

use std::sync::Arc;
use std::time::Duration;

use shared::books::Standing;
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::Timing;
use tokio::time::Instant;

/// For so long what was read is good enough for the next of many short jobs. A worker that has one job at a time reads
/// it again for each.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Conditions {
    read: Instant,
    pub(super) standing: Standing,
    pub(super) first: Vec<JobId>,
    pub(super) timing: Timing,
}

/// The conditions, as last read.
#[derive(Debug, Default)]
pub(super) struct KnownConditions(tokio::sync::Mutex<Option<Arc<Conditions>>>);

impl KnownConditions {
    /// What holds now for the worker `name`, or a moment ago if it `is_brisk`.
    pub(super) async fn now(
        &self,
        bus: &Bus,
        name: &str,
        is_brisk: bool,
    ) -> Result<Arc<Conditions>, BusError> {
        let mut known = self.0.lock().await;
        if let Some(known) = known.as_ref().filter(|known| is_brisk && known.read.elapsed() < FRESH) {
            return Ok(known.clone());
        }
        let read = Instant::now();
        let (standing, first, timing) = tokio::try_join!(bus.standing(name), bus.first(), bus.timing())?;
        let conditions = Arc::new(Conditions { read, standing, first, timing });
        *known = Some(conditions.clone());
        Ok(conditions)
    }
}
