//! Writes DER: only what certificates, revocation lists and their keys need.
//!
//! Every function returns the finished encoding of one value (tag, length, contents), so a test that wants a
//! non-canonical form builds that one value with [`tlv`] and leaves the rest as it is.

use attestation::UnixTime;
use time::OffsetDateTime;

/// An object identifier, arc by arc.
pub type Oid = &'static [u64];

/// The object identifiers of vendors' certificates (AMD 57230, tables 8 to 10; Intel's SGX PCK certificate
/// specification; TCG DICE; RFC 5280 and RFC 6960).
pub mod oid {
    use super::Oid;

    /// `rsaEncryption`.
    pub const RSA_ENCRYPTION: Oid = &[1, 2, 840, 113_549, 1, 1, 1];
    /// `sha384WithRSAEncryption`, which no AMD certificate uses.
    pub const SHA384_WITH_RSA: Oid = &[1, 2, 840, 113_549, 1, 1, 12];
    /// `id-RSASSA-PSS`.
    pub const RSASSA_PSS: Oid = &[1, 2, 840, 113_549, 1, 1, 10];
    /// `id-mgf1`.
    pub const MGF1: Oid = &[1, 2, 840, 113_549, 1, 1, 8];
    /// `id-sha256`.
    pub const SHA256: Oid = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
    /// `id-sha384`.
    pub const SHA384: Oid = &[2, 16, 840, 1, 101, 3, 4, 2, 2];
    /// `id-ecPublicKey`.
    pub const EC_PUBLIC_KEY: Oid = &[1, 2, 840, 10_045, 2, 1];
    /// `secp384r1`.
    pub const SECP384R1: Oid = &[1, 3, 132, 0, 34];

    /// `prime256v1`.
    pub const PRIME256V1: Oid = &[1, 2, 840, 10_045, 3, 1, 7];
    /// `ecdsa-with-SHA256`.
    pub const ECDSA_SHA256: Oid = &[1, 2, 840, 10_045, 4, 3, 2];
    /// `ecdsa-with-SHA384`.
    pub const ECDSA_SHA384: Oid = &[1, 2, 840, 10_045, 4, 3, 3];

    /// Intel's SGX extension of a PCK's certificate.
    pub const SGX: Oid = &[1, 2, 840, 113_741, 1, 13, 1];

    /// `commonName`.
    pub const COMMON_NAME: Oid = &[2, 5, 4, 3];
    /// `countryName`.
    pub const COUNTRY: Oid = &[2, 5, 4, 6];
    /// `localityName`.
    pub const LOCALITY: Oid = &[2, 5, 4, 7];
    /// `stateOrProvinceName`.
    pub const STATE: Oid = &[2, 5, 4, 8];
    /// `organizationName`.
    pub const ORGANIZATION: Oid = &[2, 5, 4, 10];
    /// `organizationalUnitName`.
    pub const UNIT: Oid = &[2, 5, 4, 11];

    /// `subjectKeyIdentifier`.
    pub const SUBJECT_KEY_ID: Oid = &[2, 5, 29, 14];
    /// `keyUsage`.
    pub const KEY_USAGE: Oid = &[2, 5, 29, 15];
    /// `basicConstraints`.
    pub const BASIC_CONSTRAINTS: Oid = &[2, 5, 29, 19];
    /// `cRLNumber`.
    pub const CRL_NUMBER: Oid = &[2, 5, 29, 20];
    /// `reasonCode` of a revoked entry.
    pub const CRL_REASON: Oid = &[2, 5, 29, 21];
    /// `cRLDistributionPoints`.
    pub const CRL_DISTRIBUTION: Oid = &[2, 5, 29, 31];
    /// `issuingDistributionPoint`, which makes a CRL partial or indirect.
    pub const ISSUING_DISTRIBUTION: Oid = &[2, 5, 29, 28];
    /// `authorityKeyIdentifier`.
    pub const AUTHORITY_KEY_ID: Oid = &[2, 5, 29, 35];

    /// Structure version of a VCEK or VLEK certificate.
    pub const STRUCT_VERSION: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 1];
    /// Product name.
    pub const PRODUCT_NAME: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 2];
    /// Boot loader SPL.
    pub const SPL_BOOTLOADER: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 1];
    /// TEE (PSP operating system) SPL.
    pub const SPL_TEE: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 2];
    /// SNP firmware SPL.
    pub const SPL_SNP: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 3];
    /// Reserved SPL 4 (not on Turin).
    pub const SPL_4: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 4];
    /// Reserved SPL 5.
    pub const SPL_5: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 5];
    /// Reserved SPL 6.
    pub const SPL_6: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 6];
    /// Reserved SPL 7.
    pub const SPL_7: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 7];
    /// Microcode SPL.
    pub const SPL_MICROCODE: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 8];
    /// FMC SPL (Turin).
    pub const SPL_FMC: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 3, 9];
    /// Hardware id (VCEK only).
    pub const HWID: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 4];
    /// Cloud service provider id (VLEK only).
    pub const CSP_ID: Oid = &[1, 3, 6, 1, 4, 1, 3704, 1, 5];
}

