//! The chain: VCEK or VLEK, its intermediate, and a root that is an anchor byte for byte
//! (AMD 57230, VCEK certificate and KDS interface specification, §3).

use attestation::UnixTime;
use attestation::snp::{Product, SigningKey};

use super::cache::{self, ChainCache, Window};
use super::given::{built_in, certificates, crls, periods};
use super::{Inputs, fails, revocation};
use crate::anchors::{Ark, ark_name};
use crate::crypto::P384_POINT_LEN;
use crate::finding::{Code, Finding};
use crate::result::CrlNumber;
use crate::x509::{self, Certificate, Crl, Extension, Key};

/// A signing key that was followed to an anchor, with what its certificate says: the value that a
/// [`ChainCache`] keeps.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) vek: Vek,
    /// When the first of its certificates and lists ends.
    pub(super) ends: UnixTime,
    pub(super) crl: Option<CrlNumber>,
    /// Whether the report's signature was already found to verify, while the key was looked for.
    pub(super) signs_report: bool,
}

/// What a signing key's certificate says.
#[derive(Clone, Debug)]
pub(super) struct Vek {
    pub(super) kind: Kind,
    pub(super) product: Product,
    pub(super) point: [u8; P384_POINT_LEN],
    /// The 8 bytes of `REPORTED_TCB` that the key was made for; none if an extension is wrong.
    pub(super) tcb: Option<[u8; 8]>,
    /// The chip, of a VCEK, as `CHIP_ID` has it.
    pub(super) chip: Option<[u8; 64]>,
    /// The provider, of a VLEK.
    pub(super) csp_id: Option<String>,
}

/// The two kinds of signing key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Vcek,
    Vlek,
}

impl Kind {
    /// AMD's name of the key.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }

    /// The common name of its certificates.
    const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// AMD's name of the intermediate that issues them.
    const fn issuer(self) -> &'static str {
        match self {
            Self::Vcek => "ASK",
            Self::Vlek => "ASVK",
        }
    }

    /// The common name of that intermediate for a product.
    fn issuer_name(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }
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
    let key = cache::key(inputs);
    if let Some(chain) = chains.find(&key, inputs.now) {
        return Some(chain);
    }
    let before = findings.len();
    let given = certificates(inputs, findings);
    let crls = crls(inputs, findings);
    let chain = follow_report(inputs, &given, &crls, findings)?;
    // Of several signing keys it is the report that chooses, so that the chain is that report's.
    let is_the_only = given.iter().filter(|given| is_vek(given)).count() == 1;
    if is_the_only && findings.len() == before {
        chains.keep(key, Window::around(inputs.now, periods(inputs, &given, &crls)), &chain);
    }
    Some(chain)
}

fn follow_report(
    inputs: Inputs<'_>,
    given: &[Certificate<'_>],
    crls: &[Crl<'_>],
    findings: &mut Vec<Finding>,
) -> Option<Chain> {
    let (veks, signs_report) = signing_keys(inputs, given, findings)?;
    let pool = Pool { inputs, given, crls };
    let attempts = veks.into_iter().map(|vek| {
        let mut own = Vec::new();
        let chain = follow(pool, vek, signs_report, &mut own);
        (own, chain)
    });
    let (own, chain) = best(attempts)?;
    findings.extend(own);
    chain
}

/// Everything that a chain may be made of.
#[derive(Clone, Copy)]
struct Pool<'a> {
    inputs: Inputs<'a>,
    given: &'a [Certificate<'a>],
    crls: &'a [Crl<'a>],
}

