//! The chain: VCEK or VLEK, its intermediate, and a root that is an anchor byte for byte
//! (AMD 57230, VCEK certificate and KDS interface specification, §3).

use attestation::Sha256;
use attestation::endorsements::Kind as Item;
use attestation::snp::{Product, SigningKey};

use super::super::cache::{ChainCache, Window, push_len};
use super::super::given::certificates;
use super::super::revocation::Lists;
use super::super::validity::dates;
use super::super::{fails, revocation};
use super::Inputs;
use super::pool::{Pool, built_in, periods};
use super::vek::{self, Kind, Vek};
use crate::anchors::{Ark, ark_name};
use crate::finding::{Code, Finding};
use crate::policy::Presence;
use crate::result::{CrlNumber, Horizon};
use crate::x509::{Algorithm, Certificate, Key};

/// A signing key that was followed to an anchor, with what its certificate says: the value that a
/// [`ChainCache`] keeps.
#[derive(Clone, Debug)]
pub(in crate::authenticate) struct Chain {
    pub(super) vek: Vek,
    /// When its certificates and lists end.
    pub(super) horizon: Horizon,
    pub(super) crl: Option<CrlNumber>,
    /// Whether the report's signature was already found to verify, while the key was looked for.
    pub(super) signs_report: bool,
}

/// Follows the report's signing key to an anchor, unless that was done before. `None` where there is
/// no such key to speak of.
///
/// AMD's service writes a new certificate of the same key each time that it is asked, and anybody
/// can write a worthless one: so of several certificates of the key, the first that passes counts,
/// and a wrong one hides no right one.
pub(super) fn verify(
    inputs: Inputs<'_>,
    chains: &ChainCache,
    findings: &mut Vec<Finding>,
) -> Option<Chain> {
    let key = key(inputs);
    if let Some(chain) = chains.snp.find(&key, inputs.now) {
        return Some(chain);
    }
    let before = findings.len();
    let given = certificates(inputs.endorsements, findings);
    let lists = Lists::read(inputs.endorsements, findings);
    let chain = follow_report(inputs, &given, &lists, findings)?;
    // Of several signing keys it is the report that chooses, so that the chain is that report's.
    let is_the_only = given.iter().filter(|given| is_vek(given)).count() == 1;
    if is_the_only && findings.len() == before {
        let window = Window::around(inputs.now, periods(inputs, &given, &lists));
        chains.snp.keep(key, window, &chain);
    }
    Some(chain)
}

