//! The program itself: its flags, its one line, a real model, and SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use attestation::platform::{Request, Response, Signed, frame_len};
use attestation::{Bundle, ModelManifest, ReceiptKey, SealingKey, Sha256, Statement};
use axum::body::Body;
use engine::TensorType;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Peer, platform, sealed_request};

/// A folder of this test's own, with a configuration and the tiny model.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let model = engine::tiny::model(TensorType::Q8_0);
        std::fs::write(path.join("tiny.gguf"), &model).unwrap();
        let folder = Self(path);
        folder.configure(&Sha256::of(&model), "");
        folder
    }

    fn configure(&self, sha256: &Sha256, top: &str) {
        let socket = self.0.join("p.sock");
        let text = format!(
            "{top}\n[platform]\nkind = \"socket\"\npath = \"{}\"\n[model]\npath = \"tiny.gguf\"\nsha256 = \"{sha256}\"\nnames = [\"tiny\"]\n[engine]\nthreads = 1\ncontext = 256\n",
            socket.display()
        );
        std::fs::write(self.0.join("enclave.toml"), text).unwrap();
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veritee-enclave"));
        command.arg("--config").arg(self.0.join("enclave.toml"));
        command
    }

    fn check(&self, more: &[&str]) -> Output {
        self.program().arg("--check-config").args(more).output().unwrap()
    }

    /// A platform service for as long as the folder stands.
    fn serve_platform(&self) {
        let path = self.0.join("p.sock");
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut header = [0; 4];
                stream.read_exact(&mut header).unwrap();
                let mut contents = vec![0; frame_len(header).unwrap()];
                stream.read_exact(&mut contents).unwrap();
                let asked = Request::parse(&contents).unwrap();
                let Request::Report(report_data) = asked else { panic!("it has no accelerators") };
                let evidence = platform(&report_data).unwrap();
                let (cpu, event_log) = (evidence.cpu, evidence.event_log);
                let signed = Signed::Cpu { cpu, event_log };
                let endorsements = Box::new(evidence.endorsements);
                let answer = Response::Evidence { signed, endorsements };
                stream.write_all(&answer.encode()).unwrap();
            }
        });
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running program, killed when the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn check_config_prints_what_a_policy_pins() {
    let folder = Folder::new("check");
    let output = folder.check(&["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let checked: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let text = std::fs::read_to_string(folder.0.join("enclave.toml")).unwrap();
    let digest = enclave::Config::parse(&text).unwrap().digest();
    assert_eq!(checked["config_digest"], digest.to_string());
    assert_eq!(checked["manifest_digest"].as_str().unwrap().len(), 64);
    assert_eq!(checked["model_names"], serde_json::json!(["tiny"]));
    let plain = stdout(&folder.check(&[]));
    assert!(plain.contains(&format!("sha256:{digest}")), "{plain}");

    // Without the model the configuration's digest is still known.
    std::fs::remove_file(folder.0.join("tiny.gguf")).unwrap();
    let output = folder.check(&["--json"]);
    let checked: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(checked["config_digest"], digest.to_string());
    assert!(checked["manifest_digest"].is_null());
}

#[test]
fn what_is_unusable_is_said_and_exits_2() {
    let folder = Folder::new("unusable");
    folder.configure(&Sha256::of(b"another"), "");
    let output = folder.check(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    folder.configure(&Sha256::of(b""), "surprise = 1");
    let output = folder.check(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("surprise"));
    folder.configure(&Sha256::of(b""), "listen = \"0.0.0.0:1\"");
    assert!(String::from_utf8_lossy(&folder.check(&[]).stderr).contains("TLS"));
}

#[test]
fn without_its_platform_it_does_not_serve() {
    let folder = Folder::new("absent");
    let output = folder.program().output().unwrap();
    assert_eq!(output.status.code(), Some(20));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("evidence"), "{output:?}");
}

#[tokio::test]
async fn it_answers_with_a_real_model_logs_no_content_and_stops_on_sigterm() {
    const CANARY: &str = "canary-7f3a";
    let folder = Folder::new("serves");
    folder.serve_platform();
    let mut command = folder.program();
    // Nothing in the environment changes what it does or says.
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let Some(line) = lines.next() else {
        let mut why = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        panic!("not ready: {why}");
    };
    let line = line.unwrap();
    let (url, names) =
        line.strip_prefix("ready enclave=http://").unwrap().split_once(" node=").unwrap();
    let (node, spki) = names.split_once(" spki=").unwrap();

    let evidence = hyper::Request::get("/v1/evidence").body(Body::empty()).unwrap();
    let bundle = Bundle::parse(&send(url, evidence).await).unwrap();
    let peer = Peer {
        key: SealingKey::parse(&bundle.ohttp_keys).unwrap(),
        receipts: ReceiptKey::parse(&bundle.receipt_key).unwrap(),
        statement: Statement::parse(&bundle.statement).unwrap(),
        manifest: Sha256::of(&bundle.manifest),
    };
    assert_eq!(peer.statement.node_id.to_string(), node);
    assert_eq!(spki, format!("sha256:{}", peer.statement.tls_spki));
    let checked: serde_json::Value =
        serde_json::from_str(&stdout(&folder.check(&["--json"]))).unwrap();
    assert_eq!(checked["manifest_digest"], peer.manifest.to_string());
    assert_eq!(checked["config_digest"], peer.statement.config.to_string());
    assert_eq!(ModelManifest::parse(&bundle.manifest).unwrap().names, ["tiny"]);

    let json = format!(
        r#"{{"model":"tiny","messages":[{{"role":"user","content":"{CANARY}"}}],"max_tokens":5,"temperature":0}}"#
    );
    let mut answers = Vec::new();
    for _ in 0..2 {
        let sealed = peer.seal_chat(&json);
        let octets = send(url, sealed_request(sealed.body.clone())).await;
        let answer = peer.open(sealed, &octets);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answers.push(answer.json()["choices"][0]["message"]["content"].clone());
    }
    assert_eq!(answers[0], answers[1], "greedy");

    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut log = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(lines.next().is_none(), "one line");
    assert!(!log.contains(CANARY));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["target"], "veritee_enclave");
    }
    assert!(log.contains("\"stopped\""), "{log}");
}

async fn send(address: &str, request: hyper::Request<Body>) -> Vec<u8> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    };
    timeout(Duration::from_mins(1), exchange).await.expect("in time")
}
