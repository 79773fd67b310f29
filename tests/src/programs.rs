//! The real programs, started as an operator and a user start them, in a folder of their own.
//!
//! All that they may write is below a [`Place`]: their working folder, the user's folders, the folder of temporary files, and what
//! they print.

use std::{
    fmt, fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use attestation::Sha256;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::wire;

/// No program takes longer to speak or to stop.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The model's name in every configuration that is made here.
pub const MODEL: &str = "tiny";

/// A folder of its own for one story; it goes when the story ends.
#[derive(Debug)]
pub struct Place(PathBuf);

/// A program that runs until it is told to stop.
pub struct Running {
    child: Child,
    id: u32,
    said: PathBuf,
    read: usize,
}

/// Whether the kernel may write a core of a program that aborts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// As the machine has it.
    Default,
    /// Of any size, as far as those who start the program have a say.
    Unlimited,
}

/// The digests of one enclave's configuration, which a policy pins.
#[derive(Clone, Debug)]
pub struct Digests {
    /// Of the model's manifest.
    pub manifest: String,
    /// Of the effective configuration.
    pub config: String,
}

impl Place {
    /// An empty folder for `story`.
    pub fn new(story: &str) -> Self {
        // Short: the path of a unix socket has a hundred octets.
        let path = std::env::temp_dir().join(format!("veritee-{story}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("the folder of temporary files can be written to");
        Self(path)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("a story's folder can be written to");
        path
    }

    /// Writes a file of it that its owner alone can read.
    pub fn write_secret(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .expect("a file that was just written is ours");
        path
    }

    /// What the programs that were started under `label` have logged.
    pub fn log(&self, label: &str) -> String {
        let bytes = fs::read(self.0.join(format!("{label}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The tiny model's file.
    pub fn tiny_model(&self) -> String {
        self.write("tiny.gguf", engine::tiny::model(engine::TensorType::F32))
    }

    /// The configuration of an enclave with the tiny model, at `listen`; `top` are lines before its tables, `limits` lines of that
    /// table and, below it, more tables.
    pub fn enclave_config(
        &self,
        name: &str,
        listen: SocketAddr,
        top: &str,
        limits: &str,
    ) -> String {
        let model = self.tiny_model();
        let sha256 = Sha256::of(&fs::read(&model).expect("the model was just written"));
        let socket = self.socket();
        let text = format!(
            "listen = \"{listen}\"\n{top}\n[platform]\nkind = \"socket\"\npath = \"{socket}\"\n\
             [model]\npath = \"tiny.gguf\"\nsha256 = \"{sha256}\"\nnames = [\"{MODEL}\"]\n\
             [engine]\nthreads = 1\ncontext = 512\n[limits]\n{limits}\n"
        );
        self.write(name, text)
    }

    /// Where the simulated platform serves.
    pub fn socket(&self) -> String {
        self.path("platform.sock")
    }

    /// Makes a test PKI and starts the simulated platform.
    pub async fn platform(&self) -> Running {
        let pki = self.path("pki");
        let made = self.run("veritee-sim", &["init", "--dir", &pki]).await;
        assert!(made.status.success(), "{made:?}");
        self.start_platform().await
    }

    /// Starts the simulated platform on the PKI that is there.
    pub async fn start_platform(&self) -> Running {
        let (pki, socket) = (self.path("pki"), self.socket());
        let mut platform =
            self.start("veritee-sim", &["serve", "--dir", &pki, "--socket", &socket]);
        platform.line().await;
        platform
    }

    /// What a policy has to pin to accept an enclave with this configuration.
    pub async fn digests(&self, config: &str) -> Digests {
        let asked = ["--config", config, "--check-config", "--json"];
        let checked = self.run("veritee-enclave", &asked).await;
        assert!(checked.status.success(), "{checked:?}");
        let digests: Value = serde_json::from_slice(&checked.stdout).expect("digests as JSON");
        let [manifest, config] = ["manifest_digest", "config_digest"]
            .map(|key| digests[key].as_str().expect("a digest").to_owned());
        Digests { manifest, config }
    }

    /// Writes the policy that accepts enclaves with these digests, all with one model; its path.
    pub async fn policy(&self, accepted: &[Digests]) -> String {
        let pki = self.path("pki");
        let manifest = accepted.first().map_or("", |digests| &digests.manifest);
        let mut arguments =
            vec!["policy", "--dir", &pki, "--model-name", MODEL, "--manifest-digest", manifest];
        for digests in accepted {
            arguments.extend(["--config-digest", &digests.config]);
        }
        let rendered = self.run("veritee-sim", &arguments).await;
        assert!(rendered.status.success(), "{rendered:?}");
        self.path("pki/simulation.toml")
    }

    /// Makes an authority, and a certificate by it for a router at 127.0.0.1: `ca.pem`, `router.pem` and `router.key`.
    pub fn certificates(&self) {
        let [ca_key, key] = [0; 2].map(|_| KeyPair::generate().expect("keys are made"));
        let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).expect("an authority signs for itself");
        let named = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let signed = named.signed_by(&key, &Issuer::new(ca, ca_key)).expect("an authority signs");
        self.write("ca.pem", root.pem());
        self.write("router.pem", signed.pem());
        self.write_secret("router.key", key.serialize_pem());
    }

    /// Makes the certificate by which enclaves know the router, `identity.pem` and `identity.key`: its pin.
    pub async fn identity(&self) -> String {
        let [certificate, key] = ["identity.pem", "identity.key"].map(|name| self.path(name));
        let arguments = ["identity", "new", "--certificate", &certificate, "--key", &key];
        let made = self.run("veritee-router", &arguments).await;
        assert!(made.status.success(), "{made:?}");
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        let at = said.find("sha256:").unwrap_or_else(|| panic!("no pin in {said:?}"));
        said[at..]
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == ':')
            .collect()
    }

    /// Adds an API key called `name` to the file `keys.toml`: its id and the key.
    pub async fn add_key(&self, name: &str, limits: &[&str]) -> (String, String) {
        let keys = self.path("keys.toml");
        let arguments = ["keys", "add", "--keys", &keys, "--name", name];
        let added = self.run("veritee-router", &[&arguments, limits].concat()).await;
        assert!(added.status.success(), "{added:?}");
        let key = String::from_utf8_lossy(&added.stdout).trim().to_owned();
        let id = key.split('_').nth(1).expect("a key holds its id").to_owned();
        (id, key)
    }

    /// A command for a program of ours, whose every folder is here.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        self.confine(command.args(arguments));
        command
    }

    /// Runs a program to its end.
    pub async fn run(&self, name: &str, arguments: &[&str]) -> Output {
        timeout(PATIENCE, self.command(name, arguments).output())
            .await
            .unwrap_or_else(|_| panic!("{name} {arguments:?} does not end"))
            .expect("the program starts")
    }

    /// Starts a program under its own name.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Running {
        self.start_as(name, name, arguments, Cores::Default)
    }

    /// Starts a program; what it prints goes to the files `LABEL.out` and `LABEL.log`, after what is there.
    pub fn start_as(&self, label: &str, name: &str, arguments: &[&str], cores: Cores) -> Running {
        let mut command = match cores {
            Cores::Default => Command::new(program(name)),
            Cores::Unlimited => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""]).arg(program(name));
                shell
            }
        };
        self.confine(command.args(arguments));
        self.spawn(label, command)
    }

    /// Starts any command; what it prints goes to the same files.
    pub fn spawn(&self, label: &str, mut command: Command) -> Running {
        let said = self.0.join(format!("{label}.out"));
        let append = |path: &Path| {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .expect("a log can be written")
        };
        let read =
            fs::metadata(&said).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
        command.stdout(append(&said)).stderr(append(&self.0.join(format!("{label}.log"))));
        let child = command.spawn().expect("the program starts");
        let id = child.id().expect("a program that was not waited for has an id");
        Running { child, id, said, read }
    }

    /// What the user's folders are is the story's business: all of them are here.
    pub fn confine<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(&self.0).stdin(Stdio::null()).kill_on_drop(true);
        for (variable, folder) in [
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).expect("a story's folder can be written to");
            command.env(variable, folder);
        }
        // What makes other programs say more makes ours say nothing more; what they say is looked at.
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    drop(std::io::Write::write_fmt(
                        &mut std::io::stderr(),
                        format_args!("{}:\n{text}\n", entry.path().display()),
                    ));
                }
            }
        }
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Running {
    /// Its process.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The processes that it has started, and that run.
    pub fn children(&self) -> Vec<u32> {
        let all = fs::read_dir("/proc").expect("processes are listed").flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        ids.filter(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // After the name, which may hold anything: the state, and the parent.
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let mut fields = rest.split_ascii_whitespace();
            let runs = fields.next().is_some_and(|state| state != "Z");
            runs && fields.next() == Some(self.id.to_string().as_str())
        })
        .collect()
    }

    /// The process of its engine: the only one that an enclave starts.
    pub fn engine(&self) -> Option<u32> {
        let children = self.children();
        let [engine] = children[..] else { return None };
        Some(engine)
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        self.try_line().await.unwrap_or_else(|why| panic!("{} {why}", self.said.display()))
    }

    /// The next line that it prints, or why there is none.
    pub async fn try_line(&mut self) -> Result<String, String> {
        let next = async {
            loop {
                let ended = self.child.try_wait().map_err(|error| error.to_string())?;
                let said = fs::read(&self.said).unwrap_or_default();
                let rest = said.get(self.read..).unwrap_or_default();
                if let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
                    self.read = self.read.saturating_add(end).saturating_add(1);
                    return Ok(String::from_utf8_lossy(&rest[..end]).into_owned());
                }
                if let Some(status) = ended {
                    return Err(format!("stopped instead of speaking: {status}"));
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| Err("says nothing".to_owned()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal by name, `STOP` say.
    pub async fn signal(&self, signal: &str) {
        self::signal(self.id, signal).await;
    }

    /// Sends SIGTERM and waits.
    pub async fn stop(self) -> ExitStatus {
        self.signal("TERM").await;
        self.wait().await
    }

    /// Waits for its end.
    pub async fn wait(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} does not end", self.said.display()))
            .expect("a child can be waited for")
    }
}

/// Sends a signal to a process that we, or a program of ours, have started.
pub async fn signal(id: u32, signal: &str) {
    let id = id.to_string();
    let sent = Command::new("kill").args(["-s", signal, &id]).status().await;
    assert!(sent.expect("kill is there").success(), "{signal} to {id}");
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A program of the same build as this one.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    folders.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is missing: `cargo build --workspace --bins` makes it for tests")
    })
}

