//! The full screen of `ferry watch`: the loop between the terminal, the books, and the pure state.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use shared::bus::{Bus, BusError, Hints, Role};
use shared::ids::JobId;
use shared::protocol::{Demand, LiveReport, subjects};
use shared::retry::Backoff;
use shared::signals::StopSignals;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::super::access::Access;
use super::super::error::CommandError;
use super::super::server::without_token;
use super::super::steer::{PATIENCE, answered};
use super::draw::{Look, draw};
use super::message::{Action, Message};
use super::model::{Model, Rights};
use super::question::Question;
use super::terminal::{self, Terminal};
use super::{WatchArgs, begin};
use orchestrator::service::{Followed, Following, ask, new_request, steering_of};

/// The least time between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// How often the workers are looked up. Without an answer within [`ANSWER`], the server counts as away.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(4);
/// The pause before a server that is away is asked again.
const AGAIN: Backoff = Backoff::every(Duration::from_secs(2));

/// Shows the full screen until the user leaves it.
pub(super) async fn watch(args: &WatchArgs, access: Access) -> Result<ExitCode, CommandError> {
    let mut stop = StopSignals::listen().context("cannot wait for Ctrl-C")?;
    let begun = tokio::select! {
        begun = prepare(args, &access) => begun,
        () = stop.requested() => {
            access.close().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (mut model, following) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            access.close().await;
            return Err(error);
        }
    };
    let shown = if access.is_alone() {
        drop(following); // First, because otherwise its connection would report that the server is gone.
        access.close().await; // A sweep must be able to start here.
        model.rest();
        show(&mut model, None, &mut stop).await
    } else {
        let sources = Sources::of(access.bus.clone(), following).await;
        let shown = show(&mut model, Some(sources), &mut stop).await;
        access.close().await;
        shown
    };
    shown.context("the terminal cannot be used")?;
    Ok(ExitCode::SUCCESS)
}

/// What is known before the screen opens: the plan; and everything, where nothing runs.
async fn prepare(args: &WatchArgs, access: &Access) -> Result<(Model, Following), CommandError> {
    let bus = &access.bus;
    let end = bus.newest(subjects::FOLLOWED_KEYS).await.map_err(anyhow::Error::from)?;
    let mut following = begin(args, bus).await?;
    let (place, rights) = match args.books.server.endpoint().map_err(anyhow::Error::from)? {
        None => (args.books.home.display().to_string(), Rights::Steer),
        Some(endpoint) => {
            let may_steer = endpoint.require(&[Role::Coordinator]).is_ok();
            (without_token(endpoint.url()), if may_steer { Rights::Steer } else { Rights::Observe })
        }
    };
    let mut model = Model::new(following.plan().clone(), place, rights, end);
    if access.is_alone() {
        let mut actions = Vec::new();
        while following.seen() < end {
            let followed = following.next().await;
            actions.extend(told(followed, &following).into_iter().flat_map(|told| model.update(told)));
        }
        for action in actions {
            if let Action::Look(jobs) = action {
                let steered = steering_of(bus, &jobs).await.map_err(anyhow::Error::from)?;
                model.update(Message::Steered(steered));
            }
        }
        let drains = bus.drains().await.map_err(anyhow::Error::from)?;
        model.update(Message::Present { workers: Vec::new(), drains });
    }
    Ok((model, following))
}

/// What a change of the books tells the screen.
fn told(followed: Followed, following: &Following) -> Option<Message> {
    let Followed { change, is_replanned, added, .. } = followed;
    if is_replanned {
        return Some(Message::Planned { plan: Box::new(following.plan().clone()), added });
    }
    change.map(|fed| Message::Book(Box::new(fed)))
}

/// Where messages come from while the server is there.
struct Sources {
    bus: Bus,
    following: Following,
    hints: Option<Hints>,
    /// Requests and look-ups under way.
    tasks: JoinSet<Message>,
}

