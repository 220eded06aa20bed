//! How many images each class gets.

use shared::expression::{CLASSES, Expression};

/// The challenge's training images per class (paper, Fig. 3).
const CHALLENGE: [u64; CLASSES] = [18_286, 15_150, 10_923, 73_285, 144_631, 14_976];

/// The expressions of `count` images in class order: in equal shares, or in the challenge's.
///
/// Every class gets at least one image if there are enough. Images left over by rounding go to the largest remainders.
pub(super) fn expressions(count: u32, imbalanced: bool) -> Vec<Expression> {
    let weights = if imbalanced { CHALLENGE } else { [1; CLASSES] };
    let counts = apportion(u64::from(count), weights);
    Expression::ALL.into_iter().zip(counts).flat_map(|(e, n)| std::iter::repeat_n(e, n as usize)).collect()
}

fn apportion(count: u64, weights: [u64; CLASSES]) -> [u64; CLASSES] {
    let least = u64::from(count >= CLASSES as u64);
    let (spare, total) = (count - least * CLASSES as u64, weights.iter().sum::<u64>());
    let mut counts = weights.map(|weight| least + spare * weight / total);
    let mut by_remainder: Vec<usize> = (0..CLASSES).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(spare * weights[class] % total));
    let missing = count - counts.iter().sum::<u64>();
    for &class in by_remainder.iter().take(missing as usize) {
        counts[class] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_follow_the_challenge() {
        assert_eq!(apportion(3000, [1; CLASSES]), [500; CLASSES]);
        assert_eq!(apportion(8, [1; CLASSES]), [2, 2, 1, 1, 1, 1]);
        assert_eq!(apportion(6, CHALLENGE), [1; CLASSES]);
        for count in [6, 7, 100, 2_999, 277_251] {
            assert_eq!(apportion(count, CHALLENGE).iter().sum::<u64>(), count);
        }
        let shares = apportion(10_000, CHALLENGE).map(|n| n as f64 / 10_000.0);
        for (share, paper) in shares.into_iter().zip([0.0660, 0.0546, 0.0394, 0.2643, 0.5217, 0.0540]) {
            assert!((share - paper).abs() < 0.001, "{shares:?}");
        }
    }

    #[test]
    fn classes_may_be_asked_for_by_the_handful() {
        assert!(expressions(0, true).is_empty());
        assert_eq!(expressions(3, false).len(), 3);
    }
}
