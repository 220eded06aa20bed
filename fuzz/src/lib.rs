//! What the fuzz targets share: a bound on memory, a file to write inputs to, a server that answers with the input.

pub mod input;
pub mod memory;
pub mod postbox;

// Every program of this crate is instrumented and so needs the fuzzer's runtime.
use libfuzzer_sys as _;