fn follow_report(
    inputs: Inputs<'_>,
    given: &[Certificate<'_>],
    lists: &Lists<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Chain> {
    let (veks, signs_report) = signing_keys(inputs, given, findings)?;
    let pool = Pool { inputs, given, lists };
    let attempts = veks.into_iter().map(|vek| {
        let mut own = Vec::new();
        let chain = follow(pool, vek, signs_report, &mut own);
        (own, chain)
    });
    let (own, chain) = best(attempts)?;
    findings.extend(own);
    chain
}

/// Where a chain ends: until when it holds, and by which list.
type End = (Horizon, Option<CrlNumber>);

/// Of several attempts, one that fails by revocation alone: a key that was disowned under one
/// certificate is not good under another. Else the first that passes; else the first of all, for
/// what there is to say.
fn best<T>(attempts: impl Iterator<Item = (Vec<Finding>, T)>) -> Option<(Vec<Finding>, T)> {
    let rank = |(own, _): &(Vec<Finding>, T)| {
        let mut codes = own.iter().filter(|finding| fails(finding)).map(|finding| finding.code);
        match codes.next() {
            None => 1,
            Some(first) if codes.chain([first]).all(is_revocation) => 0,
            Some(_) => 2,
        }
    };
    // Of equals, `min_by_key` yields the first.
    attempts.min_by_key(rank)
}

fn is_revocation(code: Code) -> bool {
    matches!(code, Code::IntermediateRevoked | Code::VekRevoked)
}

/// Follows one certificate of the signing key.
fn follow(
    pool: Pool<'_>,
    vek: &Certificate<'_>,
    signs_report: bool,
    findings: &mut Vec<Finding>,
) -> Option<Chain> {
    let (kind, product) = role(vek, findings)?;
    let Key::P384(point) = vek.key() else { return None };
    profile_of_vek(vek, kind, findings);
    let mut horizon = Horizon::default();
    horizon.add(kind.name(), dates(vek, kind.name(), pool.inputs.now, findings));
    let mut crl = None;
    if let Some((until, used)) = issued(pool, vek, kind, product, findings) {
        horizon.extend(until);
        crl = used;
    }
    let vek = Vek::read(vek, kind, product, *point, findings);
    Some(Chain { vek, horizon, crl, signs_report })
}

/// Looks for the intermediate that issued the key's certificate, among those given and those built
/// in, and follows it to an anchor.
fn issued(
    pool: Pool<'_>,
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> Option<End> {
    let named = |candidate: &&Certificate<'_>| vek.names_issuer(candidate);
    let signs = |candidate: &&Certificate<'_>| vek.is_signed_by(candidate.key());
    let given = pool.given.iter().filter(named).take(ATTEMPTS_MAX);
    let signers: Vec<_> = given.clone().filter(signs).collect();
    // One that no anchor signed never passes, so beside another it is not worth a verification.
    let is_worth_it =
        |built_in: &&Certificate<'_>| signers.is_empty() || pool.inputs.anchors.signed(built_in);
    let others = built_in(pool.given).filter(named);
    let candidates = given.chain(others.clone());
    let others = others.filter(is_worth_it).filter(signs);
    let attempts = signers.iter().copied().chain(others).map(|intermediate| {
        let mut own = Vec::new();
        let end = rooted(pool, vek, intermediate, kind, product, &mut own);
        (own, end)
    });
    if let Some((own, end)) = best(attempts) {
        findings.extend(own);
        return Some(end);
    }
    let issuer = vek.issuer_cn();
    // One that has the issuer's name and did not sign still has something to say.
    if let Some(named) = candidates.clone().next() {
        findings.push(Finding::reject(
            Code::CertificateSignatureInvalid,
            format!(
                "the {} does not chain to AMD: {issuer}, which it names as its issuer, did not sign it",
                kind.name(),
            ),
        ));
        return Some(rooted(pool, vek, named, kind, product, findings));
    }
    findings.push(Finding::reject(
        Code::IntermediateMissing,
        format!("no certificate of {issuer} was given"),
    ));
    None
}

/// Follows an intermediate to an anchor, and asks the anchor's lists about both certificates.
fn rooted(
    pool: Pool<'_>,
    vek: &Certificate<'_>,
    intermediate: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> End {
    let Pool { inputs, given, lists } = pool;
    profile_of_intermediate(intermediate, kind, product, findings);
    let mut horizon = Horizon::default();
    horizon.add(kind.issuer(), dates(intermediate, kind.issuer(), inputs.now, findings));
    let Some((ark, root)) = root(intermediate, product, inputs.anchors.sev_snp(), given, findings)
    else {
        return (horizon, None);
    };
    horizon.add("ARK", dates(&root, "ARK", inputs.now, findings));
    let subjects = [(intermediate, Code::IntermediateRevoked), (vek, Code::VekRevoked)];
    let list = revocation::check(lists, &root, &subjects, inputs.revocation, inputs.now, findings);
    let number = list.map(|(number, until)| {
        horizon.add("revocation list", until);
        CrlNumber { issuer: ark.id(), number }
    });
    (horizon, number)
}

/// A digest of everything but the time that following a chain depends on.
fn key(inputs: Inputs<'_>) -> Sha256 {
    let Inputs { report: _, endorsements, anchors, revocation, now: _ } = inputs;
    let lists =
        endorsements.map(|from| [Item::Certificate, Item::Crl].map(|kind| from.digests(kind)));
    let mut all = Vec::with_capacity(1024);
    all.extend_from_slice(anchors.digest().as_bytes());
    all.push(match revocation {
        Presence::Required => 1,
        Presence::IfPresent => 0,
    });
    for digests in lists.iter().flatten() {
        push_len(digests.len(), &mut all);
        digests.iter().for_each(|digest| all.extend_from_slice(digest.as_bytes()));
    }
    Sha256::of(&all)
}

/// Whether a certificate may be a signing key's.
fn is_vek(certificate: &Certificate<'_>) -> bool {
    matches!(certificate.key(), Key::P384(_))
}

/// The certificates of the key that signed the report, at most [`ATTEMPTS_MAX`] of them; where there
/// is none, the first of any key. The second value says whether the report is already known to
/// verify.
fn signing_keys<'a, 'b>(
    inputs: Inputs<'_>,
    given: &'b [Certificate<'a>],
    findings: &mut Vec<Finding>,
) -> Option<(Vec<&'b Certificate<'a>>, bool)> {
    let mut candidates = given.iter().filter(|given| is_vek(given));
    let Some(first) = candidates.next() else {
        let what = match inputs.report.key_info().signing_key() {
            SigningKey::Vlek => "VLEK",
            SigningKey::Vcek | SigningKey::None | SigningKey::Reserved(_) => "VCEK",
        };
        findings.push(Finding::reject(
            Code::VekMissing,
            format!("no {what} certificate was given, so the report's signature cannot be checked"),
        ));
        return None;
    };
    if candidates.next().is_none() {
        return Some((vec![first], false));
    }
    let signs = |certificate: &&Certificate<'_>| match certificate.key() {
        Key::P384(point) => super::report::is_signed_by(inputs.report, point),
        Key::Rsa4096(_) | Key::P256(_) | Key::Other => false,
    };
    let veks = given.iter().filter(|given| is_vek(given));
    let (made_for_it, others): (Vec<_>, Vec<_>) = veks.partition(|vek| is_made_for(vek, inputs));
    let mut likely = made_for_it.into_iter().chain(others).take(SIGNERS_MAX);
    let Some(signer) = likely.find(signs) else { return Some((vec![first], false)) };
    let same_key = |certificate: &&Certificate<'_>| certificate.key() == signer.key();
    Some((given.iter().filter(same_key).take(ATTEMPTS_MAX).collect(), true))
}

/// Whether a certificate says that it is of the chip and the TCB that the report names.
fn is_made_for(certificate: &Certificate<'_>, inputs: Inputs<'_>) -> bool {
    // What is wrong with it is told of the one that is chosen.
    let unheard = &mut Vec::new();
    role(certificate, unheard).is_some_and(|(kind, product)| {
        vek::is_made_for(certificate, kind, product, inputs.report, unheard)
    })
}

/// What the names in a signing key's certificate make it.
fn role(vek: &Certificate<'_>, findings: &mut Vec<Finding>) -> Option<(Kind, Product)> {
    let role = [Kind::Vcek, Kind::Vlek].into_iter().find_map(|kind| {
        let product = Product::ALL.into_iter().find(|p| vek.issuer_cn() == kind.issuer_name(*p))?;
        (vek.subject_cn() == kind.common_name()).then_some((kind, product))
    });
    if role.is_none() {
        findings.push(
            Finding::reject(
                Code::CertificateProfile,
                "the signing key's certificate is neither a VCEK nor a VLEK by its names",
            )
            .expected(
                "subject SEV-VCEK and issuer SEV-<product>, or SEV-VLEK and SEV-VLEK-<product>",
            )
            .actual(format!(
                "subject {}, issuer {}",
                vek.subject_cn(),
                vek.issuer_cn()
            )),
        );
    }
    role
}

fn profile_of_vek(vek: &Certificate<'_>, kind: Kind, findings: &mut Vec<Finding>) {
    algorithm(vek, kind.name(), findings);
    if !vek.is_well_formed() || vek.claims_ca() {
        findings.push(Finding::reject(
            Code::CertificateProfile,
            format!("the {} is no end-entity certificate of version 3 with extensions that are understood", kind.name()),
        ));
    }
}

fn profile_of_intermediate(
    intermediate: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) {
    algorithm(intermediate, kind.issuer(), findings);
    let is_ca = intermediate.is_well_formed()
        && intermediate.is_ca()
        && matches!(intermediate.key(), Key::Rsa4096(_));
    if !is_ca {
        findings.push(Finding::reject(
            Code::CertificateProfile,
            format!(
                "the {} is no certificate authority of version 3 with a key of RSA-4096",
                kind.issuer()
            ),
        ));
    }
    if intermediate.issuer_cn() != ark_name(product) {
        findings.push(
            Finding::reject(
                Code::CertificateProfile,
                format!("the {} is issued by another root than its product's", kind.issuer()),
            )
            .expected(ark_name(product))
            .actual(intermediate.issuer_cn()),
        );
    }
}

fn algorithm(certificate: &Certificate<'_>, name: &str, findings: &mut Vec<Finding>) {
    if certificate.algorithm() != Some(Algorithm::PssSha384) {
        findings.push(
            Finding::reject(
                Code::CertificateAlgorithm,
                format!("the {name} is not signed as AMD signs"),
            )
            .expected("RSASSA-PSS, SHA-384, MGF1-SHA-384, salt of 48 bytes"),
        );
    }
}

/// The anchor that signed the intermediate. Roots that were given are only named in the finding:
/// nothing but an anchor, byte for byte, ends a chain.
fn root<'a>(
    intermediate: &Certificate<'_>,
    product: Product,
    anchors: &'a [Ark],
    given: &[Certificate<'_>],
    findings: &mut Vec<Finding>,
) -> Option<(&'a Ark, Certificate<'a>)> {
    let signer = anchors
        .iter()
        .filter(|ark| ark.product == product)
        .filter_map(|ark| Some((ark, Certificate::parse(&ark.der).ok()?)))
        .find(|(_, root)| intermediate.names_issuer(root) && intermediate.is_signed_by(root.key()));
    if signer.is_none() {
        let trusted = anchors.iter().filter(|ark| ark.product == product).map(Ark::id);
        let foreign = given
            .iter()
            .find(|root| root.is_self_issued() && intermediate.names_issuer(root))
            .map(|root| format!("{} {}", root.subject_cn(), Sha256::of(root.der)));
        findings.push(
            Finding::reject(
                Code::RootNotTrusted,
                format!(
                    "{} is not signed by a root that the policy trusts for {product}",
                    intermediate.subject_cn()
                ),
            )
            .expected(crate::policy::list(trusted))
            .actual(foreign.unwrap_or_else(|| intermediate.issuer_cn().to_owned())),
        );
    }
    signer
}

/// How many certificates of one key, and how many of one issuer's name, are looked at: each costs
/// signatures to verify, and whoever sends evidence may send many.
const ATTEMPTS_MAX: usize = 4;

/// How many keys are tried on a report, those first whose certificates say that they are made for it.
const SIGNERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use attestation::snp::SnpReport;
    use attestation::{Endorsements, UnixTime};

    use super::*;
    use crate::anchors::TrustAnchors;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn the_key_covers_all_that_a_chain_depends_on() {
        let (certificate, list) = ([1_u8; 40], [2_u8; 40]);
        let endorse = |certificates: &[&[u8]], crls: &[&[u8]]| {
            let mut all = Endorsements::new();
            for der in certificates {
                all.add_certificate(der).unwrap();
            }
            for der in crls {
                all.add_crl(der).unwrap();
            }
            all
        };
        let none = Endorsements::new();
        let both = endorse(&[&certificate], &[&list]);
        // Put together, these two are the same.
        let one_way = endorse(&[&[1; 30], &[1; 40]], &[]);
        let other_way = endorse(&[&[1; 40], &[1; 30]], &[]);
        let given: [[&Endorsements; 2]; 9] = [
            [&one_way, &none],
            [&other_way, &none],
            [&none, &none],
            [&both, &none],
            [&none, &both],
            [&both, &both],
            [&endorse(&[&certificate, &list], &[]), &none],
            [&endorse(&[&list], &[&certificate]), &none],
            [&endorse(&[&list, &certificate], &[]), &none],
        ];
        let report = sim::ReportBuilder::new(Product::Genoa, 3);
        let report = report.sign(&sim::EcKey::generate().unwrap()).unwrap();
        let report = SnpReport::parse(&report).unwrap();
        let amd = TrustAnchors::production();
        let one = TrustAnchors::untrusted(Some(amd.sev_snp()[..1].to_vec()), None);
        let mut keys = Vec::new();
        for endorsements in given {
            for anchors in [&amd, &one] {
                for revocation in [Presence::Required, Presence::IfPresent] {
                    let now = at(0);
                    let report = &report;
                    keys.push(key(Inputs { report, endorsements, anchors, revocation, now }));
                }
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (36, 36), "two inputs have the same key");
    }

    #[test]
    fn a_chain_that_is_kept_is_not_followed_again() {
        let report = sim::ReportBuilder::new(Product::Genoa, 3);
        let report = report.sign(&sim::EcKey::generate().unwrap()).unwrap();
        let (none, anchors) = (Endorsements::new(), TrustAnchors::production());
        let inputs = Inputs {
            report: &SnpReport::parse(&report).unwrap(),
            endorsements: [&none, &none],
            anchors: &anchors,
            revocation: Presence::Required,
            now: at(5),
        };
        let (chains, mut findings) = (ChainCache::default(), Vec::new());
        assert!(verify(inputs, &chains, &mut findings).is_none(), "there is nothing to follow");
        assert_eq!((core::mem::take(&mut findings).len(), chains.len()), (1, 0));
        let mut horizon = Horizon::default();
        horizon.add("VCEK", at(10));
        let vek = Vek {
            kind: Kind::Vcek,
            product: Product::Genoa,
            point: [0; 97],
            tcb: None,
            chip: None,
            csp_id: None,
        };
        let chain = Chain { vek, horizon, crl: None, signs_report: false };
        chains.snp.keep(key(inputs), Window::FOREVER, &chain);
        let found = verify(inputs, &chains, &mut findings).unwrap();
        assert_eq!((found.horizon.first(), findings.len()), (Some(at(10)), 0));
    }
}
