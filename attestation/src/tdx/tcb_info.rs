//! TCB Info: which TCB levels of one platform family are good (Intel PCS API v4, TCB Info v3).

use core::cmp::Reverse;

use serde::Deserialize;

use super::tcb::{
    Advisories, DOCUMENT_LEN_MAX, Hex, LEVELS_MAX, Masked, TcbStatus, advisories, bounded,
};
use crate::bytes::Malformed;
use crate::endorsements::{Kind, Signed};
use crate::json::Object;
use crate::time::UnixTime;

const WHAT: &str = "TCB Info";

/// TCB Info of TDX, parsed and not yet believed.
///
/// Members of the JSON that are not known here are left out, as Intel adds some within a version;
/// one that is known and comes twice is an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcbInfo {
    /// When it was issued.
    pub issue_date: UnixTime,
    /// When the next one comes: after it, this one says nothing.
    pub next_update: UnixTime,
    /// The family, model, stepping, platform type and customised SKU that it is for.
    pub fmspc: [u8; 6],
    /// The provisioning certification enclave that it is for.
    pub pce_id: [u8; 2],
    /// Number of the evaluation of all platforms' TCB: higher is later.
    pub evaluation: u32,
    /// The TDX module, where its version has no identity of its own.
    pub module: ModuleIdentity,
    /// The identities of the module's versions.
    pub modules: Vec<(u8, ModuleIdentity, Vec<ModuleLevel>)>,
    /// The levels, highest first.
    pub levels: Vec<TcbLevel>,
}

/// Who signed a TDX module, and with which attributes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModuleIdentity {
    /// What `MRSIGNERSEAM` must be.
    pub mr_signer: [u8; 48],
    /// What `SEAMATTRIBUTES` must be.
    pub attributes: Masked<8>,
}

/// A security version of a TDX module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModuleLevel {
    /// The least `TEE_TCB_SVN[0]`.
    pub isv_svn: u8,
    /// Up to when the level covers what was known.
    pub date: UnixTime,
    /// Its state.
    pub status: TcbStatus,
    /// What it leaves open.
    pub advisories: Advisories,
}

/// A TCB level of a platform.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcbLevel {
    /// The least value of each component of the PCK's TCB.
    pub sgx: [u8; 16],
    /// The least `PCESVN`.
    pub pce_svn: u16,
    /// The least value of each component of `TEE_TCB_SVN`.
    pub tdx: [u8; 16],
    /// Up to when the level covers what was known.
    pub date: UnixTime,
    /// Its state.
    pub status: TcbStatus,
    /// What it leaves open.
    pub advisories: Advisories,
}

/// A signed document's body and signature.
pub(super) type Parts<'a> = (&'a [u8], [u8; 64]);

/// Takes a signed document of `kind` apart.
pub(super) fn parts<'a>(
    what: &'static str,
    kind: Kind,
    item: &'a [u8],
) -> Result<Parts<'a>, Malformed> {
    if item.len() > DOCUMENT_LEN_MAX {
        return Err(Malformed::TooLong { what, limit: DOCUMENT_LEN_MAX });
    }
    match Signed::of(item) {
        Some(signed) if signed.kind == kind => Ok((signed.body, signed.signature)),
        _ => Err(Malformed::invalid(what, "is not of the form that Intel sends")),
    }
}

impl TcbInfo {
    /// The bytes that are signed, and the signature over them (`r ‖ s`).
    ///
    /// # Errors
    /// Another form than the one that Intel sends.
    pub fn signed(item: &[u8]) -> Result<(&[u8], [u8; 64]), Malformed> {
        parts(WHAT, Kind::TcbInfo, item)
    }

