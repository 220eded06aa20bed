//! A convolution that crashes PyTorch, in a separate process, which may die.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use worker::models::blocks::{Conv, Init, Window};
use worker::native::channels_last;

const CHILD: &str = "FERRY_TEST_NARROW_CONVOLUTION";

fn back_propagate(channels: i64, side: i64) {
    let store = VarStore::new(Device::Cpu);
    let conv = Conv::new(&store.root(), Window::square(channels, 16, 1).stride(2), Init::Uniform);
    for _ in 0..3 {
        let images = Tensor::ones([8, channels, side, side], (Kind::Float, Device::Cpu));
        let images = channels_last(&images).unwrap().set_requires_grad(true);
        conv.forward(&images).sum(Kind::Float).backward();
        assert_eq!(images.grad().isfinite().all().int64_value(&[]), 1);
    }
}

/// Case 23: the backward pass of a narrow 1×1 convolution with stride 2, its channels innermost.
#[test]
fn a_narrow_convolution_survives_its_backward_pass() {
    if std::env::var_os(CHILD).is_some() {
        for (channels, side) in [(4, 56), (8, 56), (3, 48), (6, 48), (4, 48), (2, 56)] {
            back_propagate(channels, side);
        }
        // With AVX-512 the bug is known only for large maps.
        if !std::is_x86_feature_detected!("avx512f") {
            for (channels, side) in [(4, 24), (3, 24), (2, 8), (7, 12)] {
                back_propagate(channels, side);
            }
        }
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_narrow_convolution_survives_its_backward_pass"])
        .env(CHILD, "1")
        .output();
    let output = child.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{:?}: {said}", output.status.signal());
}
