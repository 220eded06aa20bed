//! The whole network: emotion branch, appearance branch and the layers they share (paper section 2.2).
//!
//! The shared layers follow Yeonggi-hong/ECCV2022-ABAW-competition: they process each branch's vector separately, not
//! the two joined. So the expression needs only the emotion branch.

use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::network::{NetworkSpec, SharedStatistics};
use tch::Tensor;
use tch::nn::Path;

use super::appearance::Appearance;
use super::blocks::{BatchNorm, Init, Linear, Mode, Running, standard_normal};
use super::dan::Dan;
use super::{Architecture, ModelError};

/// The network of one job. D is 8 × `NetworkSpec::width`, K its `heads`.
#[derive(Debug)]
pub struct Mtl {
    emotion: Dan,
    appearance: Appearance,
    shared: SharedLayers,
    centres: Tensor,
}

/// The outputs of the emotion branch for a batch.
#[derive(Debug)]
pub struct Emotion {
    /// `[B, 6]`.
    pub logits: Tensor,
    /// `[B, D, h, w]`, for the affinity loss.
    pub feature: Tensor,
    /// `[B, K, D]`, before any fusion, for the partition loss.
    pub heads: Tensor,
}

impl Mtl {
    /// A network with new variables below `root`.
    ///
    /// # Errors
    ///
    /// The emotion backbone is MobileViTv2.
    pub fn new(root: &Path<'_>, spec: &NetworkSpec) -> Result<Self, ModelError> {
        let backbone = match Architecture::of(spec.emotion_backbone, spec) {
            Architecture::ResNet(shape) => shape,
            Architecture::MobileViTv2(_) => return Err(ModelError::EmotionBackbone),
        };
        let dim = 8 * i64::from(spec.width);
        Ok(Self {
            emotion: Dan::new(&(root / "emotion"), backbone, spec.heads, spec.head_fusion),
            appearance: Appearance::new(&(root / "appearance"), spec, dim),
            shared: SharedLayers::new(&(root / "shared"), dim, spec.shared_statistics),
            centres: standard_normal(&(root / "affinity"), "centres", &[CLASSES as i64, dim]),
        })
    }

    /// Emotion view `[B, 3, S, S]` to expression logits and the tensors that the losses need.
    pub fn emotion(&self, images: &Tensor, mode: Mode) -> Emotion {
        let output = self.emotion.forward(images, mode);
        let logits = self.shared.expression(&output.fused, mode);
        Emotion { logits, feature: output.feature, heads: output.heads }
    }

    /// Appearance view `[B, 3, S, S]` to landmarks `[B, 68, 2]`: x to the right, y down, in [−1, 1] of the image.
    ///
    /// A training step must run it after [`Self::emotion`], because both update the shared running statistics.
    pub fn landmarks(&self, images: &Tensor, mode: Mode) -> Tensor {
        self.shared.landmarks(&self.appearance.forward(images, mode), mode)
    }

    /// Class centres `[6, D]` of the affinity loss, trained with the network.
    pub fn centres(&self) -> &Tensor {
        &self.centres
    }
}

/// D to D/2 to D/4, each with a batch norm and no activation; then 6 logits with a batch norm, or 68 × 2 coordinates.
#[derive(Debug)]
pub struct SharedLayers {
    layers: [(Linear, BatchNorm); 2],
    /// The landmark branch's own running statistics, if it has any.
    landmark_running: Option<[Running; 2]>,
    expression: (Linear, BatchNorm),
    landmarks: [Linear; 2],
}

impl SharedLayers {
    /// Variable names are the authors': `sharedfc1`, `sharedbn1`, `sharedfc2`, `sharedbn2`; `fc` and `bn` for the
    /// expression; `encode1` and `encode2` for x and y. Separate statistics add
    /// `sharedbn{1,2}.landmarks.running_{mean,var}`.
    pub fn new(path: &Path<'_>, dim: i64, statistics: SharedStatistics) -> Self {
        let widths = [dim, dim / 2, dim / 4];
        let linear =
            |name: &str, inputs, outputs| Linear::new(&(path / name), inputs, outputs, Init::Uniform);
        let layer = |number: usize| {
            let fc = linear(&format!("sharedfc{number}"), widths[number - 1], widths[number]);
            (fc, BatchNorm::new(&(path / format!("sharedbn{number}")), widths[number]))
        };
        let running =
            |number: usize| Running::new(&(path / format!("sharedbn{number}") / "landmarks"), widths[number]);
        let [_, _, last] = widths;
        let classes = CLASSES as i64;
        Self {
            layers: [layer(1), layer(2)],
            landmark_running: match statistics {
                SharedStatistics::Shared => None,
                SharedStatistics::Separate => Some([running(1), running(2)]),
            },
            expression: (linear("fc", last, classes), BatchNorm::new(&(path / "bn"), classes)),
            landmarks: ["encode1", "encode2"].map(|name| linear(name, last, LANDMARKS as i64)),
        }
    }

