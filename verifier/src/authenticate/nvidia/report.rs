//! The report: its form, its signature, and that it is of the device whose chain it comes with.

use attestation::gpu::GpuReport;
use subtle::ConstantTimeEq as _;

use super::{Identity, Inputs};
use crate::crypto;
use crate::finding::{Code, Finding};
use crate::x509::{Certificate, Key};

/// The first driver whose reports always carry the digest of the firmware.
const DRIVER_WITH_FWID: u32 = 550;

/// Checks what a report says without its certificate.
pub(super) fn form(inputs: Inputs<'_>, findings: &mut Vec<Finding>) {
    let report = &inputs.evidence.report;
    if let Some(nonce) = inputs.nonce
        && !bool::from(report.nonce().ct_eq(nonce))
    {
        findings.push(
            Finding::reject(
                Code::DeviceNonceMismatch,
                "the device was asked by somebody else, or at another time",
            )
            .expected(hex::encode(nonce))
            .actual(hex::encode(report.nonce())),
        );
    }
    let stated = &inputs.evidence.stated;
    let opaque = report.opaque();
    if stated.nonce.is_some_and(|nonce| nonce != *report.nonce()) {
        findings.push(
            envelope("nonce")
                .expected(hex::encode(report.nonce()))
                .actual(stated.nonce.map(hex::encode).unwrap_or_default()),
        );
    }
    let vbios = opaque.vbios();
    let versions = [
        ("driver's version", &stated.driver, opaque.driver()),
        ("VBIOS' version", &stated.vbios, vbios.as_deref()),
    ];
    for (what, stated, signed) in versions {
        let Some(stated) = stated else { continue };
        let signed = signed.unwrap_or_default();
        if !stated.eq_ignore_ascii_case(signed) {
            findings.push(envelope(what).expected(signed).actual(stated));
        }
    }
}

fn envelope(what: &str) -> Finding {
    let message = format!("beside the report stands another {what} than in it");
    Finding::reject(Code::DeviceEnvelopeMismatch, message)
}

/// Checks the signature.
pub(super) fn signature(inputs: Inputs<'_>, leaf: &Certificate<'_>, findings: &mut Vec<Finding>) {
    if !is_signed_by(inputs, leaf) {
        findings.push(Finding::reject(
            Code::SignatureInvalid,
            "the report's signature does not verify under the device's signing key",
        ));
    }
}

/// Whether the owner of the certificate's key signed the report.
pub(super) fn is_signed_by(inputs: Inputs<'_>, leaf: &Certificate<'_>) -> bool {
    match (leaf.key(), inputs.evidence.report.signed()) {
        (Key::P384(point), Some((message, signature))) => {
            inputs.signatures.try_once(|| crypto::p384(point, message, signature))
        }
        _ => false,
    }
}

/// Compares the report with who the device is by its certificates.
pub(super) fn matches(identity: &Identity, inputs: Inputs<'_>, findings: &mut Vec<Finding>) {
    let report = &inputs.evidence.report;
    let architecture = identity.architecture;
    if let Some(stated) = &inputs.evidence.stated.architecture
        && stated != architecture.name()
    {
        findings.push(
            Finding::reject(
                Code::DeviceArchitectureMismatch,
                "the certificates are of another architecture than the evidence says",
            )
            .expected(stated)
            .actual(architecture),
        );
    }
    let indices = 1..=u8::try_from(architecture.blocks()).unwrap_or(u8::MAX);
    if !report.measurements().iter().map(|(index, _)| index).eq(indices) {
        let message = match (super::is_switch(inputs.evidence), architecture.is_switch()) {
            (true, false) => "the report is a switch's, and the certificates beside it are a GPU's",
            (false, true) => "the report is a GPU's, and the certificates beside it are a switch's",
            (true, true) | (false, false) => {
                "the report has other measurements than devices of its architecture have"
            }
        };
        findings.push(
            Finding::reject(Code::DeviceMeasurementMissing, message)
                .expected(format!("1 to {}", architecture.blocks()))
                .actual(report.measurements().len()),
        );
    }
    fwid(identity, report, findings);
    let own = report.opaque().own();
    if architecture.is_switch() && (own.is_none() || own != identity.pdi) {
        findings.push(
            Finding::reject(
                Code::DeviceIdentityMismatch,
                "the switch's name in the fabric is not the one that its certificate gives it",
            )
            .expected(identity.pdi.map_or_else(|| "none".to_owned(), |pdi| pdi.to_string()))
            .actual(own.map_or_else(|| "none".to_owned(), |pdi| pdi.to_string())),
        );
    }
}

/// The key must belong to the firmware that wrote the report. A switch's report does not say which that
/// is, and that of a GPU under an old driver does not either.
fn fwid(identity: &Identity, report: &GpuReport, findings: &mut Vec<Finding>) {
    // Without the certificate's there is a finding already.
    let Some(certified) = identity.fwid else { return };
    match report.opaque().fwid() {
        Some(reported) if reported.ct_eq(&certified) => {}
        Some(reported) => findings.push(
            Finding::reject(
                Code::DeviceFwidMismatch,
                "the report is of other firmware than the signing key belongs to",
            )
            .expected(certified)
            .actual(reported),
        ),
        None if identity.architecture.is_switch() => {}
        None => {
            let message = "the report does not say which firmware wrote it";
            let finding = if is_before_fwid(report) {
                Finding::warn(Code::DeviceFwidMissing, message)
            } else {
                Finding::reject(Code::DeviceFwidMissing, message)
            };
            findings.push(finding.expected(certified));
        }
    }
}

fn is_before_fwid(report: &GpuReport) -> bool {
    let driver = report.opaque().driver().unwrap_or_default();
    let major = driver.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < DRIVER_WITH_FWID)
}
