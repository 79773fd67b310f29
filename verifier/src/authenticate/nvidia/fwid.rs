//! The digest of the firmware that a signing key belongs to, in the certificate of that key. There are
//! two forms of it (TCG DICE Attestation Architecture §6.1; both extensions are NVIDIA's profile of it).
//!
//! | OID | on | value |
//! |---|---|---|
//! | 2.23.133.5.4.1 | Hopper, LS10 | `{ 1, the issuer's key, { id-sha384, digest } }` |
//! | 2.23.133.5.4.1.1 | Blackwell | `{ … [6] { { id-sha384, digest }, … }, [7] flags, … }` |

use attestation::Digest;

use crate::x509::der::{INTEGER, OBJECT, OCTET_STRING, SEQUENCE, element, only};
use crate::x509::{Certificate, Extension};

/// What the extension says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fwid {
    /// The digest.
    pub(super) digest: Digest<48>,
    /// Whether the flags say that the firmware is not secure, in recovery, or can be debugged.
    pub(super) is_open: bool,
}

/// Why there is no digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoFwid {
    /// There is no such extension, or more than one.
    Missing,
    /// It is of no known form.
    Malformed,
}

/// Reads the extension of `leaf`, which `issuer` issued.
pub(super) fn read(leaf: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<Fwid, NoFwid> {
    match (leaf.extension(COMPOSITE), leaf.extension(TCB_INFO)) {
        (Extension::Once(value), Extension::Missing) => composite(value, issuer.key_der()),
        (Extension::Missing, Extension::Once(value)) => tcb_info(value),
        _ => return Err(NoFwid::Missing),
    }
    .ok_or(NoFwid::Malformed)
}

/// `CompositeDeviceID`: the device's key is that of its chip, which issued the certificate.
fn composite(value: &[u8], issuer: &[u8]) -> Option<Fwid> {
    let fields = only(value, SEQUENCE)?;
    let (&[1], rest) = element(fields, INTEGER)? else { return None };
    let digest = rest.strip_prefix(issuer)?;
    Some(Fwid { digest: one(only(digest, SEQUENCE)?)?, is_open: false })
}

/// `DiceTcbInfo`: fields with rising tags, none twice.
fn tcb_info(value: &[u8]) -> Option<Fwid> {
    let mut rest = only(value, SEQUENCE)?;
    let (mut digest, mut is_open, mut last) = (None, false, None);
    while let Some(&tag) = rest.first() {
        let (contents, after) = element(rest, tag)?;
        // Bits 6 and 7: a tag of this sequence's own; bit 5: whether it is constructed.
        let number = tag & 0x1f;
        let rises = last.is_none_or(|last| number > last);
        (rises && tag & 0xc0 == 0x80).then_some(())?;
        match tag {
            FWIDS => digest = Some(one(element(contents, SEQUENCE)?.0)?),
            FLAGS => {
                // Unused bits, then the flags: not configured, not secure, recovery, debug, ….
                let (&0, flags) = contents.split_first()? else { return None };
                is_open = flags.first()? & 0x70 != 0;
            }
            _ => {}
        }
        last = Some(number);
        rest = after;
    }
    Some(Fwid { digest: digest?, is_open })
}

/// `{ id-sha384, digest }`.
fn one(fields: &[u8]) -> Option<Digest<48>> {
    let (SHA384, rest) = element(fields, OBJECT)? else { return None };
    only(rest, OCTET_STRING)?.try_into().ok().map(Digest)
}

/// `[6] IMPLICIT SEQUENCE OF`.
const FWIDS: u8 = 0xa6;
/// `[7] IMPLICIT BIT STRING`.
const FLAGS: u8 = 0x87;
/// OID 2.23.133.5.4.1, contents octets.
const COMPOSITE: &[u8] = b"\x67\x81\x05\x05\x04\x01";
/// OID 2.23.133.5.4.1.1, contents octets.
const TCB_INFO: &[u8] = b"\x67\x81\x05\x05\x04\x01\x01";
/// OID `id-sha384`, contents octets.
const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
