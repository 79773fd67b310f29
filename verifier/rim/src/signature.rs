//! The one XML signature that a RIM has (XML Signature Syntax and Processing 1.1), in the one form
//! that NVIDIA writes.
//!
//! | part | must be |
//! |---|---|
//! | `Signature` | the only one in the document, and a child of the root |
//! | its children | `SignedInfo`, `SignatureValue`, `KeyInfo`, and no others |
//! | `CanonicalizationMethod` | C14N 1.1 |
//! | `SignatureMethod` | ECDSA with SHA-384 |
//! | `Reference` | one, of `URI=""`: the whole document |
//! | `Transforms` | enveloped signature, then C14N 1.1 |
//! | `DigestMethod` | SHA-384 |
//! | `KeyInfo` | one `X509Data`: certificates alone |
//!
//! With `URI=""` there is no id to look up, and with one `Signature` no second one to take for the
//! first: what is hashed is the tree that `swid` reads.

use attestation::Sha384;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::canonical::canonical;
use crate::chain::SigningKey;
use crate::xml::{Document, Id};
use crate::{Code, Malformed, Reason};

/// A signature of the right form, whose truth nobody looked at yet.
#[derive(Debug)]
pub(crate) struct Signature {
    /// The element, which the digest leaves out.
    pub(crate) id: Id,
    /// The certificates, in DER, the signer's first.
    pub(crate) certificates: Vec<Vec<u8>>,
    signed_info: Id,
    digest: Sha384,
    value: [u8; SIGNATURE_LEN],
}

impl Signature {
    /// Finds the document's signature.
    pub(crate) fn find(document: &Document) -> Result<Self, String> {
        let mut found = document
            .all()
            .filter(|(_, element)| element.namespace == DS && element.local == "Signature");
        let Some((id, element)) = found.next() else { return Err("has no signature".to_owned()) };
        if found.next().is_some() {
            return Err("has more than one signature".to_owned());
        }
        if element.parent != Some(document.root()) {
            return Err("has a signature that is no child of the root".to_owned());
        }
        Self::read(document, id).map_err(|Malformed(why)| format!("has a signature that {why}"))
    }

    fn read(document: &Document, id: Id) -> Result<Self, Malformed> {
        let [signed_info, value, key_info] =
            children(document, id, ["SignedInfo", "SignatureValue", "KeyInfo"])?;
        let [canonicalization, method, reference] = children(
            document,
            signed_info,
            ["CanonicalizationMethod", "SignatureMethod", "Reference"],
        )?;
        algorithm(document, canonicalization, C14N_1_1)?;
        algorithm(document, method, ECDSA_SHA384)?;
        let attributes = &document.element(reference).attributes;
        if document.element(reference).value("URI") != Some("") || attributes.len() != 1 {
            return Err(Malformed("does not refer to the whole document"));
        }
        let [transforms, digest_method, digest] =
            children(document, reference, ["Transforms", "DigestMethod", "DigestValue"])?;
        let [enveloped, canonical] = children(document, transforms, ["Transform", "Transform"])?;
        algorithm(document, enveloped, ENVELOPED)?;
        algorithm(document, canonical, C14N_1_1)?;
        algorithm(document, digest_method, SHA384)?;
        let [x509_data] = children(document, key_info, ["X509Data"])?;
        let certificates = document.elements_in(x509_data)?;
        if certificates.len() > CERTIFICATES_MAX {
            return Err(Malformed("brings too many certificates"));
        }
        let mut chain = Vec::new();
        for certificate in certificates {
            if !document.element(certificate).is(DS, "X509Certificate") {
                return Err(Malformed("brings other things than certificates"));
            }
            chain.push(decode(document, certificate)?);
        }
        let exact = Malformed("has a digest or value that is not as long as its algorithm has it");
        Ok(Self {
            id,
            certificates: chain,
            signed_info,
            digest: attestation::Digest(decode(document, digest)?.try_into().map_err(|_| exact)?),
            value: decode(document, value)?.try_into().map_err(|_| exact)?,
        })
    }

    /// Verifies digest and signature; without a key only the digest, for something is amiss with
    /// the chain already.
    pub(crate) fn verify(
        &self,
        document: &Document,
        key: Option<&SigningKey>,
        reasons: &mut Vec<Reason>,
    ) {
        let found = Sha384::of(&canonical(document, document.root(), Some(self.id)));
        if found != self.digest {
            let message = format!(
                "is not what was signed: its digest is {found}, and {} was signed",
                self.digest
            );
            reasons.push(Reason::new(Code::DigestMismatch, message));
        }
        let signed = canonical(document, self.signed_info, None);
        let verifies = |SigningKey(point): &SigningKey| {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(&signed, &self.value)
                .is_ok()
        };
        if key.is_some_and(|key| !verifies(key)) {
            let message = "has a signature that is not that of the certificate it brings";
            reasons.push(Reason::new(Code::SignatureInvalid, message));
        }
    }
}

/// The elements in `id`: exactly those named, of the signature's namespace, in that order.
fn children<const N: usize>(
    document: &Document,
    id: Id,
    names: [&str; N],
) -> Result<[Id; N], Malformed> {
    const BAD: Malformed = Malformed("is not made up as a RIM's is");
    let found: [Id; N] = document.elements_in(id)?.try_into().map_err(|_| BAD)?;
    let right = |(id, name): (&Id, &&str)| document.element(*id).is(DS, name);
    if found.iter().zip(&names).all(right) { Ok(found) } else { Err(BAD) }
}

/// Demands that `id` names this algorithm, and nothing beside it.
fn algorithm(document: &Document, id: Id, expected: &str) -> Result<(), Malformed> {
    let element = document.element(id);
    if element.value("Algorithm") == Some(expected)
        && element.attributes.len() == 1
        && element.children.is_empty()
    {
        Ok(())
    } else {
        Err(Malformed("uses another algorithm than RIMs do"))
    }
}

fn decode(document: &Document, id: Id) -> Result<Vec<u8>, Malformed> {
    let mut text = document.text_in(id)?;
    text.retain(|c| !matches!(c, ' ' | '\t' | '\n'));
    STANDARD.decode(text).map_err(|_| Malformed("has something that is not base64"))
}

/// An ECDSA signature with P-384: `r ‖ s` (RFC 6931 §2.3.6).
const SIGNATURE_LEN: usize = 96;
/// A RIM brings four.
const CERTIFICATES_MAX: usize = 8;

pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const C14N_1_1: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
