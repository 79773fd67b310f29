//! The service over TLS: hybrid, and for those whom the configuration names.

use std::time::Duration;

use attestation::snp::Product;
use rcgen::{CertificateParams, KeyPair};
use service::Tls;
use tls::{Connector, CurrentIdentity, Identity, IdentityFiles, Pins, Servers, SpkiPin};
use tokio::net::TcpStream;

use crate::http::{Connection, get};
use crate::running::{Folder, Running};
use crate::world::World;

const WAIT: Duration = Duration::from_secs(20);

/// A certificate and its key, in files.
fn identity(folder: &Folder, name: &str) -> (IdentityFiles, Identity) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["verifier".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let files = IdentityFiles {
        certificate: folder.write(&format!("{name}.pem"), certificate.pem()),
        key: folder.write(&format!("{name}.key"), key.serialize_pem()),
    };
    let identity = files.load().unwrap();
    (files, identity)
}

fn connector(server: SpkiPin, identity: Option<&Identity>) -> Connector {
    let servers = Servers::Pinned(Pins::new([server]).unwrap());
    let identity = identity.map(|identity| CurrentIdentity::new(identity.clone()));
    Connector::new(servers, identity, WAIT).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_those_are_answered_who_are_named() {
    let folder = Folder::new();
    folder.policy("checks.toml", &World::new(Product::Genoa));
    let (files, shown) = identity(&folder, "server");
    let (_, named) = identity(&folder, "named");
    let (_, stranger) = identity(&folder, "stranger");
    let mut config = folder.config();
    let clients = Some(Pins::new([named.spki()]).unwrap());
    config.tls = Some(Tls { files, clients });
    let running = Running::start(config).await;
    for (who, comes, answered) in [
        ("named", Some(&named), true),
        ("stranger", Some(&stranger), false),
        ("nobody", None, false),
    ] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let connector = connector(shown.spki(), comes);
        let Ok(stream) = connector.connect("verifier", stream).await else {
            assert!(!answered, "{who} is not let in");
            continue;
        };
        let answer = Connection::over(stream).await.try_send(get("/healthz")).await;
        assert_eq!(answer.is_some_and(|answer| answer.status == 200), answered, "{who}");
    }
    // Who speaks plain HTTP is not answered.
    let stream = TcpStream::connect(running.address).await.unwrap();
    assert!(Connection::over(stream).await.try_send(get("/healthz")).await.is_none());
}
