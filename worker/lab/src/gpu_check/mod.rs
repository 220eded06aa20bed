//! `ferry-lab gpu-check`: checks of the worker that need a real GPU, for scripts/gpu-check.
//!
//! Every check runs the worker's own code and reports what it saw. The checks that make sense on a CPU also run there,
//! so that the checks themselves are tested.

mod arithmetic;
mod memory;
mod step;

use std::process::ExitCode;

use clap::Args;
use tch::Device;

use worker::device;
use worker::device::DeviceChoice;

/// Options of `ferry-lab gpu-check`.
#[derive(Debug, Args)]
#[command(after_help = "Example (scripts/gpu-check does it):\n  \
    ferry-lab gpu-check --device cuda:0 --throughput\n\n\
    Exit codes: 0 all checks passed, 1 a check failed, 2 there is no such device.")]
pub(crate) struct GpuCheckArgs {
    /// The device to check: cuda:N, or cpu for the few checks that make sense there.
    #[arg(long, default_value = "cuda:0")]
    device: DeviceChoice,
    /// Also time a step of the full networks at 224 pixels with 128 images per batch.
    #[arg(long)]
    throughput: bool,
}

/// The outcome of a check, with what it saw.
enum Seen {
    Pass(String),
    Fail(String),
    /// Not run, because it needs a GPU.
    NotHere,
}

impl Seen {
    fn when(passed: bool, saw: String) -> Self {
        if passed { Self::Pass(saw) } else { Self::Fail(saw) }
    }
}

type Check = fn(Device) -> anyhow::Result<Seen>;

/// The checks with their names in the report.
const CHECKS: [(&str, Check); 9] = [
    ("convolution, product, solver and Fourier transform agree with the CPU", arithmetic::libraries),
    ("single precision is single", arithmetic::single),
    ("the TF32 switch has an effect", arithmetic::tf32),
    ("bf16 gradients are those of f32 but for rounding", step::bf16),
    ("channels-last reaches the last map and changes no value", arithmetic::channels_last),
    ("deterministic cuDNN repeats a step bit for bit", step::deterministic),
    ("batches arrive whole from pinned memory", memory::pinned),
    ("memory statistics follow a tensor", memory::statistics),
    ("a batch that does not fit is split into micro-batches", memory::out_of_memory),
];

#[expect(clippy::print_stdout, reason = "the report is the output of this subcommand")]
pub(super) fn run(args: &GpuCheckArgs) -> anyhow::Result<ExitCode> {
    let device = device::choose(args.device)?;
    let mut failed = false;
    for (name, check) in CHECKS {
        match check(device) {
            Ok(Seen::Pass(saw)) => println!("pass    {name}: {saw}"),
            Ok(Seen::NotHere) => println!("not run {name}: needs a GPU"),
            Ok(Seen::Fail(saw)) => {
                failed = true;
                println!("FAIL    {name}: {saw}");
            }
            Err(error) => {
                failed = true;
                println!("FAIL    {name}: {error:#}");
            }
        }
    }
    if args.throughput {
        step::throughput(device, &mut |line| println!("figure  {line}"))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
