//! What a PCK's certificate says of its platform (Intel SGX PCK certificate and CRL specification).
//!
//! The extension 1.2.840.113741.1.13.1 is a sequence of pairs of an OID under it and a value:
//!
//! | OID | value |
//! |---|---|
//! | .1 | PPID, 16 bytes |
//! | .2 | TCB: pairs again; .1 to .16 components, .17 PCESVN, .18 CPUSVN of 16 bytes |
//! | .3 | PCE-ID, 2 bytes |
//! | .4 | FMSPC, 6 bytes |
//! | .5 | SGX type, an enumeration |
//! | .6 | platform instance id, 16 bytes; of the Platform CA only |
//! | .7 | configuration: pairs again; .1 dynamic platform, .2 cached keys, .3 SMT; of the Platform CA only |

use crate::crypto::P256_POINT_LEN;
use crate::finding::{Code, Finding};
use crate::x509::der::{BOOLEAN, ENUMERATED, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, element};
use crate::x509::{Certificate, Extension};

/// A platform's key, and what Intel certified of the platform with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pck {
    pub(crate) point: [u8; P256_POINT_LEN],
    pub(crate) authority: Authority,
    pub(crate) platform: Platform,
}

/// Which of Intel's authorities certified a platform.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Authority {
    /// Of platforms that are registered as a whole.
    Platform,
    /// Of single processors.
    Processor,
}

impl Authority {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Platform, Self::Processor];

    /// The common name of its certificate.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "Intel SGX PCK Platform CA",
            Self::Processor => "Intel SGX PCK Processor CA",
        }
    }
}

/// What the extension says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Platform {
    pub(crate) ppid: [u8; 16],
    /// The components of the SGX TCB, which levels are compared with.
    pub(crate) sgx: [u8; 16],
    pub(crate) pce_svn: u16,
    pub(crate) cpu_svn: [u8; 16],
    pub(crate) pce_id: [u8; 2],
    pub(crate) fmspc: [u8; 6],
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub(crate) sgx_type: u8,
    pub(crate) instance_id: Option<[u8; 16]>,
    pub(crate) dynamic: Option<bool>,
    pub(crate) cached_keys: Option<bool>,
    pub(crate) smt: Option<bool>,
}

impl Platform {
    /// What a PCK's certificate says.
    pub(super) fn of(pck: &Certificate<'_>, findings: &mut Vec<Finding>) -> Option<Self> {
        match pck.extension(SGX) {
            Extension::Once(value) => {
                let platform = Self::parse(value);
                if platform.is_none() {
                    findings.push(Finding::reject(
                        Code::CertificateExtensionMalformed,
                        "the PCK's extension of SGX is not of the form that Intel specifies",
                    ));
                }
                platform
            }
            found @ (Extension::Missing | Extension::Repeated) => {
                findings.push(
                    Finding::reject(
                        Code::CertificateExtensionMissing,
                        "the PCK has no extension of SGX, or more than one",
                    )
                    .actual(format!("{found:?}").to_lowercase()),
                );
                None
            }
        }
    }

    fn parse(der: &[u8]) -> Option<Self> {
        let mut found = Found::default();
        pairs(der, |number, value| found.take(number, value))?;
        let Tcb { sgx, pce_svn, cpu_svn } = found.tcb?;
        let (dynamic, cached_keys, smt) = found.configuration.unwrap_or_default();
        Some(Self {
            ppid: found.ppid?,
            sgx,
            pce_svn,
            cpu_svn,
            pce_id: found.pce_id?,
            fmspc: found.fmspc?,
            sgx_type: found.sgx_type?,
            instance_id: found.instance_id,
            dynamic,
            cached_keys,
            smt,
        })
    }
}

/// What was found so far: nothing twice.
#[derive(Default)]
struct Found {
    ppid: Option<[u8; 16]>,
    tcb: Option<Tcb>,
    pce_id: Option<[u8; 2]>,
    fmspc: Option<[u8; 6]>,
    sgx_type: Option<u8>,
    instance_id: Option<[u8; 16]>,
    configuration: Option<(Option<bool>, Option<bool>, Option<bool>)>,
}

struct Tcb {
    sgx: [u8; 16],
    pce_svn: u16,
    cpu_svn: [u8; 16],
}

impl Found {
    /// Takes a value; `None` where it is of another form or there already. Numbers that are not
    /// known are left out.
    fn take(&mut self, number: &[u8], value: &[u8]) -> Option<()> {
        match number {
            [1] => once(&mut self.ppid, octets(value)?),
            [2] => once(&mut self.tcb, Tcb::parse(value)?),
            [3] => once(&mut self.pce_id, octets(value)?),
            [4] => once(&mut self.fmspc, octets(value)?),
            [5] => match *value {
                [ENUMERATED, 1, kind @ 0..=0x7f] => once(&mut self.sgx_type, kind),
                _ => None,
            },
            [6] => once(&mut self.instance_id, octets(value)?),
            [7] => {
                let (mut dynamic, mut cached, mut smt) = (None, None, None);
                pairs(value, |number, value| match number {
                    [7, 1] => once(&mut dynamic, boolean(value)?),
                    [7, 2] => once(&mut cached, boolean(value)?),
                    [7, 3] => once(&mut smt, boolean(value)?),
                    _ => Some(()),
                })?;
                once(&mut self.configuration, (dynamic, cached, smt))
            }
            _ => Some(()),
        }
    }
}

