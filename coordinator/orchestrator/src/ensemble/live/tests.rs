//! Ensembles of hand-made jobs, whose predictions are looked at as often as somebody asks for them.

use shared::metrics::Goal;
use shared::protocol::{CheckpointEvery, Priority};
use shared::vote::vote;
use uuid::Uuid;

use super::*;
use crate::sweep::plan::{EnsembleRule, Filter, PlannedJob, Query, Requested};

pub(crate) fn id(n: u128) -> JobId {
    JobId::new(Uuid::from_u128(n))
}

fn rule(name: &str, query: Query) -> EnsembleRule {
    EnsembleRule { name: name.into(), members: vec![query], size: 1, paper: None }
}

pub(crate) fn all() -> EnsembleRule {
    rule("All", Query::All { filter: Filter::new() })
}

pub(crate) fn best() -> EnsembleRule {
    rule("Best", Query::Top { k: 1, filter: Filter::new() })
}

/// The ensembles among jobs 1 to 3.
pub(crate) fn plan(ensembles: Vec<EnsembleRule>) -> Arc<Plan> {
    let job = |n| PlannedJob {
        id: id(n),
        group: "g".into(),
        also_in: vec![],
        params: serde_json::Map::new().into(),
        settings: serde_json::Map::new().into(),
    };
    Arc::new(Plan {
        name: "s".into(),
        trainer: shared::empty::trainer(),
        ranking: Ranking { metric: "score".into(), goal: Goal::Max },
        dataset: None,
        dataset_digest: None,
        checkpoint_every: CheckpointEvery::default(),
        keep_checkpoints: true,
        priority: Priority::NORMAL,
        jobs: (1..=3).map(job).collect(),
        ensembles,
        tables: vec![],
        weights: vec![],
        requested: Requested::default(),
        notes: vec![],
    })
}

/// Job n is right about the first n of three samples, which are all of class 0, and hardly wrong about the others.
fn matrix(n: u128) -> Matrix {
    let row = |sample| if sample <= n { [0.6, 0.4] } else { [0.48, 0.52] };
    Matrix::from(&[row(1), row(2), row(3)][..])
}

/// The predictions of all jobs; how many were read; and how many reads are still going to fail.
pub(crate) struct Stored {
    samples: SampleList,
    finished: Vec<(JobId, Finished)>,
    read: usize,
    failing: usize,
}

impl Stored {
    pub(crate) fn new() -> Self {
        let ids = (0..3).map(|n| n.to_string()).collect();
        let samples = SampleList { ids, labels: vec![Some(0); 3] };
        Self { samples, finished: Vec::new(), read: 0, failing: 0 }
    }

    /// What the report says of these members.
    pub(crate) fn reported(&self, jobs: &[u128]) -> f64 {
        let matrices: Vec<(u128, Matrix)> = jobs.iter().map(|&n| (n, matrix(n))).collect();
        let members: Vec<MemberProbabilities<'_>> = matrices
            .iter()
            .map(|(n, probabilities)| MemberProbabilities {
                job: id(*n),
                dataset_digest: None,
                samples_digest: "s",
                probabilities,
            })
            .collect();
        score(&vote(&members).unwrap(), &self.samples).unwrap().macro_f1
    }
}

impl Predictions for Stored {
    fn of_job(&mut self, job: JobId) -> Result<Option<Predicted>, String> {
        self.read += 1;
        if self.failing > 0 {
            self.failing -= 1;
            return Err("the disk is away".to_owned());
        }
        let n = (1..=3).find(|&n| id(n) == job).unwrap();
        let samples_digest = "s".to_owned();
        Ok(Some(Predicted { dataset_digest: None, samples_digest, probabilities: matrix(n) }))
    }

    fn samples(&mut self) -> Result<Option<&SampleList>, String> {
        Ok(Some(&self.samples))
    }

    fn finished(&mut self, _plan: &Plan) -> Result<Vec<(JobId, Finished)>, String> {
        Ok(self.finished.clone())
    }
}

pub(crate) fn finished(attempt: u32, score: f64) -> Finished {
    Finished { attempt: Attempt(attempt), score: Some(score), is_predicted: true }
}

/// Waiting and failed candidates, and the state.
fn stands(board: &Scoreboard, name: &str) -> (usize, usize, EnsembleState) {
    let ensemble = board.of(name).unwrap();
    assert_eq!(ensemble.candidates, 3);
    (ensemble.waiting, ensemble.failed, ensemble.state.clone())
}

