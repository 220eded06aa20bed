//! How much work the jobs of a plan are, as their trainer estimates it, and what is left of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};
use shared::bus::{BookEntry, Bus, BusError};
use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::{LiveReport, Presence, Readiness};
use shared::trainer::{DatasetSize, Effort};

use crate::cost::{CostModel, Described, Estimate, Holding, Open, Seat};
use crate::sweep::plan::{DatasetSource, Plan, PlannedJob};

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Work {
    pub jobs: usize,
    pub epochs: u64,
    /// How many workers share it.
    pub workers: usize,
    /// How long they take; `None` before any epoch was measured.
    #[serde(flatten, serialize_with = "in_seconds")]
    pub time: Option<Estimate>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn in_seconds<S: Serializer>(time: &Option<Estimate>, serializer: S) -> Result<S::Ok, S::Error> {
    let fields = [
        ("seconds", time.map(|time| time.likely)),
        ("low_seconds", time.map(|time| time.low)),
        ("high_seconds", time.map(|time| time.high)),
    ];
    serializer.collect_map(fields)
}

impl Work {
    /// What is left of these jobs for a crew. If it is empty, one worker like those before does it all.
    pub(super) fn left(cost: &mut CostModel, open: &[Open], crew: &[Seat]) -> Self {
        let epochs = |open: &Open| u64::from(cost.epochs(open.job).saturating_sub(open.epoch));
        let epochs = open.iter().map(epochs).sum();
        let time = cost.outlook(open.iter().copied(), crew).map(|outlook| outlook.time);
        Self { jobs: open.len(), epochs, workers: crew.len().max(1), time }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, epochs, workers, time } = self;
        if *jobs == 0 {
            return f.write_str("nothing");
        }
        write!(f, "{}, {}", count(*jobs, "job"), count(*epochs as usize, "epoch"))?;
        match time {
            Some(time) => write!(f, ", {time} on {}", count(*workers, "worker")),
            None => Ok(()),
        }
    }
}

/// The size of a plan's dataset, if the plan alone tells it.
pub(super) fn size_in(plan: &Plan) -> Option<DatasetSize> {
    match plan.dataset.as_ref()? {
        DatasetSource::Synthetic(options) => {
            Some(DatasetSize { train: options.train as usize, validation: options.validation as usize })
        }
        DatasetSource::Pack(_) => None,
    }
}

/// The same for comparisons of the plan's jobs where the dataset is not at hand.
pub(super) fn likely_size(plan: &Plan) -> DatasetSize {
    size_in(plan).unwrap_or(DatasetSize::TYPICAL)
}

/// A cost model that knows the jobs of a plan, and has learned nothing yet.
pub(super) fn cost_model(plan: &Plan, dataset_size: DatasetSize) -> CostModel {
    CostModel::new(described(plan, plan.jobs.iter(), dataset_size))
}

/// What these jobs are, and how much work. Jobs of a trainer that this program does not know are all alike.
pub(super) fn described<'a>(
    plan: &'a Plan,
    jobs: impl Iterator<Item = &'a PlannedJob> + 'a,
    dataset_size: DatasetSize,
) -> impl Iterator<Item = Described> + 'a {
    let (alike, kind) = (Effort { epochs: 1, units: 1.0, class: 0 }, plan.kind());
    jobs.map(move |job| {
        let settings = job.settings.to_map();
        let effort = kind.map_or(alike, |kind| kind.effort(&settings, dataset_size));
        Described { job: job.id, effort, settings }
    })
}

/// Learns from records as the books have them, in any order.
pub(super) fn learn<'a>(cost: &mut CostModel, entries: impl Iterator<Item = &'a BookEntry>) {
    for BookEntry { job, record, written_nanos, .. } in entries {
        cost.saw_record_of_many(*job, record, *written_nanos);
    }
    cost.saw_all();
}

/// The names of the workers that get no more jobs, because they are drained, by a user or not, or not trusted.
pub(super) async fn workers_out(bus: &Bus) -> Result<BTreeSet<String>, BusError> {
    let (standings, drains) = (bus.standings().await?, bus.drains().await?);
    let refused = standings.into_iter().filter(|record| record.standing.refusal().is_some());
    Ok(refused.map(|record| record.name).chain(drains.workers.into_keys()).collect())
}

/// The workers that are there and take jobs of this plan. The cost model learns which devices they have.
pub(super) fn crew(
    cost: &mut CostModel,
    plan: &Plan,
    present: &[Presence],
    is_out: &dyn Fn(&str) -> bool,
) -> Vec<Seat> {
    // Workers of earlier versions do not say what they offer.
    let offers = |worker: &Presence| worker.trainers.is_empty() || worker.offers(&plan.trainer);
    let works = |worker: &&Presence| {
        worker.readiness == Readiness::Ready && offers(worker) && !is_out(worker.worker.name())
    };
    present
        .iter()
        .filter(works)
        .map(|worker| cost.equip(worker.worker.name(), model(&worker.device)))
        .collect()
}

/// The model in `cuda:0 (NVIDIA H200)`, as results name it.
fn model(device: &str) -> &str {
    let inner = device.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(device)
}

/// A job that nobody has.
pub(super) fn waiting(job: JobId, epoch: u32) -> Open {
    Open { job, epoch, held: None }
}

/// A job that the worker with this name has. `report` is what it told last of its progress.
pub(super) fn held(
    cost: &mut CostModel,
    (job, epoch): (JobId, u32),
    worker: &str,
    report: Option<&LiveReport>,
) -> Open {
    let begun = report.filter(|report| report.epoch.checked_sub(1) == Some(epoch));
    let part = begun.map(|report| (f64::from(report.step) / f64::from(report.steps.max(1))).clamp(0.0, 1.0));
    Open { job, epoch, held: Some(Holding { seat: cost.seat(worker), part }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_one_line() {
        let time = Estimate { likely: 4_380.0, low: 3_600.0, high: 5_400.0 };
        let work = Work { jobs: 2, epochs: 12, workers: 2, time: None };
        assert_eq!(work.to_string(), "2 jobs, 12 epochs");
        let known = Work { time: Some(time), ..work };
        assert_eq!(
            known.to_string(),
            "2 jobs, 12 epochs, about 1 h 13 min (1 h 0 min to 1 h 30 min) on 2 workers"
        );
        assert_eq!(Work::default().to_string(), "nothing");
        let told = serde_json::to_value(work).unwrap();
        assert_eq!((&told["jobs"], told.get("seconds")), (&2.into(), Some(&serde_json::Value::Null)));
        assert_eq!(serde_json::to_value(known).unwrap()["low_seconds"], 3600.0);
    }

    #[test]
    fn devices_are_called_as_in_results() {
        assert_eq!(model("cuda:0 (NVIDIA H200)"), "NVIDIA H200");
        assert_eq!(model("cpu (Intel(R) Xeon(R) CPU @ 2.20GHz)"), "Intel(R) Xeon(R) CPU @ 2.20GHz");
        assert_eq!(model("abacus"), "abacus");
    }
}
