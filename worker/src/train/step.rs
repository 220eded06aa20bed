//! What a training step minimises: the sum of four loss terms from at most two passes of the emotion branch (paper
//! section 2.2).

use shared::expression::CLASSES;
use shared::mtl::MtlSpec;
use shared::mtl::loss::{AffinityLabels, Augmentation, ClassWeights, LossSpec, MixaugTerms};
use tch::{Device, Kind, TchError, Tensor};

use crate::losses::mix::{inverse_share, mix};
use crate::losses::{
    affinity, affinity_pair, cross_entropy, landmark, mix_augment_cross_entropy, pair_cross_entropy,
    partition,
};
use crate::models::Emotion;

use super::arithmetic::Arithmetic;
pub use super::batch::DeviceBatch;
use super::mixing::Mixing;
use super::passes::{Inputs, Network, Passes, PerPass, Statistics};

/// What one job minimises.
#[derive(Debug)]
pub struct Objective {
    spec: LossSpec,
    /// `[6]`.
    class_weights: Option<Tensor>,
    device: Device,
    kind: Kind,
    arithmetic: Arithmetic,
}

/// A prepared batch: the inputs of the network and the targets of the losses.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) inputs: Inputs,
    labels: &'a Tensor,
    landmarks: &'a Tensor,
    /// Labels `[B]` of each sample's partner.
    partners: Tensor,
    /// Share of each sample itself in a mixed image.
    lambda: f64,
}

