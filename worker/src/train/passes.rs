//! A batch's way through the network: what goes in, and what comes out for the losses to look at.

use tch::{TchError, Tensor};

use crate::losses::mix::TWICE_MOMENTUM;
use crate::models::blocks::at_least_single;
use crate::models::{Emotion, Mode, Mtl};

/// What a training step asks of a network.
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

/// How far passes move the running statistics of batch norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistics {
    /// Not at all.
    Stay,
    /// So far that this number of passes moves them together as far as one does by itself.
    Move(u32),
}

impl Statistics {
    fn mode(self, momentum: f64) -> Mode {
        match self {
            Self::Stay => Mode::Train { momentum: 0.0 },
            Self::Move(1) => Mode::Train { momentum },
            Self::Move(passes) => {
                Mode::Train { momentum: 1.0 - (1.0 - momentum).powf(1.0 / f64::from(passes)) }
            }
        }
    }
}

const MOMENTUM: f64 = 0.1;

/// Images of the emotion branch, or what it says of them.
#[derive(Debug)]
pub(super) enum Shown<T> {
    Real(T),
    /// Each with its partner.
    Mixed(T),
    /// Mix-augment's two passes.
    Both {
        mixed: T,
        real: T,
    },
}

impl<T> Shown<T> {
    fn map<U, E>(&self, mut change: impl FnMut(&T) -> Result<U, E>) -> Result<Shown<U>, E> {
        Ok(match self {
            Self::Real(real) => Shown::Real(change(real)?),
            Self::Mixed(mixed) => Shown::Mixed(change(mixed)?),
            Self::Both { mixed, real } => Shown::Both { mixed: change(mixed)?, real: change(real)? },
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
    pub(super) emotion: Shown<Tensor>,
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

    /// Runs the network. Panics when libtorch fails, like everything in [`crate::models`].
    pub(super) fn shown_to(&self, network: &dyn Network, statistics: Statistics) -> Passes {
        let emotion = |images: &Tensor, momentum| network.emotion(images, statistics.mode(momentum));
        let emotion = match &self.emotion {
            Shown::Real(real) => Shown::Real(emotion(real, MOMENTUM)),
            Shown::Mixed(mixed) => Shown::Mixed(emotion(mixed, MOMENTUM)),
            // In this order, in which they move the running statistics.
            Shown::Both { mixed, real } => {
                Shown::Both { mixed: emotion(mixed, MOMENTUM), real: emotion(real, TWICE_MOMENTUM) }
            }
        };
        // After the emotion branch: both move the shared running statistics, in that order.
        let landmarks = |images: &Tensor| network.landmarks(images, statistics.mode(MOMENTUM));
        Passes { emotion, landmarks: self.appearance.as_ref().map(landmarks) }
    }
}

/// What the network says of a batch.
#[derive(Debug)]
pub(super) struct Passes {
    pub(super) emotion: Shown<Emotion>,
    pub(super) landmarks: Option<Tensor>,
}

impl Passes {
    /// All tensors, in one order.
    pub(super) fn tensors(&self) -> Vec<&Tensor> {
        let emotion = self.emotion.parts().into_iter();
        let emotion = emotion.flat_map(|Emotion { logits, feature, heads }| [logits, feature, heads]);
        emotion.chain(&self.landmarks).collect()
    }

    /// The same with `change` made to every tensor, in the order of [`Self::tensors`].
    pub(super) fn map<E>(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor, E>) -> Result<Self, E> {
        let emotion = self.emotion.map(|Emotion { logits, feature, heads }| -> Result<_, E> {
            Ok(Emotion { logits: change(logits)?, feature: change(feature)?, heads: change(heads)? })
        })?;
        Ok(Self { emotion, landmarks: self.landmarks.as_ref().map(change).transpose()? })
    }

    /// In single precision at least, as the losses need them.
    pub(super) fn single(&self) -> Result<Self, TchError> {
        self.map(|tensor| Ok(at_least_single(tensor)))
    }

    /// The passes of a whole batch from those of its slices in order, of which there is at least one.
    pub(super) fn joined(slices: &[Self]) -> Result<Self, TchError> {
        let mut position = 0;
        slices[0].map(|_| {
            let parts: Vec<&Tensor> = slices.iter().map(|slice| slice.tensors()[position]).collect();
            position += 1;
            Tensor::f_cat(&parts, 0)
        })
    }
}
