//! Somebody who looks at what a sweep file asks for, compared with the books, before a run acts on it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::comparison::Comparison;
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
    pub(super) async fn agrees(&self, plan: &Arc<Plan>, comparison: Comparison) -> anyhow::Result<bool> {
        let (review, plan, (tell, told)) = (self.0.clone(), plan.clone(), oneshot::channel());
        std::thread::Builder::new().name("review".to_owned()).spawn(move || {
            // Nobody listens any more if the run was interrupted.
            drop(tell.send(review(&plan, &comparison)));
        })?;
        told.await?
    }
}

impl fmt::Debug for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Review").finish_non_exhaustive()
    }
}
