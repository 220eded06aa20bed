//! The loss terms, one per file; each is a scalar (paper section 2).

pub mod affinity;
pub mod landmark;
pub mod mix;
pub mod partition;

pub use affinity::{affinity, affinity_pair};
pub use landmark::landmark;
pub use mix::{cross_entropy, mix_augment_cross_entropy, pair_cross_entropy};
pub use partition::partition;