/// Tag numbers, as they stand in the first byte.
pub mod tag {
    /// BOOLEAN.
    pub const BOOLEAN: u8 = 0x01;
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// NULL.
    pub const NULL: u8 = 0x05;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// ENUMERATED.
    pub const ENUMERATED: u8 = 0x0a;
    /// `UTF8String`.
    pub const UTF8: u8 = 0x0c;
    /// `PrintableString`.
    pub const PRINTABLE: u8 = 0x13;
    /// `IA5String`.
    pub const IA5: u8 = 0x16;
    /// `UTCTime`.
    pub const UTC_TIME: u8 = 0x17;
    /// `GeneralizedTime`.
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// SEQUENCE.
    pub const SEQUENCE: u8 = 0x30;
    /// SET.
    pub const SET: u8 = 0x31;
    /// Context-specific, constructed, number 0; the others follow it.
    pub const CONTEXT: u8 = 0xa0;
    /// Context-specific, primitive, number 0; the others follow it.
    pub const CONTEXT_PRIMITIVE: u8 = 0x80;
}

/// One value: tag, minimal length, contents.
pub fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = contents.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> =
                length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length, so the count fits the low seven bits.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            out.extend_from_slice(&bytes);
        }
    }
    out.extend_from_slice(contents);
    out
}

/// A SEQUENCE of finished values.
pub fn sequence(values: &[&[u8]]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &values.concat())
}

/// A SET of one finished value.
pub fn set(value: &[u8]) -> Vec<u8> {
    tlv(tag::SET, value)
}

/// A non-negative INTEGER in its shortest form.
pub fn integer(value: u64) -> Vec<u8> {
    unsigned(&value.to_be_bytes())
}

/// A non-negative INTEGER from its big-endian magnitude, in its shortest form.
pub fn unsigned(magnitude: &[u8]) -> Vec<u8> {
    let mut contents: Vec<u8> = magnitude.iter().copied().skip_while(|byte| *byte == 0).collect();
    // A set top bit would read as negative (X.690 §8.3), and zero is one zero byte.
    if contents.first().is_none_or(|first| first & 0x80 != 0) {
        contents.insert(0, 0);
    }
    tlv(tag::INTEGER, &contents)
}

/// A BOOLEAN.
pub fn boolean(value: bool) -> Vec<u8> {
    tlv(tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// NULL.
pub fn null() -> Vec<u8> {
    tlv(tag::NULL, &[])
}

/// An OBJECT IDENTIFIER.
pub fn object(oid: &[u64]) -> Vec<u8> {
    let mut contents = Vec::new();
    let (head, tail) = oid.split_at(oid.len().min(2));
    let first = head.first().copied().unwrap_or(0).saturating_mul(40);
    push_arc(&mut contents, first.saturating_add(head.get(1).copied().unwrap_or(0)));
    for arc in tail {
        push_arc(&mut contents, *arc);
    }
    tlv(tag::OID, &contents)
}

/// A BIT STRING of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[0], bytes].concat())
}

/// An OCTET STRING.
pub fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tlv(tag::OCTET_STRING, bytes)
}

/// An explicitly tagged value: `[number] EXPLICIT`.
pub fn explicit(number: u8, value: &[u8]) -> Vec<u8> {
    tlv(tag::CONTEXT | (number & 0x1f), value)
}

/// A Time as RFC 5280 §4.1.2.5 wants it: `UTCTime` to the end of 2049, `GeneralizedTime` after.
pub fn time(at: UnixTime) -> Vec<u8> {
    let moment = i64::try_from(at.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
    let clock = format!(
        "{month:02}{day:02}{:02}{:02}{:02}Z",
        moment.hour(),
        moment.minute(),
        moment.second()
    );
    if year < 2050 {
        tlv(tag::UTC_TIME, format!("{:02}{clock}", year.rem_euclid(100)).as_bytes())
    } else {
        generalized_time(at)
    }
}

/// A `GeneralizedTime` to the second, for whatever year.
pub fn generalized_time(at: UnixTime) -> Vec<u8> {
    let text: String = at.to_string().chars().filter(|c| !"-:T".contains(*c)).collect();
    tlv(tag::GENERALIZED_TIME, text.as_bytes())
}

fn push_arc(out: &mut Vec<u8>, arc: u64) {
    let mut groups = vec![u8::try_from(arc & 0x7f).unwrap_or(0)];
    let mut rest = arc >> 7;
    while rest != 0 {
        groups.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or(0));
        rest >>= 7;
    }
    out.extend(groups.iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_x690_has_them() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7f), [2, 1, 0x7f]);
        assert_eq!(integer(0xd9), [2, 2, 0, 0xd9]);
        assert_eq!(integer(0x0002_0000), [2, 3, 2, 0, 0]);
        assert_eq!(object(oid::RSASSA_PSS), [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]);
        assert_eq!(object(oid::SPL_SNP), [6, 10, 0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 3]);
        assert_eq!(tlv(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[0; 527])[..4], [4, 0x82, 2, 0x0f]);
        assert_eq!(bit_string(&[6]), [3, 2, 0, 6]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let utc = |text: &[u8]| tlv(tag::UTC_TIME, text);
        assert_eq!(time(UnixTime::from_secs(1_643_211_277)), utc(b"220126153437Z"));
        assert_eq!(time(UnixTime::from_secs(2_524_607_999)), utc(b"491231235959Z"));
        assert_eq!(
            time(UnixTime::from_secs(2_524_608_000)),
            tlv(tag::GENERALIZED_TIME, b"20500101000000Z")
        );
    }
}
