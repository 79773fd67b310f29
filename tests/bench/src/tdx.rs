//! What an appraisal of a TDX quote costs, beside the signatures that it cannot do without, and beside `dcap-qvl`.

use std::sync::Arc;

use attestation::endorsements::Kind;
use attestation::tdx::{Certification, QeIdentity, TcbInfo, TdxQuote};
use attestation::{Endorsements, Evidence, EvidenceKind, ReportData, UnixTime, Unverified};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use sim::policy::Section;
use sim::tdx::{
    Collateral, EventLogRecipe, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe,
};
use verifier::{ChainCache, Expectation, Policy, appraise_with};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::evidence::NOW;
use crate::harness::{Bench, Clock, Contest, Failed, Outcome, repeat};
use crate::verify::{Signature, key, threads};

pub(crate) const NAMES: &[&str] =
    &["verify.tdx.cold", "verify.tdx.warm", "verify.parse.tdx", "verify.threads2.tdx"];

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let case = Case::at(NOW)?;
    let theirs = Theirs::of(&case)?;
    theirs.verify();
    if bench.wants("verify.tdx.cold") {
        let none = ChainCache::new(0);
        let contest =
            Contest::new("verify.tdx.cold", Clock::Thread, repeat(|| case.judge(&none)))
                .peer(repeat(|| theirs.verify()))
                .floor(repeat(|| case.needed.iter().for_each(Signature::verify)))
                .target("overfloor <= 1.15, ratio <= 1")
                .note("peer: crate dcap-qvl =0.7.1 on ring, its fastest backend; both are given the endorsements parsed from their files");
        bench.compare(listed(contest, &case.needed));
    }
    if bench.wants("verify.tdx.warm") {
        let chains = ChainCache::default();
        case.judge(&chains);
        assert_eq!(chains.len(), 1, "what Intel says was kept");
        let quote = case.needed.get(7..).unwrap_or_default();
        let contest = Contest::new(
            "verify.tdx.warm",
            Clock::Thread,
            repeat(|| case.judge(&chains)),
        )
        .peer(repeat(|| theirs.verify()))
        .floor(repeat(|| quote.iter().for_each(Signature::verify)))
        .target("overfloor <= 1.4, ratio <= 0.286")
        .note("peer: crate dcap-qvl, which has no warm form: it verifies everything each time");
        bench.compare(listed(contest, quote));
    }
    if bench.wants("verify.parse.tdx") {
        let contest = Contest::new("verify.parse.tdx", Clock::Thread, repeat(|| case.parse()))
            .target("10 us")
            .note(format!(
                "a raw quote of {} octets told by its content and parsed, its REPORTDATA compared",
                case.quote.len()
            ));
        bench.compare(contest);
    }
    if bench.wants("verify.threads2.tdx") {
        let chains = ChainCache::default();
        bench.print(&threads("verify.threads2.tdx", || case.judge(&chains)));
    }
    Ok(())
}

fn listed<'a>(contest: Contest<'a>, needed: &[Signature]) -> Contest<'a> {
    needed.iter().fold(contest, |contest, signature| {
        contest.note(format!("floor: {}, P-256", signature.name))
    })
}

/// A platform's quote with everything that it takes to judge it.
pub(crate) struct Case {
    now: UnixTime,
    policy: Policy,
    /// The policy as a file says it; the root that it names is Intel's.
    pub(crate) policy_text: String,
    pub(crate) quote: Vec<u8>,
    evidence: Unverified<Evidence>,
    pub(crate) endorsements: Unverified<Endorsements>,
    expectation: Expectation,
    pub(crate) root: Vec<u8>,
    tcb_chain: String,
    /// In the order of a cold appraisal: the last two are the quote's own.
    needed: Vec<Signature>,
}

impl Case {
    pub(crate) fn at(now: UnixTime) -> Result<Self, Failed> {
        let validity = sim::validity_from(now, sim::VALIDITY_SECS_MAX);
        let pki = IntelPki::new(Arc::new(IntelKeys::generate()?), validity)?;
        let registers = EventLogRecipe::boot(b"guest").registers()?;
        let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy(MEASUREMENT, registers));
        let platform = PckPlatform::default();
        let data = REPORT_DATA;
        let quote = pki.quote(&recipe, &platform, &data)?;
        let given = pki.endorse(&Collateral::up_to_date(validity, &platform, &recipe), 1)?;
        let section = Section::tdx(&MEASUREMENT, &registers);
        let policy_text = format!("{POLICY}{}", section.keys);
        let root = pki.root().to_vec();
        let needed = needed(&pki, &quote, &given)?;
        Ok(Self {
            now,
            policy: Policy::parse(&policy_text, &|_| Ok(root.clone()))?,
            policy_text,
            evidence: Unverified::new(Evidence::from_wire(quote.clone())),
            quote,
            endorsements: Unverified::new(given),
            expectation: Expectation::cached().with_report_data(data),
            tcb_chain: sim::bundle(&[pki.tcb_signer(), pki.root()], &[])?.to_pem(),
            root,
            needed,
        })
    }

    /// What a quote takes besides its signatures and what is said of its platform.
    fn parse(&self) -> bool {
        let wire = self.evidence.inspect_untrusted().as_wire();
        let Ok(EvidenceKind::TdxQuote(quote)) = EvidenceKind::detect(wire) else { return false };
        let quote = TdxQuote::parse(&quote).expect("it is a quote");
        quote.report.report_data == REPORT_DATA.0
    }

    pub(crate) fn judge(&self, chains: &ChainCache) {
        let Self { now, policy, evidence, endorsements, expectation, .. } = self;
        let result = appraise_with(chains, policy, evidence, endorsements, expectation, *now);
        std::hint::black_box(result.expect("the policy accepts the quote"));
    }
}

