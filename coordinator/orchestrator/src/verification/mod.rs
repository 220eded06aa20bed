//! How well a job's training is reproduced: which part of it is trained again, and how that differs. Pure.

mod circumstances;
mod comparison;
mod section;

pub use circumstances::{Changed, Circumstances};
pub use comparison::{Comparison, Grade, Unequal, compare};
pub use section::{Evidence, NothingToCompare, Outcome, Section};
