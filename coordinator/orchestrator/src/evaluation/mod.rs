//! Predictions against labels: joined by image, scored, with an interval for the score. Pure.

mod bootstrap;
mod join;

pub use bootstrap::{Bootstrap, Interval, Intervals};
pub use join::{Joined, join};
