//! Infers the unit of landmarks when none is declared, from the bulk of the points of all faces of an import. Pure.

use shared::expression::LANDMARKS;

use super::{Points, Unit};

/// How many points at either end of an axis are ignored, because a few outliers say nothing about the unit.
const OUTLIERS: usize = 7;

/// Coordinates in [-1, 1] do not go beyond this, and no face in pixels is this small.
pub(super) const FARTHEST: f32 = 2.0;

/// How far the bulk of a face may lie outside the image, in fractions of it.
const FRACTION_SLACK: f32 = 0.05;
/// The same if the unit was declared.
const DECLARED_SLACK: f32 = 0.25;

/// More equal points than this mean that the detector found no face.
const MOST_EQUAL: usize = LANDMARKS / 4;

/// The least width and height of a face in [-1, 1]: half a pixel of an image of 200.
const LEAST_EXTENT: f32 = 0.005;

/// The units that the numbers of one face fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Pixels,
    Normalized,
    /// Fractions of the image, or the lower right quarter of [-1, 1].
    FractionOrNormalized,
}

impl Fit {
    /// `None` if the points are not a face.
    fn of(points: &Points) -> Option<Self> {
        if points.as_flattened().iter().any(|v| !v.is_finite()) || not_a_face(points).is_some() {
            return None;
        }
        let bulk = bulk(points);
        let within = |low: f32, high: f32| bulk.iter().all(|range| range[0] >= low && range[1] <= high);
        Some(if !within(-FARTHEST, FARTHEST) {
            Self::Pixels
        } else if within(-FRACTION_SLACK, 1.0 + FRACTION_SLACK) {
            Self::FractionOrNormalized
        } else {
            Self::Normalized
        })
    }
}

/// How many faces fit which units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Census {
    pixels: u64,
    normalized: u64,
    either: u64,
}

impl Census {
    pub(in super::super) fn add(&mut self, points: &Points) {
        match Fit::of(points) {
            Some(Fit::Pixels) => self.pixels += 1,
            Some(Fit::Normalized) => self.normalized += 1,
            Some(Fit::FractionOrNormalized) => self.either += 1,
            None => {}
        }
    }

    pub(in super::super) fn merge(self, other: Self) -> Self {
        Self {
            pixels: self.pixels + other.pixels,
            normalized: self.normalized + other.normalized,
            either: self.either + other.either,
        }
    }

    /// The unit that at least two thirds of the faces fit; `pixels` is the kind of pixels if they are pixels. Faces
    /// that do not fit are found one by one by [`check`].
    ///
    /// # Errors
    /// When two units fit; the message names the option that decides.
    pub(in super::super) fn unit(self, pixels: Unit) -> Result<Unit, String> {
        let Self { pixels: large, normalized, either } = self;
        let small = normalized + either;
        let total = large + small;
        if 3 * large >= 2 * total && total > 0 {
            return Ok(pixels);
        }
        if 3 * small < 2 * total {
            return Err(format!(
                "the numbers of {large} of {total} faces are pixels and those of {small} lie in [-1, 1]: import them \
                 apart, or name one unit with --landmark-unit and the other faces are left out"
            ));
        }
        if 3 * either > small {
            return Err(format!(
                "the numbers of {either} of {total} faces lie in [0, 1]: fractions of the image \
                 (--landmark-unit fraction), or faces in the lower right quarter (--landmark-unit normalized)? \
                 Say which"
            ));
        }
        Ok(Unit::Normalized)
    }
}

/// The range of all points but the outliers, for each axis.
fn bulk(points: &Points) -> [[f32; 2]; 2] {
    [0, 1].map(|axis| {
        let mut values = points.map(|point| point[axis]);
        values.sort_unstable_by(f32::total_cmp);
        [values[OUTLIERS], values[LANDMARKS - 1 - OUTLIERS]]
    })
}

