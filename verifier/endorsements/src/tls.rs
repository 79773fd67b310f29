//! Connections to vendors' services: TLS as the public web speaks it, or plain on this machine.
//!
//! Not the `tls` crate: that one speaks X25519MLKEM768 or not at all, and vendors' services do not have
//! it everywhere. What comes is signed and public; what goes out names a chip
//! (`docs/decisions/0010-endorsements-have-a-tls-of-their-own.md`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to `https` and `http` addresses.
#[derive(Clone)]
pub(crate) struct Dialer {
    tcp: HttpConnector,
    tls: TlsConnector,
    timeout: Duration,
}

impl Dialer {
    pub(crate) fn new(roots: RootCertStore, timeout: Duration) -> Result<Self, rustls::Error> {
        let provider = CryptoProvider {
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            ..default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut tcp = HttpConnector::new();
        // Which scheme is right is decided by the configuration.
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        tcp.set_nodelay(true);
        Ok(Self { tcp, tls: TlsConnector::from(Arc::new(config)), timeout })
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = (uri.scheme_str() != Some("http")).then(|| self.tls.clone());
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (tcp, limit) = (self.tcp.call(uri), self.timeout);
        Box::pin(async move {
            let tcp = tcp.await?.into_inner();
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let handshake = tls.connect(ServerName::try_from(host)?, tcp);
                    Box::new(timeout(limit, handshake).await??)
                }
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// A connection, plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl Stream for TcpStream {}
impl Stream for TlsStream<TcpStream> {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
