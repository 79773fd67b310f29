//! What a response may say, and in which form.

use sim::certificate::Name;
use sim::der::{self, oid, tag};

use super::*;

const ECDSA_SHA384_OID: der::Oid = &[1, 2, 840, 10_045, 4, 3, 3];
const NONCE_OID: der::Oid = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];

/// A response in parts, each of them finished DER.
struct Parts {
    kind: Vec<u8>,
    responder: Vec<u8>,
    produced: Vec<u8>,
    answers: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    after: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        Self {
            kind: der::object(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 1]),
            responder: der::explicit(1, &Name::nvidia("responder").encode()),
            produced: time_of("20261123120000Z"),
            answers: vec![Says::good().encode()],
            extensions: Vec::new(),
            algorithm: der::sequence(&[&der::object(ECDSA_SHA384_OID)]),
            signature: der::bit_string(&[7; 96]),
            certificates: Vec::new(),
            after: Vec::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let answers = der::sequence(&[&self.answers.concat()]);
        let list = |items: &[Vec<u8>]| der::sequence(&[&items.concat()]);
        let some = |number, items: &[Vec<u8>]| {
            if items.is_empty() { Vec::new() } else { der::explicit(number, &list(items)) }
        };
        let extensions = some(1, &self.extensions);
        let tbs = der::sequence(&[&self.responder, &self.produced, &answers, &extensions]);
        let certificates = some(0, &self.certificates);
        let basic = der::sequence(&[&tbs, &self.algorithm, &self.signature, &certificates]);
        let bytes = der::sequence(&[&self.kind, &der::octet_string(&basic)]);
        let status = der::tlv(tag::ENUMERATED, &[0]);
        let mut whole = der::sequence(&[&status, &der::explicit(0, &bytes)]);
        whole.extend_from_slice(&self.after);
        whole
    }
}

/// What one answer says, likewise.
struct Says {
    hash: Vec<u8>,
    status: Vec<u8>,
    this_update: Vec<u8>,
    rest: Vec<u8>,
}

impl Says {
    fn good() -> Self {
        Self {
            hash: [der::object(oid::SHA384), der::null()].concat(),
            status: der::tlv(0x80, &[]),
            this_update: time_of("20261123110000Z"),
            rest: der::explicit(0, &time_of("20261124110000Z")),
        }
    }

    fn of_status(status: Vec<u8>) -> Vec<u8> {
        Self { status, ..Self::good() }.encode()
    }

    fn revoked(fields: &[u8]) -> Vec<u8> {
        Self::of_status(der::explicit(1, fields))
    }

    fn encode(&self) -> Vec<u8> {
        let (name, key) = (der::octet_string(&[1; 48]), der::octet_string(&[2; 48]));
        let hash = der::sequence(&[&self.hash]);
        let id = der::sequence(&[&hash, &name, &key, &der::integer(5)]);
        der::sequence(&[&id, &self.status, &self.this_update, &self.rest])
    }
}

fn time_of(text: &str) -> Vec<u8> {
    der::tlv(tag::GENERALIZED_TIME, text.as_bytes())
}

fn extension(id: der::Oid, flag: &[u8], value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object(id), flag, &der::octet_string(value)])
}

fn reason(of: u8) -> Vec<u8> {
    [time_of("20261101000000Z"), der::explicit(0, &der::tlv(tag::ENUMERATED, &[of]))].concat()
}

/// A certificate of RSA-4096.
fn of_rsa() -> Vec<u8> {
    crate::anchors::intermediates()[0].der.to_vec()
}

fn parse(der: &[u8]) -> Option<Response<'_>> {
    Response::parse(der, Sha256::of(der), &[]).ok()
}

type Change<'a> = (&'a str, &'a dyn Fn(&mut Parts));

