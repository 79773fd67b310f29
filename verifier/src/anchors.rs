//! The vendors' roots, shipped as bytes, and the roots that a policy may bring instead.
//!
//! | product | file | SHA-256 of the DER | valid |
//! |---|---|---|---|
//! | Milan | `milan-ark.der` | `69d063b45344d26a…95639a540bcd` | 2020-10-22 to 2045-10-22 |
//! | Genoa | `genoa-ark.der` | `4c6598d19c18719c…10d103db2f1` | 2022-01-26 to 2047-01-26 |
//! | Turin | `turin-ark.der` | `1f084161a44bb6d9…9c73dd3f6a` | 2023-05-15 to 2048-05-15 |
//! | NVIDIA devices | `nvidia-device-identity.der` | `102bf659d5419614…0b9a690b167b48` | 2021-11-05 to 9999-12-31 |
//!
//! Source: AMD's key distribution service, `https://kdsintf.amd.com/vcek/v1/{product}/cert_chain`; NVIDIA's verifiers;
//! `anchors/README.md` says how to compare. The intermediates beside them are no anchors: they
//! save a download, and count only as far as an anchor signed them.

use std::borrow::Cow;
use std::sync::LazyLock;

use attestation::snp::Product;
use attestation::{Sha256, UnixTime};

use crate::authenticate::cache::push_len;
use crate::result::AnchorKind;
use crate::x509::{Algorithm, Certificate};

pub(crate) mod intel;

/// The roots that a policy trusts.
#[derive(Clone, Debug)]
pub(crate) struct TrustAnchors {
    kind: AnchorKind,
    tdx: intel::Roots,
    sev_snp: Vec<Ark>,
    digest: Sha256,
    periods: Vec<Period>,
    /// The built-in intermediates that one of the roots signed.
    signed: Vec<&'static [u8]>,
    /// NVIDIA's roots of devices, DER.
    nvidia: Vec<Cow<'static, [u8]>>,
}

/// From when to when something is good, both included.
pub(crate) type Period = (UnixTime, UnixTime);

/// A root of one product: trusted as these bytes, not as a name or a key.
#[derive(Clone, Debug)]
pub(crate) struct Ark {
    pub(crate) product: Product,
    pub(crate) der: Cow<'static, [u8]>,
}

impl TrustAnchors {
    /// The vendors' own.
    pub(crate) fn production() -> Self {
        Self::new(AnchorKind::Production, amd(), intel::Roots::production())
    }

    /// A policy's own, labelled for it in every verdict; the vendor's where the policy names none
    /// for a platform.
    pub(crate) fn untrusted(sev_snp: Option<Vec<Ark>>, tdx: Option<Vec<intel::Root>>) -> Self {
        let tdx = tdx.map_or_else(intel::Roots::production, intel::Roots::new);
        Self::new(AnchorKind::Untrusted, sev_snp.unwrap_or_else(amd), tdx)
    }

    fn new(kind: AnchorKind, sev_snp: Vec<Ark>, tdx: intel::Roots) -> Self {
        let mut all = Vec::new();
        for Ark { product, der } in &sev_snp {
            for part in [product.name().as_bytes(), der] {
                push_len(part.len(), &mut all);
                all.extend_from_slice(part);
            }
        }
        let roots: Vec<_> =
            sev_snp.iter().filter_map(|ark| Certificate::parse(&ark.der).ok()).collect();
        let periods = roots.iter().map(Certificate::validity).collect();
        let is_signed = |intermediate: &&Certificate<'static>| {
            roots.iter().any(|root| {
                intermediate.names_issuer(root) && intermediate.is_signed_by(root.key())
            })
        };
        let signed = intermediates().iter().filter(is_signed).map(|signed| signed.der).collect();
        drop(roots);
        let nvidia = vec![Cow::Borrowed(NVIDIA_ROOT)];
        Self { kind, tdx, sev_snp, digest: Sha256::of(&all), periods, signed, nvidia }
    }

    /// Whose roots these are.
    pub(crate) const fn kind(&self) -> AnchorKind {
        self.kind
    }

    /// A digest of the roots of SEV-SNP, in their order.
    pub(crate) const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Whether a chain through this built-in intermediate may end at one of the roots.
    pub(crate) fn signed(&self, built_in: &Certificate<'_>) -> bool {
        self.signed.contains(&built_in.der)
    }

    /// From when to when each of the roots of SEV-SNP is good.
    pub(crate) fn periods(&self) -> &[Period] {
        &self.periods
    }

    /// The same with a policy's own roots for NVIDIA's devices.
    #[must_use]
    pub(crate) fn with_nvidia(self, roots: Vec<Vec<u8>>) -> Self {
        Self { nvidia: roots.into_iter().map(Cow::Owned).collect(), ..self }
    }

    /// The roots of NVIDIA's devices, DER.
    pub(crate) fn nvidia(&self) -> impl Iterator<Item = &[u8]> {
        self.nvidia.iter().map(AsRef::as_ref)
    }

    /// The roots of TDX.
    pub(crate) const fn tdx(&self) -> &intel::Roots {
        &self.tdx
    }

    /// The roots of SEV-SNP's products.
    pub(crate) fn sev_snp(&self) -> &[Ark] {
        &self.sev_snp
    }
}

