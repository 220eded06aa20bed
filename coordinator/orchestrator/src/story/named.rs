//! What a name on the command line means in a sweep: an ensemble, or a job.

use shared::ids::JobId;
use shared::plural::count;

use crate::sweep::plan::Plan;
use crate::view::labels::Labels;

/// How many are listed where one must be named.
const LISTED: usize = 5;

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// The ensemble of this name. `also` are the jobs that the name could mean, too.
    Ensemble {
        also: Vec<JobId>,
    },
    Job(JobId),
}

/// Why a name means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    #[error(
        "the sweep {sweep} has no ensemble and no job named `{name}`, and no job whose id begins so: {ensembles}, and \
         `ferry status {sweep}` lists its jobs"
    )]
    Unknown { sweep: String, name: String, ensembles: String },
    #[error("`{name}` is the beginning of the ids of {}: give more of it ({listed})", count(*number, "job"))]
    SeveralIds { name: String, number: usize, listed: String },
    #[error("{} are called `{name}`: give the beginning of an id ({listed})", count(*number, "job"))]
    SeveralLabels { name: String, number: usize, listed: String },
}

/// What `name` means in a sweep: the name of an ensemble, the label of a job, or the beginning of a job's id, in this order.
///
/// # Errors
/// When it means nothing, or several jobs.
pub fn named(plan: &Plan, name: &str) -> Result<Named, NoName> {
    let labels = Labels::of(plan);
    let ids = || plan.jobs.iter().map(|job| job.id);
    let labelled: Vec<JobId> = ids().filter(|&job| labels.find(job) == Some(name)).collect();
    let is_id = name.chars().any(|c| c.is_ascii_hexdigit());
    let begun: Vec<JobId> = ids().filter(|job| is_id && job.begins_with(name)).collect();
    if plan.ensembles.iter().any(|ensemble| ensemble.name == name) {
        return Ok(Named::Ensemble { also: [labelled, begun].concat() });
    }
    let name = name.to_owned();
    match (labelled.as_slice(), begun.as_slice()) {
        ([job], _) | ([], [job]) => Ok(Named::Job(*job)),
        ([], []) => Err(NoName::Unknown { sweep: plan.name.clone(), name, ensembles: ensembles(plan) }),
        ([], several) => Err(NoName::SeveralIds { name, number: several.len(), listed: listed(several) }),
        (several, _) => Err(NoName::SeveralLabels { name, number: several.len(), listed: listed(several) }),
    }
}

fn listed(jobs: &[JobId]) -> String {
    let named: Vec<String> = jobs.iter().take(LISTED).map(|job| job.short()).collect();
    let more = if jobs.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

fn ensembles(plan: &Plan) -> String {
    let names: Vec<String> = plan.ensembles.iter().map(|rule| format!("`{}`", rule.name)).collect();
    if names.is_empty() {
        "it has no ensemble".to_owned()
    } else {
        format!("its ensembles are {}", names.join(", "))
    }
}
