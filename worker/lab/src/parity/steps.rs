//! Forward passes of a network with given weights, and training steps that start from them.

use anyhow::{bail, ensure};
use serde::Deserialize;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{Chosen, below, input, under};
use worker::archive::Tensors;
use worker::data::Batch;
use worker::models::{Mode, Mtl};
use worker::train::adam::Adam;
use worker::train::mixing::Mixing;
use worker::train::schedule::ExponentialDecay;
use worker::train::step::{DeviceBatch, Objective};
use worker::variables::Variables;

/// Inputs: `model.…`, `emotion` and `appearance` [T, B, 3, S, S], `labels` [T, B], `landmarks` [T, B, 68, 2].
#[derive(Debug, Deserialize)]
pub(super) struct Steps {
    #[serde(flatten)]
    chosen: Chosen,
    precision: Precision,
    /// Whether to return the forward passes of the first batch.
    forward: bool,
    /// Labels of the training subset, from which the class weights follow.
    subset: Vec<u8>,
    /// How to mix the batches. There is one step for each entry, starting with the first batch; none if it is empty.
    mixing: Vec<Mixing>,
    /// The learning rate decays after this many steps.
    epoch_length: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Precision {
    Single,
    Double,
}

impl Precision {
    const fn kind(self) -> Kind {
        match self {
            Self::Single => Kind::Float,
            Self::Double => Kind::Double,
        }
    }
}

/// Outputs: `eval.…` and `train.…` of the first batch if requested; `terms` [T, 4], `gradient.…` of the first step, all
/// variables after the first step (`first.…`) and after the last (`last.…`).
pub(super) fn run(request: &Steps, inputs: &Tensors) -> anyhow::Result<Tensors> {
    let spec = request.chosen.spec()?;
    let kind = request.precision.kind();
    let mut store = VarStore::new(Device::Cpu);
    let network = Mtl::new(&store.root(), &spec.network)?;
    match request.precision {
        Precision::Single => {}
        Precision::Double => store.double(),
    }
    let variables = Variables::of(&store);
    let weights = below(inputs, "model");
    if let Some(name) = weights.keys().find(|name| variables.iter().all(|(own, _)| own != *name)) {
        bail!("this network has no variable `{name}`");
    }
    variables.set(&weights)?;

    let batches = batches(inputs, kind)?;
    let mut outputs = Tensors::new();
    if request.forward {
        outputs.extend(forward(&network, &batches[0], Mode::Eval, "eval"));
        outputs.extend(forward(&network, &batches[0], Mode::TRAIN, "train"));
        variables.set(&weights)?; // The forward pass has changed the running statistics.
    }

    ensure!(request.mixing.len() <= batches.len(), "there are fewer batches than steps");
    let objective = Objective::with_kind(&spec, &request.subset, Device::Cpu, kind)?;
    let mut adam = Adam::new(&variables, &spec.training)?;
    let mut schedule = ExponentialDecay::new(spec.training.learning_rate, spec.training.lr_decay);
    let mut all_terms = Vec::new();
    for (number, (mixing, batch)) in request.mixing.iter().zip(&batches).enumerate() {
        let terms = objective.terms(&network, batch, mixing)?;
        let gradients = adam.gradients(&terms.f_sum(kind)?)?;
        adam.apply(&gradients, schedule.rate())?;
        all_terms.push(terms.detach());
        if number == 0 {
            let named = adam.names().map(str::to_owned).zip(gradients).collect();
            outputs.extend(under("gradient", named));
            outputs.extend(under("first", variables.copies()?));
        }
        if (number + 1).is_multiple_of(request.epoch_length) {
            schedule.end_epoch();
        }
    }
    if !all_terms.is_empty() {
        outputs.insert("terms".to_owned(), Tensor::f_stack(&all_terms, 0)?);
        outputs.extend(under("last", variables.copies()?));
    }
    Ok(outputs)
}

fn forward(network: &Mtl, batch: &DeviceBatch, mode: Mode, part: &str) -> Tensors {
    tch::no_grad(|| {
        let emotion = network.emotion(batch.emotion(), mode);
        let landmarks = network.landmarks(batch.appearance(), mode);
        let probabilities = emotion.logits.softmax(-1, None);
        let named = [
            ("logits", emotion.logits),
            ("probabilities", probabilities),
            ("feature", emotion.feature),
            ("heads", emotion.heads),
            ("landmarks", landmarks),
        ];
        under(part, named.map(|(name, tensor)| (name.to_owned(), tensor)).into()).collect()
    })
}

fn batches(inputs: &Tensors, kind: Kind) -> anyhow::Result<Vec<DeviceBatch>> {
    let emotion = input(inputs, "emotion")?;
    let &[count, _, 3, _, size] = emotion.size().as_slice() else {
        bail!("`emotion` is not [T, B, 3, S, S]")
    };
    ensure!(count > 0, "`emotion` has no batch");
    let batch = |number: i64| -> anyhow::Result<DeviceBatch> {
        let floats = |name| -> anyhow::Result<Vec<f32>> {
            Ok(Vec::try_from(input(inputs, name)?.f_select(0, number)?.f_reshape([-1])?)?)
        };
        let batch = Batch {
            emotion: floats("emotion")?,
            appearance: floats("appearance")?,
            labels: Vec::try_from(input(inputs, "labels")?.f_select(0, number)?)?,
            landmarks: floats("landmarks")?,
        };
        Ok(DeviceBatch::new(&batch, size as usize, Device::Cpu)?.to_kind(kind)?)
    };
    (0..count).map(batch).collect()
}
