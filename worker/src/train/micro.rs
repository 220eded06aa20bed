//! The gradients of a step that fit into memory: of the whole batch or, where that runs out, of micro-batches.
//!
//! The losses are no sums over samples: class weights and the partition loss look at a whole batch. So the batch is not
//! cut for them. The network runs over all micro-batches without a graph, the losses are computed from what it said of the
//! whole batch, and each micro-batch runs again, with a graph, pulled by its rows of the losses' gradient (gradient caching:
//! Gao et al., arXiv 2101.06983). But for rounding, that is the gradient of the whole batch, for a third more work. Only batch
//! norms see the difference: each normalises with the statistics of a micro-batch.

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

/// A batch norm in training needs two samples.
const SMALLEST: usize = 2;

/// What a step moves the weights by.
#[derive(Debug)]
pub struct Gradients {
    /// `[4]`, see [`Objective::terms`].
    pub terms: Tensor,
    /// One for each of [`Adam::names`].
    pub by_variable: Vec<Tensor>,
    /// Into how many micro-batches the batch was cut.
    pub micro_batches: u32,
}

/// Computes the gradients of one training's steps, and keeps the size that fitted last.
#[derive(Debug)]
pub struct MicroBatches {
    count: u32,
    device: Device,
    /// The running statistics, each with what it was before the step at work.
    statistics: Vec<(Tensor, Tensor)>,
}

impl MicroBatches {
    /// Begins with whole batches.
    pub fn new(variables: &Variables, device: Device) -> Result<Self, TchError> {
        let with_copy = |tensor: &Tensor| Ok((tensor.shallow_clone(), tensor.f_empty_like()?));
        Ok(Self {
            count: 1,
            device,
            statistics: variables.statistics().map(with_copy).collect::<Result<_, TchError>>()?,
        })
    }

    /// Into how many micro-batches the last batch was cut.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The gradients of one batch. When memory runs out, micro-batches are halved, for this step and all that follow.
    ///
    /// Panics when libtorch fails otherwise, like everything in [`crate::models`].
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
                    tracing::warn!("{error}; the batch is cut into {} micro-batches", 2 * count);
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

    /// A pass that broke off has moved some of them.
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
        OutOfMemory::told_by(&error.to_string()).map_or(Self::Other(error), Self::OutOfMemory)
    }
}

/// Runs `work`, whose panics for want of memory become errors. It must leave nothing half done that matters.
fn caught<T>(work: impl FnOnce() -> Result<T, TchError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(panic) => match OutOfMemory::in_panic(panic.as_ref()) {
            Some(error) => Err(Failure::OutOfMemory(error)),
            None => resume_unwind(panic),
        },
    }
}

/// First sample and number of samples of `count` micro-batches whose sizes differ by one at most.
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

/// Terms and gradients of the batch in one piece.
fn whole(
    network: &dyn Network,
    objective: &Objective,
    adam: &Adam,
    prepared: &Prepared<'_>,
) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let passes = objective.passes(network, &prepared.inputs, Statistics::Move(1))?;
    let terms = objective.losses(network.centres(), &passes, prepared);
    let loss = objective.sum(&terms)?;
    let gradients = objective.arithmetic().backward(|| adam.gradients(&loss))?;
    Ok((terms.detach(), gradients))
}

/// Terms and gradients of the batch with graphs of one micro-batch at a time.
fn cut(
    network: &dyn Network,
    objective: &Objective,
    adam: &Adam,
    prepared: &Prepared<'_>,
    slices: &[(i64, i64)],
) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let inputs = &prepared.inputs;
    let said = {
        let _no_graph = tch::no_grad_guard();
        let said: Vec<Passes> = slices
            .iter()
            .map(|&(start, length)| {
                objective.passes(network, &inputs.slice(start, length)?, Statistics::Stay)
            })
            .collect::<Result<_, _>>()?;
        Passes::joined(&said)?
    };
    let said = said.map(|tensor| tensor.f_set_requires_grad(true))?;
    let terms = objective.losses(network.centres(), &said, prepared);
    let loss = objective.sum(&terms)?;
    // How the losses pull at what the network said; the class centres are theirs and have their whole gradient here.
    let (pulls, mut sums) = adam.gradients_and(&said.tensors(), &loss)?;
    drop(said);
    for &(start, length) in slices {
        let inputs = inputs.slice(start, length)?;
        let passes = objective.passes(network, &inputs, Statistics::Move(slices.len() as u32))?;
        let pulled = pulled(&passes, &pulls, start, length)?;
        let gradients = objective.arithmetic().backward(|| adam.gradients(&pulled))?;
        for (sum, gradient) in sums.iter_mut().zip(&gradients) {
            let _ = sum.f_add_(gradient)?;
        }
    }
    Ok((terms.detach(), sums))
}

/// A scalar with the gradient of the loss by these passes.
fn pulled(passes: &Passes, pulls: &[Tensor], start: i64, length: i64) -> Result<Tensor, TchError> {
    let mut products = Vec::new();
    for (said, pull) in passes.tensors().into_iter().zip(pulls) {
        if pull.defined() {
            let pull = pull.f_narrow(0, start, length)?;
            products.push(said.f_mul(&pull)?.f_sum(None::<Kind>)?);
        }
    }
    Tensor::f_stack(&products, 0)?.f_sum(None::<Kind>)
}

#[cfg(test)]
mod tests;
