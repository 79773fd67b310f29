//! What Intel says of a platform, its TDX module and its quoting enclave: verified, typed, and kept
//! for the next quote of the same platform.

use std::sync::Arc;

use attestation::endorsements::Kind;
use attestation::tdx::{Certification, QeIdentity, TcbInfo, pck_chain};
use attestation::{Malformed, Sha256, UnixTime};

use super::super::cache::{ChainCache, Window, push_len};
use super::super::given::certificates;
use super::super::revocation::{self, List, Lists};
use super::chain::{self, Chain};
use super::document::{Parsed, Signers, choose, parse};
use super::{Inputs, Pck};
use crate::anchors::Period;
use crate::anchors::intel::{Root, authorities};
use crate::finding::{Code, Finding};
use crate::policy::Presence;
use crate::result::{CrlNumber, Horizon};
use crate::x509::Certificate;

/// Everything that Intel vouches for, with the signatures, chains and lists behind it checked: the
/// value that a [`ChainCache`] keeps.
#[derive(Debug)]
pub(crate) struct Endorsed {
    pub(crate) pck: Pck,
    /// None where none was given, which leaves the verdict open.
    pub(crate) tcb_info: Option<TcbInfo>,
    pub(crate) qe_identity: QeIdentity,
    /// When certificates, lists and documents end.
    pub(crate) horizon: Horizon,
    /// Numbers of lists and evaluations, which never go back.
    pub(crate) numbers: Vec<CrlNumber>,
}

/// Verifies what was endorsed, unless that was done before. `None` where a part of it is missing or
/// cannot be read.
pub(super) fn verify(
    inputs: Inputs<'_>,
    chains: &ChainCache,
    findings: &mut Vec<Finding>,
) -> Option<Arc<Endorsed>> {
    let key = key(inputs);
    if let Some(key) = key
        && let Some(endorsed) = chains.tdx.find(&key, inputs.now)
    {
        return Some(endorsed);
    }
    let before = findings.len();
    let mut periods = inputs.roots.periods().to_vec();
    let endorsed = Arc::new(follow(inputs, &mut periods, findings)?);
    if let Some(key) = key
        && findings.len() == before
    {
        chains.tdx.keep(key, Window::around(inputs.now, periods.into_iter()), &endorsed);
    }
    Some(endorsed)
}

/// A digest of everything but the time that the outcome depends on: items by their own digests,
/// which were taken when they were added. A quote without a chain chooses its PCK itself, so what
/// comes out depends on the quote, and is not kept.
fn key(inputs: Inputs<'_>) -> Option<Sha256> {
    const KINDS: [Kind; 4] = [Kind::Certificate, Kind::Crl, Kind::TcbInfo, Kind::QeIdentity];
    let Inputs { quote, endorsements, roots, revocation, now: _ } = inputs;
    let Certification::PckChain(pem) = quote.certification else { return None };
    let mut all = Vec::with_capacity(pem.len().saturating_add(1024));
    all.extend_from_slice(roots.digest().as_bytes());
    all.push(match revocation {
        Presence::Required => 1,
        Presence::IfPresent => 0,
    });
    for from in endorsements {
        for kind in KINDS {
            let digests = from.digests(kind);
            push_len(digests.len(), &mut all);
            for digest in digests {
                all.extend_from_slice(digest.as_bytes());
            }
        }
    }
    all.extend_from_slice(pem);
    Some(Sha256::of(&all))
}

