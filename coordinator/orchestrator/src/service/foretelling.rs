//! Keeps in the run folder what is foretold of a sweep's end, while this run conducts it.

use std::time::Duration;

use tokio::time::Instant;

use super::conductor::{Conductor, Role};
use super::surroundings::Folder;
use crate::cost::forecast::{Forecasts, Moment};

/// The file is written at least this often, so that a killed run loses little of the sweep's own time.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// The forecasts of a running sweep.
#[derive(Debug)]
pub(super) struct Foretelling {
    forecasts: Forecasts,
    /// When this run last looked; `None` while another one conducts the sweep.
    looked: Option<Instant>,
    written: Option<Instant>,
}

impl Foretelling {
    pub(super) fn of(forecasts: Forecasts) -> Self {
        Self { forecasts, looked: None, written: None }
    }

    /// This is how the sweep looks now.
    pub(super) fn look(
        &mut self,
        conductor: &mut Conductor,
        moment: Moment,
        folder: &mut impl Folder,
    ) -> anyhow::Result<()> {
        let errors = conductor.costs().1.take_errors();
        if conductor.role() == Role::Following {
            self.looked = None;
            return Ok(());
        }
        let now = Instant::now();
        let since = self.looked.replace(now).map_or(0.0, |looked| (now - looked).as_secs_f64());
        let before = self.forecasts.forecasts.len();
        self.forecasts.look(since, moment);
        self.forecasts.take(errors);
        let due = self.written.is_none_or(|written| now - written >= WRITE_EVERY);
        if due || self.forecasts.forecasts.len() != before {
            self.write(folder)?;
        }
        Ok(())
    }

    /// The sweep is done.
    pub(super) fn end(&mut self, folder: &mut impl Folder) -> anyhow::Result<()> {
        let Some(looked) = self.looked.take() else { return Ok(()) };
        if self.forecasts.end(looked.elapsed().as_secs_f64()) {
            self.write(folder)?;
        }
        Ok(())
    }

    fn write(&mut self, folder: &mut impl Folder) -> anyhow::Result<()> {
        self.written = Some(Instant::now());
        folder.keep(&self.forecasts)
    }
}
