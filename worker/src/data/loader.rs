//! The training batches of an epoch, prepared ahead of time on their own thread.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use shared::expression::LANDMARKS;
use shared::mtl::MtlSpec;
use shared::pack::{Pack, Split};
use shared::subset;

use super::frames::{FrameError, Frames};
use super::sampler;
use super::views::{BatchPosition, Views};

/// Finished batches that may wait for the consumer while the next one is prepared.
const AHEAD: usize = 2;

/// One training batch of B samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[B, 3, S, S]`.
    pub emotion: Vec<f32>,
    /// `[B, 3, S, S]`.
    pub appearance: Vec<f32>,
    /// `[B]`, class indices.
    pub labels: Vec<i64>,
    /// `[B, 68, 2]`.
    pub landmarks: Vec<f32>,
}

/// A job's training subset, and the settings by which its batches are prepared.
#[derive(Debug)]
pub struct TrainingSet<'a> {
    pack: &'a Pack,
    frames: Frames<'a>,
    labels: Vec<u8>,
    views: Views,
    batch_size: usize,
    seed: u64,
}

impl<'a> TrainingSet<'a> {
    /// The subset of `pack` that `spec` asks for.
    ///
    /// # Errors
    ///
    /// An image cannot be resized.
    pub fn new(pack: &'a Pack, spec: &MtlSpec) -> Result<Self, FrameError> {
        // Every training sample of a pack has a label.
        let all: Vec<u8> = pack.labels(Split::Train).iter().copied().flatten().collect();
        let positions = subset::stratified(&all, spec.subset.subset_fraction, spec.subset.subset_seed);
        let labels = positions.iter().map(|&position| all[position]).collect();
        Ok(Self {
            pack,
            frames: Frames::new(pack, Split::Train, positions, spec.augment.image_size)?,
            labels,
            views: Views::new(&spec.augment, spec.training.seed),
            batch_size: spec.training.batch_size as usize,
            seed: spec.training.seed,
        })
    }

    /// Class index of each sample of the subset.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The position of a member of the subset in the training split.
    pub fn position(&self, member: usize) -> usize {
        self.frames.position(member)
    }

    /// Members of each batch of `epoch` (from 1), as indices into the subset.
    pub fn order(&self, epoch: u32) -> Vec<Vec<usize>> {
        sampler::batches(self.labels.len(), self.batch_size, self.seed, epoch)
    }

    /// Batch number `batch` of `epoch`.
    ///
    /// # Errors
    ///
    /// An image cannot be resized.
    pub fn batch(&self, epoch: u32, batch: usize, members: &[usize]) -> Result<Batch, FrameError> {
        let length = self.views.len();
        let [mut emotion, mut appearance] =
            [vec![0.0; members.len() * length], vec![0.0; members.len() * length]];
        let views = emotion.chunks_exact_mut(length).zip(appearance.chunks_exact_mut(length));
        let mut landmarks = Vec::with_capacity(members.len() * LANDMARKS * 2);
        for (&member, (emotion, appearance)) in members.iter().zip(views) {
            let sample = self.frames.position(member);
            self.views.training(
                &self.frames.image(member)?,
                BatchPosition { epoch, batch, sample },
                emotion,
                appearance,
            );
            // Every training sample of a pack has landmarks.
            landmarks.extend(self.pack.landmarks(Split::Train, sample).iter().flatten().flatten());
        }
        let labels = members.iter().map(|&member| i64::from(self.labels[member])).collect();
        Ok(Batch { emotion, appearance, labels, landmarks })
    }

