//! The chain: a PCK, the authority that certified its platform, and a root that is an anchor byte
//! for byte (Intel SGX PCK certificate and CRL specification).

use attestation::tdx::Certification;

use super::super::validity::dates;
use super::pck::{Authority, Pck, Platform};
use super::{Inputs, quote};
use crate::anchors::intel::{Root, authorities};
use crate::finding::{Code, Finding};
use crate::result::Horizon;
use crate::x509::{Algorithm, Certificate, Key};

/// The certificates of a chain, found and not believed.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub(super) pck: &'a Certificate<'a>,
    pub(super) authority: &'a Certificate<'a>,
    pub(super) root: &'a Certificate<'a>,
    pub(super) anchor: &'a Root,
}

/// What is a certificate in a chain and how it is called in findings.
const PCK: &str = "PCK";

/// Finds the chain: in the quote, where it carries one, else among what was given.
pub(super) fn find<'a>(
    inputs: Inputs<'a>,
    carried: &'a [Certificate<'a>],
    given: &'a [Certificate<'a>],
    roots: &'a [(&'a Root, Certificate<'a>)],
    findings: &mut Vec<Finding>,
) -> Option<Chain<'a>> {
    match inputs.quote.certification {
        Certification::PckChain(_) => carried_by_quote(carried, roots, findings),
        Certification::Other(_) => among_given(inputs, given, roots, findings),
    }
}

/// A quote's own chain is the PCK's certificate, its authority's, and the root's.
fn carried_by_quote<'a>(
    carried: &'a [Certificate<'a>],
    roots: &'a [(&'a Root, Certificate<'a>)],
    findings: &mut Vec<Finding>,
) -> Option<Chain<'a>> {
    let [pck, authority, last] = carried else {
        findings.push(
            Finding::reject(Code::PckChainInvalid, "the quote's chain is not one of Intel's")
                .expected("three certificates: the PCK's, its authority's, the root's")
                .actual(format!("{} certificates", carried.len())),
        );
        return None;
    };
    let Some((anchor, root)) = roots.iter().find(|(_, root)| root.der == last.der) else {
        findings.push(
            Finding::reject(
                Code::RootNotTrusted,
                "the quote's chain ends in a root that is no anchor",
            )
            .actual(last.subject_cn()),
        );
        return None;
    };
    Some(Chain { pck, authority, root, anchor })
}

/// Without a chain in the quote: a PCK that signed the quoting enclave's report, its authority, and
/// the root that issued that.
fn among_given<'a>(
    inputs: Inputs<'_>,
    given: &'a [Certificate<'a>],
    roots: &'a [(&'a Root, Certificate<'a>)],
    findings: &mut Vec<Finding>,
) -> Option<Chain<'a>> {
    let signs = |candidate: &&Certificate<'_>| match candidate.key() {
        Key::P256(point) => quote::is_certified_by(inputs.quote, point),
        Key::Rsa4096(_) | Key::P384(_) | Key::Other => false,
    };
    let named = given.iter().filter(|candidate| candidate.subject_cn() == PCK_NAME);
    let Some(pck) = named.take(ATTEMPTS_MAX).find(signs) else {
        findings.push(Finding::reject(
            Code::PckMissing,
            "the quote carries no chain, and no PCK was given that signed it",
        ));
        return None;
    };
    let named = given.iter().chain(authorities()).filter(|candidate| pck.names_issuer(candidate));
    let signed = |candidate: &&Certificate<'_>| pck.is_signed_by(candidate.key());
    let Some(authority) = named.take(ATTEMPTS_MAX).find(signed) else {
        findings.push(Finding::reject(
            Code::IntermediateMissing,
            format!("no certificate of {} was given", pck.issuer_cn()),
        ));
        return None;
    };
    let Some((anchor, root)) = roots.iter().find(|(_, root)| authority.names_issuer(root)) else {
        findings.push(
            Finding::reject(
                Code::RootNotTrusted,
                "the PCK's chain ends in a root that is no anchor",
            )
            .actual(authority.issuer_cn()),
        );
        return None;
    };
    Some(Chain { pck, authority, root, anchor })
}

/// Follows a chain to its anchor, which is one, and reads what the PCK's certificate says.
pub(super) fn follow(
    inputs: Inputs<'_>,
    chain: Chain<'_>,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) -> Option<Pck> {
    let Chain { pck, authority, root, .. } = chain;
    horizon.add(PCK, dates(pck, PCK, inputs.now, findings));
    horizon.add("PCK authority", dates(authority, "PCK authority", inputs.now, findings));
    horizon.add("root", dates(root, "root", inputs.now, findings));
    issued(pck, authority, PCK, findings);
    issued(authority, root, "PCK authority", findings);
    let found = Authority::ALL.into_iter().find(|known| known.name() == authority.subject_cn());
    let roles = pck.subject_cn() == PCK_NAME && found.is_some();
    if !roles || !is_end_entity(pck) || !is_authority(authority) {
        findings.push(
            Finding::reject(
                Code::CertificateProfile,
                "the chain is not of a PCK and one of its authorities, by names, keys and flags",
            )
            .expected(format!("{PCK_NAME}, issued by {}", Authority::Platform.name()))
            .actual(format!(
                "{}, issued by {}",
                pck.subject_cn(),
                authority.subject_cn()
            )),
        );
    }
    let platform = Platform::of(pck, findings)?;
    let Key::P256(point) = pck.key() else { return None };
    Some(Pck { point: *point, authority: found?, platform })
}

/// Checks that one certificate issued another, as Intel signs.
pub(super) fn issued(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    if certificate.algorithm() != Some(Algorithm::EcdsaP256) {
        findings.push(
            Finding::reject(
                Code::CertificateAlgorithm,
                format!("the {name} is not signed as Intel signs"),
            )
            .expected("ECDSA with P-256 and SHA-256"),
        );
    } else if !certificate.names_issuer(issuer) || !certificate.is_signed_by(issuer.key()) {
        findings.push(
            Finding::reject(
                Code::CertificateSignatureInvalid,
                format!("the {name} is not issued by {}", issuer.subject_cn()),
            )
            .actual(format!("names {} as its issuer", certificate.issuer_cn())),
        );
    }
}

/// Whether a certificate is of version 3, has a key of P-256 and issues nothing.
pub(super) fn is_end_entity(certificate: &Certificate<'_>) -> bool {
    certificate.is_well_formed()
        && !certificate.claims_ca()
        && matches!(certificate.key(), Key::P256(_))
}

fn is_authority(certificate: &Certificate<'_>) -> bool {
    certificate.is_well_formed() && certificate.is_ca() && matches!(certificate.key(), Key::P256(_))
}

/// The common name of every PCK's certificate.
const PCK_NAME: &str = "Intel SGX PCK Certificate";
/// How many certificates are tried, each of which costs a signature.
pub(super) const ATTEMPTS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use sim::nvidia::{DeviceRecipe, NvidiaPki};

    use super::*;

    /// Another vendor's certificates are in everything as Intel's are, but for their curve.
    #[test]
    fn a_key_of_another_curve_has_no_role() {
        let pki = NvidiaPki::shared().unwrap();
        let chain = DeviceRecipe::hopper(&pki, 0).unwrap().sign_chain().unwrap();
        let [leaf, _, authority, ..] = &chain[..] else { panic!("five certificates") };
        let [leaf, authority] = [leaf, authority].map(|der| Certificate::parse(der).unwrap());
        assert!(leaf.is_well_formed() && !leaf.claims_ca() && !is_end_entity(&leaf));
        assert!(authority.is_well_formed() && authority.is_ca() && !is_authority(&authority));
    }
}
