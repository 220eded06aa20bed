//! Small weights files, written instruction by instruction as torch.save, pickle and numpy write them.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Emits pickle instructions of protocol 2.
#[derive(Debug, Default)]
pub(super) struct Pickler(pub(super) Vec<u8>);

impl Pickler {
    pub(super) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(super) fn op(mut self, opcode: u8) -> Self {
        self.0.push(opcode);
        self
    }

    pub(super) fn global(mut self, module: &str, name: &str) -> Self {
        write!(self.0, "c{module}\n{name}\n").unwrap();
        self
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    /// Python 2's `str`.
    pub(super) fn old_bytes(mut self, bytes: &[u8]) -> Self {
        self.0.push(b'T');
        self.0.extend((bytes.len() as u32).to_le_bytes());
        self.0.extend(bytes);
        self
    }

    pub(super) fn int(mut self, value: usize) -> Self {
        self.0.push(b'J');
        self.0.extend((value as i32).to_le_bytes());
        self
    }

    pub(super) fn bool(self, value: bool) -> Self {
        self.op(if value { 0x88 } else { 0x89 })
    }

    /// A tuple of numbers.
    pub(super) fn dims(self, dims: &[usize]) -> Self {
        dims.iter().fold(self.op(b'('), |pickle, &length| pickle.int(length)).op(b't')
    }

    pub(super) fn stop(self) -> Vec<u8> {
        self.op(b'.').0
    }
}

/// One tensor of a fixture: a view into a storage.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// A storage: PyTorch's class name and little-endian bytes.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) class: &'static str,
    pub(super) size: usize,
    pub(super) bytes: Vec<u8>,
}

impl Storage {
    pub(super) fn f32(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { class: "FloatStorage", size: 4, bytes }
    }
}

/// A state dict: contiguous f32 tensors, each with its own storage.
pub(super) fn plain(tensors: &[(&str, Vec<usize>)]) -> (Vec<View>, Vec<Storage>) {
    let mut views = Vec::new();
    let mut storages = Vec::new();
    for (name, shape) in tensors {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|index| (storages.len() * 1000 + index) as f32).collect();
        let stride = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let (name, shape) = ((*name).to_owned(), shape.clone());
        views.push(View { name, storage: storages.len(), offset: 0, shape, stride });
        storages.push(Storage::f32(&values));
    }
    (views, storages)
}

/// The pickle that torch.save writes for a state dict nested in the dictionaries `keys`, next to an inert object and an
/// epoch. `parameters` wraps each tensor as an `nn.Parameter`.
pub(super) fn torch_pickle(keys: &[&str], views: &[View], storages: &[Storage], parameters: bool) -> Vec<u8> {
    let mut pickle = Pickler::new();
    for key in keys {
        pickle = pickle.op(b'}').op(b'(').text("epoch").int(3).text("args");
        pickle = pickle.global("argparse", "Namespace").op(b')').op(0x81).op(b'}').op(b'b').text(key);
    }
    pickle = pickle.global("collections", "OrderedDict").op(b')').op(b'R').op(b'(');
    for view in views {
        let storage = &storages[view.storage];
        pickle = pickle.text(&view.name);
        if parameters {
            pickle = pickle.global("torch._utils", "_rebuild_parameter").op(b'(');
        }
        pickle = pickle.global("torch._utils", "_rebuild_tensor_v2").op(b'(');
        pickle =
            pickle.op(b'(').text("storage").global("torch", storage.class).text(&view.storage.to_string());
        pickle = pickle.text("cpu").int(storage.bytes.len() / storage.size).op(b't').op(b'Q');
        pickle = pickle.int(view.offset).dims(&view.shape).dims(&view.stride).bool(false);
        pickle = pickle.global("collections", "OrderedDict").op(b')').op(b'R').op(b't').op(b'R');
        if parameters {
            pickle =
                pickle.bool(true).global("collections", "OrderedDict").op(b')').op(b'R').op(b't').op(b'R');
        }
    }
    pickle = pickle.op(b'u');
    for _ in keys {
        pickle = pickle.op(b'u');
    }
    pickle.stop()
}

