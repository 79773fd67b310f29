//! What vendors say of their hardware: raw items, each told by its content.
//!
//! | kind | PEM label | what an item is |
//! |---|---|---|
//! | [`Certificate`](Kind::Certificate) | `CERTIFICATE` | X.509, DER |
//! | [`Crl`](Kind::Crl) | `X509 CRL` | X.509 revocation list, DER |
//! | [`TcbInfo`](Kind::TcbInfo) | `INTEL TCB INFO` | `{"tcbInfo":{…},"signature":"…"}` as Intel's PCS sends it |
//! | [`QeIdentity`](Kind::QeIdentity) | `INTEL QE IDENTITY` | `{"enclaveIdentity":{…},"signature":"…"}`, likewise |
//! | [`OcspResponse`](Kind::OcspResponse) | `OCSP RESPONSE` | RFC 6960's answer about a certificate, DER |
//!
//! Nothing here is parsed further than to tell its kind, let alone believed. The SHA-256 of every
//! item is taken once, when it is added: whoever remembers what was verified looks it up by that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::armor;
use crate::bytes::Malformed;
use crate::digest::Sha256;

mod intel;

pub(crate) use intel::Signed;

/// Most items of one kind: four products' chains and lists are under twenty.
pub const ITEMS_MAX: usize = 64;
/// Longest single item: vendors' revocation lists and documents are a few kilobytes.
pub const ITEM_LEN_MAX: usize = 1 << 20;
/// Longest input to [`Endorsements::add`].
pub const INPUT_LEN_MAX: usize = 4 << 20;

/// Certificates, revocation lists and signed documents, not yet parsed, let alone believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endorsements {
    certificates: Items,
    crls: Items,
    tcb_infos: Items,
    qe_identities: Items,
    ocsp_responses: Items,
}

/// What kind of endorsement some bytes are.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Kind {
    /// An X.509 certificate, DER.
    Certificate,
    /// An X.509 certificate revocation list, DER.
    Crl,
    /// Intel's TCB Info with its signature, exactly as signed.
    TcbInfo,
    /// Intel's identity of a quoting enclave with its signature, exactly as signed.
    QeIdentity,
    /// An OCSP response (RFC 6960), DER.
    OcspResponse,
}

impl Kind {
    /// Every kind, in the order in which they are written.
    pub const ALL: [Self; 5] =
        [Self::Certificate, Self::Crl, Self::TcbInfo, Self::QeIdentity, Self::OcspResponse];

    /// The label of its PEM block.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::Crl => "X509 CRL",
            Self::TcbInfo => "INTEL TCB INFO",
            Self::QeIdentity => "INTEL QE IDENTITY",
            Self::OcspResponse => "OCSP RESPONSE",
        }
    }

    /// Tells the kind of one item: of DER by its first elements, of JSON by its form.
    fn of(item: &[u8]) -> Option<Self> {
        match item.first()? {
            &SEQUENCE => der_kind(item),
            b'{' => intel::kind(item),
            _ => None,
        }
    }
}

/// Items of one kind in the order in which they were added, each with its digest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Items {
    bytes: Vec<Vec<u8>>,
    digests: Vec<Sha256>,
}

impl Items {
    const fn new() -> Self {
        Self { bytes: Vec::new(), digests: Vec::new() }
    }

    fn add<T: AsRef<[u8]> + Into<Vec<u8>>>(
        &mut self,
        item: T,
        digest: Sha256,
    ) -> Result<(), Malformed> {
        if self.digests.contains(&digest) {
            return Ok(());
        }
        if item.as_ref().len() > ITEM_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: ITEM_LEN_MAX });
        }
        if self.bytes.len() >= ITEMS_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: ITEMS_MAX });
        }
        self.bytes.push(item.into());
        self.digests.push(digest);
        Ok(())
    }
}

impl Endorsements {
    /// No endorsements.
    pub const fn new() -> Self {
        Self {
            certificates: Items::new(),
            crls: Items::new(),
            tcb_infos: Items::new(),
            qe_identities: Items::new(),
            ocsp_responses: Items::new(),
        }
    }

    /// The items of one kind, in the order in which they were added.
    pub fn items(&self, kind: Kind) -> &[Vec<u8>] {
        &self.of_kind(kind).bytes
    }

    /// The SHA-256 of each of [`items`](Self::items), in their order.
    pub fn digests(&self, kind: Kind) -> &[Sha256] {
        &self.of_kind(kind).digests
    }

