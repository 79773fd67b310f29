//! Intel's signed documents: of several, the newest that passes (Intel PCS API v4).

use core::cell::{Cell, OnceCell};

use attestation::endorsements::Kind;
use attestation::tdx::{QeIdentity, TcbInfo};
use attestation::{Endorsements, Malformed, UnixTime};

use super::super::fails;
use super::super::validity::dates;
use super::chain::{ATTEMPTS_MAX, is_end_entity, issued};
use crate::anchors::Period;
use crate::anchors::intel::authorities;
use crate::crypto;
use crate::finding::{Code, Finding, Severity};
use crate::x509::{Certificate, Key};

/// The certificates that may have signed documents, each checked at most once.
pub(super) struct Signers<'a> {
    root: &'a Certificate<'a>,
    now: UnixTime,
    candidates: Vec<Signer<'a>>,
    /// Whether one of them was given: else all there is to try is the one that is built in.
    any_given: bool,
    /// How many signatures did not hold so far.
    wrong: Cell<usize>,
}

struct Signer<'a> {
    certificate: &'a Certificate<'a>,
    checked: OnceCell<(Vec<Finding>, UnixTime)>,
}

impl<'a> Signers<'a> {
    /// Those that are named as Intel names its signer, given ones first.
    pub(super) fn find(
        given: &'a [Certificate<'a>],
        root: &'a Certificate<'a>,
        now: UnixTime,
    ) -> Self {
        let is_new =
            |built_in: &&Certificate<'_>| !given.iter().any(|have| have.der == built_in.der);
        let is_named = |candidate: &&Certificate<'_>| candidate.subject_cn() == SIGNER_NAME;
        let all = given.iter().chain(authorities().iter().filter(is_new));
        let candidates = all
            .filter(is_named)
            .take(ATTEMPTS_MAX)
            .map(|certificate| Signer { certificate, checked: OnceCell::new() });
        Self {
            root,
            now,
            candidates: candidates.collect(),
            any_given: given.iter().any(|given| is_named(&given)),
            wrong: Cell::new(0),
        }
    }

    /// Of those whose key signed these bytes, the first that may; without one, the first. Anybody can write another
    /// certificate of the key.
    fn of(&self, body: &[u8], signature: &[u8; 64]) -> Option<&Signer<'a>> {
        let signs = |signer: &&Signer<'a>| match signer.certificate.key() {
            Key::P256(point) => self.try_once(|| crypto::p256(point, body, signature)),
            Key::Rsa4096(_) | Key::P384(_) | Key::Other => false,
        };
        let first = self.candidates.iter().find(signs)?;
        let of_key = |it: &&Signer<'a>| it.certificate.key() == first.certificate.key();
        let passes = |signer: &&Signer<'a>| !self.check(signer).0.iter().any(fails);
        Some(self.candidates.iter().filter(of_key).find(passes).unwrap_or(first))
    }

    /// Whether a signature holds by `verify`; after too many that did not, none does. Then no document has a signer.
    fn try_once(&self, verify: impl FnOnce() -> bool) -> bool {
        if self.wrong.get() >= WRONG_MAX {
            return false;
        }
        let holds = verify();
        if !holds {
            self.wrong.set(self.wrong.get().saturating_add(1));
        }
        holds
    }

    /// What is wrong with a signer, and when it ends. It must be issued by the root itself: whoever
    /// has some other certificate of Intel's, a PCK's say, signs nothing that counts.
    fn check<'b>(&self, signer: &'b Signer<'a>) -> &'b (Vec<Finding>, UnixTime) {
        signer.checked.get_or_init(|| {
            let mut own = Vec::new();
            let ends = dates(signer.certificate, "TCB signer", self.now, &mut own);
            issued(signer.certificate, self.root, "TCB signer", &mut own);
            if !is_end_entity(signer.certificate) {
                own.push(Finding::reject(
                    Code::CertificateProfile,
                    "the TCB signer is no end-entity certificate of version 3 with a key of P-256",
                ));
            }
            (own, ends)
        })
    }
}

/// A document that was signed, by whom, and until when it and its signer are good.
#[derive(Debug)]
pub(super) struct Document<'a, T> {
    pub(super) value: T,
    pub(super) signer: Option<&'a Certificate<'a>>,
    pub(super) ends: Option<UnixTime>,
}

/// What is asked of one kind of document.
pub(super) trait Kindred: Sized {
    const KIND: Kind;
    const NAME: &'static str;
    const SIGNATURE_INVALID: Code;
    const NOT_YET_VALID: Code;
    const EXPIRED: Code;

    fn parse(item: &[u8]) -> Result<Self, Malformed>;
    fn signed(item: &[u8]) -> Result<(&[u8], [u8; 64]), Malformed>;
    fn period(&self) -> Period;
    fn evaluation(&self) -> u32;
}

impl Kindred for TcbInfo {
    const KIND: Kind = Kind::TcbInfo;
    const NAME: &'static str = "TCB Info";
    const SIGNATURE_INVALID: Code = Code::TcbInfoSignatureInvalid;
    const NOT_YET_VALID: Code = Code::TcbInfoNotYetValid;
    const EXPIRED: Code = Code::TcbInfoExpired;

