//! Tests the checks of `ferry-lab gpu-check`, as far as a CPU can run them.
//!
//! They run in a separate process, because libtorch has one random generator per process and other tests use it too.

use std::process::Command;

#[test]
fn all_checks_that_can_run_on_a_cpu_pass() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_ferry-lab"));
    let output = check.args(["gpu-check", "--device", "cpu"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let passed = report.lines().filter(|line| line.starts_with("pass ")).count();
    assert!(output.status.success() && passed == 5, "{report}");
}
