//! The programs of a stack as child processes, in a private folder of their own.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::arguments::DemoPlatform;
use crate::demo::model::{Model, NAME};
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

/// Simulated platform, enclave and router.
#[derive(Debug)]
pub(crate) struct Stack {
    platform: DemoPlatform,
    folder: PathBuf,
    programs: [PathBuf; 3],
    children: Vec<(&'static str, Child)>,
    router: String,
}

/// What the enclave says that its configuration and model hash to.
#[derive(Debug, Deserialize)]
struct Reference {
    config_digest: String,
    manifest_digest: String,
}

impl Stack {
    /// A stack that is not started, and the folder for it.
    pub(crate) fn new(world: &World, platform: DemoPlatform) -> Result<Self, Failure> {
        let programs = [
            world.sibling("veritee-sim")?,
            world.sibling("veritee-enclave")?,
            world.sibling("veritee-router")?,
        ];
        let folder = world.data()?.join("demo").join(format!("run-{}", std::process::id()));
        // A folder of an earlier process with our number, which did not get to remove it.
        drop(fs::remove_dir_all(&folder));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
            let message = format!("cannot make {}: {error}", folder.display());
            Failure::usage(message, "set XDG_DATA_HOME to a folder that can be written")
        })?;
        Ok(Self { platform, folder, programs, children: Vec::new(), router: String::new() })
    }

    /// What is simulated.
    pub(crate) const fn platform(&self) -> DemoPlatform {
        self.platform
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rendered policy.
    pub(crate) fn policy(&self) -> PathBuf {
        self.folder.join("platform/simulation.toml")
    }

    /// The router's address.
    pub(crate) fn router(&self) -> &str {
        &self.router
    }

    /// Starts everything, in order, and waits until each is ready.
    pub(crate) async fn start(&mut self, model: &Model, out: &Out) -> Result<(), Failure> {
        let [sim, enclave, router] = self.programs.clone();
        let platform = self.folder.join("platform");
        let socket = self.folder.join("platform.sock");
        if socket.as_os_str().len() > SOCKET_LEN_MAX {
            let message = format!("{} is too long for a socket's name", socket.display());
            return Err(Failure::usage(
                message,
                "set XDG_DATA_HOME to a folder with a shorter name",
            ));
        }

        out.note("platform  making a test root; it proves nothing about hardware");
        let machine: &[&str] = match self.platform {
            DemoPlatform::Snp => &["--platform", "sev-snp"],
            DemoPlatform::Tdx => &["--platform", "tdx"],
            DemoPlatform::SnpGpu => &["--platform", "sev-snp", "--gpus", "8", "--switches", "4"],
        };
        let mut command = Command::new(&sim);
        self.once(command.arg("init").arg("--dir").arg(&platform).args(machine)).await?;
        let mut command = Command::new(&sim);
        command.arg("serve").arg("--dir").arg(&platform).arg("--socket").arg(&socket);
        self.child("veritee-sim", command, out).await?;

        let has_devices = self.platform == DemoPlatform::SnpGpu;
        let config = enclave_config(&socket, has_devices.then_some(&socket), model);
        let config = self.write("enclave.toml", &config)?;
        let check = ["--check-config", "--json"];
        let said =
            self.once(Command::new(&enclave).arg("--config").arg(&config).args(check)).await?;
        let reference: Reference = serde_json::from_slice(&said)
            .map_err(|error| Failure::bug(format!("veritee-enclave --check-config: {error}")))?;
        self.once(
            Command::new(&sim)
                .arg("policy")
                .arg("--dir")
                .arg(&platform)
                .args(["--model-name", NAME])
                .args(["--manifest-digest", &reference.manifest_digest])
                .args(["--config-digest", &reference.config_digest]),
        )
        .await?;

        let mut command = Command::new(&enclave);
        command.arg("--config").arg(&config);
        let ready = self.child("veritee-enclave", command, out).await?;
        let address = field(&ready, "enclave=")?;

        let config = self.write("router.toml", &router_config(&address))?;
        let mut command = Command::new(&router);
        command.arg("--config").arg(&config);
        let ready = self.child("veritee-router", command, out).await?;
        self.router = field(&ready, "router=")?;
        Ok(())
    }

    /// Waits until one of the programs ends by itself, which none should.
    pub(crate) async fn died(&mut self) -> Failure {
        loop {
            for (name, child) in &mut self.children {
                if let Ok(Some(status)) = child.try_wait() {
                    let message = format!("{name} ended by itself: {status}");
                    return Failure::unavailable(
                        "program-died",
                        message,
                        "see what it said, and run again",
                    );
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Stops everything, last started first; then removes the folder, or says where the logs are.
    pub(crate) async fn stop(&mut self, and_remove: bool) -> Option<PathBuf> {
        while let Some((_, mut child)) = self.children.pop() {
            if let Some(id) = child.id() {
                let ask =
                    Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id.to_string()]).status();
                let asked = ask.await.is_ok_and(|status| status.success());
                if asked && timeout(STOP_MAX, child.wait()).await.is_ok() {
                    continue;
                }
            }
            // It is gone already where this fails.
            drop(child.kill().await);
        }
        if and_remove && fs::remove_dir_all(&self.folder).is_ok() {
            return None;
        }
        Some(self.folder.clone())
    }

    /// Runs a program to its end and gives what it wrote.
    async fn once(&self, command: &mut Command) -> Result<Vec<u8>, Failure> {
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| Failure::bug(format!("cannot start {command:?}: {error}")))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!("a program of the stack failed ({}): {}", output.status, said.trim());
        Err(Failure::unavailable("program-failed", message, "see its message, and run again"))
    }

    /// Starts a program and waits for the line that says that it is ready.
    async fn child(
        &mut self,
        name: &'static str,
        mut command: Command,
        out: &Out,
    ) -> Result<String, Failure> {
        let path = self.folder.join(format!("{name}.log"));
        let failed = |why: String| {
            Failure::unavailable(
                "program-failed",
                format!("{name} {why}"),
                "see its message, and run again",
            )
        };
        let log = File::create(&path).map_err(|error| failed(format!("cannot log: {error}")))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("has no output".to_owned()))?;
        // From here on it is stopped with the rest, whatever happens.
        self.children.push((name, child));
        let mut lines = BufReader::new(stdout.take(READY_LEN_MAX)).lines();
        let line = loop {
            let line = timeout(READY_MAX, lines.next_line())
                .await
                .map_err(|_| failed("is not ready after a long time".to_owned()))?;
            match line {
                Ok(Some(line)) if line.starts_with("ready ") => break line,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(failed(format!("did not become ready: {}", tail(&path))));
                }
            }
        };
        // Whatever it says later, its pipe must not fill up.
        let mut rest = lines.into_inner().into_inner().into_inner();
        tokio::spawn(async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await });
        let short = name.trim_start_matches("veritee-");
        out.note(format_args!("{short:<9} {line}"));
        Ok(line)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| {
            let message = format!("cannot write {}: {error}", path.display());
            Failure::usage(message, "make room, or set XDG_DATA_HOME")
        })?;
        Ok(path)
    }
}

