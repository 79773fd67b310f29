//! A mebibyte of malice: what strangers may send where evidence and endorsements are expected, in the shapes that cost a
//! careless reader most. The test `parsers` bounds the memory that each takes, `make bench` prints the time of the worst.

use attestation::endorsements::ITEMS_MAX;
use attestation::{Challenge, Endorsements, Evidence, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sim::der;
use sim::nvidia::{DeviceRecipe, NvidiaPki, OcspRecipe};
use verifier::{AttestationResult, ChainCache, Expectation, Policy, Refused, appraise_with};

use crate::parsers::{devices, world};

mod td;

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
    /// Beside the evidence, where an event log is expected.
    pub event_log: Option<Vec<u8>>,
    /// What the verifier is for.
    of: Platform,
}

#[derive(Clone, Copy, Debug)]
enum Platform {
    Snp,
    Tdx,
    Devices,
}

impl Hostile {
    /// Everything that a verifier does with it: the reading of both, and an appraisal with nothing remembered.
    pub fn judge(&self) -> Option<Result<AttestationResult, Refused>> {
        let mut given = Endorsements::new();
        if !self.endorsements.is_empty() {
            given.add(&self.endorsements).ok()?;
        }
        let mut evidence = Evidence::from_wire(self.evidence.clone());
        if let Some(log) = &self.event_log {
            evidence = evidence.with_event_log(log.clone());
        }
        let evidence = Unverified::new(evidence);
        let (policy, now, expectation): (&Policy, _, _) = match self.of {
            Platform::Snp => {
                (&world().policy, world().now, Expectation::challenged(Challenge([0; 32])))
            }
            Platform::Tdx => (&td::world().policy, td::NOW, Expectation::cached()),
            Platform::Devices => (&devices::world().policy, devices::NOW, Expectation::cached()),
        };
        let given = Unverified::new(given);
        Some(appraise_with(&ChainCache::new(0), policy, &evidence, &given, &expectation, now))
    }
}

/// All of it. None is longer than [`LEN`], and all but the shortest forms are about that long.
pub fn inputs() -> Vec<Hostile> {
    let mut all: Vec<_> = evidence().into_iter().map(of_evidence).collect();
    all.extend(endorsements().into_iter().map(beside_a_report));
    all.extend(of_devices());
    all.extend(td::inputs());
    all
}

/// Devices, and what is said of them.
fn of_devices() -> Vec<Hostile> {
    let genuine = &devices::world().evidence;
    let device = genuine.trim_ascii_start().strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
    let device = device.expect("a list of one");
    // A genuine device as often as it fits, and the same without its chain.
    let many = |device: &[u8]| {
        let count = LEN.saturating_sub(2).checked_div(device.len().saturating_add(1)).unwrap_or(0);
        let list = vec![device; count.min(attestation::gpu::DEVICES_MAX)].join(&b',');
        [b"[".as_slice(), &list, b"]"].concat()
    };
    let alone = {
        let mut value: serde_json::Value = serde_json::from_slice(device).expect("JSON");
        value["certificate"] = "".into();
        value.to_string().into_bytes()
    };
    let answers: String =
        forged_answers(64).iter().map(|der| block("OCSP RESPONSE", der)).collect();
    let leaves: String =
        other_signing_keys(64).iter().map(|der| block("CERTIFICATE", der)).collect();
    vec![
        Hostile {
            name: "a device and many forged answers",
            evidence: genuine.clone(),
            endorsements: answers.clone().into_bytes(),
            event_log: None,
            of: Platform::Devices,
        },
        Hostile {
            name: "a device many times and many forged answers",
            evidence: many(device),
            endorsements: answers.into_bytes(),
            event_log: None,
            of: Platform::Devices,
        },
        Hostile {
            name: "many reports and many keys that did not sign them",
            evidence: many(&alone),
            endorsements: leaves.into_bytes(),
            event_log: None,
            of: Platform::Devices,
        },
    ]
}

