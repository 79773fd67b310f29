//! A mebibyte of malice: what strangers may send where evidence and endorsements are expected, in the shapes that cost a
//! careless reader most. The test `parsers` bounds the memory that each takes, `make bench` prints the time.

use attestation::{Challenge, Endorsements, Evidence, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sim::der;
use verifier::{AttestationResult, ChainCache, Expectation, Policy, Refused, appraise_with};

use crate::parsers::world;

/// How much a stranger sends.
pub const LEN: usize = 1 << 20;

/// One thing that a stranger sends.
#[derive(Debug)]
pub struct Hostile {
    /// What is bad about it.
    pub name: &'static str,
    /// Where evidence is expected.
    pub evidence: Vec<u8>,
    /// Where endorsements are expected.
    pub endorsements: Vec<u8>,
}

impl Hostile {
    /// Everything that a verifier does with it: the reading of both, and an appraisal with nothing remembered.
    pub fn judge(&self) -> Option<Result<AttestationResult, Refused>> {
        let mut given = Endorsements::new();
        if !self.endorsements.is_empty() {
            given.add(&self.endorsements).ok()?;
        }
        let evidence = Unverified::new(Evidence::from_wire(self.evidence.clone()));
        let expectation = Expectation::challenged(Challenge([0; 32]));
        let (policy, now): (&Policy, _) = (&world().policy, world().now);
        let given = Unverified::new(given);
        Some(appraise_with(&ChainCache::new(0), policy, &evidence, &given, &expectation, now))
    }
}

/// All of it. None is longer than [`LEN`], and all but the shortest forms are about that long.
pub fn inputs() -> Vec<Hostile> {
    let mut all: Vec<_> = evidence().into_iter().map(of_evidence).collect();
    all.extend(endorsements().into_iter().map(beside_a_report));
    all
}

fn of_evidence((name, evidence): (&'static str, Vec<u8>)) -> Hostile {
    Hostile { name, evidence, endorsements: Vec::new() }
}

/// Endorsements are looked at where there is a report to authenticate.
fn beside_a_report((name, endorsements): (&'static str, Vec<u8>)) -> Hostile {
    Hostile { name, evidence: world().bundle.cpu0.bytes.clone(), endorsements }
}

fn evidence() -> Vec<(&'static str, Vec<u8>)> {
    let quote = [4_u8, 0, 2, 0, 0x81, 0, 0, 0];
    let bundle = String::from_utf8(world().bundle.encode()).expect("a bundle is JSON");
    let long = |label: &str, filling: &str| {
        let at = bundle.find(label).expect("the label").saturating_add(label.len());
        let (head, tail) = bundle.split_at(at);
        let room = LEN.saturating_sub(bundle.len());
        [head, &filling.repeat(room.checked_div(filling.len()).unwrap_or(0)), tail].concat().into()
    };
    vec![
        ("zeros", vec![0; LEN]),
        ("ones", vec![0xff; LEN]),
        ("white space", vec![b' '; LEN]),
        ("hex", vec![b'0'; LEN]),
        ("base64", vec![b'A'; LEN]),
        ("base64 in lines", fill("", "AAAAAAAAAAAA\n", "")),
        ("lists in lists", vec![b'['; LEN]),
        ("objects in objects", fill("", "{\"a\":", "")),
        ("an object of many members", fill("{", "\"a\":1,", "\"a\":1}")),
        ("a list of many objects", fill("[", "{},", "{}]")),
        ("a long key", fill("{\"", "a", "\":1}")),
        ("a long key of escapes", fill("{\"", "\\u0041", "\":1}")),
        ("a long number", fill("{\"a\":", "1", "}")),
        ("a bundle with a long statement", long("vnd.veritee.statement\",\"", "AAAA")),
        ("a bundle with a long configuration", long("veritee.config+toml\",\"", "AAAA")),
        ("a bundle with a long report", long("veritee.sev-snp-report\",\"", "AAAA")),
        ("a bundle with long endorsements", long("application/x-pem-file\",\"", "LS0tLS1CRUdJTiA")),
        ("a bundle with white space", long("\"application/x-pem-file\",", "    ")),
        (
            "many devices",
            fill(
                "[",
                "{\"arch\":\"HOPPER\",\"evidence\":\"AA==\",\"certificate\":\"AA==\",\"nonce\":\"00\"},",
                "{\"arch\":\"HOPPER\"}]",
            ),
        ),
        ("a long device", fill("[{\"arch\":\"HOPPER\",\"evidence\":\"", "AAAA", "\"}]")),
        ("a quote and zeros", padded(&quote, 0)),
        ("a quote and ones", padded(&quote, 0xff)),
        ("an HCL report and zeros", padded(b"HCLA", 0)),
        ("an HCL report and text", padded(b"HCLA", b'{')),
    ]
}

fn endorsements() -> Vec<(&'static str, Vec<u8>)> {
    let mut pool = Endorsements::new();
    pool.add(&world().given).expect("the platform's own");
    let certificates = pool.certificates();
    let vek = certificates.first().expect("a signing key's certificate");
    // Each differs from the others, so that none counts as given before.
    let spoilt = |count: usize| {
        let spoil = |n: usize| {
            let mut der = vek.clone();
            let end = der.len().saturating_sub(1).saturating_sub(n);
            der[end] ^= 0xff;
            block("CERTIFICATE", &der)
        };
        (0..count).map(spoil).collect::<String>().into_bytes()
    };
    let at = der::time(world().now);
    let entry = der::sequence(&[&der::integer(5), &at]);
    let nested = (0..20_000).fold(der::null(), |inner, _| der::sequence(&[&inner]));
    vec![
        ("beginnings", fill("", "-----BEGIN CERTIFICATE-----\n", "")),
        ("empty blocks", fill("", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "")),
        (
            "a long block",
            fill("-----BEGIN CERTIFICATE-----\n", "AAAA", "\n-----END CERTIFICATE-----\n"),
        ),
        ("a long label", fill("-----BEGIN ", "A", "-----\n")),
        ("certificates of one key that nobody signed", spoilt(150)),
        ("a list of many entries", list(&entry.repeat(times(&entry)))),
        ("an entry of many extensions", list(&der::sequence(&[&der::integer(5), &at, &nested]))),
        ("sequences in sequences", list(&nested)),
        ("a certificate of many names", certificate(&set_of_names())),
        ("a certificate of one long name", certificate(&der::tlv(0x31, &vec![0x30; LEN - 2048]))),
    ]
}

/// `middle` as often as there is room for it.
fn fill(head: &str, middle: &str, tail: &str) -> Vec<u8> {
    let room = LEN.saturating_sub(head.len()).saturating_sub(tail.len());
    let middle = middle.repeat(room.checked_div(middle.len()).unwrap_or(0));
    [head, &middle, tail].concat().into_bytes()
}

fn padded(head: &[u8], with: u8) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.resize(LEN, with);
    bytes
}

fn block(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// A revocation list with these entries, which nobody signed.
fn list(entries: &[u8]) -> Vec<u8> {
    let at = der::time(world().now);
    let algorithm = der::sequence(&[&der::object(&[1, 2, 840, 113_549, 1, 1, 10])]);
    let issuer = sim::certificate::Name::amd("ARK-Genoa").encode();
    let fields = [&der::integer(1), &algorithm, &issuer, &at, &at, &der::sequence(&[entries])];
    let tbs = der::sequence(&fields.map(Vec::as_slice));
    der::sequence(&[&tbs, &algorithm, &der::bit_string(&[0; 512])])
}

/// A certificate with this issuer, and nothing after it that is one.
fn certificate(issuer: &[u8]) -> Vec<u8> {
    let algorithm = der::sequence(&[&der::object(&[1, 2, 840, 113_549, 1, 1, 10])]);
    let version = der::explicit(0, &der::integer(2));
    let tbs = der::sequence(&[&version, &der::integer(1), &algorithm, &der::sequence(&[issuer])]);
    der::sequence(&[&tbs, &algorithm, &der::bit_string(&[0; 512])])
}

/// How often something fits, with room for what is around it.
fn times(what: &[u8]) -> usize {
    LEN.saturating_sub(1024).checked_div(what.len()).unwrap_or(0)
}

fn set_of_names() -> Vec<u8> {
    let value = der::sequence(&[&der::object(&[2, 5, 4, 3]), &der::tlv(0x0c, b"a")]);
    let name = der::set(&value);
    name.repeat(times(&name))
}
