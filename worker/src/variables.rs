//! The network's variables by name, in one fixed order.

use tch::nn::VarStore;
use tch::{Device, TchError, Tensor};

use crate::archive::Tensors;

/// All variables, trainable or not, sorted by name. The tensors share memory with the network.
#[derive(Debug)]
pub struct Variables {
    named: Tensors,
}

impl Variables {
    pub fn of(store: &VarStore) -> Self {
        Self { named: store.variables().into_iter().collect() }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.named.iter()
    }

    /// The variables that an optimiser changes.
    pub fn trainable(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.iter().filter(|(_, tensor)| tensor.requires_grad())
    }

    /// The other variables: running statistics of batch norms.
    pub fn statistics(&self) -> impl Iterator<Item = &Tensor> {
        self.iter().map(|(_, tensor)| tensor).filter(|tensor| !tensor.requires_grad())
    }

    /// Copies on the CPU.
    ///
    /// # Errors
    ///
    /// There is not enough memory, or the device fails.
    pub fn copies(&self) -> Result<Tensors, TchError> {
        self.iter().map(|(name, tensor)| Ok((name.clone(), detached_copy(tensor)?))).collect()
    }

    /// Sets the variables to the values in `copies`.
    ///
    /// # Errors
    ///
    /// A variable is missing in `copies` or has another shape there. Variables before it are already set.
    pub fn set(&self, copies: &Tensors) -> Result<(), TchError> {
        tch::no_grad(|| {
            for (name, variable) in self.iter() {
                let copy = copies.get(name).filter(|copy| copy.size() == variable.size());
                let copy = copy.ok_or_else(|| TchError::TensorNameNotFound(name.clone(), "copies".into()))?;
                variable.shallow_clone().f_copy_(copy)?;
            }
            Ok(())
        })
    }
}

/// A copy on the CPU that shares no memory with `tensor`.
///
/// # Errors
///
/// There is not enough memory, or the device fails.
pub fn detached_copy(tensor: &Tensor) -> Result<Tensor, TchError> {
    let host = tensor.f_detach()?.f_to_device(Device::Cpu)?;
    let mut copy = host.f_empty_like()?;
    copy.f_copy_(&host)?;
    Ok(copy)
}
