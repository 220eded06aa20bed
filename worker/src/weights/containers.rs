//! The formats that libraries can read: safetensors, npz, and files of torch.save.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use pytorch_reader::PytorchReader;
use safetensors::SafeTensors;
use shared::seal;
use shared::weights::Provenance;
use zip::ZipArchive;

use super::Dtype;
use super::content::{Content, Format, ReadError, SourceError, Stored, Tensors, element_count};
use super::numpy::npy_header;

/// Whether a zip file is from PyTorch or from numpy.
pub(super) fn kind_of_zip(file: &[u8]) -> Result<Format, SourceError> {
    let archive = ZipArchive::new(Cursor::new(file))?;
    let names: Vec<_> = archive.file_names().collect::<Result<_, _>>()?;
    let has = |end: &str| names.iter().any(|name| name == end || name.ends_with(&format!("/{end}")));
    if has("data.pkl") {
        let is_script = has("constants.pkl") || names.iter().any(|name| name.contains("/code/"));
        return if is_script { Err(SourceError::TorchScript) } else { Ok(Format::TorchZip) };
    }
    if names.iter().any(|name| name.ends_with(".npy")) { Ok(Format::Npz) } else { Err(SourceError::Unknown) }
}

pub(super) fn safetensors(file: Vec<u8>) -> Result<Content, SourceError> {
    let (header, metadata) = SafeTensors::read_metadata(&file)?;
    let provenance = Provenance::of_safetensors(&file)?;
    if provenance.is_some() {
        seal::open(&file)?;
    }
    let data = header + size_of::<u64>();
    let file = Arc::new(file);
    let (mut tensors, mut others) = (Tensors::new(), Vec::new());
    for (name, info) in metadata.tensors() {
        let Some(dtype) = Dtype::of_safetensors(info.dtype) else {
            others.push(format!("{name}: elements of type {:?}", info.dtype));
            continue;
        };
        check_size(&name, &info.shape, dtype)?;
        let (start, end) = info.data_offsets;
        let file = file.clone();
        let read = move || Ok(file[data + start..data + end].to_vec());
        tensors.insert(name, Stored::new(dtype, info.shape.clone(), read));
    }
    Ok(Content { format: Format::Safetensors, tensors, others, provenance })
}

fn check_size(name: &str, shape: &[usize], dtype: Dtype) -> Result<(), SourceError> {
    match element_count(shape, dtype) {
        Some(_) => Ok(()),
        None => Err(SourceError::Array { name: name.to_owned(), problem: format!("{shape:?} is too large") }),
    }
}

/// The longest accepted header of a `.npy` file.
const NPY_HEADER: u64 = 1 << 16;

pub(super) fn npz(file: Vec<u8>) -> Result<Content, SourceError> {
    let file = Arc::new(file);
    let mut archive = ZipArchive::new(Cursor::new(ArcBytes(file.clone())))?;
    let (mut tensors, mut others) = (Tensors::new(), Vec::new());
    for index in 0..archive.len() {
        let mut head = Vec::new();
        let entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else {
            others.push(format!("{name}: not an array"));
            continue;
        };
        let wrong = |problem: String| SourceError::Array { name: name.clone(), problem };
        entry.take(NPY_HEADER).read_to_end(&mut head).map_err(|error| wrong(error.to_string()))?;
        let (layout, start) = npy_header(&head).map_err(wrong)?;
        let (dtype, shape) = (layout.dtype, layout.shape.clone());
        let length = element_count(&shape, dtype).unwrap_or(0) * dtype.size();
        let shared = ArcBytes(file.clone());
        let read = move || -> Result<Vec<u8>, ReadError> {
            let mut archive = ZipArchive::new(Cursor::new(shared.clone()))?;
            // Reading one byte more than needed detects an entry that is too long, however long it is.
            let limit = (start + length + 1) as u64;
            let mut bytes = Vec::new();
            archive.by_index(index)?.take(limit).read_to_end(&mut bytes)?;
            layout.row_major(bytes.split_off(start.min(bytes.len())))
        };
        tensors.insert(name.clone(), Stored::new(dtype, shape, read));
    }
    Ok(Content { format: Format::Npz, tensors, others, provenance: None })
}

#[derive(Clone)]
struct ArcBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for ArcBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A file of torch.save: a state dict, possibly nested in dictionaries, or a whole module.
pub(super) fn torch(path: &Path, format: Format) -> Result<Content, SourceError> {
    let reader = PytorchReader::new(path)?;
    let (mut tensors, mut others) = (Tensors::new(), Vec::new());
    for (name, tensor) in reader.into_tensors() {
        let Some(dtype) = Dtype::of_torch(tensor.dtype()) else {
            others.push(format!("{name}: elements of type {:?}", tensor.dtype()));
            continue;
        };
        check_size(&name, tensor.shape(), dtype)?;
        let shape = tensor.shape().to_vec();
        tensors.insert(name, Stored::new(dtype, shape, move || Ok(tensor.read()?)));
    }
    Ok(Content { format, tensors, others, provenance: None })
}
