//! NVIDIA's OCSP responder and its service of reference integrity manifests.

use attestation::Malformed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::document::{Document, Kind, Part};
use crate::error::Why;
use crate::ocsp::Answer;
use crate::x509::Certificate;

/// The manifest that the service wraps in JSON.
#[derive(Debug, Deserialize)]
struct Wrapped {
    id: String,
    rim: String,
}

pub(crate) fn rim_path(id: &str) -> String {
    format!("v1/rim/{id}")
}

/// Whether `id` is one that stands in a path as it is.
pub(crate) fn is_rim_id(id: &str) -> bool {
    let harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.bytes().all(harmless)
}

/// The manifest with this id.
pub(crate) fn read_rim(id: &str, body: &[u8]) -> Result<Vec<Part>, Why> {
    let wrapped: Wrapped = serde_json::from_slice(body)
        .map_err(|_| Malformed::invalid("answer", "is not the JSON of the RIM service"))?;
    if wrapped.id != id {
        return Err(Why::OtherSubject("manifest"));
    }
    let xml = STANDARD
        .decode(wrapped.rim)
        .map_err(|_| Malformed::invalid("manifest", "is not base64"))?;
    Ok(vec![Part::new(Kind::Rim, xml)])
}

/// The manifest, alone.
pub(crate) fn check_rim(document: &Document) -> Result<(), Why> {
    document.only(Kind::Rim)?;
    Ok(())
}

/// An answer about this certificate.
pub(crate) fn check_ocsp(
    document: &Document,
    certificate: &[u8],
    issuer: &[u8],
) -> Result<(), Why> {
    let answer = Answer::parse(document.only(Kind::OcspResponse)?)?;
    if answer.is_about(&Certificate::parse(certificate)?, &Certificate::parse(issuer)?) {
        Ok(())
    } else {
        Err(Why::OtherSubject("certificate"))
    }
}