    /// Emotion vectors `[B, D]` to logits `[B, 6]`.
    pub fn expression(&self, vectors: &Tensor, mode: Mode) -> Tensor {
        let hidden = self.layers.iter().fold(vectors.shallow_clone(), |hidden, (linear, norm)| {
            norm.forward(&linear.forward(&hidden), mode)
        });
        let (linear, norm) = &self.expression;
        norm.forward(&linear.forward(&hidden), mode)
    }

    /// Appearance vectors `[B, D]` to landmarks `[B, 68, 2]`.
    pub fn landmarks(&self, vectors: &Tensor, mode: Mode) -> Tensor {
        let mut hidden = vectors.shallow_clone();
        for (index, (linear, norm)) in self.layers.iter().enumerate() {
            let output = linear.forward(&hidden);
            hidden = match &self.landmark_running {
                None => norm.forward(&output, mode),
                Some(running) => norm.forward_with(&output, &running[index], mode),
            };
        }
        let coordinates = self.landmarks.each_ref().map(|linear| linear.forward(&hidden));
        Tensor::stack(&coordinates, -1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{check, fill, noise, number, parameters, store};
    use shared::mtl::network::Backbone;

    #[test]
    fn shared_layers_give_the_golden_values() {
        let mut store = store();
        let shared = SharedLayers::new(&store.root(), 512, SharedStatistics::Shared);
        fill(&mut store);
        assert_eq!(parameters(&store), 183_322);
        let (emotion, appearance) = (noise(202, &[5, 512]), noise(203, &[5, 512]));
        check("mtl_eval_expr", &shared.expression(&emotion, Mode::Eval), 1e-9);
        check("mtl_eval_land", &shared.landmarks(&appearance, Mode::Eval), 1e-9);
        check("mtl_train_expr", &shared.expression(&emotion, Mode::TRAIN), 1e-9);
        check("mtl_train_land", &shared.landmarks(&appearance, Mode::TRAIN), 1e-9);
        // Two updates, emotion then landmarks. The other order gives another value.
        let mean = store.variables()["sharedbn1.running_mean"].double_value(&[0]);
        assert!((mean - number("mtl_sharedbn1_rm0_after")).abs() < 1e-12);
    }

    #[test]
    fn separate_statistics_do_not_affect_the_other_branch() {
        let mut store = store();
        let shared = SharedLayers::new(&store.root(), 32, SharedStatistics::Separate);
        fill(&mut store);
        let vectors = noise(4, &[5, 32]);
        let statistics = || {
            ["sharedbn1.running_mean", "sharedbn1.landmarks.running_mean"]
                .map(|name| store.variables()[name].copy())
        };
        let before = statistics();
        let _ = shared.expression(&vectors, Mode::TRAIN);
        let between = statistics();
        assert_ne!(between[0], before[0]);
        assert_eq!(between[1], before[1]);
        let _ = shared.landmarks(&vectors, Mode::TRAIN);
        assert_eq!(statistics()[0], between[0]);
        assert_ne!(statistics()[1], between[1]);
    }

    #[test]
    fn networks_have_the_published_sizes() {
        for (backbone, total) in [
            (Backbone::Vggface2Resnet50, 59_422_234),
            (Backbone::DinoResnet50, 59_421_210),
            (Backbone::Mobilevitv2, 52_814_243),
        ] {
            let store = store();
            let spec = NetworkSpec { backbone, ..NetworkSpec::default() };
            Mtl::new(&store.root(), &spec).unwrap();
            assert_eq!(parameters(&store), total, "{backbone:?}");
        }
    }

    #[test]
    fn mobilevitv2_cannot_be_the_emotion_backbone() {
        let spec = NetworkSpec { emotion_backbone: Backbone::Mobilevitv2, ..NetworkSpec::default() };
        assert_eq!(Mtl::new(&store().root(), &spec).unwrap_err(), ModelError::EmotionBackbone);
    }
}
