//! Where and with what a job was trained, then and now: what differs may be why the results do.

use serde::Serialize;
use shared::device::{DeviceRecord, Software};
use shared::job::TrainerId;

/// Where and with what a job was trained, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    pub trainer: TrainerId,
    pub device: Option<DeviceRecord>,
    pub software: Option<Software>,
}

/// Something that was different, or of which nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub what: &'static str,
    /// `None` if it is not known.
    pub then: Option<String>,
    pub now: Option<String>,
}

impl Circumstances {
    /// What is different `now`, or is not known of one of both.
    pub fn changes(&self, now: &Self) -> Vec<Changed> {
        let described = |of: &Self| -> [(&'static str, Option<String>); 6] {
            let device = of.device.as_ref();
            let software = of.software.as_ref();
            [
                ("trainer", Some(of.trainer.to_string())),
                ("device", device.map(kind)),
                ("CPU capability", device.map(|device| device.cpu_capability.clone())),
                ("threads", device.map(|device| device.threads.to_string())),
                ("ferry-worker", software.map(|software| software.ferry.clone())),
                ("libtorch", software.map(|software| software.libtorch.clone())),
            ]
        };
        let pairs = described(self).into_iter().zip(described(now));
        let differ = pairs.filter(|((_, then), (_, now))| then != now || then.is_none());
        differ.map(|((what, then), (_, now))| Changed { what, then, now }).collect()
    }
}

/// The device without its number, which says nothing of what it computes.
fn kind(DeviceRecord { device, model, .. }: &DeviceRecord) -> String {
    let kind = device.split_once(':').map_or(device.as_str(), |(kind, _)| kind);
    format!("{kind} ({model})")
}

#[cfg(test)]
mod tests {
    use shared::job::Kind;

    use super::*;

    fn circumstances(device: &str, threads: u32) -> Circumstances {
        let device = DeviceRecord {
            device: device.to_owned(),
            model: "M".to_owned(),
            memory: None,
            uuid: None,
            cpu_capability: "AVX2".to_owned(),
            threads,
            host: "h".to_owned(),
        };
        let trainer = TrainerId { kind: Kind::new("empty").unwrap(), revision: 1 };
        let software = Software { ferry: "1.0.0".to_owned(), libtorch: "2.13.0".to_owned() };
        Circumstances { trainer, device: Some(device), software: Some(software) }
    }

    #[test]
    fn only_what_may_matter_is_told() {
        let then = circumstances("cuda:0", 1);
        assert!(then.changes(&circumstances("cuda:3", 1)).is_empty());
        let changed = |what, then: &str, now: &str| Changed {
            what,
            then: Some(then.to_owned()),
            now: Some(now.to_owned()),
        };
        assert_eq!(
            then.changes(&circumstances("cpu", 2)),
            [changed("device", "cuda (M)", "cpu (M)"), changed("threads", "1", "2")]
        );
    }

    #[test]
    fn what_is_not_known_is_told_too() {
        let now = circumstances("cpu", 1);
        let then = Circumstances { software: None, ..now.clone() };
        let what: Vec<&str> = then.changes(&now).into_iter().map(|changed| changed.what).collect();
        assert_eq!(what, ["ferry-worker", "libtorch"]);
    }
}
