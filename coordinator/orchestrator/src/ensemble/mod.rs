//! Ensembles: which jobs vote (chosen on validation only), and the result of their vote.

mod choose;

pub use choose::{Certainty, GroupMean, Ranked, Scores, Selection, Step, choose};
pub use shared::vote::{MemberProbabilities, VoteError, score, vote};
