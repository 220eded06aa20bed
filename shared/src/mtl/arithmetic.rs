//! How the numbers of a training step are computed: precision, memory layout, cuDNN's choice of algorithms.
//!
//! Only what changes a result is a setting. Pinned memory, the release of cached memory and so on do not, so the
//! worker decides about them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Drop, Irrelevant};

/// Precision of convolutions and matrix products in training steps.
///
/// Weights, optimiser, loss terms, softmax and batch-norm statistics are always in single precision. So are validation
/// and test: a stored model gives the same probabilities whatever precision it was trained in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    F32,
    /// NVIDIA's tensor cores may round the factors of a product to 10 bits of mantissa; a CPU computes as with `f32`.
    Tf32,
    /// The factors of products and the maps between layers have 7 bits of mantissa (autocast to bfloat16).
    Bf16,
}

/// How cuDNN chooses among its algorithms, whose results differ in the last bits. No effect on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cudnn {
    /// By its heuristics.
    #[default]
    Heuristic,
    /// By trying them on the first batch of each shape: faster, and two runs may choose differently.
    Benchmark,
    /// Only among those that add in a fixed order.
    Deterministic,
}

/// The arithmetic of one job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ArithmeticSpec {
    pub precision: Precision,
    /// Images and maps lie in memory pixel by pixel instead of channel by channel. Other kernels compute them: faster
    /// with tensor cores, with different last bits.
    pub channels_last: bool,
    pub cudnn: Cudnn,
}

impl ArithmeticSpec {
    /// Defaults are left out, so that jobs keep the ids they had before these settings existed.
    pub(super) fn irrelevant(&self, drop: &mut Drop<'_>) {
        let Self { precision, channels_last, cudnn } = Self::default();
        if self.precision == precision {
            drop(&["precision"], Irrelevant::Default);
        }
        if self.channels_last == channels_last {
            drop(&["channels_last"], Irrelevant::Default);
        }
        if self.cudnn == cudnn {
            drop(&["cudnn"], Irrelevant::Default);
        }
    }
}
