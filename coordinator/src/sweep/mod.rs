//! Sweep files: what they may say, and the plan that follows from one.

pub mod plan;
