//! Checks of a GPU's memory: pinned copies, statistics, running out of memory.

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::Seen;
use super::step::Bench;
use worker::native;

const MIB: u64 = 1 << 20;

/// Many copies at the same time. If one overwrote another, their numbers would be mixed up.
pub(super) fn pinned(device: Device) -> anyhow::Result<Seen> {
    const COUNT: usize = 64;
    const LENGTH: usize = 1 << 20;
    if device == Device::Cpu {
        return Ok(Seen::NotHere);
    }
    let mut copies = Vec::new();
    let mut all_pinned = true;
    for number in 0..COUNT {
        let host = native::pinned(&vec![number as f32; LENGTH])?;
        all_pinned &= native::is_pinned(&host)?;
        copies.push(host.f_to_device_(device, Kind::Float, true, false)?);
        // The host tensor is dropped here, while the copy may still run.
    }
    let mut whole = 0;
    for (number, copy) in copies.iter().enumerate() {
        whole += usize::from(bool::try_from(copy.f_eq(number as f64)?.f_all()?)?);
    }
    let saw = format!("{whole} of {COUNT} copies are whole; pinned: {all_pinned}");
    Ok(Seen::when(all_pinned && whole == COUNT, saw))
}

pub(super) fn statistics(device: Device) -> anyhow::Result<Seen> {
    const BYTES: u64 = 256 * MIB;
    if device == Device::Cpu {
        return Ok(Seen::NotHere);
    }
    native::reset_peak(device)?;
    let before = native::memory(device)?;
    let tensor = Tensor::f_zeros([(BYTES / 4) as i64], (Kind::Float, device))?;
    let during = native::memory(device)?;
    drop(tensor);
    let after = native::memory(device)?;
    let (grown, left) = (during.allocated - before.allocated, after.allocated - before.allocated);
    let good = grown == BYTES && left == 0 && after.peak_allocated >= before.allocated + BYTES;
    let saw = format!(
        "256 MiB more show as {} MiB, {left} bytes stay, the peak is {} MiB, {} MiB are reserved",
        grown / MIB,
        after.peak_allocated / MIB,
        after.reserved / MIB
    );
    Ok(Seen::when(good, saw))
}

/// Fills the GPU's memory, except for two thirds of what a step needs.
pub(super) fn out_of_memory(device: Device) -> anyhow::Result<Seen> {
    const SAMPLES: usize = 64;
    if device == Device::Cpu {
        return Ok(Seen::NotHere);
    }
    let settings = [
        ("backbone", json!("resnet18")),
        ("emotion_backbone", json!("resnet18")),
        ("image_size", json!(224)),
    ];
    let mut bench = Bench::new(device, &settings)?;
    let batch = bench.batch(SAMPLES)?;
    // The first step also allocates the memory that the libraries keep.
    bench.gradients(&batch)?;
    native::reset_peak(device)?;
    let before = native::memory(device)?;
    bench.gradients(&batch)?;
    let step = native::memory(device)?.peak_allocated - before.allocated;
    native::release_memory()?;
    let filling = fill(device, step * 2 / 3)?;
    let cut = bench.gradients(&batch);
    drop(filling);
    let cut = cut?;
    let finite = bool::try_from(cut.terms.f_isfinite()?.f_all()?)?;
    let saw = format!(
        "a step of {} MiB with {} MiB free took {} micro-batches; its terms are finite: {finite}",
        step / MIB,
        step * 2 / 3 / MIB,
        cut.micro_batches
    );
    Ok(Seen::when(cut.micro_batches > 1 && finite, saw))
}

/// Allocates memory until about `left` bytes remain.
fn fill(device: Device, left: u64) -> anyhow::Result<Vec<Tensor>> {
    let take = |bytes: u64| Tensor::f_zeros([(bytes / 4) as i64], (Kind::Float, device));
    // Reserved first, and freed at the end.
    let reserve = take(left)?;
    let mut filling = Vec::new();
    for piece in [1024 * MIB, 128 * MIB, 16 * MIB] {
        while let Ok(tensor) = take(piece) {
            filling.push(tensor);
        }
    }
    drop(reserve);
    native::release_memory()?;
    Ok(filling)
}
