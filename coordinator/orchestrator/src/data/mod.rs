//! Datasets: draws faces, imports folders of images, and shows what a pack holds. No tensors.

pub mod duplicates;
pub mod import;
pub mod inspect;
pub mod sheet;
pub mod synth;
