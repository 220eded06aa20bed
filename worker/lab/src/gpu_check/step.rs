//! Checks of whole steps, and their speed.

use std::time::Instant;

use serde_json::{Value, json};
use shared::expression::LANDMARKS;
use shared::mtl::MtlSpec;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::Seen;
use worker::data::Batch;
use worker::models::Mtl;
use worker::train::adam::Adam;
use worker::train::batch::DeviceBatch;
use worker::train::micro::{Gradients, MicroBatches};
use worker::train::mixing::Mixing;
use worker::train::step::Objective;
use worker::variables::Variables;

/// One training's state, without data.
pub(super) struct Bench {
    device: Device,
    size: usize,
    network: Mtl,
    variables: Variables,
    objective: Objective,
    adam: Adam,
    pub(super) micro_batches: MicroBatches,
    rate: f64,
}

/// A network whose step is fast even on a CPU.
fn small() -> Vec<(&'static str, Value)> {
    vec![
        ("backbone", json!("resnet18")),
        ("emotion_backbone", json!("resnet18")),
        ("width", json!(8)),
        ("blocks", json!([1, 1, 1, 1])),
        ("image_size", json!(48)),
        ("head_fusion", json!("sum")),
    ]
}

impl Bench {
    pub(super) fn new(device: Device, settings: &[(&str, Value)]) -> anyhow::Result<Self> {
        let mut spec = MtlSpec::default();
        for (name, value) in settings {
            spec = spec.with(name, value.clone())?;
        }
        tch::manual_seed(17);
        let store = VarStore::new(device);
        let network = Mtl::new(&store.root(), &spec.network)?;
        let variables = Variables::of(&store);
        let objective = Objective::new(&spec, &[0, 1, 2, 3, 4, 5], device)?;
        objective.arithmetic().set_up()?;
        Ok(Self {
            device,
            size: spec.augment.image_size as usize,
            adam: Adam::new(&variables, &spec.training)?,
            micro_batches: MicroBatches::new(&variables, device)?,
            rate: spec.training.learning_rate,
            network,
            variables,
            objective,
        })
    }

    /// A batch of `samples` meaningless images, copied to the device in the same way as in a training.
    pub(super) fn batch(&self, samples: usize) -> anyhow::Result<DeviceBatch> {
        let value = |index: usize| ((index as f64 * 12.9898).sin() * 43_758.545_3).fract() as f32;
        let image: Vec<f32> = (0..samples * 3 * self.size * self.size).map(value).collect();
        let batch = Batch {
            appearance: image.clone(),
            emotion: image,
            labels: (0..samples as i64).map(|sample| sample % 6).collect(),
            landmarks: (0..samples * LANDMARKS * 2).map(value).collect(),
        };
        Ok(DeviceBatch::new(&batch, self.size, self.device)?)
    }

    fn round_weights(&self) -> anyhow::Result<()> {
        let copies: Result<_, tch::TchError> =
            self.variables.iter().map(|(name, tensor)| Ok((name.clone(), rounded(tensor)?))).collect();
        Ok(self.variables.set(&copies?)?)
    }

    pub(super) fn gradients(&mut self, batch: &DeviceBatch) -> anyhow::Result<Gradients> {
        let mixing = Mixing::draw(17, 1, 0, batch.len(), 1.0);
        Ok(self.micro_batches.gradients(&self.network, &self.objective, &self.adam, batch, &mixing)?)
    }

    fn step(&mut self, batch: &DeviceBatch) -> anyhow::Result<()> {
        let gradients = self.gradients(batch)?;
        Ok(self.adam.apply(&gradients.by_variable, self.rate)?)
    }
}

/// All gradients as one vector on the CPU.
fn flat(gradients: &Gradients) -> anyhow::Result<Tensor> {
    let rows: Result<Vec<_>, _> = gradients.by_variable.iter().map(|g| g.f_reshape([-1])).collect();
    Ok(Tensor::f_cat(&rows?, 0)?.f_to_device(Device::Cpu)?)
}

