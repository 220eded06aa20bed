//! Numpy arrays in pickles (VGGFace2's `.pkl`) and in `.npy` files.
//!
//! In a pickle, an array is a call of `_reconstruct` (or `_frombuffer` in protocol 5) with a state: shape, dtype,
//! order, bytes. If Python 3 rewrote Python 2's bytes for protocol 2, they are latin-1 text that must be encoded again.

use std::sync::Arc;

use super::Dtype;
use super::content::{ReadError, SourceError, Stored, Tensors, element_count};
use super::pickle::{Content, Id, Node, Pickle};

/// How deeply nested dictionaries are followed.
const MAX_DEPTH: usize = 8;
/// The largest number of entries that are visited, counting shared dictionaries each time.
const MAX_ENTRIES: usize = 1 << 16;

/// The memory layout of an array's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Column-major.
    pub(super) fortran: bool,
    pub(super) big_endian: bool,
}

/// The bytes of an array.
#[derive(Debug, Clone)]
enum Data {
    Bytes(Content),
    /// Text in which every character stands for one byte.
    Latin1(Content),
}

/// The arrays of a pickled dictionary by name, and descriptions of its other values.
pub(super) fn read_pickle(file: &Arc<Vec<u8>>) -> Result<(Tensors, Vec<String>), SourceError> {
    let pickle = Pickle::parse(file)?;
    let mut found = Found { pickle: &pickle, file, tensors: Tensors::new(), others: Vec::new(), seen: 0 };
    if pickle.entries(pickle.root()).is_none() {
        return Err(SourceError::NoDictionary(pickle.describe(pickle.root())));
    }
    found.dictionary("", pickle.root(), 0)?;
    Ok((found.tensors, found.others))
}

struct Found<'a> {
    pickle: &'a Pickle<'a>,
    file: &'a Arc<Vec<u8>>,
    tensors: Tensors,
    others: Vec<String>,
    seen: usize,
}

impl Found<'_> {
    fn dictionary(&mut self, prefix: &str, id: Id, depth: usize) -> Result<(), SourceError> {
        for &[key, value] in self.pickle.entries(id).unwrap_or_default() {
            self.seen += 1;
            if self.seen > MAX_ENTRIES || depth > MAX_DEPTH {
                return Err(SourceError::TooDeep);
            }
            let name = match self.pickle.text(key) {
                Some(text) => text.into_owned(),
                None => self.pickle.int(key).map_or_else(|| "?".to_owned(), |key| key.to_string()),
            };
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            if self.pickle.entries(value).is_some() {
                self.dictionary(&name, value, depth + 1)?;
            } else if let Some((layout, data)) = array(self.pickle, value)
                .map_err(|problem| SourceError::Array { name: name.clone(), problem })?
            {
                self.tensors.insert(name, self.stored(layout, data));
            } else {
                self.others.push(format!("{name}: {}", self.pickle.describe(value)));
            }
        }
        Ok(())
    }

    fn stored(&self, layout: Layout, data: Data) -> Stored {
        let file = self.file.clone();
        let (dtype, shape) = (layout.dtype, layout.shape.clone());
        let read = move || {
            let bytes = match &data {
                Data::Bytes(content) => content.of(&file).to_vec(),
                Data::Latin1(content) => latin1(content.of(&file)).ok_or(ReadError::Latin1)?,
            };
            layout.row_major(bytes)
        };
        Stored::new(dtype, shape, read)
    }
}

/// The array at node `id`; `None` if it is something else.
fn array(pickle: &Pickle<'_>, id: Id) -> Result<Option<(Layout, Data)>, String> {
    let Node::Object { callable, args, state, .. } = pickle.node(id) else { return Ok(None) };
    let parts = match pickle.global(*callable) {
        Some(("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")) => {
            let state = state.and_then(|state| pickle.tuple(state)).ok_or("it has no state")?;
            // A version precedes them, except in the oldest files.
            let [.., shape, dtype, order, data] = state else {
                return Err("its state is not that of an array".to_owned());
            };
            [*data, *dtype, *shape, *order]
        }
        Some(("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer")) => {
            let args = pickle.tuple(*args).unwrap_or_default();
            args.try_into().map_err(|_| "its arguments are not those of an array".to_owned())?
        }
        _ => return Ok(None),
    };
    let [data, dtype, shape, order] = parts;
    let (dtype, big_endian) = element(pickle, dtype)?;
    let shape = pickle.tuple(shape).ok_or("it has no shape")?;
    let length = |&id: &Id| pickle.int(id).and_then(|length| usize::try_from(length).ok());
    let shape: Vec<usize> =
        shape.iter().map(length).collect::<Option<_>>().ok_or("its shape is not a list of lengths")?;
    let fortran = pickle.int(order) == Some(1) || pickle.text(order).is_some_and(|order| order == "F");
    element_count(&shape, dtype).ok_or("it is too large")?;
    let data = bytes(pickle, data).ok_or_else(|| format!("its data is {}", pickle.describe(data)))?;
    Ok(Some((Layout { dtype, shape, fortran, big_endian }, data)))
}

