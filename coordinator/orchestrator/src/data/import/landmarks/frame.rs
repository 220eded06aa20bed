//! Converts landmarks of any unit and frame to [-1, 1] of the image. Pure.

use shared::pack::Landmarks;

use super::units::{self, FARTHEST};
use super::{Points, Unit};

/// Side in pixels of DECA's input.
const DECA_SIDE: f64 = 224.0;

/// Maps a pixel (x, y) of DECA's crop to a pixel of the image: each row has the weights of x, y and 1 for one
/// coordinate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Crop {
    x: [f64; 3],
    y: [f64; 3],
}

impl Crop {
    /// From the rows of DECA's `tform`, which maps the other way: from the image's pixels to the crop's. `None` if it
    /// cannot be inverted.
    pub(super) fn from_tform(x: [f64; 3], y: [f64; 3]) -> Option<Self> {
        let determinant = x[0] * y[1] - x[1] * y[0];
        let to_x = [y[1], -x[1], x[1] * y[2] - x[2] * y[1]].map(|v| v / determinant);
        let to_y = [-y[0], x[0], x[2] * y[0] - x[0] * y[2]].map(|v| v / determinant);
        Self { x: to_x, y: to_y }.checked()
    }

    /// From the square of the image with this corner and side. As in DECA's `datasets.py`, its corners map to the
    /// centres of the crop's corner pixels: 0 and 223.
    pub(super) fn from_square(left: f64, top: f64, side: f64) -> Option<Self> {
        let scale = side / (DECA_SIDE - 1.0);
        let square = Self { x: [scale, 0.0, left], y: [0.0, scale, top] };
        if side > 0.0 { square.checked() } else { None }
    }

    fn checked(self) -> Option<Self> {
        self.x.iter().chain(&self.y).all(|v| v.is_finite()).then_some(self)
    }

    /// Maps a point in [-1, 1] of the crop to [-1, 1] of an image of `size`: `transform_points` of DECA's `util.py`.
    fn to_image(self, point: [f64; 2], size: [f64; 2]) -> [f64; 2] {
        let [x, y] = point.map(|v| f64::midpoint(v, 1.0) * DECA_SIDE);
        let pixel = [self.x, self.y].map(|row| row[0] * x + row[1] * y + row[2]);
        [0, 1].map(|axis| 2.0 * pixel[axis] / size[axis] - 1.0)
    }
}

/// Converts points to [-1, 1] of the image, whose file has `size` (width, height) pixels. -1 and 1 are its outer edges,
/// so the centre of pixel p is 2(p + 0.5) / width - 1. The error is the reason why a point cannot be of this image.
pub(in super::super) fn to_image(
    points: &Points,
    unit: Unit,
    size: [u32; 2],
    crop: Option<Crop>,
) -> Result<Landmarks, String> {
    let sides = size.map(f64::from);
    let each = |convert: &dyn Fn(f64, f64) -> f64| {
        points.map(|point| [0, 1].map(|axis| convert(f64::from(point[axis]), sides[axis]) as f32))
    };
    let landmarks = match (crop, unit) {
        (Some(crop), Unit::Normalized) => {
            points.map(|point| crop.to_image(point.map(f64::from), sides).map(|v| v as f32))
        }
        (Some(_), Unit::Fraction | Unit::Pixels | Unit::PixelsFromOne) => {
            return Err("landmarks in a crop must be in [-1, 1] of it".to_owned());
        }
        (None, Unit::Normalized) => *points,
        (None, Unit::Fraction) => each(&|v, _| 2.0 * v - 1.0),
        (None, Unit::Pixels) => each(&|v, side| 2.0 * (v + 0.5) / side - 1.0),
        (None, Unit::PixelsFromOne) => each(&|v, side| 2.0 * (v - 0.5) / side - 1.0),
    };
    if let Some(reason) = (0..points.len()).find_map(|i| refuse_infinite(i, points[i])) {
        return Err(reason);
    }
    if let Some(reason) = units::not_a_face(points) {
        return Err(reason);
    }
    if let Some(reason) = units::check(points, unit) {
        return Err(reason.to_owned());
    }
    if let Some(reason) = (0..points.len()).find_map(|i| refuse_far(i, points[i], landmarks[i])) {
        return Err(reason);
    }
    units::check_extent(&landmarks).map_or(Ok(landmarks), |reason| Err(reason.to_owned()))
}

fn refuse_infinite(i: usize, [x, y]: [f32; 2]) -> Option<String> {
    (!x.is_finite() || !y.is_finite()).then(|| format!("point {i} is ({x}, {y}), which is not finite"))
}

