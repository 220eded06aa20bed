//! How the ensembles of a running sweep stand. Told what becomes of each job, it chooses members anew where that could
//! change them, and lets them vote anew where they have changed. Pure: whoever asks brings the predictions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::ids::{Attempt, JobId};
use shared::metrics::Ranking;
use shared::predictions::{Matrix, SampleList};
use shared::protocol::{EnsembleState, Scoreboard, ScoredEnsemble};
use shared::result::{JobResult, VALIDATION};
use shared::vote::{Count, MemberProbabilities, VoteError, score};

use super::choose::{Certainty, Scores, Selection, choose};
use crate::sweep::plan::Plan;

/// What is known of a finished job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    pub attempt: Attempt,
    /// Its value of the metric that ranks.
    pub score: Option<f64>,
    /// Whether it predicts the validation samples.
    pub is_predicted: bool,
}

impl Finished {
    pub fn of(result: &JobResult, ranking: &Ranking) -> Self {
        Self {
            attempt: result.attempt,
            score: ranking.score(&result.metrics),
            is_predicted: result.predictions.contains_key(VALIDATION),
        }
    }
}

/// What has become of a job that may be a member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Candidate {
    Finished(Finished),
    /// It failed for good.
    Failed,
    /// It has no result, or none any more.
    Open,
}

/// A finished job's predictions of the validation samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    pub dataset_digest: Option<String>,
    pub samples_digest: String,
    pub probabilities: Matrix,
}

/// Where predictions are read.
pub trait Predictions {
    /// The predictions of a finished job; `None` if it has none.
    ///
    /// # Errors
    /// When they cannot be read now, in words.
    fn of_job(&mut self, job: JobId) -> Result<Option<Predicted>, String>;

    /// The samples of these predictions, with their labels; `None` while there are none.
    ///
    /// # Errors
    /// As [`Self::of_job`].
    fn samples(&mut self) -> Result<Option<&SampleList>, String>;

    /// Every finished job of a plan.
    ///
    /// # Errors
    /// As [`Self::of_job`].
    fn finished(&mut self, plan: &Plan) -> Result<Vec<(JobId, Finished)>, String>;
}

/// The ensembles of a sweep while it runs.
#[derive(Debug)]
pub struct LiveEnsembles {
    plan: Arc<Plan>,
    finished: BTreeMap<JobId, Finished>,
    failed: BTreeSet<JobId>,
    /// What is known of finished jobs must be read before anything is scored.
    must_read: bool,
    ensembles: Vec<Live>,
}

/// One ensemble.
#[derive(Debug)]
struct Live {
    /// The jobs among which it chooses, in the order of their ids.
    candidates: Vec<JobId>,
    counts: Counts,
    /// Something may have changed since it was scored.
    is_stale: bool,
    /// The members that have voted, and the macro F1 of their vote.
    voted: Option<(Vec<Member>, Result<f64, NoScore>)>,
    stands: ScoredEnsemble,
}

/// A member, and the attempt that finished it: trained again, it predicts something else.
type Member = (JobId, Attempt);

/// How many candidates have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    finished: usize,
    predicted: usize,
    failed: usize,
}

/// Why an ensemble has no score.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoScore {
    #[error("its jobs have no predictions")]
    NoPredictions,
    #[error("a member has no predictions")]
    MemberWithout,
    #[error("no finished job can be a member")]
    NoMember,
    #[error("no label of the validation samples is known")]
    NoLabels,
    #[error(transparent)]
    Vote(#[from] VoteError),
    /// That may pass.
    #[error("{0}")]
    Unreadable(String),
}

impl LiveEnsembles {
    /// The ensembles of a plan of which some jobs are finished.
    pub fn of(plan: Arc<Plan>, finished: impl IntoIterator<Item = (JobId, Finished)>) -> Self {
        let finished =
            if plan.ensembles.is_empty() { BTreeMap::new() } else { finished.into_iter().collect() };
        let (failed, ensembles) = (BTreeSet::new(), Vec::new());
        let mut new = Self { plan, finished, failed, must_read: false, ensembles };
        new.begin();
        new
    }

