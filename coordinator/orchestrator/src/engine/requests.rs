//! The requests that have no answer yet: which is carried out next, which contradict each other, and what to answer. Pure.
//!
//! Requests are carried out one after the other, in the order in which they came into the books; the next one begins when
//! the books show the answer to the one before. So whoever finds a request without an answer knows that nothing was done
//! for a later one. A request that a later one contradicts before its turn is not carried out.

use std::collections::{BTreeMap, BTreeSet};

use shared::books::CarriedOut;
use shared::ids::{JobId, RequestId};
use shared::plural::count;
use shared::protocol::{Answer, Demand, JobChange, Request};

/// The most reasons that an answer lists.
const MOST_REMARKS: usize = 20;

/// Why a request for a job of another sweep, or of none, cannot be met.
pub(crate) const NOT_OURS: &str = "the sweep does not have it";

/// The requests of one sweep, by the revision at which each came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requests {
    open: BTreeMap<u64, Open>,
    /// What was answered at revisions up to this one is known.
    known: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Open {
    request: Request,
    state: OpenState,
}

#[derive(Debug, Clone, PartialEq)]
enum OpenState {
    Waiting,
    /// It is carried out. `left` are the jobs of which it is not known yet whether they changed.
    Working {
        left: BTreeSet<JobId>,
        done: usize,
        refused: Vec<(JobId, String)>,
    },
    /// The books may not show the answer yet. `acted` tells whether anything was tried before.
    Answered {
        answer: Answer,
        acted: bool,
    },
}

/// Something to do about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Change how a job is carried out.
    CarryOut { request: RequestId, job: JobId, change: JobChange },
    /// Change the plan.
    ChangePlan { request: RequestId, demand: Demand },
    /// Write the answer.
    Answer { request: RequestId, answer: Answer },
    /// Look what another run has changed on this request.
    Learn(Request),
}

impl Requests {
    /// What was answered at revisions up to `known` need not be learned.
    pub fn after(known: u64) -> Self {
        Self { known, ..Self::default() }
    }

    /// True while the books show a request without an answer.
    pub fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// A request stands in the books at `revision`, perhaps with its answer. `is_ours` knows the jobs of the sweep.
    pub fn requested(
        &mut self,
        revision: u64,
        request: Request,
        is_ours: &dyn Fn(JobId) -> bool,
    ) -> Vec<Step> {
        let known = self.open.values().any(|open| open.request.id == request.id);
        if let Some(answer) = &request.answer {
            let told = self.open.values().find(|open| open.request.id == request.id);
            let is_own = told.is_some_and(|open| open.state.is(answer));
            let changed = matches!(answer, Answer::Done { .. }) && !is_own && revision > self.known;
            self.known = self.known.max(revision);
            let mut steps = self.gone(request.id, is_ours);
            steps.extend(changed.then_some(Step::Learn(request)));
            return steps;
        }
        let mut steps = Vec::new();
        if !known {
            steps.extend(self.supersede(&request));
            self.open.insert(revision, Open { request, state: OpenState::Waiting });
        }
        steps.extend(self.next(is_ours));
        steps
    }

    /// The books show the answer to a request, or no longer show the request.
    pub fn gone(&mut self, id: RequestId, is_ours: &dyn Fn(JobId) -> bool) -> Vec<Step> {
        self.open.retain(|_, open| open.request.id != id);
        self.next(is_ours)
    }

    /// A job was changed as a request asked, or cannot be.
    pub fn carried_out(&mut self, id: RequestId, job: JobId, outcome: CarriedOut) -> Vec<Step> {
        let Some(open) = self.open.values_mut().find(|open| open.request.id == id) else { return Vec::new() };
        let OpenState::Working { left, done, refused } = &mut open.state else { return Vec::new() };
        if !left.remove(&job) {
            return Vec::new();
        }
        match outcome {
            CarriedOut::Done(_) => *done += 1,
            CarriedOut::Refused(why) => refused.push((job, why)),
        }
        if !left.is_empty() {
            return Vec::new();
        }
        let answer = answer(*done, refused);
        self.close(id, answer)
    }

    /// The plan was changed as a request asked, or cannot be.
    pub fn plan_changed(&mut self, id: RequestId, outcome: Result<Vec<String>, String>) -> Vec<Step> {
        let answer = match outcome {
            Ok(remarks) => Answer::Done { remarks },
            Err(why) => Answer::Refused { why },
        };
        self.close(id, answer)
    }

    /// What must be done again, because it may have been lost on the way.
    pub fn again(&self) -> Vec<Step> {
        self.open.values().flat_map(Open::steps).collect()
    }

    fn close(&mut self, id: RequestId, answer: Answer) -> Vec<Step> {
        let Some(open) = self.open.values_mut().find(|open| open.request.id == id) else { return Vec::new() };
        open.state = OpenState::Answered { answer, acted: true };
        open.steps()
    }

