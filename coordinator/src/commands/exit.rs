//! Which error ends `ferry` with which exit code: the one table. The codes themselves are in `shared::exit`.

use std::error::Error;
use std::io;

use shared::bus::BusError;
use shared::exit::Exit;
use shared::pack::PackError;
use shared::retraining::Fault;

use super::confirm::NobodyToAsk;
use orchestrator::data::import::ImportError;
use orchestrator::data::synth::SynthError;
use orchestrator::devices::DevicesError;
use orchestrator::home::HomeError;
use orchestrator::report::ReportError;
use orchestrator::run_dir::RunDirError;
use orchestrator::service::{
    ChooseError, EditError, EtaError, FollowError, RemovalError, UnknownWeights, VerifyError, WorkersError,
};
use orchestrator::sweep::problem::SweepError;

/// An error that knows how the process ends because of it.
pub(super) trait ProcessExit: Error + 'static {
    fn process_exit_code(&self) -> Exit;
}

/// The code of the outermost error in `error` that knows its own; one that none knows is a failure.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(code).unwrap_or(Exit::Failed)
}

fn code(error: &(dyn Error + 'static)) -> Option<Exit> {
    fn of<E: ProcessExit>(error: &(dyn Error + 'static)) -> Option<Exit> {
        error.downcast_ref::<E>().map(E::process_exit_code)
    }
    let known = [
        of::<BadInput>,
        of::<NobodyToAsk>,
        of::<EditError>,
        of::<ChooseError>,
        of::<EtaError>,
        of::<FollowError>,
        of::<RemovalError>,
        of::<WorkersError>,
        of::<VerifyError>,
        of::<SweepError>,
        of::<RunDirError>,
        of::<ReportError>,
        of::<PackError>,
        of::<ImportError>,
        of::<SynthError>,
        of::<DevicesError>,
        of::<HomeError>,
        of::<BusError>,
        of::<UnknownWeights>,
        of::<io::Error>,
    ];
    known.into_iter().find_map(|of| of(error))
}

/// Something about the command line or a named file that no other type describes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub(super) String);

impl ProcessExit for BadInput {
    fn process_exit_code(&self) -> Exit {
        Exit::BadInput
    }
}

impl ProcessExit for NobodyToAsk {
    fn process_exit_code(&self) -> Exit {
        Exit::BadInput
    }
}

impl ProcessExit for ChooseError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::NoSweep
            | Self::SeveralSweeps(_)
            | Self::TwoSweeps { .. }
            | Self::InSeveralSweeps { .. }
            | Self::NoSuchJob(_)
            | Self::UnknownWord { .. }
            | Self::Selection(_) => Exit::BadInput,
            Self::Follow(error) => error.process_exit_code(),
            Self::Bus(error) => error.process_exit_code(),
        }
    }
}

impl ProcessExit for EtaError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Choose(error) => error.process_exit_code(),
            Self::UnknownDevice { .. } => Exit::BadInput,
        }
    }
}

impl ProcessExit for FollowError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Unknown(_) => Exit::BadInput,
            Self::Bus(error) => error.process_exit_code(),
            Self::Plan { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for RemovalError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Unknown { .. } | Self::Running(_) | Self::Held { .. } => Exit::BadInput,
            Self::Bus(error) => error.process_exit_code(),
            Self::Plan { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for WorkersError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Unknown { .. } | Self::NotDrained { .. } => Exit::BadInput,
            Self::Follow(error) => error.process_exit_code(),
            Self::Bus(error) => error.process_exit_code(),
        }
    }
}

impl ProcessExit for VerifyError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Nothing { .. }
            | Self::NotStored { .. }
            | Self::UnknownTrainer(_)
            | Self::Foreign(_)
            | Self::Failed { fault: Fault::Input, .. } => Exit::BadInput,
            Self::RunDir(error) => error.process_exit_code(),
            Self::Bus(error) => error.process_exit_code(),
            Self::Start { source, .. } => Exit::of_io(source),
            // It has said what is wrong with its command line, such as the device.
            Self::Ended(status) if status.code() == Some(Exit::BadInput.code().into()) => Exit::BadInput,
            Self::Failed { fault: Fault::Work, .. }
            | Self::Ended(_)
            | Self::Listen(_)
            | Self::Predictions { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for EditError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::BadInput,
            Self::Unanswered { .. } | Self::Overtaken { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for io::Error {
    fn process_exit_code(&self) -> Exit {
        Exit::of_io(self)
    }
}

impl ProcessExit for SweepError {
    fn process_exit_code(&self) -> Exit {
        Exit::BadInput
    }
}

impl ProcessExit for UnknownWeights {
    fn process_exit_code(&self) -> Exit {
        Exit::BadInput
    }
}

impl ProcessExit for RunDirError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Io { source, .. } => Exit::of_io(source),
            Self::NotARun { .. }
            | Self::OtherSweep { .. }
            | Self::NoDataset { .. }
            | Self::Version { .. }
            | Self::Damaged { .. } => Exit::BadInput,
            Self::Gone { .. }
            | Self::InUse { .. }
            | Self::UnknownJob { .. }
            | Self::Refused { .. }
            | Self::Samples { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for ReportError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::RunDir(error) => error.process_exit_code(),
            Self::Vote { .. } => Exit::BadInput,
            Self::Encode(_) => Exit::Failed,
        }
    }
}