/// Verifies all of it; every moment at which a part of it starts or ends is added to `periods`.
fn follow(
    inputs: Inputs<'_>,
    periods: &mut Vec<Period>,
    findings: &mut Vec<Finding>,
) -> Option<Endorsed> {
    let Inputs { quote, endorsements, now, .. } = inputs;
    let carried_der = match quote.certification {
        Certification::PckChain(pem) => read(pck_chain(pem), findings)?,
        Certification::Other(_) => Vec::new(),
    };
    let carried = carried_der.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>();
    let carried: Vec<Certificate<'_>> = read(carried, findings)?;
    let given = certificates(endorsements, findings);
    let lists = Lists::read(endorsements, findings);
    let roots: Vec<(&Root, Certificate<'_>)> =
        inputs.roots.all().iter().filter_map(parsed).collect();
    let (tcb_infos, odd_tcb_infos) = parse::<TcbInfo>(endorsements);
    let (identities, odd_identities) = parse::<QeIdentity>(endorsements);
    let of_certificates = carried.iter().chain(&given).chain(authorities());
    periods.extend(of_certificates.map(Certificate::validity));
    periods.extend(lists.iter().map(List::period));
    periods.extend(tcb_infos.iter().map(|(_, info)| (info.issue_date, info.next_update)));
    periods
        .extend(identities.iter().map(|(_, identity)| (identity.issue_date, identity.next_update)));

    let chain = chain::find(inputs, &carried, &given, &roots, findings)?;
    let mut horizon = Horizon::default();
    let pck = chain::follow(inputs, chain, &mut horizon, findings)?;
    let signers = Signers::find(&given, chain.root, now);
    let fmspc = pck.platform.fmspc;
    let tcb_infos: Parsed<'_, TcbInfo> =
        tcb_infos.into_iter().filter(|(_, info)| info.fmspc == fmspc).collect();
    missing(
        tcb_infos.is_empty(),
        Code::TcbInfoMissing,
        &format!("no TCB Info of the platform's family, {}, was given", hex::encode(fmspc)),
        odd_tcb_infos,
        findings,
    );
    let of_pce = |info: &TcbInfo, own: &mut Vec<Finding>| pce_id(info, &pck, own);
    let tcb_info = choose(tcb_infos, &signers, now, of_pce, findings);
    missing(
        identities.is_empty(),
        Code::QeIdentityMissing,
        "no QE Identity of TDX was given",
        odd_identities,
        findings,
    );
    let qe_identity = choose(identities, &signers, now, |_, _| {}, findings);

    let signed = [
        tcb_info.as_ref().and_then(|document| document.signer),
        qe_identity.as_ref().and_then(|document| document.signer),
    ];
    let mut numbers = revoked(inputs, chain, signed, &lists, &mut horizon, findings);
    let qe_identity = qe_identity?;
    let signer_ends = tcb_info.as_ref().and_then(|document| document.ends);
    let tcb_info = tcb_info.map(|document| document.value);
    for (name, ends) in [
        ("TCB Info", tcb_info.as_ref().map(|info| info.next_update)),
        ("QE Identity", Some(qe_identity.value.next_update)),
        ("TCB signer", signer_ends.into_iter().chain(qe_identity.ends).min()),
    ] {
        if let Some(ends) = ends {
            horizon.add(name, ends);
        }
    }
    let root = chain.anchor.id();
    for (what, number) in [
        (format!("TCB Info {}", hex::encode(fmspc)), tcb_info.as_ref().map(|info| info.evaluation)),
        ("QE Identity TD_QE".to_owned(), Some(qe_identity.value.evaluation)),
    ] {
        let number = number.map(u64::from);
        let number = number.map(|number| CrlNumber { issuer: format!("{what}, {root}"), number });
        numbers.extend(number);
    }
    Some(Endorsed { pck, tcb_info, qe_identity: qe_identity.value, horizon, numbers })
}

fn parsed(root: &Root) -> Option<(&Root, Certificate<'_>)> {
    Some((root, Certificate::parse(&root.der).ok()?))
}

fn read<T>(parsed: Result<T, Malformed>, findings: &mut Vec<Finding>) -> Option<T> {
    parsed.map_err(|malformed| findings.push(Finding::malformed(&malformed))).ok()
}

/// Where no document fits, says so, and what is wrong with those that could not be read; beside one
/// that fits, that is for the record.
fn missing(
    is_missing: bool,
    code: Code,
    message: &str,
    odd: Vec<Malformed>,
    findings: &mut Vec<Finding>,
) {
    for malformed in odd {
        let code = Code::EndorsementsMalformed;
        findings.push(if is_missing {
            Finding::reject(code, malformed.to_string())
        } else {
            Finding::info(code, malformed.to_string())
        });
    }
    if is_missing {
        findings.push(Finding::reject(code, message));
    }
}

fn pce_id(info: &TcbInfo, pck: &Pck, findings: &mut Vec<Finding>) {
    if info.pce_id != pck.platform.pce_id {
        findings.push(
            Finding::reject(
                Code::PceIdMismatch,
                "the TCB Info is for another provisioning certification enclave",
            )
            .expected(hex::encode(pck.platform.pce_id))
            .actual(hex::encode(info.pce_id)),
        );
    }
}

/// Asks the lists of the root and of the authority. Yields their numbers.
fn revoked(
    inputs: Inputs<'_>,
    chain: Chain<'_>,
    signers: [Option<&Certificate<'_>>; 2],
    lists: &Lists<'_>,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) -> Vec<CrlNumber> {
    let Inputs { revocation, now, .. } = inputs;
    let Chain { pck, authority, root, anchor } = chain;
    let mut by_root = vec![(authority, Code::IntermediateRevoked)];
    for signer in signers.into_iter().flatten() {
        if !by_root.iter().any(|(have, _)| have.der == signer.der) {
            by_root.push((signer, Code::TcbSignerRevoked));
        }
    }
    let of_authority = format!("{} {}", authority.subject_cn(), Sha256::of(authority.der));
    let mut numbers = Vec::new();
    for (issuer, id, name, subjects) in [
        (root, anchor.id(), "root revocation list", by_root),
        (authority, of_authority, "PCK revocation list", vec![(pck, Code::PckRevoked)]),
    ] {
        let used: Option<(u64, UnixTime)> =
            revocation::check(lists, issuer, &subjects, revocation, now, findings);
        if let Some((number, ends)) = used {
            horizon.add(name, ends);
            numbers.push(CrlNumber { issuer: id, number });
        }
    }
    numbers
}
