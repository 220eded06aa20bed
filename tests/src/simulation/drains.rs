//! The user who lets workers take no jobs for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::protocol::Drain;

use super::drained::Drained;
use super::user::Place;

/// The pause before a server that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Drains workers as the history says, and lets them work again.
pub(super) async fn drain(place: Arc<impl Place>) {
    let (bus, all) = (place.connect(), place.history().drains.clone());
    let mut times: Vec<Duration> = all.iter().flat_map(|drained| [drained.from, drained.to]).collect();
    times.sort_unstable();
    for at in times {
        tokio::time::sleep(at.saturating_sub(place.now())).await;
        let held = all.iter().filter(|drained| (drained.from..drained.to).contains(&at));
        let how = |drained: &Drained| (format!("w{}", drained.worker), drained.now);
        let workers: BTreeMap<String, Drain> =
            held.map(how).map(|(name, now)| (name, Drain { by: "user".to_owned(), now })).collect();
        place.note(&format!("drained: {workers:?}"));
        while bus.change_drains(|drains| drains.workers.clone_from(&workers)).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}
