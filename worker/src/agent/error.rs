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
    #[error("cannot start the async runtime: {0}")]
    Runtime(std::io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

impl AgentError {
    /// True if a restart would end the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Device(_) | Self::Out { .. } => true,
            Self::Bus(error) => error.is_bad_input(),
            Self::Packs(_) | Self::Weights(_) | Self::Runtime(_) | Self::Signals(_) => false,
        }
    }

    /// The folder that is full or read-only, if that is the cause.
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

    /// True if a retry may succeed soon, for example because another machine is still storing what is missing.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_transient(),
            Self::Packs(error) => error.is_transient(),
            Self::Weights(error) => error.is_transient(),
            Self::Device(_) | Self::Out { .. } | Self::Runtime(_) | Self::Signals(_) => false,
        }
    }
}
