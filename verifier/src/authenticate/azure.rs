//! Azure's virtual TPM: the hardware vouches for the paravisor's word, that word for a key, and the key for a quote.
//!
//! The hardware's evidence has been authenticated before, as every report of its kind is.

use attestation::Sha256;
use attestation::azure::{Attest, AzureEvidence, Hardware, PCRS, RuntimeData, Selection, TpmQuote};

use super::{self as hardware, Authentic};
use crate::crypto;
use crate::finding::{Code, Finding, Severity};

/// What the paravisor and its TPM say.
#[derive(Debug)]
pub(crate) struct Claims {
    /// What the hardware vouches for.
    pub(crate) runtime: RuntimeData,
    /// What the TPM's key vouches for; nothing, where there was no quote.
    pub(crate) quote: Option<Quote>,
}

/// What a TPM signed, with the values of registers that it signed for.
#[derive(Debug)]
pub(crate) struct Quote {
    pub(crate) attest: Attest,
    /// The registers that were selected.
    pub(crate) pcrs: [Option<Sha256>; PCRS],
}

/// Claims that chain to the hardware's.
#[derive(Debug)]
pub(crate) struct AuthenticAzure(Claims);

impl AuthenticAzure {
    /// The claims.
    pub(crate) const fn claims(&self) -> &Claims {
        &self.0
    }
}

/// Checks everything that ties the TPM's word to the hardware's.
pub(crate) fn authenticate(
    evidence: AzureEvidence,
    hardware: &Authentic,
    findings: &mut Vec<Finding>,
) -> Option<AuthenticAzure> {
    let before = findings.len();
    let AzureEvidence { report, tpm_quote, td_quote, endorsements: _ } = evidence;
    let signed = hardware.claims().report_data();
    let mut expected = [0; 64];
    if let Some(start) = expected.first_chunk_mut() {
        *start = report.runtime_digest.0;
    }
    // Half of it would leave the other half to whoever can ask the hardware for a report.
    if signed != expected {
        findings.push(
            Finding::reject(
                Code::AzureRuntimeDataMismatch,
                "the hardware did not sign for this runtime data",
            )
            .expected(hex::encode(expected))
            .actual(hex::encode(signed)),
        );
    }
    paravisor(hardware.claims(), findings);
    td_report(&report.hardware, td_quote.as_deref(), findings);
    let quote = tpm_quote.map(|quote| {
        signature(&quote, &report.runtime, findings);
        registers(quote, findings)
    });
    let passes = findings.iter().skip(before).all(|finding| finding.severity != Severity::Reject);
    passes.then_some(AuthenticAzure(Claims { runtime: report.runtime, quote }))
}

/// The paravisor is what runs at level 0. Whatever runs above it can ask the hardware to sign runtime data of its own, with
/// a key of its own: so what a policy accepts of raw reports does not matter here.
fn paravisor(hardware: &hardware::Claims, findings: &mut Vec<Finding>) {
    if let hardware::Claims::Snp(claims) = hardware
        && claims.report.vmpl() != 0
    {
        findings.push(
            Finding::reject(Code::VmplNotAllowed, "the paravisor did not ask for this report")
                .expected("VMPL 0")
                .actual(format!("VMPL {}", claims.report.vmpl())),
        );
    }
}

/// The quote that was authenticated must be of the report that stands beside it.
fn td_report(hardware: &Hardware, quote: Option<&[u8]>, findings: &mut Vec<Finding>) {
    let Hardware::Tdx(report) = hardware else { return };
    let body = report.quote_body();
    let quoted = quote.and_then(quoted_body).unwrap_or_default();
    if quoted.is_empty() || !body.starts_with(quoted) {
        findings.push(Finding::reject(
            Code::AzureTdReportMismatch,
            "the TD quote is of another report than the paravisor's",
        ));
    }
}

/// The body of a quote (Intel DCAP Quoting Library API, appendix A.3): behind the header of 48 octets, and in version 5
/// behind its type and size. Of a body that is longer, what a `TDREPORT` has.
fn quoted_body(quote: &[u8]) -> Option<&[u8]> {
    const TDX_1_0: usize = 584;
    const TDX_1_5: usize = 648;
    let (header, rest) = quote.split_at_checked(48)?;
    match header.first_chunk()? {
        [4, 0] => rest.get(..TDX_1_0),
        [5, 0] => {
            let (kind, body) = rest.split_first_chunk::<2>()?;
            let body = body.get(4..)?;
            match kind {
                [2, 0] => body.get(..TDX_1_0),
                [3 | 4, 0] => body.get(..TDX_1_5),
                _ => None,
            }
        }
        _ => None,
    }
}

fn signature(quote: &TpmQuote, runtime: &RuntimeData, findings: &mut Vec<Finding>) {
    let modulus = &runtime.attestation_key.modulus.0;
    if !crypto::rsa_pkcs1_2048(modulus, &quote.message, &quote.signature) {
        findings.push(Finding::reject(
            Code::TpmQuoteSignatureInvalid,
            "the TPM's quote is not signed by the attested key",
        ));
    }
}

/// The values count for what they are only where the quote's digest is of them.
fn registers(quote: TpmQuote, findings: &mut Vec<Finding>) -> Quote {
    let TpmQuote { message: _, attest, signature: _, pcrs } = quote;
    let bank = match attest.selections[..] {
        [bank @ Selection { algorithm: Selection::SHA256, registers: 1.. }] => Some(bank),
        _ => None,
    };
    let mut selected = [None; PCRS];
    let Some(bank) = bank else {
        findings.push(
            Finding::reject(
                Code::TpmQuoteSelection,
                "the TPM's quote is not of registers of the SHA-256 bank alone",
            )
            .expected("one selection, SHA-256, not empty"),
        );
        return Quote { attest, pcrs: selected };
    };
    let mut values = Vec::new();
    for ((to, value), number) in selected.iter_mut().zip(&pcrs).zip(0_u32..) {
        if bank.has(number) {
            *to = Some(*value);
            values.push(value.0.as_slice());
        }
    }
    let digest = Sha256::of_parts(&values);
    if digest.0.as_slice() != attest.pcr_digest {
        findings.push(
            Finding::reject(
                Code::TpmPcrDigestMismatch,
                "the values given for the registers are not those that the TPM signed for",
            )
            .expected(hex::encode(&attest.pcr_digest))
            .actual(digest),
        );
    }
    Quote { attest, pcrs: selected }
}
