//! A sheet with what a network sees: some training images, each as its emotion view and its appearance view.
//!
//! The views are taken from the training's batches, and their normalisation is undone. Landmarks are drawn on the
//! appearance view only: it has no geometric changes, so they are correct there, and the network learns them from it.

use image::{Rgb, RgbImage};
use shared::expression::{Expression, LANDMARKS};
use shared::mtl::MtlSpec;
use shared::pack::{Pack, Split};

use crate::data::{FrameError, TrainingSet, Views};

/// Pairs of views per row.
const PAIRS: usize = 4;
/// Views are enlarged by a whole factor, to at most this many pixels.
const CELL: usize = 128;
const GAP: usize = 2;
/// The gap between two pairs.
const GUTTER: usize = 8;
const MARK: Rgb<u8> = Rgb([0, 255, 90]);

/// The sheet and its contents.
#[derive(Debug)]
pub struct Preview {
    pub sheet: RgbImage,
    /// Image name and class of each pair, row by row.
    pub shown: Vec<(String, Expression)>,
}

/// Both views of the first `count` samples of `epoch` (from 1), in the order of the job's training.
///
/// # Errors
///
/// An image cannot be resized.
pub fn preview(pack: &Pack, spec: &MtlSpec, epoch: u32, count: usize) -> Result<Preview, FrameError> {
    let set = TrainingSet::new(pack, spec)?;
    let views = Views::new(&spec.augment, spec.training.seed);
    let (size, count) = (views.size(), count.min(set.labels().len()));
    let mut canvas = Canvas::new(size, count);
    let mut shown = Vec::new();
    for (number, members) in set.order(epoch).iter().enumerate() {
        if shown.len() == count {
            break;
        }
        let batch = set.batch(epoch, number, members)?;
        let both = batch.emotion.chunks_exact(views.len()).zip(batch.appearance.chunks_exact(views.len()));
        let landmarks = batch.landmarks.chunks_exact(LANDMARKS * 2);
        for ((&member, (emotion, appearance)), landmarks) in members.iter().zip(both).zip(landmarks) {
            if shown.len() == count {
                break;
            }
            canvas.place(shown.len(), 0, &views.picture(emotion));
            canvas.place(shown.len(), 1, &views.picture(appearance));
            canvas.mark(shown.len(), 1, landmarks);
            let id = pack.id(Split::Train, set.position(member)).to_owned();
            let class = Expression::ALL[usize::from(set.labels()[member])];
            shown.push((id, class));
        }
    }
    Ok(Preview { sheet: canvas.sheet, shown })
}

struct Canvas {
    sheet: RgbImage,
    size: usize,
    zoom: usize,
}

impl Canvas {
    fn new(size: usize, pairs: usize) -> Self {
        let zoom = (CELL / size).max(1);
        let enlarged = size * zoom;
        let columns = pairs.clamp(1, PAIRS);
        let width = columns * (2 * enlarged + GAP + GUTTER) - GUTTER;
        let height = pairs.div_ceil(PAIRS).max(1) * (enlarged + GAP) - GAP;
        let sheet = RgbImage::from_pixel(width as u32, height as u32, Rgb([255; 3]));
        Self { sheet, size, zoom }
    }

    /// Upper left corner of the left (0) or right (1) view of a pair.
    fn corner(&self, pair: usize, view: usize) -> [usize; 2] {
        let side = self.size * self.zoom;
        let x = pair % PAIRS * (2 * side + GAP + GUTTER) + view * (side + GAP);
        [x, pair / PAIRS * (side + GAP)]
    }

    fn place(&mut self, pair: usize, view: usize, pixels: &[u8]) {
        let [left, top] = self.corner(pair, view);
        for y in 0..self.size * self.zoom {
            for x in 0..self.size * self.zoom {
                let at = 3 * ((y / self.zoom) * self.size + x / self.zoom);
                let colour = Rgb([pixels[at], pixels[at + 1], pixels[at + 2]]);
                self.sheet.put_pixel((left + x) as u32, (top + y) as u32, colour);
            }
        }
    }

    /// Draws `landmarks`, which are x and y of each point in [−1, 1]. Points outside the view are skipped.
    fn mark(&mut self, pair: usize, view: usize, landmarks: &[f32]) {
        let [left, top] = self.corner(pair, view);
        let side = (self.size * self.zoom) as f32;
        for point in landmarks.chunks_exact(2) {
            let [x, y] = [point[0], point[1]].map(|v| f32::midpoint(v, 1.0) * side);
            let inside = |v: f32| (0.0..side - 1.0).contains(&v);
            if inside(x) && inside(y) {
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (x, y) = (left + x as usize + dx, top + y as usize + dy);
                    self.sheet.put_pixel(x as u32, y as u32, MARK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::pack::{PackWriter, Sample};

    const SIZE: u32 = 16;

    /// Images of one colour each, which differ in their red.
    fn pack(dir: &std::path::Path) -> Pack {
        let mut writer = PackWriter::create(dir, SIZE, Value::Null).unwrap();
        for number in 0..10u8 {
            let pixels = [number * 20, 0, 0].repeat((SIZE * SIZE) as usize);
            writer
                .add(&Sample {
                    split: Split::Train,
                    id: &format!("{number}.jpg"),
                    label: Some(number % 6),
                    landmarks: Some(&[[0.0, 0.0]; LANDMARKS]),
                    pixels: &pixels,
                })
                .unwrap();
        }
        writer.finish().unwrap();
        Pack::open(dir).unwrap()
    }

    #[test]
    fn each_pair_is_one_sample_in_training_order_with_landmarks_on_the_right() {
        let root = tempfile::tempdir().unwrap();
        let pack = pack(&root.path().join("pack"));
        let plain =
            [("image_size", json!(SIZE)), ("batch_size", json!(4)), ("jitter_brightness", json!(0.0))];
        let still = ["jitter_contrast", "jitter_saturation", "jitter_hue", "flip", "affine", "erasing"];
        let settings = plain.into_iter().chain(still.map(|name| (name, json!(0.0))));
        let spec = settings.fold(MtlSpec::default(), |spec, (name, value)| spec.with(name, value).unwrap());
        let Preview { sheet, shown } = preview(&pack, &spec, 1, 6).unwrap();
        assert_eq!(shown.len(), 6);
        let pair = 2 * 128 + GAP + GUTTER;
        assert_eq!(sheet.dimensions(), ((4 * pair - GUTTER) as u32, (2 * 128 + GAP) as u32));
        let set = TrainingSet::new(&pack, &spec).unwrap();
        let order: Vec<usize> = set.order(1).concat();
        for (index, (id, class)) in shown.iter().enumerate() {
            let number = set.position(order[index]);
            assert_eq!((id.as_str(), class.index()), (format!("{number}.jpg").as_str(), number % 6));
            let [left, top] = [index % 4 * pair, index / 4 * (128 + GAP)];
            let at = |x: usize, y: usize| sheet.get_pixel((left + x) as u32, (top + y) as u32).0;
            assert_eq!((at(0, 0), at(130, 0)), ([number as u8 * 20, 0, 0], [number as u8 * 20, 0, 0]));
            assert_eq!((at(64, 64), at(130 + 64, 64)), ([number as u8 * 20, 0, 0], MARK.0));
        }
        assert_eq!(preview(&pack, &spec, 2, 99).unwrap().shown.len(), 10);
    }
}
