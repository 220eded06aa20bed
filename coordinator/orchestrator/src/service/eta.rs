//! When a sweep will be done: from what the books say of its jobs and workers, in any process that may read them, and
//! what would change with more workers.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::books::JobState;
use shared::bus::{Bus, BusError};
use shared::ids::JobId;
use shared::protocol::LiveReport;

use super::attendance::Attendance;
use super::books::Books;
use super::choose::{ChooseError, sweeps};
use super::conductor::Conductor;
use super::follow::{self, FollowError};
use super::lease;
use super::work::{self, Work};
use crate::cost::forecast::Moment;
use crate::cost::{CostModel, DeviceOutlook, Open, Seat};
use crate::engine::Engine;
use crate::view::model::LiveJob;

/// What a running sweep has left, as its engine sees it.
#[derive(Debug)]
struct Left {
    /// With the epochs that are saved.
    jobs: Vec<(JobId, u32)>,
    held: BTreeMap<JobId, Open>,
}

impl Left {
    /// `reports` are what workers told last of these jobs' progress.
    fn of(engine: &Engine, cost: &mut CostModel, reports: &BTreeMap<JobId, &LiveReport>) -> Self {
        let jobs = engine.open_jobs();
        let held = jobs.iter().filter_map(|&(job, saved)| match &engine.record(job)?.state {
            JobState::Running { token, progress, .. } => {
                let epoch = progress.epoch.max(saved);
                let report = reports.get(&job).copied();
                Some((job, work::held(cost, (job, epoch), token.owner.name(), report)))
            }
            JobState::Pending | JobState::Done { .. } | JobState::Failed { .. } | JobState::Parked { .. } => {
                None
            }
        });
        let held = held.collect();
        Self { jobs, held }
    }

    fn iter(&self) -> impl Iterator<Item = Open> {
        let open = |&(job, saved)| self.held.get(&job).copied().unwrap_or_else(|| work::waiting(job, saved));
        self.jobs.iter().map(open)
    }
}

/// How a running sweep looks now, with the time that is left if the workers that are there do it. `usable` local ones will
/// be there soon, if they are not yet.
pub(super) fn look_ahead(
    conductor: &mut Conductor,
    live: &[LiveJob],
    attendance: &Attendance,
    usable: usize,
) -> Moment {
    let reports = live.iter().filter(|job| job.own).map(|job| (job.report.job, &job.report)).collect();
    let plan = conductor.plan().clone();
    let (engine, cost) = conductor.costs();
    let (left, out) = (Left::of(engine, cost, &reports), engine.workers_out());
    let (present, is_drained) = (attendance.present(), |name: &str| attendance.drains().of(name).is_some());
    let mut crew = work::crew(cost, &plan, present, &|name| out.contains(name) || is_drained(name));
    let drained = present.iter().filter(|worker| is_drained(worker.worker.name())).count();
    let soon = usable.saturating_sub(crew.len() + drained);
    crew.extend(std::iter::repeat_n(cost.typical(), soon));
    Moment {
        jobs: plan.jobs.len(),
        open: left.jobs.len(),
        work: cost.all_work(left.iter()),
        workers: crew.len(),
        left: cost.outlook(left.iter(), &crew).map(|outlook| outlook.time),
    }
}

/// When a sweep will be done.
#[derive(Debug, Clone, Serialize)]
pub struct Eta {
    pub sweep: String,
    /// With the workers that are there; with one like those before if there is none.
    pub left: Work,
    pub devices: Vec<DeviceOutlook>,
    /// Workers that are there and take its jobs.
    pub present: usize,
    /// A `ferry run` conducts the sweep. If not, all times count from when one does.
    pub is_conducted: bool,
    /// The same with more workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<With>,
}

/// What would be with more workers.
#[derive(Debug, Clone, Serialize)]
pub struct With {
    /// In words, such as `2 more like gpu0`.
    pub added: String,
    pub left: Work,
    pub devices: Vec<DeviceOutlook>,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum EtaError {
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(
        "no worker and no single device is called `{name}` here: {}",
        if .devices.is_empty() { "no device is known yet".to_owned() } else { format!("the devices are {}", .devices.join(", ")) }
    )]
    UnknownDevice { name: String, devices: Vec<String> },
}

impl From<BusError> for EtaError {
    fn from(error: BusError) -> Self {
        Self::Choose(error.into())
    }
}

impl From<FollowError> for EtaError {
    fn from(error: FollowError) -> Self {
        Self::Choose(error.into())
    }
}

/// When `sweep` will be done, and with so many more workers like the one, or with the device, of each name. It needs no
/// name if there is only one sweep.
///
/// # Errors
/// When there is no such sweep or device, or the server does not answer.
pub async fn eta(bus: &Bus, sweep: Option<&str>, add: &[(usize, String)]) -> Result<Eta, EtaError> {
    let sweeps = sweeps(bus).await?;
    let plan = match (sweep, sweeps.as_slice()) {
        (Some(name), _) => follow::plan(bus, name).await?,
        (None, [only]) => follow::plan(bus, only).await?,
        (None, []) => return Err(ChooseError::NoSweep.into()),
        (None, _) => return Err(ChooseError::SeveralSweeps(sweeps).into()),
    };
    let (books, present) = (Books::read(bus, &plan).await?, bus.workers().await?);
    let mut cost = books.cost(&plan);
    let crew = work::crew(&mut cost, &plan, &present, &|name| books.out.contains(name));
    let open = books.open(&plan, &mut cost);
    let mut more = crew.clone();
    for (number, like) in add {
        let unknown = || EtaError::UnknownDevice {
            name: like.clone(),
            devices: cost.devices().map(str::to_owned).collect(),
        };
        let seat = cost.another(like).ok_or_else(unknown)?;
        more.extend(std::iter::repeat_n(seat, *number));
    }
    let mut look = |crew: &[Seat]| {
        let left = Work::left(&mut cost, &open, crew);
        let outlook = cost.outlook(open.iter().copied(), crew);
        (left, outlook.map_or_else(Vec::new, |outlook| outlook.devices))
    };
    let (left, devices) = look(&crew);
    let with = (!add.is_empty()).then(|| {
        let words: Vec<String> =
            add.iter().map(|(number, like)| format!("{number} more like {like}")).collect();
        let (left, devices) = look(&more);
        With { added: words.join(" and "), left, devices }
    });
    let is_conducted = lease::is_held(bus, &plan.name).await?;
    Ok(Eta { sweep: plan.name, left, devices, present: crew.len(), is_conducted, with })
}
