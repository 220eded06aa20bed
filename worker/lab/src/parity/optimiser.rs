//! Steps of the optimiser with given gradients.

use anyhow::{Context, ensure};
use serde::Deserialize;
use tch::nn::VarStore;
use tch::{Device, Tensor};

use super::{Chosen, below, under};
use worker::archive::Tensors;
use worker::train::adam::Adam;
use worker::train::schedule::ExponentialDecay;
use worker::variables::Variables;

/// Inputs: `parameter.…`, and `gradient.…` with the steps as an additional first dimension; names without a dot.
#[derive(Debug, Deserialize)]
pub(super) struct Optimiser {
    #[serde(flatten)]
    chosen: Chosen,
    /// The learning rate decays after this many steps.
    epoch_length: usize,
}

/// Outputs: `parameter.…` after each step, and the moments after the last.
pub(super) fn run(request: &Optimiser, inputs: &Tensors) -> anyhow::Result<Tensors> {
    let training = request.chosen.spec()?.training;
    let store = VarStore::new(Device::Cpu);
    for (name, parameter) in below(inputs, "parameter") {
        ensure!(!name.contains('.'), "parameter `{name}` has a dot in its name");
        let _ = store.root().add(&name, parameter, true);
    }
    let variables = Variables::of(&store);
    let mut adam = Adam::new(&variables, &training)?;
    let mut schedule = ExponentialDecay::new(training.learning_rate, training.lr_decay);
    let gradients = below(inputs, "gradient");
    let names: Vec<String> = adam.names().map(str::to_owned).collect();
    let first = names.first().and_then(|name| gradients.get(name)).context("the inputs have no gradients")?;
    let mut after: Vec<Vec<Tensor>> = names.iter().map(|_| Vec::new()).collect();
    for step in 0..first.size()[0] {
        let of_step = names.iter().map(|name| {
            let all = gradients.get(name).with_context(|| format!("`{name}` has no gradient"))?;
            Ok(all.f_select(0, step)?)
        });
        adam.apply(&of_step.collect::<anyhow::Result<Vec<_>>>()?, schedule.rate())?;
        for (history, (_, copy)) in after.iter_mut().zip(variables.copies()?) {
            history.push(copy);
        }
        if (step as usize + 1).is_multiple_of(request.epoch_length) {
            schedule.end_epoch();
        }
    }
    let mut outputs = adam.moments()?;
    let histories =
        names.into_iter().zip(after).map(|(name, history)| Ok((name, Tensor::f_stack(&history, 0)?)));
    outputs.extend(under("parameter", histories.collect::<anyhow::Result<_>>()?));
    Ok(outputs)
}