#[test]
fn what_may_be_written_is_read() {
    let nonce = || extension(NONCE_OID, &[], &der::octet_string(&[9; 32]));
    let cases: [Change<'_>; 8] = [
        ("nothing changed", &|_| {}),
        ("as many answers as may be", &|p| p.answers = vec![Says::good().encode(); 16]),
        ("as many certificates as may be", &|p| p.certificates = vec![of_rsa(); 4]),
        ("a nonce", &|p| p.extensions = vec![nonce()]),
        ("a nonce that is critical", &|p| {
            let value = der::octet_string(&[9; 32]);
            p.extensions = vec![extension(NONCE_OID, &der::boolean(true), &value)];
        }),
        ("an unknown extension", &|p| p.extensions = vec![extension(&[1, 2, 3], &[], &[1])]),
        ("one that is said not to be critical", &|p| {
            p.extensions = vec![extension(&[1, 2, 3], &der::boolean(false), &[1])];
        }),
        ("an answer with an extension", &|p| {
            let list = der::sequence(&[&extension(&[1, 2, 3], &[], &[1])]);
            p.answers = vec![Says { rest: der::explicit(1, &list), ..Says::good() }.encode()];
        }),
    ];
    for (what, change) in cases {
        let mut parts = Parts::new();
        change(&mut parts);
        let der = parts.encode();
        let response = parse(&der).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(response.answers.len(), parts.answers.len(), "{what}");
        assert_eq!(response.certificates.len(), parts.certificates.len(), "{what}");
        let expected = what.starts_with("a nonce").then_some(&[9; 32][..]);
        assert_eq!(response.nonce, expected, "{what}");
        assert_eq!(response.produced.to_string(), "2026-11-23T12:00:00Z");
    }
}

#[test]
fn what_is_not_exact_is_refused() {
    let critical = || extension(&[1, 2, 3], &der::boolean(true), &[1]);
    let nonce = || extension(NONCE_OID, &[], &der::octet_string(&[9; 32]));
    let rest = |rest: Vec<u8>| Says { rest, ..Says::good() }.encode();
    let cases: [Change<'_>; 24] = [
        ("something after it", &|p| p.after = der::null()),
        ("another kind", &|p| p.kind = der::object(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 3])),
        ("another algorithm", &|p| p.algorithm = der::sequence(&[&der::object(oid::SHA384)])),
        ("bits to spare", &|p| p.signature = der::tlv(tag::BIT_STRING, &[1, 6])),
        ("a responder of two names", &|p| {
            let name = Name::nvidia("responder").encode();
            p.responder = der::explicit(1, &name.repeat(2));
        }),
        ("no responder", &|p| p.responder = Vec::new()),
        ("a moment that is none", &|p| p.produced = time_of("20261123126000Z")),
        ("too many answers", &|p| p.answers = vec![Says::good().encode(); 17]),
        ("an answer that is none", &|p| p.answers.push(der::null())),
        ("too many certificates", &|p| p.certificates = vec![of_rsa(); 5]),
        ("a certificate that is none", &|p| p.certificates = vec![der::sequence(&[])]),
        ("a critical extension", &|p| p.extensions = vec![critical()]),
        ("two nonces", &|p| p.extensions = vec![nonce(), nonce()]),
        ("a nonce that is no octets", &|p| {
            p.extensions = vec![extension(NONCE_OID, &[], &der::null())];
        }),
        ("good, and more", &|p| p.answers = vec![Says::of_status(der::tlv(0x80, &[1]))]),
        ("not known, and more", &|p| p.answers = vec![Says::of_status(der::tlv(0x82, &[1]))]),
        ("none of the three", &|p| p.answers = vec![Says::of_status(der::tlv(0x83, &[]))]),
        ("revoked at no time", &|p| p.answers = vec![Says::revoked(&time_of("20261301000000Z"))]),
        ("revoked for something else", &|p| {
            p.answers = vec![Says::revoked(&[reason(1), der::null()].concat())];
        }),
        ("an answer from no time", &|p| {
            let this_update = time_of("2026112311000Z");
            p.answers = vec![Says { this_update, ..Says::good() }.encode()];
        }),
        ("an answer to no time", &|p| {
            p.answers = vec![rest(der::explicit(0, &time_of("20261124240000Z")))];
        }),
        ("an answer, and more", &|p| p.answers = vec![rest(der::null())]),
        ("an answer with a condition", &|p| {
            p.answers = vec![rest(der::explicit(1, &der::sequence(&[&critical()])))];
        }),
        ("a hash with parameters", &|p| {
            let hash = [der::object(oid::SHA384), der::integer(1)].concat();
            p.answers = vec![Says { hash, ..Says::good() }.encode()];
        }),
    ];
    for (what, change) in cases {
        let mut parts = Parts::new();
        assert!(parse(&parts.encode()).is_some());
        change(&mut parts);
        assert!(parse(&parts.encode()).is_none(), "{what}");
    }
}

