//! Which workers are there, and which of them users have drained: asked again and again in the background, because the server
//! may be away.

use std::time::Duration;

use shared::bus::{Bus, BusError};
use shared::protocol::{Drains, Presence};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The pause between two questions.
const AGAIN: Duration = Duration::from_secs(5);

type Answer = Result<(Vec<Presence>, Drains), BusError>;

/// The workers as the server knew them when it last answered.
#[derive(Debug)]
pub(super) struct Attendance {
    bus: Bus,
    present: Vec<Presence>,
    drains: Drains,
    asking: Option<JoinHandle<Answer>>,
    due: Instant,
}

impl Attendance {
    pub(super) fn begin(bus: Bus) -> Self {
        let (present, drains) = (Vec::new(), Drains::default());
        Self { bus, present, drains, asking: None, due: Instant::now() }
    }

    /// The workers that were there.
    pub(super) fn present(&self) -> &[Presence] {
        &self.present
    }

    /// Those that users had drained.
    pub(super) fn drains(&self) -> &Drains {
        &self.drains
    }

    /// Takes an answer that has come, and asks again when it is time. True if there was an answer.
    pub(super) async fn look(&mut self) -> bool {
        let mut is_new = false;
        if let Some(asked) = self.asking.take_if(|asking| asking.is_finished())
            && let Ok(Ok((present, drains))) = asked.await
        {
            (self.present, self.drains, is_new) = (present, drains, true);
        }
        if self.asking.is_none() && Instant::now() >= self.due {
            self.asking = Some(tokio::spawn(ask(self.bus.clone())));
            self.due = Instant::now() + AGAIN;
        }
        is_new
    }
}

async fn ask(bus: Bus) -> Answer {
    Ok((bus.workers().await?, bus.drains().await?))
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}
