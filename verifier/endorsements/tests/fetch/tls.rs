//! TLS as vendors speak it, and authorities of one's own.

use std::fs;
use std::sync::Arc;

use attestation::snp::Product;
use endorsements::{AmdKey, Config, Item, Mode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::papers::{DAY, amd_crl};
use crate::service::{Reply, Service};
use crate::stage::{Fake, Folder, fetcher};

const ITEM: Item = Item::AmdCrl(Product::Genoa, AmdKey::Vcek);

/// A service behind TLS of this version and with this group; yields it and its authority.
async fn serve(
    version: &'static SupportedProtocolVersion,
    group: &'static dyn SupportedKxGroup,
) -> (Service, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = Service::unheard(format!("https://localhost:{port}"));
    let ours = service.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (ours, acceptor) = (ours.clone(), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    ours.serve(stream).await;
                }
            });
        }
    });
    (service, authority.pem())
}

fn config(folder: &Folder, url: &str, authority: &str) -> Config {
    fs::write(folder.0.join("ca.pem"), authority).unwrap();
    let path = folder.0.join("endorsements.toml");
    let text =
        format!("[amd]\nurls = [\"{url}\"]\n[http]\nauthorities = \"ca.pem\"\nattempts = 1\n");
    fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

#[tokio::test]
async fn services_are_known_by_their_authority_and_need_no_hybrid_group() {
    let (folder, world) = (Folder::new("tls"), Fake::new());
    for (version, group) in [
        (&rustls::version::TLS13, aws_lc_rs::kx_group::X25519MLKEM768),
        (&rustls::version::TLS13, aws_lc_rs::kx_group::X25519),
        (&rustls::version::TLS12, aws_lc_rs::kx_group::SECP256R1),
    ] {
        let (service, authority) = serve(version, group).await;
        service.always(Reply::body(&amd_crl(Product::Genoa, 3, -DAY, DAY)));
        let good = fetcher(&folder, config(&folder, &service.url, &authority), &world);
        good.obtain(&ITEM, Mode::Fresh, &|_| ()).await.unwrap();
        // Another authority, and another name.
        let (_, other) = serve(version, group).await;
        let numbered = service.url.replace("localhost", "127.0.0.1");
        for (url, authority) in [(&service.url, &other), (&numbered, &authority)] {
            drop(fs::remove_dir_all(folder.0.join("cache")));
            let refused = fetcher(&folder, config(&folder, url, authority), &world);
            let error = refused.obtain(&ITEM, Mode::Fresh, &|_| ()).await.unwrap_err();
            assert_eq!(error.code(), "service-unreachable", "{error}");
        }
        assert_eq!(service.count(), 1);
    }
}
