//! The GGUF container, version 3: bounded, total, all of it or nothing.
//!
//! | part | layout (little endian) |
//! |---|---|
//! | header | magic `GGUF`, version u32 = 3, tensor count u64, metadata count u64 |
//! | metadata | per entry: key (u64 length, UTF-8), type u32, value |
//! | tensor infos | per tensor: name, dimension count u32, dimensions u64…, type u32, offset u64 |
//! | data | at the next multiple of `general.alignment` (default 32); each offset is a multiple of it |
//!
//! Beyond the format, these are refused: duplicate keys and names, nested arrays, tensors that
//! overlap, and bytes that belong to nothing. A file that passes has exactly one meaning.

use std::collections::BTreeMap;

use attestation::digest::Sha256;

mod error;
mod types;

pub use error::LoadError;
pub use types::TensorType;

/// A GGUF file that has been read whole.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    metadata: BTreeMap<&'a str, Entry<'a>>,
    tensors: BTreeMap<&'a str, Tensor<'a>>,
}

/// One metadata value, and the bytes (type and value) that it was read from.
#[derive(Debug)]
struct Entry<'a> {
    value: Value<'a>,
    raw: &'a [u8],
}

/// A metadata value.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Uint(u64),
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Texts(Vec<&'a str>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    /// An array of flags or of wide floats; nothing that we support reads one.
    Other,
}

/// One tensor: where its bytes are, and what they mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) kind: TensorType,
    /// Numbers per row.
    pub(crate) columns: usize,
    /// Rows; 1 for a vector.
    pub(crate) rows: usize,
    pub(crate) data: &'a [u8],
}

