//! What is between the three parties: TCP, or TLS over it, with keys made for one round.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tls::{
    Acceptor, Clients, Connector, CurrentIdentity, Handshakes, Identity, Pins, Servers, SpkiPin,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::harness::Failed;
use crate::program::beside;

/// How both legs are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Plain,
    Tls,
}

/// Whatever is at an end of a connection.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The keys of one round.
#[derive(Clone)]
pub(super) enum Keys {
    Plain,
    Tls { enclave: SpkiPin, accept: Acceptor, connect: Connector },
}

impl Leg {
    pub(super) fn keys(self, folder: &Path) -> Result<Keys, Failed> {
        if self == Self::Plain {
            return Ok(Keys::Plain);
        }
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let identity = Identity::self_signed(Arc::new(key), "enclave")?;
        let enclave = identity.spki();
        let listener = made(folder, "listener")?;
        let router = Pins::new([made(folder, "identity")?])?;
        let handshakes = Handshakes { timeout: PATIENCE, at_once: 4_096 };
        let clients = Clients::Pinned(router);
        let accept = Acceptor::new(CurrentIdentity::new(identity), clients, handshakes)?;
        let servers = Servers::Pinned(Pins::new([listener])?);
        let connect = Connector::new(servers, None, PATIENCE)?;
        Ok(Keys::Tls { enclave, accept, connect })
    }
}

impl Keys {
    /// The router's configuration in front of the enclave at `enclave`.
    pub(super) fn configuration(&self, enclave: SocketAddr) -> String {
        let listen = "listen = \"127.0.0.1:0\"\n";
        let limits = "[limits]\nstreams_max = 4096\nconnections_max = 8192\nhandshakes_max = 4096\n\
                      [timeouts]\nrequest_head_ms = 60000\nconnect_ms = 60000\n";
        match self {
            Self::Plain => format!("{listen}[[enclaves]]\nurl = \"http://{enclave}\"\n{limits}"),
            Self::Tls { enclave: spki, .. } => format!(
                "{listen}[[enclaves]]\nurl = \"https://{enclave}\"\nspki = [\"{spki}\"]\n{limits}\
                 [tls]\ncertificate = \"listener.pem\"\nkey = \"listener.key\"\n\
                 [identity]\ncertificate = \"identity.pem\"\nkey = \"identity.key\"\n"
            ),
        }
    }

    /// The enclave's end of a connection.
    pub(super) async fn accept(&self, tcp: TcpStream) -> Option<Box<dyn Wire>> {
        tcp.set_nodelay(true).ok()?;
        match self {
            Self::Plain => Some(Box::new(tcp)),
            Self::Tls { accept, .. } => Some(Box::new(accept.accept(tcp).await.ok()?)),
        }
    }

    /// A client's end of a connection.
    pub(super) async fn connect(&self, tcp: TcpStream) -> Option<Box<dyn Wire>> {
        match self {
            Self::Plain => Some(Box::new(tcp)),
            Self::Tls { connect, .. } => Some(Box::new(connect.connect("router", tcp).await.ok()?)),
        }
    }
}

/// Has the router's own command make a certificate, and returns its pin.
fn made(folder: &Path, name: &str) -> Result<SpkiPin, Failed> {
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let mut command = Command::new(beside("veritee-router")?);
    command
        .args(["identity", "new", "--certificate"])
        .arg(file("pem"))
        .arg("--key")
        .arg(file("key"));
    let output = command.output()?;
    let pin = String::from_utf8(output.stdout)?;
    pin.trim_end().parse().map_err(|_| format!("no certificate was made: {pin:?}").into())
}

const PATIENCE: Duration = Duration::from_mins(1);
