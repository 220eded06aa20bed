//! What each worker trains now, as it reports and as far as the records agree.

use std::collections::BTreeMap;

use shared::books::JobState;
use shared::ids::WorkerId;
use shared::protocol::LiveReport;
use tokio::time::Instant;

use super::other_sweeps::OtherSweeps;
use crate::engine::Engine;
use crate::view::labels::Labels;
use crate::view::model::LiveJob;

/// What is known about the workers that train here.
pub(super) struct Workers {
    pub(super) labels: Labels,
    pub(super) others: OtherSweeps,
    /// The last report of each worker, and when it arrived.
    pub(super) reports: BTreeMap<WorkerId, (Instant, LiveReport)>,
    /// Workers that get no more jobs, and why.
    pub(super) drained: BTreeMap<String, String>,
}

impl Workers {
    /// What each worker trains now. Reports that contradict the records are left out: a worker that lost its job may
    /// not know it yet.
    pub(super) fn live(&mut self, engine: &Engine) -> Vec<LiveJob> {
        let Self { labels, others, reports, .. } = self;
        let mut live = Vec::new();
        for (_, report) in reports.values() {
            let Some(label) = labels.find(report.job) else {
                let label = others.label(report.job);
                live.push(LiveJob { report: report.clone(), label, own: false, score: None });
                continue;
            };
            let Some(record) = engine.record(report.job) else { continue };
            let JobState::Running { token, .. } = &record.state else { continue };
            if token.owner == report.worker {
                let (label, score) = (label.to_owned(), record.last_score());
                live.push(LiveJob { report: report.clone(), label, own: true, score });
            }
        }
        live
    }
}
