//! TLS on both legs: who is recognised, what is shown, and that nothing falls back.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{body::Body, extract::Request, middleware};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use router::{Certificate, Config, Enclave, PinSource, Reach, Readers};
use tls::{
    Acceptor, ClientStream, Clients, Connector, CurrentIdentity, Handshakes, Identity,
    IdentityFiles, Pins, ServerStream, Servers, SpkiPin, TlsError,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    SHORT, echo, fed,
    support::{NODE, PATIENCE, Served, app, enclave, evidence, next, problem, raw_head, text},
};

mod clients;
mod enclaves;

/// A certificate and its key, in files of their own.
struct Shown {
    folder: PathBuf,
    spki: SpkiPin,
}

impl Shown {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = pem();
        let mut shown = Self { folder, spki: identity(&certificate, &key).spki() };
        shown.write(&certificate, &key);
        shown
    }

    fn write(&mut self, certificate: &str, key: &str) {
        let IdentityFiles { certificate: certificate_file, key: key_file } = self.files();
        std::fs::write(&key_file, key).unwrap();
        std::fs::set_permissions(key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(certificate_file, certificate).unwrap();
    }

    fn files(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.folder.join("certificate.pem"),
            key: self.folder.join("key.pem"),
        }
    }

    fn configured(&self) -> Certificate {
        Certificate { files: self.files(), reload: Duration::from_millis(20) }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn pem() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn identity(certificate: &str, key: &str) -> Identity {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
}

fn another() -> Identity {
    let (certificate, key) = pem();
    identity(&certificate, &key)
}

fn pins(spki: SpkiPin) -> Pins {
    Pins::new([spki]).unwrap()
}

/// A client that believes whoever has this key.
fn client(spki: SpkiPin) -> Connector {
    Connector::new(Servers::Pinned(pins(spki)), None, PATIENCE).unwrap()
}

type Talk = ClientStream<TcpStream>;

async fn connect(address: SocketAddr, spki: SpkiPin) -> Result<Talk, TlsError> {
    let tcp = TcpStream::connect(address).await.unwrap();
    timeout(PATIENCE, client(spki).connect("router", tcp)).await.unwrap()
}

/// Sends a request on a connection of its own and reads until it closes.
async fn tell(address: SocketAddr, spki: SpkiPin, request: &str) -> String {
    let mut stream = connect(address, spki).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap());
    String::from_utf8_lossy(&all).into_owned()
}

async fn seen(stream: &mut Talk, expected: &str) {
    let mut all = String::new();
    while !all.contains(expected) {
        let mut buffer = [0; 1024];
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0, "{expected} after {all}");
        all.push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap()));
    }
}

const METRICS: &str = "GET /metrics HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";

/// Waits for a line of the metrics, `ask` being the way to them.
async fn until_counted<Fut: Future<Output = String>>(line: &str, ask: impl Fn() -> Fut) {
    let line = format!("veritee_router_{line}");
    let counted = async {
        while !ask().await.lines().any(|found| found == line) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, counted).await.is_ok(), "{line} in\n{}", ask().await);
}
