//! Coordinator to anyone: how the ensembles of a sweep stand while it runs. For displays; no decision depends on it.

use serde::{Deserialize, Serialize};

/// How the ensembles of a sweep stand, as far as the run that conducts it last knew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scoreboard {
    pub v: u32,
    /// In the order of the plan.
    pub ensembles: Vec<ScoredEnsemble>,
    /// How many more there are: the entry has a bounded size.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// How one ensemble stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredEnsemble {
    pub name: String,
    /// The jobs among which it chooses its members.
    pub candidates: usize,
    /// Those that have not ended and could still change the members.
    pub waiting: usize,
    /// Those that failed for good and would count if they were trained after all.
    pub failed: usize,
    #[serde(flatten)]
    pub state: EnsembleState,
}

/// What is known of an ensemble's score: the macro F1 on validation in percent, as in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EnsembleState {
    /// No candidate has a result yet.
    Waiting,
    /// The score of the members so far, which may still change.
    Provisional { members: usize, val_macro_f1: f64 },
    /// Every candidate that could matter is done.
    Final { members: usize, val_macro_f1: f64 },
    /// There is none, for this reason.
    Unscored { why: String },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Scoreboard {
    /// Version of this record's layout.
    pub const VERSION: u32 = 1;

    /// The most ensembles in one entry.
    pub const MOST: usize = 256;

    /// The most bytes that their names have together.
    pub const LONGEST_NAMES: usize = 32 << 10;

    /// The most characters of a reason.
    pub const LONGEST_REASON: usize = 200;

    /// A scoreboard of the first of these ensembles, as many as fit.
    pub fn new(mut ensembles: Vec<ScoredEnsemble>) -> Self {
        let all = ensembles.len();
        let mut bytes = 0;
        let fitting = ensembles.iter().take(Self::MOST).take_while(|ensemble| {
            bytes += ensemble.name.len();
            bytes <= Self::LONGEST_NAMES
        });
        let fitting = fitting.count();
        ensembles.truncate(fitting);
        for ensemble in &mut ensembles {
            if let EnsembleState::Unscored { why } = &mut ensemble.state {
                *why = why.chars().take(Self::LONGEST_REASON).collect();
            }
        }
        Self { v: Self::VERSION, ensembles, left_out: all - fitting }
    }

    /// How this ensemble stands; `None` if that is not known.
    pub fn of(&self, name: &str) -> Option<&ScoredEnsemble> {
        self.ensembles.iter().find(|ensemble| ensemble.name == name)
    }
}

impl Default for Scoreboard {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl EnsembleState {
    /// The score, if there is one.
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Provisional { val_macro_f1, .. } | Self::Final { val_macro_f1, .. } => Some(*val_macro_f1),
            Self::Waiting | Self::Unscored { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ensemble(name: &str, state: EnsembleState) -> ScoredEnsemble {
        ScoredEnsemble { name: name.to_owned(), candidates: 8, waiting: 5, failed: 1, state }
    }

    #[test]
    fn what_is_written_is_flat_and_read_back() {
        let states = [
            EnsembleState::Waiting,
            EnsembleState::Provisional { members: 2, val_macro_f1: 61.25 },
            EnsembleState::Final { members: 8, val_macro_f1: 0.1 + 0.2 },
            EnsembleState::Unscored { why: "no labels".to_owned() },
        ];
        let board = Scoreboard::new(states.map(|state| ensemble("All", state)).into());
        let text = serde_json::to_string(&board).unwrap();
        let second = r#"{"name":"All","candidates":8,"waiting":5,"failed":1,"state":"provisional","members":2,"val_macro_f1":61.25}"#;
        assert!(text.starts_with(r#"{"v":1,"ensembles":[{"#) && text.contains(second), "{text}");
        assert_eq!(serde_json::from_str::<Scoreboard>(&text).unwrap(), board);
    }

    #[test]
    fn an_entry_stays_small_whatever_the_sweep() {
        let why = "é".repeat(1000);
        let many = |name: &str| {
            let state = EnsembleState::Unscored { why: why.clone() };
            Scoreboard::new(vec![ensemble(name, state); 1000])
        };
        let (short, long) = (many("a"), many(&"n".repeat(1000)));
        assert_eq!((short.ensembles.len(), short.left_out), (Scoreboard::MOST, 1000 - Scoreboard::MOST));
        assert_eq!((long.ensembles.len(), long.left_out), (32, 968));
        for board in [short, long] {
            let bytes = serde_json::to_vec(&board).unwrap().len();
            assert!(bytes < 256 << 10, "{bytes} bytes");
        }
        assert_eq!(Scoreboard::default().of("All"), None);
        assert!(many("a").of("a").is_some());
    }
}
