//! A TD's report (Intel TDX module base architecture specification; DCAP Quoting Library API A.3.2).
//!
//! | offset | bytes | member |
//! |---|---|---|
//! | 0 | 16 | `TEE_TCB_SVN` |
//! | 16 | 48 | `MRSEAM` |
//! | 64 | 48 | `MRSIGNERSEAM` |
//! | 112 | 8 | `SEAMATTRIBUTES` |
//! | 120 | 8 | `TDATTRIBUTES` |
//! | 128 | 8 | `XFAM` |
//! | 136 | 48 | `MRTD` |
//! | 184 | 48 | `MRCONFIGID` |
//! | 232 | 48 | `MROWNER` |
//! | 280 | 48 | `MROWNERCONFIG` |
//! | 328 | 4 × 48 | `RTMR0` to `RTMR3` |
//! | 520 | 64 | `REPORTDATA` |
//! | 584 | 16 | `TEE_TCB_SVN2` (TDX 1.5) |
//! | 600 | 48 | `MRSERVICETD` |
//! | 648 | 1 | `VMID` (TDX 1.5, extended) |
//! | 649 | 32 | `TD_ID` |
//! | 681 | 48 | `DEV_INFO_HASH` |
//! | 729 | 48 | `INIT_SERVTD_HASH` |
//! | 777 | 8 | `INIT_SERVTD_ATTR` |
//! | 785 | 16 | `INIT_CPUSVN` |
//! | 801 | 16 | `INIT_TEE_TCB_SVN` |
//! | 817 | 12 | `INIT_TEE_FMSPC` |
//! | 829 | 48 | `CUR_SERVTD_HASH` |
//! | 877 | 8 | `CUR_SERVTD_ATTR` |

use core::fmt;

use crate::bytes::{Malformed, Reader};
use crate::digest::{Digest, Sha384};

/// Which report it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Form {
    /// Of TDX 1.0.
    Td10,
    /// Of TDX 1.5.
    Td15,
    /// Of TDX 1.5, extended.
    Td15Ex,
}

impl Form {
    /// Its length in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Ex => 885,
        }
    }

    /// The type of a quote's body that it is in version 5.
    pub const fn body_type(self) -> u16 {
        match self {
            Self::Td10 => 2,
            Self::Td15 => 3,
            Self::Td15Ex => 4,
        }
    }

    pub(super) const fn of_body_type(body_type: u16) -> Option<Self> {
        match body_type {
            2 => Some(Self::Td10),
            3 => Some(Self::Td15),
            4 => Some(Self::Td15Ex),
            _ => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Td10 => "TD 1.0",
            Self::Td15 => "TD 1.5",
            Self::Td15Ex => "TD 1.5 extended",
        })
    }
}

/// A TD's report. Members are named as in the specification.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the table above says what each is, by the specification's names")]
pub struct TdReport {
    pub tee_tcb_svn: [u8; 16],
    pub mr_seam: Sha384,
    pub mr_signer_seam: Sha384,
    pub seam_attributes: [u8; 8],
    pub td_attributes: Attributes,
    pub xfam: u64,
    pub mr_td: Sha384,
    pub mr_config_id: Sha384,
    pub mr_owner: Sha384,
    pub mr_owner_config: Sha384,
    pub rtmr: [Sha384; 4],
    pub report_data: [u8; 64],
    pub td15: Option<Td15>,
    pub td15_ex: Option<Td15Ex>,
}

/// What TDX 1.5 adds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the table above says what each is, by the specification's names")]
pub struct Td15 {
    pub tee_tcb_svn2: [u8; 16],
    pub mr_service_td: Sha384,
}

/// What the extended report of TDX 1.5 adds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the table above says what each is, by the specification's names")]
pub struct Td15Ex {
    pub vm_id: u8,
    pub td_id: Digest<32>,
    pub dev_info_hash: Sha384,
    pub init_service_td_hash: Sha384,
    pub init_service_td_attributes: [u8; 8],
    pub init_cpu_svn: [u8; 16],
    pub init_tee_tcb_svn: [u8; 16],
    pub init_tee_fmspc: [u8; 12],
    pub cur_service_td_hash: Sha384,
    pub cur_service_td_attributes: [u8; 8],
}