    /// Begins with the oldest request, unless one is being carried out.
    fn next(&mut self, is_ours: &dyn Fn(JobId) -> bool) -> Vec<Step> {
        let mut steps = Vec::new();
        while !self.open.values().any(Open::is_under_way) {
            let waiting = self.open.values_mut().find(|open| open.state == OpenState::Waiting);
            let Some(open) = waiting else { break };
            open.begin(is_ours);
            steps.extend(open.steps());
        }
        steps
    }

    /// Answers the waiting requests that `later` contradicts.
    fn supersede(&mut self, later: &Request) -> Vec<Step> {
        let waiting = self.open.values_mut().filter(|open| open.state == OpenState::Waiting);
        let mut steps = Vec::new();
        for open in waiting.filter(|open| contradicts(later, &open.request)) {
            let answer = Answer::Superseded { by: later.id };
            open.state = OpenState::Answered { answer, acted: false };
            steps.extend(open.steps());
        }
        steps
    }
}

impl OpenState {
    /// True if this run gave this answer.
    fn is(&self, given: &Answer) -> bool {
        match self {
            Self::Answered { answer, .. } => answer == given,
            Self::Waiting | Self::Working { .. } => false,
        }
    }
}

impl Open {
    /// True from the first attempt to carry it out until the books show the answer.
    fn is_under_way(&self) -> bool {
        match self.state {
            OpenState::Waiting => false,
            OpenState::Working { .. } => true,
            OpenState::Answered { acted, .. } => acted,
        }
    }

    fn begin(&mut self, is_ours: &dyn Fn(JobId) -> bool) {
        let mut refused = Vec::new();
        let mut left = BTreeSet::new();
        match &self.request.demand {
            Demand::Jobs { jobs, .. } => {
                for &job in jobs {
                    if is_ours(job) {
                        left.insert(job);
                    } else {
                        refused.push((job, NOT_OURS.to_owned()));
                    }
                }
                if left.is_empty() {
                    self.state = OpenState::Answered { answer: answer(0, &refused), acted: false };
                    return;
                }
            }
            // An earlier run may have changed the plan already: only the plan in the books tells.
            Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. } => {}
        }
        self.state = OpenState::Working { left, done: 0, refused };
    }

    /// What its state asks for.
    fn steps(&self) -> Vec<Step> {
        let request = self.request.id;
        match (&self.state, &self.request.demand) {
            (OpenState::Waiting, _) => Vec::new(),
            (OpenState::Answered { answer, .. }, _) => vec![Step::Answer { request, answer: answer.clone() }],
            (OpenState::Working { left, .. }, Demand::Jobs { change, .. }) => {
                left.iter().map(|&job| Step::CarryOut { request, job, change: *change }).collect()
            }
            (
                OpenState::Working { .. },
                demand @ (Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. }),
            ) => {
                vec![Step::ChangePlan { request, demand: demand.clone() }]
            }
        }
    }
}

/// True if all that `earlier` asks for is pointless once `later` is granted.
fn contradicts(later: &Request, earlier: &Request) -> bool {
    match (&earlier.demand, &later.demand) {
        (Demand::Jobs { jobs, change }, Demand::Jobs { jobs: others, change: other }) => {
            change.is_superseded_by(*other) && jobs.iter().all(|job| others.contains(job))
        }
        (Demand::Jobs { jobs, .. }, Demand::Withdraw { jobs: others }) => {
            jobs.iter().all(|job| others.contains(job))
        }
        // A later edit may yet be refused: then the earlier one holds.
        (Demand::Jobs { .. }, Demand::Add { .. } | Demand::Edit { .. })
        | (Demand::Add { .. } | Demand::Withdraw { .. } | Demand::Edit { .. }, _) => false,
    }
}

/// For which jobs a request was not carried out, and why.
pub(crate) fn in_words(refused: &[(JobId, String)]) -> Vec<String> {
    let mut remarks: Vec<String> =
        refused.iter().take(MOST_REMARKS).map(|(job, why)| format!("job {}: {why}", job.short())).collect();
    if refused.len() > MOST_REMARKS {
        remarks.push(format!("{} more", count(refused.len() - MOST_REMARKS, "job")));
    }
    remarks
}

fn answer(done: usize, refused: &[(JobId, String)]) -> Answer {
    let remarks = in_words(refused);
    if done == 0 && !refused.is_empty() {
        return Answer::Refused { why: remarks.join("; ") };
    }
    Answer::Done { remarks: except(remarks) }
}

/// The same as remarks on a request that was carried out for other jobs.
pub(crate) fn except(reasons: Vec<String>) -> Vec<String> {
    reasons.into_iter().map(|reason| format!("not for {reason}")).collect()
}

#[cfg(test)]
mod tests {
    use shared::protocol::Steering;
    use uuid::Uuid;

    use super::*;

