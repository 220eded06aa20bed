//! Predictions joined with labels by image, scored, with confidence intervals. Pure.

mod bootstrap;
mod join;

pub(crate) use bootstrap::quantile;
pub use bootstrap::{Bootstrap, Interval, Intervals};
pub use join::{Joined, join};