    /// The batches of `epoch` in order, starting with number `first` (from 0). A thread of `scope` prepares them a few
    /// batches ahead of the receiver, and ends when the receiver is dropped.
    pub fn load<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        epoch: u32,
        first: usize,
    ) -> Receiver<Result<Batch, FrameError>> {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            for (number, members) in self.order(epoch).iter().enumerate().skip(first) {
                if sender.send(self.batch(epoch, number, members)).is_err() {
                    return; // The consumer is gone.
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "landmarks pass through unchanged")]

    use super::*;
    use serde_json::Value;
    use shared::mtl::augment::AugmentSpec;
    use shared::mtl::training::TrainingSpec;
    use shared::pack::{PackWriter, Sample};
    use tempfile::TempDir;

    const STORED: u32 = 20;

    /// A pack in which the colour and the landmarks of every sample are its number.
    fn pack(count: u8) -> (TempDir, Pack) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::create(&folder.path().join("pack"), STORED, Value::Null).unwrap();
        for number in 0..count {
            let pixels = vec![number; (STORED * STORED * 3) as usize];
            writer
                .add(&Sample {
                    split: Split::Train,
                    id: &number.to_string(),
                    label: Some(number % 6),
                    landmarks: Some(&[[f32::from(number); 2]; LANDMARKS]),
                    pixels: &pixels,
                })
                .unwrap();
        }
        writer.finish().unwrap();
        let pack = Pack::open(&folder.path().join("pack")).unwrap();
        (folder, pack)
    }

    fn spec(image_size: u32) -> MtlSpec {
        MtlSpec {
            augment: AugmentSpec { image_size, basic_augmentation: false, ..AugmentSpec::default() },
            training: TrainingSpec { batch_size: 4, ..TrainingSpec::default() },
            ..MtlSpec::default()
        }
    }

    #[test]
    fn batches_arrive_in_order_and_each_row_is_one_sample() {
        let (_folder, pack) = pack(17);
        for size in [STORED, 16] {
            let set = TrainingSet::new(&pack, &spec(size)).unwrap();
            let order = set.order(1);
            assert_eq!(order.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4, 5]);
            let batches: Vec<Batch> =
                std::thread::scope(|scope| set.load(scope, 1, 0).into_iter().map(Result::unwrap).collect());
            assert_eq!(batches.len(), order.len());
            for (batch, members) in batches.iter().zip(&order) {
                let length = 3 * (size * size) as usize;
                assert_eq!(batch.appearance.len(), members.len() * length);
                for (row, &member) in members.iter().enumerate() {
                    assert_eq!(batch.labels[row], member as i64 % 6);
                    assert_eq!(batch.landmarks[row * LANDMARKS * 2], member as f32);
                    let red = batch.emotion[row * length] * 0.229 + 0.485;
                    assert!((red * 255.0 - member as f32).abs() < 1e-3, "{red} for {member}");
                }
            }
        }
    }

    #[test]
    fn an_epoch_can_start_in_the_middle() {
        let (_folder, pack) = pack(17);
        let set = TrainingSet::new(&pack, &spec(16)).unwrap();
        let from = |first: usize| -> Vec<Batch> {
            std::thread::scope(|scope| set.load(scope, 2, first).into_iter().map(Result::unwrap).collect())
        };
        let whole = from(0);
        assert_eq!(from(2), whole[2..]);
        assert_eq!(from(4), []);
    }

    #[test]
    fn a_batch_depends_on_its_position_only() {
        let (_folder, pack) = pack(12);
        let set = TrainingSet::new(&pack, &spec(16)).unwrap();
        assert_eq!(set.batch(2, 1, &[3, 5]).unwrap(), set.batch(2, 1, &[3, 5]).unwrap());
        assert_ne!(set.batch(2, 1, &[3, 5]).unwrap(), set.batch(3, 1, &[3, 5]).unwrap());
    }

    #[test]
    fn the_thread_ends_when_the_consumer_goes() {
        let (_folder, pack) = pack(60);
        let set = TrainingSet::new(&pack, &spec(16)).unwrap();
        // The scope returns only after the thread has ended.
        let first = std::thread::scope(|scope| set.load(scope, 1, 0).recv().unwrap().unwrap());
        assert_eq!(first.labels.len(), 4);
    }

    #[test]
    fn a_subset_keeps_the_positions_of_its_samples() {
        let (_folder, pack) = pack(60);
        let mut spec = spec(STORED);
        spec.subset.subset_fraction = 0.2;
        let set = TrainingSet::new(&pack, &spec).unwrap();
        assert_eq!(set.labels().len(), 12);
        let batch = set.batch(1, 0, &[5]).unwrap();
        let position = set.frames.position(5);
        assert_eq!(batch.landmarks[0], position as f32);
        assert_eq!(batch.labels[0], position as i64 % 6);
    }
}