    /// X.509 certificates, DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        self.items(Kind::Certificate)
    }

    /// OCSP responses, DER.
    pub fn ocsp_responses(&self) -> &[Vec<u8>] {
        self.items(Kind::OcspResponse)
    }

    /// X.509 certificate revocation lists, DER.
    pub fn crls(&self) -> &[Vec<u8>] {
        self.items(Kind::Crl)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.items(*kind).is_empty())
    }

    /// Adds an item of a known kind; the same one twice counts once.
    ///
    /// # Errors
    /// Too many items, or one too long.
    pub fn add_item(&mut self, kind: Kind, item: &[u8]) -> Result<(), Malformed> {
        self.of_kind_mut(kind).add(item, Sha256::of(item))
    }

    /// Adds a certificate in DER; the same one twice counts once.
    ///
    /// # Errors
    /// Too many items, or one too long.
    pub fn add_certificate(&mut self, der: &[u8]) -> Result<(), Malformed> {
        self.add_item(Kind::Certificate, der)
    }

    /// Adds a revocation list in DER; the same one twice counts once.
    ///
    /// # Errors
    /// Too many items, or one too long.
    pub fn add_crl(&mut self, der: &[u8]) -> Result<(), Malformed> {
        self.add_item(Kind::Crl, der)
    }

    /// Adds what `bytes` hold: PEM of any number of items, one certificate, list or response in DER (or in
    /// hex of it), one answer of Intel's PCS, or Intel collateral in the JSON form of public tools.
    ///
    /// # Errors
    /// None of these, or too much of it.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.len() > INPUT_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: INPUT_LEN_MAX });
        }
        if bytes.first() == Some(&SEQUENCE)
            && let Some(kind) = der_kind(bytes)
        {
            return self.add_item(kind, bytes);
        }
        let text = core::str::from_utf8(bytes)
            .map_err(|_| Malformed::invalid(WHAT, "is neither PEM, DER nor JSON"))?
            .trim_ascii();
        if text.starts_with('{') {
            return intel::add(self, text);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return self.add_hex(text);
        }
        match intel::percent_decoded(text) {
            Some(text) => self.add_pem(&text),
            None => self.add_pem(text),
        }
    }

    /// Adds everything that `other` has.
    ///
    /// # Errors
    /// Too many items together.
    pub fn extend(&mut self, other: &Self) -> Result<(), Malformed> {
        for kind in Kind::ALL {
            let from = other.of_kind(kind);
            let mut pairs = from.bytes.iter().zip(&from.digests);
            pairs.try_for_each(|(item, digest)| {
                self.of_kind_mut(kind).add(item.as_slice(), *digest)
            })?;
        }
        Ok(())
    }

    /// All of it in PEM, kind by kind.
    pub fn to_pem(&self) -> String {
        let blocks = Kind::ALL
            .into_iter()
            .flat_map(|kind| self.items(kind).iter().map(move |item| pem(kind.label(), item)));
        blocks.collect()
    }

    const fn of_kind(&self, kind: Kind) -> &Items {
        match kind {
            Kind::Certificate => &self.certificates,
            Kind::Crl => &self.crls,
            Kind::TcbInfo => &self.tcb_infos,
            Kind::QeIdentity => &self.qe_identities,
            Kind::OcspResponse => &self.ocsp_responses,
        }
    }

    const fn of_kind_mut(&mut self, kind: Kind) -> &mut Items {
        match kind {
            Kind::Certificate => &mut self.certificates,
            Kind::Crl => &mut self.crls,
            Kind::TcbInfo => &mut self.tcb_infos,
            Kind::QeIdentity => &mut self.qe_identities,
            Kind::OcspResponse => &mut self.ocsp_responses,
        }
    }

    fn add_pem(&mut self, text: &str) -> Result<(), Malformed> {
        let mut any = false;
        for block in blocks(text) {
            let (label, item) = block?;
            match Kind::of(&item) {
                Some(kind) if kind.label() == label => {
                    let digest = Sha256::of(&item);
                    self.of_kind_mut(kind).add(item, digest)?;
                }
                _ => return Err(Malformed::invalid(WHAT, "holds a PEM block of another kind")),
            }
            any = true;
        }
        if any { Ok(()) } else { Err(Malformed::invalid(WHAT, "is neither PEM, DER nor JSON")) }
    }

    /// A certificate or list in hex of its DER.
    fn add_hex(&mut self, text: &str) -> Result<(), Malformed> {
        const BAD: Malformed = Malformed::invalid(WHAT, "is hex of neither certificate nor CRL");
        let der = hex::decode(text).map_err(|_| BAD)?;
        let kind = der_kind(&der).ok_or(BAD)?;
        self.add_item(kind, &der)
    }
}

