//! The types of tensors, and how long their blocks are.

use super::LoadError;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(non_camel_case_types, reason = "the format's own names")]
pub enum TensorType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of IEEE 754 single precision.
    BF16,
    /// Blocks of 32: a half-precision scale and 4-bit numbers less 8.
    Q4_0,
    /// Blocks of 32: half-precision scale and minimum, and 4-bit numbers.
    Q4_1,
    /// Blocks of 32: a half-precision scale and 5-bit numbers less 16.
    Q5_0,
    /// Blocks of 32: half-precision scale and minimum, and 5-bit numbers.
    Q5_1,
    /// Blocks of 32: a half-precision scale and 8-bit signed numbers.
    Q8_0,
    /// Blocks of 256: half-precision scale and minimum, 6-bit multiples of both for each 32, and
    /// 4-bit numbers.
    Q4_K,
    /// Blocks of 256: half-precision scale and minimum, 6-bit multiples of both for each 32, and
    /// 5-bit numbers.
    Q5_K,
    /// Blocks of 256: a half-precision scale, 8-bit multiples of it for each 16, and 6-bit numbers
    /// less 32.
    Q6_K,
}

impl TensorType {
    /// Reads GGUF's number for a type.
    pub(super) fn parse(number: u32) -> Result<Self, LoadError> {
        let name = match number {
            0 => return Ok(Self::F32),
            1 => return Ok(Self::F16),
            2 => return Ok(Self::Q4_0),
            3 => return Ok(Self::Q4_1),
            6 => return Ok(Self::Q5_0),
            7 => return Ok(Self::Q5_1),
            8 => return Ok(Self::Q8_0),
            12 => return Ok(Self::Q4_K),
            13 => return Ok(Self::Q5_K),
            14 => return Ok(Self::Q6_K),
            30 => return Ok(Self::BF16),
            9 => "Q8_1",
            10 => "Q2_K",
            11 => "Q3_K",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            28 => "F64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            _ => return Err(LoadError::unsupported("tensor type", &format!("number {number}"))),
        };
        Err(LoadError::unsupported("tensor type", name))
    }

    /// GGUF's number for the type.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::BF16 => 30,
        }
    }

    /// Every type that the engine reads.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// How many numbers a block holds, and in how many bytes.
    pub(crate) const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4_K => (256, 144),
            Self::Q5_K => (256, 176),
            Self::Q6_K => (256, 210),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::tiny::Writer;

    /// Sizes as the format's own package has them (Python's `gguf` 0.19, `GGML_QUANT_SIZES`).
    #[test]
    fn every_type_is_as_long_as_its_blocks() {
        let sizes = [
            (TensorType::F32, 0, 1, 4),
            (TensorType::F16, 1, 1, 2),
            (TensorType::BF16, 30, 1, 2),
            (TensorType::Q4_0, 2, 32, 18),
            (TensorType::Q4_1, 3, 32, 20),
            (TensorType::Q5_0, 6, 32, 22),
            (TensorType::Q5_1, 7, 32, 24),
            (TensorType::Q8_0, 8, 32, 34),
            (TensorType::Q4_K, 12, 256, 144),
            (TensorType::Q5_K, 13, 256, 176),
            (TensorType::Q6_K, 14, 256, 210),
        ];
        assert_eq!(sizes.map(|(kind, ..)| kind), TensorType::ALL);
        for (kind, number, block, bytes) in sizes {
            assert_eq!((kind.number(), kind.block()), (number, (block, bytes)));
            assert_eq!(TensorType::parse(number), Ok(kind));
            let columns = u64::try_from(block).unwrap() * 2;
            let write = |length: usize| {
                let mut writer = Writer::new();
                writer.u32("general.alignment", 8);
                writer.tensor("t", &[columns, 3], kind, &vec![0; length]);
                writer.finish()
            };
            // The writer fills up to the alignment: nothing, where the length is a multiple of it.
            assert!(Gguf::parse(&write(bytes * 6)).is_ok(), "{kind:?}");
            let short = (bytes * 6 - 1) / 8 * 8;
            assert_eq!(
                Gguf::parse(&write(short)).unwrap_err(),
                LoadError::unfit("t", "reaches past the end of the file"),
                "{kind:?}"
            );
            let longer = write(bytes * 6 + 8);
            assert!(Gguf::parse(&longer).is_err(), "{kind:?}");
        }
    }
}
