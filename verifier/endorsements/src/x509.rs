//! What is looked at in certificates and revocation lists: who they name, and when.

use attestation::{Malformed, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// A certificate that parses to its last octet.
#[derive(Debug)]
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        match X509Certificate::from_der(der) {
            Ok(([], parsed)) => Ok(Self(parsed)),
            _ => Err(Malformed::invalid("certificate", "is not one in DER")),
        }
    }

    /// From when to when it is valid.
    pub(crate) fn window(&self) -> (UnixTime, UnixTime) {
        let validity = self.0.validity();
        (unix(validity.not_before), unix(validity.not_after))
    }

    /// The subject's common name.
    pub(crate) fn subject(&self) -> String {
        common_name(self.0.subject())
    }

    /// The issuer's common name.
    pub(crate) fn issuer(&self) -> String {
        common_name(self.0.issuer())
    }

    /// Whether `issuer` is called what this says of its issuer.
    pub(crate) fn names_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.0.issuer().as_raw() == issuer.0.subject().as_raw()
    }

    /// Whether it names itself as its issuer.
    pub(crate) fn is_root(&self) -> bool {
        self.names_issuer(self)
    }

    /// The subject's name, DER.
    pub(crate) fn subject_der(&self) -> &'a [u8] {
        self.0.tbs_certificate.subject.as_raw()
    }

    /// The subject's key: the contents of its BIT STRING, which OCSP hashes (RFC 6960 §4.1.1).
    pub(crate) fn key(&self) -> &[u8] {
        self.0.public_key().subject_public_key.data.as_ref()
    }

    /// The contents of the serial number's INTEGER.
    pub(crate) fn serial(&self) -> &[u8] {
        self.0.raw_serial()
    }

    /// The value of the only extension with this identifier (its DER contents).
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        let mut found =
            self.0.tbs_certificate.extensions().iter().filter(|e| e.oid.as_bytes() == oid);
        let value = found.next()?.value;
        found.next().is_none().then_some(value)
    }
}

/// A revocation list that parses to its last octet.
#[derive(Debug)]
pub(crate) struct Crl<'a>(CertificateRevocationList<'a>);

impl<'a> Crl<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        match CertificateRevocationList::from_der(der) {
            Ok(([], parsed)) => Ok(Self(parsed)),
            _ => Err(Malformed::invalid("revocation list", "is not one in DER")),
        }
    }

    /// `thisUpdate` and `nextUpdate`; a list that does not say when the next one comes is refused.
    pub(crate) fn window(&self) -> Result<(UnixTime, UnixTime), Malformed> {
        let next = self
            .0
            .next_update()
            .ok_or(Malformed::invalid("revocation list", "does not say when the next one comes"))?;
        Ok((unix(self.0.last_update()), unix(next)))
    }

    /// The CRL number, where there is one of at most 64 bits.
    pub(crate) fn number(&self) -> Option<u64> {
        u64::try_from(self.0.crl_number()?).ok()
    }

    /// The issuer's common name.
    pub(crate) fn issuer(&self) -> String {
        common_name(self.0.issuer())
    }
}

fn common_name(name: &X509Name<'_>) -> String {
    let mut names = name.iter_common_name();
    names.next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// Times before 1970 are the epoch: nothing that is looked at here began then.
fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
