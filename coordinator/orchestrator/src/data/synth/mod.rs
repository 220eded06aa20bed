//! Draws faces by formula: a dataset that every machine can make without third-party images.
//!
//! An image is a pure function of seed, subject and image number, so images can be drawn in parallel. The 68 landmarks
//! are the points that the drawing itself goes through. No subject is in two splits.

mod canvas;
mod expression;
mod geometry;
mod identity;
mod paint;
mod pose;
mod scene;
mod shares;

#[cfg(test)]
mod tests;

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;
use shared::expression::{CLASSES, Expression};
use shared::pack::{Landmarks, PackError, PackWriter, Sample, Split};
use shared::rng::{Purpose, Stream};

use crate::sweep::plan::SyntheticOptions;
use canvas::Canvas;
use identity::Identity;
use paint::Head;
use pose::Pose;

/// Smallest and largest size that can be drawn.
const SIZES: std::ops::RangeInclusive<u32> = 16..=512;
/// Raise it whenever the same options draw other images, so that faces drawn earlier are not used in their place.
pub const REVISION: u32 = 1;
const IMAGES_PER_SUBJECT: u32 = 10;
/// How many images are drawn at once, to limit memory.
const BATCH: usize = 256;

/// Why a synthetic pack cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    #[error("image size {0} cannot be drawn; choose {min} to {max}", min = SIZES.start(), max = SIZES.end())]
    Size(u32),
    #[error("{0} {1} images are too few; ask for at least {least}, one per class", least = shared::expression::CLASSES)]
    TooFew(u32, Split),
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// Draws the pack that `options` describe into `dir` and returns its digest. Equal options give equal packs.
///
/// `progress` is called with the number of images written so far and their total. A pack at `dir` is replaced once the
/// new one is complete.
///
/// # Errors
/// When an option is out of range, or the pack cannot be written.
pub fn synthesize(
    dir: &Path,
    options: &SyntheticOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<String, SynthError> {
    let orders = plan(options)?;
    let provenance = json!({ "source": "synthetic faces", "options": options });
    let mut writer = PackWriter::create(dir, options.image_size, provenance)?;
    for (batch, orders) in orders.chunks(BATCH).enumerate() {
        let drawn: Option<Vec<Drawn>> =
            orders.par_iter().map(|order| draw(options.seed, options.image_size, order)).collect();
        let drawn = drawn.ok_or(SynthError::Size(options.image_size))?;
        for (order, drawn) in orders.iter().zip(&drawn) {
            writer.add(&Sample {
                split: order.split,
                id: &format!("{}/s{:05}/{:06}", order.split, order.subject, order.number),
                label: Some(order.expression as u8),
                landmarks: Some(&drawn.landmarks),
                pixels: &drawn.pixels,
            })?;
        }
        let done = (batch * BATCH + drawn.len()) as u64;
        progress(done, total(options));
    }
    Ok(writer.finish()?)
}

/// How many images of each class `split` has in the pack that `options` describe.
pub fn class_counts(options: &SyntheticOptions, split: Split) -> [u64; CLASSES] {
    let mut counts = [0; CLASSES];
    for expression in expressions(options, split) {
        counts[expression.index()] += 1;
    }
    counts
}

fn expressions(options: &SyntheticOptions, split: Split) -> Vec<Expression> {
    let count = [options.train, options.validation, options.test][split as usize];
    shares::expressions(count, options.imbalanced && split == Split::Train)
}

fn total(options: &SyntheticOptions) -> u64 {
    u64::from(options.train) + u64::from(options.validation) + u64::from(options.test)
}

/// One image to draw. Subjects are numbered over all splits, so no two splits share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    split: Split,
    number: u32,
    subject: u32,
    expression: Expression,
}

fn plan(options: &SyntheticOptions) -> Result<Vec<Order>, SynthError> {
    if !SIZES.contains(&options.image_size) {
        return Err(SynthError::Size(options.image_size));
    }
    let counts = [options.train, options.validation, options.test];
    let mut orders = Vec::new();
    let mut first_subject = 0;
    for (split, count) in Split::ALL.into_iter().zip(counts) {
        if (count as usize) < Expression::ALL.len() {
            return Err(SynthError::TooFew(count, split));
        }
        let mut expressions = expressions(options, split);
        Stream::new(options.seed, Purpose::SyntheticFace, &[0, split as u64]).shuffle(&mut expressions);
        let subjects = count.div_ceil(IMAGES_PER_SUBJECT);
        orders.extend((0..count).zip(expressions).map(|(number, expression)| Order {
            split,
            number,
            subject: first_subject + number % subjects,
            expression,
        }));
        first_subject += subjects;
    }
    Ok(orders)
}

#[derive(Debug)]
struct Drawn {
    landmarks: Landmarks,
    pixels: Vec<u8>,
}

/// `None` only for a size that no canvas has.
fn draw(seed: u64, size: u32, order: &Order) -> Option<Drawn> {
    let stream = |counters: &[u64]| Stream::new(seed, Purpose::SyntheticFace, counters);
    let identity = Identity::draw(&mut stream(&[1, u64::from(order.subject)]));
    let mut stream = stream(&[2, order.split as u64, u64::from(order.number)]);
    let sides = expression::draw(&mut stream, order.expression);
    let pose = Pose::draw(&mut stream);
    let landmarks = geometry::landmarks(&identity, &sides).map(|point| pose.place(point));
    let mut canvas = Canvas::new(size)?;
    scene::background(&mut stream, &mut canvas);
    let muscles = sides[0].mean(sides[1]);
    Head { identity: &identity, pose: &pose, muscles, landmarks: &landmarks }.paint(&mut canvas);
    scene::occlusion(&mut stream, &identity, &mut canvas);
    let pixels = scene::develop(&mut stream, canvas.into_rgb(), size as usize);
    Some(Drawn { landmarks, pixels })
}
