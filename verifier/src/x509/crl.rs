//! Revocation lists (RFC 5280 §5). Read here and not by a library: a list may have as many entries as
//! a sender likes, and these are looked through where they lie.

use attestation::{Malformed, UnixTime};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, element, only, optional};
use super::extensions::Extensions;
use super::{Certificate, Key, Signed, is_algorithm, unix};

/// A revocation list, parsed and not yet believed.
#[derive(Debug)]
pub(crate) struct Crl<'a> {
    signed: Signed<'a>,
    is_v2: bool,
    /// The issuer's name, contents octets.
    issuer: &'a [u8],
    this_update: UnixTime,
    next_update: Option<UnixTime>,
    /// `revokedCertificates`, contents octets; every entry is well-formed.
    entries: &'a [u8],
    extensions: Extensions<'a>,
}

impl<'a> Crl<'a> {
    /// Parses exactly one revocation list.
    ///
    /// # Errors
    /// Anything but one DER list, to the last byte.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(der).ok_or(Malformed::invalid("revocation list", "is not one in exact DER"))
    }

    fn read(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let tbs = only(signed.tbs, SEQUENCE)?;
        let (version, rest) = optional(tbs, INTEGER)?;
        let (algorithm, rest) = element(rest, SEQUENCE)?;
        is_algorithm(algorithm).then_some(())?;
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (rest, this_update) = ASN1Time::from_der(rest).ok()?;
        let (rest, next_update) = match rest.first() {
            Some(&(UTC_TIME | GENERALIZED_TIME)) => {
                let (rest, time) = ASN1Time::from_der(rest).ok()?;
                (rest, Some(unix(time)))
            }
            _ => (rest, None),
        };
        let (entries, rest) = optional(rest, SEQUENCE)?;
        let (wrapped, rest) = optional(rest, LIST_EXTENSIONS)?;
        let entries = entries.unwrap_or_default();
        let is_v2 = match version {
            None => false,
            Some([1]) => true,
            Some(_) => return None,
        };
        rest.is_empty().then_some(())?;
        Some(Self {
            signed,
            is_v2,
            issuer,
            this_update: unix(this_update),
            next_update,
            entries: are_well_formed(entries).then_some(entries)?,
            extensions: match wrapped {
                None => Extensions::default(),
                Some(wrapped) => Extensions::parse(only(wrapped, SEQUENCE)?)?,
            },
        })
    }

    /// Whether `issuer`'s subject is this list's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.issuer == issuer.subject
    }

    /// Whether the owner of `key` signed this list, with the algorithm of such keys.
    pub(crate) fn is_signed_by(&self, key: Key<'_>) -> bool {
        self.signed.algorithm().is_some() && self.signed.is_signed_by(key)
    }

    /// `thisUpdate`, and `nextUpdate` where there is one.
    pub(crate) const fn window(&self) -> (UnixTime, Option<UnixTime>) {
        (self.this_update, self.next_update)
    }

    /// The CRL number, where there is one of at most 64 bits.
    pub(crate) fn number(&self) -> Option<u64> {
        let number = self.extensions.iter().find(|item| item.oid == CRL_NUMBER)?;
        let number = match only(number.value, INTEGER)? {
            [0, rest @ ..] if !rest.is_empty() => rest,
            [0x80..=0xff, ..] => return None,
            number => number,
        };
        let mut octets = [0; 8];
        let start = octets.len().checked_sub(number.len())?;
        octets.get_mut(start..)?.copy_from_slice(number);
        Some(u64::from_be_bytes(octets))
    }

    /// Whether this is a complete list of its issuer's own: version 2, no extension twice, and
    /// none critical, neither of the list (an issuing distribution point or a delta indicator) nor
    /// of an entry (a certificate issuer). Those are all the ways in which a list can say less
    /// than it seems to (RFC 5280 §5.2.4, §5.2.5, §5.3.3).
    ///
    /// To ask costs the square of an entry's extensions: who asks knows that the issuer signed them.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_v2
            && self.extensions.are_harmless()
            && Entries(self.entries).all(|entry| entry.extensions.are_harmless())
    }

    /// Whether the certificate with this serial number is revoked.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        let mut rest = self.entries;
        while let Some((entry, after)) = element(rest, SEQUENCE) {
            if element(entry, INTEGER).is_some_and(|(revoked, _)| revoked == serial) {
                return true;
            }
            rest = after;
        }
        false
    }
}

/// Entries, one by one; after one that is none there are no more.
struct Entries<'a>(&'a [u8]);

/// What an entry says beside its serial number.
struct Entry<'a> {
    extensions: Extensions<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, after) = element(self.0, SEQUENCE)?;
        let (_serial, fields) = element(entry, INTEGER)?;
        let (time, fields) = match fields.first()? {
            &tag @ (UTC_TIME | GENERALIZED_TIME) => element(fields, tag)?,
            _ => return None,
        };
        let (extensions, []) = optional(fields, SEQUENCE)? else { return None };
        let extensions = match extensions {
            Some(extensions) => Extensions::parse(extensions)?,
            None => Extensions::default(),
        };
        time.is_ascii().then_some(())?;
        self.0 = after;
        Some(Entry { extensions })
    }
}

/// Whether these contents octets are entries, to the last.
fn are_well_formed(entries: &[u8]) -> bool {
    let mut rest = Entries(entries);
    while rest.next().is_some() {}
    rest.0.is_empty()
}

/// The tag of a list's extensions.
const LIST_EXTENSIONS: u8 = 0xa0;
/// OID `cRLNumber`, contents octets.
const CRL_NUMBER: &[u8] = b"\x55\x1d\x14";
