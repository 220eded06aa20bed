//! Pictures to pack: drawn faces, imported folders, and a look at what a pack holds. No tensors.

pub mod duplicates;
pub mod import;
pub mod inspect;
pub mod sheet;
pub mod synth;