impl TdReport {
    /// Which report it is.
    pub const fn form(&self) -> Form {
        match (&self.td15, &self.td15_ex) {
            (_, Some(_)) => Form::Td15Ex,
            (Some(_), None) => Form::Td15,
            (None, None) => Form::Td10,
        }
    }

    /// Parses exactly one report of this form.
    ///
    /// # Errors
    /// Another length.
    pub fn parse(form: Form, bytes: &[u8]) -> Result<Self, Malformed> {
        Reader::read_all("report of a TD", bytes, |r| {
            let mut report = base(r)?;
            if form >= Form::Td15 {
                report.td15 =
                    Some(Td15 { tee_tcb_svn2: r.array()?, mr_service_td: Digest(r.array()?) });
            }
            if form == Form::Td15Ex {
                report.td15_ex = Some(extended(r)?);
            }
            Ok(report)
        })
    }
}

fn base(r: &mut Reader<'_>) -> Result<TdReport, Malformed> {
    let mut report = TdReport {
        tee_tcb_svn: r.array()?,
        mr_seam: Digest(r.array()?),
        mr_signer_seam: Digest(r.array()?),
        seam_attributes: r.array()?,
        td_attributes: Attributes(r.u64_le()?),
        xfam: r.u64_le()?,
        mr_td: Digest(r.array()?),
        mr_config_id: Digest(r.array()?),
        mr_owner: Digest(r.array()?),
        mr_owner_config: Digest(r.array()?),
        rtmr: [Digest([0; 48]); 4],
        report_data: [0; 64],
        td15: None,
        td15_ex: None,
    };
    for rtmr in &mut report.rtmr {
        *rtmr = Digest(r.array()?);
    }
    report.report_data = r.array()?;
    Ok(report)
}

fn extended(r: &mut Reader<'_>) -> Result<Td15Ex, Malformed> {
    Ok(Td15Ex {
        vm_id: r.u8()?,
        td_id: Digest(r.array()?),
        dev_info_hash: Digest(r.array()?),
        init_service_td_hash: Digest(r.array()?),
        init_service_td_attributes: r.array()?,
        init_cpu_svn: r.array()?,
        init_tee_tcb_svn: r.array()?,
        init_tee_fmspc: r.array()?,
        cur_service_td_hash: Digest(r.array()?),
        cur_service_td_attributes: r.array()?,
    })
}

/// `TDATTRIBUTES` (Intel TDX module ABI specification, 348551-008, table 3.23).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Attributes(pub u64);

impl Attributes {
    /// Bit 0: the host can debug the TD, which so keeps no secret.
    pub const DEBUG: u64 = 1;
    /// Bits 4 to 6: profiling, under which the TD is as untrusted as under debugging.
    pub const PROFILING: u64 = 0x70;
    /// Bit 17: the report has a hash of the service TDs' extended bindings.
    pub const SERVTD_EXT: u64 = 1 << 17;
    /// Bit 28: no exception is injected for pages that the TD has not accepted.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// Bit 29: the TD can be migrated.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// Bit 30: protection keys of the supervisor.
    pub const PKS: u64 = 1 << 30;
    /// Bit 31: Key Locker.
    pub const KEY_LOCKER: u64 = 1 << 31;
    /// Bit 63: performance monitoring.
    pub const PERFMON: u64 = 1 << 63;
    /// Bits that the specification reserves, and that must be zero: 1 to 3, 7 to 15, 23 to 26 and
    /// 32 to 61.
    pub const RESERVED: u64 = 0x3fff_ffff_0780_ff8e;

