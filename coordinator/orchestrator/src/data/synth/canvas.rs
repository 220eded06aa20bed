//! Draws anti-aliased shapes: the only file that knows tiny-skia.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Mask, Paint, Path, PathBuilder, Pixmap,
    Point, SpreadMode, Stroke, Transform,
};

use super::identity::Rgb;

/// A square picture. Coordinates are in [-1, 1], x to the right and y down; lengths have the same unit.
pub(super) struct Canvas {
    pixels: Pixmap,
    half: f32,
}

impl Canvas {
    /// `None` if `size` is zero or far too large.
    pub(super) fn new(size: u32) -> Option<Self> {
        Some(Self { pixels: Pixmap::new(size, size)?, half: size as f32 / 2.0 })
    }

    /// The picture as H x W x 3 components in [0, 1].
    pub(super) fn into_rgb(self) -> Vec<f32> {
        let bytes = self.pixels.data().chunks_exact(4).flat_map(|rgba| &rgba[..3]);
        bytes.map(|&v| f32::from(v) / 255.0).collect()
    }

    /// Fills the smooth closed curve through `points`.
    pub(super) fn fill(&mut self, points: &[[f32; 2]], colour: Rgb, alpha: f32) {
        self.fill_path(self.curve(points, true), colour, alpha, None);
    }

    /// Fills the ellipse with the given centre and radii, turned by `angle` radians.
    pub(super) fn ellipse(&mut self, centre: [f32; 2], radii: [f32; 2], angle: f32, colour: Rgb, alpha: f32) {
        self.fill(&around(centre, radii, angle), colour, alpha);
    }

    /// Like [`Self::ellipse`], but only inside the curve through `window`.
    pub(super) fn ellipse_within(&mut self, window: &[[f32; 2]], centre: [f32; 2], radius: f32, colour: Rgb) {
        let size = self.pixels.width();
        let (Some(window), Some(mut mask)) = (self.curve(window, true), Mask::new(size, size)) else {
            return;
        };
        mask.fill_path(&window, FillRule::Winding, true, Transform::identity());
        let path = self.curve(&around(centre, [radius; 2], 0.0), true);
        self.fill_path(path, colour, 1.0, Some(&mask));
    }

    /// Draws the smooth open curve through `points`, `width` wide.
    pub(super) fn line(&mut self, points: &[[f32; 2]], width: f32, colour: Rgb, alpha: f32) {
        self.stroke_path(self.curve(points, false), width, colour, alpha);
    }

    /// Draws the smooth closed curve through `points`, `width` wide.
    pub(super) fn outline(&mut self, points: &[[f32; 2]], width: f32, colour: Rgb, alpha: f32) {
        self.stroke_path(self.curve(points, true), width, colour, alpha);
    }

    /// Covers the picture with a gradient between two points.
    pub(super) fn gradient(&mut self, [start, end]: [[f32; 2]; 2], colours: [Rgb; 2]) {
        let whole = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]].map(|p: [f32; 2]| self.pixel(p));
        let stops = vec![
            GradientStop::new(0.0, colour_of(colours[0], 1.0)),
            GradientStop::new(1.0, colour_of(colours[1], 1.0)),
        ];
        let (start, end) = (self.pixel(start), self.pixel(end));
        let shader = LinearGradient::new(start, end, stops, SpreadMode::Pad, Transform::identity());
        let mut path = PathBuilder::new();
        path.move_to(whole[0].x, whole[0].y);
        whole[1..].iter().for_each(|p| path.line_to(p.x, p.y));
        if let (Some(shader), Some(path)) = (shader, path.finish()) {
            let paint = Paint { shader, ..Paint::default() };
            self.pixels.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
        }
    }

    fn fill_path(&mut self, path: Option<Path>, colour: Rgb, alpha: f32, mask: Option<&Mask>) {
        if let Some(path) = path {
            let paint = paint(colour, alpha);
            self.pixels.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), mask);
        }
    }

    fn stroke_path(&mut self, path: Option<Path>, width: f32, colour: Rgb, alpha: f32) {
        if let Some(path) = path {
            let stroke = Stroke {
                width: width * self.half,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                ..Stroke::default()
            };
            self.pixels.stroke_path(&path, &paint(colour, alpha), &stroke, Transform::identity(), None);
        }
    }

    fn pixel(&self, [x, y]: [f32; 2]) -> Point {
        Point::from_xy((x + 1.0) * self.half, (y + 1.0) * self.half)
    }

    /// A Catmull-Rom spline as cubic Bézier curves.
    fn curve(&self, points: &[[f32; 2]], closed: bool) -> Option<Path> {
        let count = points.len();
        let at = |i: isize| {
            let last = count as isize - 1;
            let i = if closed { i.rem_euclid(count as isize) } else { i.clamp(0, last) };
            self.pixel(points[i as usize])
        };
        let mut path = PathBuilder::new();
        let start = at(0);
        path.move_to(start.x, start.y);
        let segments = if closed { count } else { count.checked_sub(1)? };
        for i in 0..segments as isize {
            let [before, from, to, after] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
            path.cubic_to(
                from.x + (to.x - before.x) / 6.0,
                from.y + (to.y - before.y) / 6.0,
                to.x - (after.x - from.x) / 6.0,
                to.y - (after.y - from.y) / 6.0,
                to.x,
                to.y,
            );
        }
        if closed {
            path.close();
        }
        path.finish()
    }
}

fn around(centre: [f32; 2], radii: [f32; 2], angle: f32) -> Vec<[f32; 2]> {
    let (sin, cos) = angle.sin_cos();
    (0..8)
        .map(|i| {
            let (y, x) = (std::f32::consts::TAU * i as f32 / 8.0).sin_cos();
            let (x, y) = (x * radii[0], y * radii[1]);
            [centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos]
        })
        .collect()
}

fn colour_of(rgb: Rgb, alpha: f32) -> Color {
    let [r, g, b] = rgb.map(|v| (v.clamp(0.0, 1.0) * 255.0) as u8);
    Color::from_rgba8(r, g, b, (alpha.clamp(0.0, 1.0) * 255.0) as u8)
}

fn paint(rgb: Rgb, alpha: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(colour_of(rgb, alpha));
    paint
}