impl Ark {
    /// A policy's own root: a self-signed `ARK-<product>`.
    ///
    /// # Errors
    /// A sentence that says what it is not.
    pub(crate) fn of_policy(der: Vec<u8>) -> Result<Self, String> {
        let certificate = Certificate::parse(&der).map_err(|malformed| malformed.to_string())?;
        let product = Product::ALL
            .into_iter()
            .find(|product| certificate.subject_cn() == ark_name(*product))
            .ok_or("is no root: its subject is not ARK-Milan, ARK-Genoa or ARK-Turin")?;
        let is_root = certificate.is_self_issued()
            && certificate.is_well_formed()
            && certificate.is_ca()
            && certificate.algorithm() == Some(Algorithm::PssSha384)
            && certificate.is_signed_by(certificate.key());
        if !is_root {
            return Err(
                "is no root: it is not a CA that signed itself as AMD's roots do".to_owned()
            );
        }
        Ok(Self { product, der: Cow::Owned(der) })
    }

    /// The root's name and fingerprint, for memories of revocation list numbers.
    pub(crate) fn id(&self) -> String {
        format!("{} {}", ark_name(self.product), Sha256::of(&self.der))
    }
}

/// Whether a policy's own certificate is a root of NVIDIA's devices: one that signed itself, as theirs does.
///
/// # Errors
/// A sentence that says what it is not.
pub(crate) fn nvidia_root(der: Vec<u8>) -> Result<Vec<u8>, String> {
    let certificate = Certificate::parse(&der).map_err(|malformed| malformed.to_string())?;
    let is_root = certificate.subject_cn() == NVIDIA_NAME
        && certificate.is_self_issued()
        && certificate.is_well_formed()
        && certificate.is_ca()
        && certificate.algorithm() == Some(Algorithm::EcdsaP384)
        && certificate.is_signed_by(certificate.key());
    if is_root {
        Ok(der)
    } else {
        Err(format!("is no root: it is not {NVIDIA_NAME}, a CA that signed itself"))
    }
}

fn amd() -> Vec<Ark> {
    let ark = |(product, der): &(Product, &'static [u8])| Ark {
        product: *product,
        der: Cow::Borrowed(der),
    };
    ARKS.iter().map(ark).collect()
}

/// The common name of a product's root (AMD 57230 §3.1).
pub(crate) fn ark_name(product: Product) -> String {
    format!("ARK-{product}")
}

/// The intermediates that AMD publishes: of the VCEK branch for every product, of the VLEK branch
/// for Milan.
pub(crate) fn intermediates() -> &'static [Certificate<'static>] {
    // A constant, in truth: these bytes never change, and parsing them is most of parsing a chain.
    static PARSED: LazyLock<Vec<Certificate<'static>>> = LazyLock::new(|| {
        INTERMEDIATES.iter().filter_map(|der| Certificate::parse(der).ok()).collect()
    });
    &PARSED
}

/// The common name of NVIDIA's root of devices.
pub(crate) const NVIDIA_NAME: &str = "NVIDIA Device Identity CA";
const NVIDIA_ROOT: &[u8] = include_bytes!("../anchors/nvidia-device-identity.der");

const INTERMEDIATES: [&[u8]; 4] = [
    include_bytes!("../anchors/milan-ask.der"),
    include_bytes!("../anchors/genoa-ask.der"),
    include_bytes!("../anchors/turin-ask.der"),
    include_bytes!("../anchors/milan-asvk.der"),
];

const ARKS: [(Product, &[u8]); 3] = [
    (Product::Milan, include_bytes!("../anchors/milan-ark.der")),
    (Product::Genoa, include_bytes!("../anchors/genoa-ark.der")),
    (Product::Turin, include_bytes!("../anchors/turin-ark.der")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_roots_are_amds_by_fingerprint() {
        let fingerprints = [
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        ];
        let anchors = TrustAnchors::production();
        assert_eq!(anchors.kind(), AnchorKind::Production);
        for ((ark, product), fingerprint) in
            anchors.sev_snp().iter().zip(Product::ALL).zip(fingerprints)
        {
            assert_eq!(
                (ark.product, Sha256::of(&ark.der).to_string()),
                (product, fingerprint.to_owned())
            );
            // They also pass what is asked of a policy's own.
            assert!(Ark::of_policy(ark.der.to_vec()).is_ok());
        }
    }

    #[test]
    fn the_shipped_root_of_devices_is_nvidias_by_fingerprint() {
        let anchors = TrustAnchors::production();
        let roots: Vec<_> = anchors.nvidia().collect();
        assert_eq!(
            roots.iter().map(|der| Sha256::of(der).to_string()).collect::<Vec<_>>(),
            ["102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"]
        );
        // It also passes what is asked of a policy's own, and AMD's does not.
        assert!(nvidia_root(roots[0].to_vec()).is_ok());
        assert!(nvidia_root(anchors.sev_snp()[0].der.to_vec()).is_err());
    }

    #[test]
    fn shipped_intermediates_are_signed_by_a_shipped_root() {
        let anchors = TrustAnchors::production();
        assert_eq!(intermediates().len(), INTERMEDIATES.len());
        for intermediate in intermediates() {
            assert!(
                intermediate.algorithm() == Some(Algorithm::PssSha384) && intermediate.is_ca(),
                "{}",
                intermediate.subject_cn()
            );
            let signed = anchors.sev_snp().iter().any(|ark| {
                let root = Certificate::parse(&ark.der).unwrap();
                intermediate.names_issuer(&root) && intermediate.is_signed_by(root.key())
            });
            assert!(signed, "{}", intermediate.subject_cn());
            assert!(Ark::of_policy(intermediate.der.to_vec()).is_err());
        }
    }
}
