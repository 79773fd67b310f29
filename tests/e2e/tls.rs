//! TLS on both legs, with the real programs: who gets through, who is kept out, and what the user is told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use serde_json::Value;
use tests::{
    programs::{MODEL, Place, Running, quiet_port},
    wire::{request, send_by},
};
use tls::{
    Authorities, Connector, CurrentIdentity, Identity, IdentityFiles, Pins, Servers, TlsError,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

const WAIT: Duration = Duration::from_secs(30);

/// Programs that speak TLS on both legs, and what a user needs to reach them.
struct Stack {
    place: Place,
    policy: String,
    router_url: String,
    enclave_url: String,
    spki: String,
    enclave_config: String,
    enclave: Option<Running>,
    _router: Running,
    _platform: Running,
}

impl Stack {
    async fn start(story: &str) -> Self {
        let place = Place::new(story);
        let platform = place.platform().await;
        let (id, id_key) = (place.path("identity.pem"), place.path("identity.key"));
        let made = ["identity", "new", "--certificate", &id, "--key", &id_key];
        let made = place.run("veritee-router", &made).await;
        assert!(made.status.success(), "{made:?}");
        let pin = String::from_utf8(made.stdout).unwrap();
        let tls = format!("tls.router_spki = [\"{}\"]", pin.trim());
        let enclave_config = place.enclave_config("enclave.toml", quiet_port(), &tls, "");
        let policy = place.policy(&[place.digests(&enclave_config).await]).await;
        let mut enclave = place.start("veritee-enclave", &["--config", &enclave_config]);
        let (enclave_url, spki) = announced(&enclave.line().await);

        let (authority, certificate, key) = issue("127.0.0.1");
        place.write("ca.pem", &authority);
        place.write("router.pem", certificate);
        place.write_secret("router.key", key);
        place.write("pins", format!("{spki}\n"));
        let (_, api_key) = place.add_key("user", &[]).await;
        place.write("api.key", api_key);
        let config = format!(
            "listen = \"127.0.0.1:0\"\n[timeouts]\npoll_ms = 100\n[keys]\nfile = \"keys.toml\"\n\
             [tls]\ncertificate = \"router.pem\"\nkey = \"router.key\"\n\
             [identity]\ncertificate = \"identity.pem\"\nkey = \"identity.key\"\n\
             [[enclaves]]\nurl = \"{enclave_url}\"\nspki_file = \"pins\"\n"
        );
        let config = place.write("router.toml", config);
        let mut router = place.start("veritee-router", &["--config", &config]);
        let ready = router.line().await;
        let router_url = ready.strip_prefix("ready router=").unwrap().to_owned();
        assert!(router_url.starts_with("https://"), "{ready}");
        let stack = Self {
            place,
            policy,
            router_url,
            enclave_url,
            spki,
            enclave_config,
            enclave: Some(enclave),
            _router: router,
            _platform: platform,
        };
        stack.until(0).await;
        stack
    }

    /// Runs `veritee` with the policy, and gives its exit code and what it printed and said.
    async fn veritee(&self, arguments: &[&str]) -> (i32, String, String) {
        let arguments = [arguments, &["--policy", &self.policy]].concat();
        let output = self.place.run("veritee", &arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    async fn chat(&self, router: &str, more: &[&str]) -> (i32, String, String) {
        let arguments = ["chat", "--router", router, "--model", MODEL, "--max-tokens", "4"];
        self.veritee(&[&arguments, more, &["Hello"]].concat()).await
    }

    /// What brings a user in: the operator's authority and a key.
    fn access(&self) -> [String; 4] {
        let (ca, key) = (self.place.path("ca.pem"), self.place.path("api.key"));
        ["--router-ca".to_owned(), ca, "--key-file".to_owned(), key]
    }

    /// Waits until `veritee verify` ends so.
    async fn until(&self, code: i32) {
        let access = self.access();
        let access = access.each_ref().map(String::as_str);
        let arguments = [&["verify", &self.router_url, "--json"], &access[..]].concat();
        let mut last = (0, String::new(), String::new());
        for _ in 0..200 {
            last = self.veritee(&arguments).await;
            if last.0 == code {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no exit with {code}: {last:?}");
    }

    /// Waits until the router has turned away from an enclave whose key it does not know. That nobody answers is not
    /// enough: so it is for a moment whenever an enclave starts.
    async fn until_unknown(&self) {
        let ca = std::fs::read(self.place.path("ca.pem")).unwrap();
        let servers = Servers::Authorities(Authorities::from_pem(&ca).unwrap());
        let client = Connector::new(servers, None, WAIT).unwrap();
        for _ in 0..200 {
            let asked = request("/metrics", None);
            let page = send_by(Some(&client), self.router(), asked).await.unwrap().whole().await;
            let page = String::from_utf8(page.unwrap()).unwrap();
            let refused = page.lines().find(|line| line.contains("code=\"spki-not-pinned\""));
            if refused.is_some_and(|line| !line.ends_with(" 0")) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the router refuses no key");
    }

    fn router(&self) -> SocketAddr {
        address(&self.router_url)
    }

    fn enclave(&self) -> SocketAddr {
        address(&self.enclave_url)
    }
}

/// The address and the key in the line of an enclave that is ready.
fn announced(ready: &str) -> (String, String) {
    let (url, rest) = ready.strip_prefix("ready enclave=").unwrap().split_once(" node=").unwrap();
    (url.to_owned(), rest.split_once(" spki=").unwrap().1.to_owned())
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("https://").unwrap().parse().unwrap()
}

/// An authority of the operator's own, and a certificate and key for `name` (PEM).
fn issue(name: &str) -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    (ca_pem, certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_asks_over_tls_on_both_legs_and_is_told_what_is_missing() {
    let stack = Stack::start("tls").await;
    let access = stack.access();
    let access = access.each_ref().map(String::as_str);
    let (ca, key) = (&access[..2], &access[2..]);
    let (code, answer, said) = stack.chat(&stack.router_url, &access).await;
    assert_eq!(code, 0, "{said}");
    assert!(!answer.trim().is_empty() && said.contains("receipt verified"), "{answer} {said}");

    let plain = stack.router_url.replace("https", "http");
    for (router, more, exit, word) in [
        // Nobody that the public authorities know vouches for it.
        (&stack.router_url, key, 20, "tls-certificate-refused"),
        (&stack.router_url, key, 20, "--router-ca"),
        (&stack.router_url, ca, 2, "unauthorized"),
        // Plain HTTP to a port that speaks TLS: nothing is answered.
        (&plain, &access[..], 20, "connection-died"),
        // An enclave talks to its router alone, and shows a certificate that no authority knows.
        (&stack.enclave_url, &access, 20, "tls-certificate-refused"),
    ] {
        let (code, answer, said) = stack.chat(router, more).await;
        assert_eq!((code, answer.as_str()), (exit, ""), "{router} {more:?}: {said}");
        assert!(said.contains(word), "{router} {more:?}: {said}");
    }

    let verify = ["verify", &stack.router_url, "--json"];
    let (code, verdict, _) = stack.veritee(&[&verify[..], &access].concat()).await;
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!((code, &verdict["verdict"]), (0, &"accepted".into()));
    // Without the key the router asks for one; the key of the program that asks is all that is missing.
    assert_eq!(stack.veritee(&[&verify[..], ca].concat()).await.0, 2);
    let (code, verdict, _) = stack.veritee(&[&verify[..], key].concat()).await;
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!(code, 20);
    assert_eq!(verdict["findings"][0]["code"], "tls-certificate-refused");
    let explain = [&["explain", &stack.router_url], &access[..]].concat();
    let explained = stack.place.run("veritee", &explain).await;
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains(stack.spki.strip_prefix("sha256:").unwrap()), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_restarts_is_unknown_until_its_new_key_is_pinned() {
    let mut stack = Stack::start("tls-restart").await;
    assert!(stack.enclave.take().unwrap().stop().await.success());
    let mut enclave = stack.place.start("veritee-enclave", &["--config", &stack.enclave_config]);
    let (url, spki) = announced(&enclave.line().await);
    stack.enclave = Some(enclave);
    assert_eq!(url, stack.enclave_url);
    assert_ne!(spki, stack.spki);
    // The router does not know that key, so there is no enclave.
    stack.until_unknown().await;
    stack.until(20).await;
    stack.place.write("pins", format!("{}\n{spki}\n", stack.spki));
    stack.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_program_speaks_anything_but_hybrid_tls() {
    let stack = Stack::start("tls-classical").await;
    let files = IdentityFiles {
        certificate: stack.place.path("identity.pem").into(),
        key: stack.place.path("identity.key").into(),
    };
    let router = files.load().unwrap();
    for address in [stack.router(), stack.enclave()] {
        for group in [provider::kx_group::X25519, provider::kx_group::SECP256R1] {
            let refused = classical(address, &router, group).await;
            assert_eq!(refused, Some(TlsError::NothingInCommon), "{address} {group:?}");
        }
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        drop(timeout(WAIT, plain.read_to_end(&mut answer)).await.unwrap());
        assert!(!answer.starts_with(b"HTTP"), "{address}");
    }
    // The same with the hybrid group is taken: a connector checks what was negotiated.
    let ca = std::fs::read(stack.place.path("ca.pem")).unwrap();
    let servers = Servers::Authorities(Authorities::from_pem(&ca).unwrap());
    let client = Connector::new(servers, None, WAIT).unwrap();
    let tcp = TcpStream::connect(stack.router()).await.unwrap();
    assert!(client.connect("127.0.0.1", tcp).await.is_ok());
    let pins = Pins::new([stack.spki.parse().unwrap()]).unwrap();
    let identity = Some(CurrentIdentity::new(router));
    let client = Connector::new(Servers::Pinned(pins), identity, WAIT).unwrap();
    let tcp = TcpStream::connect(stack.enclave()).await.unwrap();
    assert!(client.connect("any", tcp).await.is_ok());
}

/// What becomes of somebody with the right certificate who knows one classical group.
async fn classical(
    address: SocketAddr,
    identity: &Identity,
    group: &'static dyn rustls::crypto::SupportedKxGroup,
) -> Option<TlsError> {
    let provider = CryptoProvider { kx_groups: vec![group], ..provider::default_provider() };
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_cert_resolver(CurrentIdentity::new(identity.clone()));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let refused = timeout(WAIT, connector.connect(name, tcp)).await.unwrap().unwrap_err();
    TlsError::cause_of(&refused)
}