impl Objective {
    /// `labels` are those of the job's training subset.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn new(spec: &MtlSpec, labels: &[u8], device: Device) -> Result<Self, TchError> {
        Self::with_kind(spec, labels, device, Kind::Float)
    }

    /// Like [`Self::new`], for a network whose variables are of `kind`.
    ///
    /// # Errors
    ///
    /// There is not enough memory on the device.
    pub fn with_kind(spec: &MtlSpec, labels: &[u8], device: Device, kind: Kind) -> Result<Self, TchError> {
        let class_weights = match spec.loss.class_weights {
            ClassWeights::Off => None,
            ClassWeights::InverseShare => {
                let mut counts = [0; CLASSES];
                for &label in labels {
                    counts[usize::from(label)] += 1;
                }
                Some(Tensor::f_from_slice(&inverse_share(counts))?.f_to_kind(kind)?.f_to_device(device)?)
            }
        };
        let arithmetic = Arithmetic::new(&spec.arithmetic, device);
        Ok(Self { spec: spec.loss.clone(), class_weights, device, kind, arithmetic })
    }

    /// The arithmetic of the passes.
    pub fn arithmetic(&self) -> &Arithmetic {
        &self.arithmetic
    }

    /// The four terms `[4]` of one batch, each multiplied by its factor; their sum is the loss. A term whose factor is 0
    /// is not computed, and without landmark loss the appearance branch does not run.
    ///
    /// Panics if libtorch fails inside the network, like everything in [`crate::models`].
    ///
    /// # Errors
    ///
    /// Libtorch fails while it prepares the batch.
    pub fn terms(
        &self,
        network: &dyn Network,
        batch: &DeviceBatch,
        mixing: &Mixing,
    ) -> Result<Tensor, TchError> {
        let prepared = self.prepared(batch, mixing)?;
        let passes = self.passes(network, &prepared.inputs, Statistics::Update(1))?;
        Ok(self.losses(network.centres(), &passes, &prepared))
    }

    /// Mixes the images if the job asks for it. A partner may be any sample of the batch.
    pub(super) fn prepared<'a>(
        &self,
        batch: &'a DeviceBatch,
        mixing: &Mixing,
    ) -> Result<Prepared<'a>, TchError> {
        let partners = Tensor::f_from_slice(&mixing.partners)?.f_to_device(self.device)?;
        let lambda = mixing.lambda;
        let real = || self.arithmetic.laid_out(&batch.emotion);
        let mixed = || self.arithmetic.laid_out(&mix(&batch.emotion, &partners, lambda));
        let emotion = match self.spec.augmentation {
            Augmentation::None => PerPass::Real(real()?),
            Augmentation::Mixup => PerPass::Mixed(mixed()?),
            Augmentation::Mixaug => PerPass::Both { mixed: mixed()?, real: real()? },
        };
        let appearance = if self.spec.landmark_weight == 0.0 {
            None
        } else {
            Some(self.arithmetic.laid_out(&batch.appearance)?)
        };
        Ok(Prepared {
            inputs: Inputs { emotion, appearance },
            labels: &batch.labels,
            landmarks: &batch.landmarks,
            partners: batch.labels.f_index_select(0, &partners)?,
            lambda,
        })
    }

    /// The network's outputs for `inputs`: computed in the job's precision, returned in single precision.
    pub(super) fn passes(
        &self,
        network: &dyn Network,
        inputs: &Inputs,
        statistics: Statistics,
    ) -> Result<Passes, TchError> {
        self.arithmetic.forward(|| inputs.run(network, statistics))?.single()
    }

    /// The terms of [`Self::terms`] from the network's outputs for the whole batch.
    pub(super) fn losses(&self, centres: &Tensor, passes: &Passes, prepared: &Prepared<'_>) -> Tensor {
        let [entropy, affinity, partition] = match &passes.emotion {
            PerPass::Real(real) => self.plain(centres, real, prepared),
            PerPass::Mixed(mixed) => self.mixup(centres, mixed, prepared),
            PerPass::Both { mixed, real } => self.mixaug(centres, mixed, real, prepared),
        };
        let landmark = match &passes.landmarks {
            Some(points) => landmark(points, prepared.landmarks) * self.spec.landmark_weight,
            None => self.zero(),
        };
        Tensor::stack(&[entropy, affinity, partition, landmark], 0)
    }

    /// The sum of all terms.
    pub(super) fn sum(&self, terms: &Tensor) -> Result<Tensor, TchError> {
        terms.f_sum(self.kind)
    }

    fn plain(&self, centres: &Tensor, real: &Emotion, prepared: &Prepared<'_>) -> [Tensor; 3] {
        let entropy = cross_entropy(&real.logits, prepared.labels, self.class_weights.as_ref());
        let [affinity, partition] = self.real_terms(centres, real, prepared);
        [entropy, affinity, partition]
    }

    fn mixup(&self, centres: &Tensor, mixed: &Emotion, prepared: &Prepared<'_>) -> [Tensor; 3] {
        let Prepared { labels, partners, lambda, .. } = prepared;
        let weights = self.class_weights.as_ref();
        let entropy = pair_cross_entropy(&mixed.logits, labels, partners, *lambda, weights);
        let [affinity, partition] = self.mixed_terms(centres, mixed, prepared);
        [entropy, affinity, partition]
    }

    fn mixaug(
        &self,
        centres: &Tensor,
        mixed: &Emotion,
        real: &Emotion,
        prepared: &Prepared<'_>,
    ) -> [Tensor; 3] {
        let labels = [prepared.labels, &prepared.partners];
        let weights = self.class_weights.as_ref();
        let entropy =
            mix_augment_cross_entropy(&mixed.logits, &real.logits, labels, prepared.lambda, weights);
        let on_real = || self.real_terms(centres, real, prepared);
        let on_mixed = || self.mixed_terms(centres, mixed, prepared);
        let [affinity, partition] = match self.spec.mixaug_terms {
            MixaugTerms::Real => on_real(),
            MixaugTerms::Virtual => on_mixed(),
            MixaugTerms::All => {
                let ([affinity, partition], [real_affinity, real_partition]) = (on_mixed(), on_real());
                [affinity + real_affinity * 2.0, partition + real_partition * 2.0]
            }
        };
        [entropy, affinity, partition]
    }

    fn zero(&self) -> Tensor {
        Tensor::zeros([0i64; 0], (self.kind, self.device))
    }

    /// `term` times `weight`. If the weight is 0, the term is not computed.
    fn weighted(&self, weight: f64, term: impl FnOnce() -> Tensor) -> Tensor {
        if weight == 0.0 { self.zero() } else { term() * weight }
    }

    /// Affinity and partition loss of real images.
    fn real_terms(&self, centres: &Tensor, pass: &Emotion, prepared: &Prepared<'_>) -> [Tensor; 2] {
        [
            self.weighted(self.spec.affinity_weight, || affinity(&pass.feature, centres, prepared.labels)),
            self.weighted(self.spec.partition_weight, || partition(&pass.heads)),
        ]
    }

    /// Affinity and partition loss of mixed images.
    fn mixed_terms(&self, centres: &Tensor, pass: &Emotion, prepared: &Prepared<'_>) -> [Tensor; 2] {
        let Prepared { labels, partners, lambda, .. } = prepared;
        [
            self.weighted(self.spec.affinity_weight, || match self.spec.affinity_labels {
                AffinityLabels::Soft => affinity_pair(&pass.feature, centres, labels, partners, *lambda),
                AffinityLabels::Partner => affinity(&pass.feature, centres, partners),
            }),
            self.weighted(self.spec.partition_weight, || partition(&pass.heads)),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "a term that is off is exactly 0")]

    use super::*;
    use crate::golden::{close, noise};
    use crate::models::Mtl;
    use crate::train::adam::Adam;
    use crate::variables::Variables;
    use shared::mtl::network::{Backbone, NetworkSpec};
    use tch::nn::VarStore;

    const SIZE: i64 = 32;

    fn spec(augmentation: Augmentation) -> MtlSpec {
        let network = NetworkSpec {
            backbone: Backbone::Resnet18,
            emotion_backbone: Backbone::Resnet18,
            width: 4,
            blocks: Some([1; 4]),
            heads: 2,
            ..NetworkSpec::default()
        };
        MtlSpec { network, loss: LossSpec { augmentation, ..LossSpec::default() }, ..MtlSpec::default() }
    }

    fn network() -> (Mtl, Variables) {
        let store = VarStore::new(Device::Cpu);
        (Mtl::new(&store.root(), &spec(Augmentation::None).network).unwrap(), Variables::of(&store))
    }

    fn batch() -> DeviceBatch {
        let image = |key| noise(key, &[6, 3, SIZE, SIZE]).to_kind(Kind::Float) * 4.0;
        DeviceBatch {
            emotion: image(1),
            appearance: image(2),
            labels: Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5]),
            landmarks: noise(3, &[6, 68, 2]).to_kind(Kind::Float),
        }
    }

    fn mixing(lambda: f64) -> Mixing {
        Mixing { lambda, partners: vec![1, 0, 3, 4, 5, 2] }
    }

    fn terms(network: &Mtl, spec: &MtlSpec, mixing: &Mixing) -> [f64; 4] {
        let labels: Vec<u8> = (0..6).collect();
        let objective = Objective::new(spec, &labels, Device::Cpu).unwrap();
        let terms = objective.terms(network, &batch(), mixing).unwrap();
        std::array::from_fn(|term| terms.double_value(&[term as i64]))
    }

    fn near(seen: [f64; 3], expected: [f64; 3]) {
        seen.into_iter().zip(expected).for_each(|(seen, expected)| close("term", seen, expected, 1e-5));
    }

    #[test]
    fn a_share_of_one_makes_the_virtual_images_real() {
        let (network, _) = network();
        let [ce, af, pt, lm] = terms(&network, &spec(Augmentation::None), &mixing(1.0));
        let mixup = terms(&network, &spec(Augmentation::Mixup), &mixing(1.0));
        near([mixup[0], mixup[1], mixup[2]], [ce, af, pt]);
        let mixaug = terms(&network, &spec(Augmentation::Mixaug), &mixing(1.0));
        near([mixaug[0], mixaug[1], mixaug[2]], [3.0 * ce, af, pt]);
        assert_eq!(mixaug[3].to_bits(), lm.to_bits());
    }

    #[test]
    fn mix_augment_is_mix_up_and_twice_the_real_images() {
        let (network, _) = network();
        let mixaug = |terms| {
            let mut spec = spec(Augmentation::Mixaug);
            spec.loss.mixaug_terms = terms;
            spec
        };
        let mixing = mixing(0.3);
        let [ce, af, pt, _] = terms(&network, &spec(Augmentation::None), &mixing);
        let [mixed_ce, mixed_af, mixed_pt, _] = terms(&network, &spec(Augmentation::Mixup), &mixing);
        let on = |place| {
            let [ce, af, pt, _] = terms(&network, &mixaug(place), &mixing);
            [ce, af, pt]
        };
        let entropy = mixed_ce + 2.0 * ce;
        near(on(MixaugTerms::Real), [entropy, af, pt]);
        near(on(MixaugTerms::Virtual), [entropy, mixed_af, mixed_pt]);
        near(on(MixaugTerms::All), [entropy, mixed_af + 2.0 * af, mixed_pt + 2.0 * pt]);
    }

    #[test]
    fn factors_scale_their_term_and_zero_skips_the_appearance_branch() {
        let (network, variables) = network();
        let plain = spec(Augmentation::None);
        let [ce, af, pt, lm] = terms(&network, &plain, &mixing(1.0));
        let mut scaled = plain.clone();
        scaled.loss.affinity_weight = 2.0;
        scaled.loss.partition_weight = 0.5;
        scaled.loss.landmark_weight = 3.0;
        let seen = terms(&network, &scaled, &mixing(1.0));
        near([seen[1], seen[2], seen[3]], [2.0 * af, 0.5 * pt, 3.0 * lm]);
        let mut alone = plain;
        alone.loss.affinity_weight = 0.0;
        alone.loss.partition_weight = 0.0;
        alone.loss.landmark_weight = 0.0;
        let statistics = |variables: &Variables| {
            variables.copies().unwrap()["appearance.features.bn1.running_mean"].copy()
        };
        let before = statistics(&variables);
        let [only, zeros @ ..] = terms(&network, &alone, &mixing(1.0));
        close("cross-entropy", only, ce, 1e-6);
        assert_eq!(zeros, [0.0; 3]);
        assert_eq!(statistics(&variables), before);
    }

    #[test]
    fn class_weights_come_from_the_subset() {
        let mut spec = spec(Augmentation::None);
        spec.loss.class_weights = ClassWeights::InverseShare;
        let objective = Objective::new(&spec, &[0, 0, 0, 5], Device::Cpu).unwrap();
        let weights = Vec::<f32>::try_from(objective.class_weights.unwrap()).unwrap();
        assert_eq!(weights, [0.25, 1.0, 1.0, 1.0, 1.0, 0.75]);
    }

    #[test]
    fn one_batch_can_be_overfitted() {
        let (network, variables) = network();
        let spec = spec(Augmentation::None);
        let objective = Objective::new(&spec, &[0, 1, 2, 3, 4, 5], Device::Cpu).unwrap();
        let mut adam = Adam::new(&variables, &spec.training).unwrap();
        let (batch, mixing) = (batch(), mixing(1.0));
        let mut entropy = f64::INFINITY;
        for _ in 0..150 {
            let terms = objective.terms(&network, &batch, &mixing).unwrap();
            entropy = terms.double_value(&[0]);
            adam.step(&terms.sum(Kind::Float), 1e-2).unwrap();
        }
        assert!(entropy < 0.05, "{entropy}");
    }
}
