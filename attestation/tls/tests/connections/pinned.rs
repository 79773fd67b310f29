//! Peers that are known by their public keys.

use std::sync::Arc;

use rustls::NamedGroup;
use tls::{Clients, Servers, SpkiPin, TlsError};
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{
    acceptor, certified, connector, converse, foreign_client, foreign_server, handshake, identity,
    own, pins, with_groups,
};

#[tokio::test]
async fn two_who_pin_each_other_talk() {
    let (server, client) = (identity(), identity());
    let acceptor = acceptor(&server, Clients::Pinned(pins(&[client.spki()])));
    let connector = connector(Servers::Pinned(pins(&[server.spki()])), Some(&client));
    let (accepted, connected) = handshake(&acceptor, &connector, "any.name").await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let (_, session) = connected.get_ref();
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    converse(&mut accepted, &mut connected).await;
}

#[tokio::test]
async fn while_keys_change_both_pins_count() {
    let (old, new, client) = (identity(), identity(), identity());
    let both = Servers::Pinned(pins(&[old.spki(), new.spki()]));
    let connector = connector(both, Some(&client));
    for server in [&old, &new] {
        let clients = Clients::Pinned(pins(&[identity().spki(), client.spki()]));
        let (accepted, connected) = handshake(&acceptor(server, clients), &connector, "h").await;
        assert!(accepted.is_ok() && connected.is_ok(), "{accepted:?} {connected:?}");
    }
}

#[tokio::test]
async fn another_server_is_refused_and_named() {
    let (server, expected) = (identity(), identity());
    let connector = connector(Servers::Pinned(pins(&[expected.spki()])), None);
    let (accepted, connected) =
        handshake(&acceptor(&server, Clients::Anyone), &connector, "h").await;
    assert_eq!(connected.unwrap_err(), TlsError::NotPinned { found: server.spki() });
    assert_eq!(accepted.unwrap_err().code(), "tls-refused-by-peer");
}

#[tokio::test]
async fn another_client_is_refused_and_named() {
    let (server, client, expected) = (identity(), identity(), identity());
    let acceptor = acceptor(&server, Clients::Pinned(pins(&[expected.spki()])));
    let connector = connector(Servers::Pinned(pins(&[server.spki()])), Some(&client));
    let (accepted, connected) = handshake(&acceptor, &connector, "h").await;
    assert_eq!(accepted.unwrap_err(), TlsError::NotPinned { found: client.spki() });
    assert_eq!(connected.unwrap_err().code(), "tls-refused-by-peer");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (server, expected) = (identity(), identity());
    let acceptor = acceptor(&server, Clients::Pinned(pins(&[expected.spki()])));
    let connector = connector(Servers::Pinned(pins(&[server.spki()])), None);
    let (accepted, connected) = handshake(&acceptor, &connector, "h").await;
    assert_eq!(accepted.unwrap_err(), TlsError::NoCertificate);
    assert_eq!(connected.unwrap_err(), TlsError::Refused("CertificateRequired".to_owned()));
}

#[tokio::test]
async fn a_certificate_without_its_key_opens_nothing() {
    let (_, seen_elsewhere) = own();
    let pin = SpkiPin::of_certificate(seen_elsewhere.der()).unwrap();
    let stolen = || certified(seen_elsewhere.der(), &own().0);
    let groups = with_groups(&[rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768]);

    let server = identity();
    let acceptor = acceptor(&server, Clients::Pinned(pins(&[pin])));
    let config = foreign_client(Arc::clone(&groups), &server, Some(stolen()));
    let (near, far) = duplex(1 << 16);
    let thief = TlsConnector::from(Arc::new(config));
    let (accepted, _) =
        tokio::join!(acceptor.accept(far), thief.connect(crate::support::name(), near));
    let refused = accepted.unwrap_err();
    assert!(refused.to_string().contains("BadSignature"), "{refused}");

    let connector = connector(Servers::Pinned(pins(&[pin])), None);
    let thief = TlsAcceptor::from(Arc::new(foreign_server(groups, stolen())));
    let (near, far) = duplex(1 << 16);
    let (_, connected) = tokio::join!(thief.accept(far), connector.connect("h", near));
    let refused = connected.unwrap_err();
    assert!(refused.to_string().contains("BadSignature"), "{refused}");
}

#[tokio::test]
async fn nothing_is_resumed() {
    let server = identity();
    let acceptor = acceptor(&server, Clients::Anyone);
    let groups = with_groups(&[rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768]);
    let client = TlsConnector::from(Arc::new(foreign_client(groups, &server, None)));
    for _ in 0..2 {
        let (near, far) = duplex(1 << 16);
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), client.connect(crate::support::name(), near));
        let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
        converse(&mut accepted, &mut connected).await;
        let kind = connected.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
    }
}