fn with(settings: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    small().into_iter().chain(settings.iter().cloned()).collect()
}

/// Rounded to bfloat16 and back.
fn rounded(tensor: &Tensor) -> Result<Tensor, tch::TchError> {
    tensor.f_detach()?.f_to_kind(Kind::BFloat16)?.f_to_kind(tensor.kind())
}

/// The change of a gradient by bf16 is compared with its change in single precision when only the weights are rounded,
/// because batch norms and depth amplify rounding in both.
pub(super) fn bf16(device: Device) -> anyhow::Result<Seen> {
    let gradient = |precision: &str, rounds: bool| {
        let mut bench = Bench::new(device, &with(&[("precision", json!(precision))]))?;
        if rounds {
            bench.round_weights()?;
        }
        let batch = bench.batch(32)?;
        flat(&bench.gradients(&batch)?)
    };
    let single = gradient("f32", false)?;
    let length = |tensor: &Tensor| -> anyhow::Result<f64> { Ok(tensor.f_norm()?.double_value(&[])) };
    let away = |other: &Tensor| -> anyhow::Result<f64> {
        Ok(100.0 * length(&other.f_sub(&single)?)? / length(&single)?)
    };
    let (half, weights) = (away(&gradient("bf16", false)?)?, away(&gradient("f32", true)?)?);
    let saw = format!(
        "{half:.2} % of its length away, {weights:.2} % by rounded weights alone; must be above 0.01 % and at most \
         {ROUNDINGS} times the latter"
    );
    Ok(Seen::when(0.01 < half && half <= ROUNDINGS * weights, saw))
}

/// The reference rounds only the weights. bf16 also rounds maps and gradients, in the forward and the backward pass. The
/// squares of independent errors add up, so four equal errors are twice as large as one.
const ROUNDINGS: f64 = 2.0;

pub(super) fn deterministic(device: Device) -> anyhow::Result<Seen> {
    let gradient = || {
        let mut bench = Bench::new(device, &with(&[("cudnn", json!("deterministic"))]))?;
        let batch = bench.batch(32)?;
        flat(&bench.gradients(&batch)?)
    };
    let same = gradient()? == gradient()?;
    Ok(Seen::when(same, format!("two gradients from equal weights are equal: {same}")))
}

/// The numbers of steps before and during the timing.
const WARM_UP: usize = 5;
const TIMED: usize = 20;
const BATCH: usize = 128;

/// Images per second of the published networks in each precision.
pub(super) fn throughput(device: Device, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    for backbone in ["vggface2_resnet50", "dino_resnet50", "mobilevitv2"] {
        for (precision, channels_last) in
            [("f32", false), ("tf32", false), ("tf32", true), ("bf16", false), ("bf16", true)]
        {
            let settings = [
                ("backbone", json!(backbone)),
                // One pass of the emotion branch. With mix-augment, Ferry needs two passes and the reference three.
                ("augmentation", json!("mixup")),
                ("precision", json!(precision)),
                ("channels_last", json!(channels_last)),
                ("cudnn", json!("benchmark")),
            ];
            let mut bench = Bench::new(device, &settings)?;
            let mut run = |steps: usize| -> anyhow::Result<()> {
                for _ in 0..steps {
                    let batch = bench.batch(BATCH)?;
                    bench.step(&batch)?;
                }
                wait_for(device);
                Ok(())
            };
            run(WARM_UP)?;
            let started = Instant::now();
            run(TIMED)?;
            let rate = (TIMED * BATCH) as f64 / started.elapsed().as_secs_f64();
            let layout = if channels_last { ", channels-last" } else { "" };
            say(&format!("{backbone}, {precision}{layout}: {rate:.0} images/s"));
        }
    }
    Ok(())
}

fn wait_for(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}