impl ProcessExit for PackError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Io { source, .. } => Exit::of_io(source),
            Self::NotAPack(_)
            | Self::Version { .. }
            | Self::Manifest { .. }
            | Self::Index { .. }
            | Self::Size { .. }
            | Self::Digest { .. }
            | Self::Sample { .. }
            | Self::ImageSize(_)
            | Self::Link { .. }
            | Self::MountPoint(_)
            | Self::Occupied(_) => Exit::BadInput,
        }
    }
}

impl ProcessExit for ImportError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Pack(error) => error.process_exit_code(),
            Self::Read { source, .. } => Exit::of_io(source),
            Self::Busy(_) => Exit::Failed,
            Self::NoTrainingFolder(_)
            | Self::UnknownClass { .. }
            | Self::NothingExcluded(_)
            | Self::NoTrainingImage { .. }
            | Self::Table { .. }
            | Self::NoLandmarks(_)
            | Self::LandmarkTable { .. }
            | Self::LandmarkUnit { .. } => Exit::BadInput,
        }
    }
}

impl ProcessExit for SynthError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Pack(error) => error.process_exit_code(),
            Self::Size(_) | Self::TooFew(..) => Exit::BadInput,
        }
    }
}

impl ProcessExit for DevicesError {
    fn process_exit_code(&self) -> Exit {
        match self {
            // Only a change of the machine or of the environment helps.
            Self::Inventory(_) | Self::Flag { .. } | Self::Environment { .. } => Exit::BadInput,
        }
    }
}

impl ProcessExit for HomeError {
    fn process_exit_code(&self) -> Exit {
        match self {
            Self::Unusable { source, .. } | Self::Unreadable { source, .. } => Exit::of_io(source),
            Self::Version { .. } => Exit::BadInput,
            Self::Locked { .. } | Self::ServerElsewhere { .. } | Self::Gone { .. } => Exit::Failed,
        }
    }
}

impl ProcessExit for BusError {
    fn process_exit_code(&self) -> Exit {
        if self.is_bad_input() { Exit::BadInput } else { Exit::Failed }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;

    fn io(kind: io::ErrorKind) -> RunDirError {
        RunDirError::Io { action: "write", path: PathBuf::from("x"), source: kind.into() }
    }

    #[test]
    fn errors_end_by_their_type_however_they_are_wrapped() {
        let of = |error: anyhow::Error| super::of(&error.context("while reporting"));
        // A bad file and a missing one.
        assert_eq!(of(RunDirError::NotARun { path: PathBuf::new() }.into()), Exit::BadInput);
        assert_eq!(of(io(io::ErrorKind::NotFound).into()), Exit::BadInput);
        // A full disk, in a typed error, in one of another type, and bare.
        assert_eq!(of(ReportError::RunDir(io(io::ErrorKind::StorageFull)).into()), Exit::Failed);
        let pack = PackError::Io { path: PathBuf::new(), source: io::ErrorKind::StorageFull.into() };
        assert_eq!(of(ImportError::Pack(pack).into()), Exit::Failed);
        assert_eq!(of(io::Error::from(io::ErrorKind::StorageFull).into()), Exit::Failed);
        // An error of Ferry's own making.
        let encode = serde_json::from_str::<u8>("x").unwrap_err();
        assert_eq!(of(ReportError::Encode(encode).into()), Exit::Failed);
        assert_eq!(of(anyhow::anyhow!("nobody knows")), Exit::Failed);
        let read: Result<(), _> = Err(BadInput("p.csv:2: no class".to_owned())).context("predictions");
        assert_eq!(super::of(&read.unwrap_err()), Exit::BadInput);
    }
}
