//! How an ensemble stands, in words.

use shared::plural::count;
use shared::protocol::{EnsembleState, ScoredEnsemble};

/// The score, and whether it may still change; `None` without one.
pub fn score(state: &EnsembleState) -> Option<String> {
    match state {
        EnsembleState::Provisional { val_macro_f1, .. } => Some(format!("F1 {} so far", f1(*val_macro_f1))),
        EnsembleState::Final { val_macro_f1, .. } => Some(format!("final F1 {}", f1(*val_macro_f1))),
        EnsembleState::Waiting | EnsembleState::Unscored { .. } => None,
    }
}

/// The score, or why there is none, and what it waits for.
pub fn standing(ensemble: &ScoredEnsemble) -> String {
    let ScoredEnsemble { candidates, waiting, failed, state, .. } = ensemble;
    let scored = match state {
        EnsembleState::Provisional { members, .. } | EnsembleState::Final { members, .. } => {
            score(state).map(|score| format!("{score}, with {}", count(*members, "member")))
        }
        EnsembleState::Unscored { why } => Some(format!("no score: {why}")),
        EnsembleState::Waiting => None,
    };
    let waits = (*waiting > 0).then(|| format!("waits for {waiting} of {}", count(*candidates, "candidate")));
    let failed = (*failed > 0).then(|| format!("{} failed", count(*failed, "candidate")));
    let parts: Vec<String> = scored.into_iter().chain(waits).chain(failed).collect();
    if parts.is_empty() { "it has no candidates".to_owned() } else { parts.join("; ") }
}

/// As the report writes it: a decimal half is rarely exact in binary.
fn f1(value: f64) -> String {
    format!("{:.2}", value + 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_well() {
        let states = [
            (3, 0, EnsembleState::Waiting),
            (2, 1, EnsembleState::Provisional { members: 1, val_macro_f1: 61.255 }),
            (0, 1, EnsembleState::Provisional { members: 2, val_macro_f1: 61.25 }),
            (0, 0, EnsembleState::Final { members: 3, val_macro_f1: 62.0 }),
            (1, 0, EnsembleState::Unscored { why: "its jobs have no predictions".into() }),
        ];
        let told = states.map(|(waiting, failed, state)| {
            standing(&ScoredEnsemble { name: "All".into(), candidates: 3, waiting, failed, state })
        });
        insta::assert_snapshot!(told.join("\n"), @"
        waits for 3 of 3 candidates
        F1 61.26 so far, with 1 member; waits for 2 of 3 candidates; 1 candidate failed
        F1 61.25 so far, with 2 members; 1 candidate failed
        final F1 62.00, with 3 members
        no score: its jobs have no predictions; waits for 1 of 3 candidates
        ");
    }
}
