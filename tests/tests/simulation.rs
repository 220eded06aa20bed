//! The simulation holds the promises, repeats itself, and notices a server that breaks the rules.

use shared::bus::memory::Flaw;
use tests::simulation::{self, Fixture, Options};

/// A taste of `make simulate`, which runs thousands.
const SEEDS: u64 = 120;

/// Histories that once broke a promise, each with what it broke.
const ONCE_BROKEN: [(u64, &str); 0] = [];

#[test]
fn every_promise_holds() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for seed in (0..SEEDS).chain(ONCE_BROKEN.map(|(seed, _)| seed)) {
        let outcome = simulation::run(seed, &fixture, Options::default());
        assert_eq!(
            outcome.violation, None,
            "see it with: cargo run -p tests --bin ferry-sim -- --seed {seed} --trace"
        );
        assert!(outcome.claims > 0, "seed {seed}: nothing was ever claimed");
    }
    Ok(())
}

#[test]
fn a_seed_repeats_itself() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let again = Fixture::new()?;
    let outcomes: Vec<_> = (0..20).map(|seed| simulation::run(seed, &fixture, Options::default())).collect();
    for (seed, outcome) in (0..).zip(&outcomes) {
        assert_eq!(outcome, &simulation::run(seed, &again, Options::default()), "seed {seed}");
    }
    assert!(outcomes.windows(2).all(|pair| pair[0].digest != pair[1].digest), "seeds differ");
    Ok(())
}

#[test]
fn a_broken_fence_is_noticed() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for flaw in [Flaw::BlindSwap, Flaw::TornBatch] {
        let options = Options { flaw: Some(flaw), trace: false };
        let noticed = (0..SEEDS).any(|seed| simulation::run(seed, &fixture, options).violation.is_some());
        assert!(noticed, "{flaw:?} goes unnoticed in {SEEDS} histories");
    }
    Ok(())
}
