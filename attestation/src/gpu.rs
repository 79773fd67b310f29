//! Evidence of NVIDIA GPUs and switches: an SPDM 1.1 `GET_MEASUREMENTS` request and the response to it
//! (DMTF DSP0274 §10.11), as raw bytes with a view: what was signed is never serialised again.
//!
//! | request | bytes | | response | bytes |
//! |---|---|---|---|---|
//! | SPDM version, `0x11` | 1 | | SPDM version, `0x11` | 1 |
//! | code, `0xe0` | 1 | | code, `0x60` | 1 |
//! | attributes, bit 0: signature asked for | 1 | | parameters | 2 |
//! | operation, `0xff`: all measurements | 1 | | number of blocks | 1 |
//! | nonce | 32 | | length of the blocks, little-endian | 3 |
//! | slot | 1 | | blocks | |
//! | | | | nonce of the device | 32 |
//! | | | | length of the opaque data, little-endian | 2 |
//! | | | | opaque data | |
//! | | | | signature: `r` 48, `s` 48, big-endian | 96 |
//!
//! A block is index 1, specification 1 (`1`: DMTF), size 2, type 1, digest size 2, digest 48; a GPU has
//! 64 of them, an LS10 switch 31. Indices count from one; NVIDIA's reference values count from zero.
//! The signature covers request and response up to itself.
//!
//! The opaque data are fields of type 2, length 2 and value, all little-endian; see [`Opaque`].

use core::fmt;

use crate::bytes::{Malformed, Reader};
use crate::digest::Sha384;

mod device;
mod opaque;
mod reference;

pub use device::{DEVICES_MAX, DeviceEvidence, Stated, parse_devices};
pub use opaque::{Mode, Opaque, Pdi};
pub use reference::{
    ALTERNATIVES_MAX, INDEX_MAX, REFERENCE_LEN_MAX, ReferenceKind, ReferenceMeasurement,
    ReferenceValues, is_chip,
};

/// Longest report: 255 blocks of 55 bytes and 64 KiB of opaque data are under it.
pub const REPORT_LEN_MAX: usize = 96 << 10;
/// Length of the request, which a report starts with.
pub const REQUEST_LEN: usize = 37;
/// Length of the signature, which a report ends with.
pub const SIGNATURE_LEN: usize = 96;

/// A generation of devices that sign reports.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Architecture {
    /// H100, H200, H20 and their like.
    Hopper,
    /// B100, B200, RTX PRO 6000 and their like.
    Blackwell,
    /// The switch of HGX systems with Hopper GPUs.
    Ls10,
}

impl Architecture {
    /// Every generation.
    pub const ALL: [Self; 3] = [Self::Hopper, Self::Blackwell, Self::Ls10];

