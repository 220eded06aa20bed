//! The two views of a training image (paper section 2.2), and the plain view of an image in evaluation.
//!
//! Source: the image after colour jitter. Emotion view: the source after flip, warp, normalisation and erasing.
//! Appearance view: the normalised source, without geometric changes, so that its landmarks stay correct.

use serde::Deserialize;
use shared::mtl::augment::{AugmentSpec, AugmentationDraw, BasicOff, Normalization};
use shared::rng::{Purpose, Stream};

use super::geometry::Geometry;
use super::jitter::Jitter;

/// The position of a training sample, on which its random draws depend besides the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPosition {
    /// From 1.
    pub epoch: u32,
    /// The batch within the epoch, from 0.
    pub batch: usize,
    /// Position in the whole training split, not in the subset.
    pub sample: usize,
}

/// The random changes of one training image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Draw {
    pub jitter: Jitter,
    pub geometry: Geometry,
}

/// Creates views according to the settings of one job.
#[derive(Debug, Clone)]
pub struct Views {
    spec: AugmentSpec,
    seed: u64,
}

impl Views {
    pub fn new(spec: &AugmentSpec, seed: u64) -> Self {
        Self { spec: spec.clone(), seed }
    }

    /// The number of values in one view: 3 × S × S.
    pub fn len(&self) -> usize {
        3 * self.size() * self.size()
    }

    /// Always false: an image has at least one pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width in pixels.
    pub fn size(&self) -> usize {
        self.spec.image_size as usize
    }

    /// Writes the emotion and appearance view of an image (S × S × 3 bytes, RGB), each `[3, S, S]`.
    pub fn training(&self, pixels: &[u8], place: BatchPosition, emotion: &mut [f32], appearance: &mut [f32]) {
        self.drawn(pixels, &self.draw(place), emotion, appearance);
    }

    /// [`Self::training`] with a given draw. Changes that the settings switch off are skipped.
    pub fn drawn(&self, pixels: &[u8], draw: &Draw, emotion: &mut [f32], appearance: &mut [f32]) {
        let basic = self.spec.basic_augmentation;
        let mut source = planar(pixels);
        match (basic, self.spec.basic_off) {
            (true, _) => {
                draw.jitter.apply(&mut source);
                self.moved(&source, &draw.geometry, emotion);
            }
            (false, BasicOff::All) => {
                self.normalize(&source, emotion);
                draw.jitter.apply(&mut source);
            }
            (false, BasicOff::Jitter) => self.moved(&source, &draw.geometry, emotion),
        }
        self.normalize(&source, appearance);
    }

    /// Writes the normalised image `[3, S, S]`, as used in validation and test.
    pub fn evaluation(&self, pixels: &[u8], view: &mut [f32]) {
        self.normalize(&planar(pixels), view);
    }

    /// The picture that a view shows, S × S × 3 bytes, RGB: the inverse of the normalisation, rounded and clamped.
    pub fn picture(&self, view: &[f32]) -> Vec<u8> {
        let plane = self.size() * self.size();
        let mut pixels = vec![0; view.len()];
        for (channel, from) in view.chunks_exact(plane).enumerate() {
            let (to, scale) = self.scale(channel);
            for (pixel, value) in pixels.chunks_exact_mut(3).zip(from) {
                let colour = (value * scale.deviation + scale.mean) / scale.factor;
                pixel[to] = (colour * 255.0).round().clamp(0.0, 255.0) as u8;
            }
        }
        pixels
    }

    fn draw(&self, place: BatchPosition) -> Draw {
        let counters = [u64::from(place.epoch), place.sample as u64];
        let jitter = Jitter::draw(&self.spec, &mut Stream::new(self.seed, Purpose::SourceView, &counters));
        let own = match self.spec.augmentation_draw {
            AugmentationDraw::Image => place.sample,
            AugmentationDraw::Batch => place.batch,
        };
        let counters = [u64::from(place.epoch), own as u64];
        let mut stream = Stream::new(self.seed, Purpose::EmotionView, &counters);
        Draw { jitter, geometry: Geometry::draw(&self.spec, self.size(), &mut stream) }
    }

    fn moved(&self, source: &[f32], geometry: &Geometry, view: &mut [f32]) {
        self.normalize(&geometry.moved(source, self.size()), view);
        geometry.erase(view, self.size());
    }

    fn normalize(&self, source: &[f32], view: &mut [f32]) {
        let plane = self.size() * self.size();
        for (channel, to) in view.chunks_exact_mut(plane).enumerate() {
            let (from, scale) = self.scale(channel);
            for (to, from) in to.iter_mut().zip(&source[from * plane..][..plane]) {
                *to = (from * scale.factor - scale.mean) / scale.deviation;
            }
        }
    }

    /// The colour (red 0, green 1, blue 2) in channel `channel` of a view, and its scale.
    fn scale(&self, channel: usize) -> (usize, Scale) {
        match self.spec.normalization {
            Normalization::Imagenet => (channel, Scale::IMAGENET[channel]),
            Normalization::Vggface2Bgr => (2 - channel, Scale::VGGFACE2_BGR[channel]),
        }
    }
}

/// Normalisation of one channel: (value · factor − mean) / deviation.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: f32,
    mean: f32,
    deviation: f32,
}

impl Scale {
    /// Red, green, blue: the constants of torchvision's pre-trained models.
    const IMAGENET: [Self; 3] = [
        Self { factor: 1.0, mean: 0.485, deviation: 0.229 },
        Self { factor: 1.0, mean: 0.456, deviation: 0.224 },
        Self { factor: 1.0, mean: 0.406, deviation: 0.225 },
    ];
    /// Blue, green, red: the constants of ox-vgg/vgg_face2.
    const VGGFACE2_BGR: [Self; 3] = [
        Self { factor: 255.0, mean: 91.4953, deviation: 1.0 },
        Self { factor: 255.0, mean: 103.8827, deviation: 1.0 },
        Self { factor: 255.0, mean: 131.0912, deviation: 1.0 },
    ];
}

