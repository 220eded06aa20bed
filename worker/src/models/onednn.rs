//! A workaround for a bug in oneDNN, which computes libtorch's convolutions on a CPU.
//!
//! The backward pass of a 1×1 convolution with a stride overwrites memory if its channels are innermost and fewer than
//! a vector register holds. The process dies of SIGSEGV or of a damaged heap, or libtorch reports "could not create a
//! primitive descriptor". PyTorch 2.13 has the same bug, for example in `Conv2d(4, 8, 1, stride=2)` over
//! 8 × 4 × 56 × 56 in channels-last. Such a convolution reads only every second pixel, so it equals one with stride 1
//! over these pixels. The last bits of its gradients may differ, so this is done only where oneDNN fails.

use tch::{Device, Kind, Tensor};

/// The vector instructions by which oneDNN chooses its kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    Avx2,
    Avx512,
    /// Kernels that are not known to have the bug.
    Other,
}

/// The sizes at which the bug was seen: at most `channels`, and at least `side` high and wide.
struct Narrow {
    channels: i64,
    side: i64,
}

impl Vectors {
    pub(super) fn of_this_machine() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Other
    }

    const fn narrow(self) -> Option<Narrow> {
        match self {
            Self::Avx2 => Some(Narrow { channels: 7, side: 6 }),
            Self::Avx512 => Some(Narrow { channels: 8, side: 48 }),
            Self::Other => None,
        }
    }
}

/// True if the backward pass of a 1×1 convolution with `stride` over `input` `[B, C, h, w]` overwrites memory.
pub(super) fn breaks(input: &Tensor, stride: i64, vectors: Vectors) -> bool {
    let Some(narrow) = vectors.narrow() else { return false };
    let size = input.size();
    // oneDNN uses the kernel that gathers every second pixel only if the stride divides the sides.
    let is_gathered = |&side: &i64| side >= narrow.side && side % stride == 0;
    size[1] <= narrow.channels
        && size[2..].iter().all(is_gathered)
        && input.device() == Device::Cpu
        && input.kind() == Kind::Float
        && is_channels_last(input)
}

/// A 1×1 convolution over every `stride`-th pixel.
pub(super) fn conv_of_slice(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: i64) -> Tensor {
    let pixels = input.slice(2, None, None, stride).slice(3, None, None, stride);
    pixels.conv2d(weight, bias, [1, 1], [0, 0], [1, 1], 1)
}

/// A single channel is both innermost and outermost, and libtorch treats it as outermost.
fn is_channels_last(input: &Tensor) -> bool {
    input.size()[1] > 1 && input.stride()[1] == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::noise;
    use crate::native::channels_last;

    fn images(channels: i64, side: i64) -> Tensor {
        channels_last(&noise(1, &[2, channels, side, side]).to_kind(Kind::Float)).unwrap()
    }

    #[test]
    fn the_workaround_is_used_only_where_the_bug_is_known() {
        let on = |vectors: Vectors, channels: i64, side: i64| breaks(&images(channels, side), 2, vectors);
        assert!(on(Vectors::Avx2, 4, 56) && on(Vectors::Avx2, 7, 6) && on(Vectors::Avx2, 2, 24));
        assert!(!on(Vectors::Avx2, 8, 56), "a register holds 8 channels");
        assert!(!on(Vectors::Avx2, 4, 23) && !on(Vectors::Avx2, 4, 4), "odd or tiny maps");
        assert!(on(Vectors::Avx512, 8, 56) && on(Vectors::Avx512, 4, 48));
        assert!(!on(Vectors::Avx512, 16, 56) && !on(Vectors::Avx512, 8, 28));
        assert!(!on(Vectors::Other, 4, 56));
        assert!(!on(Vectors::Avx2, 1, 56), "one channel");
        let breaks = |images: &Tensor| breaks(images, 2, Vectors::Avx2);
        assert!(!breaks(&images(4, 56).contiguous()), "channels outermost");
        assert!(!breaks(&images(4, 56).to_kind(Kind::Double)), "double precision");
    }

    #[test]
    fn every_second_pixel_gives_the_same_result_and_gradients() {
        let of = |sliced: bool| {
            // Channels are outermost, where the bug does not occur. With an odd side, the last pixel counts.
            let input = noise(1, &[2, 4, 9, 10]).to_kind(Kind::Float).set_requires_grad(true);
            let weight = noise(2, &[8, 4, 1, 1]).to_kind(Kind::Float).set_requires_grad(true);
            let bias = noise(3, &[8]).to_kind(Kind::Float);
            let result = if sliced {
                conv_of_slice(&input, &weight, Some(&bias), 2)
            } else {
                input.conv2d(&weight, Some(&bias), [2, 2], [0, 0], [1, 1], 1)
            };
            (&result * &result).sum(Kind::Float).backward();
            [result.detach(), input.grad(), weight.grad()]
        };
        for (sliced, strided) in of(true).iter().zip(&of(false)) {
            assert_eq!(sliced.size(), strided.size());
            assert!(sliced.allclose(strided, 1e-5, 1e-6, false));
        }
    }
}
