//! What a machine has of GPUs.

/// One GPU as `nvidia-smi` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number in `nvidia-smi`.
    pub index: u32,
    /// `GPU-` and so on.
    pub uuid: String,
    pub name: String,
    /// In bytes.
    pub memory: u64,
    pub mig: Mig,
}

/// Whether a GPU is one device or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mig {
    /// One, which CUDA opens by the GPU's UUID.
    Off,
    /// Cut into instances, which CUDA opens by UUIDs of their own; the GPU itself cannot be used.
    On(Vec<Instance>),
}

/// A part of a GPU in MIG mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its number within the GPU.
    pub index: u32,
    /// `MIG-` and so on.
    pub uuid: String,
}

/// Why the GPUs cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot list the GPUs of this machine ({reason}): repair the driver, or set FERRY_CUDA=0 to train on the CPU"
)]
pub struct InventoryError {
    pub reason: String,
}

/// A list of GPUs: NVIDIA's management library, or in tests what a machine might have.
pub trait Inventory {
    /// In the order of `nvidia-smi`; none without a driver.
    fn gpus(&self) -> Result<Vec<Gpu>, InventoryError>;
}