/// The reason if so many points are equal that they are not a face.
pub(super) fn not_a_face(points: &Points) -> Option<String> {
    let mut sorted = points.map(|[x, y]| [x + 0.0, y + 0.0]); // -0 is 0.
    let order = |a: &[f32; 2], b: &[f32; 2]| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]));
    sorted.sort_unstable_by(order);
    let equal = sorted.chunk_by(|a, b| order(a, b).is_eq()).max_by_key(|equal| equal.len())?;
    let [x, y] = equal[0];
    (equal.len() > MOST_EQUAL)
        .then(|| format!("{} of {LANDMARKS} points are ({x}, {y}): the detector found no face", equal.len()))
}

/// The reason if `points`, as read, cannot be of `unit`.
pub(super) fn check(points: &Points, unit: Unit) -> Option<&'static str> {
    match (unit, Fit::of(points)?) {
        (Unit::Pixels | Unit::PixelsFromOne, Fit::Normalized | Fit::FractionOrNormalized) => {
            Some("the face is smaller than four pixels; is it in another unit? (see --landmark-unit)")
        }
        (Unit::Fraction, Fit::Normalized) => {
            let outside = |range: &[f32; 2]| range[0] < -DECLARED_SLACK || range[1] > 1.0 + DECLARED_SLACK;
            let reason = "the points are not fractions; are they in another unit? (see --landmark-unit)";
            bulk(points).iter().any(outside).then_some(reason)
        }
        // Numbers that are far too large are found later, as points outside the image.
        (Unit::Normalized | Unit::Fraction | Unit::Pixels | Unit::PixelsFromOne, Fit::Pixels)
        | (Unit::Normalized, Fit::Normalized | Fit::FractionOrNormalized)
        | (Unit::Fraction, Fit::FractionOrNormalized) => None,
    }
}

/// The reason to look at a face whose unit was inferred from all faces together: it alone would fit another unit, too.
pub(in super::super) fn doubt(points: &Points, unit: Unit) -> Option<&'static str> {
    match (unit, Fit::of(points)?) {
        (Unit::Normalized, Fit::FractionOrNormalized) => Some(
            "the points lie in [0, 1], unlike those of most faces: correct them if they are fractions of the image; \
             if they are right, use --landmark-unit normalized",
        ),
        (Unit::Normalized, Fit::Normalized | Fit::Pixels)
        | (
            Unit::Fraction | Unit::Pixels | Unit::PixelsFromOne,
            Fit::Normalized | Fit::FractionOrNormalized | Fit::Pixels,
        ) => None,
    }
}

/// The reason if `landmarks`, in [-1, 1] of the image, lie on a single spot or line.
pub(super) fn check_extent(landmarks: &Points) -> Option<&'static str> {
    let flat = bulk(landmarks).iter().any(|[low, high]| high - low < LEAST_EXTENT);
    (flat || deviation_across(landmarks) < LEAST_EXTENT / 4.0)
        .then_some("the points lie on one spot or line: the detector found no face")
}