/// A zip file with stored entries.
pub(super) fn zipped(entries: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    let method = if deflate { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// torch.save's zip file.
pub(super) fn torch_zip(pickle: &[u8], storages: &[Storage]) -> Vec<u8> {
    let names: Vec<String> = (0..storages.len()).map(|index| format!("archive/data/{index}")).collect();
    let mut entries: Vec<(&str, &[u8])> =
        vec![("archive/data.pkl", pickle), ("archive/byteorder", b"little"), ("archive/version", b"3\n")];
    entries
        .extend(names.iter().zip(storages).map(|(name, storage)| (name.as_str(), storage.bytes.as_slice())));
    zipped(&entries, false)
}

/// torch.save's file before 1.6: magic number, protocol, system, object, keys, storages.
pub(super) fn torch_legacy(pickle: &[u8], storages: &[Storage]) -> Vec<u8> {
    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let mut magic_pickle = Pickler::new().op(0x8a).op(10);
    magic_pickle.0.extend(magic);
    let mut file = magic_pickle.stop();
    file.extend(Pickler::new().int(1001).stop());
    let system = Pickler::new().op(b'}').op(b'(').text("protocol_version").int(1001);
    file.extend(system.text("little_endian").bool(true).op(b'u').stop());
    file.extend(pickle);
    let keys = (0..storages.len())
        .fold(Pickler::new().op(b']').op(b'('), |keys, index| keys.text(&index.to_string()));
    file.extend(keys.op(b'e').stop());
    for storage in storages {
        file.extend(((storage.bytes.len() / storage.size) as u64).to_le_bytes());
        file.extend(&storage.bytes);
    }
    file
}

/// How a fixture's pickle writes an array's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TorchFormat {
    /// Python 2, as in VGGFace2's files.
    Old,
    /// Python 3 with protocol 2: latin-1 text.
    Latin1,
    /// Numpy 2 with protocol 4.
    New,
    /// Protocol 5: `_frombuffer`.
    Buffer,
}

/// An array of a fixture: numpy's type code, byte order, shape, column-major or not, bytes.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) code: &'static str,
    pub(super) order: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
    pub(super) bytes: Vec<u8>,
}

impl Array {
    pub(super) fn f32(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { code: "f4", order: "<", shape: shape.to_vec(), fortran: false, bytes }
    }
}

/// A pickled dictionary of arrays.
pub(super) fn numpy_pickle(arrays: &[(&str, Array)], era: TorchFormat) -> Vec<u8> {
    let module = if era == TorchFormat::New { "numpy._core.multiarray" } else { "numpy.core.multiarray" };
    let mut pickle = Pickler::new().op(b'}').op(b'(');
    for (name, array) in arrays {
        pickle = match era {
            TorchFormat::Old => pickle.old_bytes(name.as_bytes()),
            TorchFormat::Latin1 | TorchFormat::New | TorchFormat::Buffer => pickle.text(name),
        };
        if era == TorchFormat::Buffer {
            pickle = pickle.global("numpy._core.numeric", "_frombuffer").op(b'(').op(0x96);
            pickle.0.extend((array.bytes.len() as u64).to_le_bytes());
            pickle.0.extend(&array.bytes);
            pickle = dtype(pickle, array).dims(&array.shape);
            pickle = pickle.text(if array.fortran { "F" } else { "C" }).op(b't').op(b'R');
            continue;
        }
        pickle = pickle.global(module, "_reconstruct").global("numpy", "ndarray").dims(&[0]);
        pickle = pickle.old_bytes(b"b").op(0x87).op(b'R').op(b'(').int(1).dims(&array.shape);
        pickle = dtype(pickle, array).bool(array.fortran);
        pickle = match era {
            TorchFormat::Old | TorchFormat::Buffer => pickle.old_bytes(&array.bytes),
            TorchFormat::Latin1 => {
                let text: String = array.bytes.iter().map(|&byte| char::from(byte)).collect();
                pickle.global("_codecs", "encode").text(&text).text("latin1").op(0x86).op(b'R')
            }
            TorchFormat::New => {
                let mut pickle = pickle.op(0x8e);
                pickle.0.extend((array.bytes.len() as u64).to_le_bytes());
                pickle.0.extend(&array.bytes);
                pickle
            }
        };
        pickle = pickle.op(b't').op(b'b');
    }
    pickle.op(b'u').stop()
}

fn dtype(pickle: Pickler, array: &Array) -> Pickler {
    let pickle = pickle.global("numpy", "dtype").text(array.code).int(0).int(1).op(0x87).op(b'R').op(b'(');
    let pickle = pickle.int(3).text(array.order).op(b'N').op(b'N').op(b'N');
    pickle.int(0).int(0).int(0).op(b't').op(b'b')
}

/// A `.npy` file.
pub(super) fn npy(array: &Array) -> Vec<u8> {
    let dims: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
    let dims = dims.join(", ");
    let order = if array.fortran { "True" } else { "False" };
    let descr = format!("{}{}", array.order, array.code);
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({dims},), }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(&array.bytes);
    file
}

/// Writes `bytes` to a file in `folder`.
pub(super) fn on_disk(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("weights");
    std::fs::write(&path, bytes).unwrap();
    path
}
