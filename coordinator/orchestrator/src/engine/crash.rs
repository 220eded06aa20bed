//! A worker process that died because of its job: what killed it, and what is known to help. Pure.

use shared::trainer::Remedies;

/// What ended a worker process while it trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// A signal that a program causes itself.
    Signal(&'static str),
    /// The kernel killed it because memory ran out.
    OutOfMemory,
}

/// Signals that a program causes itself, with their Linux numbers.
const OWN_FAULTS: [(i32, &str); 7] = [
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (11, "SIGSEGV"),
    (31, "SIGSYS"),
];

const KILLED: i32 = 9;

impl Crash {
    /// What killed a process that ended by `signal`; `None` if somebody else ended it. `out_of_memory` says whether the
    /// kernel has just killed a process for lack of memory.
    pub fn of(signal: Option<i32>, out_of_memory: bool) -> Option<Self> {
        let signal = signal?;
        if signal == KILLED {
            return out_of_memory.then_some(Self::OutOfMemory);
        }
        let own = OWN_FAULTS.iter().find(|(number, _)| *number == signal);
        own.map(|&(_, name)| Self::Signal(name))
    }

    /// The error of the job, with what is known to help.
    pub fn error(self, remedies: &Remedies) -> String {
        let what = match self {
            Self::Signal(name) => format!("the worker died of {name} while training this job"),
            Self::OutOfMemory => {
                "the kernel killed the worker while it trained this job: the machine is out of memory"
                    .to_owned()
            }
        };
        match self.remedy(remedies) {
            Some(remedy) => format!("{what}; {remedy}"),
            None => what,
        }
    }

    fn remedy(self, remedies: &Remedies) -> Option<String> {
        match (self, &remedies.signal, &remedies.memory) {
            (Self::OutOfMemory, _, Some(smaller)) => {
                Some(format!("{smaller}, or fewer workers on this machine (`--workers`)"))
            }
            (Self::OutOfMemory, _, None) => {
                Some("try fewer workers on this machine (`--workers`)".to_owned())
            }
            (Self::Signal(_), Some(known), _) => Some(known.clone()),
            (Self::Signal("SIGILL"), None, _) => {
                Some("this CPU lacks an instruction that this build of libtorch uses".to_owned())
            }
            (Self::Signal("SIGBUS"), None, _) => {
                Some("a disk may be full (also /dev/shm), or a file of the dataset was cut short".to_owned())
            }
            (Self::Signal(_), None, _) => None,
        }
    }
}

/// How many processes the kernel has killed for lack of memory since it started, from the text of `/proc/vmstat`.
pub fn oom_kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use shared::mtl::{Mtl, MtlSpec};
    use shared::trainer::TrainerKind;

    use super::*;

    /// Case 23: the signal is named, and the settings that are known to cause it.
    #[test]
    fn a_crash_names_its_signal_and_the_settings_that_cause_it() {
        let error = |signal, remedies: &Remedies| Crash::of(Some(signal), false).unwrap().error(remedies);
        let of = |spec: &MtlSpec| Mtl.remedies(&spec.settings());
        let mut spec = MtlSpec::default();
        let plain = of(&spec);
        spec.network.width = 8;
        spec.arithmetic.channels_last = true;
        let narrow = of(&spec);
        insta::assert_snapshot!(error(11, &plain), @"the worker died of SIGSEGV while training this job");
        insta::assert_snapshot!(error(11, &narrow), @"the worker died of SIGSEGV while training this job; `channels_last: true` with a network as narrow as `width: 8` is known to cause this on some CPUs: set `channels_last: false`");
        insta::assert_snapshot!(error(4, &Remedies::default()), @"the worker died of SIGILL while training this job; this CPU lacks an instruction that this build of libtorch uses");
        insta::assert_snapshot!(error(7, &plain), @"the worker died of SIGBUS while training this job; a disk may be full (also /dev/shm), or a file of the dataset was cut short");
        let killed = |remedies: &Remedies| Crash::of(Some(9), true).unwrap().error(remedies);
        insta::assert_snapshot!(killed(&narrow), @"the kernel killed the worker while it trained this job: the machine is out of memory; try a smaller `batch_size` or `image_size`, or fewer workers on this machine (`--workers`)");
        insta::assert_snapshot!(killed(&Remedies::default()), @"the kernel killed the worker while it trained this job: the machine is out of memory; try fewer workers on this machine (`--workers`)");
    }

    #[test]
    fn a_worker_that_somebody_ended_did_not_crash() {
        for signal in [None, Some(1), Some(2), Some(9), Some(15)] {
            assert_eq!(Crash::of(signal, false), None, "{signal:?}");
        }
        assert_eq!(Crash::of(None, true), None);
        assert_eq!(Crash::of(Some(15), true), None);
    }

    #[test]
    fn the_kernels_count_of_killed_processes_is_found() {
        assert_eq!(oom_kills("pgfault 12\noom_kill 3\ndrop_pagecache 0\n"), Some(3));
        assert_eq!(oom_kills("pgfault 12\n"), None);
    }
}
