//! The beginning of a run: it connects, compares the sweep file with the books, and enters the sweep into them.

use std::time::Duration;

use shared::bus::{Bus, Endpoint};
use shared::trainer::DatasetSize;
use tokio::time::Instant;

use super::ask::EditError;
use super::comparison;
use super::dataset::Dataset;
use super::entering::{Entered, Entering, enter};
use super::lease;
use super::prepare::RunFolder;
use super::review::Agreement;
use super::run_request::RunContext;
use super::tenure::{FolderTenure, Tenure};
use super::wait_out::wait_out;
use super::{MOST_QUEUED, ask, measured, plans};
use crate::broker::{self, Broker};
use crate::run_dir::{RunDir, RunDirError};
use crate::sweep::difference::Difference;
use crate::sweep::plan::Plan;
use crate::view::Sink;

/// How long a run may have the run folder that does not conduct its sweep yet, or any longer, and how often to look.
const ENDING: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A sweep that is in the books, and the run folder.
pub(super) struct Begun {
    pub(super) endpoint: Endpoint,
    pub(super) entered: Entered,
    pub(super) run_dir: RunDir,
    /// Held as long as the run writes into the folder.
    pub(super) folder: FolderTenure,
}

/// Connects to our own or another server, compares the sweep file with its books, and enters the sweep into them.
/// `None` if the user does not want what follows from the file. This may be dropped at any time, and done again.
pub(super) async fn begin(
    context: &RunContext<'_>,
    agreement: &mut Agreement,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
) -> anyhow::Result<Option<Begun>> {
    let &RunContext { request, dataset, holder, is_first, .. } = context;
    let (endpoint, bus) = connect(context, broker, sink).await?;
    let Some((folder, run_dir, tenure)) = follow_file(context, agreement, &bus, sink).await? else {
        return Ok(None);
    };
    let (plan, dataset_size) = (&request.plan, dataset.map_or_else(DatasetSize::default, Dataset::size));
    let stored = folder.results(&run_dir);
    let entering = Entering {
        plan,
        stored: &stored,
        dataset_size,
        most_queued: MOST_QUEUED,
        timing: request.timing,
        // Runs that were guests before may still use the server of the one that ended.
        ours_alone: broker.is_some() && is_first,
        holder: holder.clone(),
    };
    let mut entered = enter(&bus, entering, sink).await?;
    match agreement {
        // What the file asks for has been carried out. Whoever has changed the sweep since is right.
        Agreement::CarriedOut => {}
        Agreement::Open | Agreement::Asked(..) | Agreement::Given(_) => {
            if is_other(entered.conductor.plan(), plan) {
                entered.lease.give_back().await;
                return Err(EditError::Overtaken { sweep: plan.name.clone() }.into());
            }
            *agreement = Agreement::CarriedOut;
        }
    }
    let (_, cost) = entered.conductor.costs();
    let of = (plan.as_ref(), dataset_size);
    if let Err(error) = measured::learn(cost, Some(&bus), of, &request.out, Some(&plan.name)).await {
        tracing::debug!(%error, "nothing is learned from other sweeps");
    }
    match tenure {
        FolderTenure::Own { .. } if entered.conductor.plan().as_ref() != folder.plan() => {
            run_dir.write_plan(entered.conductor.plan())?;
        }
        FolderTenure::Own { .. } | FolderTenure::Watched => {}
    }
    Ok(Some(Begun { endpoint, entered, run_dir, folder: tenure }))
}

