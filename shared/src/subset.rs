//! Stratified subsets: the part of the training split that a weak model sees (paper section 2.2, "Ensemble approach").

use crate::expression::CLASSES;
use crate::rng::{Purpose, Stream};

/// Draws `fraction` of each class without replacement; returns positions in `labels`, ascending.
///
/// The count per class is rounded half up, and is at least one if the class has any sample. Only integer draws are
/// used, so the same arguments give the same subset on every machine. A fraction of 1 keeps everything.
pub fn stratified(labels: &[u8], fraction: f64, seed: u64) -> Vec<usize> {
    if fraction >= 1.0 {
        return (0..labels.len()).collect();
    }
    let mut chosen: Vec<usize> =
        (0..CLASSES).flat_map(|class| of_class(labels, class, fraction, seed)).collect();
    chosen.sort_unstable();
    chosen
}

fn of_class(labels: &[u8], class: usize, fraction: f64, seed: u64) -> Vec<usize> {
    let mut members: Vec<usize> = labels
        .iter()
        .enumerate()
        .filter(|&(_, &label)| usize::from(label) == class)
        .map(|(i, _)| i)
        .collect();
    Stream::new(seed, Purpose::Subset, &[class as u64]).shuffle(&mut members);
    members.truncate(count(members.len(), fraction));
    members
}

/// How many of `members` samples a subset of `fraction` keeps.
pub fn count(members: usize, fraction: f64) -> usize {
    let rounded = (members as f64 * fraction + 0.5).floor() as usize;
    rounded.clamp(members.min(1), members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<u8> {
        [(0u8, 50), (1, 12), (2, 2), (3, 301), (5, 1)]
            .into_iter()
            .flat_map(|(class, n)| std::iter::repeat_n(class, n))
            .collect()
    }

    #[test]
    fn keeps_a_fifth_of_each_class_and_never_loses_a_class() {
        let labels = labels();
        let subset = stratified(&labels, 0.2, 3);
        let per_class = |class: u8| subset.iter().filter(|&&i| labels[i] == class).count();
        assert_eq!([0, 1, 2, 3, 4, 5].map(per_class), [10, 2, 1, 60, 0, 1]);
        assert!(subset.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn seeds_differ_and_repeat() {
        let labels = labels();
        assert_eq!(stratified(&labels, 0.2, 1), stratified(&labels, 0.2, 1));
        assert_ne!(stratified(&labels, 0.2, 1), stratified(&labels, 0.2, 2));
    }

    #[test]
    fn the_whole_set_is_the_whole_set() {
        let labels = labels();
        assert_eq!(stratified(&labels, 1.0, 9), (0..labels.len()).collect::<Vec<_>>());
    }
}
