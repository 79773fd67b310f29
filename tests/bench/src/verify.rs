//! What an appraisal costs, beside the signatures that it cannot do without.

use std::thread;

use attestation::snp::SnpReport;
use attestation::{Bundle, Endorsements, SealingKey, UnixTime, Unverified};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use verifier::{ChainCache, Expectation, appraise_with};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::evidence::{CHALLENGE, Enclave, NOW};
use crate::harness::{Bench, Clock, Contest, Failed, Figure, Outcome, number, repeat};

pub(crate) const NAMES: &[&str] =
    &["verify.snp.cold", "verify.snp.warm", "verify.parse", "verify.threads2"];

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let enclave = Enclave::new(&SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]))?;
    let needed = Needed::of(&enclave)?;
    if bench.wants("verify.snp.cold") {
        cold(bench, &enclave, &needed)?;
    }
    if bench.wants("verify.snp.warm") {
        warm(bench, &enclave, &needed);
    }
    if bench.wants("verify.parse") {
        parse(bench, &enclave);
    }
    if bench.wants("verify.threads2") {
        let chains = ChainCache::default();
        bench.print(&threads("verify.threads2", || judge(&enclave, &chains)));
    }
    Ok(())
}

fn cold(bench: &mut Bench, enclave: &Enclave, needed: &Needed) -> Outcome {
    let theirs = Theirs::of(enclave);
    if !theirs.verify() {
        return Err("crate sev refuses the simulated evidence".into());
    }
    let none = ChainCache::new(0);
    let contest = Contest::new("verify.snp.cold", Clock::Thread, repeat(|| judge(enclave, &none)))
        .peer(repeat(|| theirs.verify()))
        .floor(repeat(|| needed.all().for_each(Signature::verify)))
        .target("overfloor <= 1.15, ratio <= 0.2")
        .note("peer: crate sev, parse and verify the chain and the report, no revocation list");
    let contest = needed.all().fold(contest, |contest, signature| {
        let alone = Contest::new(signature.name, Clock::Thread, repeat(|| signature.verify()));
        let alone = alone.run().ours.median / 1000.0;
        contest.note(format!("floor: {}, {alone:.1} us", signature.name))
    });
    bench.compare(contest);
    Ok(())
}

fn warm(bench: &mut Bench, enclave: &Enclave, needed: &Needed) {
    let chains = ChainCache::default();
    judge(enclave, &chains);
    assert_eq!(chains.len(), 1, "the chain was kept");
    let contest =
        Contest::new("verify.snp.warm", Clock::Thread, repeat(|| judge(enclave, &chains)))
            .floor(repeat(|| needed.report.verify()))
            .target("overfloor <= 1.25");
    bench.compare(contest.note(format!("floor: {}", needed.report.name)));
}

/// One appraisal of all that an enclave sends.
pub(crate) fn judge(enclave: &Enclave, chains: &ChainCache) {
    judge_at(NOW, enclave, chains);
}

/// The same at another moment.
pub(crate) fn judge_at(now: UnixTime, enclave: &Enclave, chains: &ChainCache) {
    let none = Unverified::new(Endorsements::new());
    let expectation = Expectation::challenged(CHALLENGE);
    let (policy, evidence) = (&enclave.policy, &enclave.evidence);
    let result = appraise_with(chains, policy, evidence, &none, &expectation, now);
    std::hint::black_box(result.expect("the policy accepts the evidence"));
}

/// A signature of the evidence, ready to be verified.
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) algorithm: &'static dyn VerificationAlgorithm,
    pub(crate) key: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) octets: Vec<u8>,
}

impl Signature {
    pub(crate) fn verify(&self) {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        key.verify(&self.message, &self.octets).expect("the simulated platform signs");
    }
}

/// The signatures that stand between an anchor and a report.
pub(crate) struct Needed {
    chain: [Signature; 3],
    pub(crate) report: Signature,
}

