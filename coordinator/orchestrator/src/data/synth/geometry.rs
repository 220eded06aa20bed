//! Computes the 68 landmarks (iBUG order) from identity and expression, in the face frame.

use shared::expression::LANDMARKS;

use super::expression::{Muscles, Part};
use super::identity::Identity;

/// A point of the face frame: x to the right, y down.
pub(super) type Point = [f64; 2];

/// Height at which the jaw line begins, beside the eyes.
pub(super) const TEMPLE: f64 = -0.15;
const CROWN: f64 = -0.98;

/// The 68 landmarks: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner lips 60-67. Each group
/// begins on the left side of the picture.
pub(super) fn landmarks(id: &Identity, sides: &[Muscles; 2]) -> [Point; LANDMARKS] {
    let both = sides[0].mean(sides[1]);
    let mut points = Vec::with_capacity(LANDMARKS);
    points.extend(jaw(id, both));
    points.extend((0..5).map(|i| brow(id, sides[0], -1.0, 1.0 - f64::from(i) / 4.0)));
    points.extend((0..5).map(|i| brow(id, sides[1], 1.0, f64::from(i) / 4.0)));
    points.extend(nose(id, both));
    let [outer, upper_outer, upper_inner, inner, lower_inner, lower_outer] = eye(id, sides[0], -1.0);
    points.extend([outer, upper_outer, upper_inner, inner, lower_inner, lower_outer]);
    let [outer, upper_outer, upper_inner, inner, lower_inner, lower_outer] = eye(id, sides[1], 1.0);
    points.extend([inner, upper_inner, upper_outer, outer, lower_outer, lower_inner]);
    points.extend(mouth(id, sides, both));
    std::array::from_fn(|i| points[i])
}

/// The upper outline of the head from the right temple to the left one, `grow` times as large as the skull.
pub(super) fn crown(id: &Identity, grow: f64) -> Vec<Point> {
    let steps = 10;
    (0..=steps)
        .map(|i| {
            let angle = std::f64::consts::PI * f64::from(i) / f64::from(steps);
            [grow * id.face_width * angle.cos(), TEMPLE + grow * (CROWN - TEMPLE) * angle.sin()]
        })
        .collect()
}

fn jaw(id: &Identity, both: Muscles) -> impl Iterator<Item = Point> {
    let (width, shape) = (id.face_width, id.jaw);
    let chin = id.chin + 0.13 * both[Part::MouthOpen].max(0.0);
    (0..17).map(move |i| {
        let angle = std::f64::consts::PI * f64::from(i) / 16.0;
        let x = angle.cos();
        [-width * x.signum() * x.abs().powf(shape), TEMPLE + (chin - TEMPLE) * angle.sin()]
    })
}

/// A point of a brow: `along` goes from 0 at the inner end to 1 at the outer end.
fn brow(id: &Identity, muscles: Muscles, side: f64, along: f64) -> Point {
    let inner = 0.13 - 0.045 * muscles[Part::BrowsTogether];
    let outer = id.eye_x + id.eye_width + 0.05;
    let movement = muscles[Part::InnerBrowUp] * (1.0 - along) + muscles[Part::OuterBrowUp] * along;
    let lift = if movement > 0.0 { 0.15 } else { 0.11 } * movement;
    let shape = id.brow_arch * (std::f64::consts::PI * along).sin() + id.brow_slant * (along - 0.5);
    [side * (inner + (outer - inner) * along), id.eye_y - id.brow_gap - lift - shape]
}

fn nose(id: &Identity, both: Muscles) -> impl Iterator<Item = Point> {
    let wrinkle = both[Part::NoseWrinkled];
    let top = id.eye_y;
    let tip = top + id.nose_length - 0.045 * wrinkle;
    let bridge = (0..4).map(move |i| [0.0, top + (tip - top) * f64::from(i) / 3.0]);
    let wing = id.nose_width + 0.025 * wrinkle + 0.015 * both[Part::MouthCornersUp].max(0.0);
    let base = (-2..=2).map(move |i| {
        let across = f64::from(i) / 2.0;
        [wing * across, tip + 0.075 - (0.03 + 0.02 * wrinkle) * across.abs()]
    });
    bridge.chain(base)
}

/// Outer corner, upper lid (outer, inner), inner corner, lower lid (inner, outer).
fn eye(id: &Identity, muscles: Muscles, side: f64) -> [Point; 6] {
    let open = id.eye_height * (1.0 + 0.75 * muscles[Part::UpperLidUp]).max(0.15);
    let below = id.eye_height * (0.75 - 0.5 * muscles[Part::LowerLidUp]).max(0.05);
    let at = |across: f64, y: f64| [side * (id.eye_x + across * id.eye_width), id.eye_y + y];
    [at(1.0, -0.008), at(0.38, -open), at(-0.38, -open), at(-1.0, 0.012), at(-0.38, below), at(0.38, below)]
}

fn mouth(id: &Identity, sides: &[Muscles; 2], both: Muscles) -> Vec<Point> {
    let corner = |side: usize| -> Point {
        let up = sides[side][Part::MouthCornersUp] + id.mouth_rest;
        let reach = id.mouth_width + 0.075 * sides[side][Part::MouthWide] + 0.03 * up.max(0.0);
        let sign = if side == 0 { -1.0 } else { 1.0 };
        [sign * reach.max(0.12), id.mouth_y - 0.14 * up + 0.05 * both[Part::MouthOpen]]
    };
    let (left, right) = (corner(0), corner(1));
    let open = both[Part::MouthOpen].max(0.0);
    let lip = id.lip * (1.0 - 0.6 * both[Part::LipsPressed]).clamp(0.2, 1.3);
    let upper = id.mouth_y - 0.055 * both[Part::UpperLipUp] - 0.02 * open;
    let lower = id.mouth_y.max(upper) + 0.30 * open + 0.03 * both[Part::UpperLipUp].max(0.0);
    // Along a lip the height follows a parabola from the corner to the middle.
    let arc = |across: f64, middle: f64| -> Point {
        let end = if across < 0.0 { left } else { right };
        let t = across.abs();
        [end[0] * t, middle + (end[1] - middle) * t * t]
    };
    let outer_upper = [-0.67, -0.3, 0.0, 0.3, 0.67].map(|across: f64| {
        let dip = if across == 0.0 { 0.75 } else { 1.0 };
        let [x, y] = arc(across, upper);
        [x, y - lip * dip * (1.0 - 0.45 * across.abs())]
    });
    let outer_lower = [0.67, 0.3, 0.0, -0.3, -0.67].map(|across: f64| {
        let [x, y] = arc(across, lower);
        [x, y + 1.15 * lip * (1.0 - 0.5 * across.abs())]
    });
    let inside = |end: Point| [end[0] * 0.9, end[1]];
    let mut points = vec![left];
    points.extend(outer_upper);
    points.push(right);
    points.extend(outer_lower);
    points.push(inside(left));
    points.extend([-0.5, 0.0, 0.5].map(|across| arc(across, upper)));
    points.push(inside(right));
    points.extend([0.5, 0.0, -0.5].map(|across| arc(across, lower)));
    points
}
