//! A change of jobs that the screen asks to confirm before it is requested. Pure.

use shared::ids::JobId;
use shared::plural::count;
use shared::protocol::{JobChange, Priority};

use super::super::steer::Verb;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// One request each.
    pub(super) changes: Vec<(JobChange, Vec<JobId>)>,
    /// What is to be done, and with how many jobs.
    pub(super) what: String,
    /// What follows.
    pub(super) consequence: String,
}

/// A job that may be changed.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) job: JobId,
    pub(super) label: String,
    pub(super) state: &'static str,
}

impl Question {
    /// Asks to do this to these jobs. Without requests, they have the priority `of_plan`.
    ///
    /// # Errors
    /// Why there is nothing to do, in words.
    pub(super) fn of(verb: Verb, targets: &[Target], of_plan: Priority) -> Result<Self, String> {
        let mut changes: Vec<(JobChange, Vec<JobId>)> = Vec::new();
        let (mut last, mut meant) = (None, 0);
        for target in targets {
            let Some(change) = verb.change(target.state, of_plan) else { continue };
            (last, meant) = (Some(target), meant + 1);
            match changes.iter_mut().find(|(known, _)| *known == change) {
                Some((_, jobs)) => jobs.push(target.job),
                None => changes.push((change, vec![target.job])),
            }
        }
        let name = verb.name();
        let whom = match (last, targets) {
            (None, []) => return Err(format!("there is no job to {name}")),
            (None, [only]) => return Err(format!("{} is {}: nothing to {name}", only.label, only.state)),
            (None, several) => {
                return Err(format!("none of these {} can be changed so: nothing to {name}", several.len()));
            }
            (Some(only), _) if meant == 1 => only.label.clone(),
            (Some(_), _) => count(meant, "job"),
        };
        let alone = targets.len() - meant;
        let alone = if alone > 0 { format!(" ({alone} left as they are)") } else { String::new() };
        let what = format!("{name} {whom}{alone}");
        Ok(Self { consequence: consequence(verb, &changes), changes, what })
    }
}

/// What follows. Shorter than on the command line, because it must fit a narrow terminal.
fn consequence(verb: Verb, changes: &[(JobChange, Vec<JobId>)]) -> String {
    match verb {
        Verb::Pause => "Workers store a checkpoint and stop.".to_owned(),
        Verb::Resume => "Trained on from the last checkpoint.".to_owned(),
        Verb::Cancel => "Not trained any more, unless resumed.".to_owned(),
        Verb::Priority(Priority::MOST) => "Taken by workers before all that waits.".to_owned(),
        Verb::Priority(_) => "Workers take jobs of a higher priority first.".to_owned(),
        Verb::Retry { .. } => {
            let words = |(change, jobs): &(JobChange, Vec<JobId>)| {
                let from = if *change == JobChange::TrainAnew { "the start" } else { "the last checkpoint" };
                format!("{} from {from}", jobs.len())
            };
            format!("{}.", changes.iter().map(words).collect::<Vec<_>>().join(", "))
        }
    }
}
