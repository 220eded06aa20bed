//! Imports weights: reads files of other programs without executing anything, renames the tensors, and loads them
//! strictly.
//!
//! `source` reads a file in any format, `wrapper` finds the state dict in it, `layout` recognises its names, `convert`
//! writes Ferry's own file (docs/weights.md), and `load` fills a part of a network from one: all of it or nothing.

mod containers;
pub mod content;
pub mod convert;
mod dtype;
mod fragments;
pub mod layout;
pub mod load;
mod numpy;
mod pickle;
pub mod source;
mod wrapper;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use dtype::Dtype;
pub use source::Source;
