//! Whether the requests that were in the books at the start have been seen. Before that, a sweep cannot be finished.

use shared::bus::{Bus, BusError};

/// The reconciliations after which nobody waits for them any longer: they may have been removed.
const PATIENCE: u32 = 3;

/// The requests and answers that were in the books at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlierRequests {
    /// Up to this revision, some were not delivered yet.
    Expected {
        until: u64,
        reconciliations: u32,
    },
    Seen,
}

impl EarlierRequests {
    pub(super) async fn of(bus: &Bus) -> Result<Self, BusError> {
        let expected = |until| Self::Expected { until, reconciliations: PATIENCE };
        match bus.newest_request().await {
            Ok(0) => Ok(Self::Seen),
            Ok(until) => Ok(expected(until)),
            Err(error) if error.is_transient() => Ok(expected(u64::MAX)),
            Err(error) => Err(error),
        }
    }

    /// A request or an answer was delivered.
    pub(super) fn saw(&mut self, revision: u64) {
        match self {
            Self::Expected { until, .. } if revision < *until => {}
            Self::Expected { .. } | Self::Seen => *self = Self::Seen,
        }
    }

    pub(super) fn reconciled(&mut self) {
        match self {
            Self::Expected { reconciliations: left @ 1.., .. } => *left -= 1,
            Self::Expected { .. } | Self::Seen => *self = Self::Seen,
        }
    }

    pub(super) fn are_seen(&self) -> bool {
        *self == Self::Seen
    }
}
