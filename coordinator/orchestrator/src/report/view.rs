//! What both forms of the report show: configurations, tables, names of jobs, the best job and ensemble.

use std::collections::BTreeMap;

use shared::expression::CLASSES;
use shared::ids::JobId;
use shared::plural::count;
use shared::result::EpochReport;

use super::configurations::{Configuration, configurations, repetition};
use super::results::{EnsembleRow, JobRow, JobState, Results};
use super::tables::{Spread, Table, fill, mean};
use crate::run_dir::RunRecord;

/// One run, ready to be shown.
pub(super) struct View<'a> {
    pub(super) record: &'a RunRecord,
    pub(super) results: &'a Results,
    pub(super) configurations: Vec<Configuration>,
    pub(super) tables: Vec<Table>,
    rows: BTreeMap<JobId, &'a JobRow>,
    names: BTreeMap<JobId, String>,
}

impl<'a> View<'a> {
    pub(super) fn new(record: &'a RunRecord, results: &'a Results) -> Self {
        let plan = &record.plan;
        let configurations = configurations(plan);
        let mut names = BTreeMap::new();
        for job in &plan.jobs {
            let configuration = configurations.iter().find(|c| c.jobs.contains(&job.id));
            let name = configuration.map(|c| c.label.clone()).unwrap_or_default();
            names.insert(
                job.id,
                match repetition(plan, job) {
                    Some(seed) => format!("{name} · {seed}"),
                    None => name,
                },
            );
        }
        Self {
            record,
            results,
            tables: plan.tables.iter().map(|rule| fill(plan, results, rule)).collect(),
            rows: results.jobs.iter().map(|job| (job.id, job)).collect(),
            configurations,
            names,
        }
    }

    /// A job's row, by id.
    pub(super) fn job(&self, id: JobId) -> Option<&'a JobRow> {
        self.rows.get(&id).copied()
    }

    /// `Mix-up · MobileViTv2 · subset 3`
    pub(super) fn name(&self, id: JobId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The trained epochs of a finished job.
    pub(super) fn epochs(&self, id: JobId) -> &'a [EpochReport] {
        self.record.results.get(&id).map_or(&[], |result| &result.epochs)
    }

    /// The plan's groups in order.
    pub(super) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for configuration in &self.configurations {
            if !groups.contains(&configuration.group.as_str()) {
                groups.push(&configuration.group);
            }
        }
        groups
    }

    pub(super) fn finished(&self) -> usize {
        self.in_state(JobState::Done).count()
    }

    pub(super) fn in_state(&self, state: JobState) -> impl Iterator<Item = &'a JobRow> {
        self.results.jobs.iter().filter(move |job| job.state == state)
    }

    /// The best single model by validation F1 (ties: the first of the plan), if it is above chance.
    pub(super) fn best_job(&self) -> Option<&'a JobRow> {
        first_max(self.results.jobs.iter(), |job| job.val_macro_f1).filter(|job| job.is_above_chance())
    }

    /// The best ensemble by validation F1 (ties: the first of the plan), if it is above chance.
    pub(super) fn best_ensemble(&self) -> Option<&'a EnsembleRow> {
        self.top_ensemble().filter(|ensemble| ensemble.is_above_chance())
    }

    /// The same, even if it is at chance level.
    pub(super) fn top_ensemble(&self) -> Option<&'a EnsembleRow> {
        first_max(self.results.ensembles.iter(), |ensemble| ensemble.val_macro_f1)
    }

    /// Whether any number of the paper is shown.
    pub(super) fn has_paper(&self) -> bool {
        self.results.ensembles.iter().any(|ensemble| ensemble.paper.is_some())
            || self.tables.iter().any(|table| table.paper)
    }

    /// Jobs and ensembles whose scores are not to be trusted, each with the reason.
    pub(super) fn warnings(&self) -> Vec<(String, &'a str)> {
        let jobs = self.results.jobs.iter().flat_map(|job| {
            let name = format!("{} {}", job.id.short(), self.name(job.id));
            job.warnings.iter().map(move |warning| (name.clone(), warning.text.as_str()))
        });
        let ensembles = self.results.ensembles.iter().flat_map(|ensemble| {
            ensemble.warnings.iter().map(|warning| (ensemble.name.clone(), warning.text.as_str()))
        });
        jobs.chain(ensembles).collect()
    }

    /// Mean and spread of a configuration's finished jobs.
    pub(super) fn mean_of(
        &self,
        configuration: &Configuration,
        score: impl Fn(&JobRow) -> Option<f64>,
    ) -> Option<Spread> {
        let values: Vec<f64> =
            configuration.jobs.iter().filter_map(|&id| self.job(id)).filter_map(score).collect();
        mean(&values)
    }

    /// Mean per-class validation F1 of a configuration's finished jobs.
    pub(super) fn per_class_of(&self, configuration: &Configuration) -> Option<[f64; CLASSES]> {
        let class = |c: usize| self.mean_of(configuration, |job| job.val_per_class_f1.map(|f1| f1[c]));
        class(0)?;
        Some(std::array::from_fn(|c| class(c).map_or(0.0, |mean| mean.mean)))
    }

    /// Total training time of the finished jobs in seconds.
    pub(super) fn train_seconds(&self) -> f64 {
        self.results.jobs.iter().filter_map(|job| job.train_seconds).sum()
    }

    /// The devices that jobs ran on, with the number of jobs: `Xeon (AVX512, 1 thread), cpu on host: 38 jobs`.
    pub(super) fn devices(&self) -> Vec<String> {
        let mut devices: BTreeMap<String, usize> = BTreeMap::new();
        for device in self.results.jobs.iter().filter_map(|job| job.device.as_ref()) {
            let threads = count(device.threads as usize, "thread");
            let kind = if device.device.starts_with("cpu") {
                format!("{} ({}, {threads})", device.model, device.cpu_capability)
            } else {
                device.model.clone()
            };
            *devices.entry(format!("{kind}, {} on {}", device.device, device.host)).or_default() += 1;
        }
        devices.into_iter().map(|(device, jobs)| format!("{device}: {}", count(jobs, "job"))).collect()
    }
}

/// The first item with the greatest score; items without a score are skipped.
fn first_max<'a, T>(items: impl Iterator<Item = &'a T>, score: impl Fn(&T) -> Option<f64>) -> Option<&'a T> {
    items
        .filter_map(|item| Some((item, score(item)?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(item, _)| item)
}
