//! The state of the screen: what is known of the sweep, and what the user looks at. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use shared::books::Standing;
use shared::ids::JobId;
use shared::protocol::{Drains, LiveReport, Presence, Priority, Readiness, Scoreboard};

use super::ensembles::{self, Ensemble};
use super::job::State;
use super::jobs::Jobs;
use super::marks::width;
use super::question::Question;
use orchestrator::cost::Open;
use orchestrator::service::{Agenda, Work};
use orchestrator::sweep::plan::Plan;
use orchestrator::view::labels::Labels;

/// How many of the next jobs are known by name.
const MOST_NEXT: usize = 50;

/// The shortest time between two estimates of what is left, for each open job.
const ESTIMATE_PAUSE: Duration = Duration::from_millis(1);

/// Whether the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Answers,
    /// It has not answered since then.
    Away {
        since: Duration,
    },
    /// Nothing runs in the state directory, and everything was read.
    AtRest,
}

/// What the user may do with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    Steer,
    /// The credential is an observer's.
    Observe,
}

/// A part of the screen that takes keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Jobs,
    Workers,
    Ensembles,
    Log,
}

/// What the keys do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    Browse,
    /// A filter is typed.
    Filter(Typed),
    /// A priority is typed, for the chosen job or all that are shown.
    Priority {
        typed: Typed,
        all: bool,
    },
    Confirm(Question),
    /// All that is known of a job, from this line on.
    Details {
        job: JobId,
        line: usize,
    },
    Help,
}

/// A filter or a priority while it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) text: String,
    /// Why it cannot be used yet.
    pub(super) error: Option<String>,
}

/// Since when the sweep runs, by the server's clock and as far as its entries still show it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    oldest_nanos: Option<i128>,
    newest_nanos: i128,
    /// When the newest entry came.
    came: Duration,
}

impl Times {
    /// An entry of the sweep was written then, and came `now`.
    pub(super) fn saw(&mut self, written_nanos: i128, now: Duration) {
        self.oldest_nanos = Some(self.oldest_nanos.map_or(written_nanos, |oldest| oldest.min(written_nanos)));
        if written_nanos > self.newest_nanos {
            (self.newest_nanos, self.came) = (written_nanos, now);
        }
    }

    /// The time from the oldest entry of the sweep to its newest, or, if `goes_on`, up to now.
    pub(super) fn elapsed(&self, now: Duration, goes_on: bool) -> Duration {
        let Some(start) = self.oldest_nanos else { return Duration::ZERO };
        let nanos = u64::try_from(self.newest_nanos - start).unwrap_or(0);
        let since = if goes_on { now.saturating_sub(self.came) } else { Duration::ZERO };
        Duration::from_nanos(nanos) + since
    }
}

/// Cells of the longest name of a job.
pub(super) fn widest(jobs: &Jobs, labels: &Labels) -> usize {
    let names = (0..jobs.len()).filter_map(|place| labels.find(jobs.id(place)));
    names.map(width).max().unwrap_or(0)
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) jobs: Jobs,
    pub(super) labels: Labels,
    /// Cells of the longest name of a job.
    pub(super) widest_label: usize,
    pub(super) ensembles: Vec<Ensemble>,
    /// The scores of ensembles, as the run that conducts the sweep last told.
    pub(super) board: Scoreboard,
    pub(super) workers: Vec<Presence>,
    pub(super) standings: BTreeMap<String, Standing>,
    /// The progress within an epoch, as workers report it.
    pub(super) live: HashMap<JobId, LiveReport>,
    pub(super) agenda: Agenda,
    pub(super) left: Work,
    /// When the time that is left is estimated again.
    pub(super) estimate_due: Duration,
    /// The best score so far, and the place of its job.
    pub(super) best: Option<(f64, usize)>,
    /// The jobs that workers take next, as far as that can be told.
    pub(super) next: Vec<JobId>,
    /// Workers that users have drained.
    pub(super) drains: Drains,

    /// Where the books are: an address or a folder.
    pub(super) place: String,
    pub(super) server: Server,
    pub(super) rights: Rights,
    /// The newest revision that was read, of those that were there at the start; `None` when all were read.
    pub(super) reading: Option<(u64, u64)>,
    /// True if a change of the books came since the server last answered.
    pub(super) is_fresh: bool,
    /// True if the totals must be counted anew.
    pub(super) is_stale: bool,
    pub(super) times: Times,
    /// Time since the screen was opened.
    pub(super) now: Duration,

    /// The filter, as it was typed.
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) focus: Pane,
    /// The job that the user has chosen.
    pub(super) chosen: Option<JobId>,
    /// Its row, for the case that the job is no longer shown.
    pub(super) row: usize,
    pub(super) worker: usize,
    pub(super) ensemble: usize,
    /// By how many lines the log is scrolled up.
    pub(super) scrolled: usize,
    /// The last answer or refusal.
    pub(super) notice: Option<String>,
}

