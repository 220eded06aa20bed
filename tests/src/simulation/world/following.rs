//! The coordinator's subscriber, and another process that follows the sweep: both hear everything, and nothing twice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestrator::events::{Since, SweepEvent};
use orchestrator::service::Following;
use shared::bus::BusError;
use shared::ids::JobId;
use shared::protocol::subjects;

use super::{RESTART_DELAY, World, locked};
use crate::simulation::coordinator::Witness;
use crate::simulation::witness::Heard;

/// How long a follower may need to see what the books say.
const FOLLOW_TIME: Duration = Duration::from_secs(30);

/// The coordinator's subscriber.
#[derive(Clone)]
pub(super) struct RunWitness {
    world: Arc<World>,
    heard: Arc<Mutex<Heard>>,
}

impl RunWitness {
    pub(super) fn of(world: Arc<World>) -> Self {
        Self { world, heard: Arc::new(Mutex::new(Heard::default())) }
    }
}

impl Witness for RunWitness {
    fn stored(&self, job: JobId) {
        let now = self.world.server.now();
        self.world.record().checker.stored(now, job);
    }

    fn told(&self, event: &SweepEvent) {
        if let Err(broken) = locked(&self.heard).saw(event) {
            self.world.violate(&broken);
        }
    }
}

impl World {
    /// Follows the sweep from its beginning, sometimes late.
    pub(super) async fn keep_follower(self: Arc<Self>) {
        self.until(Duration::from_secs(self.history.seed % 60).min(self.history.faults_end)).await;
        let bus = self.server.connect("follower").0;
        let mut following = loop {
            match Following::begin(&bus, &self.sweep.plan.name, Since::Beginning).await {
                Ok(following) => break following,
                Err(_) => tokio::time::sleep(RESTART_DELAY).await,
            }
        };
        loop {
            let told = following.next().await;
            for event in &told.events {
                let heard = self.record().heard.saw(event);
                if let Err(broken) = heard {
                    self.violate(&format!("a follower: {broken}"));
                }
            }
            self.record().followed = following.seen();
        }
    }

    /// Checks that the follower has heard of everything that the books say.
    pub(super) async fn check_follower(&self) -> Result<(), String> {
        let bus = self.server.connect("reader").0;
        let text = |error: BusError| error.to_string();
        let end = self.server.now() + FOLLOW_TIME;
        loop {
            let newest = bus.newest(subjects::FOLLOWED_KEYS).await.map_err(text)?;
            let followed = self.record().followed;
            if followed >= newest {
                break;
            }
            if self.server.now() >= end {
                return Err(format!("the follower saw nothing after revision {followed}"));
            }
            tokio::time::sleep(RESTART_DELAY).await;
        }
        for &job in self.sweep.jobs.keys() {
            let Some(entry) = bus.record(job).await.map_err(text)? else { continue };
            let result = bus.result(job).await.ok();
            let record = self.record();
            if !record.checker.requested.is_planned(job) {
                continue;
            }
            if let Some(missed) = record.heard.misses(job, &entry.record, result.as_ref()) {
                return Err(format!("the follower missed something: {missed}"));
            }
        }
        Ok(())
    }
}
