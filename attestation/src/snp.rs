//! The SEV-SNP attestation report (AMD 56860, SEV-SNP Firmware ABI, §7.3 table 23), as raw bytes
//! with a view: what was signed is never serialised again.
//!
//! | offset | member | | offset | member |
//! |---|---|---|---|---|
//! | 000 | VERSION u32 | | 160 | `REPORT_ID_MA` 32 |
//! | 004 | `GUEST_SVN` u32 | | 180 | `REPORTED_TCB` 8 |
//! | 008 | POLICY u64 | | 188 | CPUID family, model, stepping (v3) |
//! | 010 | `FAMILY_ID` 16 | | 1A0 | `CHIP_ID` 64 |
//! | 020 | `IMAGE_ID` 16 | | 1E0 | `COMMITTED_TCB` 8 |
//! | 030 | VMPL u32 | | 1E8 | CURRENT build, minor, major |
//! | 034 | `SIGNATURE_ALGO` u32 | | 1EC | COMMITTED build, minor, major |
//! | 038 | `CURRENT_TCB` 8 | | 1F0 | `LAUNCH_TCB` 8 |
//! | 040 | `PLATFORM_INFO` u64 | | 1F8 | `LAUNCH_MIT_VECTOR` u64 (v5) |
//! | 048 | key flags u32 | | 200 | `CURRENT_MIT_VECTOR` u64 (v5) |
//! | 050 | `REPORT_DATA` 64 | | 208 | reserved |
//! | 090 | MEASUREMENT 48 | | 2A0 | SIGNATURE: r 72, s 72, zeros |
//! | 0C0 | `HOST_DATA` 32 | | | |
//! | 0E0 | `ID_KEY_DIGEST` 48 | | | |
//! | 110 | `AUTHOR_KEY_DIGEST` 48 | | | |
//! | 140 | `REPORT_ID` 32 | | | |

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::Malformed;
use crate::digest::{Digest, Sha384};

pub mod cert_table;
pub mod offset;

/// Length of a report in every version.
pub const REPORT_LEN: usize = 1184;
/// How many of its bytes the signature covers.
pub const SIGNED_LEN: usize = 0x2a0;

/// A processor line that signs reports.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// EPYC 7003 (Zen 3).
    Milan,
    /// EPYC 9004 and 8004 (Zen 4): Genoa, Bergamo, Siena.
    Genoa,
    /// EPYC 9005 (Zen 5).
    Turin,
}

impl Product {
    /// Every product.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// AMD's name, as its certificates spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product of a CPUID family and model (AMD 57230, VCEK specification, §2.2).
    pub const fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Security versions of the firmware's parts; how they lie in 8 bytes depends on the product.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TcbVersion {
    /// Flexible module code; Turin only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// CPU microcode.
    pub microcode: u8,
}

impl TcbVersion {
    /// Reads the 8 bytes of a `TCB_VERSION` (ABI §2.2): none but the named ones may be set.
    ///
    /// # Errors
    /// A reserved byte is set.
    pub fn from_raw(product: Product, raw: [u8; 8]) -> Result<Self, Malformed> {
        let (version, reserved_is_zero) = match product {
            Product::Milan | Product::Genoa => {
                let [bootloader, tee, a, b, c, d, snp, microcode] = raw;
                (Self { fmc: None, bootloader, tee, snp, microcode }, [a, b, c, d] == [0; 4])
            }
            Product::Turin => {
                let [fmc, bootloader, tee, snp, a, b, c, microcode] = raw;
                (Self { fmc: Some(fmc), bootloader, tee, snp, microcode }, [a, b, c] == [0; 3])
            }
        };
        if reserved_is_zero {
            Ok(version)
        } else {
            Err(Malformed::invalid("TCB version", "has a reserved byte that is not zero"))
        }
    }