    /// Takes a changed plan, and the jobs that have failed. What is known of finished jobs is read again where it was not
    /// kept, or means something else now.
    pub fn follow(&mut self, plan: Arc<Plan>, failed: BTreeSet<JobId>) {
        self.must_read |= self.plan.ensembles.is_empty() || self.plan.ranking != plan.ranking;
        (self.plan, self.failed) = (plan, failed);
        if self.plan.ensembles.is_empty() {
            (self.finished, self.must_read) = (BTreeMap::new(), false);
        }
        self.begin();
    }

    /// Counts everything anew. Votes of ensembles that had the same name are kept: members that are the same vote the same.
    fn begin(&mut self) {
        let mut known: BTreeMap<String, Live> =
            self.ensembles.drain(..).map(|live| (live.stands.name.clone(), live)).collect();
        let mut ensembles = Vec::new();
        for rule in &self.plan.ensembles {
            let mut candidates: Vec<JobId> =
                self.plan.candidates(rule).into_iter().map(|place| self.plan.jobs[place].id).collect();
            candidates.sort_unstable();
            let mut counts = Counts::default();
            for job in &candidates {
                counts.add(self.candidate(*job));
            }
            let stands = ScoredEnsemble {
                name: rule.name.clone(),
                candidates: candidates.len(),
                waiting: candidates.len(),
                failed: 0,
                state: EnsembleState::Waiting,
            };
            let voted = known.remove(&rule.name).and_then(|live| live.voted);
            ensembles.push(Live { candidates, counts, is_stale: true, voted, stands });
        }
        self.ensembles = ensembles;
    }

    /// This has become of a job. It costs a look at each ensemble.
    pub fn take(&mut self, job: JobId, candidate: Candidate) {
        if self.ensembles.is_empty() {
            return;
        }
        let before = self.candidate(job);
        self.finished.remove(&job);
        self.failed.remove(&job);
        match candidate {
            Candidate::Finished(finished) => {
                self.finished.insert(job, finished);
            }
            Candidate::Failed => {
                self.failed.insert(job);
            }
            Candidate::Open => {}
        }
        if before == candidate {
            return;
        }
        for live in &mut self.ensembles {
            if live.candidates.binary_search(&job).is_ok() {
                live.counts.remove(before);
                live.counts.add(candidate);
                live.is_stale = true;
            }
        }
    }

    fn candidate(&self, job: JobId) -> Candidate {
        match self.finished.get(&job) {
            Some(finished) => Candidate::Finished(*finished),
            None if self.failed.contains(&job) => Candidate::Failed,
            None => Candidate::Open,
        }
    }

    /// True if a candidate of some ensemble has ended or begun anew since it was scored, or its score could not be read.
    pub fn is_stale(&self) -> bool {
        self.must_read || self.ensembles.iter().any(|live| live.is_stale)
    }

    /// How all of them stand, after a look at those of which a candidate has ended or begun anew.
    pub fn score(&mut self, predictions: &mut dyn Predictions) -> Scoreboard {
        match self.read(predictions) {
            Ok(()) => self.score_stale(predictions),
            Err(why) => {
                for live in &mut self.ensembles {
                    live.stands.state = unscored(&NoScore::Unreadable(why.clone()));
                }
            }
        }
        Scoreboard::new(self.ensembles.iter().map(|live| live.stands.clone()).collect())
    }

    fn read(&mut self, predictions: &mut dyn Predictions) -> Result<(), String> {
        if self.must_read {
            self.finished = predictions.finished(&self.plan)?.into_iter().collect();
            self.must_read = false;
            self.begin();
        }
        Ok(())
    }

    fn score_stale(&mut self, predictions: &mut dyn Predictions) {
        let (plan, finished, failed) = (&self.plan, &self.finished, &self.failed);
        let mut scores = None;
        for (rule, live) in plan.ensembles.iter().zip(&mut self.ensembles) {
            if !std::mem::take(&mut live.is_stale) {
                continue;
            }
            // Most sweeps of very many jobs have no predictions: counting is enough for them.
            if live.counts.predicted == 0 {
                live.stand_without_predictions();
            } else {
                let scores = scores.get_or_insert_with(|| scores_of(finished, failed));
                let selection = choose(plan, scores, rule);
                live.stand(selection, finished, predictions);
            }
        }
    }
}

