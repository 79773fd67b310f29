//! Bounded reading and writing of byte strings: all of the input is consumed, or it is refused.

use core::fmt;

/// Bytes that are not what they claim to be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// The input ended before `what` was complete.
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes are left after the end of `what`.
    Trailing {
        /// What was being read.
        what: &'static str,
        /// How many bytes are left.
        extra: usize,
    },
    /// `what` is longer than the limit.
    TooLong {
        /// What was being read.
        what: &'static str,
        /// The limit, in bytes or elements.
        limit: usize,
    },
    /// `what` has a value that its format does not allow.
    Invalid {
        /// What was being read.
        what: &'static str,
        /// Why it is refused: completes the sentence "`what` …".
        why: &'static str,
    },
}

impl Malformed {
    /// The common case: `what` is refused because it `why`.
    pub const fn invalid(what: &'static str, why: &'static str) -> Self {
        Self::Invalid { what, why }
    }

    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "malformed-truncated",
            Self::Trailing { .. } => "malformed-trailing-bytes",
            Self::TooLong { .. } => "malformed-too-long",
            Self::Invalid { .. } => "malformed-invalid",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what } => write!(f, "{what} ends too early"),
            Self::Trailing { what, extra } => write!(f, "{extra} bytes follow the end of {what}"),
            Self::TooLong { what, limit } => {
                write!(f, "{what} is longer than its limit of {limit}")
            }
            Self::Invalid { what, why } => write!(f, "{what} {why}"),
        }
    }
}

impl core::error::Error for Malformed {}

/// Reads `bytes` from the front; the caller ends with [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts to read `what`.
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Parses all of `bytes` with `parse`, or refuses them.
    ///
    /// # Errors
    /// Whatever `parse` refuses, and bytes that it leaves.
    pub fn read_all<T>(
        what: &'static str,
        bytes: &'a [u8],
        parse: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let mut reader = Self::new(what, bytes);
        let value = parse(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) =
            self.rest.split_at_checked(len).ok_or(Malformed::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next two bytes, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A byte string behind a 16-bit length, at most `limit` long (`lv16` of `docs/protocol.md` §5).
    pub fn lv16(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.u16()?);
        if len > limit {
            return Err(Malformed::TooLong { what: self.what, limit });
        }
        self.take(len)
    }

    /// A byte string behind a 16-bit length that must be `N`.
    pub fn lv16_array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let len = usize::from(self.u16()?);
        if len != N {
            return Err(Malformed::invalid(self.what, "has a member of the wrong length"));
        }
        self.array()
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes that are left, without consuming them.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading: bytes that are left are an error.
    pub const fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing { what: self.what, extra: self.rest.len() })
        }
    }
}

/// Builds a byte string in the notation of `docs/protocol.md` §5.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts an empty string.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends `bytes` as they are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    /// Appends a big-endian `u16`.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a big-endian `u64`.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a fixed-size byte string behind its 16-bit length.
    #[must_use]
    pub fn lv16<const N: usize>(self, bytes: &[u8; N]) -> Self {
        const { assert!(N <= 0xffff, "the length must fit 16 bits") };
        let len = u16::try_from(N).unwrap_or(u16::MAX);
        self.u16(len).bytes(bytes)
    }

    /// The finished string.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_or_nothing() {
        let parse = |r: &mut Reader<'_>| r.u16();
        assert_eq!(Reader::read_all("x", &[1, 2], parse), Ok(0x0102));
        assert_eq!(Reader::read_all("x", &[1], parse), Err(Malformed::Truncated { what: "x" }));
        assert_eq!(
            Reader::read_all("x", &[1, 2, 3], parse),
            Err(Malformed::Trailing { what: "x", extra: 1 })
        );
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        assert_eq!(
            Reader::new("x", &[0xff, 0xff]).lv16(4),
            Err(Malformed::TooLong { what: "x", limit: 4 })
        );
        assert_eq!(Reader::new("x", &[0, 4, 1]).lv16(4), Err(Malformed::Truncated { what: "x" }));
        assert!(Reader::new("x", &[0, 1, 1]).lv16_array::<2>().is_err());
    }
}
