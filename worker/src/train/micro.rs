//! The gradients of a step, computed from the whole batch or, if it does not fit into memory, from micro-batches.
//!
//! The losses are not sums over samples: class weights and the partition loss look at the whole batch, so the losses
//! always see all of it. With micro-batches, a step uses gradient caching (Gao et al., arXiv 2101.06983): the network
//! runs over all micro-batches without a graph; the losses of the joined outputs and their gradient with respect to
//! these outputs are computed; then each micro-batch runs again, with a graph, and its rows of that gradient are
//! propagated back. Apart from rounding this gives the gradient of the whole batch, for a third more work. Only batch
//! norms differ: each normalises with the statistics of a micro-batch.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tch::{Device, Kind, TchError, Tensor};

use super::adam::Adam;
use super::batch::DeviceBatch;
use super::error::TrainError;
use super::memory::{self, OutOfMemory};
use super::mixing::Mixing;
use super::passes::{Network, Passes, Statistics};
use super::step::{Objective, Prepared};
use crate::variables::Variables;

/// A batch norm in training mode needs two samples.
const SMALLEST: usize = 2;

/// The result of one step's backward pass.
#[derive(Debug)]
pub struct Gradients {
    /// `[4]`, see [`Objective::terms`].
    pub terms: Tensor,
    /// One for each of [`Adam::names`].
    pub by_variable: Vec<Tensor>,
    /// The number of micro-batches into which the batch was split; 1 is the whole batch.
    pub micro_batches: u32,
}

/// Computes the gradients of a training's steps, and remembers how small micro-batches must be to fit into memory.
#[derive(Debug)]
pub struct MicroBatches {
    count: u32,
    device: Device,
    /// The running statistics, each with its value before the current step.
    statistics: Vec<(Tensor, Tensor)>,
}

impl MicroBatches {
    /// Starts with whole batches.
    ///
    /// # Errors
    ///
    /// There is not enough memory for a copy of the running statistics.
    pub fn new(variables: &Variables, device: Device) -> Result<Self, TchError> {
        let with_copy = |tensor: &Tensor| Ok((tensor.shallow_clone(), tensor.f_empty_like()?));
        Ok(Self {
            count: 1,
            device,
            statistics: variables.statistics().map(with_copy).collect::<Result<_, TchError>>()?,
        })
    }

    /// The number of micro-batches into which the last batch was split.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The gradients of one batch. If memory runs out, micro-batches are halved for this and all later steps.
    ///
    /// Panics if libtorch fails for another reason inside the network, like everything in [`crate::models`].
    ///
    /// # Errors
    ///
    /// Not even the smallest micro-batch fits into memory, or libtorch fails for another reason.
    pub fn gradients(
        &mut self,
        network: &dyn Network,
        objective: &Objective,
        adam: &Adam,
        batch: &DeviceBatch,
        mixing: &Mixing,
    ) -> Result<Gradients, TrainError> {
        let most = (batch.len() / SMALLEST).max(1) as u32;
        self.remember_statistics()?;
        loop {
            let count = self.count.min(most);
            let attempt = caught(|| {
                let prepared = objective.prepared(batch, mixing)?;
                let (terms, by_variable) = match count {
                    1 => whole(network, objective, adam, &prepared),
                    _ => cut(network, objective, adam, &prepared, &slices(batch.len(), count)),
                }?;
                Ok(Gradients { terms, by_variable, micro_batches: count })
            });
            match attempt {
                Ok(gradients) => return Ok(gradients),
                Err(Failure::Other(error)) => return Err(error.into()),
                Err(Failure::OutOfMemory(error)) if count == most => {
                    let samples = batch.len().div_ceil(count as usize);
                    return Err(TrainError::OutOfMemory { samples, source: error });
                }
                Err(Failure::OutOfMemory(error)) => {
                    tracing::warn!("{error}; the batch is split into {} micro-batches", 2 * count);
                    memory::release(self.device)?;
                    self.restore_statistics()?;
                    self.count = (2 * count).min(most);
                }
            }
        }
    }

    fn remember_statistics(&mut self) -> Result<(), TchError> {
        self.statistics.iter_mut().try_for_each(|(now, before)| before.f_copy_(now))
    }

