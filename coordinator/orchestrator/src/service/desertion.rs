//! Decides when a run has no worker left that may take jobs, and when all of them are drained. Pure: it is told the time and
//! what is known of the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::protocol::Drains;
use tokio::time::Instant;

/// How often the server is asked for workers when none seems to be left.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The run ends when there has been no worker that may take jobs for this long.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The local workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalWorkers {
    /// Those that are not given up.
    pub usable: usize,
    /// True if there were some, and all are given up.
    pub are_lost: bool,
}

/// Since when no worker may take jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Desertion {
    /// When the server was last asked who is there.
    asked: Option<Instant>,
    since: Option<Instant>,
}

/// What is known without the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staff {
    /// Some worker may take jobs, or may yet come.
    Some,
    /// None that is known here. Only the server knows whether there are others.
    Unknown,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// No worker may take jobs, since now. Say so.
    Deserted,
    /// That has been so for too long.
    Stranded,
}

impl Staff {
    /// `reporting` are the workers that send reports, and `out` those that get no more jobs.
    pub(super) fn of<'a>(
        local: LocalWorkers,
        mut reporting: impl Iterator<Item = &'a str>,
        out: &BTreeSet<String>,
    ) -> Self {
        let none_here = local.are_lost || (local.usable == 0 && !out.is_empty());
        if none_here && reporting.all(|worker| out.contains(worker)) { Self::Unknown } else { Self::Some }
    }
}

impl Desertion {
    /// Whether to ask the server who is there.
    pub(super) fn asks(&mut self, staff: Staff, now: Instant) -> bool {
        match staff {
            Staff::Some => false,
            Staff::Unknown if self.asked.is_some_and(|at| now - at < ASK_AGAIN) => false,
            Staff::Unknown => {
                self.asked = Some(now);
                true
            }
        }
    }

    /// Judges by what is known here and, if the server was asked and answered, whether somebody else may take jobs.
    pub(super) fn judge(&mut self, staff: Staff, others: Option<bool>, now: Instant) -> Verdict {
        match (staff, others, self.since) {
            (Staff::Some, _, _) | (Staff::Unknown, Some(true), _) => {
                self.since = None;
                Verdict::GoOn
            }
            (Staff::Unknown, Some(false), None) => {
                self.since = Some(now);
                Verdict::Deserted
            }
            (Staff::Unknown, Some(false) | None, Some(since)) if now - since >= PATIENCE => Verdict::Stranded,
            (Staff::Unknown, Some(false), Some(_)) | (Staff::Unknown, None, _) => Verdict::GoOn,
        }
    }
}

/// Whether every worker is drained by a user. Then the run waits for as long as the user wants, and says so once.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest {
    told: bool,
}

impl Rest {
    /// What to say, if jobs wait, none is trained (`is_idle`), and every worker that is there is drained. `out` get no more
    /// jobs anyway.
    pub(super) fn judge<'a>(
        &mut self,
        is_idle: bool,
        present: impl Iterator<Item = &'a str>,
        drains: &Drains,
        out: &BTreeSet<String>,
    ) -> Option<String> {
        let usable: BTreeSet<&str> = present.filter(|name| !out.contains(*name)).collect();
        let drained: Option<Vec<String>> = usable
            .into_iter()
            .map(|name| drains.of(name).map(|drain| format!("{name} by {}", drain.by)))
            .collect();
        let drained = drained.filter(|drained| is_idle && !drained.is_empty());
        let was_told = std::mem::replace(&mut self.told, drained.is_some());
        let drained = drained.filter(|_| !was_told)?;
        Some(format!(
            "every worker is drained ({}): waiting until `ferry workers undrain` lets one take jobs again",
            drained.join(", ")
        ))
    }
}

/// Why no worker may take jobs, in a sentence; `drained` are the workers that get no more jobs, and why.
pub(super) fn why(drained: &BTreeMap<String, String>) -> String {
    let reasons: Vec<String> = drained.iter().map(|(worker, reason)| format!("{worker}: {reason}")).collect();
    let reasons =
        if reasons.is_empty() { "their logs say why (see above)".to_owned() } else { reasons.join("; ") };
    format!(
        "no worker can take jobs: all local workers are given up, and no other one is connected; {reasons}"
    )
}

#[cfg(test)]
mod tests {
    use shared::protocol::Drain;

    use super::*;

    const NONE: LocalWorkers = LocalWorkers { usable: 0, are_lost: true };

    fn out() -> BTreeSet<String> {
        BTreeSet::from(["cpu0".to_owned()])
    }

    #[test]
    fn only_a_worker_that_may_take_jobs_counts() {
        let staff = |local, reporting: &[&str], out: &BTreeSet<String>| {
            Staff::of(local, reporting.iter().copied(), out)
        };
        assert_eq!(staff(LocalWorkers { usable: 1, are_lost: false }, &[], &out()), Staff::Some);
        assert_eq!(staff(NONE, &["far-away"], &out()), Staff::Some);
        assert_eq!(staff(NONE, &["cpu0"], &out()), Staff::Unknown);
        let elsewhere = LocalWorkers { usable: 0, are_lost: false };
        assert_eq!(staff(elsewhere, &[], &BTreeSet::new()), Staff::Some, "others may come");
        assert_eq!(staff(elsewhere, &[], &out()), Staff::Unknown);
    }

    #[test]
    fn that_every_worker_is_drained_is_said_once() {
        let mut rest = Rest::default();
        let drain = Drain { by: "ada".to_owned(), now: false };
        let drains = Drains { workers: [("a".to_owned(), drain)].into(), ..Drains::default() };
        let mut judge =
            |is_idle, present: &[&str]| rest.judge(is_idle, present.iter().copied(), &drains, &out());
        assert_eq!(judge(true, &["a", "b"]), None);
        assert_eq!(judge(true, &[]), None, "none is there");
        let said = judge(true, &["a", "cpu0"]).unwrap();
        assert!(said.starts_with("every worker is drained (a by ada)"), "{said}");
        assert_eq!(judge(true, &["a"]), None, "once");
        assert_eq!(judge(false, &["a"]), None, "it still trains");
        assert!(judge(true, &["a"]).is_some());
    }

    #[test]
    fn a_run_waits_a_minute_for_another_worker() {
        let (start, mut desertion) = (Instant::now(), Desertion::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(desertion.asks(Staff::Unknown, at(0)));
        assert_eq!(desertion.judge(Staff::Unknown, Some(false), at(0)), Verdict::Deserted);
        assert!(!desertion.asks(Staff::Unknown, at(4)) && desertion.asks(Staff::Unknown, at(5)));
        assert_eq!(desertion.judge(Staff::Unknown, Some(false), at(5)), Verdict::GoOn, "it is said once");
        assert_eq!(desertion.judge(Staff::Unknown, None, at(59)), Verdict::GoOn);
        assert_eq!(desertion.clone().judge(Staff::Unknown, None, at(60)), Verdict::Stranded);
        assert_eq!(desertion.judge(Staff::Unknown, Some(true), at(60)), Verdict::GoOn);
        assert_eq!(desertion.judge(Staff::Unknown, None, at(61)), Verdict::GoOn, "somebody was there");
        assert_eq!(desertion.judge(Staff::Unknown, Some(false), at(62)), Verdict::Deserted);
        assert_eq!(desertion.judge(Staff::Some, None, at(200)), Verdict::GoOn);
    }
}
