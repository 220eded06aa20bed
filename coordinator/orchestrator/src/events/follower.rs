//! Derives the events of one sweep from the changes of the books. Pure: it is given what the feed delivers.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::{Standing, WorkerRecord};
use shared::bus::{BookEntry, Change, Fed, RequestEntry};
use shared::ids::{JobId, RequestId};
use shared::metrics::Ranking;
use shared::protocol::{EnsembleState, Scoreboard, ScoredEnsemble};
use shared::result::JobResult;

use super::job::{ResultReports, Told};
use super::{EventKind, SweepEvent};
use crate::sweep::plan::Plan;

/// From when on a follower tells what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Everything that the books still say.
    Beginning,
    /// How things are, then what changes.
    Now,
}

/// What was told about one sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Follower {
    since: Since,
    sweep: String,
    ranking: Ranking,
    /// `None` before a job's first record.
    jobs: BTreeMap<JobId, Option<Told>>,
    /// Jobs that were withdrawn: they may be added again.
    withdrawn: BTreeMap<JobId, Option<Told>>,
    /// Results whose records have not come yet.
    results: BTreeMap<JobId, ResultReports>,
    standings: BTreeMap<String, Standing>,
    /// Whether the request was answered.
    requests: BTreeMap<RequestId, bool>,
    generation: Option<u64>,
    ensembles: Vec<Ensemble>,
    /// What was told of the ensembles' scores.
    scored: BTreeMap<String, EnsembleState>,
    /// Server time of the newest entry.
    time_nanos: i128,
}

/// An ensemble, and the jobs that it chooses its members from.
#[derive(Debug, Clone, PartialEq)]
struct Ensemble {
    name: String,
    jobs: BTreeSet<JobId>,
    /// How many of them are not done.
    open: usize,
}

impl Follower {
    /// Follows the sweep of `plan`.
    pub fn of(plan: &Plan, since: Since) -> Self {
        let mut follower = Self {
            since,
            sweep: plan.name.clone(),
            ranking: plan.ranking.clone(),
            jobs: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            results: BTreeMap::new(),
            standings: BTreeMap::new(),
            requests: BTreeMap::new(),
            generation: None,
            ensembles: Vec::new(),
            scored: BTreeMap::new(),
            time_nanos: 0,
        };
        follower.follow(plan);
        follower
    }

    /// Follows a changed plan. The records of added jobs must be shown to it, because they may have come before.
    pub fn follow(&mut self, plan: &Plan) {
        let mut known = std::mem::take(&mut self.withdrawn);
        known.append(&mut self.jobs);
        self.jobs = plan.jobs.iter().map(|job| (job.id, known.remove(&job.id).flatten())).collect();
        self.withdrawn = known;
        let ensembles = plan.ensembles.iter().map(|rule| {
            let jobs: BTreeSet<JobId> =
                plan.candidates(rule).into_iter().map(|place| plan.jobs[place].id).collect();
            let open = jobs.iter().filter(|job| !self.is_done(**job)).count();
            Ensemble { name: rule.name.clone(), jobs, open }
        });
        self.ensembles = ensembles.collect();
    }

    /// The events that a change of the books shows.
    pub fn saw(&mut self, Fed { written_nanos, change, .. }: &Fed) -> Vec<SweepEvent> {
        self.time_nanos = self.time_nanos.max(*written_nanos);
        let kinds = match change {
            Change::Record(entry) => self.record(entry),
            Change::Result(result) => self.result(result),
            Change::Standing(record) => self.standing(record),
            Change::Request(entry) => self.request(entry),
            Change::Sweep(record) if record.name == self.sweep => self.generation(record.generation),
            Change::Scoreboard { sweep, board } if *sweep == self.sweep => self.scoreboard(board),
            Change::Sweep(_) | Change::Scoreboard { .. } => Vec::new(),
        };
        self.stamped(kinds)
    }

    /// The same for the record of a job that was added, which came before the plan that lists it.
    pub fn saw_record(&mut self, entry: &BookEntry) -> Vec<SweepEvent> {
        let kinds = self.record(entry);
        self.stamped(kinds)
    }

    /// The same for a job's result that was fetched apart from the feed.
    pub fn saw_result(&mut self, result: &JobResult) -> Vec<SweepEvent> {
        let kinds = self.result(result);
        self.stamped(kinds)
    }

    /// The same for scores that the books may have, too.
    pub fn saw_scoreboard(&mut self, board: &Scoreboard) -> Vec<SweepEvent> {
        let kinds = self.scoreboard(board);
        self.stamped(kinds)
    }

    fn record(&mut self, entry: &BookEntry) -> Vec<EventKind> {
        let job = entry.job;
        let (was_done, result) = (self.is_done(job), self.results.remove(&job));
        let Some(told) = self.jobs.get_mut(&job) else { return Vec::new() };
        let is_new = told.is_none();
        let mut kinds = match (told.as_mut(), self.since) {
            (Some(told), _) => told.record(entry, result, &self.ranking),
            (None, Since::Beginning) => told.insert(Told::nothing()).record(entry, result, &self.ranking),
            (None, Since::Now) => {
                let (known, kinds) = Told::now(entry, &self.ranking);
                *told = Some(known);
                kinds
            }
        };
        let ready = self.count(job, was_done);
        if !is_new || self.since == Since::Beginning {
            kinds.extend(ready);
        }
        kinds
    }

