//! Peers: ours, and others made with the TLS library itself.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs as provider};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls::{
    Acceptor, ClientStream, Clients, Connector, CurrentIdentity, Handshakes, Identity, Pins,
    ServerStream, Servers, SpkiPin, TlsError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// Longer than any handshake takes here.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) const HANDSHAKES: Handshakes = Handshakes { timeout: WAIT, at_once: 8 };

pub(crate) fn identity() -> Identity {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    Identity::self_signed(Arc::new(key), "test").unwrap()
}

pub(crate) fn pins(pins: &[SpkiPin]) -> Pins {
    Pins::new(pins.iter().copied()).unwrap()
}

pub(crate) fn acceptor(identity: &Identity, clients: Clients) -> Acceptor {
    Acceptor::new(CurrentIdentity::new(identity.clone()), clients, HANDSHAKES).unwrap()
}

pub(crate) fn connector(servers: Servers, identity: Option<&Identity>) -> Connector {
    let identity = identity.map(|identity| CurrentIdentity::new(identity.clone()));
    Connector::new(servers, identity, WAIT).unwrap()
}

pub(crate) type Accepted = Result<ServerStream<DuplexStream>, TlsError>;
pub(crate) type Connected = Result<ClientStream<DuplexStream>, TlsError>;

/// Both halves of one handshake.
pub(crate) async fn handshake(
    acceptor: &Acceptor,
    connector: &Connector,
    host: &str,
) -> (Accepted, Connected) {
    let (near, far) = duplex(1 << 16);
    let connect = async {
        let mut stream = connector.connect(host, near).await?;
        // A server that refuses the certificate says so after the client is done.
        match stream.read_u8().await {
            Ok(_) => Ok(stream),
            Err(error) => Err(TlsError::cause_of(&error).unwrap_or(TlsError::Io(error.kind()))),
        }
    };
    let accept = async {
        let mut stream = acceptor.accept(far).await?;
        stream.write_u8(0).await.unwrap();
        stream.flush().await.unwrap();
        Ok(stream)
    };
    tokio::join!(accept, connect)
}

/// Octets go both ways.
pub(crate) async fn converse(
    accepted: &mut ServerStream<DuplexStream>,
    connected: &mut ClientStream<DuplexStream>,
) {
    connected.write_all(b"to the server").await.unwrap();
    connected.flush().await.unwrap();
    let mut found = [0; 13];
    accepted.read_exact(&mut found).await.unwrap();
    assert_eq!(&found, b"to the server");
    accepted.write_all(b"to the client").await.unwrap();
    accepted.flush().await.unwrap();
    connected.read_exact(&mut found).await.unwrap();
    assert_eq!(&found, b"to the client");
}

/// A provider that is not ours: the groups are for the test to choose.
pub(crate) fn with_groups(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: groups.to_vec(), ..provider::default_provider() })
}

/// A client of the TLS library that trusts `server` and shows `certified`.
pub(crate) fn foreign_client(
    provider: Arc<CryptoProvider>,
    server: &Identity,
    certified: Option<CertifiedKey>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate().to_vec().into()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    match certified {
        None => builder.with_no_client_auth(),
        Some(certified) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified))),
    }
}

/// A server of the TLS library.
pub(crate) fn foreign_server(
    provider: Arc<CryptoProvider>,
    certified: CertifiedKey,
) -> ServerConfig {
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
}

/// A certificate and a key by rcgen, also such as do not belong together.
pub(crate) fn certified(certificate: &[u8], key: &rcgen::KeyPair) -> CertifiedKey {
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider::sign::any_supported_type(&key).unwrap();
    CertifiedKey::new(vec![certificate.to_vec().into()], key)
}

/// A key by rcgen and a certificate that it signed for itself.
pub(crate) fn own() -> (rcgen::KeyPair, rcgen::Certificate) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (key, certificate)
}

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("test").unwrap()
}

/// Trusts everybody, as no client of ours does.
#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &rustls::pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &rustls::pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
