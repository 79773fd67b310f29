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
