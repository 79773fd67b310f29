//! A signing key's certificate, and what AMD says in it (AMD 57230 §3.2).

use attestation::snp::{Product, SnpReport};

use crate::crypto::P384_POINT_LEN;
use crate::finding::{Code, Finding};
use crate::x509::{self, Certificate, Extension};

/// What a signing key's certificate says.
#[derive(Clone, Debug)]
pub(super) struct Vek {
    pub(super) kind: Kind,
    pub(super) product: Product,
    pub(super) point: [u8; P384_POINT_LEN],
    /// The 8 bytes of `REPORTED_TCB` that the key was made for; none if an extension is wrong.
    pub(super) tcb: Option<[u8; 8]>,
    /// The chip, of a VCEK, as `CHIP_ID` has it.
    pub(super) chip: Option<[u8; 64]>,
    /// The provider, of a VLEK.
    pub(super) csp_id: Option<String>,
}

impl Vek {
    /// Reads what AMD's extensions say; all of them must be there, each once, in its one form.
    pub(super) fn read(
        vek: &Certificate<'_>,
        kind: Kind,
        product: Product,
        point: [u8; P384_POINT_LEN],
        findings: &mut Vec<Finding>,
    ) -> Self {
        integer(vek, kind.name(), "structVersion", STRUCT_VERSION, findings);
        Self {
            kind,
            product,
            point,
            tcb: tcb(vek, kind, product, findings),
            chip: chip(vek, kind, product, findings),
            csp_id: csp_id(vek, kind, findings),
        }
    }
}

/// Whether a certificate says that its key was made for the report's TCB and, of a VCEK, chip.
pub(super) fn is_made_for(
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    report: &SnpReport,
    findings: &mut Vec<Finding>,
) -> bool {
    tcb(vek, kind, product, findings) == Some(report.reported_tcb())
        && (kind == Kind::Vlek || chip(vek, kind, product, findings) == Some(report.chip_id().0))
}

/// The two kinds of signing key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Vcek,
    Vlek,
}

impl Kind {
    /// AMD's name of the key.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }

    /// The common name of its certificates.
    pub(super) const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// AMD's name of the intermediate that issues them.
    pub(super) const fn issuer(self) -> &'static str {
        match self {
            Self::Vcek => "ASK",
            Self::Vlek => "ASVK",
        }
    }

    /// The common name of that intermediate for a product.
    pub(super) fn issuer_name(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }
}

