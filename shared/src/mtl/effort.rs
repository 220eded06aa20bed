//! An estimate of how much work an epoch is, for the order of jobs and the time that is left.

use super::MtlSpec;
use super::loss::Augmentation;
use super::network::Backbone;
use crate::trainer::{DatasetSize, Effort};

/// Forward and backward pass of a training step, in forward passes.
const TRAINING: f64 = 3.0;

/// What starting the operations of one block costs in each training step, however small the batch is, as pixels of the
/// published `ResNet-18`. It counts in small networks only. Measured with experiments/demo.yaml on a CPU, where it explains
/// the seconds per epoch of the networks in the test below to within 5 %.
const START: f64 = 350.0;

/// A network.
#[derive(Debug, Clone, Copy)]
struct Network {
    /// Work of a forward pass for each pixel; the published `ResNet-18` has 1.
    pixel: f64,
    blocks: f64,
}

/// Passes × pixels × a factor for the networks, and what it costs to start all operations.
pub(super) fn effort(spec: &MtlSpec, dataset: DatasetSize) -> Effort {
    let images = dataset.train as f64 * spec.subset.subset_fraction;
    let steps = (images / f64::from(spec.training.batch_size)).ceil();
    let pixels = f64::from(spec.augment.image_size).powi(2);
    let emotion_passes = match spec.loss.augmentation {
        Augmentation::None | Augmentation::Mixup => 1.0,
        Augmentation::Mixaug => 2.0, // The mixed pass and the real one.
    };
    let emotion = network(spec, spec.network.emotion_backbone);
    let appearance = network(spec, spec.network.backbone);
    let training = TRAINING * images * pixels * (emotion_passes * emotion.pixel + appearance.pixel);
    let starts = steps * START * (emotion_passes * emotion.blocks + appearance.blocks);
    let validation = dataset.validation as f64 * pixels * (emotion.pixel + appearance.pixel);
    Effort {
        epochs: spec.training.epochs,
        units: training + starts + validation,
        class: spec.network.backbone as u32 * 16 + spec.loss.augmentation as u32,
    }
}

/// With the published number of blocks, a `ResNet-50` takes 2.3 times as long as a `ResNet-18`, and MobileViTv2 of width 1
/// takes 0.8 times as long.
fn network(spec: &MtlSpec, backbone: Backbone) -> Network {
    let network = &spec.network;
    let sum = |counts: &[u32]| counts.iter().map(|&count| f64::from(count)).sum::<f64>();
    let resnet = |published: [u32; 4], all: f64| {
        let blocks = sum(&network.blocks.unwrap_or(published));
        let pixel = all * blocks / sum(&published) * (f64::from(network.width) / 64.0).powi(2);
        Network { pixel, blocks }
    };
    match backbone {
        Backbone::Resnet18 => resnet([2, 2, 2, 2], 1.0),
        Backbone::Vggface2Resnet50 | Backbone::DinoResnet50 => resnet([3, 4, 6, 3], 2.3),
        Backbone::Mobilevitv2 => {
            let published = [2, 4, 3];
            let blocks = sum(&network.mobilevitv2_depths.unwrap_or(published));
            let pixel = 0.8 * blocks / sum(&published) * network.mobilevitv2_width.powi(2);
            // Its convolutions are small, but they must be started, too.
            Network { pixel, blocks: blocks + 9.0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DATASET: DatasetSize = DatasetSize { train: 1000, validation: 100 };

    fn with(settings: &[(&str, serde_json::Value)]) -> MtlSpec {
        let spec = settings
            .iter()
            .try_fold(MtlSpec::default(), |spec, (name, value)| spec.with(name, value.clone()));
        spec.unwrap()
    }

    #[test]
    fn bigger_subsets_and_more_passes_are_more_work() {
        let units = |name: &str, value| effort(&with(&[(name, value)]), DATASET).units;
        let whole = effort(&MtlSpec::default(), DATASET).units;
        let share = units("subset_fraction", json!(0.2)) / whole;
        assert!(share > 0.2 && share < 0.3, "validation is not smaller: {share}");
        assert!(units("augmentation", json!("mixup")) < units("augmentation", json!("mixaug")));
    }

    /// The seconds per epoch of experiments/demo.yaml, measured on two cores of an AMD EPYC.
    #[test]
    fn the_networks_of_the_demo_take_as_long_as_foretold() {
        let demo = DatasetSize { train: 1500, validation: 600 };
        let units = |backbone: &str, augmentation: &str, fraction: f64, batch: u32| {
            let settings = [
                ("emotion_backbone", json!("resnet18")),
                ("width", json!(8)),
                ("blocks", json!([1, 1, 1, 1])),
                ("mobilevitv2_width", json!(0.25)),
                ("mobilevitv2_depths", json!([1, 1, 1])),
                ("image_size", json!(48)),
                ("backbone", json!(backbone)),
                ("augmentation", json!(augmentation)),
                ("subset_fraction", json!(fraction)),
                ("batch_size", json!(batch)),
            ];
            effort(&with(&settings), demo).units
        };
        let measured = [
            ("dino_resnet50", "mixup", 1.0, 32, 2.89),
            ("dino_resnet50", "mixaug", 1.0, 32, 4.32),
            ("dino_resnet50", "mixup", 0.2, 16, 0.98),
            ("dino_resnet50", "mixaug", 0.2, 16, 1.38),
            ("mobilevitv2", "mixup", 0.2, 16, 1.75),
            ("mobilevitv2", "mixaug", 0.2, 16, 2.15),
        ];
        let rates = measured.map(|(backbone, augmentation, fraction, batch, seconds)| {
            units(backbone, augmentation, fraction, batch) / seconds
        });
        let mean = rates.iter().sum::<f64>() / 6.0;
        assert!(rates.iter().all(|rate| (rate / mean - 1.0).abs() < 0.05), "{rates:?}, mean {mean}");
    }
}
