//! Landmarks: every format that an import reads, one file per image and one table for all.
//!
//! The first byte selects the name of the file.
#![no_main]

use orchestrator::data::import::probe_landmarks;
use ferry_fuzz::input;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = ["1.txt", "1_kpt2d.txt", "1.pts", "1.csv", "1.npy", "1.npz"];

fuzz_target!(|data: &[u8]| {
    let Some((&name, content)) = data.split_first() else { return };
    let name = NAMES[usize::from(name) % NAMES.len()];
    probe_landmarks(&input::file(name, content));
});
