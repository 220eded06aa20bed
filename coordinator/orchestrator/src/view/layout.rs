//! The lines at the bottom of the terminal, made to fit its width: the least important parts are dropped first. Pure.

use console::{Style, measure_text_width, truncate_str};

use super::bar::{Cells, bar};
use super::model::{LiveJob, Part, Snapshot, headline};
use super::screen::Size;

const WORKER_BAR: Cells = Cells { longest: 20, shortest: 8 };
const TOTAL_BAR: Cells = Cells { longest: 40, shortest: 10 };

/// Columns that a label may take from the bar if it needs them.
const LABEL: usize = 24;

/// One line per worker, and one for the sweep.
pub(super) fn lines(snapshot: &Snapshot, size: Size, colour: bool) -> Vec<String> {
    // One column stays free, because some terminals wrap as soon as the last column is written.
    let width = size.columns.saturating_sub(1).max(1);
    // The headline, the line with the cursor, and the line that counts the workers that are not shown.
    let room = size.rows.saturating_sub(3).max(1);
    let shown = if snapshot.live.len() > room { room - 1 } else { snapshot.live.len() };
    let mut lines = workers(&snapshot.live[..shown], &snapshot.score_name, width, colour);
    if shown < snapshot.live.len() {
        lines.push(format!("… and {} more workers", snapshot.live.len() - shown));
    }
    lines.push(total(snapshot, width, colour));
    lines.into_iter().map(|line| truncate_str(&line, width, "…").into_owned()).collect()
}

fn total(snapshot: &Snapshot, width: usize, colour: bool) -> String {
    let text = fit(headline(snapshot), width);
    let (tally, style) = (snapshot.tally, Style::new().green());
    let bar = bar(
        tally.ended() as u64,
        tally.total() as u64,
        TOTAL_BAR.within(width.saturating_sub(measure_text_width(&text) + 1)),
        style.force_styling(colour),
    );
    [bar, text].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The parts in one line. If there is no room for all, the least important ones are left out.
pub fn fit(mut parts: Vec<Part>, width: usize) -> String {
    loop {
        let line = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" · ");
        let least = (0..parts.len()).min_by_key(|&index| parts[index].importance);
        match least {
            Some(index) if measure_text_width(&line) > width && parts.len() > 1 => drop(parts.remove(index)),
            Some(_) | None => return line,
        }
    }
}

fn workers(live: &[LiveJob], score_name: &str, width: usize, colour: bool) -> Vec<String> {
    let widest = |texts: &mut dyn Iterator<Item = String>| {
        texts.map(|text| measure_text_width(&text)).max().unwrap_or(0)
    };
    let name = widest(&mut live.iter().map(|job| job.report.worker.name().to_owned()));
    let tail = widest(&mut live.iter().map(|job| score(job, score_name)));
    let longest = widest(&mut live.iter().map(|job| job.label.clone()));
    let room = width.saturating_sub(name + 1 + 2 + tail);
    let bar_cells = WORKER_BAR.within(room.saturating_sub(longest.min(LABEL) + 1));
    let label = longest.min(room.saturating_sub(if bar_cells == 0 { 0 } else { bar_cells + 1 }));
    live.iter()
        .map(|job| {
            let (done, length) = progress(job);
            let bar = bar(done, length, bar_cells, Style::new().cyan().force_styling(colour));
            let bar = if bar.is_empty() { bar } else { bar + " " };
            let (worker, text) = (job.report.worker.name(), truncate_str(&job.label, label, "…"));
            let padding = " ".repeat(label.saturating_sub(measure_text_width(&text)));
            format!("{worker:name$} {bar}{text}{padding}  {}", score(job, score_name))
        })
        .collect()
}

fn score(job: &LiveJob, name: &str) -> String {
    let score = job.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.1}"));
    format!("epoch {}/{}  {name} {score}", job.report.epoch, job.report.epochs)
}

/// Finished steps, and all steps. The numbers are limited, because a worker's report may say anything.
fn progress(job: &LiveJob) -> (u64, u64) {
    let steps = u64::from(job.report.steps);
    let before = u64::from(job.report.epoch.saturating_sub(1)) * steps;
    (before + u64::from(job.report.step), u64::from(job.report.epochs) * steps.max(1))
}
