//! Drawn packs are reproducible, keep subjects apart, and show the label in the landmarks but not in anything simpler.

use std::collections::HashSet;
use std::path::Path;

use shared::expression::CLASSES;
use shared::pack::Pack;

use super::*;

const OPTIONS: SyntheticOptions =
    SyntheticOptions { seed: 3, train: 900, validation: 60, test: 420, image_size: 32, imbalanced: false };

fn drawn(dir: &Path, options: &SyntheticOptions) -> Pack {
    let digest = synthesize(dir, options, &mut |_, _| {}).unwrap();
    let pack = Pack::open(dir).unwrap();
    assert_eq!(pack.digest(), digest);
    pack
}

#[test]
fn equal_options_give_equal_packs_and_other_seeds_others() {
    let root = tempfile::tempdir().unwrap();
    let options = SyntheticOptions { train: 60, validation: 12, test: 12, ..OPTIONS };
    let first = drawn(&root.path().join("a"), &options);
    first.verify().unwrap();
    assert_eq!(drawn(&root.path().join("b"), &options).digest(), first.digest());
    let other = SyntheticOptions { seed: 4, ..options };
    assert_ne!(drawn(&root.path().join("c"), &other).digest(), first.digest());
}

#[test]
fn subjects_are_of_one_split_only() {
    let orders = plan(&OPTIONS).unwrap();
    let subjects = |split| -> HashSet<u32> {
        orders.iter().filter(|order| order.split == split).map(|order| order.subject).collect()
    };
    let [train, validation, test] = Split::ALL.map(subjects);
    assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
    assert_eq!([train.len(), validation.len(), test.len()], [90, 6, 42]);
}

#[test]
fn only_training_is_imbalanced_on_request() {
    let orders = plan(&SyntheticOptions { imbalanced: true, ..OPTIONS }).unwrap();
    let count = |split, expression| {
        orders.iter().filter(|order| order.split == split && order.expression == expression).count()
    };
    assert!(count(Split::Train, Expression::Sadness) > 10 * count(Split::Train, Expression::Fear));
    assert_eq!(count(Split::Test, Expression::Sadness), 70);
}

#[test]
fn impossible_options_are_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pack");
    let refuse = |options| synthesize(&dir, &options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(refuse(SyntheticOptions { image_size: 8, ..OPTIONS }), SynthError::Size(8)));
    assert!(matches!(refuse(SyntheticOptions { test: 0, ..OPTIONS }), SynthError::TooFew(0, Split::Test)));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn progress_ends_at_the_total() {
    let root = tempfile::tempdir().unwrap();
    let options = SyntheticOptions { train: 300, validation: 6, test: 6, image_size: 16, ..OPTIONS };
    let mut heard = Vec::new();
    synthesize(&root.path().join("pack"), &options, &mut |done, total| heard.push((done, total))).unwrap();
    assert_eq!(heard, [(256, 312), (312, 312)]);
}

#[test]
fn landmarks_are_in_the_usual_order_and_mostly_in_the_picture() {
    let mut inside = 0;
    let orders = plan(&OPTIONS).unwrap();
    for order in &orders[..200] {
        let marks = draw(OPTIONS.seed, OPTIONS.image_size, order).unwrap().landmarks;
        inside += marks.iter().flatten().filter(|v| v.abs() <= 1.0).count();
        let mean = |range: std::ops::Range<usize>, axis: usize| {
            range.clone().map(|i| marks[i][axis]).sum::<f32>() / range.len() as f32
        };
        // The left brow and eye are left of the right ones; from top to bottom: brows, eyes, nose, mouth, chin.
        assert!(mean(17..22, 0) < mean(22..27, 0) && mean(36..42, 0) < mean(42..48, 0));
        let heights = [mean(17..27, 1), mean(36..48, 1), mean(31..36, 1), mean(48..68, 1), marks[8][1]];
        assert!(heights.is_sorted(), "{heights:?}");
        assert!(marks[48][0] < marks[54][0] && marks[60][0] < marks[64][0] && marks[0][0] < marks[16][0]);
    }
    assert!(inside > 200 * 136 * 97 / 100, "{inside}");
}

