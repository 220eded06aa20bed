//! The self-test: two training steps of a tiny network, whose losses are compared with known values.
//!
//! Weights and images are drawn from counters, so every device computes the same numbers up to rounding. It finds a
//! device that is missing, has no memory left or computes wrong numbers before the worker takes a job.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context, ensure};
use shared::causes::in_words;
use shared::expression::{CLASSES, LANDMARKS};
use shared::mtl::MtlSpec;
use shared::mtl::loss::{Augmentation, LossSpec};
use shared::mtl::network::{Backbone, NetworkSpec};
use shared::rng::{Purpose, Stream};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tokio::sync::oneshot;

use super::panics::panic_message;
use crate::data::Batch;
use crate::models::Mtl;
use crate::train::adam::Adam;
use crate::train::mixing::Mixing;
use crate::train::step::{DeviceBatch, Objective};
use crate::variables::Variables;

/// Cross-entropy, affinity, partition and landmark loss of both steps, computed in double precision on a CPU.
const EXPECTED: [f64; 8] = [
    5.210_087_789_369_78,
    75.977_827_905_105_6,
    0.038_864_109_221_084_34,
    0.830_214_589_610_557_4,
    4.609_823_826_237_131,
    54.559_212_187_360_77,
    0.075_979_958_065_916_47,
    0.762_595_634_943_921,
];

/// Accepted relative deviations: rounding of single precision on a CPU, of TF32 with other summation orders on a GPU.
const CPU_TOLERANCE: f64 = 2e-3;
const GPU_TOLERANCE: f64 = 3e-2;

/// Opening a device takes seconds. A device that takes longer than this is considered hung.
const LIMIT: Duration = Duration::from_mins(2);

const IMAGES: usize = 2 * CLASSES;
const SIZE: usize = 32;

/// Checks `device` on its own thread, because a device that hangs must not stop the worker's heartbeat.
///
/// # Errors
///
/// The device cannot be opened, computes wrong numbers, or hangs. The text says which.
pub(super) async fn run(device: Device) -> Result<(), String> {
    let (tell, told) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("self-test".to_owned()).spawn(move || {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| check(device)));
        let verdict = match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(in_words(error.as_ref())),
            Err(panic) => Err(panic_message(panic.as_ref())),
        };
        let _nobody_waits = tell.send(verdict);
    });
    let verdict = match spawned {
        Ok(_) => tokio::time::timeout(LIMIT, told).await,
        Err(error) => return Err(format!("the self-test cannot start: {error}")),
    };
    let name = crate::device::name(device);
    match verdict {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(reason))) => Err(format!("the self-test failed on {name}: {reason}")),
        Ok(Err(_)) => Err(format!("the self-test on {name} ended without a result")),
        Err(_) => Err(format!("the self-test on {name} did not end within {} s", LIMIT.as_secs())),
    }
}

/// Trains two steps on `device` and compares the losses with the expected ones.
fn check(device: Device) -> anyhow::Result<()> {
    // A tiny network gains nothing from more threads. On a busy machine they cost seconds: each waits for the slowest.
    tch::set_num_threads(1);
    let tolerance = match device {
        Device::Cuda(_) => GPU_TOLERANCE,
        Device::Cpu | Device::Mps | Device::Vulkan => CPU_TOLERANCE,
    };
    let seen = terms(device, Kind::Float)?;
    compare(&seen, tolerance)
}

fn compare(seen: &[f64], tolerance: f64) -> anyhow::Result<()> {
    for (number, (seen, expected)) in seen.iter().zip(EXPECTED).enumerate() {
        ensure!(
            (seen - expected).abs() <= tolerance * expected.abs(),
            "loss {number} of the known training steps is {seen}, not {expected}: this device computes wrong numbers"
        );
    }
    Ok(())
}

fn spec() -> MtlSpec {
    let network = NetworkSpec {
        backbone: Backbone::Resnet18,
        emotion_backbone: Backbone::Resnet18,
        width: 4,
        blocks: Some([1; 4]),
        heads: 2,
        ..NetworkSpec::default()
    };
    let loss = LossSpec { augmentation: Augmentation::Mixaug, ..LossSpec::default() };
    MtlSpec { network, loss, ..MtlSpec::default() }
}