/// The standard deviation of the points across the line that fits them best: the root of the smaller eigenvalue of
/// their covariance.
fn deviation_across(points: &Points) -> f32 {
    let mean = |of: &dyn Fn(&[f32; 2]) -> f32| points.iter().map(of).sum::<f32>() / LANDMARKS as f32;
    let [x, y] = [mean(&|p| p[0]), mean(&|p| p[1])];
    let [xx, yy, xy] =
        [mean(&|p| (p[0] - x).powi(2)), mean(&|p| (p[1] - y).powi(2)), mean(&|p| (p[0] - x) * (p[1] - y))];
    let spread = ((xx - yy) / 2.0).hypot(xy);
    (f32::midpoint(xx, yy) - spread).max(0.0).sqrt()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 68 points on a circle of this radius, except that the first one is at the centre.
    pub(in super::super) fn face([x, y]: [f32; 2], radius: f32) -> Points {
        std::array::from_fn(|i| {
            let angle = i as f32 / LANDMARKS as f32 * std::f32::consts::TAU;
            if i == 0 { [x, y] } else { [x + radius * angle.cos(), y + radius * angle.sin()] }
        })
    }

    fn unit(faces: &[Points]) -> Result<Unit, String> {
        let mut census = Census::default();
        for face in faces {
            census.add(face);
        }
        census.unit(Unit::Pixels)
    }

    /// Case 4: outliers do not matter, neither points nor faces.
    #[test]
    fn the_bulk_of_the_points_decides() {
        let mut wild = face([0.1, 0.0], 0.5);
        wild[3] = [2.1, 900.0];
        assert_eq!(unit(&[wild]), Ok(Unit::Normalized));
        let mut faces = vec![face([0.0, 0.1], 0.6); 9];
        faces.push(face([60.0, 70.0], 30.0));
        assert_eq!(unit(&faces), Ok(Unit::Normalized));
        let mut faces = vec![face([60.0, 70.0], 30.0); 9];
        faces.extend([face([0.0, 0.1], 0.6), [[0.0; 2]; LANDMARKS], [[f32::NAN; 2]; LANDMARKS]]);
        assert_eq!(unit(&faces), Ok(Unit::Pixels));
        assert_eq!(unit(&[]), Ok(Unit::Normalized));
    }

    /// Cases 4 and 6: numbers that fit two units are refused.
    #[test]
    fn what_fits_two_units_is_refused() {
        let (small, large) = (face([0.0, 0.1], 0.6), face([60.0, 70.0], 30.0));
        insta::assert_snapshot!(unit(&[small, large]).unwrap_err(), @"the numbers of 1 of 2 faces are pixels and those of 1 lie in [-1, 1]: import them apart, or name one unit with --landmark-unit and the other faces are left out");
        // A jaw may lie a little outside the image.
        let fraction = face([0.5, 0.56], 0.47);
        assert!(fraction[17][1] > 1.02);
        insta::assert_snapshot!(unit(&[fraction; 3]).unwrap_err(), @"the numbers of 3 of 3 faces lie in [0, 1]: fractions of the image (--landmark-unit fraction), or faces in the lower right quarter (--landmark-unit normalized)? Say which");
        assert!(unit(&[fraction, fraction, small]).is_err());
        let right_below = face([0.5, 0.5], 0.3);
        assert_eq!(unit(&[right_below, small, small, small]), Ok(Unit::Normalized));
    }

    /// Case 5: the output of a detector that found no face is not accepted.
    #[test]
    fn equal_points_are_no_face() {
        for placeholder in [[0.0, 0.0], [-1.0, -1.0], [56.0, 56.0]] {
            assert!(not_a_face(&[placeholder; LANDMARKS]).is_some());
            let mut half = face([0.0, 0.0], 0.5);
            half[..34].fill(placeholder);
            assert!(not_a_face(&half).unwrap().starts_with("34 of 68 points are"));
        }
        let mut lips = face([0.0, 0.0], 0.5);
        lips[60..].fill([0.0, 0.1]);
        assert_eq!(not_a_face(&lips), None);
        assert!(check_extent(&face([0.3, 0.3], 1e-4)).is_some());
        assert!(check_extent(&std::array::from_fn(|i| [i as f32 / 68.0, 0.5])).is_some());
        assert!(check_extent(&std::array::from_fn(|i| [i as f32 / 68.0, 0.5 - i as f32 / 90.0])).is_some());
        assert_eq!(check_extent(&face([0.3, 0.3], 0.01)), None);
    }

    /// Cases 4 and 6: a face that would fit two units is named if the unit was inferred from the others.
    #[test]
    fn a_face_that_fits_two_units_is_doubted() {
        assert!(
            doubt(&face([0.5, 0.5], 0.3), Unit::Normalized).unwrap().starts_with("the points lie in [0, 1]")
        );
        assert_eq!(doubt(&face([0.0, 0.1], 0.6), Unit::Normalized), None);
        assert_eq!(doubt(&face([0.5, 0.5], 0.3), Unit::Fraction), None);
    }

    #[test]
    fn a_face_that_is_not_of_the_unit_is_found() {
        let (small, large) = (face([0.0, 0.1], 0.6), face([60.0, 70.0], 30.0));
        for unit in [Unit::Pixels, Unit::PixelsFromOne] {
            assert!(check(&small, unit).is_some());
            assert_eq!(check(&large, unit), None);
        }
        assert!(check(&small, Unit::Fraction).is_some());
        assert_eq!(check(&face([0.5, 0.5], 0.6), Unit::Fraction), None);
        assert_eq!(check(&small, Unit::Normalized), None);
    }
}
