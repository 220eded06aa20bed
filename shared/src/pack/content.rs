//! The content digest: what makes two packs the same dataset.

use sha2::{Digest, Sha256};

use super::{Landmarks, Sample};

/// SHA-256 over image size, then split, id, label, landmarks and pixels of every sample in order.
#[derive(Debug, Clone)]
pub(super) struct ContentDigest(Sha256);

impl ContentDigest {
    pub(super) fn new(image_size: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"ferry pack 1\0");
        hash.update(image_size.to_le_bytes());
        Self(hash)
    }

    /// Every variable-length part is preceded by its length or presence, so no two contents share an encoding.
    pub(super) fn add(&mut self, sample: &Sample<'_>) {
        self.0.update([sample.split as u8]);
        self.0.update((sample.id.len() as u64).to_le_bytes());
        self.0.update(sample.id.as_bytes());
        self.0.update([sample.label.map_or(u8::MAX, |class| class), u8::from(sample.landmarks.is_some())]);
        if let Some(landmarks) = sample.landmarks {
            self.0.update(encode(landmarks));
        }
        self.0.update(sample.pixels);
    }

    pub(super) fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// Landmarks as stored: x, y of each point, little-endian f32.
pub(super) fn encode(landmarks: &Landmarks) -> Vec<u8> {
    landmarks.iter().flatten().flat_map(|v| v.to_le_bytes()).collect()
}

/// The inverse of [`encode`]; `bytes` must hold exactly one record.
pub(super) fn decode(bytes: &[u8]) -> Landmarks {
    let value = |i: usize| f32::from_le_bytes(std::array::from_fn(|b| bytes[4 * i + b]));
    std::array::from_fn(|point| [value(2 * point), value(2 * point + 1)])
}
