//! The real programs, started as an operator and a user start them, with a tiny model.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{sdk, told::PATIENCE};

/// A folder of its own for one story; it goes when the story ends.
struct Place(PathBuf);

/// A program that runs until it is told to stop.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_starts_the_stack_and_a_user_verifies_it() {
    let place = Place::new("operator");
    let pki = place.path("pki");
    let made = place.run("veritee-sim", &["init", "--dir", &pki]).await;
    assert!(made.status.success(), "{made:?}");
    let socket = place.path("platform.sock");
    let mut platform = place.start("veritee-sim", &["serve", "--dir", &pki, "--socket", &socket]);
    platform.line().await;

    let config = place.enclave_config(&socket);
    let checked =
        place.run("veritee-enclave", &["--config", &config, "--check-config", "--json"]).await;
    let digests: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let [manifest, config_digest] =
        ["manifest_digest", "config_digest"].map(|key| digests[key].as_str().unwrap());
    let accept = ["policy", "--dir", &pki, "--model-name", "tiny", "--manifest-digest", manifest];
    let accept = [&accept[..], &["--config-digest", config_digest]].concat();
    let rendered = place.run("veritee-sim", &accept).await;
    assert!(rendered.status.success(), "{rendered:?}");
    let policy = place.path("pki/simulation.toml");

    let mut enclave = place.start("veritee-enclave", &["--config", &config]);
    let ready = enclave.line().await;
    let url = ready.strip_prefix("ready enclave=").unwrap().split(' ').next().unwrap();
    let fleet = place.path("router.toml");
    fs::write(&fleet, format!("listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"{url}\"\n"))
        .unwrap();
    let mut router = place.start("veritee-router", &["--config", &fleet]);
    let ready = router.line().await;
    let router_url = ready.strip_prefix("ready router=").unwrap();
    until_ready(router_url).await;

    let verify = |policy: String, url: String| {
        let place = &place;
        async move { place.run("veritee", &["verify", &url, "--policy", &policy, "--json"]).await }
    };
    for url in [url, router_url] {
        let verified = verify(policy.clone(), url.to_owned()).await;
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        let verdict: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(
            (&verdict["verdict"], &verdict["anchors"]),
            (&json!("accepted"), &json!("untrusted"))
        );
    }
    let strict = repository("policies/snp-evaluation.toml");
    let refused = verify(strict, router_url.to_owned()).await;
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");

    let ask = ["chat", "--router", router_url, "--policy", &policy, "--model", "tiny", "Hello"];
    let answered = place.run("veritee", &ask).await;
    assert_eq!(answered.status.code(), Some(0), "{answered:?}");
    let another =
        ["chat", "--router", router_url, "--policy", &policy, "--model", "other", "Hello"];
    assert_eq!(place.run("veritee", &another).await.status.code(), Some(10));

    for program in [router, enclave, platform] {
        assert!(program.stop().await.success());
    }
    assert_eq!(
        place.run("veritee", &ask).await.status.code(),
        Some(20),
        "nobody is there any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_demo_answers_an_sdk_until_it_is_stopped() {
    let place = Place::new("serve");
    let model = place.tiny_model();
    let mut demo = place.start("veritee", &["demo", "--serve", "--port", "0", "--model", &model]);
    let ready = loop {
        let line = demo.line().await;
        if line.starts_with("ready ") {
            break line;
        }
    };
    let (proxy, router) =
        ready.strip_prefix("ready proxy=").unwrap().split_once(" router=").unwrap();
    until_ready(router).await;
    let models = sdk::ask(proxy, "", 0).await["models"].clone();
    let model = models[0].as_str().unwrap();
    let seen = sdk::ask(proxy, model, 0).await;
    for way in ["stream", "whole"] {
        assert!(seen[way]["error"].is_null() && seen[way]["finish"].is_string(), "{way}: {seen}");
    }
    let router = router.strip_prefix("http://").unwrap().to_owned();
    assert!(demo.stop().await.success());
    assert!(tokio::net::TcpStream::connect(router).await.is_err(), "the router outlived the demo");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_and_shows_every_refusal() {
    let place = Place::new("demo");
    let model = place.tiny_model();
    let done = place.run("veritee", &["demo", "--prompt", "Hello", "--model", &model]).await;
    let shown =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{shown}");
    for code in [
        "member-mismatch",
        "challenge-not-answered",
        "ohttp-key",
        "root-not-trusted",
        "untrusted-anchors",
    ] {
        assert!(shown.contains(code), "{code} is not in\n{shown}");
    }
}

/// Waits until a router at `url` has an enclave that serves.
async fn until_ready(url: &str) {
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let relay = tests::relay::Relay::start(address).await;
    for _ in 0..1_000 {
        if relay.get("/readyz").await.0.is_success() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no enclave became ready behind {url}");
}

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).to_string_lossy().into_owned()
}

/// A program of the same build as this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        path.is_file(),
        "{} is missing: `cargo build --workspace --bins` makes it",
        path.display()
    );
    path
}

impl Place {
    fn new(story: &str) -> Self {
        // Short: the path of a unix socket has a hundred octets.
        let path = std::env::temp_dir().join(format!("veritee-{story}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn tiny_model(&self) -> String {
        let path = self.path("tiny.gguf");
        fs::write(&path, engine::tiny::model(engine::TensorType::F32)).unwrap();
        path
    }

    fn enclave_config(&self, socket: &str) -> String {
        let model = self.tiny_model();
        let sha256 = attestation::Sha256::of(&fs::read(&model).unwrap());
        let path = self.path("enclave.toml");
        let text = format!(
            "[platform]\nkind = \"socket\"\npath = \"{socket}\"\n\
             [model]\npath = \"tiny.gguf\"\nsha256 = \"{sha256}\"\nnames = [\"tiny\"]\n\
             [engine]\nthreads = 1\ncontext = 128\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// What the user's folders are is the story's business: all of them are here.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null()).kill_on_drop(true);
        for (variable, folder) in [
            ("HOME", "home"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).unwrap();
            command.env(variable, folder);
        }
        command
    }

    async fn run(&self, name: &str, arguments: &[&str]) -> Output {
        timeout(PATIENCE, self.command(name, arguments).output()).await.unwrap().unwrap()
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let log = fs::File::create(self.0.join(format!("{name}.log"))).unwrap();
        let mut child =
            self.command(name, arguments).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
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
    /// The next line that it prints.
    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap_or_else(|| panic!("it stopped instead of speaking"))
    }

    /// Sends SIGTERM and waits.
    async fn stop(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }
}