#[test]
fn the_label_is_in_the_landmarks_and_not_in_colour_size_or_place() {
    let root = tempfile::tempdir().unwrap();
    let pack = drawn(&root.path().join("pack"), &OPTIONS);
    let by_shape = accuracy(&pack, shape);
    let by_surface = accuracy(&pack, surface);
    assert!(by_shape > 0.45, "landmarks reach {by_shape:.3}");
    assert!(by_surface < 0.25, "colour, size and place reach {by_surface:.3}");
}

/// Landmarks without place, size and roll: the eyes' outer corners are moved to (-1, 0) and (1, 0).
fn shape(pack: &Pack, split: Split, i: usize) -> Vec<f64> {
    let marks = pack.landmarks(split, i).unwrap().map(|point| point.map(f64::from));
    let (left, right) = (marks[36], marks[45]);
    let centre = [f64::midpoint(left[0], right[0]), f64::midpoint(left[1], right[1])];
    let axis = [(right[0] - left[0]) / 2.0, (right[1] - left[1]) / 2.0];
    let norm = axis[0].powi(2) + axis[1].powi(2);
    let normal = |point: [f64; 2]| {
        let [x, y] = [point[0] - centre[0], point[1] - centre[1]];
        [(x * axis[0] + y * axis[1]) / norm, (y * axis[0] - x * axis[1]) / norm]
    };
    marks.into_iter().flat_map(normal).collect()
}

/// Mean colour, width, height and centre of the face.
fn surface(pack: &Pack, split: Split, i: usize) -> Vec<f64> {
    let pixels = pack.image(split, i);
    let count = (pixels.len() / 3) as f64;
    let mean = |c: usize| pixels.iter().skip(c).step_by(3).map(|&v| f64::from(v)).sum::<f64>() / count;
    let marks = pack.landmarks(split, i).unwrap().map(|point| point.map(f64::from));
    let width = marks[16][0] - marks[0][0];
    let centre = [f64::midpoint(marks[36][0], marks[45][0]), f64::midpoint(marks[36][1], marks[45][1])];
    vec![mean(0), mean(1), mean(2), width, centre[0], centre[1]]
}

/// Accuracy on the test split of multinomial logistic regression on standardised features of the training split.
fn accuracy(pack: &Pack, feature: fn(&Pack, Split, usize) -> Vec<f64>) -> f64 {
    let rows = |split| (0..pack.len(split)).map(|i| feature(pack, split, i)).collect::<Vec<_>>();
    let (mut train, mut test) = (rows(Split::Train), rows(Split::Test));
    standardise(&mut train, &mut test);
    let labels = |split| pack.labels(split).iter().map(|l| usize::from(l.unwrap())).collect::<Vec<_>>();
    let weights = fit(&train, &labels(Split::Train));
    let hits = test.iter().zip(labels(Split::Test)).filter(|(row, label)| {
        let scores = scores(&weights, row);
        (0..CLASSES).all(|class| scores[class] <= scores[*label])
    });
    hits.count() as f64 / test.len() as f64
}

fn standardise(train: &mut [Vec<f64>], test: &mut [Vec<f64>]) {
    for column in 0..train[0].len() {
        let count = train.len() as f64;
        let mean = train.iter().map(|row| row[column]).sum::<f64>() / count;
        let variance = train.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / count;
        for row in train.iter_mut().chain(test.iter_mut()) {
            row[column] = (row[column] - mean) / variance.sqrt().max(1e-9);
        }
    }
    train.iter_mut().chain(test).for_each(|row| row.push(1.0));
}

fn scores(weights: &[Vec<f64>], row: &[f64]) -> [f64; CLASSES] {
    std::array::from_fn(|class| weights[class].iter().zip(row).map(|(w, x)| w * x).sum())
}

fn fit(rows: &[Vec<f64>], labels: &[usize]) -> Vec<Vec<f64>> {
    let mut weights = vec![vec![0.0; rows[0].len()]; CLASSES];
    for epoch in 0..30 {
        let rate = 0.02 / (1.0 + f64::from(epoch) / 5.0);
        for (row, &label) in rows.iter().zip(labels) {
            let scores = scores(&weights, row);
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let odds = scores.map(|score| (score - most).exp());
            let sum: f64 = odds.iter().sum();
            for class in 0..CLASSES {
                let error = odds[class] / sum - f64::from(u8::from(class == label));
                weights[class].iter_mut().zip(row).for_each(|(w, x)| *w -= rate * (error * x + 1e-3 * *w));
            }
        }
    }
    weights
}
