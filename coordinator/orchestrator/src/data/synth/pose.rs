//! Maps the face frame to the picture: yaw and pitch of a rounded head, roll, scale and shift.

use shared::rng::Stream;

use super::geometry::Point;

/// The position of the head and how it is turned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    yaw: f64,
    pitch: f64,
    roll: f64,
    /// Picture units (the picture is 2 wide) per unit of the face frame.
    pub(super) scale: f64,
    shift: Point,
}

impl Pose {
    pub(super) fn draw(stream: &mut Stream) -> Self {
        Self {
            yaw: (0.13 * stream.normal()).clamp(-0.45, 0.45),
            pitch: (0.07 * stream.normal()).clamp(-0.25, 0.25),
            roll: (0.07 * stream.normal()).clamp(-0.35, 0.35),
            scale: stream.between(0.84, 0.96),
            shift: [(); 2].map(|()| (0.03 * stream.normal()).clamp(-0.15, 0.15)),
        }
    }

    /// Maps a point of the face frame to the picture, x to the right and y down in [-1, 1].
    ///
    /// The head is an ellipsoid with a nose. Turning it moves a point sideways by its depth, and foreshortens.
    pub(super) fn place(&self, [x, y]: Point) -> [f32; 2] {
        let depth = depth([x, y]);
        let turned =
            [x * self.yaw.cos() + depth * self.yaw.sin(), y * self.pitch.cos() + depth * self.pitch.sin()];
        let (sin, cos) = self.roll.sin_cos();
        [
            (self.shift[0] + self.scale * (turned[0] * cos - turned[1] * sin)) as f32,
            (self.shift[1] + self.scale * (turned[0] * sin + turned[1] * cos)) as f32,
        ]
    }
}

fn depth([x, y]: Point) -> f64 {
    let head = (1.0 - (x / 0.95).powi(2) - (y / 1.25).powi(2)).max(0.0).sqrt();
    let nose = (-(x / 0.12).powi(2) - ((y - 0.2) / 0.16).powi(2)).exp();
    0.5 * head + 0.18 * nose - 0.25
}
