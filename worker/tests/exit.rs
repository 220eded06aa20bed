//! The end of a worker while libtorch still computes on another thread, in a separate process, which may die.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use tch::{Device, Kind, Tensor};
use worker::native;

const CHILD: &str = "FERRY_TEST_EXIT";
const CODE: u8 = 7;

/// Computes for ever, and says so after each round.
fn compute(rounds: &Sender<()>) {
    let weights = Tensor::ones([8, 3, 3, 3], (Kind::Float, Device::Cpu));
    loop {
        let images = Tensor::ones([4, 3, 32, 32], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        images.conv2d(&weights, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1).sum(Kind::Float).backward();
        let _nobody_waits = rounds.send(());
    }
}

#[test]
fn a_process_ends_normally_while_a_thread_computes() {
    if std::env::var_os(CHILD).is_some() {
        for _ in 0..2 {
            let (sender, rounds) = channel();
            std::thread::spawn(move || compute(&sender));
            rounds.recv().unwrap();
        }
        native::exit(CODE);
    }
    for _ in 0..5 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_ends_normally_while_a_thread_computes"])
            .env(CHILD, "1")
            .output();
        let status = child.unwrap().status;
        assert_eq!(status.code(), Some(CODE.into()), "{status}");
    }
}
