//! The user who lets workers take no jobs for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::protocol::Drain;
use shared::rng::{Purpose, Stream};

use super::history::{History, Kind};
use super::user::Place;

/// A worker that takes no jobs from one time to another; `now` if it hands back what it trains.
struct Drained {
    worker: usize,
    from: Duration,
    to: Duration,
    now: bool,
}

/// The pause before a server that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Which workers are drained in a history, and when; all of them work again when the last fault is over.
fn draw(history: &History) -> Vec<Drained> {
    let mut draw = Stream::new(history.seed, Purpose::Simulation, &[5]);
    let (workers, end) = (history.workers, history.faults_end);
    let most = match history.kind {
        Kind::OneKill | Kind::BadWorker => return Vec::new(),
        Kind::Kills | Kind::Everything => draw.below(4),
    };
    let drained = (0..most).map(|_| {
        let worker = draw.below(workers as u64) as usize;
        let [from, to] = [(); 2].map(|()| end.mul_f64(draw.between(0.0, 1.0)));
        Drained { worker, from: from.min(to), to: from.max(to), now: draw.chance(0.5) }
    });
    drained.collect()
}

/// Does so.
pub(super) async fn drain(place: Arc<impl Place>) {
    let (bus, all) = (place.connect(), draw(place.history()));
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
