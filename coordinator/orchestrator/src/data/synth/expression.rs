//! How an expression moves the face: a few parts, each displaced in proportion to the intensity.
//!
//! The parts follow the facial action units that are usual for the six basic expressions (Ekman and Friesen),
//! reduced to what a drawing can show.

use std::ops::Index;

use shared::expression::{CLASSES, Expression};
use shared::rng::Stream;

/// A moving part. Zero is at rest; one is about the full movement in the direction that the name says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    InnerBrowUp,
    OuterBrowUp,
    BrowsTogether,
    UpperLidUp,
    LowerLidUp,
    NoseWrinkled,
    MouthCornersUp,
    MouthWide,
    MouthOpen,
    UpperLipUp,
    LipsPressed,
}

const PARTS: usize = 11;

/// The displacement of every part, on one side of the face.
#[derive(Debug, Clone, Copy)]
pub(super) struct Muscles([f64; PARTS]);

impl Index<Part> for Muscles {
    type Output = f64;

    fn index(&self, part: Part) -> &f64 {
        &self.0[part as usize]
    }
}

impl Muscles {
    pub(super) fn mean(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| f64::midpoint(self.0[i], other.0[i])))
    }
}

/// For each class two ways to show it at full intensity, with values in the order of [`Part`].
#[rustfmt::skip]
const WAYS: [[[f64; PARTS]; 2]; CLASSES] = [
    // inner  outer  together upper  lower  nose  corners wide   open  lip   pressed
    [[-0.95,  0.15,  1.00,   0.10,  0.45,  0.15, -0.30, -0.20,  0.00, 0.00,  1.00],  // Anger: lips pressed
     [-0.95,  0.20,  0.90,   0.30,  0.30,  0.30, -0.25,  0.25,  0.35, 0.30,  0.30]], // Anger: shouting
    [[-0.55, -0.15,  0.45,  -0.50,  0.65,  1.00, -0.35, -0.10,  0.05, 0.90,  0.10],  // Disgust: nose wrinkled
     [-0.50, -0.10,  0.40,  -0.60,  0.55,  0.90, -0.50,  0.10,  0.30, 1.00,  0.00]], // Disgust: mouth open
    [[ 0.90,  0.35,  0.60,   0.90,  0.05,  0.00, -0.30,  0.50,  0.40, 0.10,  0.00],  // Fear: lips stretched
     [ 0.80,  0.50,  0.45,   1.00,  0.00,  0.00, -0.20,  0.20,  0.60, 0.15,  0.00]], // Fear: gasping
    [[ 0.05,  0.05,  0.00,  -0.25,  0.65,  0.05,  1.00,  0.65,  0.05, 0.10,  0.15],  // Happiness: smile
     [ 0.10,  0.10,  0.00,  -0.20,  0.70,  0.10,  0.90,  0.75,  0.45, 0.25,  0.00]], // Happiness: laugh
    [[ 0.75, -0.40,  0.35,  -0.40,  0.10,  0.00, -0.80, -0.15,  0.00, 0.00,  0.25],  // Sadness: corners down
     [ 0.60, -0.30,  0.50,  -0.60,  0.30,  0.05, -0.65,  0.00,  0.12, 0.05,  0.00]], // Sadness: near tears
    [[ 0.95,  0.95,  0.00,   0.90,  0.00,  0.00,  0.00, -0.40,  0.95, 0.00,  0.00],  // Surprise: jaw dropped
     [ 0.80,  0.90,  0.00,   0.70,  0.00,  0.00,  0.10, -0.20,  0.50, 0.05,  0.00]], // Surprise: mild
];

/// The expression that people most often confuse it with.
const fn rival(expression: Expression) -> Expression {
    match expression {
        Expression::Anger | Expression::Sadness => Expression::Disgust,
        Expression::Disgust => Expression::Anger,
        Expression::Fear => Expression::Surprise,
        Expression::Happiness | Expression::Surprise => Expression::Fear,
    }
}

const WEAKEST: f64 = 0.9;
const MOST_RIVAL: f64 = 0.1;
const PART_NOISE: f64 = 0.06;
const ASYMMETRY: f64 = 0.1;

/// Draws how one face shows `expression`: the left and the right side (of the picture).
pub(super) fn draw(stream: &mut Stream, expression: Expression) -> [Muscles; 2] {
    let intensity = stream.between(WEAKEST, 1.0);
    let way = WAYS[expression.index()][stream.below(2) as usize];
    let other = WAYS[rival(expression).index()][stream.below(2) as usize];
    let share = stream.between(0.0, MOST_RIVAL);
    let whole: [f64; PARTS] = std::array::from_fn(|part| {
        intensity * ((1.0 - share) * way[part] + share * other[part]) + PART_NOISE * stream.normal()
    });
    [(); 2].map(|()| {
        Muscles(whole.map(|v| v * (1.0 + ASYMMETRY * stream.normal()) + 0.25 * PART_NOISE * stream.normal()))
    })
}
