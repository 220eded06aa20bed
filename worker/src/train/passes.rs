//! The forward passes of a batch: the images that go in, and the outputs that the losses need.

use tch::{TchError, Tensor};

use crate::losses::mix::TWICE_MOMENTUM;
use crate::models::blocks::at_least_single;
use crate::models::{Emotion, Mode, Mtl};

/// What a training step needs from a network.
pub trait Network {
    /// See [`Mtl::emotion`].
    fn emotion(&self, images: &Tensor, mode: Mode) -> Emotion;
    /// See [`Mtl::landmarks`].
    fn landmarks(&self, images: &Tensor, mode: Mode) -> Tensor;
    /// See [`Mtl::centres`].
    fn centres(&self) -> &Tensor;
}

impl Network for Mtl {
    fn emotion(&self, images: &Tensor, mode: Mode) -> Emotion {
        Mtl::emotion(self, images, mode)
    }

    fn landmarks(&self, images: &Tensor, mode: Mode) -> Tensor {
        Mtl::landmarks(self, images, mode)
    }

    fn centres(&self) -> &Tensor {
        Mtl::centres(self)
    }
}

/// How a pass updates the running statistics of batch norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistics {
    /// Not at all.
    Keep,
    /// With such a momentum that this number of passes together has the weight of one normal pass.
    Update(u32),
}

impl Statistics {
    fn mode(self, momentum: f64) -> Mode {
        match self {
            Self::Keep => Mode::Train { momentum: 0.0 },
            Self::Update(1) => Mode::Train { momentum },
            Self::Update(passes) => {
                Mode::Train { momentum: 1.0 - (1.0 - momentum).powf(1.0 / f64::from(passes)) }
            }
        }
    }
}

const MOMENTUM: f64 = 0.1;

/// One value for each pass of the emotion branch: its images, or its output.
#[derive(Debug)]
pub(super) enum PerPass<T> {
    Real(T),
    /// Each image mixed with its partner.
    Mixed(T),
    /// The two passes of mix-augment.
    Both {
        mixed: T,
        real: T,
    },
}

impl<T> PerPass<T> {
    fn map<U, E>(&self, mut change: impl FnMut(&T) -> Result<U, E>) -> Result<PerPass<U>, E> {
        Ok(match self {
            Self::Real(real) => PerPass::Real(change(real)?),
            Self::Mixed(mixed) => PerPass::Mixed(change(mixed)?),
            Self::Both { mixed, real } => PerPass::Both { mixed: change(mixed)?, real: change(real)? },
        })
    }

    fn parts(&self) -> Vec<&T> {
        match self {
            Self::Real(one) | Self::Mixed(one) => vec![one],
            Self::Both { mixed, real } => vec![mixed, real],
        }
    }
}

/// Images `[B, 3, S, S]` of every pass that the losses need.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) emotion: PerPass<Tensor>,
    pub(super) appearance: Option<Tensor>,
}

impl Inputs {
    /// `length` samples from `start`.
    pub(super) fn slice(&self, start: i64, length: i64) -> Result<Self, TchError> {
        let slice = |images: &Tensor| images.f_narrow(0, start, length);
        Ok(Self {
            emotion: self.emotion.map(slice)?,
            appearance: self.appearance.as_ref().map(slice).transpose()?,
        })
    }

    /// Runs the network on these images. Panics if libtorch fails, like everything in [`crate::models`].
    pub(super) fn run(&self, network: &dyn Network, statistics: Statistics) -> Passes {
        let emotion = |images: &Tensor, momentum| network.emotion(images, statistics.mode(momentum));
        let emotion = match &self.emotion {
            PerPass::Real(real) => PerPass::Real(emotion(real, MOMENTUM)),
            PerPass::Mixed(mixed) => PerPass::Mixed(emotion(mixed, MOMENTUM)),
            // The order matters: both passes update the running statistics.
            PerPass::Both { mixed, real } => {
                PerPass::Both { mixed: emotion(mixed, MOMENTUM), real: emotion(real, TWICE_MOMENTUM) }
            }
        };
        // After the emotion branch, since both update the shared running statistics.
        let landmarks = |images: &Tensor| network.landmarks(images, statistics.mode(MOMENTUM));
        Passes { emotion, landmarks: self.appearance.as_ref().map(landmarks) }
    }
}

/// The network's outputs for a batch.
#[derive(Debug)]
pub(super) struct Passes {
    pub(super) emotion: PerPass<Emotion>,
    pub(super) landmarks: Option<Tensor>,
}

impl Passes {
    /// All tensors, always in the same order.
    pub(super) fn tensors(&self) -> Vec<&Tensor> {
        let emotion = self.emotion.parts().into_iter();
        let emotion = emotion.flat_map(|Emotion { logits, feature, heads }| [logits, feature, heads]);
        emotion.chain(&self.landmarks).collect()
    }

    /// The same with `change` applied to every tensor, in the order of [`Self::tensors`].
    pub(super) fn map<E>(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor, E>) -> Result<Self, E> {
        let emotion = self.emotion.map(|Emotion { logits, feature, heads }| -> Result<_, E> {
            Ok(Emotion { logits: change(logits)?, feature: change(feature)?, heads: change(heads)? })
        })?;
        Ok(Self { emotion, landmarks: self.landmarks.as_ref().map(change).transpose()? })
    }

    /// The same in at least single precision, which the losses need.
    pub(super) fn single(&self) -> Result<Self, TchError> {
        self.map(|tensor| Ok(at_least_single(tensor)))
    }

    /// The outputs for a whole batch, joined from those of its slices in order. There must be at least one slice.
    pub(super) fn joined(slices: &[Self]) -> Result<Self, TchError> {
        let mut position = 0;
        slices[0].map(|_| {
            let parts: Vec<&Tensor> = slices.iter().map(|slice| slice.tensors()[position]).collect();
            position += 1;
            Tensor::f_cat(&parts, 0)
        })
    }
}