impl Tcb {
    fn parse(der: &[u8]) -> Option<Self> {
        let mut components = [None; 16];
        let (mut pce_svn, mut cpu_svn) = (None, None);
        pairs(der, |number, value| match *number {
            [2, 17] => once(&mut pce_svn, integer(value)?),
            [2, 18] => once(&mut cpu_svn, octets(value)?),
            [2, number] => {
                let at = usize::from(number).checked_sub(1)?;
                let component = u8::try_from(integer(value)?).ok()?;
                once(components.get_mut(at)?, component)
            }
            _ => Some(()),
        })?;
        let mut sgx = [0; 16];
        for (to, from) in sgx.iter_mut().zip(components) {
            *to = from?;
        }
        Some(Self { sgx, pce_svn: pce_svn?, cpu_svn: cpu_svn? })
    }
}

/// Hands out each pair of a sequence: what follows the extension's OID, and the value's DER.
fn pairs(der: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Option<()> {
    let (mut rest, []) = element(der, SEQUENCE)? else { return None };
    while !rest.is_empty() {
        let (pair, after) = element(rest, SEQUENCE)?;
        let (oid, value) = element(pair, OBJECT)?;
        each(oid.strip_prefix(SGX)?, value)?;
        rest = after;
    }
    Some(())
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    if slot.is_some() {
        return None;
    }
    *slot = Some(value);
    Some(())
}

fn octets<const N: usize>(der: &[u8]) -> Option<[u8; N]> {
    let (contents, []) = element(der, OCTET_STRING)? else { return None };
    contents.try_into().ok()
}

/// A canonical INTEGER of 0 to 65535.
fn integer(der: &[u8]) -> Option<u16> {
    match element(der, INTEGER)? {
        (&([low @ 0..=0x7f] | [0, low @ 0x80..=0xff]), []) => Some(u16::from(low)),
        (&([high @ 1..=0x7f, low] | [0, high @ 0x80..=0xff, low]), []) => {
            Some(u16::from_be_bytes([high, low]))
        }
        _ => None,
    }
}

fn boolean(der: &[u8]) -> Option<bool> {
    match *der {
        [BOOLEAN, 1, 0] => Some(false),
        [BOOLEAN, 1, 0xff] => Some(true),
        _ => None,
    }
}

/// OID 1.2.840.113741.1.13.1, contents octets.
const SGX: &[u8] = b"\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical() {
        for (der, expected) in [
            (&[2, 1, 0][..], Some(0)),
            (&[2, 1, 0x7f], Some(0x7f)),
            (&[2, 2, 0, 0x80], Some(0x80)),
            (&[2, 2, 1, 0], Some(0x100)),
            (&[2, 3, 0, 0xff, 0xff], Some(0xffff)),
            (&[2, 1, 0x80], None),
            (&[2, 2, 0, 0x7f], None),
            (&[2, 2, 0xff, 0xff], None),
            (&[2, 3, 0, 0x7f, 0xff], None),
            (&[2, 3, 1, 0, 0], None),
            (&[2, 1, 0, 0], None),
            (&[2, 0], None),
            (&[4, 1, 0], None),
        ] {
            assert_eq!(integer(der), expected, "{der:?}");
        }
    }

    #[test]
    fn a_configuration_is_of_booleans_each_there_once() {
        use sim::der;
        const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
        let flag = |number: u64, value: &[u8]| {
            let oid = [SGX_EXTENSION.as_slice(), &[7, number]].concat();
            der::sequence(&[&der::object(&oid), value])
        };
        let read = |flags: &[Vec<u8>]| {
            let mut found = Found::default();
            let flags: Vec<_> = flags.iter().map(Vec::as_slice).collect();
            found.take(&[7], &der::sequence(&flags))?;
            found.configuration
        };
        let (yes, no) = (der::boolean(true), der::boolean(false));
        for (number, expected) in [
            (1, (Some(true), None, None)),
            (2, (None, Some(true), None)),
            (3, (None, None, Some(true))),
            (4, (None, None, None)),
        ] {
            assert_eq!(read(&[flag(number, &yes)]), Some(expected));
            let is_known = number < 4;
            assert_eq!(read(&[flag(number, &yes), flag(number, &no)]).is_none(), is_known);
            assert_eq!(read(&[flag(number, &der::integer(1))]).is_none(), is_known);
        }
        let all = [flag(1, &no), flag(2, &yes), flag(3, &no)];
        assert_eq!(read(&all), Some((Some(false), Some(true), Some(false))));
    }
}