    /// A pass that was interrupted may have changed some of them.
    fn restore_statistics(&mut self) -> Result<(), TchError> {
        self.statistics.iter_mut().try_for_each(|(now, before)| now.f_copy_(before))
    }
}

enum Failure {
    OutOfMemory(OutOfMemory),
    Other(TchError),
}

impl From<TchError> for Failure {
    fn from(error: TchError) -> Self {
        OutOfMemory::in_text(&error.to_string()).map_or(Self::Other(error), Self::OutOfMemory)
    }
}

/// Runs `work` and turns out-of-memory panics into errors. After a panic, the half-finished state of `work` is ignored.
fn caught<T>(work: impl FnOnce() -> Result<T, TchError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(panic) => match OutOfMemory::in_panic(panic.as_ref()) {
            Some(error) => Err(Failure::OutOfMemory(error)),
            None => resume_unwind(panic),
        },
    }
}

/// First sample and number of samples of each of `count` micro-batches, whose sizes differ by at most one.
fn slices(samples: usize, count: u32) -> Vec<(i64, i64)> {
    let (samples, count) = (samples as i64, i64::from(count));
    let length = |index| samples / count + i64::from(index < samples % count);
    (0..count)
        .scan(0, |start, index| {
            let slice = (*start, length(index));
            *start += slice.1;
            Some(slice)
        })
        .collect()
}

/// Terms and gradients of the whole batch, in one pass.
fn whole(
    network: &dyn Network,
    objective: &Objective,
    adam: &Adam,
    prepared: &Prepared<'_>,
) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let passes = objective.passes(network, &prepared.inputs, Statistics::Update(1))?;
    let terms = objective.losses(network.centres(), &passes, prepared);
    let loss = objective.sum(&terms)?;
    let gradients = objective.arithmetic().backward(|| adam.gradients(&loss))?;
    Ok((terms.detach(), gradients))
}

/// Terms and gradients of the whole batch, keeping the graph of one micro-batch at a time.
fn cut(
    network: &dyn Network,
    objective: &Objective,
    adam: &Adam,
    prepared: &Prepared<'_>,
    slices: &[(i64, i64)],
) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let inputs = &prepared.inputs;
    let outputs = {
        let _no_graph = tch::no_grad_guard();
        let outputs: Vec<Passes> = slices
            .iter()
            .map(|&(start, length)| {
                objective.passes(network, &inputs.slice(start, length)?, Statistics::Keep)
            })
            .collect::<Result<_, _>>()?;
        Passes::joined(&outputs)?
    };
    let outputs = outputs.map(|tensor| tensor.f_set_requires_grad(true))?;
    let terms = objective.losses(network.centres(), &outputs, prepared);
    let loss = objective.sum(&terms)?;
    // Only the losses use the class centres, so `sums` starts with their full gradient.
    let (by_output, mut sums) = adam.gradients_and(&outputs.tensors(), &loss)?;
    drop(outputs);
    for &(start, length) in slices {
        let inputs = inputs.slice(start, length)?;
        let passes = objective.passes(network, &inputs, Statistics::Update(slices.len() as u32))?;
        let surrogate = surrogate_loss(&passes, &by_output, start, length)?;
        let gradients = objective.arithmetic().backward(|| adam.gradients(&surrogate))?;
        for (sum, gradient) in sums.iter_mut().zip(&gradients) {
            let _ = sum.f_add_(gradient)?;
        }
    }
    Ok((terms.detach(), sums))
}

/// A scalar whose gradient with respect to `passes` is that of the loss: `length` rows of `by_output` from `start`.
fn surrogate_loss(
    passes: &Passes,
    by_output: &[Tensor],
    start: i64,
    length: i64,
) -> Result<Tensor, TchError> {
    let mut products = Vec::new();
    for (output, gradient) in passes.tensors().into_iter().zip(by_output) {
        if gradient.defined() {
            let gradient = gradient.f_narrow(0, start, length)?;
            products.push(output.f_mul(&gradient)?.f_sum(None::<Kind>)?);
        }
    }
    Tensor::f_stack(&products, 0)?.f_sum(None::<Kind>)
}

#[cfg(test)]
mod tests;
