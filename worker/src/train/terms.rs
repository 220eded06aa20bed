//! The terms of the loss.

use std::fmt;

/// The number of terms. Each includes its factor, so that their sum is the loss.
pub const TERMS: usize = 4;

/// One term of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    CrossEntropy,
    Affinity,
    Partition,
    Landmark,
}

impl Term {
    pub(super) const ALL: [Self; TERMS] =
        [Self::CrossEntropy, Self::Affinity, Self::Partition, Self::Landmark];
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CrossEntropy => "cross-entropy",
            Self::Affinity => "affinity",
            Self::Partition => "partition",
            Self::Landmark => "landmark",
        })
    }
}
