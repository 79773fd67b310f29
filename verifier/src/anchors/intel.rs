//! Intel's root of SGX and TDX, and the authorities under it that it is a download less to know.
//!
//! | file | subject | valid |
//! |---|---|---|
//! | `intel-sgx-root-ca.der` | Intel SGX Root CA | 2018-05-21 to 2049-12-31 |
//! | `intel-pck-platform-ca.der` | Intel SGX PCK Platform CA | 2018-05-21 to 2033-05-21 |
//! | `intel-pck-processor-ca.der` | Intel SGX PCK Processor CA | 2018-05-21 to 2033-05-21 |
//! | `intel-tcb-signing.der` | Intel SGX TCB Signing | 2025-05-06 to 2032-05-06 |
//!
//! The root alone is an anchor. `anchors/README.md` has fingerprints and sources.

use std::borrow::Cow;
use std::sync::LazyLock;

use attestation::Sha256;

use super::Period;
use crate::authenticate::cache::push_len;
use crate::x509::{Algorithm, Certificate};

/// The roots that a policy trusts for TDX.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    all: Vec<Root>,
    digest: Sha256,
    periods: Vec<Period>,
}

/// A root, trusted as these bytes, not as a name or a key.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) der: Cow<'static, [u8]>,
}

/// The common name of Intel's root.
pub(crate) const ROOT_NAME: &str = "Intel SGX Root CA";

impl Roots {
    /// Intel's own.
    pub(crate) fn production() -> Self {
        Self::new(vec![Root { der: Cow::Borrowed(ROOT) }])
    }

    /// These.
    pub(crate) fn new(roots: Vec<Root>) -> Self {
        let mut bytes = Vec::new();
        for Root { der } in &roots {
            push_len(der.len(), &mut bytes);
            bytes.extend_from_slice(der);
        }
        let parsed = roots.iter().filter_map(|root| Certificate::parse(&root.der).ok());
        let periods = parsed.map(|root| root.validity()).collect();
        Self { all: roots, digest: Sha256::of(&bytes), periods }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Root] {
        &self.all
    }

    /// A digest of them, in their order.
    pub(crate) const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// From when to when each of them is good.
    pub(crate) fn periods(&self) -> &[Period] {
        &self.periods
    }
}

impl Root {
    /// A policy's own root: self-signed, and named as Intel's is.
    ///
    /// # Errors
    /// A sentence that says what it is not.
    pub(crate) fn of_policy(der: Vec<u8>) -> Result<Self, String> {
        let certificate = Certificate::parse(&der).map_err(|malformed| malformed.to_string())?;
        if certificate.subject_cn() != ROOT_NAME {
            return Err(format!("is no root of TDX: its subject is not {ROOT_NAME}"));
        }
        let is_root = certificate.is_self_issued()
            && certificate.is_well_formed()
            && certificate.is_ca()
            && certificate.algorithm() == Some(Algorithm::EcdsaP256)
            && certificate.is_signed_by(certificate.key());
        if is_root {
            Ok(Self { der: Cow::Owned(der) })
        } else {
            Err("is no root: it is not a CA that signed itself as Intel's root does".to_owned())
        }
    }

    /// The root's name and fingerprint, for memories of numbers.
    pub(crate) fn id(&self) -> String {
        format!("{ROOT_NAME} {}", Sha256::of(&self.der))
    }
}

/// The authorities under the root that Intel publishes: those of platforms, and the signer of TCB
/// Info and QE Identity. They count only as far as an anchor signed them.
pub(crate) fn authorities() -> &'static [Certificate<'static>] {
    // A constant, in truth: these bytes never change.
    static PARSED: LazyLock<Vec<Certificate<'static>>> = LazyLock::new(|| {
        AUTHORITIES.iter().filter_map(|der| Certificate::parse(der).ok()).collect()
    });
    &PARSED
}

const ROOT: &[u8] = include_bytes!("../../anchors/intel-sgx-root-ca.der");

const AUTHORITIES: [&[u8]; 3] = [
    include_bytes!("../../anchors/intel-pck-platform-ca.der"),
    include_bytes!("../../anchors/intel-pck-processor-ca.der"),
    include_bytes!("../../anchors/intel-tcb-signing.der"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_root_is_intels_by_fingerprint() {
        let roots = Roots::production();
        let [root] = roots.all() else { panic!("one") };
        assert_eq!(
            Sha256::of(&root.der).to_string(),
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
        );
        // It also passes what is asked of a policy's own.
        assert!(Root::of_policy(root.der.to_vec()).is_ok());
        assert_eq!(roots.periods().len(), 1);
        assert_ne!(Roots::new(Vec::new()).digest(), roots.digest());
    }

    #[test]
    fn shipped_authorities_are_signed_by_the_root() {
        let root = Certificate::parse(ROOT).unwrap();
        assert_eq!(authorities().len(), AUTHORITIES.len());
        for authority in authorities() {
            assert!(authority.names_issuer(&root) && authority.is_signed_by(root.key()));
            assert_eq!(authority.algorithm(), Some(Algorithm::EcdsaP256));
            assert!(Root::of_policy(authority.der.to_vec()).is_err());
        }
        let other = crate::anchors::intermediates()[0].der;
        assert!(Root::of_policy(other.to_vec()).is_err());
    }
}