    /// The 8 bytes for `product`.
    pub const fn to_raw(self, product: Product) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        match (product, fmc) {
            (Product::Milan | Product::Genoa, _) => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
            (Product::Turin, Some(fmc)) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
            (Product::Turin, None) => [0, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }

    /// Whether every part is at least that of `min`: versions are compared part by part.
    pub fn at_least(self, min: Self) -> bool {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        fmc.unwrap_or(0) >= min.fmc.unwrap_or(0)
            && bootloader >= min.bootloader
            && tee >= min.tee
            && snp >= min.snp
            && microcode >= min.microcode
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

/// What the guest's owner allows the platform to do with it (ABI §4.3 table 9).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bit 16: simultaneous multithreading is allowed.
    pub const SMT: u64 = 1 << 16;
    /// Bit 17: reserved, must be one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// Bit 18: a migration agent may be associated.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// Bit 19: debugging is allowed.
    pub const DEBUG: u64 = 1 << 19;
    /// Bit 20: the guest runs on one socket only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// Bit 21: CXL devices may be populated.
    pub const CXL_ALLOW: u64 = 1 << 21;
    /// Bit 22: memory must be encrypted with AES-256-XTS.
    pub const MEM_AES_256_XTS: u64 = 1 << 22;
    /// Bit 23: running average power limit must be disabled.
    pub const RAPL_DIS: u64 = 1 << 23;
    /// Bit 24: ciphertext hiding must be enabled.
    pub const CIPHERTEXT_HIDING_DRAM: u64 = 1 << 24;
    /// Bit 25: guest page swapping is disabled.
    pub const PAGE_SWAP_DISABLE: u64 = 1 << 25;
    /// Every bit with a meaning, the ABI version included.
    pub const KNOWN: u64 = (1 << 26) - 1;

    /// Whether all bits of `mask` are set.
    pub const fn has(self, mask: u64) -> bool {
        self.0 & mask == mask
    }

    /// The minimum ABI version of the firmware: (major, minor).
    pub const fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Bits that have no meaning in the ABI that we know.
    pub const fn unknown(self) -> u64 {
        self.0 & !Self::KNOWN
    }
}

impl fmt::Debug for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// How the platform is set up (ABI §7.3 table 24).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Bit 0: simultaneous multithreading is on.
    pub const SMT_EN: u64 = 1;
    /// Bit 1: transparent memory encryption is on.
    pub const TSME_EN: u64 = 1 << 1;
    /// Bit 2: memory has error correction.
    pub const ECC_EN: u64 = 1 << 2;
    /// Bit 3: running average power limit is disabled.
    pub const RAPL_DIS: u64 = 1 << 3;
    /// Bit 4: ciphertext hiding is on.
    pub const CIPHERTEXT_HIDING_DRAM_EN: u64 = 1 << 4;
    /// Bit 5: the check for aliased memory has completed (CVE-2024-21944).
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
    /// Bit 7: trusted I/O is on.
    pub const TIO_EN: u64 = 1 << 7;
    /// Every bit with a meaning. Bit 6 has none that AMD published, and genuine Turin parts set it.
    pub const KNOWN: u64 = 0b1011_1111;

    /// Whether all bits of `mask` are set.
    pub const fn has(self, mask: u64) -> bool {
        self.0 & mask == mask
    }

    /// Bits that have no meaning in the ABI that we know.
    pub const fn unknown(self) -> u64 {
        self.0 & !Self::KNOWN
    }
}

impl fmt::Debug for PlatformInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Which key signed the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SigningKey {
    /// The chip's own versioned key.
    Vcek,
    /// A key that a cloud provider loaded.
    Vlek,
    /// Nothing signed it.
    None,
    /// A value with no meaning.
    Reserved(u8),
}

/// The flags at offset 0x48.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct KeyInfo(pub u32);

impl KeyInfo {
    /// Bit 0: `AUTHOR_KEY_DIGEST` holds the digest of an author key.
    pub const fn author_key_en(self) -> bool {
        self.0 & 1 == 1
    }

    /// Bit 1: `CHIP_ID` is masked.
    pub const fn mask_chip_key(self) -> bool {
        self.0 & 2 == 2
    }

    /// Bits 4:2: the signing key.
    pub const fn signing_key(self) -> SigningKey {
        let [low, ..] = self.0.to_le_bytes();
        match (low >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Reserved(other),
        }
    }

    /// Bits above 4, which are reserved.
    pub const fn unknown(self) -> u32 {
        self.0 & !0x1f
    }
}

impl fmt::Debug for KeyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A report of version 2, 3 or 5: its raw bytes, and a view of them.
///
/// Parsing checks the length and the version. Everything else, reserved bytes included, is a
/// question of policy and answered by the verifier, so that new firmware does not break parsing.
#[derive(Clone, Eq, PartialEq)]
pub struct SnpReport(Box<[u8; REPORT_LEN]>);

impl SnpReport {
    /// Takes a report apart.
    ///
    /// # Errors
    /// Any length but [`REPORT_LEN`], or a version other than 2, 3 and 5.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "SNP report";
        let raw: &[u8; REPORT_LEN] =
            bytes.try_into().map_err(|_| Malformed::invalid(WHAT, "is not 1184 bytes long"))?;
        let report = Self(Box::new(*raw));
        match report.version() {
            2 | 3 | 5 => Ok(report),
            _ => Err(Malformed::invalid(WHAT, "is of a version other than 2, 3 and 5")),
        }
    }

