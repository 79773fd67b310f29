//! The little DER that requests and answers of OCSP need.

use attestation::UnixTime;

/// DER that is read from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
}

impl<'a> Der<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` at the end, and where its header is not one of canonical DER.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        // Tags of several octets stand in none of these formats.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = octets.iter().try_fold(0_usize, |len, octet| {
                    len.checked_mul(256)?.checked_add(usize::from(*octet))
                })?;
                let is_shortest = len > 0x7f && octets.first() != Some(&0);
                (is_shortest.then_some(len)?, rest)
            }
            _ => return None,
        };
        let (contents, after) = rest.split_at_checked(len)?;
        self.0 = after;
        Some(Element { tag, contents })
    }

    /// The contents of the next element, if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.contents)
    }

    /// What is inside the next element, if it has this tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }
}

/// One element of DER.
pub(crate) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let len = contents.len().to_be_bytes();
    let significant = len.iter().skip_while(|octet| **octet == 0).copied().collect::<Vec<u8>>();
    let mut out = vec![tag];
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => out.push(0),
        ([short @ 0..=0x7f], _) => out.push(*short),
        (long, count) => {
            out.push(0x80 | count.unwrap_or(0));
            out.extend_from_slice(long);
        }
    }
    out.extend(contents);
    out
}

/// A `GeneralizedTime` as profiles of it have it: `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5.2).
pub(crate) fn generalized_time(contents: &[u8]) -> Option<UnixTime> {
    let text = core::str::from_utf8(contents).ok()?;
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to);
    let (date, time) = (
        format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?),
        format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?),
    );
    format!("{date}T{time}Z").parse().ok()
}

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const CONTEXT_0: u8 = 0xa0;
pub(crate) const CONTEXT_1: u8 = 0xa1;
pub(crate) const CONTEXT_2: u8 = 0xa2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_longer() {
        for len in [0_usize, 1, 127, 128, 255, 256, 70_000] {
            let contents = vec![7; len];
            let der = element(OCTET_STRING, &[&contents]);
            let mut reader = Der::new(&der);
            assert_eq!(reader.take(OCTET_STRING), Some(contents.as_slice()), "{len}");
            assert!(reader.is_empty());
            assert!(Der::new(der.get(..der.len() - 1).unwrap()).next().is_none(), "{len}");
        }
        // A length in more octets than it needs, an indefinite one, a long tag.
        for bad in [&[4, 0x81, 1, 0][..], &[4, 0x82, 0, 0x80], &[4, 0x80, 0, 0], &[0x1f, 1, 0]] {
            assert!(Der::new(bad).next().is_none(), "{bad:?}");
        }
    }

    #[test]
    fn times_have_one_form() {
        let time = generalized_time(b"20261123110000Z").unwrap();
        assert_eq!(time.to_string(), "2026-11-23T11:00:00Z");
        for bad in [
            "20261123110000",
            "20261123110000.5Z",
            "261123110000Z",
            "20261323110000Z",
            "+0261123110000Z",
        ] {
            assert!(generalized_time(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