    /// Its name in evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hopper => "HOPPER",
            Self::Blackwell => "BLACKWELL",
            Self::Ls10 => "LS10",
        }
    }

    /// The generation of a chip, such as `GH100`, `GB100`, `GB202` or `LS10`.
    pub fn of_chip(chip: &str) -> Option<Self> {
        match chip.get(..3)? {
            "GH1" if chip.len() == 5 => Some(Self::Hopper),
            "GB1" | "GB2" if chip.len() == 5 => Some(Self::Blackwell),
            "LS1" if chip == "LS10" => Some(Self::Ls10),
            _ => None,
        }
    }

    /// Whether its devices are switches.
    pub const fn is_switch(self) -> bool {
        matches!(self, Self::Ls10)
    }

    /// How many measurements its reports have.
    pub const fn blocks(self) -> usize {
        match self {
            Self::Hopper | Self::Blackwell => 64,
            Self::Ls10 => 31,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A report, parsed and not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GpuReport {
    bytes: Vec<u8>,
    nonce: [u8; 32],
    measurements: Measurements,
    opaque: Opaque,
}

/// A report's measurements by index, each index once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Measurements(Vec<(u8, Sha384)>);

impl Measurements {
    /// Sorts them; none where an index is there twice.
    fn of(mut all: Vec<(u8, Sha384)>) -> Option<Self> {
        // Devices write them in order.
        all.sort_unstable_by_key(|(index, _)| *index);
        let is_rising = all.is_sorted_by(|(one, _), (next, _)| one < next);
        is_rising.then_some(Self(all))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with this index.
    pub fn get(&self, index: u8) -> Option<&Sha384> {
        // A report that leaves none out has each in the place before its number.
        let place = usize::from(index).checked_sub(1).and_then(|place| self.0.get(place));
        match place {
            Some((own, digest)) if *own == index => Some(digest),
            _ => {
                let at = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
                self.0.get(at).map(|(_, digest)| digest)
            }
        }
    }

    /// All of them, by rising index.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Sha384)> {
        self.0.iter().map(|(index, digest)| (*index, digest))
    }
}

impl GpuReport {
    /// Parses exactly one report. Zeros may follow it, as some collectors write them.
    ///
    /// # Errors
    /// Another version or code, a length that does not add up, an index or a field twice, a digest
    /// that is none of 48 bytes, an opaque field of the wrong length, or bytes after the end.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > REPORT_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: REPORT_LEN_MAX });
        }
        let mut r = Reader::new(WHAT, bytes);
        let nonce = request(&mut r)?;
        if r.array::<2>()? != [SPDM_1_1, MEASUREMENTS] {
            return Err(Malformed::invalid(WHAT, "holds no SPDM 1.1 response with measurements"));
        }
        let [_, _, blocks] = r.array()?;
        let [low, middle, high] = r.array()?;
        let len = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).unwrap_or(usize::MAX);
        let measurements = Reader::read_all("measurements", r.take(len)?, |r| record(r, blocks))?;
        let _device_nonce: [u8; 32] = r.array()?;
        let len = usize::from(r.u16_le()?);
        let opaque = Opaque::parse(r.take(len)?)?;
        r.take(SIGNATURE_LEN)?;
        if r.rest().iter().any(|byte| *byte != 0) || r.remaining() > ZEROS_MAX {
            return Err(Malformed::Trailing { what: WHAT, extra: r.remaining() });
        }
        let len = bytes.len().saturating_sub(r.remaining());
        let bytes = bytes.get(..len).unwrap_or_default().to_vec();
        Ok(Self { bytes, nonce, measurements, opaque })
    }

    /// The report as it came, without the zeros after it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the signature covers, and the signature.
    pub fn signed(&self) -> Option<(&[u8], &[u8; SIGNATURE_LEN])> {
        self.bytes.split_last_chunk()
    }

    /// The nonce of whoever asked.
    pub const fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// The measurements by index, from one.
    pub const fn measurements(&self) -> &Measurements {
        &self.measurements
    }

    /// What the device says of itself beside them.
    pub const fn opaque(&self) -> &Opaque {
        &self.opaque
    }
}

/// Whether some bytes start as a report does.
pub(crate) fn is_report(bytes: &[u8]) -> bool {
    bytes.starts_with(&[SPDM_1_1, GET_MEASUREMENTS])
        && bytes.get(REQUEST_LEN..).is_some_and(|rest| rest.starts_with(&[SPDM_1_1, MEASUREMENTS]))
}

/// Reads the request; yields its nonce.
fn request(r: &mut Reader<'_>) -> Result<[u8; 32], Malformed> {
    let [version, code, attributes, operation] = r.array()?;
    if [version, code] != [SPDM_1_1, GET_MEASUREMENTS] {
        return Err(Malformed::invalid(WHAT, "starts with no SPDM 1.1 request for measurements"));
    }
    // Without the first a device signs nothing, without the second it leaves measurements out.
    if attributes & 1 == 0 || operation != ALL_MEASUREMENTS {
        return Err(Malformed::invalid(WHAT, "does not ask for all measurements and a signature"));
    }
    let nonce = r.array()?;
    let _slot = r.u8()?;
    Ok(nonce)
}

