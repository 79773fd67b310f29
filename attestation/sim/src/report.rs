//! Byte-exact SEV-SNP reports (AMD 56860 §7.3, table 23), any field settable, any byte patchable.

use attestation::ReportData;
use attestation::snp::{Product, REPORT_LEN, SIGNED_LEN, TcbVersion, offset};

use crate::error::SimError;
use crate::keys::EcKey;

/// A report before it is signed. The defaults are those of a well-kept host of its product.
#[derive(Debug, Clone)]
pub struct ReportBuilder {
    /// Decides how TCB versions are laid out; it is not a field of its own.
    pub product: Product,
    /// Structure version: 2, 3 or 5.
    pub version: u32,
    /// Guest security version.
    pub guest_svn: u32,
    /// Guest policy.
    pub policy: u64,
    /// Family id.
    pub family_id: [u8; 16],
    /// Image id.
    pub image_id: [u8; 16],
    /// Privilege level that asked.
    pub vmpl: u32,
    /// Signature algorithm; 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// TCB of the running firmware.
    pub current_tcb: TcbVersion,
    /// What the platform is.
    pub platform_info: u64,
    /// `AUTHOR_KEY_EN`, `MASK_CHIP_KEY` and `SIGNING_KEY`.
    pub key_info: u32,
    /// What the guest had signed.
    pub report_data: [u8; 64],
    /// Launch measurement.
    pub measurement: [u8; 48],
    /// What the host said at launch.
    pub host_data: [u8; 32],
    /// Digest of the id key.
    pub id_key_digest: [u8; 48],
    /// Digest of the author key.
    pub author_key_digest: [u8; 48],
    /// Report id of the guest.
    pub report_id: [u8; 32],
    /// Report id of its migration agent; all ones for none.
    pub report_id_ma: [u8; 32],
    /// TCB that the VCEK or VLEK stands for.
    pub reported_tcb: TcbVersion,
    /// CPUID family, model and stepping (version 3 on; version 2 has zeroes here).
    pub cpuid: [u8; 3],
    /// Chip id; zero when masked or signed by a VLEK.
    pub chip_id: [u8; 64],
    /// TCB below which the platform cannot be rolled back.
    pub committed_tcb: TcbVersion,
    /// Firmware build, minor and major that run.
    pub current_version: [u8; 3],
    /// Firmware build, minor and major that are committed.
    pub committed_version: [u8; 3],
    /// TCB when the guest was launched.
    pub launch_tcb: TcbVersion,
    /// Mitigations at launch (version 5).
    pub launch_mitigations: u64,
    /// Mitigations now (version 5).
    pub current_mitigations: u64,
    /// Bytes written over the rest before signing: (offset, bytes).
    pub patches: Vec<(usize, Vec<u8>)>,
}

impl ReportBuilder {
    /// A report of `product` in structure version `version`.
    pub fn new(product: Product, version: u32) -> Self {
        let tcb = healthy_tcb(product);
        let mitigations = if version >= 5 { 0x3f } else { 0 };
        Self {
            product,
            version,
            guest_svn: 0,
            policy: POLICY_DEFAULT,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: PLATFORM_INFO_DEFAULT,
            key_info: KEY_VCEK,
            report_data: [0; 64],
            measurement: [0; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0x1d; 32],
            report_id_ma: [0xff; 32],
            reported_tcb: tcb,
            cpuid: if version >= 3 { cpuid(product) } else { [0; 3] },
            chip_id: [0; 64],
            committed_tcb: tcb,
            current_version: FIRMWARE_VERSION,
            committed_version: FIRMWARE_VERSION,
            launch_tcb: tcb,
            launch_mitigations: mitigations,
            current_mitigations: mitigations,
            patches: Vec::new(),
        }
    }

    /// The same over other report data.
    #[must_use]
    pub const fn report_data(mut self, data: &ReportData) -> Self {
        self.report_data = data.0;
        self
    }

    /// The same with all four TCB versions equal to `tcb`.
    #[must_use]
    pub const fn tcb(mut self, tcb: TcbVersion) -> Self {
        self.current_tcb = tcb;
        self.reported_tcb = tcb;
        self.committed_tcb = tcb;
        self.launch_tcb = tcb;
        self
    }

