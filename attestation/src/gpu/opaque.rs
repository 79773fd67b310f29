//! What a device says of itself beside its measurements.
//!
//! | type | field | length | on |
//! |---|---|---|---|
//! | 3 | driver version, text ending in zero | | GPU |
//! | 6 | VBIOS version: of a GPU packed, of a switch text | 8, | both |
//! | 11 | `NVDEC0`: `0xaa` in use, `0x55` not | 1 | GPU |
//! | 12 | how often each measurement was extended, `u32` each | | both |
//! | 15, 17, 18 | chip SKU, project, project SKU: text ending in zeros | | GPU |
//! | 20 | FWID: digest of the firmware that made the signing key | 48 | GPU |
//! | 21 | protected `PCIe`: `0xaa` on, `0x55` off | 1 | GPU |
//! | 22 | of a GPU: the switch at the end of each link, 8 bytes, reversed; of a switch: its own name | 144, 8 | both |
//! | 25 | whether the switch's settings are locked: 1 | 2 | switch |
//! | 26 | the eight GPUs, 8 bytes each, then which of them each of 64 ports leads to | 128 | switch |
//! | 34 | version of this layout | 2 | GPU |
//! | 36 | mode, from version 1 on: 0 one GPU, 1 several, 2 protected `PCIe` | 2 | GPU |
//!
//! All other types are kept as they came. NVIDIA publishes no specification: the layout is that of its
//! open-source tools, and was checked against genuine reports.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;

use crate::bytes::{Malformed, Reader};
use crate::digest::Digest;

/// The opaque data: each field once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Opaque {
    bytes: Vec<u8>,
    /// Where the value of each field is.
    fields: BTreeMap<u16, Range<usize>>,
}

/// The name that the fabric knows a device by, in the order of its certificate.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pdi(pub [u8; 8]);

impl fmt::Display for Pdi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// How a GPU protects what it computes on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// One GPU in one enclave, all traffic encrypted.
    Single,
    /// Several GPUs in one enclave, their links encrypted.
    Multi,
    /// Several GPUs and all switches between them in one enclave; the links are inside the trust boundary.
    ProtectedPcie,
    /// The report is too old to say.
    Unstated,
}

impl Mode {
    /// Its name in policies and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
            Self::ProtectedPcie => "protected-pcie",
            Self::Unstated => "unstated",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Opaque {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(WHAT, bytes);
        let mut fields = BTreeMap::new();
        while !r.is_empty() {
            let kind = r.u16_le()?;
            let len = usize::from(r.u16_le()?);
            r.take(len)?;
            let end = bytes.len().saturating_sub(r.remaining());
            if fields.insert(kind, end.saturating_sub(len)..end).is_some() {
                return Err(Malformed::invalid(WHAT, "have a field twice"));
            }
        }
        let opaque = Self { bytes: bytes.to_vec(), fields };
        opaque.check()?;
        Ok(opaque)
    }

    /// Fields that are there have the length and the values of their kind, so that nothing below has
    /// to tell a field that is wrong from one that is missing.
    fn check(&self) -> Result<(), Malformed> {
        let wrong = Err(Malformed::invalid(WHAT, "have a field of the wrong length or value"));
        for (kind, len) in [(NVDEC0, 1), (FWID, 48), (PCIE, 1), (LOCK, 2), (VERSION, 2), (MODE, 2)]
        {
            if self.field(kind).is_some_and(|value| value.len() != len) {
                return wrong;
            }
        }
        for kind in [DRIVER, CHIP_SKU, PROJECT, PROJECT_SKU] {
            if self.field(kind).is_some_and(|value| text(value).is_none()) {
                return wrong;
            }
        }
        if self.field(VBIOS).is_some_and(|value| value.len() != 8 && text(value).is_none())
            || self.field(PDI).is_some_and(|value| !value.len().is_multiple_of(8))
            || self.field(MEASUREMENT_COUNTS).is_some_and(|value| !value.len().is_multiple_of(4))
            || [NVDEC0, PCIE]
                .into_iter()
                .any(|kind| self.field(kind).is_some_and(|value| !matches!(value, [ON | OFF])))
        {
            return wrong;
        }
        Ok(())
    }

    /// All fields by type, those too that have no name.
    pub fn fields(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.fields.keys().filter_map(|kind| Some((*kind, self.field(*kind)?)))
    }

    /// The value of a field, where it is there.
    pub fn field(&self, kind: u16) -> Option<&[u8]> {
        self.bytes.get(self.fields.get(&kind)?.clone())
    }

    /// The driver's version; a switch has none.
    pub fn driver(&self) -> Option<&str> {
        text(self.field(DRIVER)?)
    }