/// The element type, and whether it is big-endian.
fn element(pickle: &Pickle<'_>, id: Id) -> Result<(Dtype, bool), String> {
    let Node::Object { callable, args, state, .. } = pickle.node(id) else {
        return Err(format!("its dtype is {}", pickle.describe(id)));
    };
    if pickle.global(*callable) != Some(("numpy", "dtype")) {
        return Err(format!("its dtype is {}", pickle.describe(id)));
    }
    let code = pickle.tuple(*args).and_then(|args| pickle.text(*args.first()?)).unwrap_or_default();
    let order = state.and_then(|state| pickle.text(*pickle.tuple(state)?.get(1)?)).unwrap_or_default();
    let dtype =
        Dtype::of_numpy(&code).ok_or_else(|| format!("dtype `{code}` is not one that weights have"))?;
    Ok((dtype, order == ">"))
}

fn bytes(pickle: &Pickle<'_>, id: Id) -> Option<Data> {
    match pickle.node(id) {
        Node::Bytes(content) => Some(Data::Bytes(content.clone())),
        Node::Object { callable, args, .. } => {
            let args = pickle.tuple(*args)?;
            match (pickle.global(*callable)?, args) {
                (("_codecs", "encode"), [text, encoding, ..]) => {
                    let encoding = pickle.text(*encoding)?;
                    let Node::Text(content) = pickle.node(*text) else { return None };
                    matches!(&*encoding, "latin1" | "latin-1" | "iso-8859-1")
                        .then(|| Data::Latin1(content.clone()))
                }
                (("builtins" | "__builtin__", "bytes" | "bytearray"), []) => {
                    Some(Data::Bytes(Content::Unescaped(Vec::new())))
                }
                (("builtins" | "__builtin__", "bytes" | "bytearray"), [inner]) => match pickle.node(*inner) {
                    Node::Bytes(content) => Some(Data::Bytes(content.clone())),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

impl Layout {
    /// `bytes` as little-endian elements in row-major order.
    pub(super) fn row_major(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let size = self.dtype.size();
        let expected = element_count(&self.shape, self.dtype).unwrap_or(usize::MAX).saturating_mul(size);
        if bytes.len() != expected {
            return Err(ReadError::Length { expected, found: bytes.len() });
        }
        if self.big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        if !self.fortran || self.shape.len() < 2 || bytes.is_empty() {
            return Ok(bytes);
        }
        let mut ordered = Vec::with_capacity(bytes.len());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..expected / size {
            let at = index.iter().zip(&self.shape).rev().fold(0, |at, (&i, &length)| at * length + i);
            ordered.extend_from_slice(&bytes[at * size..(at + 1) * size]);
            for (i, &length) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < length {
                    break;
                }
                *i = 0;
            }
        }
        Ok(ordered)
    }
}

/// The layout of a `.npy` file and the offset of its data (numpy's formats 1 to 3).
///
/// Parsed here, because npyz multiplies the lengths in a header unchecked, and a damaged file must not end the program.
pub(super) fn npy_header(file: &[u8]) -> Result<(Layout, usize), String> {
    let wrong = || "it is not a .npy file".to_owned();
    let version = *file.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.first()).ok_or_else(wrong)?;
    let length = |range| file.get(range).ok_or_else(wrong);
    let (start, length) = match version {
        1 => (10, length(8..10)?.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte))),
        2 | 3 => (12, length(8..12)?.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte))),
        _ => return Err(format!("its format {version} is newer than this program")),
    };
    let header = file.get(start..start + length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let header = header.ok_or_else(wrong)?;
    let value = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
    let descr = descr.ok_or("its elements are records, not numbers")?;
    let code = descr.trim_start_matches(['<', '>', '|', '=']);
    let dtype =
        Dtype::of_numpy(code).ok_or_else(|| format!("dtype `{descr}` is not one that weights have"))?;
    let shape =
        value("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next()).ok_or_else(wrong)?;
    let lengths = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
    let shape: Vec<usize> = lengths.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    element_count(&shape, dtype).ok_or("it is too large")?;
    let fortran = value("fortran_order").is_some_and(|rest| rest.starts_with("True"));
    Ok((Layout { dtype, shape, fortran, big_endian: descr.starts_with('>') }, start + length))
}
