//! Conditions of ensembles and tables, checked against the jobs of the sweep.

use serde_json::Value;

use super::expand::listed;
use super::plan::{Filter, PlannedJob};
use super::problem::{Problem, nearest};
use super::spec::{Conditions, Located, Settings};
use super::values::Vocabulary;

/// The jobs and groups of a sweep, which conditions may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub vocabulary: &'a Vocabulary,
    pub jobs: &'a [PlannedJob],
    pub groups: &'a [&'a str],
}

impl Known<'_> {
    /// The filter of `conditions`. A value that no job has is added to `problems`.
    pub(super) fn filter(&self, conditions: &Conditions, problems: &mut Vec<Problem>) -> Option<Filter> {
        let already = problems.len();
        let mut filter = Filter::new();
        for (name, values) in conditions {
            let mut allowed = Vec::new();
            for value in values {
                match self.value(&name.value, value) {
                    Ok(value) => allowed.push(value),
                    Err(problem) => problems.push(problem),
                }
            }
            filter.insert(name.value.clone(), allowed);
        }
        (problems.len() == already).then_some(filter)
    }

    /// One value for each of `settings`. A value that no job has is added to `problems`.
    pub(super) fn row(
        &self,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) -> Option<shared::settings::Settings> {
        let already = problems.len();
        let mut row = shared::settings::Settings::new();
        for (name, value) in settings {
            match self.value(&name.value, value) {
                Ok(value) => drop(row.insert(name.value.clone(), value)),
                Err(problem) => problems.push(problem),
            }
        }
        (problems.len() == already).then_some(row)
    }

    fn value(&self, name: &str, value: &Located<Value>) -> Result<Value, Problem> {
        if name == "group" {
            return self.group(value);
        }
        let normal = self.vocabulary.normal(name, value)?;
        if self.jobs.iter().any(|job| job.value(name).as_ref() == Some(&normal)) {
            return Ok(normal);
        }
        let values: Vec<Value> = self.jobs.iter().filter_map(|job| job.value(name)).collect();
        let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        let near = normal.as_str().and_then(|wrong| nearest(wrong, &texts));
        let help = match near {
            Some(name) => format!("did you mean `{name}`? the jobs have {}", listed(values.iter())),
            None => format!("the jobs have {}", listed(values.iter())),
        };
        Err(Problem::new(value.span, format!("no job has `{name}` = {normal}")).help(help))
    }

    fn group(&self, value: &Located<Value>) -> Result<Value, Problem> {
        let name = value.value.as_str().unwrap_or_default();
        if self.groups.contains(&name) {
            return Ok(value.value.clone());
        }
        let problem = Problem::new(value.span, format!("there is no group `{name}`"));
        Err(problem.suggest(name, self.groups.iter().copied()))
    }

    /// The jobs that match `filter`, by their index in the plan.
    pub(super) fn matching(&self, filter: &Filter) -> Vec<usize> {
        (0..self.jobs.len()).filter(|&index| self.jobs[index].matches(filter)).collect()
    }
}