/// What a stranger makes of the answers: as many as a verifier reads, each with as many statements about the chip as fit,
/// in the name of one who may answer, and signed by nobody.
fn forged_answers(count: u64) -> Vec<Vec<u8>> {
    let pki = NvidiaPki::shared().expect("the test PKI is made");
    let gpu = DeviceRecipe::hopper(&pki, 0).expect("a device is made");
    let forged = |number| {
        let mut recipe = OcspRecipe::about(&gpu, 1, devices::NOW);
        recipe.produced = devices::NOW.saturating_sub(core::time::Duration::from_secs(number));
        recipe.answers = vec![recipe.answers[0].clone(); 16];
        recipe.is_forged = true;
        recipe.sign(&gpu).expect("it is signed")
    };
    (0..count).map(forged).collect()
}

/// Certificates of signing keys, none of which is the device's.
fn other_signing_keys(count: u64) -> Vec<Vec<u8>> {
    let pki = NvidiaPki::shared().expect("the test PKI is made");
    let other = DeviceRecipe::hopper(&pki, 1).expect("a device is made");
    let numbered = |number: u64| {
        let mut leaf = other.chain[0].clone();
        leaf.serial = [&[0x53; 12], number.to_be_bytes().as_slice()].concat();
        leaf.sign(&other.chip_key).expect("it is signed")
    };
    (0..count).map(numbered).collect()
}

fn of_evidence((name, evidence): (&'static str, Vec<u8>)) -> Hostile {
    Hostile { name, evidence, endorsements: Vec::new(), event_log: None, of: Platform::Snp }
}

/// Endorsements are looked at where there is a report to authenticate.
fn beside_a_report((name, endorsements): (&'static str, Vec<u8>)) -> Hostile {
    let evidence = world().bundle.cpu0.bytes.clone();
    Hostile { name, evidence, endorsements, event_log: None, of: Platform::Snp }
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
    let [certificates, lists] = [pool.certificates(), pool.crls()];
    let (vek, authorities) = certificates.split_first().expect("a signing key's certificate");
    let crl = lists.first().expect("a revocation list");
    let authorities: String = authorities.iter().map(|der| block("CERTIFICATE", der)).collect();
    // Each differs from the others, so that none counts as given before.
    let spoilt = |label: &str, der: &[u8], count: usize| {
        let spoil = |n: usize| {
            let mut der = der.to_vec();
            let end = der.len().saturating_sub(1).saturating_sub(n);
            der[end] ^= 0xff;
            block(label, &der)
        };
        (0..count).map(spoil).collect::<String>()
    };
    let keys = spoilt("CERTIFICATE", vek, ITEMS_MAX.saturating_sub(certificates.len()));
    let revoked = spoilt("X509 CRL", crl, ITEMS_MAX);
    let at = der::time(world().now);
    let entry = der::sequence(&[&der::integer(5), &at]);
    let many = (1..=32).map(|number| {
        let id = der::object(&[1, 2, number]);
        der::sequence(&[&id, &der::octet_string(&[])])
    });
    let many = der::sequence(&[&many.collect::<Vec<_>>().concat()]);
    let wide = der::sequence(&[&der::integer(5), &at, &many]);
    let nested = (0..20_000).fold(der::null(), |inner, _| der::sequence(&[&inner]));
    vec![
        ("beginnings", fill("", "-----BEGIN CERTIFICATE-----\n", "")),
        ("empty blocks", fill("", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "")),
        (
            "a long block",
            fill("-----BEGIN CERTIFICATE-----\n", "AAAA", "\n-----END CERTIFICATE-----\n"),
        ),
        ("a long label", fill("-----BEGIN ", "A", "-----\n")),
        ("certificates of one key that nobody signed", keys.clone().into_bytes()),
        (
            "certificates of one key and lists, neither of which anybody signed",
            [keys, authorities, revoked].concat().into_bytes(),
        ),
        ("a list of many entries", list(&entry.repeat(times(&entry)))),
        ("entries of many extensions each", list(&wide.repeat(times(&wide)))),
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
