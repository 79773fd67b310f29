//! Peers that begin a handshake and do not end it.

use std::net::IpAddr;
use std::time::Duration;

use tls::{Acceptor, Clients, Connector, CurrentIdentity, Handshakes, Servers, TlsError};
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::time::timeout;

use crate::support::{WAIT, connector, handshake, identity, pins};

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let handshakes = Handshakes { timeout: Duration::from_millis(50), at_once: 8 };
    let acceptor =
        Acceptor::new(CurrentIdentity::new(identity()), Clients::Anyone, handshakes).unwrap();
    let (mut near, far) = duplex(1 << 16);
    let accepted = timeout(WAIT, acceptor.accept(far)).await.unwrap();
    assert_eq!(accepted.unwrap_err(), TlsError::Timeout);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0, "the connection is gone");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let servers = Servers::Pinned(pins(&[identity().spki()]));
    let connector = Connector::new(servers, None, Duration::from_millis(50)).unwrap();
    let (near, _far) = duplex(1 << 16);
    let connected = timeout(WAIT, connector.connect("h", near)).await.unwrap();
    assert_eq!(connected.unwrap_err(), TlsError::Timeout);
}

#[tokio::test]
async fn who_stalls_makes_room_for_whoever_comes() {
    let server = identity();
    let handshakes = Handshakes { timeout: WAIT, at_once: 3 };
    let acceptor =
        Acceptor::new(CurrentIdentity::new(server.clone()), Clients::Anyone, handshakes).unwrap();
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let (near, far) = duplex(1 << 16);
        let acceptor = acceptor.clone();
        stalled.push((near, tokio::spawn(async move { acceptor.accept(far).await.map(drop) })));
        tokio::task::yield_now().await;
    }
    let connector = connector(Servers::Pinned(pins(&[server.spki()])), None);
    for turn in 0..3 {
        let (accepted, connected) = handshake(&acceptor, &connector, "h").await;
        assert!(accepted.is_ok() && connected.is_ok(), "{turn}: {accepted:?} {connected:?}");
    }
    // Only the first had to go: those who were served gave their places back.
    let (_, first) = stalled.remove(0);
    let first = timeout(WAIT, first).await.unwrap().unwrap();
    assert_eq!(first.unwrap_err(), TlsError::Displaced);
    assert!(stalled.iter().all(|(_, handshake)| !handshake.is_finished()));
}

#[tokio::test]
async fn who_comes_again_and_again_displaces_nobody_else() {
    const FLOOD: usize = 12;
    let handshakes = Handshakes { timeout: WAIT, at_once: 4 };
    let acceptor =
        Acceptor::new(CurrentIdentity::new(identity()), Clients::Anyone, handshakes).unwrap();
    let begin = async |address: String| {
        let (near, far) = duplex(1 << 16);
        let (acceptor, address) = (acceptor.clone(), address.parse::<IpAddr>().unwrap());
        let begun = tokio::spawn(async move { acceptor.accept_from(far, address).await.map(drop) });
        tokio::task::yield_now().await;
        (near, begun)
    };
    // The first to come, and so the oldest of all; the flood comes from one address, or from one network.
    let honest = begin("192.0.2.1".to_owned()).await;
    for network in ["198.51.100.1", "2001:db8::"] {
        let mut flood = Vec::new();
        for number in 0..FLOOD {
            let suffix = if network.ends_with(':') { format!("{number:x}") } else { String::new() };
            flood.push(begin(format!("{network}{suffix}")).await);
        }
        tokio::task::yield_now().await;
        assert!(!honest.1.is_finished(), "{network}");
        // Of the flood itself the oldest go.
        let going = flood.iter().filter(|(_, begun)| !begun.is_finished()).count();
        assert_eq!(going, 3, "{network}");
        for (_, begun) in flood {
            begun.abort();
            drop(begun.await);
        }
    }
}
