//! What a RIM says: a SWID tag (ISO/IEC 19770-2:2015) as NVIDIA fills it in.
//!
//! ```text
//! SoftwareIdentity corpus patch supplemental (all "false") name tagId …
//! ├ Entity …
//! ├ Meta colloquialVersion product edition …
//! ├ Payload
//! │ └ Resource type="Measurement" index active alternatives name size="48" Hash0 Hash1 …
//! └ Signature
//! ```
//! Elements of other names are refused: what they would change nobody knows.

use std::collections::BTreeMap;

use attestation::{Sha256, Sha384};

use crate::xml::{Document, Element, Id};
use crate::{Component, Malformed, Rim, Signer};

/// Reads what was signed: the document without its signature.
pub(crate) fn read(
    document: &Document,
    signature: Id,
    signer: Signer,
    digest: Sha256,
) -> Result<Rim, Malformed> {
    let root = document.element(document.root());
    if !root.is(SWID, "SoftwareIdentity") {
        return Err(Malformed("is no SWID tag"));
    }
    for kind in ["corpus", "patch", "supplemental"] {
        if root.value(kind) != Some("false") {
            return Err(Malformed("does not say that it stands by itself"));
        }
    }
    let (mut meta, mut payload) = (None, None);
    for id in document.elements_in(document.root())? {
        let element = document.element(id);
        let again = match element.local.as_str() {
            _ if id == signature => false,
            _ if element.namespace != SWID => return Err(UNKNOWN),
            "Entity" => false,
            "Meta" => meta.replace(element).is_some(),
            "Payload" => payload.replace(id).is_some(),
            _ => return Err(UNKNOWN),
        };
        if again {
            return Err(Malformed("describes itself more than once"));
        }
    }
    let (Some(meta), Some(payload)) = (meta, payload) else {
        return Err(Malformed("has no description or no measurements"));
    };
    let word = |name: &str| {
        let value = meta.value(name).filter(|value| is_word(value));
        value.map(str::to_owned).ok_or(Malformed("does not name its product and version"))
    };
    let (chip, version) = (word("product")?, word("colloquialVersion")?);
    let component = component(&version, meta.value("edition").unwrap_or_default())
        .ok_or(Malformed("measures neither a driver nor a VBIOS"))?;
    let tag_id = root.value("tagId").filter(|id| is_word(id));
    Ok(Rim {
        component,
        chip,
        version,
        tag_id: tag_id.ok_or(Malformed("has no id"))?.to_owned(),
        measurements: measurements(document, payload)?,
        signer,
        digest,
    })
}

/// The form of its version tells a driver's RIM from a VBIOS's: `550.144.03`, `96.00.5E.00.01`.
fn component(version: &str, edition: &str) -> Option<Component> {
    let parts: Vec<&str> = version.split('.').collect();
    let all = |of: fn(&u8) -> bool| {
        parts.iter().all(|part| !part.is_empty() && part.bytes().all(|c| of(&c)))
    };
    let is_vbios =
        parts.len() == 5 && parts.iter().all(|part| part.len() == 2) && all(u8::is_ascii_hexdigit);
    let is_driver = matches!(parts.len(), 2..=4) && all(u8::is_ascii_digit);
    match edition {
        "GPU" if is_driver => Some(Component::Driver),
        "GPU" | "SWITCH" if is_vbios => Some(Component::Vbios),
        _ => None,
    }
}

fn measurements(document: &Document, payload: Id) -> Result<BTreeMap<u8, Vec<Sha384>>, Malformed> {
    let mut seen = BTreeMap::new();
    for id in document.elements_in(payload)? {
        let element = document.element(id);
        if !element.is(SWID, "Resource") || !element.children.is_empty() {
            return Err(UNKNOWN);
        }
        let (index, active, values) = measurement(element)?;
        if seen.insert(index, (active, values)).is_some() {
            return Err(Malformed("has two measurements of one index"));
        }
    }
    let active: BTreeMap<_, _> = seen
        .into_iter()
        .filter_map(|(index, (active, values))| active.then_some((index, values)))
        .collect();
    if active.is_empty() {
        return Err(Malformed("has no active measurement"));
    }
    Ok(active)
}

/// Index, whether it counts, and the values of which one must be there.
fn measurement(element: &Element) -> Result<(u8, bool, Vec<Sha384>), Malformed> {
    const BAD: Malformed = Malformed("has a measurement that is not written as they are");
    let number = |name: &str| {
        let text = element.value(name)?;
        let number: u8 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    };
    let active = match element.value("active") {
        Some("True") => true,
        Some("False") => false,
        _ => return Err(BAD),
    };
    let index = number("index").filter(|index| *index <= INDEX_MAX).ok_or(BAD)?;
    let alternatives = number("alternatives").filter(|count| *count > 0).ok_or(BAD)?;
    let is_measurement = element.value("type") == Some("Measurement")
        && element.value("size") == Some("48")
        && element.value("name").is_some();
    let mut values: Vec<Sha384> = Vec::new();
    for at in 0..alternatives {
        let hash = element.value_in(HASH, &format!("Hash{at}")).ok_or(BAD)?;
        let value = hash.parse().map_err(|_| BAD)?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    // All that there is was read: type, index, active, alternatives, name, size, and the hashes.
    let read = usize::from(alternatives).saturating_add(6);
    if !is_measurement || element.attributes.len() != read {
        return Err(BAD);
    }
    Ok((index, active, values))
}

/// A word as versions and ids are, which can be quoted anywhere.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= WORD_LEN_MAX
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}

const UNKNOWN: Malformed = Malformed("has an element that no RIM has");

/// A report counts from 1 to 254, this from 0.
const INDEX_MAX: u8 = 253;
/// A tag id is 96 hex digits.
const WORD_LEN_MAX: usize = 128;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