/// The TCB that a key was made for, in the order of `REPORTED_TCB` (AMD 57230 §3.2 tables 8 to 11;
/// SNP ABI §2.2). The versions of parts that do not exist stand for the reserved bytes.
fn tcb(
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> Option<[u8; 8]> {
    let layout = match product {
        Product::Milan | Product::Genoa => [BL, TEE, SPL4, SPL5, SPL6, SPL7, SNP, UCODE],
        Product::Turin => [FMC, BL, TEE, SNP, SPL5, SPL6, SPL7, UCODE],
    };
    let mut tcb = [0; 8];
    let mut complete = true;
    for (slot, (name, oid)) in tcb.iter_mut().zip(layout) {
        match integer(vek, kind.name(), name, oid, findings) {
            Some(value) => *slot = value,
            None => complete = false,
        }
    }
    product_name(vek, kind, product, findings);
    complete.then_some(tcb)
}

/// The `productName` extension: the product, and perhaps a stepping after a hyphen ("Milan-B0").
fn product_name(vek: &Certificate<'_>, kind: Kind, product: Product, findings: &mut Vec<Finding>) {
    let Some(value) = value(vek, kind.name(), "productName", PRODUCT_NAME, findings) else {
        return;
    };
    let Some(name) = x509::ia5_string(value) else {
        findings.push(malformed(kind.name(), "productName"));
        return;
    };
    if name.split('-').next() != Some(product.name()) {
        findings.push(
            Finding::reject(
                Code::ProductMismatch,
                format!("the {} is made for another product than its issuer's", kind.name()),
            )
            .expected(product)
            .actual(name),
        );
    }
}

/// The `hwID` extension of a VCEK, as `CHIP_ID` has it: 64 bytes, of which Turin uses 8. A VLEK is of
/// no chip and must not have one.
fn chip(
    vek: &Certificate<'_>,
    kind: Kind,
    product: Product,
    findings: &mut Vec<Finding>,
) -> Option<[u8; 64]> {
    if kind == Kind::Vlek {
        absent(vek, kind.name(), "hwID", HWID, findings);
        return None;
    }
    let value = value(vek, kind.name(), "hwID", HWID, findings)?;
    // Older certificates hold the bytes as they are, newer ones in an OCTET STRING of their own.
    let (raw, len) = match (product, value) {
        (Product::Milan | Product::Genoa, [0x04, 64, raw @ ..]) if raw.len() == 64 => (raw, 64),
        (Product::Milan | Product::Genoa, raw) => (raw, 64),
        (Product::Turin, [0x04, 8, raw @ ..]) if raw.len() == 8 => (raw, 8),
        (Product::Turin, raw) => (raw, 8),
    };
    if raw.len() != len {
        findings.push(malformed(kind.name(), "hwID"));
        return None;
    }
    let mut chip = [0; 64];
    chip.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
    Some(chip)
}

/// The `cspID` extension of a VLEK. A VCEK is of no provider and must not have one.
fn csp_id(vek: &Certificate<'_>, kind: Kind, findings: &mut Vec<Finding>) -> Option<String> {
    if kind == Kind::Vcek {
        absent(vek, kind.name(), "cspID", CSP_ID, findings);
        return None;
    }
    let value = value(vek, kind.name(), "cspID", CSP_ID, findings)?;
    // AMD writes it as a name: "CN=cc-us-east-2.amazonaws.com".
    match x509::ia5_string(value).map(|text| text.strip_prefix("CN=").unwrap_or(text)) {
        Some(csp_id) if !csp_id.is_empty() => Some(csp_id.to_owned()),
        _ => {
            findings.push(malformed(kind.name(), "cspID"));
            None
        }
    }
}

fn integer(
    vek: &Certificate<'_>,
    kind: &str,
    name: &str,
    oid: &[u8],
    findings: &mut Vec<Finding>,
) -> Option<u8> {
    let value = value(vek, kind, name, oid, findings)?;
    let integer = x509::small_integer(value);
    if integer.is_none() {
        findings.push(malformed(kind, name));
    }
    integer
}

fn value<'a>(
    vek: &'a Certificate<'_>,
    kind: &str,
    name: &str,
    oid: &[u8],
    findings: &mut Vec<Finding>,
) -> Option<&'a [u8]> {
    let wrong = match vek.extension(oid) {
        Extension::Once(value) => return Some(value),
        Extension::Missing => "is missing",
        Extension::Repeated => "is there more than once",
    };
    let message = format!("extension {name} of the {kind} {wrong}");
    findings.push(Finding::reject(Code::CertificateExtensionMissing, message));
    None
}

fn absent(vek: &Certificate<'_>, kind: &str, name: &str, oid: &[u8], findings: &mut Vec<Finding>) {
    if vek.extension(oid) != Extension::Missing {
        let message = format!("extension {name} has no business in a {kind}");
        findings.push(Finding::reject(Code::CertificateExtensionMissing, message));
    }
}

fn malformed(kind: &str, name: &str) -> Finding {
    Finding::reject(
        Code::CertificateExtensionMalformed,
        format!("extension {name} of the {kind} is not in its canonical form"),
    )
}

/// An extension: AMD's name, and its OID's contents octets. All are under 1.3.6.1.4.1.3704.1.
type Named = (&'static str, &'static [u8]);

const STRUCT_VERSION: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x01";
const PRODUCT_NAME: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x02";
const BL: Named = ("blSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x01");
const TEE: Named = ("teeSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x02");
const SNP: Named = ("snpSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x03");
const SPL4: Named = ("spl4", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x04");
const SPL5: Named = ("spl5", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x05");
const SPL6: Named = ("spl6", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x06");
const SPL7: Named = ("spl7", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x07");
const UCODE: Named = ("ucodeSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x08");
const FMC: Named = ("fmcSPL", b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x03\x09");
const HWID: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x04";
const CSP_ID: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01\x05";
