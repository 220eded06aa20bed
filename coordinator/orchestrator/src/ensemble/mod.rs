//! Ensembles: which jobs vote (chosen on validation only), and what they say together.

mod choose;

pub use choose::{Certainty, GroupMean, Ranked, Scores, Selection, Step, choose};
pub use shared::vote::{MemberProbabilities, VoteError, score, vote};
