//! What both forms of the report show: configurations, tables, names of jobs, the best job and ensemble.

use std::collections::BTreeMap;

use shared::ids::JobId;
use shared::metrics::Point;
use shared::mtl;
use shared::plural::count;
use shared::trainer::TrainerKind;

use super::configurations::{Configuration, Varying, configurations, repetition};
use super::labels::f1_or_dash;
use super::measure::Measure;
use super::results::{EnsembleRow, JobRow, JobState, Results};
use super::tables::{Spread, Table, fill, mean};
use crate::run_dir::RunRecord;
use crate::sweep::plan::PlannedJob;

/// With more classes than this, nothing is shown by class: results.json has it.
const MOST_CLASSES: usize = 50;

/// With more jobs than this, the pages for people list and draw only the first ones, and as many configurations: a
/// browser cannot show more, and results.csv has all.
const MOST_LISTED: usize = 10_000;

/// One run, ready to be shown.
pub(super) struct View<'a> {
    pub(super) record: &'a RunRecord,
    pub(super) results: &'a Results,
    /// The metric by which jobs are compared.
    pub(super) measure: Measure,
    /// Names of the classes that are shown; empty if the predictions have none, or too many.
    pub(super) classes: Vec<String>,
    /// True if jobs are compared by F1, or have predictions, which are scored by it.
    pub(super) has_f1: bool,
    pub(super) configurations: Vec<Configuration>,
    pub(super) tables: Vec<Table>,
    /// The plan's groups in order.
    pub(super) groups: Vec<String>,
    group_places: BTreeMap<String, usize>,
    /// The jobs' places in the plan.
    places: BTreeMap<JobId, usize>,
    names: BTreeMap<JobId, String>,
}

impl<'a> View<'a> {
    pub(super) fn new(record: &'a RunRecord, results: &'a Results) -> Self {
        let plan = &record.plan;
        let varying = Varying::of(plan);
        let configurations = configurations(plan, &varying);
        let labels: BTreeMap<JobId, &str> =
            configurations.iter().flat_map(|c| c.jobs.iter().map(|&job| (job, c.label.as_str()))).collect();
        let name = |job: &PlannedJob| match (
            labels.get(&job.id).copied().unwrap_or_default(),
            repetition(job, &varying),
        ) {
            (label, Some(seed)) => format!("{label} · {seed}"),
            (label, None) => label.to_owned(),
        };
        let names = plan.jobs.iter().map(|job| (job.id, name(job))).collect();
        let (mut groups, mut group_places) = (Vec::new(), BTreeMap::new());
        for Configuration { group, .. } in &configurations {
            group_places.entry(group.clone()).or_insert_with(|| {
                groups.push(group.clone());
                groups.len() - 1
            });
        }
        let places: BTreeMap<JobId, usize> =
            results.jobs.iter().enumerate().map(|(place, job)| (job.id, place)).collect();
        let score = |job| results.jobs[*places.get(&job)?].score;
        let tables = plan.tables.iter().map(|rule| fill(plan, score, rule)).collect();
        let measure = Measure::of(plan);
        let has_predictions = |job: &JobRow| job.val_macro_f1.or(job.test_macro_f1).is_some();
        Self {
            record,
            results,
            classes: classes(record, results),
            has_f1: measure.is_f1() || results.jobs.iter().any(has_predictions),
            measure,
            configurations,
            tables,
            groups,
            group_places,
            places,
            names,
        }
    }

