//! The certificate table that a host may hand out with a report (GHCB specification §4.1.8.1):
//! entries of GUID, offset and length, ended by one of zeros, then the data.

use crate::bytes::{Malformed, Reader};
use crate::endorsements::Endorsements;

/// Longest table: the driver's buffer is 16 KiB, and no host's chain is near 64 KiB.
pub const LEN_MAX: usize = 64 * 1024;
/// Most entries: three certificates, a CRL, and room for what may come.
const ENTRIES_MAX: usize = 16;
/// GUID, offset, length.
const ENTRY_LEN: usize = 24;

/// GUID of a VCEK, in the byte order of the table.
pub const VCEK: [u8; 16] = guid(0x63da_758d, 0xe664, 0x4564, 0xadc5_f4b9_3be8_accd);
/// GUID of a VLEK.
pub const VLEK: [u8; 16] = guid(0xa807_4bc2, 0xa25a, 0x483e, 0xaae6_39c0_45a0_b8a1);
/// GUID of an ASK (or ASVK).
pub const ASK: [u8; 16] = guid(0x4ab7_b379, 0xbbac, 0x4fe4, 0xa02f_05ae_f327_c782);
/// GUID of an ARK.
pub const ARK: [u8; 16] = guid(0xc0b4_06a4, 0xa803, 0x4952, 0x9743_3fb6_014c_d0ae);
/// GUID of a CRL.
pub const CRL: [u8; 16] = guid(0x92f8_1bc3, 0x5811, 0x4d3d, 0x97ff_d19f_88dc_67ea);

/// The certificates and lists of a host's table; entries of other kinds are left out, for the
/// host fills the table as it likes and nothing in it is believed.
///
/// # Errors
/// A table that is too long, never ends, or points outside itself; data that is not DER or PEM.
pub fn parse(table: &[u8]) -> Result<Endorsements, Malformed> {
    const WHAT: &str = "certificate table";
    if table.len() > LEN_MAX {
        return Err(Malformed::TooLong { what: WHAT, limit: LEN_MAX });
    }
    let mut found = Endorsements::new();
    if table.is_empty() {
        return Ok(found);
    }
    let mut entries = Reader::new(WHAT, table);
    for _ in 0..ENTRIES_MAX {
        let guid = entries.array::<16>()?;
        let at = usize::try_from(entries.u32_le()?).unwrap_or(usize::MAX);
        let len = usize::try_from(entries.u32_le()?).unwrap_or(usize::MAX);
        if guid == [0; 16] {
            return Ok(found);
        }
        let data = table
            .get(at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(Malformed::invalid(WHAT, "points outside itself"))?;
        if [VCEK, VLEK, ASK, ARK, CRL].contains(&guid) {
            found.add(data)?;
        }
    }
    Err(Malformed::TooLong { what: WHAT, limit: ENTRIES_MAX })
}

/// Writes a table, as a host does.
///
/// # Errors
/// Too many entries, or too long a table.
pub fn encode(entries: &[([u8; 16], &[u8])]) -> Result<Vec<u8>, Malformed> {
    const WHAT: &str = "certificate table";
    let too_long = Malformed::TooLong { what: WHAT, limit: LEN_MAX };
    if entries.len() >= ENTRIES_MAX {
        return Err(Malformed::TooLong { what: WHAT, limit: ENTRIES_MAX });
    }
    let mut at = entries.len().saturating_add(1).saturating_mul(ENTRY_LEN);
    let mut head = Vec::new();
    let mut data = Vec::new();
    for (guid, bytes) in entries {
        head.extend_from_slice(guid);
        for number in [at, bytes.len()] {
            let number = u32::try_from(number).map_err(|_| too_long.clone())?;
            head.extend_from_slice(&number.to_le_bytes());
        }
        data.extend_from_slice(bytes);
        at = at.saturating_add(bytes.len());
    }
    head.extend_from_slice(&[0; ENTRY_LEN]);
    head.append(&mut data);
    if head.len() > LEN_MAX { Err(too_long) } else { Ok(head) }
}

/// A GUID's bytes: the first three fields little-endian, the rest as written (RFC 9562 §4).
const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];

    #[test]
    fn table_round_trips() {
        let table = encode(&[(VCEK, CERT), ([9; 16], b"unknown")]).unwrap();
        assert_eq!(parse(&table).unwrap().certificates(), [CERT.to_vec()]);
        assert_eq!(parse(&[]).unwrap(), Endorsements::new());
        // The GUID as the specification writes it: 63da758d-e664-4564-adc5-f4b93be8accd.
        assert_eq!(hex::encode(VCEK), "8d75da6364e66445adc5f4b93be8accd");
    }

    #[test]
    fn a_lying_table_is_refused() {
        let table = encode(&[(VCEK, CERT)]).unwrap();
        for len in 1..table.len() {
            assert!(parse(&table[..len]).is_err(), "cut at {len}");
        }
        let mut outside = table.clone();
        outside[19] = 0xff;
        assert!(parse(&outside).is_err());
        let mut endless = table.clone();
        endless[24..48].copy_from_slice(&table[..24]);
        assert!(parse(&endless).is_err());
        assert!(parse(&vec![0; LEN_MAX + 1]).is_err());
        assert!(encode(&[(VCEK, CERT); 16]).is_err());
    }
}