/// Where a chain ends: until when it holds, and by which list.
type End = (UnixTime, Option<CrlNumber>);

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
    let mut ends = dates(vek, kind.name(), pool.inputs.now, findings);
    let mut crl = None;
    if let Some((until, used)) = issued(pool, vek, kind, product, findings) {
        ends = ends.min(until);
        crl = used;
    }
    let vek = Vek {
        kind,
        product,
        point: *point,
        tcb: tcb(vek, kind, product, findings),
        chip: chip(vek, kind, product, findings),
        csp_id: csp_id(vek, kind, findings),
    };
    Some(Chain { vek, ends, crl, signs_report })
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
    let Pool { inputs, given, crls } = pool;
    profile_of_intermediate(intermediate, kind, product, findings);
    let mut ends = dates(intermediate, kind.issuer(), inputs.now, findings);
    let Some((ark, root)) = root(intermediate, product, inputs.anchors.sev_snp(), given, findings)
    else {
        return (ends, None);
    };
    ends = ends.min(dates(&root, "ARK", inputs.now, findings));
    let Some((number, until)) = revocation::check(crls, &root, intermediate, vek, inputs, findings)
    else {
        return (ends, None);
    };
    (ends.min(until), Some(CrlNumber { issuer: ark.id(), number }))
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
        Key::Rsa4096(_) | Key::Other => false,
    };
    let signer = given.iter().filter(|given| is_vek(given)).find(signs);
    let Some(signer) = signer else { return Some((vec![first], false)) };
    let same_key = |certificate: &&Certificate<'_>| certificate.key() == signer.key();
    Some((given.iter().filter(same_key).take(ATTEMPTS_MAX).collect(), true))
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
    integer(vek, kind.name(), "structVersion", STRUCT_VERSION, findings);
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
    if !certificate.is_pss_sha384() {
        findings.push(
            Finding::reject(
                Code::CertificateAlgorithm,
                format!("the {name} is not signed as AMD signs"),
            )
            .expected("RSASSA-PSS, SHA-384, MGF1-SHA-384, salt of 48 bytes"),
        );
    }
}

