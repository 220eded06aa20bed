//! Who conducts a sweep: the run that holds its lease in the books. Other runs of the same sweep follow, and one of them
//! takes over when the holder is gone.
//!
//! The lease keeps two runs from doing the same work twice. It is no fence: whatever a run does to the books that has
//! lost it without noticing is refused, or harmless, like the late writes of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::bus::{Bus, BusError};
use shared::protocol::subjects;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::conductor::Role;

const EVERY: Duration = Duration::from_secs(5);
/// A run that has not renewed its lease for this long is gone.
const LIFE: Duration = Duration::from_secs(20);
/// The pause before a run looks again whether another one has entered the sweep.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// How long to try to give the lease back. If the server is away, it ends by itself.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// The value of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    v: u32,
    /// Earlier versions wrote none.
    #[serde(default)]
    holder: Option<Holder>,
    /// The holder only carries out requests, and gives the lease back at once.
    #[serde(default)]
    brief: bool,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    id: Uuid,
    process: Process,
}

impl Holder {
    /// This process.
    pub fn here() -> Self {
        Self { id: Uuid::new_v4(), process: Process::this() }
    }

    /// A run on another machine, which nobody can look at.
    pub fn elsewhere(id: Uuid) -> Self {
        Self { id, process: Process { place: id.to_string(), pid: 0, started: String::new() } }
    }
}

/// A process, as far as others on the same machine can tell whether it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    /// The boot of the machine and the namespace of its process ids: only there do the ids mean anything.
    place: String,
    pid: u32,
    /// When the process was started, by the kernel's clock, because ids are used again.
    started: String,
}

impl Process {
    fn this() -> Self {
        let place = place().unwrap_or_else(|| Uuid::new_v4().to_string());
        let pid = std::process::id();
        Self { place, pid, started: started(pid).unwrap_or_default() }
    }

