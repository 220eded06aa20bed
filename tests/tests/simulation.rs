//! In the simulation all promises are kept, a seed always gives the same history, and broken rules are detected.

use std::time::Duration;

use memory_server::{Damage, ServerBug};
use shared::protocol::{CheckpointEvery, Timing};
use tests::simulation::{self, Bad, Counts, Fault, History, HistoryResult, Kind, Options, Script};

/// A tenth of `make simulate`: enough for the rarest event to happen several times.
const SEEDS: u64 = 1000;

/// Enough to compare histories, and for a broken fence to be noticed.
const FEW: u64 = 120;

fn drawn(seed: u64) -> HistoryResult {
    simulation::run(History::draw(seed), Options::default())
}

#[test]
fn every_promise_holds() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let outcome = drawn(seed);
        counts += outcome.counts;
        assert_eq!(outcome.violation, None, "to see it: cargo run --bin ferry-sim -- --seed {seed} --trace");
        assert!(outcome.counts.claims > 0, "seed {seed}: no job was ever claimed");
    }
    let Counts { midway, adopted, late, contradicted, .. } = counts;
    assert!(
        [midway, adopted, late, contradicted].iter().all(|count| *count > 0),
        "something never happened: {counts}"
    );
}

#[test]
fn a_seed_repeats_itself() {
    let outcomes: Vec<_> = (0..FEW).map(drawn).collect();
    for (seed, outcome) in (0..).zip(&outcomes) {
        assert_eq!(outcome, &drawn(seed), "seed {seed}");
    }
    assert!(outcomes.windows(2).all(|pair| pair[0].digest != pair[1].digest), "seeds differ");
}

#[test]
fn a_broken_fence_is_noticed() {
    // Few histories withdraw a job whose result is stored later.
    let bugs = [
        (ServerBug::BlindSwap, FEW),
        (ServerBug::TornBatch, FEW),
        (ServerBug::LostOrders, FEW),
        (ServerBug::LostPlans, 4 * FEW),
    ];
    for (bug, most) in bugs {
        let options = Options { bug: Some(bug), trace: false };
        let noticed = (0..most).any(|seed| simulation::run(History::draw(seed), options).violation.is_some());
        assert!(noticed, "{bug:?} goes unnoticed in {most} histories");
    }
}

/// The simulation found this: the next worker requested each checkpoint six times, 15 s each, before it started over.
#[test]
fn checkpoints_without_bytes_are_given_up_soon() {
    let second = Duration::from_secs;
    let gone = Fault::Damage(Damage::NoChunks);
    let history = History {
        seed: 0,
        kind: Kind::Everything,
        jobs: vec![Script { epochs: 5, epoch: second(4), failures: 0, torn: None, nondeterministic: false }],
        workers: 1,
        bad: None,
        ours_alone: true,
        checkpoint_every: CheckpointEvery::Epoch,
        timing: Timing::default(),
        most_queued: 4096,
        more_jobs: Vec::new(),
        drains: Vec::new(),
        asks: Vec::new(),
        faults: vec![
            (second(9), gone),
            (second(13), gone),
            (second(14), Fault::KillWorker { worker: 0, rest: second(1) }),
        ],
        faults_end: second(16),
    };
    let outcome = simulation::run(history, Options::default());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.claims, 2);
}

fn without_faults(jobs: Vec<Script>, workers: usize, bad: Option<(usize, Bad)>) -> History {
    History {
        seed: 0,
        kind: Kind::BadWorker,
        jobs,
        workers,
        bad,
        ours_alone: true,
        checkpoint_every: CheckpointEvery::Epoch,
        timing: Timing::default(),
        most_queued: 4096,
        more_jobs: Vec::new(),
        drains: Vec::new(),
        asks: Vec::new(),
        faults: Vec::new(),
        faults_end: Duration::from_secs(1),
    }
}

fn job(failures: u32) -> Script {
    Script { epochs: 3, epoch: Duration::from_secs(2), failures, torn: None, nondeterministic: false }
}

/// The checker makes sure that no good job suffers and no good worker is drained.
#[test]
fn bad_workers_and_bad_jobs_are_told_apart() {
    let always = u32::MAX;
    for (jobs, workers, bad) in [
        (vec![job(0); 5], 2, Some((0, Bad::Trainings))),
        (vec![job(0); 5], 2, Some((1, Bad::SelfTest))),
        (vec![job(0), job(always), job(0), job(always), job(0)], 2, None),
        (vec![job(always); 4], 2, None),
        // So many good jobs that the bad worker gets two of them, whatever the order.
        ([vec![job(always); 2], vec![job(0); 8]].concat(), 3, Some((1, Bad::Trainings))),
    ] {
        let history = without_faults(jobs, workers, bad);
        let outcome = simulation::run(history.clone(), Options::default());
        assert_eq!(outcome.violation, None, "{history:?}");
        assert_eq!(outcome.counts.drained > 0, bad.is_some(), "{history:?}: {}", outcome.counts);
    }
}

/// The server's clock is set back by an hour while a worker is dead, so the record seems to be from the future.
#[test]
fn a_clock_that_leaps_back_does_not_keep_a_dead_workers_job() {
    let second = Duration::from_secs;
    let history = History {
        seed: 0,
        kind: Kind::Everything,
        jobs: vec![Script { epoch: second(4), ..job(0) }],
        workers: 2,
        bad: None,
        ours_alone: true,
        checkpoint_every: CheckpointEvery::Epoch,
        timing: Timing::default(),
        most_queued: 4096,
        more_jobs: Vec::new(),
        drains: Vec::new(),
        asks: Vec::new(),
        faults: vec![
            (second(5), Fault::KillWorker { worker: 0, rest: second(3000) }),
            (second(5), Fault::KillWorker { worker: 1, rest: second(3) }),
            (second(6), Fault::ClockSetBack { by: second(3600) }),
        ],
        faults_end: second(9),
    };
    let outcome = simulation::run(history, Options::default());
    assert_eq!(outcome.violation, None);
}
