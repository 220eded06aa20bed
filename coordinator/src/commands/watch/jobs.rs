//! The jobs of a watched sweep: what the books say of each, and which of them are shown, in order. Pure. A change costs
//! what it changes, however many jobs there are.

use std::collections::{BTreeMap, HashMap};

use shared::bus::BookEntry;
use shared::ids::JobId;
use shared::protocol::Steering;
use shared::result::JobResult;

use super::job::{Counts, Job, Kept, State, loss_names};
use orchestrator::selection::{Facts, Selection};
use orchestrator::sweep::plan::Plan;

/// All jobs of the sweep, by their place in the plan.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) plan: Plan,
    places: HashMap<JobId, usize>,
    all: Vec<Job>,
    /// Epochs of each job.
    epochs: Vec<u32>,
    /// The most epochs that a job has.
    pub(super) most_epochs: u32,
    counts: Counts,
    selection: Selection,
    /// The places of those that the selection means, by state.
    shown: [Vec<usize>; State::ALL.len()],
    /// The metrics whose sum is the loss; empty while none was seen.
    pub(super) loss: Vec<String>,
}

impl Jobs {
    /// The jobs of `plan`, with what `known` is known of them. `epochs` tells how many each has.
    pub(super) fn of(plan: Plan, mut known: BTreeMap<JobId, Job>, epochs: &dyn Fn(JobId) -> u32) -> Self {
        let places = plan.jobs.iter().enumerate().map(|(place, job)| (job.id, place)).collect();
        let all: Vec<Job> = plan.jobs.iter().map(|job| known.remove(&job.id).unwrap_or_default()).collect();
        let epochs: Vec<u32> = plan.jobs.iter().map(|job| epochs(job.id)).collect();
        let most_epochs = epochs.iter().copied().max().unwrap_or(0);
        let mut counts = Counts::default();
        for job in &all {
            counts.add(job.state());
        }
        let (selection, shown, loss) = (Selection::default(), Default::default(), Vec::new());
        let mut jobs = Self { plan, places, all, epochs, most_epochs, counts, selection, shown, loss };
        jobs.show(Selection::default());
        jobs
    }

    /// Follows a changed plan, and keeps what is known of its jobs.
    pub(super) fn follow(&mut self, plan: Plan, epochs: &dyn Fn(JobId) -> u32) {
        let known = self.plan.jobs.iter().map(|job| job.id).zip(std::mem::take(&mut self.all)).collect();
        let loss = std::mem::take(&mut self.loss);
        *self = Self { loss, ..Self::of(plan, known, epochs) };
    }

    pub(super) fn place(&self, job: JobId) -> Option<usize> {
        self.places.get(&job).copied()
    }

    pub(super) fn id(&self, place: usize) -> JobId {
        self.plan.jobs[place].id
    }

    pub(super) fn get(&self, place: usize) -> &Job {
        &self.all[place]
    }

    pub(super) fn epochs(&self, place: usize) -> u32 {
        self.epochs[place]
    }

    pub(super) fn epoch(&self, place: usize) -> u32 {
        self.all[place].epoch(self.epochs[place])
    }

    pub(super) fn score(&self, place: usize) -> Option<f64> {
        self.all[place].score(&self.plan.ranking)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn facts(&self, place: usize) -> Facts {
        self.all[place].facts(&self.plan, self.epochs[place])
    }

    /// True unless this revision of the job's record is known, or a newer one.
    pub(super) fn is_news(&self, entry: &BookEntry) -> bool {
        self.place(entry.job).is_none_or(|place| entry.revision > self.all[place].revision)
    }

    /// A record of the books. Returns the place of its job, if that is one of the sweep and the record is news.
    pub(super) fn record(&mut self, entry: BookEntry) -> Option<usize> {
        let place = self.place(entry.job).filter(|_| self.is_news(&entry))?;
        if self.loss.is_empty()
            && let Some(last) = entry.record.history.reports.last()
        {
            self.loss = loss_names(&last.point.metrics);
        }
        self.change(place, |job| (job.revision, job.record) = (entry.revision, Some(entry.record)));
        Some(place)
    }

    /// A result of the books.
    pub(super) fn result(&mut self, result: &JobResult) -> Option<usize> {
        let place = self.place(result.job)?;
        if self.loss.is_empty()
            && let Some(last) = result.history.last()
        {
            self.loss = loss_names(&last.metrics);
        }
        let settings = self.plan.jobs[place].settings.to_map();
        let warnings = self.plan.kind().map_or_else(Vec::new, |kind| kind.warnings(result, &settings));
        let warnings = warnings.iter().map(ToString::to_string).collect();
        let kept = Kept::of(result, &self.plan.ranking, &self.loss, warnings);
        self.change(place, |job| job.result = Some(kept));
        Some(place)
    }

    /// What is requested of a job now.
    pub(super) fn steer(&mut self, job: JobId, steering: Steering) {
        if let Some(place) = self.place(job) {
            self.change(place, |job| job.steering = steering);
        }
    }

    /// Changes a job, and puts it where it belongs then.
    fn change(&mut self, place: usize, change: impl FnOnce(&mut Job)) {
        let before = self.all[place].state();
        change(&mut self.all[place]);
        let after = self.all[place].state();
        self.counts.take(before);
        self.counts.add(after);
        let is_shown = self.is_meant(place);
        let (old, new) = (before as usize, after as usize);
        if let Ok(row) = self.shown[old].binary_search(&place)
            && (old != new || !is_shown)
        {
            self.shown[old].remove(row);
        }
        if is_shown && let Err(row) = self.shown[new].binary_search(&place) {
            self.shown[new].insert(row, place);
        }
    }

    fn is_meant(&self, place: usize) -> bool {
        self.selection == Selection::default()
            || self.selection.means(&self.plan.jobs[place], &self.facts(place))
    }

    /// Shows the jobs that a selection means.
    pub(super) fn show(&mut self, selection: Selection) {
        self.selection = selection;
        self.shown = Default::default();
        for place in 0..self.all.len() {
            if self.is_meant(place) {
                self.shown[self.all[place].state() as usize].push(place);
            }
        }
    }

    /// How many jobs are shown.
    pub(super) fn rows(&self) -> usize {
        self.shown.iter().map(Vec::len).sum()
    }

    /// The job in a row.
    pub(super) fn at(&self, mut row: usize) -> Option<usize> {
        for group in &self.shown {
            match group.get(row) {
                Some(&place) => return Some(place),
                None => row -= group.len(),
            }
        }
        None
    }

    /// The row of a job, if it is shown.
    pub(super) fn row(&self, place: usize) -> Option<usize> {
        let state = self.all[place].state() as usize;
        let row = self.shown[state].binary_search(&place).ok()?;
        Some(self.shown[..state].iter().map(Vec::len).sum::<usize>() + row)
    }

    /// The jobs that are shown, in order.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> {
        self.shown.iter().flatten().copied()
    }

    /// The jobs in a state, shown or not, each with its finished epochs.
    pub(super) fn in_states(&self, states: &[State]) -> Vec<(JobId, u32)> {
        let all = (0..self.all.len()).filter(|&place| states.contains(&self.all[place].state()));
        all.map(|place| (self.id(place), self.epoch(place))).collect()
    }
}
