//! Runs a sweep from its plan to its report: starts what it needs, monitors it, and ends it gracefully.

mod agenda;
mod ask;
mod attendance;
mod backlog;
mod begin;
mod books;
mod choose;
mod comparison;
mod conductor;
mod continued;
mod dataset;
mod desertion;
mod downloads;
mod ending;
mod entering;
mod eta;
mod follow;
mod foretelling;
mod garbage;
mod input;
mod lease;
mod live_jobs;
mod local;
mod local_workers;
mod measured;
mod other_sweeps;
mod perform;
mod plans;
mod prepare;
mod progress;
mod provenance;
mod queueing;
mod removal;
mod review;
mod run;
mod run_request;
mod scoring;
mod server_health;
mod server_monitor;
mod session;
mod status;
mod stored_predictions;
mod storing;
mod story;
mod surroundings;
mod tenure;
mod unconducted;
mod verify;
mod wait_out;
mod weights;
mod window;
mod work;
mod worker_deaths;
mod workers;

use shared::signals::StopSignals;

pub use agenda::Agenda;
pub use ask::{EditError, ask, asker, new_request, to_add, to_edit};
pub use choose::{ChooseError, Chosen, choose, sweeps};
pub use comparison::{Comparison, compare};
pub use conductor::{Conductor, Extent, Role};
pub use continued::Shortened;
pub use desertion::LocalWorkers;
pub use downloads::{FetchedResult, Models};
pub use entering::{Entered, Entering, enter};
pub use eta::{Eta, EtaError, With, eta};
pub use follow::{FollowError, Followed, Following};
pub use garbage::{Ages, Collected, collect as collect_garbage};
pub use input::{Acted, Input};
pub use lease::Holder;
pub use measured::foretell;
pub use plans::steering_of;
pub use progress::{JobProgress, Stage, finished_epochs};
pub use removal::{Amount, Holdings, Removal, RemovalError, SweepHoldings, Target, sweep_holdings};
pub use review::Review;
pub use run::run;
pub use run_request::{RunEnd, RunRequest};
pub use session::{Ended, Session, SessionEnd};
pub use status::{BucketStatus, EnsembleStatus, JobStatus, Status, SweepStatus, read_status, status_with};
pub use story::{story, sweep_plan};
pub use surroundings::{Folder, Host};
pub use verify::{Past, RetrainSetup, Verified, VerifyError, past, verify};
pub use weights::UnknownWeights;
pub use work::Work;
pub use workers::{Does, Present, Undrained, WorkerStatus, WorkersError, drain, undrain, workers};

/// How many jobs that wait for a worker are in the server's queue at a time: enough for workers to go on for a while
/// without the coordinator, and few enough to look after all of them every 30 s.
pub const MOST_QUEUED: usize = 4096;

/// Resolves when the user, or the system, wants this process to end.
///
/// # Errors
/// When the system refuses a signal handler.
pub async fn interrupted() -> std::io::Result<()> {
    StopSignals::listen()?.requested().await;
    Ok(())
}
