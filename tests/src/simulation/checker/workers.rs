//! What must hold of the standing of workers.

use shared::books::{IncidentKind, MAX_FAILURES, Standing, WorkerRecord};

use super::{Checker, Verdict, require};
use crate::simulation::history::Kind;

impl Checker {
    /// A bad job never drains a good worker. A job that fails at random may, because it succeeds elsewhere.
    pub(super) fn standing_changed(&mut self, record: &WorkerRecord) -> Verdict {
        let is_bad = self.bad.as_ref() == Some(&record.name);
        let text = |what: &str| format!("{}: {what}: {:?}", record.name, record.standing);
        self.counts.drained += u64::from(record.standing.refusal().is_some());
        match &record.standing {
            Standing::Trusted | Standing::Probation { .. } => Ok(()),
            Standing::Unfit { .. } => require(is_bad, || text("a good worker declared itself unfit")),
            Standing::Drained { .. } if is_bad => Ok(()),
            Standing::Drained { incidents } => {
                self.drained.insert(record.name.clone());
                let no_reason = incidents.iter().all(|incident| match &incident.kind {
                    IncidentKind::Failed { .. } => {
                        let failures = self.expected[&incident.job].script.failures as usize;
                        failures > 0 && failures < MAX_FAILURES
                    }
                    IncidentKind::Lost => self.kind == Kind::Kills || self.kind == Kind::Everything,
                });
                require(no_reason, || text("a good worker was drained because of a bad job"))
            }
        }
    }
}