/// A point may lie outside the image, but not by more than half of the image's side.
fn refuse_far(i: usize, [x, y]: [f32; 2], landmark: [f32; 2]) -> Option<String> {
    landmark.iter().any(|v| v.abs() > FARTHEST).then(|| {
        format!(
            "point {i} ({x}, {y}) lies far outside of the image; is it in another unit? (see --landmark-unit)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::units::tests::face;
    use super::*;

    /// Where the first point of a face is mapped to, in an image of 100 x 50.
    fn first(point: [f32; 2], unit: Unit, crop: Option<Crop>) -> Result<[f32; 2], String> {
        let radius = match unit {
            Unit::Normalized => 0.5,
            Unit::Fraction => 0.2,
            Unit::Pixels | Unit::PixelsFromOne => 5.0,
        };
        to_image(&face(point, radius), unit, [100, 50], crop).map(|landmarks| landmarks[0])
    }

    #[test]
    fn every_unit_has_the_edges_where_they_are() {
        // The centre of the first and of the last pixel, and the middle of the image.
        for (unit, points) in [
            (Unit::Normalized, [[-0.99, -0.98], [0.99, 0.98], [0.0, 0.0]]),
            (Unit::Fraction, [[0.005, 0.01], [0.995, 0.99], [0.5, 0.5]]),
            (Unit::Pixels, [[0.0, 0.0], [99.0, 49.0], [49.5, 24.5]]),
            (Unit::PixelsFromOne, [[1.0, 1.0], [100.0, 50.0], [50.5, 25.5]]),
        ] {
            for (point, expected) in points.into_iter().zip([[-0.99, -0.98], [0.99, 0.98], [0.0, 0.0]]) {
                let found = first(point, unit, None).unwrap();
                let close = found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6);
                assert!(close, "{unit:?}: {point:?} is {found:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn a_square_and_its_tform_are_the_same_crop() {
        // estimate_transform('similarity') of the square at (20, 10) with side 44.6: scale 223 / 44.6 = 5.
        let tform = Crop::from_tform([5.0, 0.0, -100.0], [0.0, 5.0, -50.0]).unwrap();
        let square = Crop::from_square(20.0, 10.0, 44.6).unwrap();
        for (point, expected) in [
            // Crop pixel 112 is image pixel 20 + 112 / 5 = 42.4 and 32.4.
            ([0.0, 0.0], [2.0 * 42.4 / 100.0 - 1.0, 2.0 * 32.4 / 50.0 - 1.0]),
            // Crop pixel 0 is the square's corner.
            ([-1.0, -1.0], [2.0 * 20.0 / 100.0 - 1.0, 2.0 * 10.0 / 50.0 - 1.0]),
        ] {
            for crop in [tform, square] {
                let found = first(point, Unit::Normalized, Some(crop)).unwrap();
                let close =
                    found.iter().zip(expected).all(|(a, b): (&f32, f64)| (f64::from(*a) - b).abs() < 1e-6);
                assert!(close, "{crop:?}: {found:?}, not {expected:?}");
            }
        }
        // A quarter turn: image (x, y) lies at (-y, x) of the crop.
        let turned = Crop::from_tform([0.0, -1.0, 0.0], [1.0, 0.0, 0.0]).unwrap();
        assert_eq!(Some(turned.to_image([-1.0, 1.0], [448.0, 448.0])), Some([0.0, -1.0]));
        assert_eq!(Crop::from_tform([1.0, 2.0, 0.0], [2.0, 4.0, 0.0]), None);
        assert_eq!(Crop::from_square(0.0, 0.0, 0.0), None);
    }

    #[test]
    fn impossible_points_are_refused() {
        for (point, unit, reason) in [
            ([f32::NAN, 0.0], Unit::Normalized, "point 0 is (NaN, 0), which is not finite"),
            ([0.0, f32::INFINITY], Unit::Pixels, "not finite"),
            ([60.0, 70.0], Unit::Normalized, "--landmark-unit"),
            ([160.0, 20.0], Unit::Pixels, "far outside"),
        ] {
            let error = first(point, unit, None).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(first([140.0, 20.0], Unit::Pixels, None).is_ok());
        assert!(first([1.0; 2], Unit::Pixels, Crop::from_square(0.0, 0.0, 9.0)).is_err());
    }

    /// Cases 4 and 5: points that are not a face, or in another unit, are not accepted.
    #[test]
    fn faces_of_another_unit_and_placeholders_are_refused() {
        let refuse = |points: &Points, unit| to_image(points, unit, [100, 50], None).unwrap_err();
        assert!(refuse(&[[0.0; 2]; 68], Unit::Normalized).contains("68 of 68 points are (0, 0)"));
        assert!(refuse(&face([0.0, 0.1], 0.6), Unit::Pixels).contains("--landmark-unit"));
        assert!(refuse(&face([50.0, 25.0], 0.1), Unit::Pixels).contains("one spot"));
    }
}