    fn parse(item: &[u8]) -> Result<Self, Malformed> {
        Self::parse(item)
    }

    fn signed(item: &[u8]) -> Result<(&[u8], [u8; 64]), Malformed> {
        Self::signed(item)
    }

    fn period(&self) -> Period {
        (self.issue_date, self.next_update)
    }

    fn evaluation(&self) -> u32 {
        self.evaluation
    }
}

impl Kindred for QeIdentity {
    const KIND: Kind = Kind::QeIdentity;
    const NAME: &'static str = "QE Identity";
    const SIGNATURE_INVALID: Code = Code::QeIdentitySignatureInvalid;
    const NOT_YET_VALID: Code = Code::QeIdentityNotYetValid;
    const EXPIRED: Code = Code::QeIdentityExpired;

    fn parse(item: &[u8]) -> Result<Self, Malformed> {
        Self::parse(item)
    }

    fn signed(item: &[u8]) -> Result<(&[u8], [u8; 64]), Malformed> {
        Self::signed(item)
    }

    fn period(&self) -> Period {
        (self.issue_date, self.next_update)
    }

    fn evaluation(&self) -> u32 {
        self.evaluation
    }
}

/// Parsed documents of one kind, each with the item that it was.
pub(super) type Parsed<'a, T> = Vec<(&'a [u8], T)>;

/// Parses the documents of one kind, each once, given ones first. What does not parse is returned
/// beside: an SGX document in an auditor's folder is no reason to refuse a TDX quote.
pub(super) fn parse<T: Kindred>(
    endorsements: [&Endorsements; 2],
) -> (Parsed<'_, T>, Vec<Malformed>) {
    let [given, carried] = endorsements.map(|from| from.items(T::KIND));
    let mut parsed = Vec::new();
    let mut malformed = Vec::new();
    for item in given.iter().chain(carried.iter().filter(|item| !given.contains(item))) {
        match T::parse(item) {
            Ok(value) => parsed.push((item.as_slice(), value)),
            Err(error) => malformed.push(error),
        }
    }
    (parsed, malformed)
}

/// Of the documents that fit, the one of the latest evaluation that passes; without one, the latest
/// of all, with what there is to say of it. A worthless one hides no good one, and an old one that
/// is still good hides no newer.
pub(super) fn choose<'a, T: Kindred>(
    mut fitting: Parsed<'_, T>,
    signers: &'a Signers<'a>,
    now: UnixTime,
    also: impl Fn(&T, &mut Vec<Finding>),
    findings: &mut Vec<Finding>,
) -> Option<Document<'a, T>> {
    fitting.sort_by_key(|(_, value)| core::cmp::Reverse((value.evaluation(), value.period().0)));
    let mut first = None;
    for (item, value) in fitting.into_iter().take(ATTEMPTS_MAX) {
        let mut own = Vec::new();
        also(&value, &mut own);
        let document = check(item, value, signers, now, &mut own);
        if !own.iter().any(fails) {
            if let Some((mut wrong, _)) = first {
                note(&mut wrong, findings);
            }
            findings.append(&mut own);
            return Some(document);
        }
        match &mut first {
            Some((wrong, _)) => note(&mut own, wrong),
            None => first = Some((own, document)),
        }
    }
    let (mut own, document) = first?;
    findings.append(&mut own);
    Some(document)
}

/// What was wrong with a document that another took the place of is for the record.
fn note(wrong: &mut Vec<Finding>, findings: &mut Vec<Finding>) {
    for finding in wrong.iter_mut() {
        finding.severity = Severity::Info;
    }
    findings.append(wrong);
}

fn check<'a, T: Kindred>(
    item: &[u8],
    value: T,
    signers: &'a Signers<'a>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Document<'a, T> {
    let (issued, next) = value.period();
    if now < issued {
        findings.push(
            Finding::reject(T::NOT_YET_VALID, format!("the {} is not yet valid", T::NAME))
                .expected(format!("not before {issued}"))
                .actual(now),
        );
    }
    if now > next {
        findings.push(
            Finding::reject(T::EXPIRED, format!("the {} expired on {next}", T::NAME))
                .expected(format!("not after {next}"))
                .actual(now),
        );
    }
    let parts = T::signed(item).ok();
    let Some(signer) = parts.and_then(|(body, signature)| signers.of(body, &signature)) else {
        let code = if signers.any_given { T::SIGNATURE_INVALID } else { Code::TcbSignerMissing };
        findings.push(Finding::reject(
            code,
            format!("no certificate of {SIGNER_NAME} that there is signed the {}", T::NAME),
        ));
        return Document { value, signer: None, ends: None };
    };
    let (own, ends) = signers.check(signer);
    findings.extend_from_slice(own);
    Document { value, signer: Some(signer.certificate), ends: Some(*ends) }
}

/// How many signatures may fail before no other is tried, whichever signers and documents there are.
const WRONG_MAX: usize = 32;
/// The common name of the certificate that signs documents.
const SIGNER_NAME: &str = "Intel SGX TCB Signing";
