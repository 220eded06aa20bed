//! The beginning of a run: it connects, compares the sweep file with the books, and enters the sweep into them.

use std::time::Duration;

use shared::bus::{Bus, Endpoint};
use tokio::time::Instant;

use super::comparison::{self, Comparison};
use super::dataset::Dataset;
use super::entering::{Entered, Entering, enter};
use super::lease::{self, Holder};
use super::prepare::RunFolder;
use super::run_request::RunContext;
use super::tenure::{FolderTenure, Tenure};
use super::wait_out::wait_out;
use super::{MOST_QUEUED, ask, measured};
use crate::broker::{self, Broker};
use crate::run_dir::{RunDir, RunDirError};
use crate::sweep::difference::Difference;
use crate::sweep::plan::Plan;
use crate::view::Sink;

/// How long a run may have the run folder that no longer conducts its sweep, and how often to look.
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
/// `None` if the user does not want what follows from the file.
pub(super) async fn begin(
    context: &RunContext<'_>,
    broker: &mut Option<Broker>,
    sink: &mut Sink,
) -> anyhow::Result<Option<Begun>> {
    let &RunContext { request, dataset, is_first, .. } = context;
    let (endpoint, bus) = connect(context, broker, sink).await?;
    let (plan, train_samples) = (&request.plan, dataset.map_or(0, Dataset::train_samples));
    let compared = wait_out(
        |text| sink.remark(text),
        async || comparison::compare_with(&bus, plan, train_samples).await,
    )
    .await?;
    let difference = match compared {
        // What the file asks for was agreed on before. Whoever has changed the sweep since is right.
        Some(_) if !is_first => Difference::default(),
        Some(compared) => match agreed(context, compared).await? {
            Some(difference) => difference,
            None => return Ok(None),
        },
        None => Difference::default(),
    };
    let folder = RunFolder::choose(&request.out, plan, &difference.gone().collect())?;
    if let Some(remark) = &folder.remark {
        sink.remark(remark);
    }
    let locked = take(&folder, &bus, plan).await?;
    if !difference.is_empty() {
        let changes = ask::edit(&bus, plan).await?;
        sink.remark(&format!("`{}` follows the edited file: {}", plan.name, changes.join(", ")));
    }
    let (run_dir, tenure) = match locked {
        Some(FolderTenure::Watched) => (folder.open()?, FolderTenure::Watched),
        Some(own @ FolderTenure::Own { .. }) => (folder.create(dataset)?, own),
        None => {
            let run_dir = folder.create(dataset)?;
            let lock = run_dir.lock()?;
            (run_dir, FolderTenure::Own { _lock: lock })
        }
    };
    let stored = folder.results(&run_dir);
    let entering = Entering {
        plan,
        stored: &stored,
        train_samples,
        most_queued: MOST_QUEUED,
        timing: request.timing,
        // Runs that were guests before may still use the server of the one that ended.
        ours_alone: broker.is_some() && is_first,
        holder: Holder::here(),
    };
    let mut entered = enter(&bus, entering, sink).await?;
    let (_, cost) = entered.conductor.costs();
    let of = (plan.as_ref(), train_samples);
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

/// Takes the run folder, if there is one already. If another run that conducts the sweep has it, this one watches.
async fn take(folder: &RunFolder, bus: &Bus, plan: &Plan) -> anyhow::Result<Option<FolderTenure>> {
    let begun = Instant::now();
    loop {
        match folder.lock() {
            Ok(lock) => return Ok(lock.map(|lock| FolderTenure::Own { _lock: lock })),
            Err(RunDirError::InUse { .. }) if lease::is_held(bus, &plan.name).await? => {
                return Ok(Some(FolderTenure::Watched));
            }
            // It has ended, but still writes its report.
            Err(RunDirError::InUse { .. }) if begun.elapsed() < ENDING => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The changes that the user agrees to. `None` if there are some, and the user does not.
async fn agreed(context: &RunContext<'_>, compared: Comparison) -> anyhow::Result<Option<Difference>> {
    let difference = compared.difference.clone();
    let agrees = context.request.review.agrees(&context.request.plan, compared).await?;
    Ok(agrees.then_some(difference))
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
