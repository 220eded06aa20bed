//! When each fault is injected: a pure function of the seed and the size of the run.

use std::time::Duration;

use serde::Serialize;
use shared::protocol::Timing;
use shared::rng::{Purpose, Stream};

use super::fault::{Damage, Fault, Kind};

/// What a schedule depends on besides its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub workers: usize,
    pub faults: usize,
    /// The faults are spread over this time.
    pub length: Duration,
    /// Whether a disk can be filled here.
    pub disk: bool,
}

/// A fault and its time since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    pub at: Duration,
    #[serde(flatten)]
    pub fault: Fault,
}

/// How often each kind occurs in a round. The order within each round is random.
const ROUND: [(Kind, usize); Kind::ALL.len()] = [
    (Kind::KillWorker, 4),
    (Kind::StopWorker, 2),
    (Kind::FreezeWorker, 2),
    (Kind::SilenceLink, 2),
    (Kind::ResetLink, 2),
    (Kind::SlowLink, 1),
    (Kind::KillServer, 2),
    (Kind::KillCoordinator, 2),
    (Kind::DamageCheckpoint, 2),
    (Kind::FillDisk, 1),
    (Kind::Duplicate, 1),
];

/// The schedule of a seed, in order of time.
pub fn draw(seed: u64, shape: &Shape) -> Vec<Step> {
    let mut stream = Stream::new(seed, Purpose::Chaos, &[]);
    let mut kinds = Vec::new();
    while kinds.len() < shape.faults {
        let mut round: Vec<Kind> = ROUND
            .iter()
            .filter(|(kind, _)| shape.disk || *kind != Kind::FillDisk)
            .flat_map(|&(kind, times)| std::iter::repeat_n(kind, times))
            .collect();
        stream.shuffle(&mut round);
        kinds.extend(round);
    }
    kinds.truncate(shape.faults);
    let slot = shape.length.as_secs_f64() / shape.faults.max(1) as f64;
    let step = |(index, kind): (usize, Kind)| {
        let at = millis(slot * (index as f64 + stream.uniform()));
        Step { at, fault: fault(kind, shape.workers, &mut stream) }
    };
    kinds.into_iter().enumerate().map(step).collect()
}

fn fault(kind: Kind, workers: usize, stream: &mut Stream) -> Fault {
    let worker = stream.below(workers as u64) as usize;
    let lease = Timing::default().lease().as_secs_f64();
    match kind {
        Kind::KillWorker => Fault::KillWorker { worker, away: between(stream, 0.0, 4.0) },
        Kind::StopWorker => Fault::StopWorker { worker, away: between(stream, 0.0, 4.0) },
        Kind::FreezeWorker => Fault::FreezeWorker { worker, time: between(stream, 1.1 * lease, 1.6 * lease) },
        // Some end within the lease, some after it.
        Kind::SilenceLink => Fault::SilenceLink { worker, time: between(stream, 0.2 * lease, 1.6 * lease) },
        Kind::ResetLink => Fault::ResetLink { worker },
        Kind::SlowLink => Fault::SlowLink {
            worker,
            by: between(stream, 0.02, 0.3),
            time: between(stream, 0.3 * lease, lease),
        },
        Kind::KillServer => Fault::KillServer { away: between(stream, 0.0, 4.0) },
        // Every other one is restarted immediately, the rest after a while.
        Kind::KillCoordinator if stream.chance(0.5) => Fault::KillCoordinator { away: Duration::ZERO },
        Kind::KillCoordinator => Fault::KillCoordinator { away: between(stream, 0.3 * lease, 2.0 * lease) },
        Kind::DamageCheckpoint => {
            let damage = [Damage::Flip, Damage::Truncate, Damage::Delete][stream.below(3) as usize];
            Fault::DamageCheckpoint { worker, damage, away: between(stream, 0.0, 4.0) }
        }
        Kind::FillDisk => Fault::FillDisk { time: between(stream, 1.0, 5.0) },
        Kind::Duplicate => Fault::Duplicate,
    }
}

/// A random time between two numbers of seconds.
fn between(stream: &mut Stream, low: f64, high: f64) -> Duration {
    millis(stream.between(low, high))
}

/// In whole milliseconds, so that what is shown is exactly what was drawn.
fn millis(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1e3) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { workers: 4, faults: 100, length: Duration::from_mins(5), disk: true };

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        assert_eq!(draw(7, &SHAPE), draw(7, &SHAPE));
        assert_ne!(draw(7, &SHAPE), draw(8, &SHAPE));
    }

    #[test]
    fn faults_come_in_order_within_the_time_and_hit_workers_that_exist() {
        let steps = draw(1, &SHAPE);
        assert_eq!(steps.len(), 100);
        assert!(steps.is_sorted_by_key(|step| step.at));
        assert!(steps.iter().all(|step| step.at < SHAPE.length));
        let worker = |fault| match fault {
            Fault::KillWorker { worker, .. }
            | Fault::StopWorker { worker, .. }
            | Fault::FreezeWorker { worker, .. }
            | Fault::SilenceLink { worker, .. }
            | Fault::ResetLink { worker }
            | Fault::SlowLink { worker, .. }
            | Fault::DamageCheckpoint { worker, .. } => Some(worker),
            Fault::KillServer { .. }
            | Fault::KillCoordinator { .. }
            | Fault::FillDisk { .. }
            | Fault::Duplicate => None,
        };
        let mut hit: Vec<usize> = steps.iter().filter_map(|step| worker(step.fault)).collect();
        hit.sort_unstable();
        hit.dedup();
        assert_eq!(hit, [0, 1, 2, 3]);
    }

    #[test]
    fn one_round_holds_every_kind_and_no_disk_is_filled_where_there_is_none() {
        let round: usize = ROUND.iter().map(|(_, times)| times).sum();
        let shape = Shape { faults: round, ..SHAPE };
        let steps = draw(3, &shape);
        for (kind, times) in ROUND {
            assert_eq!(steps.iter().filter(|step| step.fault.kind() == kind).count(), times, "{kind:?}");
        }
        let without = draw(3, &Shape { disk: false, ..shape });
        assert!(without.iter().all(|step| step.fault.kind() != Kind::FillDisk));
    }

    #[test]
    fn freezes_outlast_the_lease() {
        let steps = draw(5, &SHAPE);
        let freezes = steps.iter().filter(|step| step.fault.kind() == Kind::FreezeWorker);
        for step in freezes {
            assert!(
                matches!(step.fault, Fault::FreezeWorker { time, .. } if time > Timing::default().lease()),
                "{step:?}"
            );
        }
    }
}
