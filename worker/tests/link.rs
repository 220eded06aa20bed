//! A built program finds libtorch with nothing exported.

use std::process::Command;

use tch::Tensor;

#[test]
fn libtorch_computes() {
    let sum = Tensor::from_slice(&[1.5f32, 2.0, 3.0]).sum(tch::Kind::Float);
    assert_eq!(sum.double_value(&[]).to_bits(), 6.5f64.to_bits());
}

#[test]
fn a_program_starts_without_a_library_path() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "libtorch_computes"])
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}
