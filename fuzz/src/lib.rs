//! Shared by the fuzz targets: a limit on allocations, inputs as files, and a server that answers with the input.

pub mod input;
pub mod memory;
pub mod canned_server;

// Every program of this crate is instrumented and so needs the fuzzer's runtime.
use libfuzzer_sys as _;