/// Draws and listens until the user, or a signal, ends it.
async fn show(
    model: &mut Model,
    mut sources: Option<Sources>,
    stop: &mut StopSignals,
) -> std::io::Result<()> {
    let look = Look { colour: terminal::has_colours() };
    let mut terminal = Terminal::open()?;
    let (begun, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now();
    let mut is_drawn = false;
    loop {
        if !is_drawn && Instant::now() >= due {
            terminal.draw(|frame| draw(model, look, frame))?;
            (due, is_drawn) = (Instant::now() + FRAME, true);
        }
        let message = tokio::select! {
            biased;
            () = stop.requested() => return Ok(()),
            key = terminal.next() => match key {
                Some(message) => message,
                None => return Ok(()), // The terminal is gone.
            },
            () = tokio::time::sleep_until(due), if !is_drawn => continue,
            _ = ticks.tick(), if sources.is_some() => Message::Tick(begun.elapsed()),
            message = next(&mut sources) => message,
        };
        is_drawn = false;
        for action in model.update(message) {
            match (action, &mut sources) {
                (Action::Quit, _) => return Ok(()),
                (Action::Suspend, _) => terminal.suspend()?,
                (Action::Ask(question), Some(sources)) => {
                    sources.ask(model.jobs.plan.name.clone(), question);
                }
                (Action::Look(jobs), Some(sources)) => sources.look(jobs),
                (Action::Ask(_) | Action::Look(_), None) => {}
            }
        }
    }
}

async fn next(sources: &mut Option<Sources>) -> Message {
    match sources {
        Some(sources) => sources.next().await,
        None => std::future::pending().await,
    }
}

impl Sources {
    async fn of(bus: Bus, following: Following) -> Self {
        let hints = bus.hints().await.ok(); // Without them, bars move with each epoch.
        let mut sources = Self { bus, following, hints, tasks: JoinSet::new() };
        sources.tasks.spawn(present(sources.bus.clone(), Duration::ZERO));
        sources
    }

    /// The next message.
    async fn next(&mut self) -> Message {
        loop {
            let Self { bus, following, hints, tasks } = self;
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => {
                    let message = match ended {
                        Ok(message) => message,
                        Err(error) => std::panic::resume_unwind(error.into_panic()), // It is never cancelled.
                    };
                    if matches!(message, Message::Present { .. } | Message::Silent) {
                        tasks.spawn(present(bus.clone(), LOOK_EVERY));
                    }
                    return message;
                }
                report = heard(hints) => match report {
                    Some(report) => return Message::Live(report),
                    None => *hints = None,
                },
                followed = following.next() => {
                    if let Some(message) = told(followed, following) {
                        return message;
                    }
                }
            }
        }
    }

    /// Enters requests into the books, one after the other, and tells the answers.
    fn ask(&mut self, sweep: String, Question { changes, .. }: Question) {
        let bus = self.bus.clone();
        self.tasks.spawn(async move {
            let mut told = Vec::new();
            for (change, jobs) in changes {
                let request = new_request(&sweep, Demand::Jobs { jobs, change });
                told.push(match ask(&bus, &request, PATIENCE).await {
                    Ok(answer) => answered(&(request, answer)),
                    Err(error) => format!("{}: {error}; it may still be carried out", request.demand),
                });
            }
            Message::Answered(told.join(" · "))
        });
    }

    /// Looks what is requested of these jobs.
    fn look(&mut self, jobs: BTreeSet<JobId>) {
        let bus = self.bus.clone();
        self.tasks.spawn(async move {
            let looked =
                AGAIN.endless().run(|| steering_of(&bus, &jobs), BusError::is_transient, |_| ()).await;
            looked.map_or_else(
                |error| Message::Answered(format!("what is requested of the jobs cannot be read: {error}")),
                Message::Steered,
            )
        });
    }
}

async fn heard(hints: &mut Option<Hints>) -> Option<LiveReport> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

/// Who is there, after a pause.
async fn present(bus: Bus, pause: Duration) -> Message {
    tokio::time::sleep(pause).await;
    let look = async { tokio::try_join!(bus.workers(), bus.drains()) };
    match tokio::time::timeout(ANSWER, look).await {
        Ok(Ok((workers, drains))) => Message::Present { workers, drains },
        Ok(Err(_)) | Err(_) => Message::Silent,
    }
}
