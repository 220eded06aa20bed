//! Sentences that explain why an ensemble has its members.

use serde_json::Value;
use shared::plural::count;

use super::labels;
use super::view::View;
use crate::ensemble::{Certainty, GroupMean, Ranked, Step};

/// One sentence about what a query took, and from which candidates.
pub(super) fn step(view: &View<'_>, step: &Step) -> String {
    match step {
        Step::All { filter, taken } => {
            let of =
                if filter.is_empty() { String::new() } else { format!(" of {}", labels::filter(filter)) };
            format!("All finished jobs{of}: {}.", count(taken.len(), "job"))
        }
        Step::Top { k, filter, ranking, taken } => {
            let score = |ranked: &Ranked| view.measure.text(ranked.score);
            let named = |ranked: &Ranked| format!("{} ({})", view.name(ranked.job), score(ranked));
            let best: Vec<String> = ranking.iter().take(taken.len()).map(named).collect();
            let next = ranking.get(taken.len()).map(|ranked| format!("; the next is {}", named(ranked)));
            let best_of = if *k == 1 { "The best".to_owned() } else { format!("The best {k}") };
            format!(
                "{best_of} by {} of {} finished ({}): {}{}.",
                view.measure.in_words(),
                ranking.len(),
                labels::filter(filter),
                if best.is_empty() { "none yet".to_owned() } else { best.join(" and ") },
                next.unwrap_or_default(),
            )
        }
        Step::BestGroup { by, filter, groups, .. } => {
            let axes: Vec<String> = by.iter().map(|name| labels::setting(name).to_lowercase()).collect();
            let ranking: Vec<String> = groups.iter().map(|group| self::group(view, group)).collect();
            format!(
                "The best {} by mean {} ({}): {}.",
                axes.join(" and "),
                view.measure.in_words(),
                labels::filter(filter),
                ranking.join(", then "),
            )
        }
    }
}

/// What may still change an ensemble.
pub(super) fn open(certainty: &Certainty) -> Option<String> {
    match certainty {
        Certainty::Final => None,
        Certainty::Provisional { waiting, failed } => {
            let mut parts = Vec::new();
            if !waiting.is_empty() {
                parts.push(format!("{} that could change it not finished", count(waiting.len(), "job")));
            }
            if !failed.is_empty() {
                parts.push(format!("{} failed and left out", count(failed.len(), "candidate")));
            }
            Some(format!("Provisional: {}.", parts.join(", ")))
        }
    }
}

fn group(view: &View<'_>, group: &GroupMean) -> String {
    let values: Vec<String> =
        group.settings.iter().map(|(name, value): (&String, &Value)| labels::value(name, value)).collect();
    let finished = match group.jobs.len() {
        all if all == group.finished => count(all, "job"),
        all => format!("{} of {all} jobs", group.finished),
    };
    format!("{} {} ({finished})", values.join(" · "), view.measure.or_dash(group.mean))
}