fn scores_of(finished: &BTreeMap<JobId, Finished>, failed: &BTreeSet<JobId>) -> Scores {
    let failed = failed.iter().filter(|job| !finished.contains_key(job)).copied().collect();
    let mut scores = Scores { failed, ..Scores::default() };
    for (&job, finished) in finished {
        if let Some(score) = finished.score {
            scores.ranking.insert(job, score);
        } else {
            scores.unranked.insert(job);
        }
    }
    scores
}

impl Counts {
    fn add(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Finished(finished) => {
                self.finished += 1;
                self.predicted += usize::from(finished.is_predicted);
            }
            Candidate::Failed => self.failed += 1,
            Candidate::Open => {}
        }
    }

    fn remove(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Finished(finished) => {
                self.finished -= 1;
                self.predicted -= usize::from(finished.is_predicted);
            }
            Candidate::Failed => self.failed -= 1,
            Candidate::Open => {}
        }
    }
}

impl Live {
    fn stand_without_predictions(&mut self) {
        let Counts { finished, failed, .. } = self.counts;
        self.voted = None;
        self.stands.waiting = self.candidates.len() - finished - failed;
        self.stands.failed = failed;
        self.stands.state =
            if finished == 0 { EnsembleState::Waiting } else { unscored(&NoScore::NoPredictions) };
    }

    fn stand(
        &mut self,
        selection: Selection,
        finished: &BTreeMap<JobId, Finished>,
        predictions: &mut dyn Predictions,
    ) {
        let Selection { members, certainty, .. } = selection;
        let is_final = certainty == Certainty::Final;
        (self.stands.waiting, self.stands.failed) = match certainty {
            Certainty::Final => (0, 0),
            Certainty::Provisional { waiting, failed } => (waiting.len(), failed.len()),
        };
        let of = |job: &JobId| finished.get(job).map(|known| (*job, *known));
        let members: Vec<(JobId, Finished)> = members.iter().filter_map(of).collect();
        let attempts: Vec<Member> = members.iter().map(|(job, known)| (*job, known.attempt)).collect();
        let outcome = match self.voted.take() {
            Some((voters, outcome)) if voters == attempts => outcome,
            Some(_) | None => vote(&members, predictions),
        };
        let members = members.len();
        self.stands.state = match &outcome {
            Ok(val_macro_f1) if is_final => EnsembleState::Final { members, val_macro_f1: *val_macro_f1 },
            Ok(val_macro_f1) => EnsembleState::Provisional { members, val_macro_f1: *val_macro_f1 },
            Err(why) => unscored(why),
        };
        if let Err(NoScore::Unreadable(_)) = &outcome {
            self.is_stale = true; // It is tried again.
        } else {
            self.voted = Some((attempts, outcome));
        }
    }
}

fn unscored(why: &NoScore) -> EnsembleState {
    EnsembleState::Unscored { why: why.to_string() }
}

/// The macro F1 of the members' vote on validation, as in the report: one matrix at a time is in memory.
fn vote(members: &[(JobId, Finished)], predictions: &mut dyn Predictions) -> Result<f64, NoScore> {
    if members.iter().any(|(_, known)| !known.is_predicted) {
        return Err(NoScore::MemberWithout);
    }
    let mut jobs: Vec<JobId> = members.iter().map(|(job, _)| *job).collect();
    jobs.sort_unstable();
    let mut count: Option<Count> = None;
    for job in jobs {
        // They are gone for a moment when the job is about to be trained again.
        let gone = || NoScore::Unreadable("the predictions of a member are gone".to_owned());
        let predicted = predictions.of_job(job).map_err(NoScore::Unreadable)?.ok_or_else(gone)?;
        let member = MemberProbabilities {
            job,
            dataset_digest: predicted.dataset_digest.as_deref(),
            samples_digest: &predicted.samples_digest,
            probabilities: &predicted.probabilities,
        };
        match &mut count {
            Some(count) => count.add(&member)?,
            None => count = Some(Count::of(&member)),
        }
    }
    let mean = count.ok_or(NoScore::NoMember)?.mean()?;
    let samples = predictions.samples().map_err(NoScore::Unreadable)?.ok_or(NoScore::NoLabels)?;
    Ok(score(&mean, samples).ok_or(NoScore::NoLabels)?.macro_f1)
}

#[cfg(test)]
pub(crate) mod tests;