    /// True if it has certainly ended.
    fn is_gone(&self) -> bool {
        place().as_ref() == Some(&self.place) && started(self.pid).as_ref() != Some(&self.started)
    }
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Field 22 of /proc/PID/stat, counted from behind the name, which may contain any character.
fn started(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// One run's claim on the lease of a sweep.
#[derive(Debug)]
pub(super) struct Claim {
    bus: Bus,
    sweep: String,
    key: String,
    me: Holder,
    /// Only to carry out requests.
    brief: bool,
    /// The revision of another run's lease, and since when it has not changed.
    other: Option<(u64, Instant)>,
    /// Whether that lease is given back at once.
    other_is_brief: bool,
}

impl Claim {
    pub(super) fn new(bus: Bus, sweep: &str, me: Holder) -> Self {
        let key = subjects::conductor_key(sweep);
        Self { bus, sweep: sweep.to_owned(), key, me, brief: false, other: None, other_is_brief: false }
    }

    /// The claim of a command that carries out requests and does nothing else of what a run does.
    pub(super) fn brief(bus: Bus, sweep: &str, me: Holder) -> Self {
        Self { brief: true, ..Self::new(bus, sweep, me) }
    }

    /// Takes or renews the lease, unless another run holds it. With `alone`, no other run can be there.
    pub(super) async fn attempt(&mut self, alone: bool) -> Result<Role, BusError> {
        let lease = Lease { v: 1, holder: Some(self.me.clone()), brief: self.brief };
        loop {
            let revision = match self.bus.read_entry::<Lease>(&self.key, 1).await? {
                None => 0,
                Some((known, revision)) if alone || self.may_take(&known, revision) => revision,
                Some((known, _)) => {
                    self.other_is_brief = known.brief;
                    return Ok(Role::Following);
                }
            };
            if self.bus.write_entry(&self.key, &lease, revision).await? {
                self.other = None;
                return Ok(Role::Conducting);
            }
        }
    }

    /// Takes the lease, or finds the sweep that the run which holds it has entered into the books. Until either is so, that
    /// run has only begun, or was killed before it got so far; or a command has the lease for a moment.
    pub(super) async fn settle(&mut self, alone: bool) -> Result<Role, BusError> {
        loop {
            match self.attempt(alone).await? {
                Role::Conducting => return Ok(Role::Conducting),
                Role::Following if !self.other_is_brief && self.bus.sweep(&self.sweep).await?.is_some() => {
                    return Ok(Role::Following);
                }
                Role::Following => tokio::time::sleep(SETTLE_EVERY).await,
            }
        }
    }

    fn may_take(&mut self, known: &Lease, revision: u64) -> bool {
        let Some(holder) = &known.holder else { return self.is_stale(revision) };
        holder.id == self.me.id || holder.process.is_gone() || self.is_stale(revision)
    }

    /// True if another run has not renewed its lease for [`LIFE`], by this process's clock.
    fn is_stale(&mut self, revision: u64) -> bool {
        match self.other {
            Some((known, since)) if known == revision => since.elapsed() >= LIFE,
            Some(_) | None => {
                self.other = Some((revision, Instant::now()));
                false
            }
        }
    }

    /// Renews the lease, or tries to take it over, until this is dropped.
    pub(super) fn keep_up(self, role: Role) -> KeptLease {
        let (bus, key, me) = (self.bus.clone(), self.key.clone(), self.me.clone());
        let (sender, roles) = watch::channel(role);
        let renewal = tokio::spawn(async move {
            let mut claim = self;
            loop {
                tokio::time::sleep(EVERY).await;
                match claim.attempt(false).await {
                    Ok(role) => drop(sender.send_replace(role)),
                    Err(error) => tracing::debug!(%error, "cannot renew the lease of this sweep"),
                }
            }
        });
        KeptLease { bus, key, me, roles, renewal }
    }
}

/// A lease that is renewed, or waited for, until this is dropped.
#[derive(Debug)]
pub struct KeptLease {
    bus: Bus,
    key: String,
    me: Holder,
    pub(super) roles: watch::Receiver<Role>,
    renewal: JoinHandle<()>,
}

impl KeptLease {
    /// Gives the lease back, if this run holds it.
    pub(super) async fn give_back(self) {
        self.renewal.abort();
        let give_back = async {
            match self.bus.read_entry::<Lease>(&self.key, 1).await? {
                Some((Lease { holder: Some(holder), .. }, _)) if holder.id == self.me.id => {
                    self.bus.delete(&self.key).await
                }
                Some(_) | None => Ok(()),
            }
        };
        if let Ok(Err(error)) = tokio::time::timeout(WITHDRAWAL, give_back).await {
            tracing::debug!(%error, "cannot give the lease of this sweep back");
        }
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// True if a run conducts the sweep, as far as can be told without waiting.
pub(super) async fn is_held(bus: &Bus, sweep: &str) -> Result<bool, BusError> {
    let known = bus.read_entry::<Lease>(&subjects::conductor_key(sweep), 1).await?;
    let is_run =
        |lease: &Lease| !lease.brief && !lease.holder.as_ref().is_some_and(|holder| holder.process.is_gone());
    Ok(known.is_some_and(|(lease, _)| is_run(&lease)))
}

/// The sweeps that are conducted at `now`, the server's time in nanoseconds since the Unix epoch.
pub(super) async fn conducted(bus: &Bus, now: i128) -> Result<BTreeSet<String>, BusError> {
    let mut sweeps = BTreeSet::new();
    for key in bus.keys(subjects::CONDUCTOR_KEYS).await? {
        let Some(sweep) = subjects::sweep_of_conductor_key(&key) else { continue };
        let written = bus.written_at(&key).await?;
        if written.is_some_and(|written| now - written < LIFE.as_nanos() as i128) {
            sweeps.insert(sweep.to_owned());
        }
    }
    Ok(sweeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_gone_and_one_with_another_start_is() {
        let this = Process::this();
        assert!(!this.is_gone());
        assert!(Process { started: "1".into(), ..this.clone() }.is_gone());
        let elsewhere = Process { place: "another machine".into(), started: "1".into(), ..this };
        assert!(!elsewhere.is_gone(), "nobody here can tell");
    }
}