    /// The same with `bytes` written at `offset` before signing.
    #[must_use]
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.patches.push((offset, bytes.to_vec()));
        self
    }

    /// The signed part. A patch that does not fit is left out.
    pub fn body(&self) -> [u8; SIGNED_LEN] {
        // A field that is added must be written: the pattern names all of them.
        let Self {
            product,
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            signature_algo,
            current_tcb,
            platform_info,
            key_info,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            report_id_ma,
            reported_tcb,
            cpuid,
            chip_id,
            committed_tcb,
            current_version,
            committed_version,
            launch_tcb,
            launch_mitigations,
            current_mitigations,
            patches,
        } = self;
        let mut body = [0; SIGNED_LEN];
        let mut put = |at: usize, bytes: &[u8]| {
            let end = at.saturating_add(bytes.len());
            if let Some(place) = body.get_mut(at..end) {
                place.copy_from_slice(bytes);
            }
        };
        put(offset::VERSION, &version.to_le_bytes());
        put(offset::GUEST_SVN, &guest_svn.to_le_bytes());
        put(offset::POLICY, &policy.to_le_bytes());
        put(offset::FAMILY_ID, family_id);
        put(offset::IMAGE_ID, image_id);
        put(offset::VMPL, &vmpl.to_le_bytes());
        put(offset::SIGNATURE_ALGO, &signature_algo.to_le_bytes());
        put(offset::CURRENT_TCB, &current_tcb.to_raw(*product));
        put(offset::PLATFORM_INFO, &platform_info.to_le_bytes());
        put(offset::KEY_INFO, &key_info.to_le_bytes());
        put(offset::REPORT_DATA, report_data);
        put(offset::MEASUREMENT, measurement);
        put(offset::HOST_DATA, host_data);
        put(offset::ID_KEY_DIGEST, id_key_digest);
        put(offset::AUTHOR_KEY_DIGEST, author_key_digest);
        put(offset::REPORT_ID, report_id);
        put(offset::REPORT_ID_MA, report_id_ma);
        put(offset::REPORTED_TCB, &reported_tcb.to_raw(*product));
        put(offset::CPUID, cpuid);
        put(offset::CHIP_ID, chip_id);
        put(offset::COMMITTED_TCB, &committed_tcb.to_raw(*product));
        put(offset::CURRENT_FIRMWARE, current_version);
        put(offset::COMMITTED_FIRMWARE, committed_version);
        put(offset::LAUNCH_TCB, &launch_tcb.to_raw(*product));
        if *version >= 5 {
            put(offset::LAUNCH_MITIGATIONS, &launch_mitigations.to_le_bytes());
            put(offset::CURRENT_MITIGATIONS, &current_mitigations.to_le_bytes());
        }
        for (at, bytes) in patches {
            put(*at, bytes);
        }
        body
    }

    /// The report, signed as the firmware does.
    pub fn sign(&self, key: &EcKey) -> Result<Vec<u8>, SimError> {
        self.sign_as(key, SignatureForm::Genuine)
    }

    /// The report with a signature of this form.
    pub fn sign_as(&self, key: &EcKey, form: SignatureForm) -> Result<Vec<u8>, SimError> {
        let body = self.body();
        let signature = key.sign(&body)?;
        let (big_r, big_s) = signature.split_at(48);
        let mut r = [0; COMPONENT_LEN];
        let mut s = [0; COMPONENT_LEN];
        // The firmware writes little-endian; the form `BigEndian` leaves it out.
        let swap = form != SignatureForm::BigEndian;
        for (field, big) in [(&mut r, big_r), (&mut s, big_s)] {
            for (index, byte) in field.iter_mut().zip(0..48).map(|(byte, index)| (index, byte)) {
                let from = if swap { 47_usize.saturating_sub(index) } else { index };
                *byte = big.get(from).copied().unwrap_or(0);
            }
        }
        let mut report = [&body[..], &r, &s].concat();
        report.resize(REPORT_LEN, 0);
        let mut flip = |at: usize| {
            if let Some(byte) = report.get_mut(at) {
                *byte ^= 1;
            }
        };
        match form {
            SignatureForm::Genuine | SignatureForm::BigEndian => {}
            SignatureForm::LongR => flip(SIGNED_LEN.saturating_add(48)),
            SignatureForm::LongS => {
                flip(SIGNED_LEN.saturating_add(COMPONENT_LEN).saturating_add(48));
            }
            SignatureForm::Trailing => flip(REPORT_LEN.saturating_sub(1)),
            SignatureForm::Flipped => flip(SIGNED_LEN),
            SignatureForm::Zero => {
                report.truncate(SIGNED_LEN);
                report.resize(REPORT_LEN, 0);
            }
        }
        Ok(report)
    }
}

