use core::fmt;

use attestation::Malformed;
use zeroize::Zeroize;

/// Most lines in one section. Ours have a handful; an SDK that passes its own on sends about twenty.
pub(super) const LINES_MAX: usize = 64;
/// Most octets in one section: what common HTTP servers allow for all headers together.
pub(super) const SECTION_MAX: usize = 16 << 10;

/// A section of header or trailer fields, in order. Names are lower case.
///
/// Values may be secret: they are zeroised when dropped and not shown by `Debug`.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Fields {
    lines: Vec<(String, Vec<u8>)>,
    octets: usize,
}

impl Fields {
    /// An empty section.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), octets: 0 }
    }

    /// The same section with one more line.
    ///
    /// # Errors
    /// See [`push`](Self::push).
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, Malformed> {
        self.push(name, value)?;
        Ok(self)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// A name that is no lower-case token, a value with control characters or outer white space,
    /// and a section that grows over its limits.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Malformed> {
        let value = value.as_ref();
        if name.is_empty() || !name.bytes().all(is_name_octet) {
            return Err(Malformed::invalid("field name", "is not a lower-case token"));
        }
        if !is_value(value) {
            return Err(Malformed::invalid("field value", "has octets that no field value has"));
        }
        let octets = self.octets.saturating_add(name.len()).saturating_add(value.len());
        if self.lines.len() >= LINES_MAX {
            return Err(Malformed::TooLong { what: "field section", limit: LINES_MAX });
        }
        if octets > SECTION_MAX {
            return Err(Malformed::TooLong { what: "field section", limit: SECTION_MAX });
        }
        self.octets = octets;
        self.lines.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    /// The value of the only line called `name`.
    ///
    /// # Errors
    /// Several lines with that name: which one counts must not be a guess.
    pub fn only(&self, name: &str) -> Result<Option<&[u8]>, Malformed> {
        let mut values = self.iter().filter(|(each, _)| *each == name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(Malformed::invalid("field section", "repeats a field that may occur once"));
        }
        Ok(value)
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// How many lines there are.
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl Zeroize for Fields {
    fn zeroize(&mut self) {
        for (_, value) in &mut self.lines {
            value.zeroize();
        }
        self.lines.clear();
        self.octets = 0;
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({})", self.lines.len())
    }
}

/// A token of RFC 9110 §5.6.2, without the upper case that RFC 9292 §4 forbids.
const fn is_name_octet(octet: u8) -> bool {
    matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 9110 §5.5: visible octets, with spaces and tabs inside only.
fn is_value(value: &[u8]) -> bool {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let visible = |octet: &u8| matches!(octet, b'\t' | 0x20..=0x7e | 0x80..);
    value.iter().all(visible) && !blank(value.first()) && !blank(value.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_http_allows() {
        for name in ["", "Content-Type", ":path", "a b", "a\0", "ä"] {
            assert!(Fields::new().with(name, "x").is_err(), "{name:?}");
        }
        for value in ["a\r\nb", "a\nb", "\0", " a", "a ", "\ta", "\x7f", "\x1b"] {
            assert!(Fields::new().with("x", value).is_err(), "{value:?}");
        }
        for value in ["", "a b", "a\tb", "\u{e4}"] {
            assert!(Fields::new().with("x", value).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn a_repeated_field_is_never_guessed() {
        let fields = Fields::new().with("a", "1").unwrap().with("b", "2").unwrap();
        assert_eq!(fields.only("a").unwrap(), Some(b"1".as_slice()));
        assert_eq!(fields.only("c").unwrap(), None);
        assert!(fields.with("a", "1").unwrap().only("a").is_err());
    }

    #[test]
    fn sections_are_bounded() {
        let mut fields = Fields::new();
        for _ in 0..LINES_MAX {
            fields.push("a", "").unwrap();
        }
        assert!(fields.push("a", "").is_err());
        let value = vec![b'x'; SECTION_MAX];
        // A line that was refused takes no room.
        let mut fields = Fields::new();
        assert!(fields.push("a", &value).is_err());
        assert!(fields.push("a", "small").is_ok());
        assert!(Fields::new().with("a", value.get(1..).unwrap()).is_ok());
        assert!(Fields::new().with("a", &value).is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        let fields = Fields::new().with("veritee-tenant", "canary").unwrap();
        assert_eq!(format!("{fields:?}"), "Fields(1)");
    }
}
