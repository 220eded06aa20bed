//! Flip, affine warp and erasing of the emotion view, as torchvision computes them on tensors.
//!
//! An image is planar: `[3, S, S]`. Flip and warp come before normalisation, erasing after it.

use serde::Deserialize;
use shared::mtl::augment::AugmentSpec;
use shared::rng::Stream;

/// The geometric changes of one emotion view.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Geometry {
    pub flip: bool,
    pub affine: Option<Affine>,
    pub erased: Option<Rectangle>,
}

impl Geometry {
    /// Draws for an image of `size` × `size` pixels.
    pub fn draw(spec: &AugmentSpec, size: usize, stream: &mut Stream) -> Self {
        let flip = stream.chance(spec.flip);
        let affine = stream.chance(spec.affine).then(|| Affine::draw(spec, size, stream));
        let erased = if stream.chance(spec.erasing) { Rectangle::draw(size, stream) } else { None };
        Self { flip, affine, erased }
    }

    /// The image after flip and warp.
    pub fn moved(&self, image: &[f32], size: usize) -> Vec<f32> {
        let mut moved = image.to_vec();
        if self.flip {
            flip(&mut moved, size);
        }
        match self.affine {
            Some(affine) => affine.warp(&moved, size),
            None => moved,
        }
    }

    /// Erases part of a normalised image, in which 0 is the mean colour.
    pub fn erase(&self, image: &mut [f32], size: usize) {
        if let Some(rectangle) = self.erased {
            rectangle.fill(image, size);
        }
    }
}

/// Mirrors left and right.
fn flip(image: &mut [f32], size: usize) {
    image.chunks_exact_mut(size).for_each(<[f32]>::reverse);
}

/// A rotation, scaling and shift about the image's centre.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Affine {
    /// Positive turns clockwise on the screen (y points down).
    pub degrees: f64,
    /// Pixels to the right and down.
    pub shift: [f64; 2],
    pub scale: f64,
}

impl Affine {
    fn draw(spec: &AugmentSpec, size: usize, stream: &mut Stream) -> Self {
        let degrees = stream.between(-spec.affine_degrees, spec.affine_degrees);
        let most = spec.affine_translate * size as f64;
        let shift = [(); 2].map(|()| stream.between(-most, most).round_ties_even());
        Self { degrees, shift, scale: stream.between(spec.affine_scale, 1.0) }
    }

    /// Rows [a, b, c] of the map from output to input coordinates, both relative to the centre.
    fn inverse(&self) -> [[f64; 3]; 2] {
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let [right, down] = self.shift;
        [[cos, sin], [-sin, cos]].map(|row| {
            let [a, b] = row.map(|v| v / self.scale);
            [a, b, -a * right - b * down]
        })
    }

    /// Samples the nearest neighbour. Pixels from outside the image are 0.
    fn warp(&self, image: &[f32], size: usize) -> Vec<f32> {
        let rows = self.inverse();
        let centre = size as f64 / 2.0;
        let plane = size * size;
        let mut warped = vec![0.0; image.len()];
        for y in 0..size {
            for x in 0..size {
                let (from_centre_x, from_centre_y) = (x as f64 + 0.5 - centre, y as f64 + 0.5 - centre);
                let source = rows
                    .map(|[a, b, c]| nearest(a * from_centre_x + b * from_centre_y + c + centre - 0.5, size));
                if let [Some(column), Some(row)] = source {
                    let (to, from) = (y * size + x, row * size + column);
                    for channel in 0..3 {
                        warped[channel * plane + to] = image[channel * plane + from];
                    }
                }
            }
        }
        warped
    }
}

/// The pixel index nearest to `coordinate` (ties to even), if it is inside.
fn nearest(coordinate: f64, size: usize) -> Option<usize> {
    let index = coordinate.round_ties_even();
    (index >= 0.0 && index < size as f64).then_some(index as usize)
}

