//! The little of DER (X.690 §10) that is read here: definite, minimal lengths, one-octet tags.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Splits one element with this tag off the front: its contents, and what follows it.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (got, contents, rest) = any(der)?;
    (got == tag).then_some((contents, rest))
}

/// Splits one element off the front: its tag, its contents, and what follows it. Lengths are
/// definite and minimal, as DER has them.
pub(crate) fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = bytes.iter().try_fold(0_usize, |len, byte| {
                len.checked_mul(256)?.checked_add(usize::from(*byte))
            })?;
            let minimal = len >= 0x80 && bytes.first() != Some(&0);
            (minimal.then_some(len)?, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}

/// The contents of an element that may be there, and what follows it.
pub(crate) fn optional(der: &[u8], tag: u8) -> Option<(Option<&[u8]>, &[u8])> {
    if der.first() == Some(&tag) {
        element(der, tag).map(|(contents, rest)| (Some(contents), rest))
    } else {
        Some((None, der))
    }
}

/// The contents of the one element with this tag that `der` is.
pub(crate) fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).and_then(|(contents, rest)| rest.is_empty().then_some(contents))
}

/// The contents octets of a canonical DER INTEGER in 0..=255, which is how AMD writes versions.
pub(crate) fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [INTEGER, 1, value @ 0..=0x7f] | [INTEGER, 2, 0, value @ 0x80..=0xff] => Some(value),
        _ => None,
    }
}

/// The text of a DER `IA5String`.
pub(crate) fn ia5_string(der: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(only(der, IA5_STRING)?).ok()?;
    text.is_ascii().then_some(text)
}
