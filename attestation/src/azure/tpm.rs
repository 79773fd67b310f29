//! What a TPM signs of its registers (TPM 2.0 Library, part 2, §10.12).
//!
//! All numbers are big-endian; a byte string stands behind its length in 2 octets.
//!
//! | `TPMS_ATTEST` | octets | |
//! |---|---|---|
//! | magic | 4 | `0xff` `TCG`: made inside the TPM |
//! | type | 2 | `0x8018`: a quote |
//! | qualified name of the signer | 2, n | |
//! | extra data | 2, n | the challenge |
//! | clock | 8 | milliseconds that the TPM was on |
//! | resets, restarts | 4, 4 | |
//! | safe | 1 | whether the clock never went back |
//! | firmware version | 8 | |
//! | number of selections | 4 | |
//! | selection: hash, length of the map, map | 2, 1, n | bit i of the map is register i |
//! | digest of the registers selected | 2, n | |

use crate::bytes::{Malformed, Reader};
use crate::digest::{Digest, Sha256};

/// How many registers a TPM of a PC has.
pub const PCRS: usize = 24;

/// A quote, with the values that it is said to be of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TpmQuote {
    /// What was signed, as it came.
    pub message: Vec<u8>,
    /// What it says.
    pub attest: Attest,
    /// The signature of RSA-2048.
    pub signature: [u8; 256],
    /// The values of the SHA-256 registers. Nothing vouches for those that the quote does not select.
    pub pcrs: [Sha256; PCRS],
}

/// What a quote says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attest {
    /// The name of the key that signed, in its hierarchy.
    pub qualified_signer: Vec<u8>,
    /// What the caller wanted to be signed with it.
    pub extra_data: Vec<u8>,
    /// When.
    pub clock: Clock,
    /// The TPM's firmware.
    pub firmware_version: u64,
    /// Of which registers.
    pub selections: Vec<Selection>,
    /// SHA-256 of their values, one after the other.
    pub pcr_digest: Vec<u8>,
}

/// A TPM's clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    /// Milliseconds that it was on.
    pub millis: u64,
    /// How often it was reset.
    pub resets: u32,
    /// How often it was restarted since.
    pub restarts: u32,
    /// Whether no higher value was ever seen.
    pub is_safe: bool,
}

/// Registers of one bank.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Selection {
    /// The bank's algorithm: `0x000b` is SHA-256.
    pub algorithm: u16,
    /// Bit i is register i.
    pub registers: u32,
}

impl Selection {
    /// The bank of SHA-256.
    pub const SHA256: u16 = 0x0b;

    /// Whether it has this register.
    pub const fn has(self, register: u32) -> bool {
        matches!(self.registers.checked_shr(register), Some(rest) if rest & 1 == 1)
    }
}

impl TpmQuote {
    /// Takes a quote apart: a value for each register, whether it is selected or not.
    ///
    /// # Errors
    /// Something else that a TPM signed, lengths that disagree, another signature than one of RSA-2048.
    pub fn parse(message: Vec<u8>, signature: &[u8], pcrs: &[Vec<u8>]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::invalid(WHAT, why);
        let signature =
            signature.try_into().map_err(|_| bad("has a signature that is not 256 octets long"))?;
        let pcrs: Vec<Sha256> = pcrs
            .iter()
            .map(|pcr| pcr.as_slice().try_into().map(Digest))
            .collect::<Result<_, _>>()
            .map_err(|_| bad("has the value of a register that is not 32 octets long"))?;
        let pcrs = pcrs.try_into().map_err(|_| bad("does not have the values of 24 registers"))?;
        let attest = Reader::read_all(WHAT, &message, Attest::parse)?;
        Ok(Self { message, attest, signature, pcrs })
    }
}

impl Attest {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u32()? != MAGIC {
            return Err(Malformed::invalid(WHAT, "was not made inside a TPM"));
        }
        if reader.u16()? != TYPE_QUOTE {
            return Err(Malformed::invalid(WHAT, "is something else that a TPM signed"));
        }
        let qualified_signer = reader.lv16(NAME_LEN_MAX)?.to_vec();
        let extra_data = reader.lv16(DATA_LEN_MAX)?.to_vec();
        let clock = Clock {
            millis: reader.u64()?,
            resets: reader.u32()?,
            restarts: reader.u32()?,
            is_safe: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed::invalid(WHAT, "has a truth value other than 0 and 1")),
            },
        };
        let firmware_version = reader.u64()?;
        let count = reader.u32()?;
        if count > SELECTIONS_MAX {
            return Err(Malformed::invalid(WHAT, "selects more banks than there are"));
        }
        let mut selections = Vec::new();
        for _ in 0..count {
            selections.push(Selection::parse(reader)?);
        }
        let pcr_digest = reader.lv16(DIGEST_LEN_MAX)?.to_vec();
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, selections, pcr_digest })
    }
}

