//! The checks of `ferry-lab gpu-check` themselves, as far as a CPU can run them.
//!
//! In a process of its own: libtorch draws all weights from one generator, and other tests of a process draw, too.

use std::process::Command;

#[test]
fn on_a_cpu_what_can_run_passes() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_ferry-lab"));
    let output = check.args(["gpu-check", "--device", "cpu"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let passed = report.lines().filter(|line| line.starts_with("pass ")).count();
    assert!(output.status.success() && passed == 5, "{report}");
}
