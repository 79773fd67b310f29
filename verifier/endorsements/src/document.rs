//! What a service said of one item: raw parts, looked at for form and time.

use attestation::tdx::{QeIdentity, TcbInfo};
use attestation::{Endorsements, Malformed, UnixTime, endorsements};
use serde::{Deserialize, Serialize};

use crate::ocsp;
use crate::x509::{Certificate, Crl};

/// What a part is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An X.509 certificate, DER.
    Certificate,
    /// An X.509 certificate revocation list, DER.
    Crl,
    /// Intel's TCB Info, JSON with its signature, as it came.
    TcbInfo,
    /// Intel's QE identity, JSON with its signature, as it came.
    QeIdentity,
    /// An OCSP response, DER.
    OcspResponse,
    /// An NVIDIA reference integrity manifest, XML.
    Rim,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] = [
        Self::Certificate,
        Self::Crl,
        Self::TcbInfo,
        Self::QeIdentity,
        Self::OcspResponse,
        Self::Rim,
    ];

    /// The same kind in a pool; manifests are none of a pool's business.
    pub(crate) const fn in_pool(self) -> Option<endorsements::Kind> {
        match self {
            Self::Certificate => Some(endorsements::Kind::Certificate),
            Self::Crl => Some(endorsements::Kind::Crl),
            Self::TcbInfo => Some(endorsements::Kind::TcbInfo),
            Self::QeIdentity => Some(endorsements::Kind::QeIdentity),
            Self::OcspResponse => Some(endorsements::Kind::OcspResponse),
            Self::Rim => None,
        }
    }
}

/// A certificate, a list, …: one raw thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its octets.
    pub bytes: Vec<u8>,
}

impl Part {
    /// A part of `kind`.
    pub const fn new(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { kind, bytes }
    }
}

/// From when to when something may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Not before.
    pub begins: UnixTime,
    /// Not after; a manifest has no end.
    pub ends: Option<UnixTime>,
}

/// A document: its parts parse to their last octet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    parts: Vec<Part>,
    window: Window,
    edition: Option<Edition>,
}

/// How new a document is that is published again and again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Edition {
    /// The CRL number or the evaluation number, where there is one.
    pub(crate) number: Option<u64>,
    /// When it was issued.
    pub(crate) issued: UnixTime,
}

impl Document {
    /// Reads parts.
    ///
    /// # Errors
    /// No part at all, or one that does not parse.
    pub fn read(parts: Vec<Part>) -> Result<Self, Malformed> {
        let mut window: Option<Window> = None;
        let mut edition = None;
        for part in &parts {
            let (one, number) = look(part)?;
            let narrower = window.map_or(one, |all| all.and(one));
            window = Some(narrower);
            edition = edition.or(number);
        }
        let window = window.ok_or(Malformed::invalid("document", "is empty"))?;
        Ok(Self { parts, window, edition })
    }

    /// The parts, in the order in which they came.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// When all of the parts may be used.
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Its CRL number or evaluation number, where it has one.
    pub const fn number(&self) -> Option<u64> {
        match self.edition {
            Some(edition) => edition.number,
            None => None,
        }
    }

    /// Adds its parts to a pool, as far as pools have such.
    ///
    /// # Errors
    /// Too much for one pool.
    pub fn add_to(&self, pool: &mut Endorsements) -> Result<(), Malformed> {
        for Part { kind, bytes } in &self.parts {
            if let Some(kind) = kind.in_pool() {
                pool.add_item(kind, bytes)?;
            }
        }
        Ok(())
    }

    /// Octets of all parts.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Whether there is nothing in it, which never is.
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How new it is; certificates are not published again.
    pub(crate) const fn edition(&self) -> Option<Edition> {
        self.edition
    }

    /// The parts of one kind.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter(move |part| part.kind == kind).map(|part| part.bytes.as_slice())
    }

    /// The only part of this kind.
    pub(crate) fn only(&self, kind: Kind) -> Result<&[u8], Malformed> {
        let mut parts = self.of(kind);
        match (parts.next(), parts.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Malformed::invalid("document", "has other parts than it must have")),
        }
    }
}

impl Window {
    fn and(self, other: Self) -> Self {
        let ends = match (self.ends, other.ends) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { begins: self.begins.max(other.begins), ends }
    }

    /// Whether `now` is in it.
    pub fn has(self, now: UnixTime) -> bool {
        self.begins <= now && self.ends.is_none_or(|ends| now <= ends)
    }
}

fn closed(begins: UnixTime, ends: UnixTime) -> Window {
    Window { begins, ends: Some(ends) }
}

/// What Intel publishes again and again.
fn published(from: UnixTime, to: UnixTime, evaluation: u32) -> (Window, Option<Edition>) {
    (closed(from, to), Some(Edition { number: Some(evaluation.into()), issued: from }))
}

fn look(part: &Part) -> Result<(Window, Option<Edition>), Malformed> {
    match part.kind {
        Kind::Certificate => {
            let (begins, ends) = Certificate::parse(&part.bytes)?.window();
            Ok((closed(begins, ends), None))
        }
        Kind::Crl => {
            let crl = Crl::parse(&part.bytes)?;
            let (begins, ends) = crl.window()?;
            let edition = Edition { number: crl.number(), issued: begins };
            Ok((closed(begins, ends), Some(edition)))
        }
        Kind::TcbInfo => {
            let info = TcbInfo::parse(&part.bytes)?;
            Ok(published(info.issue_date, info.next_update, info.evaluation))
        }
        Kind::QeIdentity => {
            let identity = QeIdentity::parse(&part.bytes)?;
            Ok(published(identity.issue_date, identity.next_update, identity.evaluation))
        }
        Kind::OcspResponse => {
            let answer = ocsp::Answer::parse(&part.bytes)?;
            let edition = Edition { number: None, issued: answer.this_update };
            Ok((closed(answer.this_update, answer.next_update), Some(edition)))
        }
        Kind::Rim => {
            let text = core::str::from_utf8(&part.bytes)
                .map_err(|_| Malformed::invalid("manifest", "is not text"))?;
            if !text.trim_start().starts_with('<') {
                return Err(Malformed::invalid("manifest", "is not XML"));
            }
            Ok((Window { begins: UnixTime::from_secs(0), ends: None }, None))
        }
    }
}