    /// Parses a signed TCB Info of TDX, of version 3.
    ///
    /// # Errors
    /// Another form, version or TEE; a member that is missing, given twice or out of bounds.
    pub fn parse(item: &[u8]) -> Result<Self, Malformed> {
        let (body, _) = Self::signed(item)?;
        let Object(json) = serde_json::from_slice::<Object<Json<'_>>>(body)
            .map_err(|_| Malformed::invalid(WHAT, "is not one of TDX as Intel writes it"))?;
        if json.id != "TDX" || json.version != 3 || json.tcb_type != 0 {
            return Err(Malformed::invalid(WHAT, "is of another TEE, version or type"));
        }
        bounded(WHAT, &json.tcb_levels, LEVELS_MAX)?;
        bounded(WHAT, &json.tdx_module_identities, LEVELS_MAX)?;
        let levels = json.tcb_levels.into_iter().map(|Object(level)| level.read());
        let mut levels = levels.collect::<Result<Vec<_>, _>>()?;
        // Intel's own library sorts them, and so does not depend on how they are written.
        levels.sort_by_key(|level| Reverse((level.sgx, level.pce_svn, level.tdx)));
        let modules = json.tdx_module_identities.into_iter().map(|Object(module)| module.read());
        let modules = modules.collect::<Result<Vec<_>, _>>()?;
        let mut versions: Vec<_> = modules.iter().map(|(version, ..)| *version).collect();
        versions.sort_unstable();
        if versions.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Malformed::invalid(WHAT, "has two identities of one TDX module"));
        }
        Ok(Self {
            issue_date: json.issue_date,
            next_update: json.next_update,
            fmspc: json.fmspc.0,
            pce_id: json.pce_id.0,
            evaluation: json.tcb_evaluation_data_number,
            module: json.tdx_module.0.read(),
            modules,
            levels,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    id: &'a str,
    version: u32,
    issue_date: UnixTime,
    next_update: UnixTime,
    fmspc: Hex<6>,
    pce_id: Hex<2>,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tdx_module: Object<ModuleJson>,
    #[serde(borrow, default)]
    tdx_module_identities: Vec<Object<VersionJson<'a>>>,
    #[serde(borrow)]
    tcb_levels: Vec<Object<LevelJson<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleJson {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

impl ModuleJson {
    const fn read(&self) -> ModuleIdentity {
        let attributes = Masked { value: self.attributes.0, mask: self.attributes_mask.0 };
        ModuleIdentity { mr_signer: self.mrsigner.0, attributes }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionJson<'a> {
    id: &'a str,
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
    #[serde(borrow)]
    tcb_levels: Vec<Object<ModuleLevelJson<'a>>>,
}

impl VersionJson<'_> {
    fn read(self) -> Result<(u8, ModuleIdentity, Vec<ModuleLevel>), Malformed> {
        const BAD: Malformed = Malformed::invalid(WHAT, "names a TDX module in another way");
        let Self { id, mrsigner, attributes, attributes_mask, tcb_levels } = self;
        let digits = id.strip_prefix("TDX_").filter(|digits| digits.len() == 2).ok_or(BAD)?;
        let version = u8::from_str_radix(digits, 16).map_err(|_| BAD)?;
        bounded(WHAT, &tcb_levels, LEVELS_MAX)?;
        let levels = tcb_levels.into_iter().map(|Object(level)| level.read());
        let mut levels = levels.collect::<Result<Vec<_>, _>>()?;
        levels.sort_by_key(|level| Reverse(level.isv_svn));
        let identity = ModuleJson { mrsigner, attributes, attributes_mask }.read();
        Ok((version, identity, levels))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleLevelJson<'a> {
    tcb: Object<ModuleTcbJson>,
    tcb_date: UnixTime,
    tcb_status: TcbStatus,
    #[serde(borrow, default, rename = "advisoryIDs")]
    advisories: Vec<&'a str>,
}

#[derive(Deserialize)]
struct ModuleTcbJson {
    isvsvn: u8,
}

impl ModuleLevelJson<'_> {
    fn read(self) -> Result<ModuleLevel, Malformed> {
        use TcbStatus::{OutOfDate, Revoked, UpToDate};
        if !matches!(self.tcb_status, UpToDate | OutOfDate | Revoked) {
            return Err(Malformed::invalid(
                WHAT,
                "has a TDX module in a state that it cannot have",
            ));
        }
        Ok(ModuleLevel {
            isv_svn: self.tcb.0.isvsvn,
            date: self.tcb_date,
            status: self.tcb_status,
            advisories: advisories(WHAT, self.advisories)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LevelJson<'a> {
    tcb: Object<TcbJson>,
    tcb_date: UnixTime,
    tcb_status: TcbStatus,
    #[serde(borrow, default, rename = "advisoryIDs")]
    advisories: Vec<&'a str>,
}

#[derive(Deserialize)]
struct TcbJson {
    sgxtcbcomponents: [Object<ComponentJson>; 16],
    pcesvn: u16,
    tdxtcbcomponents: [Object<ComponentJson>; 16],
}

#[derive(Clone, Copy, Deserialize)]
struct ComponentJson {
    svn: u8,
}

impl LevelJson<'_> {
    fn read(self) -> Result<TcbLevel, Malformed> {
        let TcbJson { sgxtcbcomponents, pcesvn, tdxtcbcomponents } = self.tcb.0;
        Ok(TcbLevel {
            sgx: sgxtcbcomponents.map(|Object(component)| component.svn),
            pce_svn: pcesvn,
            tdx: tdxtcbcomponents.map(|Object(component)| component.svn),
            date: self.tcb_date,
            status: self.tcb_status,
            advisories: advisories(WHAT, self.advisories)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(sgx: u8, status: &str) -> String {
        let components =
            |svn: u8| vec![format!(r#"{{"svn":{svn},"category":"BIOS"}}"#); 16].join(",");
        format!(
            r#"{{"tcb":{{"sgxtcbcomponents":[{}],"pcesvn":11,"tdxtcbcomponents":[{}]}},"tcbDate":"2025-08-13T00:00:00Z","tcbStatus":"{status}","advisoryIDs":["INTEL-SA-1"]}}"#,
            components(sgx),
            components(5)
        )
    }

    fn sample() -> String {
        let zeros = "0".repeat(96);
        let module = format!(
            r#""mrsigner":"{zeros}","attributes":"0000000000000000","attributesMask":"FFFFFFFFFFFFFFFF""#
        );
        let of_module = |isvsvn: u8| {
            format!(
                r#"{{"tcb":{{"isvsvn":{isvsvn}}},"tcbDate":"2024-11-13T00:00:00Z","tcbStatus":"UpToDate"}}"#
            )
        };
        format!(
            r#"{{"tcbInfo":{{"id":"TDX","version":3,"issueDate":"2026-01-12T15:46:45Z","nextUpdate":"2026-02-11T15:46:45Z","fmspc":"90C06f000000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":18,"tdxModule":{{{module}}},"tdxModuleIdentities":[{{"id":"TDX_03",{module},"tcbLevels":[{},{}]}},{{"id":"TDX_01",{module},"tcbLevels":[]}}],"tcbLevels":[{},{}]}},"signature":"{}"}}"#,
            of_module(2),
            of_module(3),
            level(3, "OutOfDate"),
            level(4, "UpToDate"),
            "ab".repeat(64),
        )
    }

    #[test]
    fn all_that_counts_is_read_and_levels_are_sorted() {
        let info = TcbInfo::parse(sample().as_bytes()).unwrap();
        assert_eq!((info.fmspc, info.pce_id), ([0x90, 0xc0, 0x6f, 0, 0, 0], [0, 0]));
        assert_eq!((info.evaluation, info.module.attributes.mask), (18, [0xff; 8]));
        assert_eq!(info.issue_date.to_string(), "2026-01-12T15:46:45Z");
        assert_eq!(info.next_update.to_string(), "2026-02-11T15:46:45Z");
        let levels: Vec<_> = info.levels.iter().map(|level| (level.sgx[0], level.status)).collect();
        assert_eq!(levels, [(4, TcbStatus::UpToDate), (3, TcbStatus::OutOfDate)]);
        assert_eq!((info.levels[0].pce_svn, info.levels[0].tdx), (11, [5; 16]));
        assert_eq!(info.levels[0].advisories, ["INTEL-SA-1"]);
        let versions: Vec<_> = info.modules.iter().map(|(version, ..)| *version).collect();
        assert_eq!(versions, [3, 1]);
        let svns: Vec<_> = info.modules[0].2.iter().map(|level| level.isv_svn).collect();
        assert_eq!(svns, [3, 2]);
        let (body, signature) =
            TcbInfo::signed(sample().as_bytes()).map(|(b, s)| (b.len(), s)).unwrap();
        assert_eq!((body, signature), (sample().len() - 11 - 14 - 128 - 2, [0xab; 64]));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = sample();
        for (what, from, to) in [
            ("another TEE", "\"TDX\"", "\"SGX\""),
            ("another version", "\"version\":3", "\"version\":2"),
            ("another comparison", "\"tcbType\":0", "\"tcbType\":1"),
            ("a member twice", "\"tcbType\":0", "\"tcbType\":0,\"tcbType\":0"),
            ("a member twice, deep", "\"pcesvn\":11", "\"pcesvn\":11,\"pcesvn\":11"),
            ("a member missing", "\"pceId\":\"0000\",", ""),
            ("no module", "\"tdxModule\":", "\"tdxmodule\":"),
            ("an unknown status", "OutOfDate", "Outdated"),
            ("a component too many", "{\"svn\":4,", "{\"svn\":4},{\"svn\":4,"),
            ("a component that is no byte", "{\"svn\":4,", "{\"svn\":256,"),
            ("a component as a list", "{\"svn\":4,\"category\":\"BIOS\"}", "[4]"),
            ("an fmspc of another length", "90C06f000000", "90C06f0000"),
            ("no hex", "90C06f000000", "90C06f00000g"),
            ("no date", "2025-08-13T00:00:00Z", "2025-08-13"),
            ("an odd module", "TDX_03", "TDX_3"),
            ("a module twice", "TDX_03", "TDX_01"),
            (
                "a module in an impossible state",
                "\"isvsvn\":2},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"UpToDate",
                "\"isvsvn\":2},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"SWHardeningNeeded",
            ),
            ("an advisory that is no name", "INTEL-SA-1", "INTEL SA 1"),
            ("two documents", "},\"signature\"", "},\"signature\":\"\"},{},\"signature\""),
            ("a list", "{\"tcbInfo\":{", "{\"tcbInfo\":[{"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(bad != good && TcbInfo::parse(bad.as_bytes()).is_err(), "{what}: {bad}");
        }
        let long = good.replacen(
            "\"tcbType\"",
            &format!("\"x\":\"{}\",\"tcbType\"", "x".repeat(DOCUMENT_LEN_MAX)),
            1,
        );
        assert!(TcbInfo::parse(long.as_bytes()).is_err());
        let one = level(1, "UpToDate");
        let many = good.replacen(
            "\"tcbLevels\":[{\"tcb\":{\"sgx",
            &format!("\"tcbLevels\":[{}{{\"tcb\":{{\"sgx", format!("{one},").repeat(127)),
            1,
        );
        assert!(many != good && TcbInfo::parse(many.as_bytes()).is_err());
        // What Intel may add is no error.
        let added = good.replacen("\"tcbType\"", "\"new\":{\"a\":[1]},\"tcbType\"", 1);
        assert_eq!(TcbInfo::parse(added.as_bytes()), TcbInfo::parse(good.as_bytes()));
    }
}