/// What the signature of a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureForm {
    /// As the firmware makes it.
    Genuine,
    /// `r` is longer than 48 bytes; its low bytes are the genuine ones.
    LongR,
    /// `s` is longer than 48 bytes; its low bytes are the genuine ones.
    LongS,
    /// The last reserved byte after the signature is not zero.
    Trailing,
    /// One bit of `r` is flipped.
    Flipped,
    /// `r` and `s` are big-endian.
    BigEndian,
    /// `r` and `s` are zero.
    Zero,
}

/// The TCB of the genuine reports that the tests read, per product.
pub const fn healthy_tcb(product: Product) -> TcbVersion {
    match product {
        Product::Milan => TcbVersion { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 0xdb },
        Product::Genoa => TcbVersion { fmc: None, bootloader: 10, tee: 0, snp: 23, microcode: 84 },
        Product::Turin => TcbVersion { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 },
    }
}

/// `SIGNING_KEY` says VCEK.
pub const KEY_VCEK: u32 = 0;
/// `SIGNING_KEY` says VLEK.
pub const KEY_VLEK: u32 = 1 << 2;
/// `SIGNING_KEY` says that the report is not signed.
pub const KEY_NONE: u32 = 7 << 2;
/// `MASK_CHIP_KEY`.
pub const KEY_MASK_CHIP: u32 = 1 << 1;
/// `AUTHOR_KEY_EN`.
pub const KEY_AUTHOR: u32 = 1;

/// The bit that must be one, and SMT allowed (AMD 56860 §4.3).
const POLICY_DEFAULT: u64 = 0x0003_0000;
/// SMT, ECC and `ALIAS_CHECK_COMPLETE`, as on the genuine Milan host.
const PLATFORM_INFO_DEFAULT: u64 = 0x25;
/// Build 65, version 1.55, as on the genuine Turin host.
const FIRMWARE_VERSION: [u8; 3] = [65, 55, 1];
/// `r` and `s` have 72 bytes each, of which P-384 uses 48 (AMD 56860 table 123).
const COMPONENT_LEN: usize = 72;

const fn cpuid(product: Product) -> [u8; 3] {
    match product {
        Product::Milan => [0x19, 0x01, 1],
        Product::Genoa => [0x19, 0x11, 1],
        Product::Turin => [0x1a, 0x02, 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_signature_differs_where_it_says() {
        let key = EcKey::generate().unwrap();
        let builder = ReportBuilder::new(Product::Genoa, 3);
        // Where only zeroes may stand: the high bytes of r and of s, and the rest.
        let padding = [0x2d0..0x2e8, 0x318..0x330, 0x330..0x4a0];
        for (form, dirty) in [
            (SignatureForm::Genuine, None),
            (SignatureForm::LongR, Some(0)),
            (SignatureForm::LongS, Some(1)),
            (SignatureForm::Trailing, Some(2)),
            (SignatureForm::Flipped, None),
            (SignatureForm::BigEndian, None),
        ] {
            let report = builder.sign_as(&key, form).unwrap();
            assert_eq!(report.len(), REPORT_LEN);
            assert_eq!(report[..SIGNED_LEN], builder.body());
            for (index, range) in padding.iter().enumerate() {
                let clean = report[range.clone()].iter().all(|byte| *byte == 0);
                assert_eq!(clean, dirty != Some(index), "{form:?} at {range:x?}");
            }
        }
        let zero = builder.sign_as(&key, SignatureForm::Zero).unwrap();
        assert!(zero[SIGNED_LEN..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn patches_go_over_the_fields_and_into_nothing_else() {
        let builder = ReportBuilder::new(Product::Genoa, 3);
        let patched = builder.clone().patch(0x18b, &[9]).patch(SIGNED_LEN, &[1]).body();
        let differing: Vec<_> =
            (0..SIGNED_LEN).filter(|at| patched[*at] != builder.body()[*at]).collect();
        assert_eq!(differing, [0x18b]);
    }

    #[test]
    fn old_versions_lack_the_newer_fields() {
        for (version, has_cpuid, has_mitigations) in
            [(2, false, false), (3, true, false), (5, true, true)]
        {
            let mut builder = ReportBuilder::new(Product::Turin, version);
            builder.current_mitigations = 7;
            let body = builder.body();
            assert_eq!(body[offset::CPUID] != 0, has_cpuid, "v{version}");
            assert_eq!(body[offset::CURRENT_MITIGATIONS] != 0, has_mitigations, "v{version}");
        }
    }
}
