//! Why a report cannot be built.

use crate::ensemble::VoteError;
use crate::run_dir::RunDirError;

/// Why a report could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error("ensemble `{ensemble}`: {source}. {}", remedy(source))]
    Vote { ensemble: String, source: VoteError },
    #[error("cannot encode the results: {0}")]
    Encode(#[from] serde_json::Error),
}

fn remedy(error: &VoteError) -> &'static str {
    match error {
        VoteError::Classes(..) => "Take jobs with equal classes only into it, in the sweep file.",
        VoteError::Empty | VoteError::Datasets(..) | VoteError::Samples(..) | VoteError::Rows(..) => {
            "Run the sweep again into a new folder."
        }
    }
}
