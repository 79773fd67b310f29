//! AMD's Key Distribution Service (AMD 57230, VCEK specification, chapter 4).

use attestation::Malformed;
use attestation::snp::{Product, TcbVersion};

use crate::document::{Document, Kind, Part};
use crate::error::Why;
use crate::item::{AmdKey, parts_of};
use crate::x509::{Certificate, Crl};

/// How many octets of `CHIP_ID` name a chip (AMD 57230 §3.2 table 9 and 12).
pub(crate) const fn hwid_len(product: Product) -> usize {
    match product {
        Product::Milan | Product::Genoa => 64,
        Product::Turin => 8,
    }
}

/// The VCEK's address for a chip and a TCB.
pub(crate) fn vcek_path(product: Product, hwid: &[u8], tcb: TcbVersion) -> String {
    let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
    let fmc = fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
    format!(
        "vcek/v1/{product}/{}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
        hex::encode(hwid)
    )
}

/// The address of a product's chain or list.
pub(crate) fn path(product: Product, key: AmdKey, name: &str) -> String {
    format!("{}/v1/{product}/{name}", key.as_str())
}

/// One certificate in DER, or some in PEM.
pub(crate) fn read_certificates(body: &[u8]) -> Result<Vec<Part>, Malformed> {
    read(body, Kind::Certificate)
}

/// A list in DER, or its PEM.
pub(crate) fn read_crl(body: &[u8]) -> Result<Vec<Part>, Malformed> {
    read(body, Kind::Crl)
}

fn read(body: &[u8], kind: Kind) -> Result<Vec<Part>, Malformed> {
    parts_of(body)?
        .into_iter()
        .map(|part| {
            let wrong = Malformed::invalid("answer", "holds another kind of document");
            if part.kind == kind { Ok(part) } else { Err(wrong) }
        })
        .collect()
}

/// The chip's certificate for the TCB that was asked for, and nothing else: a wrong one would be kept
/// for years.
pub(crate) fn check_vcek(document: &Document, hwid: &[u8], tcb: TcbVersion) -> Result<(), Why> {
    let certificate = Certificate::parse(document.only(Kind::Certificate)?)?;
    if certificate.subject() != "SEV-VCEK" {
        return Err(Why::OtherSubject("kind of key"));
    }
    // Some write the id as it is, some in an OCTET STRING.
    let value = certificate.extension(HWID).unwrap_or_default();
    let value = value.strip_prefix(&[4, u8::try_from(hwid.len()).unwrap_or(0)]).unwrap_or(value);
    if value != hwid {
        return Err(Why::OtherSubject("chip"));
    }
    let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
    let versions =
        [(1, Some(bootloader)), (2, Some(tee)), (3, Some(snp)), (8, Some(microcode)), (9, fmc)];
    for (arc, version) in versions {
        let oid = [SPL, &[arc]].concat();
        if version.is_some() && certificate.extension(&oid).and_then(small_integer) != version {
            return Err(Why::OtherSubject("TCB"));
        }
    }
    Ok(())
}

/// An intermediate and the root above it.
pub(crate) fn check_chain(document: &Document, product: Product, key: AmdKey) -> Result<(), Why> {
    let certificates: Vec<&[u8]> = document.of(Kind::Certificate).collect();
    let [intermediate, root] = certificates.as_slice() else {
        return Err(Malformed::invalid("chain", "is not an intermediate and a root").into());
    };
    let (intermediate, root) = (Certificate::parse(intermediate)?, Certificate::parse(root)?);
    if !intermediate.names_issuer(&root) || !root.is_root() {
        return Err(Malformed::invalid("chain", "is not an intermediate and its root").into());
    }
    if intermediate.subject() != intermediate_name(product, key)
        || root.subject() != root_name(product)
    {
        return Err(Why::OtherSubject("product"));
    }
    Ok(())
}

/// The list of the product's root.
pub(crate) fn check_crl(document: &Document, product: Product) -> Result<(), Why> {
    if Crl::parse(document.only(Kind::Crl)?)?.issuer() == root_name(product) {
        Ok(())
    } else {
        Err(Why::OtherSubject("issuer"))
    }
}

/// The product whose authority issued the certificate of a signing key.
pub(crate) fn product_of(der: &[u8]) -> Option<Product> {
    let certificate = Certificate::parse(der).ok()?;
    if !["SEV-VCEK", "SEV-VLEK"].contains(&certificate.subject().as_str()) {
        return None;
    }
    let issuer = certificate.issuer();
    Product::ALL.into_iter().find(|product| {
        AmdKey::ALL.into_iter().any(|key| issuer == intermediate_name(*product, key))
    })
}

fn intermediate_name(product: Product, key: AmdKey) -> String {
    match key {
        AmdKey::Vcek => format!("SEV-{product}"),
        AmdKey::Vlek => format!("SEV-VLEK-{product}"),
    }
}

fn root_name(product: Product) -> String {
    format!("ARK-{product}")
}

/// A canonical INTEGER in 0..=255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [2, 1, value @ 0..=0x7f] | [2, 2, 0, value @ 0x80..=0xff] => Some(value),
        _ => None,
    }
}

/// 1.3.6.1.4.1.3704.1.4: the chip's id (AMD 57230 §3.2).
const HWID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 4];
/// 1.3.6.1.4.1.3704.1.3: above the versions of the firmware's parts.
const SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3];
