//! Octets in text: base64 (RFC 4648), and the bodies of PEM blocks (RFC 7468).
//!
//! Evidence of eight GPUs is base64 three times over: of the bundle's members, of chains, and of the
//! certificates in them. So it is decoded 32 letters at a time where the processor can. What is taken
//! and what is refused is the same everywhere.

use std::sync::LazyLock;

use base64::Engine as _;

/// Decodes base64 with its padding, and nothing else around it.
pub(crate) fn standard(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    static STANDARD: LazyLock<engine::Fast> = LazyLock::new(engine::standard);
    STANDARD.decode(text).ok()
}

/// Decodes base64url without padding, and nothing else around it.
pub(crate) fn url_safe_no_pad(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    static URL_SAFE_NO_PAD: LazyLock<engine::Fast> = LazyLock::new(engine::url_safe_no_pad);
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Decodes what stands between the two lines of a PEM block, whatever blanks its writer put there.
pub(crate) fn body(text: &str) -> Option<Vec<u8>> {
    without_blanks(text, |base64| standard(base64))
}

/// What `decode` makes of the letters without the blanks between them.
pub(crate) fn without_blanks<T>(text: &str, decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut letters = Vec::with_capacity(text.len());
    for line in text.split('\n') {
        letters.extend_from_slice(line.trim_ascii().as_bytes());
    }
    // Few writers leave blanks inside a line.
    decode(&letters).or_else(|| {
        let before = letters.len();
        letters.retain(|letter| !letter.is_ascii_whitespace());
        if letters.len() == before { None } else { decode(&letters) }
    })
}

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod engine {
    use base64::engine::general_purpose::{NO_PAD, PAD};

    /// Finds out once what the processor can.
    pub(super) use base64::engine::Simd as Fast;

    pub(super) fn standard() -> Fast {
        Fast::standard(PAD)
    }

    pub(super) fn url_safe_no_pad() -> Fast {
        Fast::url_safe(NO_PAD)
    }
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
mod engine {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    /// The library knows no faster way here.
    pub(super) use base64::engine::GeneralPurpose as Fast;

    pub(super) fn standard() -> Fast {
        STANDARD
    }

    pub(super) fn url_safe_no_pad() -> Fast {
        URL_SAFE_NO_PAD
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    /// One wrong letter anywhere is refused, at every length: what is decoded many letters at a time
    /// and what is left of it.
    #[test]
    fn fast_or_not_it_takes_and_refuses_the_same() {
        let octets: Vec<u8> = (0..=u8::MAX).map(|octet| octet.wrapping_mul(167)).collect();
        for length in 0..octets.len() {
            let octets = &octets[..length];
            let (padded, url_safe) = (STANDARD.encode(octets), URL_SAFE_NO_PAD.encode(octets));
            assert_eq!(standard(&padded).as_deref(), Some(octets));
            assert_eq!(url_safe_no_pad(&url_safe).as_deref(), Some(octets));
            for at in 0..padded.len() {
                for wrong in ["=", "-", "_", "+", "/", " ", "\n", "\0", "A", "B"] {
                    let mut text = padded.clone();
                    text.replace_range(at..=at, wrong);
                    assert_eq!(standard(&text), STANDARD.decode(&text).ok(), "{text}");
                }
            }
            for at in 0..url_safe.len() {
                for wrong in ["=", "-", "_", "+", "/", " ", "\n", "\0", "A", "B"] {
                    let mut text = url_safe.clone();
                    text.replace_range(at..=at, wrong);
                    assert_eq!(
                        url_safe_no_pad(&text),
                        URL_SAFE_NO_PAD.decode(&text).ok(),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_body_may_have_blanks_anywhere_and_nothing_else() {
        let octets = [0x5a; 100];
        let text = STANDARD.encode(octets);
        let (first, rest) = text.split_at(64);
        for blanks in ["\n", "\r\n", " \n\t", " ", "\n\n"] {
            let text = format!("{blanks}{first}{blanks}{rest}{blanks}");
            assert_eq!(body(&text).as_deref(), Some(octets.as_slice()), "{text:?}");
        }
        for bad in [format!("{first}\n-{rest}"), format!("{text}\n{text}"), first[1..].to_owned()] {
            assert_eq!(body(&bad), None, "{bad:?}");
        }
    }
}
