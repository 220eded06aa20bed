//! Weights in: files of other programs read without executing anything, renamed to Ferry's names, loaded strictly.
//!
//! `source` reads a file in any format, `wrapper` finds the state dict in it, `layout` knows whose names it has,
//! `convert` writes Ferry's own file (docs/weights.md), `load` fills a part of a network from one:
//! all of it or nothing.

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
