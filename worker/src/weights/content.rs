//! The result of every format's reader: tensors that are read on demand, or an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use shared::mistaken::Mistaken;
use shared::weights::Provenance;
use tch::{TchError, Tensor};

use super::Dtype;
use super::pickle::PickleError;

/// The largest tensor that is created. A file can claim any shape, for example with a stride of 0.
const MAX_TENSOR: usize = 2 << 30;

/// Tensors by their names in the file.
pub type Tensors = BTreeMap<String, Stored>;

/// The content of a file.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) format: Format,
    pub(super) tensors: Tensors,
    pub(super) others: Vec<String>,
    pub(super) provenance: Option<Provenance>,
}

/// How a file stores its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Npz,
    TorchZip,
    TorchLegacy,
    TorchTar,
    NumpyPickle,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Npz => "npz",
            Self::TorchZip => "PyTorch (zip)",
            Self::TorchLegacy => "PyTorch (before 1.6)",
            Self::TorchTar => "PyTorch (before 0.2, tar)",
            Self::NumpyPickle => "pickle of numpy arrays",
        })
    }
}

/// Why a file gives no tensors.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the file has {0} bytes, more than any network that Ferry supports")]
    TooLarge(u64),
    #[error("{0}")]
    Mistaken(Mistaken),
    #[error(
        "unknown format: Ferry reads .safetensors, .npz, files of torch.save and pickled dictionaries of numpy arrays"
    )]
    Unknown,
    #[error("a single array without a name (.npy): save a dictionary of arrays with numpy.savez")]
    Nameless,
    #[error("a TorchScript module: save its state_dict() with torch.save")]
    TorchScript,
    #[error("not a whole safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("not a whole zip file: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("cannot read the PyTorch file: {0}")]
    Torch(#[from] pytorch_reader::PytorchError),
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("the pickle holds {0}, not a dictionary of arrays")]
    NoDictionary(String),
    #[error("array `{name}`: {problem}")]
    Array { name: String, problem: String },
    #[error("its dictionaries are nested too deeply: it is not a weights file")]
    TooDeep,
    #[error("it has no tensors{}", hint(.0))]
    Empty(Vec<String>),
    #[error(transparent)]
    Seal(#[from] shared::seal::SealError),
    #[error("the description that Ferry wrote into the file cannot be used: {0}")]
    Provenance(#[from] shared::weights::ProvenanceError),
}

fn hint(others: &[String]) -> String {
    match others {
        [] => String::new(),
        others => format!(", but {}", others.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Why a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Zip(#[from] zip::result::ZipError),
    #[error("it has {found} bytes of data, but its shape needs {expected}")]
    Length { expected: usize, found: usize },
    #[error("its data is not latin-1 text")]
    Latin1,
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

type Read_ = dyn Fn() -> Result<Vec<u8>, ReadError> + Send + Sync;

/// A tensor that is read on demand.
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    read: Box<Read_>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

impl Stored {
    /// `read` returns little-endian elements in row-major order.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        read: impl Fn() -> Result<Vec<u8>, ReadError> + Send + Sync + 'static,
    ) -> Self {
        Self { dtype, shape, read: Box::new(read) }
    }

    /// The values as f32 on the CPU.
    ///
    /// # Errors
    ///
    /// The data cannot be read, or its length does not match the shape.
    pub fn to_f32(&self) -> Result<Tensor, ReadError> {
        let bytes = (self.read)()?;
        let elements = element_count(&self.shape, self.dtype).unwrap_or(usize::MAX);
        let expected = elements.saturating_mul(self.dtype.size());
        if bytes.len() != expected {
            return Err(ReadError::Length { expected, found: bytes.len() });
        }
        Ok(self.dtype.to_f32(&bytes, &self.shape)?)
    }
}

/// The number of elements in a tensor of this shape; `None` if it is larger than any weight.
pub(super) fn element_count(shape: &[usize], dtype: Dtype) -> Option<usize> {
    let count = shape.iter().try_fold(1_usize, |count, &length| count.checked_mul(length))?;
    (shape.len() <= 8 && count.checked_mul(dtype.size().max(4))? <= MAX_TENSOR).then_some(count)
}