/// Reads the measurement blocks, all of them.
fn record(r: &mut Reader<'_>, blocks: u8) -> Result<Measurements, Malformed> {
    const TWICE: Malformed =
        Malformed::invalid("measurement", "has index zero, or another's index");
    let mut measurements = Vec::with_capacity(usize::from(blocks));
    for _ in 0..blocks {
        let index = r.u8()?;
        let specification = r.u8()?;
        let size = r.u16_le()?;
        let kind = r.u8()?;
        let digest_size = r.u16_le()?;
        if (specification, size, digest_size) != (DMTF, BLOCK_LEN, DIGEST_LEN) || kind & RAW != 0 {
            return Err(Malformed::invalid("measurement", "is no SHA-384 digest in DMTF's form"));
        }
        if index == 0 {
            return Err(TWICE);
        }
        measurements.push((index, crate::Digest(r.array()?)));
    }
    Measurements::of(measurements).ok_or(TWICE)
}

const WHAT: &str = "device report";
const SPDM_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
const ALL_MEASUREMENTS: u8 = 0xff;
/// `MeasurementSpecification` (DSP0274 §10.11.1).
const DMTF: u8 = 1;
/// `DMTFSpecMeasurementValueType` bit 7: the value is no digest but what would be hashed.
const RAW: u8 = 0x80;
/// Type, size and digest.
const BLOCK_LEN: u16 = 51;
const DIGEST_LEN: u16 = 48;
/// Most zeros after a report: a collector's buffer may be longer than what it holds.
const ZEROS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of two measurements with these opaque fields.
    fn report(fields: &[(u16, &[u8])]) -> Vec<u8> {
        let mut opaque = Vec::new();
        for (kind, value) in fields {
            opaque.extend_from_slice(&kind.to_le_bytes());
            opaque.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
            opaque.extend_from_slice(value);
        }
        let mut bytes = vec![0x11, 0xe0, 1, 0xff];
        bytes.extend_from_slice(&[7; 32]);
        bytes.extend_from_slice(&[0, 0x11, 0x60, 0, 0, 2, 110, 0, 0]);
        for index in [1, 2] {
            bytes.extend_from_slice(&[index, 1, 51, 0, 1, 48, 0]);
            bytes.extend_from_slice(&[index; 48]);
        }
        bytes.extend_from_slice(&[9; 32]);
        bytes.extend_from_slice(&u16::try_from(opaque.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&opaque);
        bytes.extend_from_slice(&[0x5a; SIGNATURE_LEN]);
        bytes
    }

    fn gpu() -> Vec<u8> {
        report(&[
            (3, b"550.90.07\0"),
            (6, &[0, 0x9f, 0, 0x96, 1, 0, 0, 0]),
            (11, &[0x55]),
            (15, b"882\0\0\0"),
            (20, &[4; 48]),
            (21, &[0xaa]),
            (22, &[[8, 7, 6, 5, 4, 3, 2, 1], [0; 8], [0xff; 8]].concat()),
            (34, &[1, 0]),
            (36, &[2, 0]),
        ])
    }

    #[test]
    fn a_report_says_what_it_says() {
        let bytes = gpu();
        let report = GpuReport::parse(&bytes).unwrap();
        assert_eq!((report.as_bytes(), report.nonce()), (&bytes[..], &[7; 32]));
        let (signed, signature) = report.signed().unwrap();
        assert_eq!((signed.len(), signature), (bytes.len() - 96, &[0x5a; 96]));
        assert_eq!(
            report.measurements().iter().map(|(index, _)| index).collect::<Vec<_>>(),
            [1, 2]
        );
        let opaque = report.opaque();
        assert_eq!(opaque.driver(), Some("550.90.07"));
        assert_eq!(opaque.vbios().as_deref(), Some("96.00.9F.00.01"));
        assert_eq!((opaque.chip_sku(), opaque.project()), (Some("882"), None));
        assert_eq!((opaque.nvdec0(), opaque.protected_pcie()), (Some(false), Some(true)));
        assert_eq!(opaque.mode(), Some(Mode::ProtectedPcie));
        assert_eq!(opaque.fwid(), Some(crate::Digest([4; 48])));
        let links: Vec<_> = opaque.links().collect();
        assert_eq!(
            links,
            [Pdi([1, 2, 3, 4, 5, 6, 7, 8])],
            "reversed, and no link that leads nowhere"
        );
    }

    #[test]
    fn a_switch_says_whom_it_connects() {
        let mut gpus = [0xff; 128];
        gpus[..8].copy_from_slice(&[1; 8]);
        gpus[8..16].copy_from_slice(&[2; 8]);
        gpus[64..72].copy_from_slice(&[3; 8]);
        let bytes = report(&[(6, b"96.10.5e.00.01"), (22, &[5; 8]), (25, &[1, 0]), (26, &gpus)]);
        let report = GpuReport::parse(&bytes).unwrap();
        let opaque = report.opaque();
        assert_eq!(opaque.vbios().as_deref(), Some("96.10.5E.00.01"));
        assert_eq!((opaque.own(), opaque.is_locked()), (Some(Pdi([5; 8])), Some(true)));
        let gpus: Vec<_> = opaque.gpus().collect();
        assert_eq!(gpus, [Pdi([1; 8]), Pdi([2; 8])], "ports are no names");
        assert_eq!(opaque.driver(), None);
    }

    #[test]
    fn modes_are_told_by_what_the_layout_has() {
        type Case<'a> = (&'a [(u16, &'a [u8])], Option<Mode>);
        let cases: [Case<'_>; 8] = [
            (&[(34, &[1, 0]), (36, &[0, 0])], Some(Mode::Single)),
            (&[(34, &[1, 0]), (36, &[1, 0])], Some(Mode::Multi)),
            (&[(34, &[1, 0]), (36, &[2, 0])], Some(Mode::ProtectedPcie)),
            (&[(34, &[1, 0]), (36, &[3, 0])], None),
            (&[(34, &[1, 0]), (21, &[0x55])], None),
            (&[(34, &[0, 0]), (21, &[0xaa])], Some(Mode::ProtectedPcie)),
            (&[(21, &[0x55])], Some(Mode::Single)),
            (&[(34, &[0, 0])], Some(Mode::Unstated)),
        ];
        for (fields, expected) in cases {
            let bytes = report(fields);
            assert_eq!(GpuReport::parse(&bytes).unwrap().opaque().mode(), expected, "{fields:?}");
        }
    }

    #[test]
    fn zeros_may_follow_and_nothing_else() {
        let bytes = gpu();
        let padded = [&bytes[..], &[0; 3]].concat();
        assert_eq!(GpuReport::parse(&padded).unwrap().as_bytes(), bytes);
        assert!(GpuReport::parse(&[&bytes[..], &[0, 1]].concat()).is_err());
        assert!(GpuReport::parse(&[&bytes[..], &[0; ZEROS_MAX + 1]].concat()).is_err());
        for len in 0..bytes.len() {
            assert!(GpuReport::parse(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn every_part_of_the_form_is_checked() {
        let bytes = gpu();
        // Version, code, attributes, operation; version, code, count and length of the blocks; index,
        // specification, sizes and type of a block.
        let places = [
            (0, 0x12),
            (1, 0xe1),
            (2, 0),
            (3, 1),
            (37, 0x12),
            (38, 0x61),
            (41, 1),
            (41, 3),
            (42, 109),
            (43, 1),
            (44, 1),
            (45, 0),
            (45, 2),
            (46, 2),
            (47, 50),
            (49, 0x81),
            (50, 47),
        ];
        for (at, value) in places {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(GpuReport::parse(&bad).is_err(), "byte {at} = {value}");
        }
        let fields: [&[(u16, &[u8])]; 9] = [
            &[(3, b"1\0"), (3, b"1\0")],
            &[(3, b"1\0x")],
            &[(11, &[0])],
            &[(20, &[4; 47])],
            &[(21, &[0xaa, 0])],
            &[(22, &[0; 9])],
            &[(12, &[0; 3])],
            &[(36, &[0])],
            &[(6, b"96 10")],
        ];
        for bad in fields {
            assert!(GpuReport::parse(&report(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn chips_have_an_architecture() {
        for (chip, expected) in [
            ("GH100", Some(Architecture::Hopper)),
            ("GB100", Some(Architecture::Blackwell)),
            ("GB202", Some(Architecture::Blackwell)),
            ("GB20X", Some(Architecture::Blackwell)),
            ("LS10", Some(Architecture::Ls10)),
            ("LS101", None),
            ("GH1000", None),
            ("GA100", None),
            ("", None),
        ] {
            assert_eq!(Architecture::of_chip(chip), expected, "{chip}");
        }
    }
}
