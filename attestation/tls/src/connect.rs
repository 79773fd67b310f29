//! The client's half.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::authorities::Authorities;
use crate::error::TlsError;
use crate::hybrid;
use crate::identity::CurrentIdentity;
use crate::pin::Pins;
use crate::pinned::Pinned;

/// The client's end of a connection.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// Who may answer.
#[derive(Clone, Debug)]
pub enum Servers {
    /// Those for whose name one of these authorities vouches, now.
    Authorities(Authorities),
    /// Those that have one of these keys, whatever they are called.
    Pinned(Pins),
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    by_name: bool,
    timeout: Duration,
}

impl Connector {
    /// A connector to `servers` that shows whatever `identity` is at the time, if there is one.
    ///
    /// # Errors
    /// [`TlsError::Protocol`], if the TLS library refuses the configuration: authorities that are none.
    pub fn new(
        servers: Servers,
        identity: Option<Arc<CurrentIdentity>>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let provider = hybrid::provider();
        let refused = |error: &dyn fmt::Display| TlsError::Protocol(error.to_string());
        let by_name = matches!(servers, Servers::Authorities(_));
        let verifier: Arc<dyn ServerCertVerifier> = match servers {
            Servers::Pinned(pins) => Arc::new(Pinned::new(pins, Arc::clone(&provider))),
            Servers::Authorities(Authorities(roots)) => {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| refused(&error))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(hybrid::VERSIONS)
            .map_err(|error| refused(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = hybrid::alpn();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        // A pinned peer has no name that counts, and who listens need not learn one.
        config.enable_sni = by_name;
        Ok(Self::with_config(config, by_name, timeout))
    }

    fn with_config(config: ClientConfig, by_name: bool, timeout: Duration) -> Self {
        Self { tls: TlsConnector::from(Arc::new(config)), by_name, timeout }
    }

    /// Completes one handshake with the server that is called `host`, a name or an address.
    ///
    /// The server may still refuse our certificate: that shows when something is read
    /// ([`TlsError::cause_of`]).
    ///
    /// # Errors
    /// [`TlsError`]; the connection is gone then.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<ClientStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = if self.by_name { unbracketed(host) } else { NO_NAME };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::Certificate(format!("{host} is no name of a server")))?;
        let handshake = self.tls.connect_with(name, stream, |connection| {
            connection.set_buffer_limit(Some(hybrid::BUFFER_LEN_MAX));
        });
        let stream = timeout(self.timeout, handshake)
            .await
            .map_err(|_| TlsError::Timeout)?
            .map_err(|error| TlsError::from_io(&error))?;
        hybrid::check(stream.get_ref().1)?;
        Ok(stream)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls: _, by_name, timeout } = self;
        f.debug_struct("Connector")
            .field("by_name", by_name)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// An address of IPv6 as certificates have it, and not as URLs do.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Stands where the TLS library wants a name and a pinned peer has none.
const NO_NAME: &str = "pinned.invalid";

#[cfg(test)]
mod tests {
    use ::aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use rustls::ServerConfig;
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::duplex;

    use super::*;
    use crate::accept::{Acceptor, Handshakes};
    use crate::identity::Identity;

    const WAIT: Duration = Duration::from_secs(20);

    /// An acceptor and a connector of ours, but for the groups that they offer.
    fn pair(
        server: &'static dyn rustls::crypto::SupportedKxGroup,
        client: &'static dyn rustls::crypto::SupportedKxGroup,
    ) -> (Acceptor, Connector) {
        let provider = |group| {
            Arc::new(CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() })
        };
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let identity = Identity::self_signed(Arc::new(key), "test").unwrap();
        let pins = Pins::new([identity.spki()]).unwrap();
        let (ours, theirs) = (provider(server), provider(client));
        let verifier = Arc::new(Pinned::new(pins, Arc::clone(&theirs)));
        let mut accept = ServerConfig::builder_with_provider(ours)
            .with_protocol_versions(hybrid::VERSIONS)
            .unwrap()
            .with_client_cert_verifier(WebPkiClientVerifier::no_client_auth())
            .with_cert_resolver(CurrentIdentity::new(identity));
        // The client is gone by the time that tickets would be written.
        accept.send_tls13_tickets = 0;
        let connect = ClientConfig::builder_with_provider(theirs)
            .with_protocol_versions(hybrid::VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let handshakes = Handshakes { timeout: WAIT, at_once: 1 };
        let acceptor = Acceptor::with_config(accept, handshakes);
        (acceptor, Connector::with_config(connect, false, WAIT))
    }

    /// Were the list of groups longer one day, what is negotiated would still be looked at, on both sides.
    #[tokio::test]
    async fn a_handshake_that_agreed_on_a_classical_group_is_refused_by_both_sides() {
        let (acceptor, connector) = pair(aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::X25519);
        let (near, far) = duplex(1 << 16);
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), connector.connect("h", near));
        assert_eq!(accepted.map(drop), Err(TlsError::NotPostQuantum));
        assert_eq!(connected.map(drop), Err(TlsError::NotPostQuantum));
    }

    #[tokio::test]
    async fn the_same_handshake_with_the_hybrid_group_is_taken() {
        let hybrid = aws_lc_rs::kx_group::X25519MLKEM768;
        let (acceptor, connector) = pair(hybrid, hybrid);
        let (near, far) = duplex(1 << 16);
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), connector.connect("h", near));
        assert_eq!((accepted.map(drop), connected.map(drop)), (Ok(()), Ok(())));
    }
}
