//! Paints the head from its geometry, back to front.

use shared::pack::Landmarks;

use super::canvas::Canvas;
use super::expression::{Muscles, Part};
use super::geometry::{Point, TEMPLE, crown};
use super::identity::{Identity, Rgb};
use super::pose::Pose;

const DARK: Rgb = [0.07, 0.04, 0.04];

/// One head to paint, with its landmarks in the picture.
pub(super) struct Head<'a> {
    pub(super) identity: &'a Identity,
    pub(super) pose: &'a Pose,
    pub(super) muscles: Muscles,
    pub(super) landmarks: &'a Landmarks,
}

impl Head<'_> {
    /// Paints hair behind the head, neck, face, features, hair in front, and glasses.
    pub(super) fn paint(&self, canvas: &mut Canvas) {
        self.behind(canvas);
        self.face(canvas);
        self.folds(canvas);
        self.nose(canvas);
        self.eye(canvas, 36);
        self.eye(canvas, 42);
        self.brows(canvas);
        self.mouth(canvas);
        self.hair(canvas);
        if self.identity.glasses {
            self.glasses(canvas);
        }
    }

    fn place(&self, points: impl IntoIterator<Item = Point>) -> Vec<[f32; 2]> {
        points.into_iter().map(|point| self.pose.place(point)).collect()
    }

    fn length(&self, face_units: f64) -> f32 {
        (face_units * self.pose.scale) as f32
    }

    fn behind(&self, canvas: &mut Canvas) {
        let id = self.identity;
        let width = id.face_width;
        if id.long_hair {
            let mut back = crown(id, 1.16);
            back.extend([
                [-1.15 * width, 0.5],
                [-1.1 * width, 1.15],
                [1.1 * width, 1.15],
                [1.15 * width, 0.5],
            ]);
            canvas.fill(&self.place(back), shade(id.hair, 0.8), 1.0);
        }
        let neck = [[-0.42, 0.5], [-0.45, 1.1], [-0.6, 1.7], [0.6, 1.7], [0.45, 1.1], [0.42, 0.5]];
        canvas.fill(&self.place(neck), shade(id.skin, 0.78), 1.0);
        for side in [-1.0, 1.0] {
            let ear = self.pose.place([side * width * 1.01, 0.0]);
            canvas.ellipse(ear, [self.length(0.09), self.length(0.17)], 0.0, shade(id.skin, 0.85), 1.0);
        }
    }

    fn face(&self, canvas: &mut Canvas) {
        let id = self.identity;
        let mut outline: Vec<[f32; 2]> = self.landmarks[..17].to_vec();
        let crown = crown(id, 1.0);
        outline.extend(self.place(crown[1..crown.len() - 1].iter().copied()));
        canvas.fill(&outline, id.skin, 1.0);
        canvas.outline(&outline, self.length(0.02), shade(id.skin, 0.6), 0.5);
        if id.beard > 0.0 {
            let mut beard: Vec<[f32; 2]> = self.landmarks[2..15].to_vec();
            let mouth = id.mouth_y;
            beard.extend(self.place([[0.5, 0.35], [0.3, mouth - 0.13], [-0.3, mouth - 0.13], [-0.5, 0.35]]));
            canvas.fill(&beard, id.hair, id.beard);
        }
    }

    /// Folds of the skin: beside a raised lip, and between brows that are drawn together.
    fn folds(&self, canvas: &mut Canvas) {
        let (id, muscles) = (self.identity, self.muscles);
        let line = shade(id.skin, 0.55);
        let cheek = muscles[Part::MouthCornersUp].max(muscles[Part::UpperLipUp]).max(0.0) as f32;
        for side in [-1.0, 1.0] {
            let fold = [[side * 0.2, 0.27], [side * 0.32, 0.38], [side * 0.4, id.mouth_y - 0.02]];
            canvas.line(&self.place(fold), self.length(0.025), line, 0.6 * cheek);
        }
        let frown = muscles[Part::BrowsTogether].max(muscles[Part::NoseWrinkled]).max(0.0) as f32;
        for x in [-0.05, 0.05] {
            let fold = [[x, id.eye_y - 0.16], [0.8 * x, id.eye_y - 0.02]];
            canvas.line(&self.place(fold), self.length(0.025), line, 0.6 * frown);
        }
        let wrinkle = muscles[Part::NoseWrinkled].max(0.0) as f32;
        for side in [-1.0, 1.0] {
            let fold = [[side * 0.03, id.eye_y + 0.1], [side * 0.12, id.eye_y + 0.04]];
            canvas.line(&self.place(fold), self.length(0.025), line, 0.6 * wrinkle);
        }
    }

    fn nose(&self, canvas: &mut Canvas) {
        let skin = self.identity.skin;
        let marks = self.landmarks;
        canvas.line(&[marks[27], marks[28], marks[29], marks[30]], self.length(0.05), shade(skin, 1.12), 0.5);
        canvas.line(&marks[31..36], self.length(0.03), shade(skin, 0.55), 0.9);
        canvas.line(&[marks[29], marks[31]], self.length(0.02), shade(skin, 0.7), 0.6);
        for nostril in [32, 34] {
            canvas.ellipse(marks[nostril], [self.length(0.025), self.length(0.016)], 0.0, DARK, 0.7);
        }
    }

    fn eye(&self, canvas: &mut Canvas, first: usize) {
        let id = self.identity;
        let lids = &self.landmarks[first..first + 6];
        canvas.fill(lids, [0.96, 0.96, 0.94], 1.0);
        let middle = midpoint(lids[0], lids[3]);
        canvas.ellipse_within(lids, middle, self.length(0.075), id.iris);
        canvas.ellipse_within(lids, middle, self.length(0.036), DARK);
        canvas.line(&lids[..4], self.length(0.028), DARK, 0.9);
        canvas.line(&[lids[3], lids[4], lids[5], lids[0]], self.length(0.014), shade(id.skin, 0.5), 0.8);
    }

    fn brows(&self, canvas: &mut Canvas) {
        let width = self.length(self.identity.brow_thickness);
        let colour = shade(self.identity.hair, 0.8);
        canvas.line(&self.landmarks[17..22], width, colour, 0.95);
        canvas.line(&self.landmarks[22..27], width, colour, 0.95);
    }

    fn mouth(&self, canvas: &mut Canvas) {
        let marks = self.landmarks;
        let (outer, inner) = (&marks[48..60], &marks[60..68]);
        canvas.fill(outer, self.identity.lips, 1.0);
        canvas.fill(inner, [0.25, 0.06, 0.07], 1.0);
        let gap = (marks[66][1] - marks[62][1]).hypot(marks[66][0] - marks[62][0]);
        if gap > self.length(0.05) {
            let down = |i: usize, share: f32| {
                let (upper, lower) = (marks[i], marks[128 - i]);
                [upper[0] + share * (lower[0] - upper[0]), upper[1] + share * (lower[1] - upper[1])]
            };
            let teeth = [marks[61], marks[62], marks[63], down(63, 0.3), down(62, 0.3), down(61, 0.3)];
            canvas.fill(&teeth, [0.95, 0.94, 0.90], 1.0);
        }
        canvas.line(&[marks[60], marks[61], marks[62], marks[63], marks[64]], self.length(0.018), DARK, 0.8);
    }

    fn hair(&self, canvas: &mut Canvas) {
        let id = self.identity;
        let mut hair = crown(id, 1.08);
        let steps = 6;
        hair.extend((0..=steps).map(|i| {
            let across = -1.0 + 2.0 * f64::from(i) / f64::from(steps);
            let fall = (id.hairline - TEMPLE) * (1.0 - across.powi(4)) + id.fringe * (1.0 - across.powi(2));
            [0.95 * id.face_width * across, TEMPLE + fall]
        }));
        canvas.fill(&self.place(hair), id.hair, 1.0);
    }

    fn glasses(&self, canvas: &mut Canvas) {
        let frame = [0.1, 0.1, 0.12];
        for first in [36, 42] {
            let middle = midpoint(self.landmarks[first], self.landmarks[first + 3]);
            let (x, y) = (self.length(0.22), self.length(0.17));
            let rim: Vec<[f32; 2]> = [(-x, -y), (x, -y), (x, y), (-x, y)]
                .map(|(dx, dy)| [middle[0] + dx, middle[1] + dy])
                .to_vec();
            canvas.fill(&rim, [0.85, 0.92, 1.0], 0.12);
            canvas.outline(&rim, self.length(0.03), frame, 0.9);
        }
        canvas.line(&[self.landmarks[39], self.landmarks[42]], self.length(0.03), frame, 0.9);
    }
}

/// The colour, lighter (`factor` above 1) or darker (below 1).
pub(super) fn shade(colour: Rgb, factor: f32) -> Rgb {
    colour.map(|v| (v * factor).clamp(0.0, 1.0))
}

fn midpoint(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [f32::midpoint(a[0], b[0]), f32::midpoint(a[1], b[1])]
}