/// Interleaved bytes to planes with values in [0, 1].
fn planar(pixels: &[u8]) -> Vec<f32> {
    let plane = pixels.len() / 3;
    let mut planes = vec![0.0; 3 * plane];
    for (i, rgb) in pixels.chunks_exact(3).enumerate() {
        for (channel, &value) in rgb.iter().enumerate() {
            planes[channel * plane + i] = f32::from(value) / 255.0;
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 16;
    const PLACE: BatchPosition = BatchPosition { epoch: 1, batch: 0, sample: 3 };

    fn pixels() -> Vec<u8> {
        (0..SIZE * SIZE * 3).map(|i| (i * 7 % 251) as u8).collect()
    }

    fn spec() -> AugmentSpec {
        AugmentSpec { image_size: SIZE, ..AugmentSpec::default() }
    }

    fn still() -> AugmentSpec {
        AugmentSpec { flip: 0.0, affine: 0.0, erasing: 0.0, ..spec() }
    }

    fn views(spec: &AugmentSpec, place: BatchPosition) -> [Vec<f32>; 2] {
        let views = Views::new(spec, 5);
        let [mut emotion, mut appearance] = [vec![0.0; views.len()], vec![0.0; views.len()]];
        views.training(&pixels(), place, &mut emotion, &mut appearance);
        [emotion, appearance]
    }

    fn plain(spec: &AugmentSpec) -> Vec<f32> {
        let views = Views::new(spec, 5);
        let mut view = vec![0.0; views.len()];
        views.evaluation(&pixels(), &mut view);
        view
    }

    #[test]
    fn both_views_share_the_jittered_source() {
        let [emotion, appearance] = views(&still(), PLACE);
        assert_eq!(emotion, appearance);
        assert_ne!(emotion, plain(&still()));
        let [moved, unmoved] = views(&AugmentSpec { affine: 1.0, ..still() }, PLACE);
        assert_ne!(moved, appearance);
        assert_eq!(unmoved, appearance);
    }

    #[test]
    fn all_off_leaves_the_emotion_view_plain_and_the_appearance_view_jittered() {
        let off = AugmentSpec { basic_augmentation: false, basic_off: BasicOff::All, ..spec() };
        let [emotion, appearance] = views(&off, PLACE);
        assert_eq!(emotion, plain(&off));
        assert_eq!(appearance, views(&spec(), PLACE)[1]);
    }

    #[test]
    fn jitter_off_leaves_the_geometry_on() {
        let always = AugmentSpec { affine: 1.0, ..spec() };
        let off = AugmentSpec { basic_augmentation: false, basic_off: BasicOff::Jitter, ..always.clone() };
        let silent = AugmentSpec {
            jitter_brightness: 0.0,
            jitter_contrast: 0.0,
            jitter_saturation: 0.0,
            jitter_hue: 0.0,
            ..always
        };
        let [emotion, appearance] = views(&off, PLACE);
        assert_eq!(appearance, plain(&off));
        assert_ne!(emotion, appearance);
        assert_eq!(emotion, views(&silent, PLACE)[0]);
    }

    #[test]
    fn a_plain_view_shows_the_image_itself() {
        for normalization in [Normalization::Imagenet, Normalization::Vggface2Bgr] {
            let spec = AugmentSpec { normalization, ..spec() };
            assert_eq!(Views::new(&spec, 5).picture(&plain(&spec)), pixels(), "{normalization:?}");
        }
    }

    #[test]
    fn draws_depend_on_epoch_and_sample_or_on_the_batch() {
        let other_sample = BatchPosition { sample: 4, ..PLACE };
        let other_batch = BatchPosition { batch: 1, ..PLACE };
        let spec = AugmentSpec { flip: 0.0, affine: 1.0, erasing: 0.0, jitter_hue: 0.0, ..spec() };
        let still_colours = AugmentSpec { basic_augmentation: false, basic_off: BasicOff::Jitter, ..spec };
        let emotion = |draw, place| {
            views(&AugmentSpec { augmentation_draw: draw, ..still_colours.clone() }, place)[0].clone()
        };
        let image = |place| emotion(AugmentationDraw::Image, place);
        assert_eq!(image(PLACE), image(other_batch));
        assert_ne!(image(PLACE), image(other_sample));
        assert_ne!(image(PLACE), image(BatchPosition { epoch: 2, ..PLACE }));
        let batch = |place| emotion(AugmentationDraw::Batch, place);
        assert_eq!(batch(PLACE), batch(other_sample));
        assert_ne!(batch(PLACE), batch(other_batch));
    }

    #[test]
    fn normalisations_are_the_published_ones() {
        let plane = (SIZE * SIZE) as usize;
        let [red, green, blue] = [0, 1, 2].map(|channel| f32::from(pixels()[channel]));
        let imagenet = plain(&spec());
        assert!((imagenet[0] - (red / 255.0 - 0.485) / 0.229).abs() < 1e-6);
        assert!((imagenet[2 * plane] - (blue / 255.0 - 0.406) / 0.225).abs() < 1e-6);
        let bgr = plain(&AugmentSpec { normalization: Normalization::Vggface2Bgr, ..spec() });
        let expected = [blue - 91.4953, green - 103.8827, red - 131.0912];
        for (channel, expected) in expected.into_iter().enumerate() {
            assert!((bgr[channel * plane] - expected).abs() < 1e-4);
        }
    }
}