impl Model {
    /// A screen that knows the plan alone. `end` is the newest revision of the books.
    pub(super) fn new(plan: Plan, place: String, rights: Rights, end: u64) -> Self {
        let (labels, agenda, ensembles) = (Labels::of(&plan), Agenda::of(&plan), ensembles::of(&plan));
        let jobs = Jobs::of(plan, BTreeMap::new(), &|job| agenda.epochs(job));
        let widest_label = widest(&jobs, &labels);
        Self {
            jobs,
            labels,
            widest_label,
            ensembles,
            board: Scoreboard::default(),
            workers: Vec::new(),
            standings: BTreeMap::new(),
            live: HashMap::new(),
            agenda,
            left: Work::default(),
            estimate_due: Duration::ZERO,
            best: None,
            next: Vec::new(),
            drains: Drains::default(),
            place,
            server: Server::Answers,
            rights,
            reading: Some((0, end)),
            is_fresh: false,
            is_stale: true,
            times: Times::default(),
            now: Duration::ZERO,
            filter: String::new(),
            mode: Mode::Browse,
            focus: Pane::Jobs,
            chosen: None,
            row: 0,
            worker: 0,
            ensemble: 0,
            scrolled: 0,
            notice: None,
        }
    }

    /// The row of the job that keys are about; `None` if no job is shown.
    pub(super) fn current_row(&self) -> Option<usize> {
        let rows = self.jobs.rows();
        let chosen = self.chosen.and_then(|job| self.jobs.row(self.jobs.place(job)?));
        chosen.or_else(|| rows.checked_sub(1).map(|last| self.row.min(last)))
    }

    /// The place of that job.
    pub(super) fn current(&self) -> Option<usize> {
        self.jobs.at(self.current_row()?)
    }

    /// A job's name for people.
    pub(super) fn label(&self, place: usize) -> String {
        self.labels.get(self.jobs.id(place))
    }

    /// How many workers take jobs.
    pub(super) fn ready(&self) -> usize {
        let ready =
            |worker: &&Presence| worker.readiness == Readiness::Ready && !self.is_out(worker.worker.name());
        self.workers.iter().filter(ready).count()
    }

    /// True if the worker gets no more jobs.
    pub(super) fn is_out(&self, worker: &str) -> bool {
        is_out(&self.drains, &self.standings, worker)
    }

    /// Counts anew what depends on many jobs.
    pub(super) fn take_stock(&mut self) {
        self.is_stale = false;
        let Self { jobs, ensembles, .. } = self;
        for ensemble in ensembles {
            ensemble.count(jobs);
        }
        if self.now >= self.estimate_due || self.left.time.is_none() {
            self.estimate();
        }
        let jobs = &self.jobs;
        let merit = |score| jobs.plan.ranking.merit(score);
        let scored = (0..jobs.len()).filter_map(|place| Some((jobs.score(place)?, place)));
        self.best = scored.reduce(|best, one| if merit(one.0) > merit(best.0) { one } else { best });
        let mut waiting: BTreeMap<Priority, Vec<(JobId, u32)>> = BTreeMap::new();
        for (job, epochs) in jobs.in_states(&[State::Pending]) {
            let priority = jobs.place(job).map(|place| jobs.get(place).priority(&jobs.plan));
            waiting.entry(priority.unwrap_or_default()).or_default().push((job, epochs));
        }
        let by_priority = waiting.values().rev();
        self.next =
            by_priority.flat_map(|waiting| self.agenda.next(waiting, MOST_NEXT)).take(MOST_NEXT).collect();
    }

    /// Estimates what is left. It looks at every open job, so the more there are, the less often.
    fn estimate(&mut self) {
        let (jobs, live, standings, drains) = (&self.jobs, &self.live, &self.standings, &self.drains);
        let open = jobs.in_states(&[State::Running, State::Pending, State::Paused]);
        self.estimate_due = self.now + ESTIMATE_PAUSE * u32::try_from(open.len()).unwrap_or(u32::MAX);
        let open = open.into_iter().map(|(job, epoch)| {
            let holder = jobs.place(job).and_then(|place| jobs.get(place).worker());
            self.agenda.open(job, epoch, holder, live.get(&job))
        });
        let open: Vec<Open> = open.collect();
        let is_out = |name: &str| is_out(drains, standings, name);
        self.left = self.agenda.left(&jobs.plan, &open, &self.workers, &is_out);
    }
}

fn is_out(drains: &Drains, standings: &BTreeMap<String, Standing>, worker: &str) -> bool {
    drains.of(worker).is_some() || standings.get(worker).is_some_and(|standing| standing.refusal().is_some())
}