impl<'a> Gguf<'a> {
    /// Reads all of `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(4, "magic")? != b"GGUF" {
            return Err(reader.malformed("magic", "is not GGUF"));
        }
        if reader.u32("version")? != 3 {
            return Err(reader.malformed("version", "is not 3"));
        }
        let tensor_count = reader.count("tensor count", TENSORS_MAX)?;
        let metadata_count = reader.count("metadata count", METADATA_MAX)?;

        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let key = reader.text("metadata key", KEY_MAX)?;
            let from = reader.at;
            let value = reader.value()?;
            let raw = bytes.get(from..reader.at).unwrap_or_default();
            if metadata.insert(key, Entry { value, raw }).is_some() {
                return Err(reader.malformed("metadata key", "appears twice"));
            }
        }

        let mut infos = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = reader.text("tensor name", NAME_MAX)?;
            let info = reader.tensor_info(name)?;
            if infos.insert(name, info).is_some() {
                return Err(reader.malformed("tensor name", "appears twice"));
            }
        }
        let mut file = Self { metadata, tensors: BTreeMap::new() };
        file.place(&reader, infos)?;
        Ok(file)
    }

    /// Gives every tensor its bytes: aligned, inside the file, shared with no other, none left over.
    fn place(
        &mut self,
        reader: &Reader<'a>,
        infos: BTreeMap<&'a str, TensorInfo>,
    ) -> Result<(), LoadError> {
        let alignment = match self.metadata.get("general.alignment").map(|entry| &entry.value) {
            None => 32,
            Some(Value::Uint(alignment))
                if alignment.is_power_of_two() && (8..=4096).contains(alignment) =>
            {
                usize::try_from(*alignment).unwrap_or(32)
            }
            Some(_) => {
                return Err(LoadError::unfit(
                    "general.alignment",
                    "must be a power of two from 8 to 4096",
                ));
            }
        };
        let base = reader.at.checked_next_multiple_of(alignment);
        let Some(data) = base.and_then(|base| reader.bytes.get(base..)) else {
            if infos.is_empty() {
                return Ok(());
            }
            return Err(reader.malformed("tensor data", "is missing"));
        };
        let mut ordered: Vec<_> = infos.into_iter().collect();
        ordered.sort_by_key(|(_, info)| info.offset);
        let mut end = 0_usize;
        for (name, info) in ordered {
            if !info.offset.is_multiple_of(alignment) {
                return Err(LoadError::unfit(
                    name,
                    "does not start at a multiple of the alignment",
                ));
            }
            if info.offset < end {
                return Err(LoadError::unfit(name, "overlaps another tensor"));
            }
            if info.offset.saturating_sub(end) >= alignment {
                return Err(LoadError::unfit(
                    name,
                    "leaves bytes before it that belong to nothing",
                ));
            }
            let range = info.offset.checked_add(info.length).map(|end| info.offset..end);
            let Some((range, bytes)) =
                range.and_then(|range| Some((range.clone(), data.get(range)?)))
            else {
                return Err(LoadError::unfit(name, "reaches past the end of the file"));
            };
            end = range.end;
            let TensorInfo { kind, columns, rows, .. } = info;
            self.tensors.insert(name, Tensor { kind, columns, rows, data: bytes });
        }
        if data.len().saturating_sub(end) >= alignment {
            return Err(LoadError::Malformed {
                what: "tensor data",
                why: "is followed by more bytes",
                offset: end,
            });
        }
        Ok(())
    }

    /// The value of `key`, if it is there.
    pub(crate) fn value(&self, key: &str) -> Option<&Value<'a>> {
        self.metadata.get(key).map(|entry| &entry.value)
    }

    /// A text that must be there.
    pub(crate) fn text(&self, key: &str) -> Result<&'a str, LoadError> {
        match self.value(key) {
            Some(Value::Text(text)) => Ok(text),
            Some(_) => Err(LoadError::unfit(key, "must be a text")),
            None => Err(LoadError::missing(key)),
        }
    }

    /// A count or an index, if it is there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Uint(number)) => usize::try_from(*number).ok(),
            Some(Value::Int(number)) => usize::try_from(*number).ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| LoadError::unfit(key, "must be a whole number"))
    }

    /// A float, if it is there.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => Err(LoadError::unfit(key, "must be a finite number")),
        }
    }

    /// A flag, if it is there.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(LoadError::unfit(key, "must be true or false")),
        }
    }

    /// A list of texts that must be there.
    pub(crate) fn texts(&self, key: &str) -> Result<&[&'a str], LoadError> {
        match self.value(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(LoadError::unfit(key, "must be a list of texts")),
            None => Err(LoadError::missing(key)),
        }
    }

    /// A list of whole numbers that must be there.
    pub(crate) fn ints(&self, key: &str) -> Result<&[i64], LoadError> {
        match self.value(key) {
            Some(Value::Ints(ints)) => Ok(ints),
            Some(_) => Err(LoadError::unfit(key, "must be a list of whole numbers")),
            None => Err(LoadError::missing(key)),
        }
    }

    /// A list of single-precision numbers that must be there.
    pub(crate) fn floats(&self, key: &str) -> Result<&[f32], LoadError> {
        match self.value(key) {
            Some(Value::Floats(floats)) => Ok(floats),
            Some(_) => Err(LoadError::unfit(key, "must be a list of numbers")),
            None => Err(LoadError::missing(key)),
        }
    }

    /// The metadata keys that start with `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> impl Iterator<Item = &'a str> {
        self.metadata.keys().copied().filter(move |key| key.starts_with(prefix))
    }

    /// Takes the tensor `name` out, so that what nobody asked for stays.
    pub(crate) fn take_tensor(&mut self, name: &str) -> Option<Tensor<'a>> {
        self.tensors.remove(name)
    }

    /// A tensor that nobody took.
    pub(crate) fn left_over(&self) -> Option<&'a str> {
        self.tensors.keys().next().copied()
    }

    /// SHA-256 over the metadata that decides how text becomes tokens.
    ///
    /// For every key that starts with `tokenizer.`, the chat template apart, in byte order of the
    /// keys: the key's length (u64), the key, the value's length (u64) and the value as the file
    /// has it (type, then contents). All lengths are little endian.
    pub(crate) fn tokenizer_digest(&self) -> Sha256 {
        let mut parts: Vec<Vec<u8>> = vec![b"veritee tokenizer v1\0".to_vec()];
        for (key, entry) in &self.metadata {
            if key.starts_with("tokenizer.") && *key != CHAT_TEMPLATE {
                for bytes in [key.as_bytes(), entry.raw] {
                    parts.push(
                        u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes().to_vec(),
                    );
                    parts.push(bytes.to_vec());
                }
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Sha256::of_parts(&parts)
    }
}

/// Where the chat template is.
pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

struct TensorInfo {
    kind: TensorType,
    columns: usize,
    rows: usize,
    offset: usize,
    length: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn malformed(&self, what: &'static str, why: &'static str) -> LoadError {
        LoadError::Malformed { what, why, offset: self.at }
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], LoadError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken =
            taken.ok_or_else(|| self.malformed(what, "reaches past the end of the file"))?;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LoadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, LoadError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, LoadError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things, bounded before anything is allocated for them.
    fn count(&mut self, what: &'static str, max: usize) -> Result<usize, LoadError> {
        let count = usize::try_from(self.u64(what)?).unwrap_or(usize::MAX);
        if count > max { Err(self.malformed(what, "is above the limit")) } else { Ok(count) }
    }

    fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, LoadError> {
        let length = self.count(what, max)?;
        let bytes = self.take(length, what)?;
        core::str::from_utf8(bytes).map_err(|_| self.malformed(what, "is not UTF-8"))
    }

    fn value(&mut self) -> Result<Value<'a>, LoadError> {
        const ARRAY: u32 = 9;
        match self.u32("metadata type")? {
            ARRAY => self.list(),
            kind => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value<'a>, LoadError> {
        const WHAT: &str = "metadata value";
        Ok(match kind {
            0 => Value::Uint(u64::from(u8::from_le_bytes(self.array(WHAT)?))),
            1 => Value::Int(i64::from(i8::from_le_bytes(self.array(WHAT)?))),
            2 => Value::Uint(u64::from(u16::from_le_bytes(self.array(WHAT)?))),
            3 => Value::Int(i64::from(i16::from_le_bytes(self.array(WHAT)?))),
            4 => Value::Uint(u64::from(self.u32(WHAT)?)),
            5 => Value::Int(i64::from(i32::from_le_bytes(self.array(WHAT)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array(WHAT)?))),
            7 => match self.array::<1>(WHAT)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err(self.malformed(WHAT, "is neither true nor false")),
            },
            8 => Value::Text(self.text(WHAT, TEXT_MAX)?),
            10 => Value::Uint(self.u64(WHAT)?),
            11 => Value::Int(i64::from_le_bytes(self.array(WHAT)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(WHAT)?)),
            _ => return Err(self.malformed("metadata type", "is unknown")),
        })
    }

    /// A list; what it can hold is bounded by the bytes that are left, at one byte or more apiece.
    fn list(&mut self) -> Result<Value<'a>, LoadError> {
        let kind = self.u32("list type")?;
        let left = self.bytes.len().saturating_sub(self.at);
        let count = self.count("list length", LIST_MAX.min(left))?;
        match kind {
            8 => (0..count)
                .map(|_| self.text("list text", TEXT_MAX))
                .collect::<Result<_, _>>()
                .map(Value::Texts),
            0..=5 | 10 | 11 => {
                let mut ints = Vec::new();
                for _ in 0..count {
                    ints.push(match self.scalar(kind)? {
                        Value::Uint(number) => i64::try_from(number)
                            .map_err(|_| self.malformed("list number", "is above the limit"))?,
                        Value::Int(number) => number,
                        Value::Float(_)
                        | Value::Bool(_)
                        | Value::Text(_)
                        | Value::Texts(_)
                        | Value::Ints(_)
                        | Value::Floats(_)
                        | Value::Other => return Err(self.malformed("list number", "is not whole")),
                    });
                }
                Ok(Value::Ints(ints))
            }
            6 => {
                let mut floats = Vec::new();
                for _ in 0..count {
                    floats.push(f32::from_le_bytes(self.array("list number")?));
                }
                Ok(Value::Floats(floats))
            }
            7 | 12 => {
                for _ in 0..count {
                    self.scalar(kind)?;
                }
                Ok(Value::Other)
            }
            _ => Err(self.malformed("list type", "is unknown or itself a list")),
        }
    }

    fn tensor_info(&mut self, name: &str) -> Result<TensorInfo, LoadError> {
        const WHAT: &str = "tensor dimensions";
        let dimensions = self.u32(WHAT)?;
        if dimensions == 0 || dimensions > 4 {
            return Err(self.malformed(WHAT, "are not 1 to 4"));
        }
        let columns = self.count(WHAT, DIMENSION_MAX)?;
        let mut rows = 1_usize;
        for _ in 1..dimensions {
            let length = self.count(WHAT, DIMENSION_MAX)?;
            rows = rows
                .checked_mul(length)
                .ok_or_else(|| self.malformed(WHAT, "are above the limit"))?;
        }
        if columns == 0 || rows == 0 {
            return Err(self.malformed(WHAT, "must not be zero"));
        }
        let kind = TensorType::parse(self.u32("tensor type")?)?;
        let offset = self.count("tensor offset", usize::MAX)?;
        let (block, block_bytes) = kind.block();
        if !columns.is_multiple_of(block) {
            return Err(LoadError::unfit(name, "does not have rows of whole blocks of its type"));
        }
        let row = columns.checked_div(block).and_then(|blocks| blocks.checked_mul(block_bytes));
        let length = row.and_then(|row| row.checked_mul(rows));
        let length = length.ok_or_else(|| self.malformed(WHAT, "are above the limit"))?;
        Ok(TensorInfo { kind, columns, rows, offset, length })
    }
}