/// The nine signatures between an anchor and a quote.
fn needed(pki: &IntelPki, quote: &[u8], given: &Endorsements) -> Result<Vec<Signature>, Failed> {
    let parsed = TdxQuote::parse(quote)?;
    let Certification::PckChain(pem) = parsed.certification else {
        return Err("the quote carries no chain".into());
    };
    let mut chain = Endorsements::new();
    chain.add(pem)?;
    let pck = chain.certificates().first().ok_or("no PCK")?;
    let [root, authority, signer] = [pki.root(), pki.platform_ca(), pki.tcb_signer()];
    let certificate = |name, issuer: &[u8], der: &[u8]| {
        let (_, read) = X509Certificate::from_der(der)?;
        let (message, octets) = (read.tbs_certificate.as_ref(), &read.signature_value.data);
        Ok::<_, Failed>(signature(name, &ECDSA_P256_SHA256_ASN1, key(issuer)?, message, octets))
    };
    let list = |name, issuer: &[u8]| {
        for der in given.crls() {
            let (_, read) = CertificateRevocationList::from_der(der)?;
            let (message, octets) = (read.tbs_cert_list.as_ref(), &read.signature_value.data);
            let by_issuer = signature(name, &ECDSA_P256_SHA256_ASN1, key(issuer)?, message, octets);
            let public = UnparsedPublicKey::new(by_issuer.algorithm, &by_issuer.key);
            if public.verify(&by_issuer.message, &by_issuer.octets).is_ok() {
                return Ok(by_issuer);
            }
        }
        Err(Failed::from("no such list"))
    };
    let item = |kind| given.items(kind).first().ok_or("no such document");
    let (tcb_info, tcb_signature) = TcbInfo::signed(item(Kind::TcbInfo)?)?;
    let (identity, identity_signature) = QeIdentity::signed(item(Kind::QeIdentity)?)?;
    let fixed = &ECDSA_P256_SHA256_FIXED;
    let attestation = [&[4][..], &parsed.attestation_key].concat();
    Ok(vec![
        certificate("the authority under the root", root, authority)?,
        certificate("the PCK under its authority", authority, pck)?,
        certificate("the signer of documents under the root", root, signer)?,
        list("the root's list", root)?,
        list("the authority's list", authority)?,
        signature("TCB Info", fixed, key(signer)?, tcb_info, &tcb_signature),
        signature("QE Identity", fixed, key(signer)?, identity, &identity_signature),
        signature(
            "the quoting enclave's report under the PCK",
            fixed,
            key(pck)?,
            parsed.qe_report_bytes,
            &parsed.qe_report_signature,
        ),
        signature("the quote", fixed, attestation, parsed.signed, &parsed.signature),
    ])
}

fn signature(
    name: &'static str,
    algorithm: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
    message: &[u8],
    octets: &[u8],
) -> Signature {
    Signature { name, algorithm, key, message: message.to_vec(), octets: octets.to_vec() }
}

/// What the crate `dcap-qvl` is given: the same quote, and the same endorsements in its own form.
struct Theirs {
    verifier: QuoteVerifier,
    quote: Vec<u8>,
    collateral: QuoteCollateralV3,
}

impl Theirs {
    fn of(case: &Case) -> Result<Self, Failed> {
        let given = case.endorsements.inspect_untrusted();
        let item = |kind| given.items(kind).first().ok_or("no such document");
        let (tcb_info, tcb_info_signature) = TcbInfo::signed(item(Kind::TcbInfo)?)?;
        let (qe_identity, qe_identity_signature) = QeIdentity::signed(item(Kind::QeIdentity)?)?;
        let Certification::PckChain(pem) = TdxQuote::parse(&case.quote)?.certification else {
            return Err("the quote carries no chain".into());
        };
        let pck_chain = String::from_utf8(pem.to_vec())?;
        let [root_ca_crl, pck_crl] = given.crls() else { return Err("not two lists".into()) };
        Ok(Self {
            verifier: QuoteVerifier::new(case.root.clone()),
            quote: case.quote.clone(),
            collateral: QuoteCollateralV3 {
                pck_crl_issuer_chain: pck_chain.clone(),
                root_ca_crl: root_ca_crl.clone(),
                pck_crl: pck_crl.clone(),
                tcb_info_issuer_chain: case.tcb_chain.clone(),
                tcb_info: String::from_utf8(tcb_info.to_vec())?,
                tcb_info_signature: tcb_info_signature.to_vec(),
                qe_identity_issuer_chain: case.tcb_chain.clone(),
                qe_identity: String::from_utf8(qe_identity.to_vec())?,
                qe_identity_signature: qe_identity_signature.to_vec(),
                pck_certificate_chain: None,
            },
        })
    }

    fn verify(&self) {
        let verified = self.verifier.verify(&self.quote, &self.collateral, NOW.as_secs());
        std::hint::black_box(verified.expect("dcap-qvl accepts the simulated quote"));
    }
}

/// What the TD measures.
const MEASUREMENT: [u8; 48] = [0x42; 48];

/// What the quote is over.
pub(crate) const REPORT_DATA: ReportData = ReportData([0x5d; 64]);

/// The policy that accepts it, up to the keys of its section.
const POLICY: &str = r#"
schema = 1
name = "bench"
version = 1
purpose = "evaluation"
freshness = { evidence = "cached", binding = "if-present" }
anchors = { tdx = ["root.der"] }
[tdx]
"#;