fn enclave_config(socket: &Path, accelerators: Option<&PathBuf>, model: &Model) -> String {
    let (path, sha256) = (quoted(&model.path), model.sha256);
    let accelerators = accelerators
        .map(|socket| format!("accelerators = {}\n", quoted(socket)))
        .unwrap_or_default();
    format!(
        "listen = \"127.0.0.1:0\"\n\n[platform]\nkind = \"socket\"\npath = {}\n{accelerators}\n\
         [model]\npath = {path}\nsha256 = \"{sha256}\"\nnames = [\"{NAME}\"]\n",
        quoted(socket)
    )
}

fn router_config(enclave: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\n\n[[enclaves]]\nurl = \"{enclave}\"\n")
}

/// A path as a TOML string; JSON strings are TOML strings.
fn quoted(path: &Path) -> String {
    serde_json::Value::String(path.display().to_string()).to_string()
}

/// The value behind `key` in a line of words.
fn field(line: &str, key: &str) -> Result<String, Failure> {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(key));
    value.map(str::to_owned).ok_or_else(|| Failure::bug(format!("{line:?} lacks {key}")))
}

/// The end of a log.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// Longest name of a unix socket (`sun_path` has 108 octets, one of them the end).
const SOCKET_LEN_MAX: usize = 107;

/// Loading a model takes seconds, on slow disks a minute.
const READY_MAX: Duration = Duration::from_mins(2);

/// Octets before the ready line.
const READY_LEN_MAX: u64 = 64 << 10;

/// How long a program may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Between two looks at the programs.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