    /// The VBIOS' version, in NVIDIA's notation: `96.00.9F.00.01`.
    pub fn vbios(&self) -> Option<String> {
        let value = self.field(VBIOS)?;
        // A GPU writes two little-endian words, of which the second counts to 255.
        if let [d, c, b, a, e, 0, 0, 0] = value {
            return Some(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}"));
        }
        text(value).map(str::to_ascii_uppercase)
    }

    /// The chip's SKU.
    pub fn chip_sku(&self) -> Option<&str> {
        text(self.field(CHIP_SKU)?)
    }

    /// The board's project.
    pub fn project(&self) -> Option<&str> {
        text(self.field(PROJECT)?)
    }

    /// The board's project SKU.
    pub fn project_sku(&self) -> Option<&str> {
        text(self.field(PROJECT_SKU)?)
    }

    /// The digest of the firmware that the signing key belongs to; drivers before 550 leave it out.
    pub fn fwid(&self) -> Option<Digest<48>> {
        self.field(FWID)?.try_into().ok().map(Digest)
    }

    /// Whether the video decoder `NVDEC0` is in use.
    pub fn nvdec0(&self) -> Option<bool> {
        self.switch(NVDEC0)
    }

    /// Whether `PCIe` is protected.
    pub fn protected_pcie(&self) -> Option<bool> {
        self.switch(PCIE)
    }

    /// The mode, where the layout states it, and none where it states one that has no name. Reports
    /// before that tell protected `PCIe` from the rest.
    pub fn mode(&self) -> Option<Mode> {
        let version = self.field(VERSION).and_then(word).unwrap_or(0);
        match (self.field(MODE).and_then(word), self.protected_pcie()) {
            (Some(0), _) => Some(Mode::Single),
            (Some(1), _) => Some(Mode::Multi),
            (Some(2), _) => Some(Mode::ProtectedPcie),
            (Some(_), _) => None,
            (None, _) if version >= 1 => None,
            (None, Some(true)) => Some(Mode::ProtectedPcie),
            (None, Some(false)) => Some(Mode::Single),
            (None, None) => Some(Mode::Unstated),
        }
    }

    /// A GPU's links: the switch at the end of each, where there is one.
    pub fn links(&self) -> impl Iterator<Item = Pdi> {
        let reversed = |mut pdi: [u8; 8]| {
            pdi.reverse();
            pdi
        };
        self.names(PDI).map(reversed).map(Pdi).filter(|pdi| pdi.is_device())
    }

    /// A switch's own name.
    pub fn own(&self) -> Option<Pdi> {
        self.field(PDI)?.try_into().ok().map(Pdi)
    }

    /// The GPUs that a switch connects.
    pub fn gpus(&self) -> impl Iterator<Item = Pdi> {
        // After the names come ports, which name their GPU by its place in the list.
        self.names(GPUS).take(GPUS_COUNT).map(Pdi).filter(|pdi| pdi.is_device())
    }

    /// Whether a switch's settings are locked.
    pub fn is_locked(&self) -> Option<bool> {
        self.field(LOCK).and_then(word).map(|lock| lock == 1)
    }

    fn names(&self, kind: u16) -> impl Iterator<Item = [u8; 8]> {
        self.field(kind).unwrap_or_default().as_chunks().0.iter().copied()
    }

    fn switch(&self, kind: u16) -> Option<bool> {
        self.field(kind).map(|value| value == [ON])
    }
}

impl Pdi {
    /// Whether it names a device: a link that leads nowhere has zeros or ones.
    const fn is_device(self) -> bool {
        !matches!(u64::from_be_bytes(self.0), 0 | u64::MAX)
    }
}

/// Text that ends in zeros.
fn text(value: &[u8]) -> Option<&str> {
    let len = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let (text, rest) = value.split_at_checked(len)?;
    let text = core::str::from_utf8(text).ok()?;
    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_text && rest.iter().all(|byte| *byte == 0)).then_some(text)
}

fn word(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_le_bytes)
}

const WHAT: &str = "opaque data";
const DRIVER: u16 = 3;
const VBIOS: u16 = 6;
const NVDEC0: u16 = 11;
const MEASUREMENT_COUNTS: u16 = 12;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const FWID: u16 = 20;
const PCIE: u16 = 21;
const PDI: u16 = 22;
const LOCK: u16 = 25;
const GPUS: u16 = 26;
const VERSION: u16 = 34;
const MODE: u16 = 36;
const ON: u8 = 0xaa;
const OFF: u8 = 0x55;
/// How many GPUs a switch of this generation names.
const GPUS_COUNT: usize = 8;
