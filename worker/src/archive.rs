//! A sealed safetensors file of f32 tensors. It must contain exactly the expected tensors.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
pub use shared::seal::Facts;
use shared::seal::{self, SealError};
use tch::{Device, Kind, TchError, Tensor};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Why tensors cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("tensor `{0}` is not expected")]
    Unknown(String),
    #[error("tensor `{name}` is {found}, not {expected}")]
    Mismatch { name: String, found: String, expected: String },
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// A file with the f32 `tensors` (on any device) and `facts`. Equal content gives equal bytes.
///
/// # Errors
///
/// A tensor is not f32, or libtorch cannot copy it to the CPU.
pub fn write(tensors: &Tensors, facts: Facts) -> Result<Vec<u8>, ArchiveError> {
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        let shape = tensor.size().iter().map(|&length| length as usize).collect();
        stored.push((name.as_str(), shape, bytes(tensor)?));
    }
    let sealed = seal::metadata(facts, stored.iter().map(|(name, _, bytes)| (*name, bytes.as_slice())));
    let views = stored
        .iter()
        .map(|(name, shape, bytes): &(_, Vec<usize>, _)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, SafeTensorError>>()
        .map_err(SealError::from)?;
    Ok(safetensors::serialize(views, Some(HashMap::from([sealed]))).map_err(SealError::from)?)
}

/// A complete, undamaged file.
#[derive(Debug)]
pub struct Archive<'a> {
    tensors: SafeTensors<'a>,
    facts: Facts,
}

impl<'a> Archive<'a> {
    /// Checks the layout and the digest.
    ///
    /// # Errors
    ///
    /// The file is damaged, incomplete or not sealed.
    pub fn open(file: &'a [u8]) -> Result<Self, ArchiveError> {
        let (tensors, facts) = seal::open(file)?;
        Ok(Self { tensors, facts })
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The tensors named in `shapes`, on the CPU.
    ///
    /// # Errors
    ///
    /// A tensor is missing, is not named in `shapes`, has another shape or is not f32.
    pub fn read(&self, shapes: &BTreeMap<String, Vec<i64>>) -> Result<Tensors, ArchiveError> {
        if let Some(name) = self.tensors.names().into_iter().find(|name| !shapes.contains_key(*name)) {
            return Err(ArchiveError::Unknown(name.to_owned()));
        }
        shapes.iter().map(|(name, shape)| Ok((name.clone(), self.tensor(name, shape)?))).collect()
    }

    fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, ArchiveError> {
        let view = self.tensors.tensor(name).map_err(|_| ArchiveError::Missing(name.to_owned()))?;
        let same = view.shape().iter().map(|&length| length as i64).eq(shape.iter().copied());
        if !same || view.dtype() != Dtype::F32 {
            return Err(ArchiveError::Mismatch {
                name: name.to_owned(),
                found: format!("{:?}{:?}", view.dtype(), view.shape()),
                expected: format!("F32{shape:?}"),
            });
        }
        Ok(Tensor::f_from_data_size(view.data(), shape, Kind::Float)?)
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>, ArchiveError> {
    let tensor = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * size_of::<f32>()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Tensors {
        let tensor = |values: &[f32]| Tensor::from_slice(values);
        Tensors::from([
            ("a.weight".to_owned(), tensor(&[1.0, -0.0, f32::MIN_POSITIVE, 4.5, 5.0, 6.0]).view([2, 3])),
            ("b".to_owned(), tensor(&[7.0])),
        ])
    }

    fn shapes() -> BTreeMap<String, Vec<i64>> {
        example().iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect()
    }

    fn facts() -> Facts {
        Facts::from_iter([("epoch".to_owned(), 3.into()), ("rate".to_owned(), 6e-5.into())])
    }

    fn stored() -> Vec<u8> {
        write(&example(), facts()).unwrap()
    }

    #[test]
    fn tensors_and_facts_come_back() {
        let file = stored();
        let archive = Archive::open(&file).unwrap();
        assert_eq!(archive.facts(), &facts());
        assert_eq!(archive.read(&shapes()).unwrap(), example());
        assert_eq!(stored(), file);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error() {
        let file = stored();
        assert!((0..file.len()).all(|length| Archive::open(&file[..length]).is_err()));
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            let read = Archive::open(&damaged).and_then(|archive| archive.read(&shapes()));
            assert!(read.is_err(), "byte {place}");
        }
    }

    #[test]
    fn names_and_shapes_must_be_those_expected() {
        let file = stored();
        let archive = Archive::open(&file).unwrap();
        let read = |change: fn(&mut BTreeMap<String, Vec<i64>>)| {
            let mut shapes = shapes();
            change(&mut shapes);
            archive.read(&shapes).unwrap_err()
        };
        let missing = read(|shapes| drop(shapes.insert("c".to_owned(), vec![1])));
        assert!(matches!(missing, ArchiveError::Missing(name) if name == "c"));
        let unknown = read(|shapes| drop(shapes.remove("b")));
        assert!(matches!(unknown, ArchiveError::Unknown(name) if name == "b"));
        let reshaped = read(|shapes| drop(shapes.insert("a.weight".to_owned(), vec![3, 2])));
        assert!(matches!(reshaped, ArchiveError::Mismatch { .. }));
        // A single value must not be spread over a longer tensor.
        let spread = read(|shapes| drop(shapes.insert("b".to_owned(), vec![4])));
        assert!(matches!(spread, ArchiveError::Mismatch { .. }));
    }
}
