//! The sweep's tables filled in (the paper's Tables 2 and 3): the mean score by row, its spread, and the paper's number.

use std::collections::HashMap;

use serde_json::Value;
use shared::ids::JobId;
use shared::settings::Settings;

use super::labels;
use crate::sweep::plan::{Plan, TableRule};

/// One filled table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) title: String,
    /// Headings of the settings that make the rows.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// Whether any row is a mean of several jobs.
    pub(super) spread: bool,
    /// Whether the paper has numbers for it.
    pub(super) paper: bool,
    /// Whether rows are grouped under a second mean.
    pub(super) grouped: bool,
}

/// One row: the jobs that share the values of the table's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) values: Vec<String>,
    pub(super) jobs: usize,
    pub(super) mean: Option<Spread>,
    pub(super) paper: Option<f64>,
    /// Only in the first row of a group.
    pub(super) group: Option<Group>,
}

/// The second mean of the paper's tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// Number of rows it spans.
    pub(super) rows: usize,
    /// Over all finished jobs of those rows.
    pub(super) mean: Option<f64>,
    /// Mean of the paper's numbers, if it has one for each row.
    pub(super) paper: Option<f64>,
}

/// Mean and spread of finished jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    /// Sample standard deviation (n − 1); `None` for a single job.
    pub(super) deviation: Option<f64>,
    pub(super) finished: usize,
}

/// Mean and sample standard deviation; `None` if there are no values.
pub(super) fn mean(values: &[f64]) -> Option<Spread> {
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    Some(Spread { mean, deviation, finished: values.len() })
}

/// A row before its numbers: its settings and jobs, and the group of rows that it belongs to.
struct Cell {
    settings: Settings,
    jobs: Vec<JobId>,
    group: usize,
}

/// Fills a table rule with the scores of the finished jobs.
pub(super) fn fill(plan: &Plan, score: impl Fn(JobId) -> Option<f64>, rule: &TableRule) -> Table {
    let cells = cells(plan, rule);
    let scores = |jobs: &[JobId]| -> Vec<f64> { jobs.iter().filter_map(|&job| score(job)).collect() };
    let mut rows: Vec<Row> = cells
        .iter()
        .map(|cell| Row {
            values: cell.settings_of(&rule.rows),
            jobs: cell.jobs.len(),
            mean: mean(&scores(&cell.jobs)),
            paper: paper(rule, &cell.settings),
            group: None,
        })
        .collect();
    let mut start = 0;
    for block in cells.chunk_by(|a, b| a.group == b.group).filter(|_| !rule.mean_by.is_empty()) {
        let papers: Option<Vec<f64>> = block.iter().map(|cell| paper(rule, &cell.settings)).collect();
        let jobs: Vec<JobId> = block.iter().flat_map(|cell| cell.jobs.iter().copied()).collect();
        rows[start].group = Some(Group {
            rows: block.len(),
            mean: mean(&scores(&jobs)).map(|mean| mean.mean),
            paper: papers.and_then(|papers| mean(&papers)).map(|mean| mean.mean),
        });
        start += block.len();
    }
    Table {
        title: rule.title.clone(),
        columns: rule.rows.iter().map(|name| labels::setting(name)).collect(),
        spread: rows.iter().any(|row| row.jobs > 1),
        paper: rows.iter().any(|row| row.paper.is_some()),
        grouped: !rule.mean_by.is_empty(),
        rows,
    }
}

impl Cell {
    fn settings_of(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| labels::value(name, &self.settings[name])).collect()
    }
}

/// Rows in the order of the plan. Rows of one group follow its first row.
fn cells(plan: &Plan, rule: &TableRule) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut rows: HashMap<Vec<Value>, usize> = HashMap::new();
    let mut groups: HashMap<Vec<Option<Value>>, usize> = HashMap::new();
    for job in plan.jobs.iter().filter(|job| job.matches(&rule.filter)) {
        let value = |name: &String| job.value(name).unwrap_or(Value::Null);
        let values: Vec<Value> = rule.rows.iter().map(value).collect();
        if let Some(&row) = rows.get(&values) {
            cells[row].jobs.push(job.id);
            continue;
        }
        let settings: Settings = rule.rows.iter().cloned().zip(values.iter().cloned()).collect();
        let shared = rule.mean_by.iter().map(|name| settings.get(name).cloned()).collect();
        let next = groups.len();
        let group = *groups.entry(shared).or_insert(next);
        rows.insert(values, cells.len());
        cells.push(Cell { settings, jobs: vec![job.id], group });
    }
    // A stable sort, so that the rows of a group keep their order.
    cells.sort_by_key(|cell| cell.group);
    cells
}

/// The paper's number for the row whose settings agree with everything the paper's row names.
fn paper(rule: &TableRule, settings: &Settings) -> Option<f64> {
    let agrees = |row: &Settings| row.iter().all(|(name, value)| settings.get(name) == Some(value));
    rule.paper.iter().find(|paper| agrees(&paper.row)).map(|paper| paper.f1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_sample_deviation_by_hand() {
        let of = mean(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!((of.mean, of.finished), (3.0, 4));
        assert!((of.deviation.unwrap() - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean(&[5.0]).unwrap().deviation, None);
        assert_eq!(mean(&[]), None);
    }
}