#[test]
fn a_score_is_provisional_until_every_candidate_has_a_result() {
    let (mut live, mut stored) = (LiveEnsembles::of(plan(vec![all(), best()]), []), Stored::new());
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (3, 0, EnsembleState::Waiting));
    assert_eq!(stands(&board, "Best"), (3, 0, EnsembleState::Waiting));
    let provisional = |members, val_macro_f1| EnsembleState::Provisional { members, val_macro_f1 };
    let (one, two, three) = (stored.reported(&[1]), stored.reported(&[1, 2]), stored.reported(&[1, 2, 3]));
    assert!(one < two && two < three, "{one}, {two} and {three}");

    live.take(id(1), Candidate::Finished(finished(1, 5.0)));
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (2, 0, provisional(1, one)));
    assert_eq!(stands(&board, "Best"), (2, 0, provisional(1, one)));
    assert_eq!(stored.read, 2);

    live.take(id(2), Candidate::Finished(finished(1, 4.0)));
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (1, 0, provisional(2, two)));
    assert_eq!(stands(&board, "Best"), (1, 0, provisional(1, one)));
    assert_eq!(stored.read, 4, "the best has not changed, so nobody votes anew");
    live.score(&mut stored);
    assert!(!live.is_stale());
    assert_eq!(stored.read, 4, "nothing has changed");

    live.take(id(3), Candidate::Failed);
    assert_eq!(stands(&live.score(&mut stored), "All"), (0, 1, provisional(2, two)));
    live.take(id(3), Candidate::Finished(finished(4, 6.0)));
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (0, 0, EnsembleState::Final { members: 3, val_macro_f1: three }));
    let best = EnsembleState::Final { members: 1, val_macro_f1: stored.reported(&[3]) };
    assert_eq!(stands(&board, "Best"), (0, 0, best));

    // Trained again: the same member predicts something else.
    let read = stored.read;
    live.take(id(3), Candidate::Open);
    live.take(id(3), Candidate::Finished(finished(5, 6.0)));
    live.score(&mut stored);
    assert_eq!(stored.read, read + 4);
}

#[test]
fn a_job_of_no_ensemble_costs_no_look() {
    let (mut live, mut stored) = (LiveEnsembles::of(plan(vec![all()]), []), Stored::new());
    live.score(&mut stored);
    live.take(id(9), Candidate::Finished(finished(1, 1.0)));
    assert!(!live.is_stale());
}

#[test]
fn without_predictions_there_is_no_score_and_the_reason() {
    let (mut live, mut stored) = (LiveEnsembles::of(plan(vec![all()]), []), Stored::new());
    let bare = Finished { is_predicted: false, ..finished(1, 1.0) };
    live.take(id(1), Candidate::Finished(bare));
    let unscored = |why: &str| EnsembleState::Unscored { why: why.to_owned() };
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (2, 0, unscored("its jobs have no predictions")));
    live.take(id(2), Candidate::Finished(finished(1, 1.0)));
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (1, 0, unscored("a member has no predictions")));
    assert_eq!(stored.read, 0);

    live.take(id(1), Candidate::Finished(finished(2, 1.0)));
    stored.samples.labels = vec![None; 3];
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (1, 0, unscored("no label of the validation samples is known")));
}

#[test]
fn what_cannot_be_read_is_tried_again() {
    let known = (1..=3).map(|n| (id(n), finished(1, 1.0)));
    let (mut live, mut stored) = (LiveEnsembles::of(plan(vec![all()]), known), Stored::new());
    stored.failing = 1;
    let board = live.score(&mut stored);
    let why = "the disk is away".to_owned();
    assert_eq!(stands(&board, "All"), (0, 0, EnsembleState::Unscored { why }));
    assert!(live.is_stale());
    let val_macro_f1 = stored.reported(&[1, 2, 3]);
    let board = live.score(&mut stored);
    assert_eq!(stands(&board, "All"), (0, 0, EnsembleState::Final { members: 3, val_macro_f1 }));
    assert!(!live.is_stale());
}

#[test]
fn a_changed_plan_is_followed_without_voting_anew() {
    let known: Vec<_> = (1..=3).map(|n| (id(n), finished(1, f64::from(n as u32)))).collect();
    let (mut live, mut stored) = (LiveEnsembles::of(plan(vec![all()]), known.clone()), Stored::new());
    live.score(&mut stored);
    assert_eq!(stored.read, 3);
    live.follow(plan(vec![best(), all()]), BTreeSet::new());
    let board = live.score(&mut stored);
    let names: Vec<&str> = board.ensembles.iter().map(|ensemble| ensemble.name.as_str()).collect();
    assert_eq!((names, stored.read), (vec!["Best", "All"], 4));
    let best_of = |n| EnsembleState::Final { members: 1, val_macro_f1: Stored::new().reported(&[n]) };
    assert_eq!(stands(&board, "Best"), (0, 0, best_of(3)));

    // Another metric ranks: what it says of the jobs must be read.
    let mut ranked = Plan::clone(&plan(vec![best()]));
    ranked.ranking.metric = "loss".to_owned();
    stored.finished = known
        .iter()
        .map(|&(job, known)| (job, Finished { score: Some(-known.score.unwrap()), ..known }))
        .collect();
    live.follow(Arc::new(ranked), BTreeSet::new());
    assert_eq!(stands(&live.score(&mut stored), "Best"), (0, 0, best_of(1)));

    live.follow(plan(vec![]), BTreeSet::new());
    assert_eq!(live.score(&mut stored), Scoreboard::default());
    // Nothing was kept for a plan without ensembles.
    stored.finished = known;
    live.follow(plan(vec![best()]), BTreeSet::new());
    assert_eq!(stands(&live.score(&mut stored), "Best"), (0, 0, best_of(3)));
}
