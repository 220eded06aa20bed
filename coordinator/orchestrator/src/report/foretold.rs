//! What was foretold of the sweep's end, beside what came, for both forms of the report.

use std::fmt::Write as _;

use shared::plural::count;

use super::labels::duration;
use super::view::View;
use crate::cost::forecast::{Compared, Forecasts};

pub(super) const TITLE: &str = "Foretold and real time";
pub(super) const NOTE: &str =
    "Times count while a ferry run conducts the sweep. The interval is meant to hold 9 times in 10.";
pub(super) const COLUMNS: [&str; 6] = ["When", "Workers", "Foretold", "Interval", "Real", "Error"];

/// Rows under [`COLUMNS`], one for each forecast; empty while the sweep runs, or if nothing was foretold.
pub(super) fn rows(view: &View<'_>) -> Vec<Vec<String>> {
    let row = |compared: Compared| {
        let Compared { percent, workers, foretold, real_seconds } = compared;
        let interval = format!("{} to {}", duration(foretold.low), duration(foretold.high));
        let interval = if compared.held() { interval } else { format!("{interval} (not held)") };
        vec![
            if percent == 0 { "at the start".to_owned() } else { format!("after {percent} % of the work") },
            workers.to_string(),
            duration(foretold.likely),
            interval,
            duration(real_seconds),
            format!("{:+.0} %", compared.error()),
        ]
    };
    view.record.forecasts.as_ref().map_or_else(Vec::new, Forecasts::compared).into_iter().map(row).collect()
}

/// How often the interval held, and how far off epochs were.
pub(super) fn summary(view: &View<'_>) -> String {
    let Some(forecasts) = &view.record.forecasts else { return String::new() };
    let compared = forecasts.compared();
    let held = compared.iter().filter(|one| one.held()).count();
    let mut text = format!("The interval held {held} of {}.", count(compared.len(), "time"));
    if let Some((error, jobs)) = forecasts.epoch_error() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " Seconds per epoch, foretold before a job began: median error {error:.1} % over {}.",
            count(jobs, "job")
        );
    }
    text
}