    fn job(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    fn id(n: u128) -> RequestId {
        RequestId::new(Uuid::from_u128(n))
    }

    fn ask(n: u128, jobs: &[u128], change: JobChange) -> Request {
        let jobs = jobs.iter().map(|&n| job(n)).collect();
        Request::new(id(n), "demo", "ada", Demand::Jobs { jobs, change })
    }

    /// The sweep has jobs 1 to 9.
    fn ours(found: JobId) -> bool {
        (1..=9).any(|n| job(n) == found)
    }

    fn carry_out(request: u128, n: u128, change: JobChange) -> Step {
        Step::CarryOut { request: id(request), job: job(n), change }
    }

    fn answered(request: u128, answer: Answer) -> Step {
        Step::Answer { request: id(request), answer }
    }

    #[test]
    fn requests_are_carried_out_one_after_the_other() {
        let mut requests = Requests::default();
        let first = requests.requested(10, ask(1, &[1, 2], JobChange::Pause), &ours);
        assert_eq!(first, [carry_out(1, 1, JobChange::Pause), carry_out(1, 2, JobChange::Pause)]);
        assert_eq!(requests.requested(11, ask(2, &[3], JobChange::StopEarly), &ours), []);
        assert_eq!(requests.carried_out(id(1), job(1), CarriedOut::Done(Steering::default())), []);
        assert_eq!(requests.again(), [carry_out(1, 2, JobChange::Pause)]);
        let why = "it is done".to_owned();
        let next = requests.carried_out(id(1), job(2), CarriedOut::Refused(why));
        let remarks = vec!["not for job 00000000: it is done".to_owned()];
        let done = answered(1, Answer::Done { remarks });
        assert_eq!(next, std::slice::from_ref(&done));
        assert_eq!(
            requests.again(),
            std::slice::from_ref(&done),
            "the next one waits until the books show the answer"
        );
        let Step::Answer { answer, .. } = done else { panic!("not an answer") };
        let seen = Request { answer: Some(answer), ..ask(1, &[1, 2], JobChange::Pause) };
        assert_eq!(requests.requested(12, seen, &ours), [carry_out(2, 3, JobChange::StopEarly)]);
        assert_eq!(requests.again(), [carry_out(2, 3, JobChange::StopEarly)]);
        assert!(requests.are_open());
    }

    #[test]
    fn of_two_that_contradict_each_other_the_later_wins_and_both_are_told() {
        let mut requests = Requests::default();
        requests.requested(10, ask(1, &[9], JobChange::First), &ours);
        requests.requested(11, ask(2, &[1], JobChange::Pause), &ours);
        let steps = requests.requested(12, ask(3, &[1, 2], JobChange::Resume), &ours);
        assert_eq!(steps, [answered(2, Answer::Superseded { by: id(3) })]);
        let done = Answer::Done { remarks: Vec::new() };
        assert_eq!(
            requests.carried_out(id(1), job(9), CarriedOut::Done(Steering::default())),
            [answered(1, done.clone())]
        );
        let seen = Request { answer: Some(done), ..ask(1, &[9], JobChange::First) };
        let steps = requests.requested(13, seen, &ours);
        assert_eq!(steps, [1, 2].map(|n| carry_out(3, n, JobChange::Resume)));
    }

    #[test]
    fn an_edit_that_waits_is_carried_out_though_a_later_one_may_be_refused() {
        let plan = shared::blob::BlobRef::of("plan.demo", b"{}");
        let edit = |n| Request::new(id(n), "demo", "ada", Demand::Edit { plan: plan.clone() });
        let mut requests = Requests::default();
        requests.requested(10, ask(1, &[1], JobChange::Pause), &ours);
        assert_eq!(requests.requested(11, edit(2), &ours), []);
        assert_eq!(requests.requested(12, edit(3), &ours), []);
        let [first, second] = [2, 3].map(|n| Step::ChangePlan { request: id(n), demand: edit(n).demand });
        assert_eq!(requests.gone(id(1), &ours), std::slice::from_ref(&first));
        assert_eq!(requests.gone(id(2), &ours), [second]);
    }

    #[test]
    fn what_cannot_be_met_is_answered_with_the_reason() {
        let mut requests = Requests::default();
        let steps = requests.requested(10, ask(1, &[77], JobChange::Pause), &ours);
        let why = "job 00000000: the sweep does not have it".to_owned();
        assert_eq!(steps, [answered(1, Answer::Refused { why })]);
        assert!(requests.are_open(), "until the books show the answer");
        let withdraw = Request::new(id(2), "demo", "ada", Demand::Withdraw { jobs: vec![job(1)] });
        let steps = requests.requested(11, withdraw.clone(), &ours);
        assert_eq!(steps, [Step::ChangePlan { request: id(2), demand: withdraw.demand }]);
        let steps = requests.plan_changed(id(2), Err("an ensemble needs it".to_owned()));
        assert_eq!(steps, [answered(2, Answer::Refused { why: "an ensemble needs it".to_owned() })]);
    }
}
