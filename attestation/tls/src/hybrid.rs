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
