//! A service that runs, its files, and what it is asked.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use attestation::UnixTime;
use attestation::snp::Product;
use serde_json::{Value, json};
use service::{Clock, Config, Service, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::http::{Answer, Connection, get, post};
use crate::world::{NOW, World};

/// A folder of its own; it goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("veritee-service-{}-{}", std::process::id(), MADE.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(path.join("policies")).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.write_as(name, content, 0o600)
    }

    pub(crate) fn write_as(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        // In place of the old one at once, as an operator's tools do it.
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// The policy of `world`, as `policies/{file}`, and its anchor.
    pub(crate) fn policy(&self, file: &str, world: &World) {
        let ark = world.pki.sign_as_ark(&world.ark).unwrap();
        self.write("policies/ark.pem", ark);
        self.write(&format!("policies/{file}"), world.policy_text());
    }

    pub(crate) fn config(&self) -> Config {
        Config { reload: Duration::from_millis(20), ..Config::on_loopback(self.path("policies")) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A service on a free port, at [`NOW`].
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service>,
    pub(crate) reload: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_at(config, NOW).await
    }

    pub(crate) async fn start_at(config: Config, now: UnixTime) -> Self {
        let service = Arc::new(Service::load(config, Clock::new(move || now)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reload = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let served = serve(listener, Arc::clone(&service), Arc::clone(&reload), shutdown);
        let serving = tokio::spawn(async move { served.await.unwrap() });
        Self { address, service, reload, stop: Some(stop), serving }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::over(TcpStream::connect(self.address).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.connect().await.send(get(path)).await
    }

    pub(crate) async fn appraise(&self, asked: &Value) -> Answer {
        self.connect().await.send(post("/v1/appraise", asked.to_string())).await
    }

    /// Waits until what `GET path` says is so.
    pub(crate) async fn until(&self, path: &str, so: impl Fn(&Answer) -> bool) -> Answer {
        for _ in 0..1_000 {
            let answer = self.get(path).await;
            if so(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {path}: {:?}", self.get(path).await);
    }
}

/// What a caller asks about `world`.
pub(crate) fn asked(world: &World) -> Value {
    let evidence = world.evidence();
    let evidence = evidence.inspect_untrusted().as_wire();
    let evidence: Value = serde_json::from_slice(evidence).unwrap();
    json!({
        "policy": "checks",
        "evidence": evidence,
        "endorsements": [world.endorsements().inspect_untrusted().to_pem()],
        "challenge": crate::world::CHALLENGE.to_string(),
    })
}

/// A service that knows the policy of an accepting world.
pub(crate) async fn accepting() -> (World, Folder, Running) {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    folder.policy("checks.toml", &world);
    let running = Running::start(folder.config()).await;
    (world, folder, running)
}

/// A private key in PEM.
pub(crate) fn private_pem(der: &[u8]) -> String {
    pem("PRIVATE KEY", der)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
