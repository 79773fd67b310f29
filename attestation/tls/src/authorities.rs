//! Who may vouch for the name of a server.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The certificate authorities that may vouch for a router's name.
#[derive(Clone)]
pub struct Authorities(pub(crate) RootCertStore);

impl Authorities {
    /// Those that Mozilla trusts, as they were when this was built.
    ///
    /// They are part of the program and not read from the system: what a program trusts should not hang on files and
    /// environment variables that others may set. Who has an authority of their own names it.
    pub fn mozilla() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        Self(RootCertStore { roots })
    }

    /// Those in a PEM file, and no others.
    ///
    /// # Errors
    /// No certificate, too many, or one that cannot be an authority.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| AuthoritiesError::NotPem)?;
            if store.len() >= AUTHORITIES_MAX {
                return Err(AuthoritiesError::TooMany);
            }
            store.add(certificate).map_err(|_| AuthoritiesError::Unusable)?;
        }
        if store.is_empty() { Err(AuthoritiesError::Empty) } else { Ok(Self(store)) }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

/// Why a file of authorities was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthoritiesError {
    /// Not PEM.
    NotPem,
    /// No certificate is in it.
    Empty,
    /// More certificates than anybody has authorities of their own.
    TooMany,
    /// A certificate that does not parse.
    Unusable,
}

impl AuthoritiesError {
    /// A stable name for the error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotPem => "authorities-not-pem",
            Self::Empty => "authorities-empty",
            Self::TooMany => "authorities-too-many",
            Self::Unusable => "authorities-unusable",
        }
    }
}

impl fmt::Display for AuthoritiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "the file of authorities is not PEM",
            Self::Empty => "the file of authorities holds no certificate",
            Self::TooMany => "the file of authorities holds more than 512 certificates",
            Self::Unusable => "the file of authorities holds a certificate that does not parse",
        })
    }
}

impl std::error::Error for AuthoritiesError {}

/// Most certificates of a file.
const AUTHORITIES_MAX: usize = 512;
