//! The quote: its signature, and who vouches for the key that made it (DCAP Quoting Library API A.4).

use attestation::Sha256;
use attestation::tdx::{QeIdentity, QeReport, TdxQuote};

use super::Pck;
use crate::crypto::{self, P256_POINT_LEN};
use crate::finding::{Code, Finding};

/// The attestation key signed header and body.
pub(super) fn signature(quote: &TdxQuote<'_>, findings: &mut Vec<Finding>) {
    let point = point(&quote.attestation_key);
    if !crypto::p256(&point, quote.signed, &quote.signature) {
        findings.push(Finding::reject(
            Code::SignatureInvalid,
            "the quote's signature does not verify under its attestation key",
        ));
    }
}

/// The quoting enclave's report carries a hash of the attestation key and of its own data, and
/// nothing else: so all of the 64 bytes are compared.
pub(super) fn attestation_key(quote: &TdxQuote<'_>, findings: &mut Vec<Finding>) {
    let hash = Sha256::of_parts(&[&quote.attestation_key, quote.qe_authentication_data]);
    let (low, high) = quote.qe_report.report_data.split_at(32);
    if low != hash.as_bytes() {
        findings.push(
            Finding::reject(
                Code::AttestationKeyMismatch,
                "the quoting enclave's report vouches for another attestation key",
            )
            .expected(hash)
            .actual(hex::encode(low)),
        );
    }
    if high.iter().any(|byte| *byte != 0) {
        findings.push(
            Finding::reject(
                Code::AttestationKeyMismatch,
                "the second half of what the quoting enclave reports is not zero",
            )
            .actual(hex::encode(high)),
        );
    }
}

/// The PCK signed the quoting enclave's report.
pub(super) fn certified(quote: &TdxQuote<'_>, pck: &Pck, findings: &mut Vec<Finding>) {
    if !is_certified_by(quote, &pck.point) {
        findings.push(Finding::reject(
            Code::QeReportSignatureInvalid,
            "the signature of the quoting enclave's report does not verify under the PCK",
        ));
    }
}

/// Whether the owner of `point` signed the quoting enclave's report.
pub(super) fn is_certified_by(quote: &TdxQuote<'_>, point: &[u8; P256_POINT_LEN]) -> bool {
    crypto::p256(point, quote.qe_report_bytes, &quote.qe_report_signature)
}

/// The quoting enclave is the one that Intel describes. How good its version is, the policy judges.
pub(super) fn enclave(qe: &QeReport, identity: &QeIdentity, findings: &mut Vec<Finding>) {
    let mut differs = |what: &str, expected: String, actual: String| {
        let message = format!("{what} is not that of Intel's quoting enclave");
        findings.push(
            Finding::reject(Code::QeIdentityMismatch, message).expected(expected).actual(actual),
        );
    };
    let masked = |value: &[u8], mask: &[u8]| {
        format!("{} under the mask {}", hex::encode(value), hex::encode(mask))
    };
    if qe.mr_signer != identity.mr_signer {
        differs("MRSIGNER", hex::encode(identity.mr_signer), hex::encode(qe.mr_signer));
    }
    if qe.isv_prod_id != identity.isv_prod_id {
        differs("ISVPRODID", identity.isv_prod_id.to_string(), qe.isv_prod_id.to_string());
    }
    let misc_select = &identity.misc_select;
    if !misc_select.admits(&qe.misc_select) {
        let expected = masked(&misc_select.value, &misc_select.mask);
        differs("MISCSELECT", expected, hex::encode(qe.misc_select));
    }
    let attributes = &identity.attributes;
    if !attributes.admits(&qe.attributes) {
        let expected = masked(&attributes.value, &attributes.mask);
        differs("ATTRIBUTES", expected, hex::encode(qe.attributes));
    }
    if qe.is_debug() {
        findings.push(
            Finding::reject(Code::QeDebug, "the quoting enclave can be debugged")
                .actual(hex::encode(qe.attributes)),
        );
    }
}

/// A key as Intel writes it, as SEC 1 writes it: behind the byte of an uncompressed point.
fn point(key: &[u8; 64]) -> [u8; P256_POINT_LEN] {
    let mut point = [4; P256_POINT_LEN];
    if let Some((_, rest)) = point.split_first_mut() {
        rest.copy_from_slice(key);
    }
    point
}
