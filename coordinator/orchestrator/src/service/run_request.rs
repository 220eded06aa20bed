//! Everything that a run needs, and how it may end.

use std::path::PathBuf;
use std::sync::Arc;

use shared::bus::Endpoint;
use shared::protocol::Timing;

use super::dataset::Dataset;
use super::downloads::Models;
use super::lease::Holder;
use super::review::Review;
use super::tenure::Tenure;
use crate::devices::ChosenGpu;
use crate::home::Home;
use crate::report;
use crate::sweep::plan::Plan;
use crate::view::Style;

/// Everything a run needs, resolved.
#[derive(Debug)]
pub struct RunRequest {
    pub plan: Arc<Plan>,
    /// The path of the sweep file as the user wrote it.
    pub file: PathBuf,
    /// Folder of the plan's dataset, if its jobs read one.
    pub dataset: Option<PathBuf>,
    pub home: Home,
    /// Folder of run folders.
    pub out: PathBuf,
    /// A server to use instead of one of our own.
    pub server: Option<Endpoint>,
    /// GPUs that get one worker each. If there are none, workers share the CPU cores.
    pub gpus: Vec<ChosenGpu>,
    /// Number of local workers. `None` leaves it to the devices.
    pub workers: Option<usize>,
    /// True if the user has said which or how many workers.
    pub names_workers: bool,
    /// Lease and heartbeat to set. `None` keeps those of the server.
    pub timing: Option<Timing>,
    /// Which models to store in the run folder at the end.
    pub models: Models,
    pub style: Style,
    /// Tells the user how the sweep file differs from the books.
    pub review: Review,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// The user did not want what would have followed from the sweep file. Nothing was changed.
    Declined,
    Finished {
        done: usize,
        failed: usize,
        /// On request.
        cancelled: usize,
        report: report::Written,
    },
    /// No worker is left that may take jobs. The report covers what is done so far.
    Stranded { done: usize, open: usize, why: String, report: report::Written },
    /// The user stopped it; the same command continues it.
    Interrupted {
        done: usize,
        open: usize,
        /// Workers that other programs started, and that keep training.
        elsewhere: Vec<String>,
        /// Another ferry has the state directory. Its workers train these jobs, now or later.
        is_guest: bool,
    },
    /// Another run stores the results in `folder`, and writes the report. This one watched the sweep, to its end or until
    /// the user stopped it (`is_detached`).
    Watched { done: usize, failed: usize, cancelled: usize, open: usize, folder: PathBuf, is_detached: bool },
}

/// What a run works with, from its start to its end.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub(super) request: &'a RunRequest,
    pub(super) dataset: Option<&'a Dataset>,
    pub(super) tenure: &'a Tenure,
    /// The run, as other runs know it by its leases.
    pub(super) holder: &'a Holder,
    /// False once the run has begun again, because it has more to itself now.
    pub(super) is_first: bool,
}
