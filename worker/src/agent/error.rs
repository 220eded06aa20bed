//! Why a worker ends, and whether waiting or a restart would help.

use std::path::Path;

use shared::bus::BusError;

use super::packs::PacksError;
use super::weights::WeightsError;
use crate::cuda::CudaError;

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Device(#[from] CudaError),
    #[error(transparent)]
    Packs(#[from] PacksError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("this worker is out: {reason}")]
    Out { reason: String },
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

impl AgentError {
    /// True when a restart would end the same way.
    pub fn is_hopeless(&self) -> bool {
        match self {
            Self::Device(_) | Self::Out { .. } => true,
            Self::Bus(error) => error.is_bad_input(),
            Self::Packs(_) | Self::Weights(_) | Self::Runtime(_) | Self::Signals(_) => false,
        }
    }

    /// The folder that is full or read-only, where that is the cause.
    pub(super) fn unwritable_folder(&self) -> Option<&Path> {
        let file = match self {
            Self::Packs(error) => error.unwritable()?,
            Self::Weights(error) => error.unwritable()?,
            Self::Bus(_) | Self::Device(_) | Self::Out { .. } | Self::Runtime(_) | Self::Signals(_) => {
                return None;
            }
        };
        file.ancestors().skip(1).find(|folder| folder.is_dir())
    }

    /// True when the same may succeed soon: another machine may just be storing what is missing.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_transient(),
            Self::Packs(error) => error.may_pass(),
            Self::Weights(error) => error.may_pass(),
            Self::Device(_) | Self::Out { .. } | Self::Runtime(_) | Self::Signals(_) => false,
        }
    }
}