/// Checks the validity at `now`, and says when it ends.
fn dates(
    certificate: &Certificate<'_>,
    name: &str,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> UnixTime {
    let (not_before, not_after) = certificate.validity();
    if now < not_before {
        findings.push(
            Finding::reject(
                Code::CertificateNotYetValid,
                format!("the {name} is not yet valid: its validity starts {not_before}"),
            )
            .expected(format!("not before {not_before}"))
            .actual(now),
        );
    }
    if now > not_after {
        findings.push(
            Finding::reject(
                Code::CertificateExpired,
                format!("the {name} expired: its validity ended {not_after}"),
            )
            .expected(format!("not after {not_after}"))
            .actual(now),
        );
    }
    not_after
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
            .map(|root| format!("{} {}", root.subject_cn(), attestation::Sha256::of(root.der)));
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

/// The TCB that a key was made for, in the order of `REPORTED_TCB` (AMD 57230 §3.2 tables 8 to 11;
/// SNP ABI §2.2). The versions of parts that do not exist stand for the reserved bytes.
fn tcb(
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> Option<[u8; 8]> {
    let layout = match product {
        Product::Milan | Product::Genoa => [BL, TEE, SPL4, SPL5, SPL6, SPL7, SNP, UCODE],
        Product::Turin => [FMC, BL, TEE, SNP, SPL5, SPL6, SPL7, UCODE],
    };
    let mut tcb = [0; 8];
    let mut complete = true;
    for (slot, (name, oid)) in tcb.iter_mut().zip(layout) {
        match integer(vek, kind.name(), name, oid, findings) {
            Some(value) => *slot = value,
            None => complete = false,
        }
    }
    product_name(vek, kind, product, findings);
    complete.then_some(tcb)
}

/// The `productName` extension: the product, and perhaps a stepping after a hyphen ("Milan-B0").
fn product_name(vek: &Certificate<'_>, kind: Kind, product: Product, findings: &mut Vec<Finding>) {
    let Some(value) = value(vek, kind.name(), "productName", PRODUCT_NAME, findings) else {
        return;
    };
    let Some(name) = x509::ia5_string(value) else {
        findings.push(malformed(kind.name(), "productName"));
        return;
    };
    if name.split('-').next() != Some(product.name()) {
        findings.push(
            Finding::reject(
                Code::ProductMismatch,
                format!("the {} is made for another product than its issuer's", kind.name()),
            )
            .expected(product)
            .actual(name),
        );
    }
}

/// The `hwID` extension of a VCEK, as `CHIP_ID` has it: 64 bytes, of which Turin uses 8. A VLEK is of
/// no chip and must not have one.
fn chip(
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> Option<[u8; 64]> {
    if kind == Kind::Vlek {
        absent(vek, kind.name(), "hwID", HWID, findings);
        return None;
    }
    let value = value(vek, kind.name(), "hwID", HWID, findings)?;
    // Older certificates hold the bytes as they are, newer ones in an OCTET STRING of their own.
    let (raw, len) = match (product, value) {
        (Product::Milan | Product::Genoa, [0x04, 64, raw @ ..]) if raw.len() == 64 => (raw, 64),
        (Product::Milan | Product::Genoa, raw) => (raw, 64),
        (Product::Turin, [0x04, 8, raw @ ..]) if raw.len() == 8 => (raw, 8),
        (Product::Turin, raw) => (raw, 8),
    };
    if raw.len() != len {
        findings.push(malformed(kind.name(), "hwID"));
        return None;
    }
    let mut chip = [0; 64];
    chip.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
    Some(chip)
}

/// The `cspID` extension of a VLEK. A VCEK is of no provider and must not have one.
fn csp_id(vek: &Certificate<'_>, kind: Kind, findings: &mut Vec<Finding>) -> Option<String> {
    if kind == Kind::Vcek {
        absent(vek, kind.name(), "cspID", CSP_ID, findings);
        return None;
    }
    let value = value(vek, kind.name(), "cspID", CSP_ID, findings)?;
    // AMD writes it as a name: "CN=cc-us-east-2.amazonaws.com".
    match x509::ia5_string(value).map(|text| text.strip_prefix("CN=").unwrap_or(text)) {
        Some(csp_id) if !csp_id.is_empty() => Some(csp_id.to_owned()),
        _ => {
            findings.push(malformed(kind.name(), "cspID"));
            None
        }
    }
}

fn integer(
    vek: &Certificate<'_>,
    kind: &str,
    name: &str,
    oid: &[u8],
    findings: &mut Vec<Finding>,
) -> Option<u8> {
    let value = value(vek, kind, name, oid, findings)?;
    let integer = x509::small_integer(value);
    if integer.is_none() {
        findings.push(malformed(kind, name));
    }
    integer
}

fn value<'a>(
    vek: &'a Certificate<'_>,
    kind: &str,
    name: &str,
    oid: &[u8],
    findings: &mut Vec<Finding>,
) -> Option<&'a [u8]> {
    let wrong = match vek.extension(oid) {
        Extension::Once(value) => return Some(value),
        Extension::Missing => "is missing",
        Extension::Repeated => "is there more than once",
    };
    let message = format!("extension {name} of the {kind} {wrong}");
    findings.push(Finding::reject(Code::CertificateExtensionMissing, message));
    None
}

fn absent(vek: &Certificate<'_>, kind: &str, name: &str, oid: &[u8], findings: &mut Vec<Finding>) {
    if vek.extension(oid) != Extension::Missing {
        let message = format!("extension {name} has no business in a {kind}");
        findings.push(Finding::reject(Code::CertificateExtensionMissing, message));
    }
}

fn malformed(kind: &str, name: &str) -> Finding {
    Finding::reject(
        Code::CertificateExtensionMalformed,
        format!("extension {name} of the {kind} is not in its canonical form"),
    )
}

/// How many certificates of one key, and how many of one issuer's name, are looked at: each costs
/// signatures to verify, and whoever sends evidence may send many.
const ATTEMPTS_MAX: usize = 4;

/// An extension: AMD's name, and its OID's contents octets. All are under 1.3.6.1.4.1.3704.1.
type Named = (&'static str, &'static [u8]);

const STRUCT_VERSION: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x01";
const PRODUCT_NAME: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x02";
const BL: Named = ("blSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x01");
const TEE: Named = ("teeSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x02");
const SNP: Named = ("snpSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x03");
const SPL4: Named = ("spl4", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x04");
const SPL5: Named = ("spl5", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x05");
const SPL6: Named = ("spl6", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x06");
const SPL7: Named = ("spl7", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x07");
const UCODE: Named = ("ucodeSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x08");
const FMC: Named = ("fmcSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x09");
const HWID: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x04";
const CSP_ID: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x05";
