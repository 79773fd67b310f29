//! The one set of algorithms, and the check that it was used.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{CommonState, NamedGroup, ProtocolVersion};

use crate::error::TlsError;

/// AWS-LC alone, with the one key exchange that keeps its secret from a quantum computer as well.
///
/// Every configuration of this crate is built with it: nothing here asks for a process-wide default, which would depend on
/// who else is in the build.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

/// Looks, after a handshake, at what was negotiated: whatever a configuration came to be, no octet of ours goes through a
/// connection whose secret is classical.
pub(crate) fn check(connection: &CommonState) -> Result<(), TlsError> {
    let group = connection.negotiated_key_exchange_group().map(SupportedKxGroup::name);
    let version = connection.protocol_version();
    if group == Some(NamedGroup::X25519MLKEM768) && version == Some(ProtocolVersion::TLSv1_3) {
        Ok(())
    } else {
        Err(TlsError::NotPostQuantum)
    }
}

/// The one version; that of RFC 8446.
pub(crate) const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The one protocol (RFC 7301).
pub(crate) fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

/// Octets that a connection buffers for a peer that takes them slowly, in each direction.
pub(crate) const BUFFER_LEN_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of groups alone would do; so would the check alone. Each has its own test: the list in
    /// `tests/connections`, the check here, with connections that no list has refused.
    #[test]
    fn the_provider_has_the_one_group_and_no_suite_of_an_older_tls() {
        let provider = provider();
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [NamedGroup::X25519MLKEM768]);
        assert!(provider.cipher_suites.iter().all(|suite| suite.tls13().is_some()));
        let versions: Vec<_> = VERSIONS.iter().map(|version| version.version).collect();
        assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
    }

    #[test]
    fn a_connection_that_has_not_ended_its_handshake_is_not_taken() {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("test").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        assert_eq!(check(&connection), Err(TlsError::NotPostQuantum));
    }
}
