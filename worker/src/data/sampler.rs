//! Which samples form which batch: a seeded shuffle per epoch.

use shared::rng::{Purpose, Stream};

/// The batches of epoch `epoch` over samples 0..`count`, in order. Every sample is in exactly one batch.
///
/// The last batch may be smaller. A single remaining sample joins the batch before it, because the batch statistics of
/// one sample are undefined.
pub fn batches(count: usize, batch_size: usize, seed: u64, epoch: u32) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    Stream::new(seed, Purpose::Shuffle, &[u64::from(epoch)]).shuffle(&mut order);
    let mut batches: Vec<Vec<usize>> = order.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect();
    if batches.len() > 1 && batches.last().is_some_and(|last| last.len() == 1) {
        let single = batches.pop().unwrap_or_default();
        batches.last_mut().into_iter().for_each(|last| last.extend(&single));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(count: usize, batch_size: usize) -> Vec<usize> {
        batches(count, batch_size, 1, 1).iter().map(Vec::len).collect()
    }

    #[test]
    fn every_sample_comes_once_and_each_epoch_and_seed_has_its_order() {
        let first = batches(50, 8, 1, 1);
        let mut all = first.concat();
        assert_ne!(all, (0..50).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert_eq!(first, batches(50, 8, 1, 1));
        assert_ne!(first, batches(50, 8, 1, 2));
        assert_ne!(first, batches(50, 8, 2, 1));
    }

    #[test]
    fn no_batch_is_a_single_sample() {
        assert_eq!(sizes(17, 8), [8, 9]);
        assert_eq!(sizes(18, 8), [8, 8, 2]);
        assert_eq!(sizes(16, 8), [8, 8]);
        assert_eq!(sizes(3, 2), [3]);
        assert_eq!(sizes(0, 8), [0usize; 0]);
    }
}
