//! QE Identity: which quoting enclaves are Intel's, and how good each version is (Intel PCS API v4).

use core::cmp::Reverse;

use serde::Deserialize;

use super::tcb::{Advisories, Hex, LEVELS_MAX, Masked, TcbStatus, advisories, bounded};
use super::tcb_info::parts;
use crate::bytes::Malformed;
use crate::endorsements::Kind;
use crate::json::Object;
use crate::time::UnixTime;

const WHAT: &str = "QE Identity";

/// The identity of TDX's quoting enclave, parsed and not yet believed. Of members that are not known
/// the same holds as for [`TcbInfo`](super::TcbInfo).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QeIdentity {
    /// When it was issued.
    pub issue_date: UnixTime,
    /// When the next one comes: after it, this one says nothing.
    pub next_update: UnixTime,
    /// Number of the evaluation of all platforms' TCB: higher is later.
    pub evaluation: u32,
    /// What `MISCSELECT` must be.
    pub misc_select: Masked<4>,
    /// What `ATTRIBUTES` must be.
    pub attributes: Masked<16>,
    /// What `MRSIGNER` must be.
    pub mr_signer: [u8; 32],
    /// What `ISVPRODID` must be.
    pub isv_prod_id: u16,
    /// The levels, highest first.
    pub levels: Vec<QeLevel>,
}

/// A security version of the quoting enclave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QeLevel {
    /// The least `ISVSVN`.
    pub isv_svn: u16,
    /// Up to when the level covers what was known.
    pub date: UnixTime,
    /// Its state.
    pub status: TcbStatus,
    /// What it leaves open.
    pub advisories: Advisories,
}

impl QeIdentity {
    /// The bytes that are signed, and the signature over them (`r ‖ s`).
    ///
    /// # Errors
    /// Another form than the one that Intel sends.
    pub fn signed(item: &[u8]) -> Result<(&[u8], [u8; 64]), Malformed> {
        parts(WHAT, Kind::QeIdentity, item)
    }

    /// Parses a signed identity of TDX's quoting enclave, of version 2 or 3.
    ///
    /// # Errors
    /// Another form, version or enclave; a member that is missing, given twice or out of bounds.
    pub fn parse(item: &[u8]) -> Result<Self, Malformed> {
        let (body, _) = Self::signed(item)?;
        let Object(json) = serde_json::from_slice::<Object<Json<'_>>>(body)
            .map_err(|_| Malformed::invalid(WHAT, "is not one as Intel writes it"))?;
        if json.id != "TD_QE" || !(2..=3).contains(&json.version) {
            return Err(Malformed::invalid(WHAT, "is of another enclave or version"));
        }
        bounded(WHAT, &json.tcb_levels, LEVELS_MAX)?;
        let levels = json.tcb_levels.into_iter().map(|Object(level)| level.read());
        let mut levels = levels.collect::<Result<Vec<_>, _>>()?;
        levels.sort_by_key(|level| Reverse(level.isv_svn));
        Ok(Self {
            issue_date: json.issue_date,
            next_update: json.next_update,
            evaluation: json.tcb_evaluation_data_number,
            misc_select: little_endian(json.miscselect, json.miscselect_mask),
            attributes: Masked { value: json.attributes.0, mask: json.attributes_mask.0 },
            mr_signer: json.mrsigner.0,
            isv_prod_id: json.isvprodid,
            levels,
        })
    }
}

/// `MISCSELECT` is written as a number and lies in a report as one.
fn little_endian(Hex(mut value): Hex<4>, Hex(mut mask): Hex<4>) -> Masked<4> {
    value.reverse();
    mask.reverse();
    Masked { value, mask }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    id: &'a str,
    version: u32,
    issue_date: UnixTime,
    next_update: UnixTime,
    tcb_evaluation_data_number: u32,
    miscselect: Hex<4>,
    miscselect_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    #[serde(borrow)]
    tcb_levels: Vec<Object<LevelJson<'a>>>,
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
    isvsvn: u16,
}

impl LevelJson<'_> {
    fn read(self) -> Result<QeLevel, Malformed> {
        use TcbStatus::{ConfigurationAndSwHardeningNeeded, SwHardeningNeeded};
        if matches!(self.tcb_status, SwHardeningNeeded | ConfigurationAndSwHardeningNeeded) {
            return Err(Malformed::invalid(WHAT, "has a level in a state that it cannot have"));
        }
        Ok(QeLevel {
            isv_svn: self.tcb.0.isvsvn,
            date: self.tcb_date,
            status: self.tcb_status,
            advisories: advisories(WHAT, self.advisories)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        let level = |isvsvn: u16, status: &str| {
            format!(
                r#"{{"tcb":{{"isvsvn":{isvsvn}}},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"{status}"}}"#
            )
        };
        format!(
            r#"{{"enclaveIdentity":{{"id":"TD_QE","version":2,"issueDate":"2025-10-28T06:45:09Z","nextUpdate":"2025-11-27T06:45:09Z","tcbEvaluationDataNumber":17,"miscselect":"00000001","miscselectMask":"FFFFFFFE","attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"{}","isvprodid":2,"tcbLevels":[{},{}]}},"signature":"{}"}}"#,
            "DC".repeat(32),
            level(3, "OutOfDate"),
            level(4, "UpToDate"),
            "ab".repeat(64)
        )
    }

    #[test]
    fn all_that_counts_is_read_and_levels_are_sorted() {
        let identity = QeIdentity::parse(sample().as_bytes()).unwrap();
        assert_eq!((identity.evaluation, identity.isv_prod_id), (17, 2));
        assert_eq!(
            identity.misc_select,
            Masked { value: [1, 0, 0, 0], mask: [0xfe, 255, 255, 255] }
        );
        assert_eq!((identity.attributes.value[0], identity.attributes.mask[0]), (0x11, 0xfb));
        assert_eq!(identity.mr_signer, [0xdc; 32]);
        let levels: Vec<_> = identity.levels.iter().map(|level| level.isv_svn).collect();
        assert_eq!(levels, [4, 3]);
        assert_eq!(identity.issue_date.to_string(), "2025-10-28T06:45:09Z");
        assert_eq!(identity.next_update.to_string(), "2025-11-27T06:45:09Z");
        let third = sample().replace("\"version\":2", "\"version\":3");
        assert!(QeIdentity::parse(third.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = sample();
        for (what, from, to) in [
            ("SGX's enclave", "\"TD_QE\"", "\"QE\""),
            ("another version", "\"version\":2", "\"version\":1"),
            ("a later version", "\"version\":2", "\"version\":4"),
            ("a member twice", "\"isvprodid\":2", "\"isvprodid\":2,\"isvprodid\":2"),
            ("a member missing", "\"isvprodid\":2,", ""),
            ("a signer of another length", "DCDC\"", "DC\""),
            ("an impossible state", "OutOfDate", "SWHardeningNeeded"),
            ("TCB Info", "enclaveIdentity", "tcbInfo"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(bad != good && QeIdentity::parse(bad.as_bytes()).is_err(), "{what}: {bad}");
        }
    }
}
