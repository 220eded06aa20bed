//! The images of one split at the network's size. If the pack stores another size, they are resized once per job.

use std::borrow::Cow;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use shared::pack::{Pack, Split};

/// Up to this many bytes of resized images are kept. A larger split is resized again at each use.
const CACHE_LIMIT: usize = 1 << 30;

/// Selected images of one split, each `size` × `size` × 3 bytes, RGB.
#[derive(Debug)]
pub struct Frames<'a> {
    pack: &'a Pack,
    split: Split,
    positions: Vec<usize>,
    size: u32,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The pack stores the wanted size.
    Stored,
    /// All images at the wanted size, concatenated.
    Resized(Vec<u8>),
    /// The resized images would exceed [`CACHE_LIMIT`].
    OnDemand,
}

/// An image that cannot be resized.
#[derive(Debug, thiserror::Error)]
#[error("cannot resize {split} image {position} from {from} to {to} pixels: {reason}")]
pub struct FrameError {
    split: Split,
    position: usize,
    from: u32,
    to: u32,
    reason: String,
}

impl<'a> Frames<'a> {
    /// The samples of `split` at `positions` (each below the split's length), resized to `size` × `size` pixels.
    ///
    /// # Errors
    ///
    /// An image cannot be resized, for example to 0 pixels.
    pub fn new(pack: &'a Pack, split: Split, positions: Vec<usize>, size: u32) -> Result<Self, FrameError> {
        let source = if pack.image_size() == size { Source::Stored } else { Source::OnDemand };
        let mut frames = Self { pack, split, positions, size, source };
        if matches!(frames.source, Source::OnDemand) && frames.len() * frames.bytes() <= CACHE_LIMIT {
            let mut resized = Vec::with_capacity(frames.len() * frames.bytes());
            for index in 0..frames.len() {
                resized.extend_from_slice(&frames.resized(index)?);
            }
            frames.source = Source::Resized(resized);
        }
        Ok(frames)
    }

    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The position of image `index` in its split.
    pub fn position(&self, index: usize) -> usize {
        self.positions[index]
    }

    /// Height and width in pixels.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// Image `index`, `size` × `size` × 3 bytes. Panics if `index` is out of range.
    ///
    /// # Errors
    ///
    /// The image must be resized now, and that fails.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, FrameError> {
        match &self.source {
            Source::Stored => Ok(Cow::Borrowed(self.pack.image(self.split, self.positions[index]))),
            Source::Resized(all) => Ok(Cow::Borrowed(&all[index * self.bytes()..][..self.bytes()])),
            Source::OnDemand => self.resized(index).map(Cow::Owned),
        }
    }

    fn bytes(&self) -> usize {
        self.size() * self.size() * 3
    }

    fn resized(&self, index: usize) -> Result<Vec<u8>, FrameError> {
        let position = self.positions[index];
        let from = self.pack.image_size();
        resize(self.pack.image(self.split, position), from, self.size).map_err(|reason| FrameError {
            split: self.split,
            position,
            from,
            to: self.size,
            reason,
        })
    }
}

/// Resizes as Pillow does: bilinear, with a wider filter when shrinking (antialiasing) and 8-bit rounding between the
/// two passes. `pixels` are `from` × `from` × 3 bytes.
///
/// # Errors
///
/// `pixels` has another length.
pub fn resize(pixels: &[u8], from: u32, to: u32) -> Result<Vec<u8>, String> {
    let source = ImageRef::new(from, from, pixels, PixelType::U8x3).map_err(|error| error.to_string())?;
    let mut target = Image::new(to, to, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
    Ok(target.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Pillow 13.0.0: `resize((4, 4), BILINEAR)` of the 7 × 7 picture below.
    const SHRUNK: [u8; 48] = [
        25, 243, 125, 83, 243, 127, 151, 243, 127, 209, 243, 125, 42, 207, 127, 100, 207, 127, 168, 207, 127,
        226, 207, 127, 62, 165, 127, 120, 165, 127, 188, 165, 127, 150, 165, 127, 79, 129, 125, 137, 129,
        127, 205, 129, 127, 129, 129, 125,
    ];
    /// The first row of `resize((8, 8), BILINEAR)` of the 5 × 5 picture.
    const ENLARGED: [u8; 24] = [
        0, 255, 0, 16, 255, 112, 39, 255, 239, 62, 255, 80, 86, 255, 80, 109, 255, 239, 132, 255, 112, 148,
        255, 0,
    ];

    /// Red rises to the right, green falls downwards, blue is a checkerboard.
    fn picture(size: u32) -> Vec<u8> {
        let pixel = |i: u32| {
            let (x, y) = (i % size, i / size);
            [(x * 37 + y * 11) % 256, 255 - y * 23 % 256, (x + y) % 2 * 255].map(|v| v as u8)
        };
        (0..size * size).flat_map(pixel).collect()
    }

    fn near(seen: &[u8], expected: &[u8]) {
        assert!(seen.iter().zip(expected).all(|(s, e)| s.abs_diff(*e) <= 1), "{seen:?}");
    }

    #[test]
    fn it_resizes_like_pillow() {
        near(&resize(&picture(7), 7, 4).unwrap(), &SHRUNK);
        near(&resize(&picture(5), 5, 8).unwrap()[..24], &ENLARGED);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        assert_eq!(resize(&picture(6), 6, 6).unwrap(), picture(6));
    }
}
