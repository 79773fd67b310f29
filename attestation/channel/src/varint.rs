//! Variable-length integers (RFC 9000 §16): read in any form, written in the shortest.

/// The longest form, in octets.
pub(crate) const LEN_MAX: usize = 8;

/// Appends the shortest form of `value`, which is a length in memory and so below 2^62.
pub(crate) fn write(value: usize, out: &mut Vec<u8>) {
    let value = u64::try_from(value).unwrap_or(VALUE_MAX).min(VALUE_MAX);
    let wide = value.to_be_bytes();
    let (form, skip) = match value {
        0..=0x3f => (0x00, 7),
        0x40..=0x3fff => (0x40, 6),
        0x4000..=0x3fff_ffff => (0x80, 4),
        _ => (0xc0, 0),
    };
    for (at, octet) in wide.iter().skip(skip).enumerate() {
        out.push(if at == 0 { octet | form } else { *octet });
    }
}

/// How many octets [`write`] takes for `value`.
pub(crate) const fn size(value: usize) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => LEN_MAX,
    }
}

/// How long the integer is that starts with `first`.
pub(crate) const fn len_of(first: u8) -> usize {
    match first >> 6 {
        0 => 1,
        1 => 2,
        2 => 4,
        _ => LEN_MAX,
    }
}

/// The integer at the front of `bytes` and its length; nothing while it is incomplete.
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let (first, _) = bytes.split_first()?;
    let len = len_of(*first);
    let octets = bytes.get(..len)?;
    let value = octets.iter().fold(0_u64, |value, octet| (value << 8) | u64::from(*octet));
    // The two bits of the form are the top bits of what was read.
    let bits = u32::try_from(len).ok()?.checked_mul(8)?.checked_sub(2)?;
    Some((value & (u64::MAX >> 64_u32.checked_sub(bits)?), len))
}

const VALUE_MAX: u64 = (1 << 62) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9000_appendix_a_1() {
        for (bytes, value) in [
            ("c2197c5eff14e88c", 151_288_809_941_952_652),
            ("9d7f3e7d", 494_878_333),
            ("7bbd", 15_293),
            ("25", 37),
            ("4025", 37),
        ] {
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(read(&bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None, "an incomplete integer is no integer");
            }
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        for (value, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            (0x3fff_ffff, 4),
            (0x4000_0000, 8),
            (usize::MAX >> 2, 8),
        ] {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!((out.len(), size(value)), (len, len), "{value}");
            assert_eq!(read(&out), Some((u64::try_from(value).unwrap(), len)));
        }
    }
}
