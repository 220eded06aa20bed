//! How long jobs take: an estimate from their settings, corrected by measured epochs. Only used for order and ETA.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::JobId;
use shared::job::JobSpec;
use shared::job::loss::Augmentation;
use shared::job::network::Backbone;

/// Estimated work of one epoch: image-passes × pixels × a factor for the networks. Only ratios are meaningful.
pub fn epoch_units(spec: &JobSpec, train_images: usize) -> f64 {
    let images = train_images as f64 * spec.subset.subset_fraction;
    let pixels = f64::from(spec.augment.image_size).powi(2);
    let emotion_passes = match spec.loss.augmentation {
        Augmentation::None | Augmentation::Mixup => 1.0,
        Augmentation::Mixaug => 2.0, // The mixed pass and the real one.
    };
    let emotion = resnet(spec, spec.network.emotion_backbone);
    let appearance = match spec.network.backbone {
        Backbone::Mobilevitv2 => 0.8 * spec.network.mobilevitv2_width.powi(2),
        other => resnet(spec, other),
    };
    images * pixels * (emotion_passes * emotion + appearance)
}

fn resnet(spec: &JobSpec, backbone: Backbone) -> f64 {
    let depth = match backbone {
        Backbone::Resnet18 => 1.0,
        Backbone::Vggface2Resnet50 | Backbone::DinoResnet50 | Backbone::Mobilevitv2 => 2.3,
    };
    depth * (f64::from(spec.network.width) / 64.0).powi(2)
}

/// Jobs of one kind take the same time per unit, so what is learned from one is used for the others.
type Kind = (u8, u8);

fn kind(spec: &JobSpec) -> Kind {
    (spec.network.backbone as u8, spec.loss.augmentation as u8)
}

#[derive(Debug, Clone, Default)]
struct Rate {
    seconds: f64,
    units: f64,
}

/// What has been learned about this sweep's speed.
#[derive(Debug, Clone, Default)]
pub struct CostModel {
    train_images: usize,
    specs: BTreeMap<JobId, JobSpec>,
    kinds: BTreeMap<Kind, Rate>,
    all: Rate,
}

impl CostModel {
    pub fn new(train_images: usize, specs: impl IntoIterator<Item = (JobId, JobSpec)>) -> Self {
        Self { train_images, specs: specs.into_iter().collect(), ..Self::default() }
    }

    /// The settings of a job of this sweep.
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        self.specs.get(&job)
    }

    /// Learns that an epoch of `job` took `seconds`, as its worker reported.
    pub fn learn(&mut self, job: JobId, seconds: f64) {
        let Some(spec) = self.specs.get(&job).filter(|_| Duration::try_from_secs_f64(seconds).is_ok()) else {
            return;
        };
        let units = epoch_units(spec, self.train_images);
        for rate in [self.kinds.entry(kind(spec)).or_default(), &mut self.all] {
            rate.seconds += seconds;
            rate.units += units;
        }
    }

    /// Estimated seconds for the remaining epochs of a job; `None` before any epoch was measured.
    pub fn remaining(&self, job: JobId, finished_epochs: u32) -> Option<f64> {
        let spec = self.specs.get(&job)?;
        let rate = self.kinds.get(&kind(spec)).unwrap_or(&self.all);
        (rate.units > 0.0).then(|| self.units(job, finished_epochs) * rate.seconds / rate.units)
    }

    /// Sorts jobs by remaining work, longest first, so that the sweep ends with short jobs, which fill the workers
    /// evenly (LPT, Graham 1969). Ties keep their order.
    pub fn longest_first(&self, jobs: &mut [(JobId, u32)]) {
        jobs.sort_by_key(|&(job, finished)| Reverse(ordered(self.units(job, finished))));
    }

    fn units(&self, job: JobId, finished_epochs: u32) -> f64 {
        self.specs.get(&job).map_or(0.0, |spec| {
            f64::from(spec.training.epochs.saturating_sub(finished_epochs))
                * epoch_units(spec, self.train_images)
        })
    }

    /// Time until the last worker is free when `open` (job, finished epochs) are given out longest first.
    pub fn eta(&self, open: &[(JobId, u32)], workers: usize) -> Option<Duration> {
        let mut times: Vec<f64> =
            open.iter().map(|&(job, done)| self.remaining(job, done)).collect::<Option<_>>()?;
        times.sort_by(|a, b| b.total_cmp(a));
        let mut loads = vec![0.0_f64; workers.max(1)];
        for time in times {
            if let Some(least) = loads.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                *least += time;
            }
        }
        loads.into_iter().max_by(f64::total_cmp).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

/// Non-negative floats order like their bits.
fn ordered(value: f64) -> u64 {
    value.max(0.0).to_bits()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> JobId {
        JobId::new(Uuid::from_u128(n))
    }

    fn weak(fraction: f64) -> JobSpec {
        JobSpec::default().with("subset_fraction", json!(fraction)).unwrap()
    }

    #[test]
    fn bigger_subsets_and_more_passes_come_first() {
        let mixup = JobSpec::default().with("augmentation", json!("mixup")).unwrap();
        let model = CostModel::new(1000, [(id(1), weak(0.2)), (id(2), mixup), (id(3), JobSpec::default())]);
        let mut jobs = [(id(1), 0), (id(2), 0), (id(3), 0)];
        model.longest_first(&mut jobs);
        assert_eq!(jobs.map(|(job, _)| job), [id(3), id(2), id(1)]);
        let mut partly = [(id(1), 0), (id(3), 12)];
        model.longest_first(&mut partly);
        assert_eq!(partly[0].0, id(1), "a job with no epoch left has no work left");
    }

    #[test]
    fn what_was_learned_from_one_job_tells_of_the_others() {
        let mut model = CostModel::new(1000, [(id(1), weak(0.2)), (id(2), weak(0.4))]);
        assert_eq!(model.eta(&[(id(1), 0)], 1), None);
        model.learn(id(1), 3.0);
        let remaining = model.remaining(id(2), 10).unwrap();
        assert!((remaining - 12.0).abs() < 1e-9, "two epochs at twice the images: {remaining}");
    }

    #[test]
    fn the_eta_is_the_longest_load_of_lpt() {
        let mut model = CostModel::new(1000, (1..=3).map(|n| (id(n), weak(0.2))));
        model.learn(id(1), 1.0);
        let open: Vec<_> = (1..=3).map(|n| (id(n), 0)).collect();
        assert_eq!(model.eta(&open, 2), Some(Duration::from_secs(24)));
        assert_eq!(model.eta(&open, 3), Some(Duration::from_secs(12)));
        assert_eq!(model.eta(&[], 3), Some(Duration::ZERO));
    }

    #[test]
    fn impossible_times_are_not_learned_from() {
        let mut model = CostModel::new(1000, [(id(1), weak(0.2))]);
        for seconds in [-1.0, 1e300, f64::NAN, f64::INFINITY] {
            model.learn(id(1), seconds);
            assert_eq!(model.eta(&[(id(1), 0)], 1), None);
        }
        // A possible value, but more than a clock can show.
        model.learn(id(1), 1.8e19);
        assert_eq!(model.eta(&[(id(1), 0)], 1), None);
    }
}