/// The PEM blocks of `text` (RFC 7468), each with its label; text between them is left out.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Result<(&str, Vec<u8>), Malformed>> {
    const BAD: Malformed = Malformed::invalid(WHAT, "holds a PEM block that is not well-formed");
    let mut rest = text;
    core::iter::from_fn(move || {
        let (_, block) = rest.split_once("-----BEGIN ")?;
        // After a block that is wrong there is nothing more to say.
        rest = "";
        let parse = || {
            let (label, body) = block.split_once("-----")?;
            // No base64 has a dash.
            let (body, after) = body.split_at(body.find('-')?);
            let after = after.strip_prefix("-----END ")?;
            let after = after.strip_prefix(label)?.strip_prefix("-----")?;
            Some((label, armor::body(body)?, after))
        };
        let Some((label, item, after)) = parse() else { return Some(Err(BAD)) };
        rest = after;
        Some(Ok((label, item)))
    })
}

const WHAT: &str = "endorsements";
const SEQUENCE: u8 = 0x30;

/// Tells a certificate from a CRL by the first element inside `tbs`: a certificate of version 3
/// starts with the context tag 0, a CRL of version 2 with the INTEGER 1 (RFC 5280 §4.1, §5.1). An
/// OCSP response has no such part: it starts with its status, an ENUMERATED (RFC 6960 §4.2.1).
fn der_kind(der: &[u8]) -> Option<Kind> {
    let whole = der_content(der)?;
    if whole.starts_with(&[0x0a, 0x01]) {
        return Some(Kind::OcspResponse);
    }
    let tbs = der_content(whole)?;
    match tbs.get(..3)? {
        [0xa0, 0x03, 0x02] => Some(Kind::Certificate),
        [0x02, 0x01, 0x01] => Some(Kind::Crl),
        _ => None,
    }
}

/// What follows the header of the SEQUENCE that `der` starts with.
fn der_content(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, len], rest) = der.split_first_chunk::<2>()?;
    if tag != SEQUENCE {
        return None;
    }
    match len {
        0..=0x7f => Some(rest),
        0x81..=0x84 => rest.get(usize::from(len & 0x7f)..),
        _ => None,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];
    const LIST: &[u8] = &[0x30, 5, 0x30, 3, 0x02, 1, 1];
    const RESPONSE: &[u8] = &[0x30, 3, 0x0a, 1, 6];

    #[test]
    fn kinds_are_told_by_content() {
        let mut all = Endorsements::new();
        all.add(CERT).unwrap();
        all.add(LIST).unwrap();
        all.add(CERT).unwrap();
        all.add(RESPONSE).unwrap();
        assert_eq!((all.certificates().len(), all.crls().len()), (1, 1));
        assert_eq!(all.ocsp_responses(), [RESPONSE.to_vec()]);
        assert_eq!(all.digests(Kind::Crl), [Sha256::of(LIST)]);
        all.add(hex::encode(LIST).as_bytes()).unwrap();
        assert_eq!(all.crls().len(), 1, "the same list in hex");
        // Whatever blanks a writer puts between the letters.
        let pem = all.to_pem();
        for text in [pem.clone(), pem.replace('\n', "\r\n"), pem.replace("MA", " M\tA\n")] {
            let mut again = Endorsements::new();
            again.add(text.as_bytes()).unwrap();
            assert_eq!(again, all);
        }
    }

    #[test]
    fn the_rest_is_refused() {
        let cert = pem(Kind::Certificate.label(), CERT);
        for bad in [
            "text".to_owned(),
            cert.replace("END", "FIN"),
            cert.replace('M', "!"),
            pem("PRIVATE KEY", CERT),
            pem(Kind::TcbInfo.label(), CERT),
            pem(Kind::Certificate.label(), b"{}"),
            pem(Kind::Crl.label(), CERT),
            pem(Kind::OcspResponse.label(), CERT),
        ] {
            assert!(Endorsements::new().add(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [&[0x30][..], &[0x30, 0x80, 0x30], &[0x30, 2, 0x05, 0], &[0xff, 0xfe]] {
            assert!(Endorsements::new().add(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn items_are_bounded() {
        let mut all = Endorsements::new();
        for n in 0..ITEMS_MAX {
            let n = u8::try_from(n).unwrap();
            all.add_certificate(&[0x30, 8, 0x30, 6, 0xa0, 3, 2, 1, 2, n]).unwrap();
        }
        assert!(all.add_certificate(CERT).is_err());
        // What is there already takes no place.
        assert!(all.add_certificate(&[0x30, 8, 0x30, 6, 0xa0, 3, 2, 1, 2, 0]).is_ok());
        assert!(all.extend(&all.clone()).is_ok());
        assert!(Endorsements::new().add_crl(&vec![0; ITEM_LEN_MAX + 1]).is_err());
    }
}