    /// The jobs that are shown one by one.
    pub(super) fn listed(&self) -> &'a [JobRow] {
        &self.results.jobs[..self.results.jobs.len().min(MOST_LISTED)]
    }

    /// What to say if these are not all.
    pub(super) fn unlisted(&self) -> Option<String> {
        let (listed, all) = (self.listed().len(), self.results.jobs.len());
        (listed < all)
            .then(|| format!("Only the first {listed} of {all} jobs are shown; results.csv has all."))
    }

    /// A section's note, and what is not shown in it.
    pub(super) fn with_unlisted(&self, note: &str) -> String {
        self.unlisted().map_or_else(|| note.to_owned(), |unlisted| format!("{note} {unlisted}"))
    }

    /// The configurations that are shown one by one.
    pub(super) fn listed_configurations(&self) -> &[Configuration] {
        &self.configurations[..self.configurations.len().min(MOST_LISTED)]
    }

    /// Those of a configuration's jobs that are shown one by one.
    pub(super) fn listed_of(&self, configuration: &Configuration) -> impl Iterator<Item = &'a JobRow> {
        let listed = |id: &JobId| self.places.get(id).filter(|&&place| place < MOST_LISTED);
        configuration.jobs.iter().filter_map(listed).map(|&place| &self.results.jobs[place])
    }

    /// A job's row, by id.
    pub(super) fn job(&self, id: JobId) -> Option<&'a JobRow> {
        self.places.get(&id).map(|&place| &self.results.jobs[place])
    }

    /// `Mix-up · MobileViTv2 · subset 3`
    pub(super) fn name(&self, id: JobId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// What a finished job's training reported.
    pub(super) fn history(&self, id: JobId) -> &'a [Point] {
        self.record.results.get(&id).map_or(&[], |result| &result.history)
    }

    /// The place of a group in the plan.
    pub(super) fn group_place(&self, name: &str) -> usize {
        self.group_places.get(name).copied().unwrap_or_default()
    }

    /// What a class is: an expression of a face, or just a class.
    pub(super) fn class_word(&self) -> &'static str {
        if self.results.trainer.kind == mtl::trainer().kind { "expression" } else { "class" }
    }

    /// Headings of the scores of jobs.
    pub(super) fn score_columns(&self) -> Vec<&str> {
        let f1: &[&str] = if self.has_f1 { &["Val. F1", "Test F1"] } else { &[] };
        let own = (!self.measure.is_f1()).then(|| self.measure.column());
        own.into_iter().chain(f1.iter().copied()).collect()
    }

    /// The scores of a job under these headings.
    pub(super) fn scores(&self, job: &JobRow) -> Vec<String> {
        let own = self.measure.or_dash(job.score);
        if self.measure.is_f1() {
            return vec![own, f1_or_dash(job.test_macro_f1)];
        }
        let f1 = [job.val_macro_f1, job.test_macro_f1].map(f1_or_dash);
        std::iter::once(own).chain(f1.into_iter().filter(|_| self.has_f1)).collect()
    }

    pub(super) fn finished(&self) -> usize {
        self.in_state(JobState::Done).count()
    }

    pub(super) fn in_state(&self, state: JobState) -> impl Iterator<Item = &'a JobRow> {
        self.results.jobs.iter().filter(move |job| job.state == state)
    }

    /// The best job by its score (ties: the first of the plan), if it is above chance.
    pub(super) fn best_job(&self) -> Option<&'a JobRow> {
        let merit = |job: &JobRow| job.score.map(|score| self.measure.merit(score));
        first_max(self.results.jobs.iter(), merit).filter(|job| job.is_above_chance())
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

    /// Listed jobs, and ensembles, whose scores are not to be trusted, each with the reason.
    pub(super) fn warnings(&self) -> Vec<(String, &'a str)> {
        let jobs = self.listed().iter().flat_map(|job| {
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
    pub(super) fn per_class_of(&self, configuration: &Configuration) -> Option<Vec<f64>> {
        let f1 = |job: &JobRow, c: usize| job.val_per_class_f1.as_ref()?.get(c).copied();
        let class = |c: usize| self.mean_of(configuration, |job| f1(job, c)).map(|mean| mean.mean);
        class(0)?;
        Some((0..self.classes.len()).map_while(class).collect())
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

/// Names for as many classes as the trainer tells apart, or as the predictions have.
fn classes(record: &RunRecord, results: &Results) -> Vec<String> {
    let known = record.plan.kind().map(TrainerKind::classes).unwrap_or_default();
    let jobs = results.jobs.iter().map(|job| &job.val_per_class_f1);
    let scored = jobs.chain(results.ensembles.iter().map(|ensemble| &ensemble.val_per_class_f1));
    let most = scored.flatten().map(Vec::len).max().unwrap_or_default().max(known.len());
    let name = |class: usize| known.get(class).map_or_else(|| class.to_string(), |name| (*name).to_owned());
    if most > MOST_CLASSES { Vec::new() } else { (0..most).map(name).collect() }
}

/// The first item with the greatest score; items without a score are skipped.
fn first_max<'a, T>(items: impl Iterator<Item = &'a T>, score: impl Fn(&T) -> Option<f64>) -> Option<&'a T> {
    items
        .filter_map(|item| Some((item, score(item)?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(item, _)| item)
}