impl Needed {
    pub(crate) fn of(enclave: &Enclave) -> Result<Self, Failed> {
        let (ark, ask) = (enclave.pki.ark(), enclave.pki.ask());
        let vek = &enclave.platform.vek.certificate;
        let crl = enclave.platform.endorsements.crls().first().ok_or("no revocation list")?;
        let (_, crl) = CertificateRevocationList::from_der(crl)?;
        let by = |name, issuer: &[u8], message: &[u8], signature: &[u8]| {
            Ok::<_, Failed>(Signature {
                name,
                algorithm: &RSA_PSS_2048_8192_SHA384,
                key: key(issuer)?,
                message: message.to_vec(),
                octets: signature.to_vec(),
            })
        };
        let certificate = |name, issuer: &[u8], der: &[u8]| {
            let (_, parsed) = X509Certificate::from_der(der)?;
            let signature = parsed.signature_value.data.to_vec();
            by(name, issuer, parsed.tbs_certificate.as_ref(), &signature)
        };
        let list = by(
            "the list under the ARK, RSA-4096",
            ark,
            crl.tbs_cert_list.as_ref(),
            &crl.signature_value.data,
        )?;
        let report = SnpReport::parse(&enclave.report)?;
        let (r, s, _) = report.signature();
        let big_endian = |number: &[u8]| number.iter().take(48).rev().copied().collect::<Vec<u8>>();
        let report = Signature {
            name: "the report under the VCEK, P-384",
            algorithm: &ECDSA_P384_SHA384_FIXED,
            key: key(vek)?,
            message: report.signed_bytes().to_vec(),
            octets: [big_endian(&r), big_endian(&s)].concat(),
        };
        let intermediate = certificate("the ASK under the ARK, RSA-4096", ark, ask)?;
        let vek = certificate("the VCEK under the ASK, RSA-4096", ask, vek)?;
        Ok(Self { chain: [intermediate, vek, list], report })
    }

    fn all(&self) -> impl Iterator<Item = &Signature> {
        self.chain.iter().chain([&self.report])
    }
}

/// The subject's key of a certificate.
pub(crate) fn key(der: &[u8]) -> Result<Vec<u8>, Failed> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    Ok(certificate.public_key().subject_public_key.data.to_vec())
}

/// What the crate `sev` is given: the same certificates and report, without a list.
struct Theirs {
    ark: Vec<u8>,
    ask: Vec<u8>,
    vek: Vec<u8>,
    report: Vec<u8>,
}

impl Theirs {
    fn of(enclave: &Enclave) -> Self {
        Self {
            ark: enclave.pki.ark().to_vec(),
            ask: enclave.pki.ask().to_vec(),
            vek: enclave.platform.vek.certificate.clone(),
            report: enclave.report.clone(),
        }
    }

    fn verify(&self) -> bool {
        let parse = |der: &Vec<u8>| Certificate::from_der(der).ok();
        let (Some(ark), Some(ask), Some(vek)) =
            (parse(&self.ark), parse(&self.ask), parse(&self.vek))
        else {
            return false;
        };
        let chain = Chain { ca: ca::Chain { ark, ask }, vek };
        AttestationReport::from_bytes(&self.report)
            .is_ok_and(|report| (&chain, &report).verify().is_ok())
    }
}

/// A bundle and, by itself, the report in it.
fn parse(bench: &mut Bench, enclave: &Enclave) {
    let wire = enclave.evidence.inspect_untrusted().as_wire();
    let bundle = || Bundle::parse(wire).expect("it is a bundle");
    let report = || SnpReport::parse(&enclave.report).expect("it is a report");
    let alone = Contest::new("report", Clock::Thread, repeat(report)).run().ours.median;
    let contest = Contest::new("verify.parse", Clock::Thread, repeat(|| (bundle(), report())));
    bench.compare(contest.note(format!(
        "a bundle of {} octets from JSON, and a raw report, which alone takes {alone:.0} ns",
        wire.len()
    )));
}

/// How much more two threads do than one.
pub(crate) fn threads(name: &str, judge: impl Fn() + Sync) -> Figure {
    const EACH: usize = 100;
    const ROUNDS: usize = 15;
    let work = || (0..EACH).for_each(|_| judge());
    work();
    let (mut gains, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let [(one, one_cpu), (two, two_cpu)] = [1_usize, 2].map(|count| {
            let start = Clock::Process.now();
            let wall = Clock::Wall.time(|| {
                thread::scope(|scope| (0..count).for_each(|_| drop(scope.spawn(work))));
            });
            let cpu = Clock::Process.now().saturating_sub(start);
            (number(count) / wall.as_secs_f64(), cpu.as_secs_f64() / number(count))
        });
        gains.push(two / one);
        costs.push(two_cpu / one_cpu);
    }
    let mut figure = Figure::alone(name, "x", gains);
    let costs = Figure::alone("", "x", costs).ours.median;
    figure.notes.push("target: at least 1.8, on two processors that do nothing else".to_owned());
    figure.notes.push(format!(
        "throughput of two threads over one's, by the wall; an appraisal costs {costs:.2} times the processor time"
    ));
    figure
}
