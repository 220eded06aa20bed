//! The messaging side of a worker. It claims a job, lets the job's trainer train it, sends heartbeats, reports, hands in
//! the result and acknowledges the queue's message. It knows no kind of trainer.

mod claim;
mod conditions;
mod disk_wait;
mod error;
mod fitness;
mod hold;
mod incoming;
mod job;
mod leftovers;
mod log;
mod lull;
mod name;
mod own_jobs;
mod pace;
mod packs;
mod presence;
mod record_ages;
mod resume;
mod retrain;
mod serve;
mod settle;
mod spool;
mod state;
mod training;
mod turn;
mod uplink;
mod weights;
mod work;

pub use error::AgentError;
pub use log::Log;
pub use packs::{PackStore, PacksError, user_cache};
pub use retrain::{RetrainError, Retrainer};
pub use serve::{Equipment, run, serve};
pub use spool::{JobSpool, Spool};
pub use training::{
    Assignment, Instruction, Keeper, Reporter, Resume, StepProgress, Trainer, Training, TrainingError,
};
pub use weights::{WeightsError, WeightsStore};
pub use work::{Finished, FinishedPredictions, FinishedWork, Outcome, Saved, WorkClaim};
