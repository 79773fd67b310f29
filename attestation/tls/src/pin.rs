//! Pins: public keys by their hash.

use std::fmt;
use std::str::FromStr;

use attestation::Sha256;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The SHA-256 of a public key's DER `SubjectPublicKeyInfo`, written `sha256:` and 64 lower-case digits.
///
/// An enclave's is the one in its binding statement (`docs/protocol.md` §5.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpkiPin(Sha256);

impl SpkiPin {
    /// The pin whose digest is known.
    pub const fn new(digest: Sha256) -> Self {
        Self(digest)
    }

    /// The pin of a DER `SubjectPublicKeyInfo`.
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::of(spki))
    }

    /// The pin of the key in a DER certificate.
    ///
    /// # Errors
    /// What is no certificate.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, PinError> {
        spki(&CertificateDer::from(certificate)).map(Self::of_spki).ok_or(PinError::NoCertificate)
    }

    /// The digest.
    pub const fn digest(&self) -> &Sha256 {
        &self.0
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for SpkiPin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let digits = text.strip_prefix(PREFIX).ok_or(PinError::Syntax)?;
        digits.parse().map(Self).map_err(|_| PinError::Syntax)
    }
}

/// The keys that a peer may have: one, or several while one follows another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pins(Vec<SpkiPin>);

impl Pins {
    /// Most pins of one peer.
    pub const MAX: usize = 16;

    /// These keys and no others.
    ///
    /// # Errors
    /// None, too many, or the same one twice.
    pub fn new(pins: impl IntoIterator<Item = SpkiPin>) -> Result<Self, PinError> {
        let pins: Vec<_> = pins.into_iter().take(Self::MAX.saturating_add(1)).collect();
        let twice = pins.iter().enumerate().any(|(at, pin)| pins.iter().take(at).any(|p| p == pin));
        match pins.len() {
            0 => Err(PinError::NoPin),
            found if found > Self::MAX => Err(PinError::TooMany),
            _ if twice => Err(PinError::Twice),
            _ => Ok(Self(pins)),
        }
    }

    /// The pins, in the order in which they were given.
    pub fn as_slice(&self) -> &[SpkiPin] {
        &self.0
    }

    /// Whether a key is among them. Pins are public, so the comparison need hide nothing.
    pub(crate) fn contain(&self, pin: &SpkiPin) -> bool {
        self.0.contains(pin)
    }
}

/// The exact octets of the `SubjectPublicKeyInfo` in a certificate that is one, and nothing more.
pub(crate) fn spki<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (rest, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    rest.is_empty().then_some(parsed.tbs_certificate.subject_pki.raw)
}

/// Why pins were refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinError {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    Syntax,
    /// An empty list: nobody could connect.
    NoPin,
    /// More than [`Pins::MAX`].
    TooMany,
    /// The same pin twice.
    Twice,
    /// No certificate to take a pin of.
    NoCertificate,
}

impl PinError {
    /// A stable name for the error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "pin-syntax",
            Self::NoPin => "pin-missing",
            Self::TooMany => "pin-too-many",
            Self::Twice => "pin-twice",
            Self::NoCertificate => "pin-of-no-certificate",
        }
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "a pin is `sha256:` and 64 lower-case hexadecimal digits",
            Self::NoPin => "at least one pin is needed",
            Self::TooMany => "there may be at most 16 pins",
            Self::Twice => "the same pin is there twice",
            Self::NoCertificate => "this is no certificate in DER",
        })
    }
}

impl std::error::Error for PinError {}

/// The one hash function that pins are made with.
const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(octet: u8) -> SpkiPin {
        SpkiPin::new(attestation::Digest([octet; 32]))
    }

    #[test]
    fn a_pin_has_one_spelling() {
        let text = pin(0xab).to_string();
        assert_eq!(text, format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(text.parse(), Ok(pin(0xab)));
        for bad in [
            "",
            "sha256:",
            &text["sha256:".len()..],
            &text[..70],
            &format!("{text}0"),
            &format!(" {text}"),
            &text.replace("ab", "AB"),
            &text.replace("sha256", "SHA256"),
            &text.replace("sha256:", "sha256="),
            &text.replace("ab", "zz"),
        ] {
            assert_eq!(bad.parse::<SpkiPin>(), Err(PinError::Syntax), "{bad}");
        }
    }

    #[test]
    fn a_list_of_pins_is_bounded_and_has_no_doubles() {
        assert_eq!(Pins::new([]), Err(PinError::NoPin));
        assert_eq!(Pins::new([pin(1), pin(2), pin(1)]), Err(PinError::Twice));
        assert_eq!(Pins::new((0..17).map(pin)), Err(PinError::TooMany));
        let pins = Pins::new((0..16).map(pin)).unwrap();
        assert!(pins.contain(&pin(15)));
        assert!(!pins.contain(&pin(16)));
    }

    #[test]
    fn what_is_no_certificate_has_no_pin() {
        for bad in [&b""[..], b"certificate", &[0x30, 0]] {
            assert_eq!(SpkiPin::of_certificate(bad), Err(PinError::NoCertificate));
        }
    }
}