/// Metadata entries in a file; the models that we know have about 40.
const METADATA_MAX: usize = 4096;
/// Tensors in a file; a model of 126 layers has about 1,200.
const TENSORS_MAX: usize = 65_536;
/// Bytes in a key (the format's own limit is 2^16 - 1).
const KEY_MAX: usize = 1024;
/// Bytes in a tensor's name (the format's own limit is 64; some writers pass it).
const NAME_MAX: usize = 256;
/// Bytes in a text: chat templates reach 20 KB.
const TEXT_MAX: usize = 1 << 20;
/// Elements of a list: the largest vocabularies have 2^18 tokens and 2^19 merges.
const LIST_MAX: usize = 1 << 22;
/// Numbers along one dimension.
const DIMENSION_MAX: usize = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::{self, Writer};

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text("general.architecture", "llama");
        writer.u32("general.alignment", 64);
        writer.texts("tokenizer.ggml.tokens", &["a", "b"]);
        writer.text(CHAT_TEMPLATE, "hi");
        writer.tensor("one", &[3], TensorType::F32, &[1; 12]);
        writer.tensor("two", &[32, 2], TensorType::Q8_0, &[2; 68]);
        writer.finish()
    }

    #[test]
    fn reads_what_was_written() {
        let bytes = sample();
        let mut file = Gguf::parse(&bytes).unwrap();
        assert_eq!(file.text("general.architecture").unwrap(), "llama");
        assert_eq!(file.texts("tokenizer.ggml.tokens").unwrap(), ["a", "b"]);
        let two = file.take_tensor("two").unwrap();
        assert_eq!(
            (two.kind, two.columns, two.rows, two.data),
            (TensorType::Q8_0, 32, 2, &[2; 68][..])
        );
        assert_eq!(file.left_over(), Some("one"));
        assert!(matches!(file.text("none"), Err(LoadError::Missing { .. })));
        assert!(matches!(file.text("general.alignment"), Err(LoadError::Unfit { .. })));
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len().saturating_sub(63) {
            assert!(Gguf::parse(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.clone();
        longer.extend([0; 64]);
        assert!(matches!(
            Gguf::parse(&longer),
            Err(LoadError::Malformed { why: "is followed by more bytes", .. })
        ));
    }

    #[test]
    fn any_flipped_byte_is_read_or_refused_without_panic() {
        let bytes = tiny::model(TensorType::Q4_1);
        for at in 0..bytes.len().min(6000) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                drop(Gguf::parse(&bytes));
            }
        }
    }

    #[test]
    fn what_the_file_may_not_say() {
        type Write = fn(&mut Writer);
        let cases: [(Write, &str); 8] = [
            (
                |w| {
                    w.u32("k", 1);
                    w.u32("k", 1);
                },
                "metadata key appears twice",
            ),
            (
                |w| {
                    w.tensor("t", &[1], TensorType::F32, &[0; 4]);
                    w.tensor("t", &[1], TensorType::F32, &[0; 4]);
                },
                "tensor name appears twice",
            ),
            (|w| w.u32("general.alignment", 24), "must be a power of two"),
            (
                |w| w.tensor("t", &[31], TensorType::Q8_0, &[0; 34]),
                "`t` does not have rows of whole blocks",
            ),
            (
                |w| w.tensor("k", &[128, 2], TensorType::Q6_K, &[0; 210]),
                "`k` does not have rows of whole blocks",
            ),
            (|w| w.tensor("t", &[0], TensorType::F32, &[]), "must not be zero"),
            (|w| w.tensor("t", &[9], TensorType::F32, &[0; 4]), "past the end"),
            (|w| w.raw("k", 9, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "itself a list"),
        ];
        for (write, expected) in cases {
            let mut writer = Writer::new();
            write(&mut writer);
            let error = Gguf::parse(&writer.finish()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }

    #[test]
    fn counts_are_bounded_before_allocation() {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        assert!(matches!(
            Gguf::parse(&bytes),
            Err(LoadError::Malformed { what: "tensor count", .. })
        ));
        let mut writer = Writer::new();
        let mut list = 4_u32.to_le_bytes().to_vec();
        list.extend((1_u64 << 21).to_le_bytes());
        writer.raw("k", 9, &list);
        assert!(matches!(
            Gguf::parse(&writer.finish()),
            Err(LoadError::Malformed { what: "list length", .. })
        ));
    }

    #[test]
    fn unknown_tensor_types_are_named() {
        let bytes = sample();
        let mut at = bytes.windows(3).position(|window| window == b"one").unwrap();
        at = at.saturating_add(3 + 4 + 8);
        for (number, name) in [(10, "Q2_K"), (77, "number 77")] {
            let mut bytes = bytes.clone();
            bytes[at] = number;
            assert_eq!(
                Gguf::parse(&bytes).unwrap_err(),
                LoadError::unsupported("tensor type", name)
            );
        }
    }

    #[test]
    fn tokenizer_digest_covers_the_tokenizer_alone() {
        let write = |tokens: &[&str], template: &str, name: &str| {
            let mut writer = Writer::new();
            writer.texts("tokenizer.ggml.tokens", tokens);
            writer.text(CHAT_TEMPLATE, template);
            writer.text("general.name", name);
            Gguf::parse(&writer.finish()).unwrap().tokenizer_digest()
        };
        let digest = write(&["a", "b"], "t", "n");
        assert_eq!(digest, write(&["a", "b"], "other", "other"));
        assert_ne!(digest, write(&["ab", ""], "t", "n"));
    }
}
