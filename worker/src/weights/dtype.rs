//! Element types of stored tensors, and their conversion to f32.

use std::fmt;

use tch::{Kind, TchError, Tensor};

/// The type of a stored tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::F64 => Kind::Double,
            Self::F32 => Kind::Float,
            Self::F16 => Kind::Half,
            Self::Bf16 => Kind::BFloat16,
            Self::I64 => Kind::Int64,
            Self::I32 => Kind::Int,
            Self::I16 => Kind::Int16,
            Self::I8 => Kind::Int8,
            Self::U8 => Kind::Uint8,
            Self::Bool => Kind::Bool,
        }
    }

    /// From numpy's type character and item size: `f4`, `i8`, `b1`.
    pub(super) fn of_numpy(code: &str) -> Option<Self> {
        Some(match code {
            "f8" => Self::F64,
            "f4" => Self::F32,
            "f2" => Self::F16,
            "i8" => Self::I64,
            "i4" => Self::I32,
            "i2" => Self::I16,
            "i1" => Self::I8,
            "u1" => Self::U8,
            "b1" => Self::Bool,
            _ => return None,
        })
    }

    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as Stored;
        Some(match dtype {
            Stored::F64 => Self::F64,
            Stored::F32 => Self::F32,
            Stored::F16 => Self::F16,
            Stored::BF16 => Self::Bf16,
            Stored::I64 => Self::I64,
            Stored::I32 => Self::I32,
            Stored::I16 => Self::I16,
            Stored::I8 => Self::I8,
            Stored::U8 => Self::U8,
            Stored::BOOL => Self::Bool,
            _ => return None,
        })
    }

    pub(super) fn of_torch(dtype: pytorch_reader::DType) -> Option<Self> {
        use pytorch_reader::DType as Stored;
        Some(match dtype {
            Stored::F64 => Self::F64,
            Stored::F32 => Self::F32,
            Stored::F16 => Self::F16,
            Stored::BF16 => Self::Bf16,
            Stored::I64 => Self::I64,
            Stored::I32 => Self::I32,
            Stored::I16 => Self::I16,
            Stored::I8 => Self::I8,
            Stored::U8 => Self::U8,
            Stored::Bool => Self::Bool,
            Stored::U64 | Stored::U32 | Stored::U16 => return None,
        })
    }

    /// Little-endian elements in row-major order as an f32 tensor of `shape` on the CPU.
    pub(super) fn to_f32(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor, TchError> {
        let shape: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
        Tensor::f_from_data_size(bytes, &shape, self.kind())?.f_to_kind(Kind::Float)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_gives_the_same_number() {
        for (dtype, bytes) in [
            (Dtype::F64, 3f64.to_le_bytes().to_vec()),
            (Dtype::F32, 3f32.to_le_bytes().to_vec()),
            (Dtype::F16, 0x4200u16.to_le_bytes().to_vec()),
            (Dtype::Bf16, 0x4040u16.to_le_bytes().to_vec()),
            (Dtype::I64, 3i64.to_le_bytes().to_vec()),
            (Dtype::I32, 3i32.to_le_bytes().to_vec()),
            (Dtype::I16, 3i16.to_le_bytes().to_vec()),
            (Dtype::I8, vec![3]),
            (Dtype::U8, vec![3]),
        ] {
            assert_eq!(bytes.len(), dtype.size());
            let tensor = dtype.to_f32(&bytes, &[1]).unwrap();
            assert_eq!((tensor.kind(), tensor.double_value(&[0]).to_bits()), (Kind::Float, 3f64.to_bits()));
        }
    }
}
