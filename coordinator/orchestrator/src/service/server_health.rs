//! Judges how the server is, and decides what to say and do about it. Pure: it is told the time and what was found.

use std::time::Duration;

use tokio::time::Instant;

use crate::view::model::clock;

/// This many complaints in a row are acted upon, because a server that is starting complains, too.
const COMPLAINTS: u32 = 3;
/// This many checks in a row without an answer are reported, because a busy machine may miss one.
const SILENCES: u32 = 2;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Healthy,
    /// Its store cannot be written, and why.
    Unhealthy(String),
    /// No answer: it is away, or slow.
    Silent,
}

/// The disk of a server's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disk {
    /// It is on another machine, or its server is not ours.
    Elsewhere,
    HasRoom,
    /// It cannot be written, and why.
    Full(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reaction {
    Say(String),
    /// Restart our own server.
    Restart,
}

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerHealth {
    /// Complaints in a row.
    complaints: u32,
    silence: Option<Silence>,
    /// The problem of its store that was last reported to the user.
    reported: Problem,
    /// True if it was restarted since it last accepted writes.
    restarted: bool,
}

/// Checks in a row that were not answered.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    checks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Problem {
    #[default]
    None,
    /// Its disk is full, or cannot be written for another reason.
    NoRoom,
    /// Its disk has room, or is on another machine, and it refuses writes.
    Refuses,
}

impl ServerHealth {
    /// For how long the server has not answered, once that is worth reporting.
    pub(super) fn away(&self, now: Instant) -> Option<Duration> {
        self.silence.filter(|silence| silence.checks >= SILENCES).map(|silence| now - silence.since)
    }

    /// Reacts to a check. `disk` looks at the disk of the server's store.
    pub(super) fn judge(
        &mut self,
        condition: Condition,
        disk: impl FnOnce() -> Disk,
        now: Instant,
    ) -> Vec<Reaction> {
        match condition {
            Condition::Healthy => {
                let mut reactions = self.answered(now);
                (self.complaints, self.restarted) = (0, false);
                if std::mem::take(&mut self.reported) != Problem::None {
                    reactions.push(say("the server's store can be written again"));
                }
                reactions
            }
            Condition::Unhealthy(complaint) => {
                let mut reactions = self.answered(now);
                self.complaints += 1;
                if self.complaints >= COMPLAINTS {
                    reactions.extend(self.unhealthy(&complaint, disk()));
                }
                reactions
            }
            Condition::Silent => self.unanswered(now),
        }
    }

    /// Our own server has ended and cannot be started, because its disk cannot be written.
    pub(super) fn cannot_start(&mut self, full: &str) -> Option<Reaction> {
        self.is_news(Problem::NoRoom).then(|| say(&make_room(full)))
    }

    /// True if the user does not know this problem yet.
    fn is_news(&mut self, problem: Problem) -> bool {
        std::mem::replace(&mut self.reported, problem) != problem
    }

    fn answered(&mut self, now: Instant) -> Vec<Reaction> {
        let away = self.away(now);
        self.silence = None;
        let back = away.map(|away| say(&format!("the server answers again after {}", clock(away))));
        back.into_iter().collect()
    }

    fn unanswered(&mut self, now: Instant) -> Vec<Reaction> {
        let silence = self.silence.get_or_insert(Silence { since: now, checks: 0 });
        silence.checks += 1;
        if silence.checks != SILENCES {
            return Vec::new();
        }
        vec![say(
            "the server does not answer; workers keep training, and the sweep continues when the server is back",
        )]
    }

    fn unhealthy(&mut self, complaint: &str, disk: Disk) -> Vec<Reaction> {
        let can_restart = self.reported == Problem::NoRoom || !self.restarted;
        match disk {
            Disk::Full(full) => {
                if !self.is_news(Problem::NoRoom) {
                    return Vec::new();
                }
                vec![
                    say(&format!("the server's store cannot be written ({complaint})")),
                    say(&make_room(&full)),
                ]
            }
            // A store that failed once stays broken until the server is restarted.
            Disk::HasRoom if can_restart => {
                (self.complaints, self.reported, self.restarted) = (0, Problem::Refuses, true);
                let text = format!(
                    "the server's store failed ({complaint}); its disk has room, so the server is being restarted"
                );
                vec![say(&text), Reaction::Restart]
            }
            Disk::HasRoom | Disk::Elsewhere => {
                if !self.is_news(Problem::Refuses) && self.complaints != COMPLAINTS {
                    return Vec::new();
                }
                vec![say(&format!(
                    "the server's store refuses writes ({complaint}): free some space for it or raise its limit; the \
                     sweep then continues by itself"
                ))]
            }
        }
    }
}

fn say(text: &str) -> Reaction {
    Reaction::Say(text.to_owned())
}

fn make_room(full: &str) -> String {
    format!(
        "the disk of the state directory cannot be written ({full}): free some space or make it writable; the sweep \
         then continues by itself"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses() -> Condition {
        Condition::Unhealthy("no space left".to_owned())
    }

    fn said(reactions: &[Reaction]) -> String {
        let words = |reaction: &Reaction| match reaction {
            Reaction::Say(text) => text.chars().take(38).collect(),
            Reaction::Restart => "RESTART".to_owned(),
        };
        reactions.iter().map(words).collect::<Vec<String>>().join(" | ")
    }

    #[test]
    fn silence_is_said_once_and_so_is_its_end() {
        let (start, mut health) = (Instant::now(), ServerHealth::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut check = |condition, seconds| said(&health.judge(condition, || Disk::HasRoom, at(seconds)));
        assert_eq!(check(Condition::Silent, 0), "", "a busy machine may miss one");
        assert_eq!(check(Condition::Silent, 3), "the server does not answer; workers ke");
        assert_eq!(check(Condition::Silent, 6), "");
        assert_eq!(health.away(at(10)), Some(Duration::from_secs(10)));
        let back = health.judge(Condition::Healthy, || Disk::HasRoom, at(61));
        assert_eq!(back, [say("the server answers again after 1:01")]);
        assert_eq!(health.away(at(61)), None);
    }

    #[test]
    fn a_store_that_failed_is_restarted_once_its_disk_has_room() {
        let (now, mut health) = (Instant::now(), ServerHealth::default());
        let full = || Disk::Full("no space left".to_owned());
        assert_eq!(health.judge(refuses(), full, now), []);
        assert_eq!(health.judge(refuses(), full, now), [], "it may be starting");
        let told = said(&health.judge(refuses(), full, now));
        assert_eq!(told, "the server's store cannot be written ( | the disk of the state directory cannot");
        assert_eq!(health.judge(refuses(), full, now), []);
        let told = said(&health.judge(refuses(), || Disk::HasRoom, now));
        assert_eq!(told, "the server's store failed (no space le | RESTART");
        for _ in 0..2 {
            assert_eq!(health.judge(refuses(), || Disk::HasRoom, now), []);
        }
        let told = said(&health.judge(refuses(), || Disk::HasRoom, now));
        assert_eq!(told, "the server's store refuses writes (no ", "a second restart would not help either");
        let told = said(&health.judge(Condition::Healthy, full, now));
        assert_eq!(told, "the server's store can be written agai");
    }

    #[test]
    fn somebody_elses_server_is_never_restarted() {
        let (now, mut health) = (Instant::now(), ServerHealth::default());
        let told: Vec<String> =
            (0..5).map(|_| said(&health.judge(refuses(), || Disk::Elsewhere, now))).collect();
        assert_eq!(told, ["", "", "the server's store refuses writes (no ", "", ""]);
    }
}