#[test]
fn a_status_is_what_it_is() {
    for (answer, expected) in [
        (Says::of_status(der::tlv(0x80, &[])), Status::Good),
        (Says::of_status(der::tlv(0x82, &[])), Status::Unknown),
        (Says::revoked(&time_of("20261101000000Z")), Status::Revoked),
        (Says::revoked(&reason(1)), Status::Revoked),
        (Says::revoked(&reason(6)), Status::Held),
    ] {
        let der = Parts { answers: vec![answer], ..Parts::new() }.encode();
        let response = parse(&der).unwrap();
        assert_eq!(response.answers[0].status, expected);
        let next = response.answers[0].next_update.map(|next| next.to_string());
        assert_eq!(next.as_deref(), Some("2026-11-24T11:00:00Z"));
    }
}

#[test]
fn a_moment_has_one_form() {
    for bad in [
        "2026112312000Z",
        "202611231200000Z",
        "20261123120000",
        "20261123120000z",
        "20261123+2+0+0Z",
        "+0261123120000Z",
        "20261123120000.5Z",
        "20260230120000Z",
        "20261123235960Z",
    ] {
        assert_eq!(time(bad.as_bytes()), None, "{bad}");
    }
    let last = time(b"20261231235959Z").map(|time| time.to_string());
    assert_eq!(last.as_deref(), Some("2026-12-31T23:59:59Z"));
}

#[test]
fn another_kind_of_key_answers_nothing() {
    let der = of_rsa();
    let certificate = Certificate::parse(&der).unwrap();
    let by_key = der::explicit(2, &der::octet_string(&[0; 20]));
    let der = Parts { responder: by_key, ..Parts::new() }.encode();
    let response = parse(&der).unwrap();
    assert!(!response.names(&certificate) && !response.is_signed_by(certificate.key()));
    assert!(Issuer::of(&certificate).is_none());
    let by_name = der::explicit(1, certificate.subject_der());
    let der = Parts { responder: by_name, ..Parts::new() }.encode();
    assert!(parse(&der).unwrap().names(&certificate));
}

#[test]
fn an_answer_is_about_one_certificate() {
    use sim::nvidia::{EcCertificate, NvidiaPki, Signer};
    let pki = NvidiaPki::shared().unwrap();
    let device = sim::nvidia::DeviceRecipe::hopper(&pki, 0).unwrap();
    let [chip, issuer] = [1, 2].map(|place| {
        let recipe: &EcCertificate = &device.chain[place];
        recipe.sign(device.signer([Signer::Provisioner, Signer::Identity][place - 1])).unwrap()
    });
    let [chip, issuer] = [&chip, &issuer].map(|der| Certificate::parse(der).unwrap());
    let [own, other] = [&chip, &issuer].map(|it| {
        let Key::P384(point) = it.key() else { panic!("of NVIDIA") };
        let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, point);
        let by_key = der::explicit(2, &der::octet_string(hash.as_ref()));
        let der = Parts { responder: by_key, ..Parts::new() }.encode();
        parse(&der).unwrap().names(&chip)
    });
    assert!(own && !other, "named by its key, and by another's");
    let issuer = Issuer::of(&issuer).unwrap();
    let [name, key] = issuer.sha384();
    let serial = chip.serial();
    for (what, hash, name, key, serial, expected) in [
        ("this one", Hash::Sha384, name, key, serial, true),
        ("by another hash", Hash::Sha256, name, key, serial, false),
        ("by no known hash", Hash::Other, name, key, serial, false),
        ("another name's", Hash::Sha384, key, key, serial, false),
        ("another key's", Hash::Sha384, name, name, serial, false),
        ("another number", Hash::Sha384, name, key, &[5], false),
    ] {
        let id = CertificateId { hash, issuer_name: name, issuer_key: key, serial };
        let this_update = UnixTime::from_secs(0);
        let answer = Answer { id, status: Status::Good, this_update, next_update: None };
        assert_eq!(answer.is_about(&chip, &issuer), expected, "{what}");
    }
}