    fn result(&mut self, result: &JobResult) -> Vec<EventKind> {
        let Some(told) = self.jobs.get_mut(&result.job) else { return Vec::new() };
        let reports = ResultReports { attempt: result.attempt, points: result.history.clone() };
        match told {
            Some(told) if told.finished_by() == Some(result.attempt) => {
                told.result(result.job, &result.worker, &reports, &self.ranking)
            }
            Some(_) | None => {
                self.results.insert(result.job, reports);
                Vec::new()
            }
        }
    }

    fn standing(&mut self, WorkerRecord { name, standing, .. }: &WorkerRecord) -> Vec<EventKind> {
        let known = self.standings.insert(name.clone(), standing.clone());
        if known.as_ref() == Some(standing) {
            return Vec::new();
        }
        let worker = name.clone();
        let kind = match standing {
            Standing::Trusted => {
                known.filter(|known| *known != Standing::Trusted).map(|_| EventKind::Trusted { worker })
            }
            Standing::Probation { incidents } => {
                Some(EventKind::Suspected { worker, incidents: incidents.clone() })
            }
            Standing::Drained { .. } | Standing::Unfit { .. } => {
                standing.refusal().map(|reason| EventKind::Drained { worker, reason })
            }
        };
        kind.into_iter().collect()
    }

    fn request(&mut self, RequestEntry { request, .. }: &RequestEntry) -> Vec<EventKind> {
        if request.sweep != self.sweep {
            return Vec::new();
        }
        let known = self.requests.insert(request.id, request.answer.is_some());
        if known.is_none() && self.since == Since::Now && request.answer.is_some() {
            return Vec::new();
        }
        let (id, by, demand) = (request.id, request.by.clone(), request.demand.to_string());
        let asked = EventKind::Asked { request: id, by: by.clone(), demand: demand.clone() };
        let answered = request.answer.as_ref().map(|answer| EventKind::Answered {
            request: id,
            by,
            demand,
            answer: answer.to_string(),
        });
        let asked = known.is_none().then_some(asked);
        asked.into_iter().chain(answered.filter(|_| known != Some(true))).collect()
    }

    /// Counts alone are not told: those change with every job.
    fn scoreboard(&mut self, board: &Scoreboard) -> Vec<EventKind> {
        let now = board.ensembles.iter().map(|ensemble| (ensemble.name.clone(), ensemble.state.clone()));
        let told = std::mem::replace(&mut self.scored, now.collect());
        let is_news = |ensemble: &&ScoredEnsemble| {
            ensemble.state != EnsembleState::Waiting && told.get(&ensemble.name) != Some(&ensemble.state)
        };
        let kind = |ensemble: &ScoredEnsemble| {
            let ScoredEnsemble { name, candidates, waiting, failed, state } = ensemble.clone();
            EventKind::EnsembleScored { ensemble: name, candidates, waiting, failed, state }
        };
        board.ensembles.iter().filter(is_news).map(kind).collect()
    }

    /// A sweep begins with generation 0.
    fn generation(&mut self, generation: u64) -> Vec<EventKind> {
        let known = self.generation.replace(generation);
        let known = match self.since {
            Since::Beginning => known.unwrap_or(0),
            Since::Now => known.unwrap_or(generation),
        };
        (generation > known).then_some(EventKind::Planned { generation }).into_iter().collect()
    }

    /// Counts the jobs of the ensembles after a change of `job`. Those that can be assembled now are told.
    fn count(&mut self, job: JobId, was_done: bool) -> Vec<EventKind> {
        let is_done = self.is_done(job);
        let mut ready = Vec::new();
        for ensemble in self.ensembles.iter_mut().filter(|ensemble| ensemble.jobs.contains(&job)) {
            match (was_done, is_done) {
                (false, true) => ensemble.open -= 1,
                (true, false) => ensemble.open += 1,
                (false, false) | (true, true) => continue,
            }
            if ensemble.open == 0 {
                let (ensemble, jobs) = (ensemble.name.clone(), ensemble.jobs.len());
                ready.push(EventKind::EnsembleReady { ensemble, jobs });
            }
        }
        ready
    }

    fn is_done(&self, job: JobId) -> bool {
        self.jobs.get(&job).and_then(Option::as_ref).is_some_and(|told| told.finished_by().is_some())
    }

    fn stamped(&self, kinds: Vec<EventKind>) -> Vec<SweepEvent> {
        let (v, time) = (SweepEvent::VERSION, self.time_nanos as f64 / 1e9);
        kinds.into_iter().map(|kind| SweepEvent { v, time, kind }).collect()
    }
}
