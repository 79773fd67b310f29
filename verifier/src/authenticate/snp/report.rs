//! The report: its form, its signature, and whether the certificate is of the key, the chip, the
//! product and the TCB that it names (AMD 56860, SNP firmware ABI, §7.3 table 23, §10).

use attestation::Digest;
use attestation::snp::{Product, SigningKey, SnpReport};

use super::chain::Chain;
use super::vek::{Kind, Vek};
use super::{Claims, Signer};
use crate::crypto::{self, P384_POINT_LEN};
use crate::finding::{Code, Finding};

/// Checks what a report says of its own signature.
pub(super) fn form(report: &SnpReport, findings: &mut Vec<Finding>) {
    if report.signature_algo() != ECDSA_P384_SHA384 {
        findings.push(
            Finding::reject(
                Code::SignatureAlgorithmUnsupported,
                "the report names another signature algorithm",
            )
            .expected("1 (ECDSA P-384 with SHA-384)")
            .actual(report.signature_algo()),
        );
    }
    if raw_signature(report).is_none() {
        findings.push(Finding::reject(
            Code::SignatureNotCanonical,
            "r or s of the report's signature is longer than 48 bytes, or bytes after them are not zero",
        ));
    }
    match report.key_info().signing_key() {
        SigningKey::Vcek | SigningKey::Vlek => {}
        SigningKey::None => findings.push(Finding::reject(
            Code::SigningKeyInvalid,
            "the report says that no key signed it",
        )),
        SigningKey::Reserved(value) => findings.push(
            Finding::reject(
                Code::SigningKeyInvalid,
                "the report names a kind of key that does not exist",
            )
            .expected("0 (VCEK) or 1 (VLEK)")
            .actual(value),
        ),
    }
}

/// Checks the report against its chain.
pub(super) fn matches(
    report: &SnpReport,
    chain: Chain,
    findings: &mut Vec<Finding>,
) -> Option<Claims> {
    let Chain { vek, horizon, crl, signs_report } = chain;
    // A signature that is not canonical was found by `form`, and does not verify either.
    let to_verify = !signs_report && raw_signature(report).is_some();
    if to_verify && !is_signed_by(report, &vek.point) {
        findings.push(Finding::reject(
            Code::SignatureInvalid,
            format!("the report's signature does not verify under the {}'s key", vek.kind.name()),
        ));
    }
    signing_key(report, &vek, findings);
    product(report, vek.product, findings);
    chip(report, &vek, findings);
    if let Some(tcb) = vek.tcb
        && tcb != report.reported_tcb()
    {
        findings.push(
            Finding::reject(
                Code::ReportedTcbMismatch,
                format!("the {} was made for another TCB", vek.kind.name()),
            )
            .expected(hex::encode(tcb))
            .actual(hex::encode(report.reported_tcb())),
        );
    }
    let signer = match (vek.kind, vek.csp_id) {
        (Kind::Vcek, _) => Signer::Vcek,
        (Kind::Vlek, Some(csp_id)) => Signer::Vlek { csp_id },
        // Already found: a VLEK's certificate names its provider.
        (Kind::Vlek, None) => return None,
    };
    Some(Claims { report: report.clone(), product: vek.product, signer, horizon, crl })
}

/// Whether the owner of `point` signed the report.
pub(super) fn is_signed_by(report: &SnpReport, point: &[u8; P384_POINT_LEN]) -> bool {
    raw_signature(report)
        .is_some_and(|signature| crypto::p384(point, report.signed_bytes(), &signature))
}

/// `SIGNATURE_ALGO` of the only algorithm there is (ABI §10 table 139).
const ECDSA_P384_SHA384: u32 = 1;

/// `r ‖ s`, big-endian, from little-endian fields of 72 bytes. `None` where a number does not fit
/// 48 bytes or the rest of the field is not zero: ignoring those would let anybody make a second
/// report with the same meaning.
fn raw_signature(report: &SnpReport) -> Option<[u8; 96]> {
    let (r, s, rest) = report.signature();
    let mut signature = [0; 96];
    let (r_out, s_out) = signature.split_at_mut(48);
    for (field, out) in [(&r, r_out), (&s, s_out)] {
        let (number, high) = field.split_at(48);
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    rest.iter().all(|byte| *byte == 0).then_some(signature)
}

fn signing_key(report: &SnpReport, vek: &Vek, findings: &mut Vec<Finding>) {
    let named = match report.key_info().signing_key() {
        SigningKey::Vcek => Kind::Vcek,
        SigningKey::Vlek => Kind::Vlek,
        // Already found by `form`.
        SigningKey::None | SigningKey::Reserved(_) => return,
    };
    if named != vek.kind {
        findings.push(
            Finding::reject(
                Code::SigningKeyMismatch,
                "the report names another kind of signing key than the certificate",
            )
            .expected(vek.kind.name())
            .actual(named.name()),
        );
    }
}

/// From version 3 on, a report says what processor it is from.
fn product(report: &SnpReport, certified: Product, findings: &mut Vec<Finding>) {
    let Some([family, model, stepping]) = report.cpuid() else { return };
    if report.product() != Some(certified) {
        let named = report.product().map_or("unknown product", Product::name);
        findings.push(
            Finding::reject(
                Code::ProductMismatch,
                "the certificate is of another product than the report",
            )
            .expected(certified)
            .actual(format!(
                "{named} (family {family:#x}, model {model:#x}, stepping {stepping:#x})"
            )),
        );
    }
}

fn chip(report: &SnpReport, vek: &Vek, findings: &mut Vec<Finding>) {
    let reported = report.chip_id();
    match vek.kind {
        Kind::Vcek => {
            if report.key_info().mask_chip_key() || reported.is_zero() {
                findings.push(Finding::reject(
                    Code::ChipIdMasked,
                    "the report hides its chip, so that nothing ties it to the certificate's",
                ));
            }
            if let Some(chip) = vek.chip
                && chip != reported.0
            {
                findings.push(
                    Finding::reject(
                        Code::ChipIdMismatch,
                        "the VCEK is of another chip than the report",
                    )
                    .expected(Digest(chip))
                    .actual(reported),
                );
            }
        }
        // A VLEK is of no chip: with it the chip id may be masked or not, and proves nothing.
        Kind::Vlek => {}
    }
}
