//! A built program finds libtorch without any environment variable.

use std::process::Command;

use tch::Tensor;

#[test]
fn libtorch_computes() {
    let sum = Tensor::from_slice(&[1.5f32, 2.0, 3.0]).sum(tch::Kind::Float);
    assert_eq!(sum.double_value(&[]).to_bits(), 6.5f64.to_bits());
}

/// Case 11: another libtorch on the library path, as in a conda environment, is not used, nor are its other libraries.
#[test]
fn a_foreign_libtorch_on_the_library_path_is_not_taken() {
    let foreign = tempfile::tempdir().unwrap();
    for name in ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1"] {
        // Loading one of these ends the program with "file too short" or "invalid ELF header".
        std::fs::write(foreign.path().join(name), "not a library").unwrap();
    }
    let worker = env!("CARGO_BIN_EXE_ferry-worker");
    let output = Command::new(worker).arg("devices").env("LD_LIBRARY_PATH", foreign.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tests = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "libtorch_computes"])
        .env("LD_LIBRARY_PATH", foreign.path())
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
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
