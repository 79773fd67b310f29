//! The router's leg over TLS: who gets in, and who stays out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use enclave::Serving;
use engine::EchoEngine;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use tls::{Connector, CurrentIdentity, Identity, Pins, Servers, SpkiPin, TlsError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{Peer, sealed_request, start_with, user};

const WAIT: Duration = Duration::from_secs(20);

/// An enclave that demands `router`, on every address of this machine.
struct Server {
    address: SocketAddr,
    serving: Serving,
    router: Identity,
}

impl Server {
    async fn start(end: &str) -> Self {
        let router = identity();
        let end = format!("[tls]\nrouter_spki = [\"{}\"]\n{end}", router.spki());
        let engine = Arc::new(EchoEngine::new(3, Duration::ZERO));
        let serving = start_with(engine, "listen = \"0.0.0.0:0\"", &end).await;
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(enclave::serve(listener, serving.clone(), std::future::pending()));
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), serving, router }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// GETs a path as somebody who pins `server` and shows `client`.
    async fn get(
        &self,
        path: &str,
        server: SpkiPin,
        client: Option<&Identity>,
    ) -> Result<Response<Incoming>, TlsError> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let client = client.map(|identity| CurrentIdentity::new(identity.clone()));
        let servers = Servers::Pinned(Pins::new([server]).unwrap());
        let connector = Connector::new(servers, client, WAIT).unwrap();
        let stream = connector.connect("ignored", self.tcp().await).await?;
        let sent = timeout(WAIT, send(stream, request)).await.unwrap();
        sent.map_err(|error| TlsError::cause_of(&error).unwrap_or_else(|| panic!("{error:?}")))
    }

    async fn status(&self, path: &str) -> StatusCode {
        let found = self.get(path, self.serving.spki(), Some(&self.router)).await;
        found.unwrap().status()
    }
}

fn identity() -> Identity {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    Identity::self_signed(Arc::new(key), "test").unwrap()
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection's error says why; the sender's says only that it is gone.
    let connection = tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(response) => Ok(response),
        Err(error) => match connection.await.unwrap() {
            Ok(()) => Err(error),
            Err(why) => Err(why),
        },
    }
}

#[tokio::test]
async fn the_router_asks_over_tls_and_gets_its_answer() {
    let server = Server::start("").await;
    for path in ["/readyz", "/healthz", "/metrics", "/v1/evidence"] {
        assert_eq!(server.status(path).await, StatusCode::OK, "{path}");
    }
    let peer = Peer::of(&server.serving).await;
    assert_eq!(server.serving.spki(), SpkiPin::new(peer.statement.tls_spki), "it is bound");
    let sealed = peer.seal_chat(&user("hello over TLS", r#","stream":true"#));
    let router = CurrentIdentity::new(server.router.clone());
    let servers = Servers::Pinned(Pins::new([server.serving.spki()]).unwrap());
    let connector = Connector::new(servers, Some(router), WAIT).unwrap();
    let stream = connector.connect("ignored", server.tcp().await).await.unwrap();
    let response = send(stream, sealed_request(sealed.body.clone())).await.unwrap();
    let octets = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(peer.open(sealed, &octets).status, 200);
}

#[tokio::test]
async fn nobody_but_the_router_gets_in_not_even_to_health_and_metrics() {
    let server = Server::start("").await;
    let (spki, other) = (server.serving.spki(), identity());
    for path in ["/healthz", "/readyz", "/metrics", "/v1/evidence"] {
        let none = server.get(path, spki, None).await.unwrap_err();
        assert_eq!(none, TlsError::Refused("CertificateRequired".to_owned()), "{path}");
        let other = server.get(path, spki, Some(&other)).await.unwrap_err();
        assert_eq!(other.code(), "tls-refused-by-peer", "{path}");
    }
    assert_eq!(server.status("/healthz").await, StatusCode::OK);
}

#[tokio::test]
async fn who_pins_another_key_does_not_talk_to_this_enclave() {
    let server = Server::start("").await;
    let refused = server.get("/healthz", identity().spki(), Some(&server.router)).await;
    assert_eq!(refused.unwrap_err(), TlsError::NotPinned { found: server.serving.spki() });
}

#[tokio::test]
async fn plain_http_gets_no_octet_of_http() {
    let server = Server::start("").await;
    let mut stream = server.tcp().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The connection may be reset: the rest of the request is unread.
    drop(timeout(WAIT, stream.read_to_end(&mut answer)).await.unwrap());
    assert!(!answer.starts_with(b"HTTP"), "{answer:02x?}");
    // An alert at most (RFC 8446 §6).
    assert!(answer.len() <= 7, "{answer:02x?}");
}

#[tokio::test]
async fn a_router_that_knows_only_x25519_is_refused() {
    let server = Server::start("").await;
    let groups = vec![provider::kx_group::X25519];
    let provider = CryptoProvider { kx_groups: groups, ..provider::default_provider() };
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_cert_resolver(CurrentIdentity::new(server.router.clone()));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("ignored").unwrap();
    let refused = connector.connect(name, server.tcp().await).await.unwrap_err();
    // An alert, and not that the certificate is unknown: nothing was agreed on.
    assert_eq!(TlsError::cause_of(&refused), Some(TlsError::NothingInCommon));
}

#[tokio::test]
async fn who_stalls_in_the_handshake_is_cut_off() {
    let server = Server::start("handshake_s = 1").await;
    let mut silent = server.tcp().await;
    let mut slow = server.tcp().await;
    slow.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let ended = timeout(WAIT, stream.read_to_end(&mut Vec::new())).await.unwrap();
        drop(ended);
    }
    assert_eq!(server.status("/healthz").await, StatusCode::OK);
}

#[tokio::test]
async fn who_stalls_keeps_nobody_out() {
    // Handshakes may take a minute here, and three connections are all that there are.
    let server = Server::start("handshake_s = 60\n[limits]\nconnections = 3").await;
    let mut stalled = Vec::new();
    for _ in 0..6 {
        stalled.push(server.tcp().await);
        let status = timeout(WAIT, server.status("/healthz")).await;
        assert_eq!(status.expect("a place is free"), StatusCode::OK);
    }
    // The first had to make room.
    let ended = timeout(WAIT, stalled.remove(0).read_to_end(&mut Vec::new())).await;
    drop(ended.expect("it was cut off"));
}

#[tokio::test]
async fn a_connection_that_greets_holds_up_no_end() {
    let router = identity();
    let end = format!("[tls]\nrouter_spki = [\"{}\"]\nhandshake_s = 60\n", router.spki());
    let engine = Arc::new(EchoEngine::new(3, Duration::ZERO));
    let serving = start_with(engine, "", &end).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let ended = tokio::spawn(enclave::serve(listener, serving, shutdown));
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(&[0x16, 3, 1]).await.unwrap();
    drop(stop);
    timeout(WAIT, ended).await.unwrap().unwrap().unwrap();
    let mut nothing = Vec::new();
    drop(timeout(WAIT, silent.read_to_end(&mut nothing)).await.unwrap());
    assert!(nothing.is_empty());
}