impl Selection {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let algorithm = reader.u16()?;
        if reader.u8()? != MAP_LEN {
            return Err(Malformed::invalid(WHAT, "selects other registers than 0 to 23"));
        }
        let [low, middle, high] = reader.array()?;
        Ok(Self { algorithm, registers: u32::from_le_bytes([low, middle, high, 0]) })
    }
}

const WHAT: &str = "TPM quote";
const MAGIC: u32 = 0xff54_4347;
const TYPE_QUOTE: u16 = 0x8018;
/// An algorithm and a digest of SHA-512.
const NAME_LEN_MAX: usize = 66;
/// As long as the TPM's longest digest with its algorithm (part 2, §10.4.3).
const DATA_LEN_MAX: usize = 66;
const DIGEST_LEN_MAX: usize = 64;
/// More banks than any TPM has.
const SELECTIONS_MAX: u32 = 8;
/// Octets of a map of 24 registers.
const MAP_LEN: u8 = 3;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A quote of all 24 registers of SHA-256, answering `extra_data`.
    pub(in crate::azure) fn message(extra_data: &[u8]) -> Vec<u8> {
        let mut message = MAGIC.to_be_bytes().to_vec();
        message.extend(TYPE_QUOTE.to_be_bytes());
        for bytes in [&[0, 0x0b, 9, 9][..], extra_data] {
            message.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            message.extend(bytes);
        }
        message.extend(77_u64.to_be_bytes());
        message.extend([5_u32, 6].map(u32::to_be_bytes).concat());
        message.push(1);
        message.extend(8_u64.to_be_bytes());
        message.extend(1_u32.to_be_bytes());
        message.extend([0, 0x0b, MAP_LEN, 0xff, 0xff, 0x7f]);
        message.extend(32_u16.to_be_bytes());
        message.extend([3; 32]);
        message
    }

    fn parse(message: &[u8]) -> Result<TpmQuote, Malformed> {
        TpmQuote::parse(message.to_vec(), &[0; 256], &vec![vec![0; 32]; PCRS])
    }

    #[test]
    fn a_quote_says_what_it_holds() {
        let quote = parse(&message(b"nonce")).unwrap();
        let Attest {
            qualified_signer,
            extra_data,
            clock,
            firmware_version,
            selections,
            pcr_digest,
        } = quote.attest;
        assert_eq!((qualified_signer, extra_data), (vec![0, 0x0b, 9, 9], b"nonce".to_vec()));
        assert_eq!(clock, Clock { millis: 77, resets: 5, restarts: 6, is_safe: true });
        assert_eq!((firmware_version, pcr_digest), (8, vec![3; 32]));
        let [bank] = selections[..] else { panic!("one bank") };
        assert_eq!(bank.algorithm, Selection::SHA256);
        assert!((0..23).all(|register| bank.has(register)));
        assert!((23..40).all(|register| !bank.has(register)));
    }

    #[test]
    fn everything_else_is_refused() {
        let good = message(b"nonce");
        for (at, what) in [
            (0, "magic"),
            (3, "magic"),
            (4, "type"),
            (5, "type"),
            (35, "truth value"),
            (44, "banks"),
            (50, "map"),
        ] {
            let mut bad = good.clone();
            bad[at] ^= 0x12;
            assert!(parse(&bad).is_err(), "{what}");
        }
        for len in 0..good.len() {
            assert!(parse(&good[..len]).is_err(), "{len} octets");
        }
        assert!(parse(&[&good[..], &[0]].concat()).is_err());
        assert!(parse(&message(&[0; DATA_LEN_MAX])).is_ok());
        assert!(matches!(parse(&message(&[0; DATA_LEN_MAX + 1])), Err(Malformed::TooLong { .. })));
        for (signature, pcrs) in [
            (255, vec![vec![0; 32]; 24]),
            (256, vec![vec![0; 32]; 23]),
            (256, vec![vec![0; 31]; 24]),
        ] {
            assert!(TpmQuote::parse(good.clone(), &vec![0; signature], &pcrs).is_err());
        }
    }
}
