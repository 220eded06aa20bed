//! Ensembles: which jobs vote (chosen on validation only), the result of their vote, how they stand while a sweep runs,
//! and the search for better ones.

pub mod calibration;
mod choose;
pub mod combine;
pub mod live;
pub mod method;
pub mod search;

pub use choose::{Certainty, GroupMean, Ranked, Scores, Selection, Step, are_equal, choose};
pub use shared::vote::{MemberProbabilities, VoteError, score, vote};
