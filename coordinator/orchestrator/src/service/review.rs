//! Somebody who looks at what a sweep file asks for, compared with the books, before a run acts on it.

use std::sync::Arc;
use std::{fmt, mem};

use tokio::sync::oneshot;

use super::comparison::Comparison;
use crate::sweep::difference::Difference;
use crate::sweep::plan::Plan;

type Agrees = dyn Fn(&Plan, &Comparison) -> anyhow::Result<bool> + Send + Sync;

/// Tells the user about a comparison of the plan with the books, and whether to go on.
#[derive(Clone)]
pub struct Review(Arc<Agrees>);

impl Review {
    /// `agrees` may wait for the user as long as it takes.
    pub fn new(agrees: impl Fn(&Plan, &Comparison) -> anyhow::Result<bool> + Send + Sync + 'static) -> Self {
        Self(Arc::new(agrees))
    }

    /// On a thread of its own, which nobody waits for when the run is interrupted.
    fn ask(
        &self,
        plan: &Arc<Plan>,
        compared: &Arc<Comparison>,
    ) -> std::io::Result<oneshot::Receiver<anyhow::Result<bool>>> {
        let (review, plan, compared) = (self.0.clone(), plan.clone(), compared.clone());
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new().name("review".to_owned()).spawn(move || {
            // Nobody listens any more if the run was interrupted.
            drop(tell.send(review(&plan, &compared)));
        })?;
        Ok(told)
    }
}

/// Where a run stands with what follows from its sweep file. Kept when the run begins again, so that nobody is asked the
/// same twice, and no two questions wait for an answer at the same time.
#[derive(Debug)]
pub(super) enum Agreement {
    /// The user has not been asked.
    Open,
    /// The user has been asked about these changes, and may still think.
    Asked(Difference, oneshot::Receiver<anyhow::Result<bool>>),
    /// The user wants these changes.
    Given(Difference),
    /// The sweep was entered as the file asks for. Whoever changes it from then on is right.
    CarriedOut,
}

impl Agreement {
    /// The changes to carry out, which the user agrees to. `None` if the user does not.
    ///
    /// # Errors
    /// When the user cannot be asked, or the file asks for what is refused.
    pub(super) async fn on(
        &mut self,
        review: &Review,
        plan: &Arc<Plan>,
        compared: Comparison,
    ) -> anyhow::Result<Option<Difference>> {
        let compared = Arc::new(compared);
        loop {
            let next = match self {
                Self::CarriedOut => return Ok(Some(Difference::default())),
                Self::Given(wanted) if *wanted == compared.difference => return Ok(Some(wanted.clone())),
                Self::Open | Self::Given(_) => {
                    Self::Asked(compared.difference.clone(), review.ask(plan, &compared)?)
                }
                // Whoever waits here may be dropped. Then the question stays, and its answer is still to come.
                Self::Asked(changes, answer) => {
                    if !answer.await?? {
                        return Ok(None);
                    }
                    Self::Given(mem::take(changes))
                }
            };
            *self = next;
        }
    }
}

impl fmt::Debug for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Review").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::super::work::Work;
    use super::*;
    use crate::sweep;
    use crate::view::labels::Labels;

    fn plan(seeds: &str) -> Plan {
        let text = format!("name: s\ntrainer: empty\ngroups: {{a: {{matrix: {{seed: {seeds}}}}}}}\n");
        sweep::plan(&text, Path::new(""), Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn compared(before: &str, file: &Plan) -> Comparison {
        Comparison {
            difference: Difference::between(&plan(before), file),
            jobs: BTreeMap::new(),
            labels: Labels::of(file),
            work: Work { jobs: 0, epochs: 0, workers: 1, time: None },
            going_on: BTreeMap::new(),
            origins: BTreeSet::new(),
            shortened: Vec::new(),
            is_conducted: false,
        }
    }

    /// A review that waits for these answers, and how often it has asked.
    fn answered_later() -> (Review, mpsc::Sender<bool>, Arc<AtomicUsize>) {
        let (answer, answers) = mpsc::channel();
        let (answers, asked) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let review = Review::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(answers.lock().unwrap().recv()?)
        });
        (review, answer, asked)
    }

    /// The run begins again while the question stands.
    #[tokio::test]
    async fn a_question_is_asked_once_though_nobody_waits_for_its_answer_meanwhile() {
        let (file, (review, answer, asked)) = (Arc::new(plan("[0, 1]")), answered_later());
        let mut agreement = Agreement::Open;
        tokio::select! {
            biased;
            agreed = agreement.on(&review, &file, compared("[0, 2]", &file)) => panic!("{agreed:?}"),
            () = tokio::task::yield_now() => {}
        }
        answer.send(true).unwrap();
        for _ in 0..2 {
            let agreed = agreement.on(&review, &file, compared("[0, 2]", &file)).await.unwrap();
            assert_eq!(agreed, Some(compared("[0, 2]", &file).difference));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Somebody has edited the sweep meanwhile, so that the file changes something else.
        answer.send(false).unwrap();
        assert_eq!(agreement.on(&review, &file, compared("[0, 3]", &file)).await.unwrap(), None);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn nobody_is_asked_about_what_others_change_later() {
        let (file, (review, _answer, asked)) = (Arc::new(plan("[0, 1]")), answered_later());
        let agreed = Agreement::CarriedOut.on(&review, &file, compared("[0, 2]", &file)).await.unwrap();
        assert_eq!(agreed, Some(Difference::default()));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