/// The loss terms of both steps.
fn terms(device: Device, kind: Kind) -> anyhow::Result<Vec<f64>> {
    let spec = spec();
    let mut store = VarStore::new(device);
    let network = Mtl::new(&store.root(), &spec.network)?;
    if kind == Kind::Double {
        store.double();
    }
    let variables = Variables::of(&store);
    fill(&variables)?;
    let labels: Vec<u8> = (0..IMAGES).map(|image| (image % CLASSES) as u8).collect();
    let objective = Objective::with_kind(&spec, &labels, device, kind)?;
    let mut adam = Adam::new(&variables, &spec.training)?;
    let batch = DeviceBatch::new(&batch(), SIZE, device)?.to_kind(kind)?;
    let mixing = Mixing { lambda: 0.3, partners: (0..IMAGES as i64).rev().collect() };
    let mut all = Vec::new();
    for _ in 0..2 {
        let terms = objective.terms(&network, &batch, &mixing)?;
        adam.step(&terms.f_sum(kind)?, 1e-3)?;
        let host = terms.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        all.extend(Vec::<f64>::try_from(host).context("cannot read the losses from the device")?);
    }
    Ok(all)
}

/// A random stream whose seed nothing else uses.
fn stream(counters: &[u64]) -> Stream {
    Stream::new(0xCA_4A47, Purpose::Initialisation, counters)
}

/// Scales weights by their fan-in and sets norms near one, so that activations neither vanish nor explode.
fn fill(variables: &Variables) -> anyhow::Result<()> {
    for (number, (name, variable)) in (0..).zip(variables.iter()) {
        let mut draws = stream(&[0, number]);
        let shape = variable.size();
        let fan_in = shape.iter().skip(1).product::<i64>().max(1);
        let scale = if shape.len() >= 2 { (6.0 / fan_in as f64).sqrt() } else { 0.2 };
        let centre = if name.ends_with("running_var") || (shape.len() == 1 && name.ends_with("weight")) {
            1.0
        } else {
            0.0
        };
        let values: Vec<f64> =
            (0..variable.numel()).map(|_| centre + scale * draws.between(-0.5, 0.5)).collect();
        let values = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
        tch::no_grad(|| variable.shallow_clone().f_copy_(&values))?;
    }
    Ok(())
}

fn batch() -> Batch {
    let draw = |purpose: u64, count: usize| -> Vec<f32> {
        let mut draws = stream(&[1, purpose]);
        (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
    };
    Batch {
        emotion: draw(0, IMAGES * 3 * SIZE * SIZE),
        appearance: draw(1, IMAGES * 3 * SIZE * SIZE),
        labels: (0..IMAGES).map(|image| (image % CLASSES) as i64).collect(),
        landmarks: draw(2, IMAGES * LANDMARKS * 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_numbers_are_those_of_double_precision() {
        let seen = terms(Device::Cpu, Kind::Double).unwrap();
        compare(&seen, 1e-9).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
        assert!(seen[..4].iter().zip(&seen[4..]).any(|(first, second)| (first - second).abs() > 1e-3));
    }

    #[tokio::test]
    async fn a_good_device_passes_and_a_missing_one_does_not() {
        assert_eq!(run(Device::Cpu).await, Ok(()));
        let absent = Device::Cuda(63);
        let reason = run(absent).await.unwrap_err();
        assert!(reason.starts_with("the self-test failed on cuda:63"), "{reason}");
    }

    #[test]
    fn wrong_numbers_are_noticed() {
        for position in 0..EXPECTED.len() {
            let mut seen = EXPECTED;
            seen[position] *= 1.0 + 2.0 * GPU_TOLERANCE;
            assert!(compare(&seen, GPU_TOLERANCE).is_err());
            seen[position] = f64::NAN;
            assert!(compare(&seen, GPU_TOLERANCE).is_err());
        }
    }
}
