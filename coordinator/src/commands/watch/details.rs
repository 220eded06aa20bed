//! All that is known of one job, and the end of its log, as lines. Pure.

use shared::protocol::Wish;

use super::marks::{curve, number};
use super::model::Model;

/// Cells of the curves.
const CURVE: usize = 24;

impl Model {
    /// The end of a job's log. If it failed for good, that of its last training, and why.
    pub(super) fn log(&self, place: usize) -> Vec<String> {
        let Some(record) = &self.jobs.get(place).record else { return Vec::new() };
        let mut lines = Vec::new();
        if let Some(reason) = record.state.failure() {
            lines.extend(record.failures.last().iter().flat_map(|failure| failure.log.clone()));
            lines.push(format!("-- failed: {reason}"));
            return lines;
        }
        if let Some(tail) = &record.history.log {
            if tail.before > 0 {
                lines.push(format!(
                    "-- {} earlier lines of attempt {} are not kept",
                    tail.before, tail.attempt.0
                ));
            }
            lines.extend(tail.lines.iter().cloned());
        }
        lines
    }

    /// All that is known of a job.
    pub(super) fn details(&self, place: usize) -> Vec<String> {
        let (planned, job) = (&self.jobs.plan.jobs[place], self.jobs.get(place));
        let row = |name: &str, value: String| format!("{name:<10} {value}");
        let mut lines = vec![row("job", planned.id.to_string()), row("name", self.label(place))];
        let wanted = match job.steering.wish {
            Wish::Train => "",
            Wish::Pause => ", to be paused",
            Wish::Cancel => ", not to be trained any more",
        };
        let worker = job.worker().map_or_else(String::new, |worker| format!(", by {worker}"));
        lines.push(row("state", format!("{}{worker}{wanted}", job.state().name())));
        lines.push(row("epoch", format!("{} of {}", self.jobs.epoch(place), self.jobs.epochs(place))));
        self.add_record(place, &mut lines);
        lines.extend(job.warnings().iter().map(|warning| row("warning", warning.clone())));
        let in_ensembles: Vec<&str> = self
            .ensembles
            .iter()
            .filter(|ensemble| ensemble.candidates.binary_search(&place).is_ok())
            .map(|ensemble| ensemble.name.as_str())
            .collect();
        if !in_ensembles.is_empty() {
            lines.push(row("ensembles", format!("a candidate of {}", in_ensembles.join(", "))));
        }
        self.add_metrics(place, &mut lines);
        lines.extend([String::new(), "Settings".to_owned()]);
        let groups: Vec<&str> =
            std::iter::once(&planned.group).chain(&planned.also_in).map(String::as_str).collect();
        lines.push(format!("  group = {}", groups.join(", ")));
        let value =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.extend(planned.params.iter().map(|(name, set)| format!("  {name} = {}", value(set))));
        let log = self.log(place);
        if !log.is_empty() {
            lines.extend([String::new(), "Log".to_owned()]);
            lines.extend(log.into_iter().map(|line| format!("  {line}")));
        }
        lines
    }

    /// Tries, troubles and notes.
    fn add_record(&self, place: usize, lines: &mut Vec<String>) {
        let Some(record) = &self.jobs.get(place).record else { return };
        let mut told = vec![format!("{}", record.attempts)];
        let troubles = [
            (record.failures.len(), "failed"),
            (record.losses as usize, "worker lost"),
            (record.deferrals as usize, "returned because of server, network or disk"),
        ];
        told.extend(
            troubles.iter().filter(|(times, _)| *times > 0).map(|(times, what)| format!("{what} {times}×")),
        );
        lines.push(format!("{:<10} {}", "attempts", told.join(", ")));
        for failure in &record.failures {
            let (attempt, worker) = (failure.token.attempt.0, failure.token.owner.name());
            lines.push(format!("{:<10} attempt {attempt} on {worker}: {}", "failure", failure.error));
        }
        if record.state.failure().is_some() {
            let command = self.labels.reproduce(self.jobs.id(place));
            lines.extend(command.map(|command| format!("{:<10} {command}", "to see it")));
        }
        lines.extend(record.notes.iter().map(|note| format!("{:<10} {note}", "note")));
    }

    /// The last value of each metric and its course, as far as it is known.
    fn add_metrics(&self, place: usize, lines: &mut Vec<String>) {
        let job = self.jobs.get(place);
        let metrics = job.metrics();
        if metrics.is_empty() {
            return;
        }
        lines.extend([String::new(), "Metrics".to_owned()]);
        let longest = metrics.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in metrics.iter() {
            let ranks = name == self.jobs.plan.ranking.metric;
            let course =
                if ranks { job.scores(&self.jobs.plan.ranking) } else { job.course(&[name.to_owned()]) };
            let line = format!("  {name:longest$}  {:>7}  {}", number(value), curve(&course, CURVE));
            lines.push(line.trim_end().to_owned());
        }
    }
}
