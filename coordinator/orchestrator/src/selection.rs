//! Which jobs of a sweep are meant: the small language of the command line, such as
//! `augmentation=mixup appearance=dino* subset_seed<3 val_macro_f1>60`. Pure.
//!
//! A job is meant if all conditions hold. A word that is no condition is the beginning of a job's id; of several, one must
//! fit.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::ids::JobId;
use shared::metrics::Metrics;
use shared::protocol::Priority;

use crate::sweep::expand::listed;
use crate::sweep::plan::{Plan, PlannedJob};
use crate::sweep::problem::nearest;

/// Names that stand for what the books say of a job, unless its trainer has a setting of that name.
const FACTS: [&str; 6] = ["state", "priority", "worker", "epoch", "attempts", "score"];

/// What the books say of a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    pub state: &'static str,
    pub priority: Priority,
    /// The worker that trains it, or has finished it.
    pub worker: Option<String>,
    /// Finished epochs.
    pub epoch: u32,
    pub attempts: u32,
    /// The metric by which jobs are compared, so far.
    pub score: Option<f64>,
    /// Of its result, or so far.
    pub metrics: Metrics,
}

/// Which jobs are meant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    ids: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    /// As it was written.
    text: String,
    name: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Number(Order, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The longer ones first, so that `<=` is not taken for `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NoneOf),
    ("<=", Operator::Number(Order::AtMost)),
    (">=", Operator::Number(Order::AtLeast)),
    ("=", Operator::OneOf),
    ("<", Operator::Number(Order::Less)),
    (">", Operator::Number(Order::More)),
];

#[derive(Debug, Clone, Copy)]
enum Operator {
    OneOf,
    NoneOf,
    Number(Order),
}

/// Why a selection cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("`{0}` has nothing on one side of its sign; write NAME=VALUE")]
    OneSided(String),
    #[error("`{text}` compares with `{value}`, which is not a number")]
    NotANumber { text: String, value: String },
    #[error("`{word}` is not a sweep, a condition such as `epoch>3`, or the beginning of a job's id")]
    UnknownWord { word: String },
    #[error("no job of this sweep has an id that begins with `{0}`; `ferry status --json` lists them")]
    NoSuchId(String),
    #[error("`{text}`: jobs of this sweep have no `{name}`{help}")]
    UnknownName { text: String, name: String, help: String },
    #[error("`{text}`: no job has this value; the jobs have {have}")]
    UnknownValue { text: String, have: String },
    #[error("`{text}`: `{name}` is not a number; the jobs have {have}")]
    NotNumeric { text: String, name: String, have: String },
}

impl Selection {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// When a word is neither a condition nor the beginning of an id.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, SelectionError> {
        let mut selection = Self::default();
        for word in words {
            match condition(word)? {
                Some(condition) => selection.conditions.push(condition),
                None if is_beginning_of_id(word) => selection.ids.push(word.to_lowercase()),
                None => return Err(SelectionError::UnknownWord { word: word.to_owned() }),
            }
        }
        Ok(selection)
    }

    /// The beginning of an id, if one is among the words.
    pub fn first_id(&self) -> Option<&str> {
        self.ids.first().map(String::as_str)
    }

    /// The jobs that are meant, in the order of the plan. A job without facts is new to the books.
    ///
    /// # Errors
    /// When a name or a value is in none of the jobs, which is a typing mistake.
    pub fn choose(&self, plan: &Plan, facts: &BTreeMap<JobId, Facts>) -> Result<Vec<JobId>, SelectionError> {
        for id in &self.ids {
            if !plan.jobs.iter().any(|job| job.id.begins_with(id)) {
                return Err(SelectionError::NoSuchId(id.clone()));
            }
        }
        let new = Facts { state: "pending", ..Facts::default() };
        let all: Vec<(&PlannedJob, &Facts)> =
            plan.jobs.iter().map(|job| (job, facts.get(&job.id).unwrap_or(&new))).collect();
        let mut chosen = vec![true; all.len()];
        for condition in &self.conditions {
            let values: Vec<Option<Value>> =
                all.iter().map(|(job, facts)| value(&condition.name, job, facts)).collect();
            condition.check(&values, &all)?;
            for ((chosen, value), (job, _)) in chosen.iter_mut().zip(&values).zip(&all) {
                *chosen &= condition.holds(value.as_ref(), job);
            }
        }
        let by_id =
            |job: &PlannedJob| self.ids.is_empty() || self.ids.iter().any(|id| job.id.begins_with(id));
        let chosen = all.iter().zip(chosen).filter(|((job, _), chosen)| *chosen && by_id(job));
        Ok(chosen.map(|((job, _), _)| job.id).collect())
    }

    /// Whether one job is meant. For a selection that [`Self::choose`] has found sound.
    pub fn means(&self, job: &PlannedJob, facts: &Facts) -> bool {
        let by_id = self.ids.is_empty() || self.ids.iter().any(|id| job.id.begins_with(id));
        let holds = |condition: &Condition| condition.holds(value(&condition.name, job, facts).as_ref(), job);
        by_id && self.conditions.iter().all(holds)
    }
}

impl Condition {
    /// Refuses what no job can meet because of a typing mistake.
    fn check(&self, values: &[Option<Value>], jobs: &[(&PlannedJob, &Facts)]) -> Result<(), SelectionError> {
        let (text, name) = (self.text.clone(), self.name.clone());
        if values.iter().all(Option::is_none) && !FACTS.contains(&name.as_str()) {
            return Err(SelectionError::UnknownName { help: help(&name, jobs), text, name });
        }
        let have = || listed(values.iter().flatten());
        match &self.test {
            // What the books say changes by the second: that no job is in a state now is no mistake.
            Test::OneOf(_) | Test::NoneOf(_) if FACTS.contains(&name.as_str()) => Ok(()),
            Test::OneOf(patterns) | Test::NoneOf(patterns) => {
                let is_known = |pattern: &String| {
                    let fits = |(value, (job, _)): (&Option<Value>, &(&PlannedJob, &Facts))| {
                        self.fits(pattern, value.as_ref(), job)
                    };
                    values.iter().zip(jobs).any(fits)
                };
                if patterns.iter().all(is_known) {
                    return Ok(());
                }
                Err(SelectionError::UnknownValue { text, have: have() })
            }
            Test::Number(..) => {
                let mut known = values.iter().flatten();
                if known.clone().next().is_none() || known.any(Value::is_number) {
                    return Ok(());
                }
                Err(SelectionError::NotNumeric { text, name, have: have() })
            }
        }
    }

    fn holds(&self, value: Option<&Value>, job: &PlannedJob) -> bool {
        match &self.test {
            Test::OneOf(patterns) => patterns.iter().any(|pattern| self.fits(pattern, value, job)),
            Test::NoneOf(patterns) => !patterns.iter().any(|pattern| self.fits(pattern, value, job)),
            Test::Number(order, number) => value.and_then(Value::as_f64).is_some_and(|value| match order {
                Order::Less => value < *number,
                Order::AtMost => value <= *number,
                Order::More => value > *number,
                Order::AtLeast => value >= *number,
            }),
        }
    }

    fn fits(&self, pattern: &str, value: Option<&Value>, job: &PlannedJob) -> bool {
        let also = self.name == "group" && job.also_in.iter().any(|group| fits_text(pattern, group));
        also || value.is_some_and(|value| fits(pattern, value))
    }
}

/// What a job has under this name: a setting, what the books say, or a metric.
fn value(name: &str, job: &PlannedJob, facts: &Facts) -> Option<Value> {
    job.value(name).or_else(|| match name {
        "state" => Some(facts.state.into()),
        "priority" => Some(i64::from(facts.priority).into()),
        "worker" => facts.worker.clone().map(Value::from),
        "epoch" => Some(facts.epoch.into()),
        "attempts" => Some(facts.attempts.into()),
        "score" => facts.score.map(Value::from),
        metric => facts.metrics.get(metric).filter(|value| value.is_finite()).map(Value::from),
    })
}

/// A condition, if the word has an operator.
fn condition(word: &str) -> Result<Option<Condition>, SelectionError> {
    let places = OPERATORS.iter().filter_map(|(sign, operator)| Some((word.find(sign)?, *sign, *operator)));
    // Of operators that begin at the same place, the longer one comes first.
    let Some((place, sign, operator)) = places.min_by_key(|(place, ..)| *place) else { return Ok(None) };
    let (name, value) = (&word[..place], &word[place + sign.len()..]);
    let text = word.to_owned();
    if name.is_empty() || value.is_empty() {
        return Err(SelectionError::OneSided(text));
    }
    Ok(Some(Condition { name: name.to_owned(), test: operator.test(&text, value)?, text }))
}

impl Operator {
    /// What a condition with this operator asks for; `text` is the whole condition.
    fn test(self, text: &str, value: &str) -> Result<Test, SelectionError> {
        Ok(match self {
            Self::OneOf => Test::OneOf(alternatives(value)),
            Self::NoneOf => Test::NoneOf(alternatives(value)),
            Self::Number(order) => {
                let number: Option<f64> = value.parse().ok().filter(|number: &f64| !number.is_nan());
                let wrong = || SelectionError::NotANumber { text: text.to_owned(), value: value.to_owned() };
                Test::Number(order, number.ok_or_else(wrong)?)
            }
        })
    }
}

/// The parts between commas that are outside of brackets.
fn alternatives(value: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let outside = |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    value.split(outside).map(str::to_owned).collect()
}

/// Whether a value is the one that was written. In texts, `*` stands for any part.
fn fits(pattern: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => fits_text(pattern, text),
        Value::Number(number) => match (number.as_f64(), pattern.parse::<f64>()) {
            (Some(value), Ok(wanted)) => value.total_cmp(&wanted).is_eq(),
            (_, Err(_)) | (None, _) => false,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            serde_json::from_str::<Value>(pattern).is_ok_and(|wanted| wanted == *value)
        }
    }
}

/// Whether a text is the one that was written, in which `*` stands for any part.
pub(crate) fn fits_text(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    let mut left = text;
    for part in parts {
        let Some(place) = left.find(part) else { return false };
        left = &left[place + part.len()..];
    }
    left.ends_with(last)
}

fn is_beginning_of_id(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// What may have been meant by a name that no job has.
fn help(name: &str, jobs: &[(&PlannedJob, &Facts)]) -> String {
    let mut names: Vec<&str> = vec!["group"];
    names.extend(FACTS);
    names.extend(jobs.iter().take(1).flat_map(|(job, _)| job.settings.keys()).map(String::as_str));
    names.extend(
        jobs.iter()
            .find(|(_, facts)| !facts.metrics.is_empty())
            .iter()
            .flat_map(|(_, facts)| facts.metrics.iter().map(|(name, _)| name)),
    );
    match nearest(name, &names) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!(
            ": use a setting, a metric that was reported, `group`, {}",
            FACTS.map(|fact| format!("`{fact}`")).join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