    /// The report as it came.
    pub fn as_bytes(&self) -> &[u8; REPORT_LEN] {
        &self.0
    }

    /// The bytes that the signature covers.
    pub fn signed_bytes(&self) -> &[u8] {
        self.0.split_at(SIGNED_LEN).0
    }

    /// VERSION.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(self.array::<{ offset::VERSION }, 4>())
    }

    /// `GUEST_SVN`.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.array::<{ offset::GUEST_SVN }, 4>())
    }

    /// POLICY.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(self.array::<{ offset::POLICY }, 8>()))
    }

    /// `FAMILY_ID`.
    pub fn family_id(&self) -> Digest<16> {
        Digest(self.array::<{ offset::FAMILY_ID }, 16>())
    }

    /// `IMAGE_ID`.
    pub fn image_id(&self) -> Digest<16> {
        Digest(self.array::<{ offset::IMAGE_ID }, 16>())
    }

    /// VMPL.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.array::<{ offset::VMPL }, 4>())
    }

    /// `SIGNATURE_ALGO`: 1 is ECDSA P-384 with SHA-384.
    pub fn signature_algo(&self) -> u32 {
        u32::from_le_bytes(self.array::<{ offset::SIGNATURE_ALGO }, 4>())
    }

    /// `CURRENT_TCB`, raw.
    pub fn current_tcb(&self) -> [u8; 8] {
        self.array::<{ offset::CURRENT_TCB }, 8>()
    }

    /// `PLATFORM_INFO`.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(self.array::<{ offset::PLATFORM_INFO }, 8>()))
    }

    /// The key flags.
    pub fn key_info(&self) -> KeyInfo {
        KeyInfo(u32::from_le_bytes(self.array::<{ offset::KEY_INFO }, 4>()))
    }

    /// `REPORT_DATA`.
    pub fn report_data(&self) -> [u8; 64] {
        self.array::<{ offset::REPORT_DATA }, 64>()
    }

    /// MEASUREMENT: the launch digest.
    pub fn measurement(&self) -> Sha384 {
        Digest(self.array::<{ offset::MEASUREMENT }, 48>())
    }

    /// `HOST_DATA`.
    pub fn host_data(&self) -> Digest<32> {
        Digest(self.array::<{ offset::HOST_DATA }, 32>())
    }

    /// `ID_KEY_DIGEST`.
    pub fn id_key_digest(&self) -> Sha384 {
        Digest(self.array::<{ offset::ID_KEY_DIGEST }, 48>())
    }

    /// `AUTHOR_KEY_DIGEST`.
    pub fn author_key_digest(&self) -> Sha384 {
        Digest(self.array::<{ offset::AUTHOR_KEY_DIGEST }, 48>())
    }

    /// `REPORT_ID`.
    pub fn report_id(&self) -> Digest<32> {
        Digest(self.array::<{ offset::REPORT_ID }, 32>())
    }

    /// `REPORT_ID_MA`: all ones where no migration agent is associated.
    pub fn report_id_ma(&self) -> Digest<32> {
        Digest(self.array::<{ offset::REPORT_ID_MA }, 32>())
    }

    /// `REPORTED_TCB`, raw.
    pub fn reported_tcb(&self) -> [u8; 8] {
        self.array::<{ offset::REPORTED_TCB }, 8>()
    }

    /// CPUID family, model and stepping; version 2 has none.
    pub fn cpuid(&self) -> Option<[u8; 3]> {
        (self.version() >= 3).then(|| self.array::<{ offset::CPUID }, 3>())
    }

    /// The product by CPUID; `None` for version 2 and for processors that we do not know.
    pub fn product(&self) -> Option<Product> {
        self.cpuid().and_then(|[family, model, _]| Product::from_cpuid(family, model))
    }

    /// `CHIP_ID`.
    pub fn chip_id(&self) -> Digest<64> {
        Digest(self.array::<{ offset::CHIP_ID }, 64>())
    }

    /// `COMMITTED_TCB`, raw.
    pub fn committed_tcb(&self) -> [u8; 8] {
        self.array::<{ offset::COMMITTED_TCB }, 8>()
    }

    /// Firmware that runs: (major, minor, build).
    pub fn current_firmware(&self) -> (u8, u8, u8) {
        let [build, minor, major] = self.array::<{ offset::CURRENT_FIRMWARE }, 3>();
        (major, minor, build)
    }

    /// Firmware below which the platform cannot go: (major, minor, build).
    pub fn committed_firmware(&self) -> (u8, u8, u8) {
        let [build, minor, major] = self.array::<{ offset::COMMITTED_FIRMWARE }, 3>();
        (major, minor, build)
    }

    /// `LAUNCH_TCB`, raw.
    pub fn launch_tcb(&self) -> [u8; 8] {
        self.array::<{ offset::LAUNCH_TCB }, 8>()
    }

    /// `LAUNCH_MIT_VECTOR` and `CURRENT_MIT_VECTOR`; before version 5 there are none.
    pub fn mitigations(&self) -> Option<(u64, u64)> {
        (self.version() >= 5).then(|| {
            (
                u64::from_le_bytes(self.array::<{ offset::LAUNCH_MITIGATIONS }, 8>()),
                u64::from_le_bytes(self.array::<{ offset::CURRENT_MITIGATIONS }, 8>()),
            )
        })
    }

    /// R and S of the signature, 72 bytes little-endian each, and the rest of its field.
    pub fn signature(&self) -> ([u8; 72], [u8; 72], [u8; 368]) {
        (
            self.array::<{ offset::SIGNATURE_R }, 72>(),
            self.array::<{ offset::SIGNATURE_S }, 72>(),
            self.array::<{ offset::SIGNATURE_REST }, 368>(),
        )
    }

    /// `N` bytes at `AT`; that they lie inside the report is checked when this is compiled.
    fn array<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= REPORT_LEN, "a member must lie inside the report") };
        self.0.get(AT..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

impl fmt::Debug for SnpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnpReport(version {}, measurement {})", self.version(), self.measurement())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_version_are_exact() {
        let mut bytes = vec![0; REPORT_LEN];
        for (version, parses) in
            [(1, false), (2, true), (3, true), (4, false), (5, true), (6, false)]
        {
            bytes[0] = version;
            assert_eq!(SnpReport::parse(&bytes).is_ok(), parses, "version {version}");
        }
        bytes[0] = 3;
        assert!(SnpReport::parse(&bytes[1..]).is_err());
        assert!(SnpReport::parse(&[bytes.clone(), vec![0]].concat()).is_err());
    }

    #[test]
    fn members_lie_where_the_abi_says() {
        let mut bytes = vec![0; REPORT_LEN];
        bytes[0] = 5;
        bytes[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 1]);
        bytes[0x1f8] = 3;
        bytes[0x200] = 4;
        bytes[0x48] = 0b111;
        bytes[0x2a0] = 9;
        let report = SnpReport::parse(&bytes).unwrap();
        assert_eq!(report.product(), Some(Product::Turin));
        assert_eq!(report.mitigations(), Some((3, 4)));
        assert_eq!(report.key_info().signing_key(), SigningKey::Vlek);
        assert!(report.key_info().author_key_en() && report.key_info().mask_chip_key());
        assert_eq!(report.signature().0[0], 9);
        assert_eq!(report.signed_bytes().len(), SIGNED_LEN);
    }

    #[test]
    fn tcb_layouts_differ_by_product() {
        let raw = [1, 2, 0, 0, 0, 0, 7, 8];
        let tcb = TcbVersion::from_raw(Product::Genoa, raw).unwrap();
        assert_eq!((tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode), (None, 1, 2, 7, 8));
        assert_eq!(tcb.to_raw(Product::Genoa), raw);
        assert!(TcbVersion::from_raw(Product::Turin, raw).is_err());
        let raw = [1, 2, 3, 4, 0, 0, 0, 8];
        let tcb = TcbVersion::from_raw(Product::Turin, raw).unwrap();
        assert_eq!((tcb.fmc, tcb.snp, tcb.to_raw(Product::Turin)), (Some(1), 4, raw));
    }

    #[test]
    fn tcb_is_compared_part_by_part() {
        let min = TcbVersion { fmc: None, bootloader: 5, tee: 5, snp: 5, microcode: 5 };
        assert!(min.at_least(min));
        for lower in [
            TcbVersion { bootloader: 4, microcode: 9, ..min },
            TcbVersion { tee: 4, microcode: 9, ..min },
            TcbVersion { snp: 4, microcode: 9, ..min },
            TcbVersion { microcode: 4, snp: 9, ..min },
        ] {
            assert!(!lower.at_least(min), "{lower}");
        }
        assert!(!min.at_least(TcbVersion { fmc: Some(1), ..min }));
    }
}
