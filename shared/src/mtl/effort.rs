//! An estimate of how much work an epoch is, for the order of jobs and the time that is left.

use super::MtlSpec;
use super::loss::Augmentation;
use super::network::Backbone;
use crate::trainer::Effort;

/// Image-passes × pixels × a factor for the networks.
pub(super) fn effort(spec: &MtlSpec, train_images: usize) -> Effort {
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
    Effort {
        epochs: spec.training.epochs,
        units: images * pixels * (emotion_passes * emotion + appearance),
        class: spec.network.backbone as u32 * 16 + spec.loss.augmentation as u32,
    }
}

fn resnet(spec: &MtlSpec, backbone: Backbone) -> f64 {
    let depth = match backbone {
        Backbone::Resnet18 => 1.0,
        Backbone::Vggface2Resnet50 | Backbone::DinoResnet50 | Backbone::Mobilevitv2 => 2.3,
    };
    depth * (f64::from(spec.network.width) / 64.0).powi(2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bigger_subsets_and_more_passes_are_more_work() {
        let units = |name: &str, value| effort(&MtlSpec::default().with(name, value).unwrap(), 1000).units;
        let whole = effort(&MtlSpec::default(), 1000).units;
        assert!((units("subset_fraction", json!(0.2)) * 5.0 / whole - 1.0).abs() < 1e-9);
        assert!(units("augmentation", json!("mixup")) < units("augmentation", json!("mixaug")));
    }
}
