//! What `ferry verify` hands to the worker program, and what that tells while it trains a job again. Nothing of it is
//! kept.

use serde::{Deserialize, Serialize};

use crate::books::Checkpoint;
use crate::device::{DeviceRecord, Software};
use crate::job::TrainerId;
use crate::metrics::{Metrics, Point};
use crate::protocol::JobOrder;

/// Name of the file with a [`Retraining`], in the folder that the worker program is given. It writes the predictions of
/// a training that reaches its end beside it ([`matrix_name`]).
pub const REQUEST: &str = "retraining.json";

/// The part of a job that is to be trained again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retraining {
    pub v: u32,
    pub order: JobOrder,
    /// Where the training goes on from; `None` for the start.
    pub from: Option<Checkpoint>,
    /// The epoch after which it stops.
    pub until: u32,
    /// True if the job itself ended after that epoch. Then its result is wanted, too.
    pub to_the_end: bool,
}

impl Retraining {
    /// Version of this layout and of [`RetrainingEvent`]. Both programs are built together, and others are refused.
    pub const VERSION: u32 = 1;
}

/// One line of what the worker program prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RetrainingEvent {
    /// Everything that the training needs is there, and it begins. The server is no longer needed.
    Begun { trainer: TrainerId, device: DeviceRecord, software: Software },
    /// A report of the training.
    Reported { point: Point },
    /// Something that the training wants readers to know.
    Noted { note: String },
    /// It has got as far as it was to get. The last event.
    Ended { result: Option<RetrainedResult> },
    /// It did not get there. The last event.
    Failed { error: String, fault: Fault },
}

/// What a training that reached its end leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrainedResult {
    pub metrics: Metrics,
    /// The names of its predictions.
    pub predictions: Vec<String>,
}

/// Who can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Something is missing or cannot be used that the user can give or change.
    Input,
    /// The training, the machine or the server.
    Work,
}

/// Name of the file with the predictions of this name.
pub fn matrix_name(predictions: &str) -> String {
    format!("{predictions}.npy")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits are compared, so they must survive the way between the two programs.
    #[test]
    fn a_report_survives_the_way_bit_for_bit() {
        let metrics =
            Metrics::default().with("a", 0.1 + 0.2).with("b", -0.0).with("c", 1e-310).with("d", 3.0);
        let point = Point { epoch: 3, step: 0, seconds: 0.1, metrics: metrics.clone() };
        let line = serde_json::to_string(&RetrainingEvent::Reported { point }).unwrap();
        let RetrainingEvent::Reported { point } = serde_json::from_str(&line).unwrap() else {
            panic!("another event: {line}")
        };
        let bits = |metrics: &Metrics| metrics.iter().map(|(_, value)| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&point.metrics), bits(&metrics), "{line}");
    }
}