/// A port of loopback that nobody uses, outside of those that the kernel gives to clients: who restarts there finds it free.
pub fn quiet_port() -> SocketAddr {
    let mut random = [0; 2];
    for _ in 0..1_000 {
        getrandom::fill(&mut random).expect("the system has randomness");
        let port = 20_000_u16.saturating_add(u16::from_be_bytes(random) % 10_000);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of loopback is free");
}

/// Waits until the router at `address` has `count` enclaves that serve; `connector` is for one that speaks TLS.
pub async fn until_ready(address: SocketAddr, connector: Option<&tls::Connector>, count: usize) {
    for _ in 0..3_000 {
        if ready(address, connector).await >= count {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{count} enclaves did not become ready behind {address}");
}

/// How many enclaves serve behind the router at `address`.
async fn ready(address: SocketAddr, connector: Option<&tls::Connector>) -> usize {
    let asked = wire::request("/v1/fleet", None);
    let Ok(answer) = wire::send_by(connector, address, asked).await else { return 0 };
    let body = answer.whole().await.unwrap_or_default();
    let fleet: Value = serde_json::from_slice(&body).unwrap_or_default();
    let nodes = fleet["nodes"].as_array().cloned().unwrap_or_default();
    nodes.iter().filter(|node| node["ready"] == true).count()
}

/// The address in a line like `ready router=http://127.0.0.1:8080`.
pub fn address_in(ready: &str) -> SocketAddr {
    let rest = ready.split_once("://").map_or("", |(_, rest)| rest);
    let address = rest.split(['/', ' ']).next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| panic!("no address in {ready:?}"))
}
