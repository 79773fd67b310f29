//! What vendors say of their hardware: certificates and revocation lists, raw, told by content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bytes::Malformed;

/// Most certificates and lists together: four products' chains and lists are under twenty.
pub const ITEMS_MAX: usize = 64;
/// Longest single item: AMD's revocation lists and certificates are a few kilobytes.
pub const ITEM_LEN_MAX: usize = 1 << 20;
/// Longest input to [`Endorsements::add`].
pub const INPUT_LEN_MAX: usize = 4 << 20;

/// Certificates and revocation lists in DER, not yet parsed, let alone believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endorsements {
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

impl Endorsements {
    /// No endorsements.
    pub const fn new() -> Self {
        Self { certificates: Vec::new(), crls: Vec::new() }
    }

    /// X.509 certificates, DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// X.509 certificate revocation lists, DER.
    pub fn crls(&self) -> &[Vec<u8>] {
        &self.crls
    }

    /// Adds a certificate in DER; the same one twice counts once.
    ///
    /// # Errors
    /// Too many items, or one too long.
    pub fn add_certificate(&mut self, der: &[u8]) -> Result<(), Malformed> {
        if !self.certificates.iter().any(|have| have == der) {
            self.admit(der)?;
            self.certificates.push(der.to_vec());
        }
        Ok(())
    }

    /// Adds a revocation list in DER; the same one twice counts once.
    ///
    /// # Errors
    /// Too many items, or one too long.
    pub fn add_crl(&mut self, der: &[u8]) -> Result<(), Malformed> {
        if !self.crls.iter().any(|have| have == der) {
            self.admit(der)?;
            self.crls.push(der.to_vec());
        }
        Ok(())
    }

    /// Adds what `bytes` hold: PEM of any number of certificates and lists, or one of either in DER.
    ///
    /// # Errors
    /// Neither, or too much of it.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.len() > INPUT_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: INPUT_LEN_MAX });
        }
        if bytes.first() == Some(&SEQUENCE) {
            return match der_kind(bytes) {
                Some(Kind::Certificate) => self.add_certificate(bytes),
                Some(Kind::Crl) => self.add_crl(bytes),
                None => Err(Malformed::invalid(WHAT, "is DER of neither certificate nor CRL")),
            };
        }
        let text = core::str::from_utf8(bytes)
            .map_err(|_| Malformed::invalid(WHAT, "is neither PEM nor DER"))?;
        self.add_pem(text)
    }

    /// Adds everything that `other` has.
    ///
    /// # Errors
    /// Too many items together.
    pub fn extend(&mut self, other: &Self) -> Result<(), Malformed> {
        other.certificates.iter().try_for_each(|der| self.add_certificate(der))?;
        other.crls.iter().try_for_each(|der| self.add_crl(der))
    }

    /// All of it in PEM, certificates first.
    pub fn to_pem(&self) -> String {
        let certificates = self.certificates.iter().map(|der| (CERTIFICATE, der));
        let crls = self.crls.iter().map(|der| (CRL, der));
        certificates.chain(crls).map(|(label, der)| pem(label, der)).collect()
    }

    fn admit(&self, der: &[u8]) -> Result<(), Malformed> {
        if der.len() > ITEM_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: ITEM_LEN_MAX });
        }
        if self.certificates.len().saturating_add(self.crls.len()) >= ITEMS_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: ITEMS_MAX });
        }
        Ok(())
    }

    fn add_pem(&mut self, text: &str) -> Result<(), Malformed> {
        let mut rest = text;
        let mut blocks = 0_usize;
        while let Some((_, block)) = rest.split_once("-----BEGIN ") {
            let bad = || Malformed::invalid(WHAT, "holds a PEM block that is not well-formed");
            let (label, body) = block.split_once("-----").ok_or_else(bad)?;
            let end = format!("-----END {label}-----");
            let (body, after) = body.split_once(&end).ok_or_else(bad)?;
            let body: String = body.split_ascii_whitespace().collect();
            let der = STANDARD.decode(body).map_err(|_| bad())?;
            match (label, der_kind(&der)) {
                (CERTIFICATE, Some(Kind::Certificate)) => self.add_certificate(&der)?,
                (CRL, Some(Kind::Crl)) => self.add_crl(&der)?,
                _ => return Err(Malformed::invalid(WHAT, "holds a PEM block of another kind")),
            }
            blocks = blocks.saturating_add(1);
            rest = after;
        }
        if blocks == 0 {
            return Err(Malformed::invalid(WHAT, "is neither PEM nor DER"));
        }
        Ok(())
    }
}

const WHAT: &str = "endorsements";
const CERTIFICATE: &str = "CERTIFICATE";
const CRL: &str = "X509 CRL";
const SEQUENCE: u8 = 0x30;

enum Kind {
    Certificate,
    Crl,
}

/// Tells a certificate from a CRL by the first element inside `tbs`: a certificate of version 3
/// starts with the context tag 0, a CRL of version 2 with the INTEGER 1 (RFC 5280 §4.1, §5.1).
fn der_kind(der: &[u8]) -> Option<Kind> {
    let tbs = der_content(der_content(der)?)?;
    match tbs.get(..3)? {
        [0xa0, 0x03, 0x02] => Some(Kind::Certificate),
        [0x02, 0x01, 0x01] => Some(Kind::Crl),
        _ => None,
    }
}

/// What follows the header of the SEQUENCE that `der` starts with.
fn der_content(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, len], rest) = der.split_first_chunk::<2>()?;
    if tag != SEQUENCE {
        return None;
    }
    match len {
        0..=0x7f => Some(rest),
        0x81..=0x84 => rest.get(usize::from(len & 0x7f)..),
        _ => None,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];
    const LIST: &[u8] = &[0x30, 5, 0x30, 3, 0x02, 1, 1];

    #[test]
    fn kinds_are_told_by_content() {
        let mut all = Endorsements::new();
        all.add(CERT).unwrap();
        all.add(LIST).unwrap();
        all.add(CERT).unwrap();
        assert_eq!((all.certificates().len(), all.crls().len()), (1, 1));
        let mut again = Endorsements::new();
        again.add(all.to_pem().as_bytes()).unwrap();
        assert_eq!(again, all);
    }

    #[test]
    fn the_rest_is_refused() {
        let cert = pem(CERTIFICATE, CERT);
        for bad in [
            "text".to_owned(),
            cert.replace("END", "FIN"),
            cert.replace('M', "!"),
            pem("PRIVATE KEY", CERT),
            pem(CRL, CERT),
        ] {
            assert!(Endorsements::new().add(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [&[0x30][..], &[0x30, 0x80, 0x30], &[0x30, 2, 0x05, 0], &[0xff, 0xfe]] {
            assert!(Endorsements::new().add(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn items_are_bounded() {
        let mut all = Endorsements::new();
        for n in 0..ITEMS_MAX {
            let n = u8::try_from(n).unwrap();
            all.add_certificate(&[0x30, 8, 0x30, 6, 0xa0, 3, 2, 1, 2, n]).unwrap();
        }
        assert!(all.add_certificate(CERT).is_err());
        // What is there already takes no place.
        assert!(all.add_certificate(&[0x30, 8, 0x30, 6, 0xa0, 3, 2, 1, 2, 0]).is_ok());
        assert!(all.extend(&all.clone()).is_ok());
        assert!(Endorsements::new().add_crl(&vec![0; ITEM_LEN_MAX + 1]).is_err());
    }
}