/// Compares the sweep file with the books. If the user agrees to what follows from it, takes the run folder, and lets a
/// sweep that the books know follow the file.
async fn follow_file(
    &RunContext { request, dataset, holder, .. }: &RunContext<'_>,
    agreement: &mut Agreement,
    bus: &Bus,
    sink: &mut Sink,
) -> anyhow::Result<Option<(RunFolder, RunDir, FolderTenure)>> {
    let (plan, dataset_size) = (&request.plan, dataset.map_or_else(DatasetSize::default, Dataset::size));
    let compare = async || comparison::compare_with(bus, plan, dataset_size).await;
    let compared = wait_out(|text| sink.remark(text), compare).await?;
    // The jobs of this sweep that the file does not have, whoever has edited it.
    let others = compared.iter().flat_map(|compared| compared.difference.gone()).collect();
    let difference = match compared {
        Some(compared) => match agreement.on(&request.review, plan, compared).await? {
            Some(difference) => difference,
            None => return Ok(None),
        },
        None => Difference::default(),
    };
    let folder = RunFolder::choose(&request.out, plan, &others)?;
    if let Some(remark) = &folder.remark {
        sink.remark(remark);
    }
    // Nothing is written before the edit is sure to be carried out.
    let taken = match folder.existing() {
        Some(run_dir) => Some(take(run_dir, bus, plan).await?),
        None => None,
    };
    if !difference.is_empty() {
        let changes = ask::edit(bus, plan, holder).await?;
        sink.remark(&format!("`{}` follows the edited file: {}", plan.name, changes.join(", ")));
    }
    let (run_dir, tenure) = match taken {
        Some(taken) => taken,
        None => take(folder.make()?, bus, plan).await?,
    };
    match tenure {
        FolderTenure::Own { .. } => folder.fill(dataset)?,
        FolderTenure::Watched => {}
    }
    Ok(Some((folder, run_dir, tenure)))
}

/// True if a sweep with the plan `entered` would have to be edited to follow `file`: another run was faster.
fn is_other(entered: &Plan, file: &Plan) -> bool {
    entered != file
        && !Difference::between(entered, &plans::continued(file.clone(), entered.clone())).is_empty()
}

/// Takes the run folder. If another run has it while the sweep is conducted, this one watches.
async fn take(run_dir: RunDir, bus: &Bus, plan: &Plan) -> anyhow::Result<(RunDir, FolderTenure)> {
    let begun = Instant::now();
    loop {
        match run_dir.lock() {
            Ok(lock) => return Ok((run_dir, FolderTenure::Own { _lock: lock })),
            Err(RunDirError::InUse { .. }) if lease::is_held(bus, &plan.name).await? => {
                return Ok((run_dir, FolderTenure::Watched));
            }
            // It has just begun, or has ended, but still writes its report.
            Err(RunDirError::InUse { .. }) if begun.elapsed() < ENDING => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn connect(
    &RunContext { request, tenure, .. }: &RunContext<'_>,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
) -> anyhow::Result<(Endpoint, Bus)> {
    let endpoint = match (&request.server, tenure) {
        (Some(endpoint), _) | (None, Tenure::Guest { endpoint, .. }) => endpoint.clone(),
        (None, Tenure::Own(_) | Tenure::Beside) => {
            let endpoint = broker.insert(Broker::start(&request.home).await?).endpoint()?;
            let bus = broker::connect(&endpoint, "ferry").await?;
            return Ok((endpoint, bus));
        }
    };
    // It may be away for a moment.
    let connect = async || Ok(Bus::connect_and_lay_out(&endpoint, "ferry").await?);
    let bus = wait_out(|text| sink.remark(text), connect).await?;
    Ok((endpoint, bus))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sweep;

    fn plan(seeds: &str) -> Plan {
        let text = format!("name: s\ntrainer: empty\ngroups: {{a: {{matrix: {{seed: {seeds}}}}}}}\n");
        sweep::plan(&text, Path::new(""), Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// Two runs with different files of one name are started at the same time.
    #[test]
    fn a_sweep_that_another_file_was_entered_for_is_another() {
        let file = plan("[0, 1]");
        assert!(!is_other(&file, &file));
        assert!(is_other(&plan("[0, 1, 2]"), &file));
        // What was requested of the sweep is no difference.
        let mut requested = plan("[0, 1]");
        let withdrawn = requested.jobs.remove(0).id;
        requested.requested.withdrawn.insert(withdrawn);
        assert!(!is_other(&requested, &file));
    }
}
