//! Where a job was trained, and with which programs.

use serde::{Deserialize, Serialize};

/// Where a job was trained. Results differ in the last bits between devices and kinds of CPU, so the record names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// CPU or GPU model name.
    pub model: String,
    /// The GPU's memory in bytes; `None` on a CPU.
    #[serde(default)]
    pub memory: Option<u64>,
    /// The GPU's or MIG instance's UUID as `nvidia-smi -L` writes it; `None` on a CPU.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Vector instructions libtorch uses on this CPU, such as `AVX512`.
    pub cpu_capability: String,
    pub threads: u32,
    pub host: String,
}

/// The programs that trained a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// Version of `ferry-worker`.
    pub ferry: String,
    /// Version of libtorch, which the worker is linked to whatever it trains.
    pub libtorch: String,
}
