//! The little of DER (X.690) that is laid out here: one-octet tags and definite lengths, borrowed.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// One element: its tag, its contents, and what follows it.
pub(super) fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = octets.iter().try_fold(0_usize, |len, octet| {
                len.checked_mul(256)?.checked_add(usize::from(*octet))
            })?;
            (len, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}

/// The contents of an element with this tag, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(got, _, _)| *got == tag).map(|(_, contents, rest)| (contents, rest))
}

/// The contents of the one element with this tag that `der` is.
pub(super) fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(contents, _)| contents)
}

/// An object identifier as people write it, or its octets where it is none.
pub(super) fn dotted(id: &[u8]) -> String {
    let mut out = String::new();
    let mut arc = 0_u64;
    for octet in id {
        let Some(more) = arc.checked_mul(128) else { return hex::encode(id) };
        arc = more | u64::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        if out.is_empty() {
            let first = (arc / 40).min(2);
            out = format!("{first}.{}", arc.saturating_sub(first.saturating_mul(40)));
        } else {
            out.push('.');
            out.push_str(&arc.to_string());
        }
        arc = 0;
    }
    if out.is_empty() || id.last().is_some_and(|last| last & 0x80 != 0) {
        hex::encode(id)
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_written_as_people_do() {
        for (id, expected) in [
            ("2a864886f84d010d01", "1.2.840.113741.1.13.1"),
            ("551d13", "2.5.29.19"),
            ("6781050504", "2.23.133.5.4"),
            ("", ""),
            ("2a86", "2a86"),
            ("ffffffffffffffffffffff7f", "ffffffffffffffffffffff7f"),
        ] {
            assert_eq!(dotted(&hex::decode(id).unwrap()), expected);
        }
    }
}