/// The pixels to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Rectangle {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Rectangle {
    const TRIES: usize = 10;
    /// Area as a share of the image.
    const SHARE: [f64; 2] = [0.02, 0.33];
    /// Height over width, uniform in its logarithm.
    const RATIO: [f64; 2] = [0.3, 3.3];

    /// Tries ten times to draw one that fits. If none does, which is rare, nothing is erased.
    fn draw(size: usize, stream: &mut Stream) -> Option<Self> {
        (0..Self::TRIES).find_map(|_| {
            let area = (size * size) as f64 * stream.between(Self::SHARE[0], Self::SHARE[1]);
            let ratio = stream.between(Self::RATIO[0].ln(), Self::RATIO[1].ln()).exp();
            let height = (area * ratio).sqrt().round_ties_even() as usize;
            let width = (area / ratio).sqrt().round_ties_even() as usize;
            (height < size && width < size).then(|| Self {
                top: stream.below((size - height + 1) as u64) as usize,
                left: stream.below((size - width + 1) as u64) as usize,
                height,
                width,
            })
        })
    }

    fn fill(self, image: &mut [f32], size: usize) {
        for plane in image.chunks_exact_mut(size * size) {
            for row in plane.chunks_exact_mut(size).skip(self.top).take(self.height) {
                row[self.left..self.left + self.width].fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::rng::Purpose;

    /// Three planes 1, 2, …, each 100 higher than the one before.
    fn numbered(size: usize) -> Vec<f32> {
        let plane = |channel: usize| (1..=size * size).map(move |i| (100 * channel + i) as f32);
        (0..3).flat_map(plane).collect()
    }

    fn still() -> Affine {
        Affine { degrees: 0.0, shift: [0.0, 0.0], scale: 1.0 }
    }

    fn first_plane(affine: Affine) -> Vec<f32> {
        affine.warp(&numbered(3), 3)[..9].to_vec()
    }

    #[test]
    fn the_inverse_map_is_torchvisions() {
        let affine = Affine { degrees: 13.0, shift: [10.0, -7.0], scale: 0.9 };
        let expected = [1.082_633_4, 0.249_945_6, -9.076_714_7, -0.249_945_6, 1.082_633_4, 10.077_889_9];
        for (seen, expected) in affine.inverse().as_flattened().iter().zip(expected) {
            assert!((seen - expected).abs() < 1e-6, "{seen} {expected}");
        }
    }

    #[test]
    fn the_identity_warp_changes_nothing() {
        assert_eq!(still().warp(&numbered(5), 5), numbered(5));
    }

    #[test]
    fn a_shift_moves_right_and_down_and_fills_with_zero() {
        let shifted = first_plane(Affine { shift: [1.0, 1.0], ..still() });
        assert_eq!(shifted, [0., 0., 0., 0., 1., 2., 0., 4., 5.]);
    }

    #[test]
    fn a_quarter_turn_is_clockwise() {
        let turned = first_plane(Affine { degrees: 90.0, ..still() });
        assert_eq!(turned, [7., 4., 1., 8., 5., 2., 9., 6., 3.]);
    }

    #[test]
    fn half_the_size_leaves_a_frame() {
        let shrunk = Affine { scale: 0.5, ..still() }.warp(&numbered(5), 5);
        // Output (1, 1) reads input (0, 0); (2, 2) reads the centre; (3, 3) reads input (4, 4).
        assert_eq!((shrunk[0], shrunk[6], shrunk[12], shrunk[18]), (0.0, 1.0, 13.0, 25.0));
    }

    #[test]
    fn a_flip_mirrors_rows_in_every_plane() {
        let mut image = numbered(3);
        flip(&mut image, 3);
        assert_eq!(image[..6], [3., 2., 1., 6., 5., 4.]);
        assert_eq!(image[18..21], [203., 202., 201.]);
        flip(&mut image, 3);
        assert_eq!(image, numbered(3));
    }

    #[test]
    fn erasing_clears_its_rectangle_only() {
        let mut image = numbered(4);
        Rectangle { top: 1, left: 2, height: 2, width: 1 }.fill(&mut image, 4);
        let cleared: Vec<usize> =
            image.iter().enumerate().filter(|(_, v)| **v == 0.0).map(|(i, _)| i).collect();
        assert_eq!(cleared, [6, 10, 22, 26, 38, 42]);
    }

    #[test]
    fn rectangles_have_torchvisions_mean_share_and_fit() {
        const SIZE: usize = 224;
        let mut stream = Stream::new(3, Purpose::EmotionView, &[]);
        let rectangles: Vec<_> = (0..20_000).filter_map(|_| Rectangle::draw(SIZE, &mut stream)).collect();
        assert!(rectangles.len() > 19_990);
        assert!(rectangles.iter().all(|r| r.top + r.height <= SIZE && r.left + r.width <= SIZE));
        let area: usize = rectangles.iter().map(|r| r.height * r.width).sum();
        let share = area as f64 / (rectangles.len() * SIZE * SIZE) as f64;
        assert!((share - 0.1755).abs() < 0.003, "{share}");
    }

    #[test]
    fn draws_keep_to_the_settings() {
        let spec = AugmentSpec::default();
        let draws: Vec<_> = (0..4_000)
            .map(|sample| Geometry::draw(&spec, 48, &mut Stream::new(1, Purpose::EmotionView, &[sample])))
            .collect();
        let share = |test: fn(&Geometry) -> bool| draws.iter().filter(|g| test(g)).count() as f64 / 4_000.0;
        assert!((share(|g| g.flip) - 0.5).abs() < 0.03);
        assert!((share(|g| g.affine.is_some()) - 0.7).abs() < 0.03);
        assert!((share(|g| g.erased.is_some()) - 0.5).abs() < 0.03);
        for affine in draws.iter().filter_map(|g| g.affine) {
            assert!(affine.degrees.abs() <= 20.0 && (0.8..=1.0).contains(&affine.scale));
            assert!(affine.shift.iter().all(|s| s.fract() == 0.0 && s.abs() <= 10.0));
        }
        let never = AugmentSpec { flip: 0.0, affine: 0.0, erasing: 0.0, ..spec };
        let none = Geometry::draw(&never, 48, &mut Stream::new(1, Purpose::EmotionView, &[]));
        assert_eq!(none, Geometry { flip: false, affine: None, erased: None });
    }
}
