//! Peers that speak something else: older, weaker, or not TLS at all.

use std::sync::Arc;

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use tls::{Clients, Servers, TlsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{
    acceptor, certified, connector, foreign_client, foreign_server, identity, name, own, pins,
    with_groups,
};

const CLASSICAL: [&dyn SupportedKxGroup; 3] = [X25519, SECP256R1, SECP384R1];

#[tokio::test]
async fn a_client_that_knows_only_classical_groups_is_refused() {
    let server = identity();
    let acceptor = acceptor(&server, Clients::Anyone);
    for group in CLASSICAL {
        let config = foreign_client(with_groups(&[group]), &server, None);
        let client = TlsConnector::from(Arc::new(config));
        let (near, far) = duplex(1 << 16);
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), client.connect(name(), near));
        assert_eq!(accepted.unwrap_err(), TlsError::NotPostQuantum, "{group:?}");
        // Before any key is agreed on: only then is it the list of groups that refuses.
        let alert = TlsError::cause_of(&connected.unwrap_err());
        assert_eq!(alert, Some(TlsError::NothingInCommon), "{group:?}");
    }
}

#[tokio::test]
async fn a_server_that_knows_only_classical_groups_is_refused() {
    let (key, certificate) = own();
    let pin = tls::SpkiPin::of_certificate(certificate.der()).unwrap();
    let connector = connector(Servers::Pinned(pins(&[pin])), None);
    for group in CLASSICAL {
        let config = foreign_server(with_groups(&[group]), certified(certificate.der(), &key));
        let server = TlsAcceptor::from(Arc::new(config));
        let (near, far) = duplex(1 << 16);
        let (accepted, connected) = tokio::join!(server.accept(far), connector.connect("h", near));
        assert_eq!(connected.unwrap_err(), TlsError::NothingInCommon, "{group:?}");
        let why = TlsError::cause_of(&accepted.unwrap_err());
        assert_eq!(why, Some(TlsError::NotPostQuantum), "{group:?}");
    }
}

#[tokio::test]
async fn a_client_that_prefers_a_classical_group_uses_the_hybrid_one() {
    let server = identity();
    let acceptor = acceptor(&server, Clients::Anyone);
    let groups = with_groups(&[X25519, SECP256R1, X25519MLKEM768]);
    let client = TlsConnector::from(Arc::new(foreign_client(groups, &server, None)));
    let (near, far) = duplex(1 << 16);
    let (accepted, connected) = tokio::join!(acceptor.accept(far), client.connect(name(), near));
    let group = connected.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert!(accepted.is_ok());
}

#[tokio::test]
async fn a_client_that_wants_another_protocol_is_refused() {
    let server = identity();
    let acceptor = acceptor(&server, Clients::Anyone);
    let mut config = foreign_client(with_groups(&[X25519MLKEM768]), &server, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = TlsConnector::from(Arc::new(config));
    let (near, far) = duplex(1 << 16);
    let (accepted, _) = tokio::join!(acceptor.accept(far), client.connect(name(), near));
    assert_eq!(accepted.unwrap_err(), TlsError::NothingInCommon);
}

/// What is sent to a server, and what it must say of it.
#[tokio::test]
async fn a_server_refuses_what_is_not_tls_1_3() {
    let acceptor = acceptor(&identity(), Clients::Anyone);
    for (sent, expected) in [
        (client_hello_of_tls_1_2(), TlsError::NothingInCommon),
        (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".to_vec(), TlsError::NotTls),
        (b"SSH-2.0-x\r\n".to_vec(), TlsError::NotTls),
        (vec![0; 64], TlsError::NotTls),
        (vec![0x16, 3, 1], TlsError::Io(std::io::ErrorKind::UnexpectedEof)),
    ] {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(acceptor.accept(far).await.unwrap_err(), expected, "{sent:02x?}");
    }
}

#[tokio::test]
async fn a_client_refuses_what_is_not_tls_1_3() {
    let connector = connector(Servers::Pinned(pins(&[identity().spki()])), None);
    for (sent, expected) in [
        (server_hello_of_tls_1_2(), TlsError::NothingInCommon),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), TlsError::NotTls),
    ] {
        let (near, mut far) = duplex(1 << 16);
        let answer = async {
            let mut hello = [0; 5];
            far.read_exact(&mut hello).await.unwrap();
            far.write_all(&sent).await.unwrap();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
        };
        let (connected, ()) = tokio::join!(connector.connect("h", near), answer);
        assert_eq!(connected.unwrap_err(), expected, "{sent:02x?}");
    }
}

/// RFC 5246 §7.4.1.2, with the extensions that a server of that time wants.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d][..], // supported_groups: x25519
        &[0x00, 0x0b, 0, 2, 1, 0],                 // ec_point_formats: uncompressed
        &[0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03],     // signature_algorithms: ecdsa_secp256r1_sha256
        &[0x00, 0x17, 0, 0],                       // extended_master_secret
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    record(1, &body)
}

fn server_hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0xc0, 0x2b, 0, 0, 0]);
    record(2, &body)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = |octets: &[u8]| u16::try_from(octets.len()).unwrap().to_be_bytes();
    let message = [&[kind, 0][..], &len(body), body].concat();
    [&[0x16, 3, 3][..], &len(&message), &message].concat()
}