    /// Whether any of these bits is set.
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    const NAMES: [(u32, &'static str); 18] = [
        (0, "DEBUG"),
        (4, "HGS_PLUS_PROF"),
        (5, "PERF_PROF"),
        (6, "PMT_PROF"),
        (16, "ICSSD"),
        (17, "SERVTD_EXT"),
        (18, "BIT18"),
        (19, "BIT19"),
        (20, "BIT20"),
        (21, "BIT21"),
        (22, "BIT22"),
        (27, "LASS"),
        (28, "SEPT_VE_DISABLE"),
        (29, "MIGRATABLE"),
        (30, "PKS"),
        (31, "KL"),
        (62, "TPA"),
        (63, "PERFMON"),
    ];
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)?;
        let names = Self::NAMES.iter().filter(|(bit, _)| self.has(1 << bit));
        for (at, (_, name)) in names.enumerate() {
            write!(f, "{}{name}", if at == 0 { " (" } else { ", " })?;
        }
        f.write_str(if Self::NAMES.iter().any(|(bit, _)| self.has(1 << bit)) { ")" } else { "" })
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_lie_where_the_specification_says() {
        let mut bytes = [0; 885];
        let starts = [
            0, 16, 64, 112, 120, 128, 136, 184, 232, 280, 328, 376, 424, 472, 520, 584, 600, 648,
            649, 681, 729, 777, 785, 801, 817, 829, 877,
        ];
        for (value, at) in (1..).zip(starts) {
            bytes[at] = value;
        }
        let report = TdReport::parse(Form::Td15Ex, &bytes).unwrap();
        let (td15, ex) = (report.td15.clone().unwrap(), report.td15_ex.clone().unwrap());
        let found = [
            report.tee_tcb_svn[0],
            report.mr_seam.0[0],
            report.mr_signer_seam.0[0],
            report.seam_attributes[0],
            u8::try_from(report.td_attributes.0).unwrap(),
            u8::try_from(report.xfam).unwrap(),
            report.mr_td.0[0],
            report.mr_config_id.0[0],
            report.mr_owner.0[0],
            report.mr_owner_config.0[0],
            report.rtmr[0].0[0],
            report.rtmr[1].0[0],
            report.rtmr[2].0[0],
            report.rtmr[3].0[0],
            report.report_data[0],
            td15.tee_tcb_svn2[0],
            td15.mr_service_td.0[0],
            ex.vm_id,
            ex.td_id.0[0],
            ex.dev_info_hash.0[0],
            ex.init_service_td_hash.0[0],
            ex.init_service_td_attributes[0],
            ex.init_cpu_svn[0],
            ex.init_tee_tcb_svn[0],
            ex.init_tee_fmspc[0],
            ex.cur_service_td_hash.0[0],
            ex.cur_service_td_attributes[0],
        ];
        assert_eq!(found.to_vec(), (1..=27).collect::<Vec<u8>>());
        assert_eq!(report.form(), Form::Td15Ex);
        assert_eq!(TdReport::parse(Form::Td15, &bytes[..648]).unwrap().form(), Form::Td15);
        assert_eq!(TdReport::parse(Form::Td10, &bytes[..584]).unwrap().form(), Form::Td10);
        for form in [Form::Td10, Form::Td15, Form::Td15Ex] {
            assert!(TdReport::parse(form, &bytes[..form.size().saturating_sub(1)]).is_err());
            assert_eq!(Form::of_body_type(form.body_type()), Some(form));
        }
        assert!(TdReport::parse(Form::Td15, &bytes).is_err());
    }

    #[test]
    fn every_attribute_is_defined_or_reserved_and_none_both() {
        let named = Attributes::NAMES.iter().fold(0, |bits, (bit, _)| bits | 1 << bit);
        assert_eq!((named | Attributes::RESERVED, named & Attributes::RESERVED), (u64::MAX, 0));
        assert_eq!(
            Attributes(0x1000_0001).to_string(),
            "0x0000000010000001 (DEBUG, SEPT_VE_DISABLE)"
        );
        assert_eq!(Attributes(0).to_string(), "0x0000000000000000");
    }
}
