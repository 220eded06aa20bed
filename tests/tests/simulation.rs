//! The simulation holds the promises, repeats itself, and notices a server that breaks the rules.

use std::time::Duration;

use shared::bus::memory::{Damage, Flaw};
use tests::simulation::{self, Fault, Fixture, History, Kind, Options, Outcome, Script};

/// A taste of `make simulate`, which runs thousands.
const SEEDS: u64 = 120;

fn drawn(seed: u64, fixture: &Fixture) -> Outcome {
    simulation::run(History::draw(seed), fixture, Options::default())
}

#[test]
fn every_promise_holds() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for seed in 0..SEEDS {
        let outcome = drawn(seed, &fixture);
        assert_eq!(
            outcome.violation, None,
            "see it with: cargo run -p tests --bin ferry-sim -- --seed {seed} --trace"
        );
        assert!(outcome.counts.claims > 0, "seed {seed}: nothing was ever claimed");
    }
    Ok(())
}

#[test]
fn a_seed_repeats_itself() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let again = Fixture::new()?;
    let outcomes: Vec<_> = (0..SEEDS).map(|seed| drawn(seed, &fixture)).collect();
    for (seed, outcome) in (0..).zip(&outcomes) {
        assert_eq!(outcome, &drawn(seed, &again), "seed {seed}");
    }
    assert!(outcomes.windows(2).all(|pair| pair[0].digest != pair[1].digest), "seeds differ");
    Ok(())
}

#[test]
fn a_broken_fence_is_noticed() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for flaw in [Flaw::BlindSwap, Flaw::TornBatch] {
        let options = Options { flaw: Some(flaw), trace: false };
        let noticed = (0..SEEDS)
            .any(|seed| simulation::run(History::draw(seed), &fixture, options).violation.is_some());
        assert!(noticed, "{flaw:?} goes unnoticed in {SEEDS} histories");
    }
    Ok(())
}

/// Found by a drawn history: the next worker asked six times for each checkpoint, 15 s each, before it started over.
#[test]
fn checkpoints_without_bytes_are_given_up_soon() -> anyhow::Result<()> {
    let second = Duration::from_secs;
    let gone = Fault::Damage(Damage::NoChunks);
    let history = History {
        seed: 0,
        kind: Kind::Everything,
        jobs: vec![Script { epochs: 5, epoch: second(4), failures: 0 }],
        workers: 1,
        ours_alone: true,
        faults: vec![
            (second(9), gone),
            (second(13), gone),
            (second(14), Fault::KillWorker { worker: 0, rest: second(1) }),
        ],
        calm: second(16),
    };
    let outcome = simulation::run(history, &Fixture::new()?, Options::default());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.claims, 2);
    Ok(())
}
