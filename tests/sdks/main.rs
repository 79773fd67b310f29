//! Other people's programs at the local proxy: two SDKs of the `OpenAI` API, curl and a browser, none of them changed.
//!
//! The whole stack is behind the proxy, with the hostile operator in between where a story has one. What a program says of itself
//! goes to standard error, so that a failure shows it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a story that cannot go on fails")]

mod answers;
mod browser;
mod curl;
mod embeddings;
mod ends;
mod engines;
mod errors;
mod helpers;
mod upstream;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use client::Client;
use proxy::Options;
use serde_json::{Value, json};
use tests::fleet::{Fleet, MODEL};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

/// No single step takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Every piece of its echo differs from every other, so that a misplaced one shows.
pub(crate) const PROMPT: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A proxy that serves until it is dropped.
pub(crate) struct Local {
    /// Where it is, without a path.
    pub(crate) url: String,
    serving: JoinHandle<()>,
}

impl Local {
    /// A proxy for `fleet` as `veritee proxy` would start it.
    pub(crate) async fn before(fleet: &Fleet) -> Self {
        Self::start(fleet.client(), Options::default()).await
    }

    pub(crate) async fn start(client: Client, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            proxy::serve(listener, client, options, std::future::pending()).await.unwrap();
        });
        Self { url, serving }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An SDK of the `OpenAI` API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sdk {
    /// `openai` of Python.
    Python,
    /// `openai` of npm.
    Node,
}

impl Sdk {
    pub(crate) const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// Starts a program that makes the calls that it is told to make, of `proxy`.
    pub(crate) fn at(self, proxy: &Local) -> Session {
        let base = format!("{}/v1", proxy.url);
        let mut command = match self {
            Self::Python => {
                let mut python = Command::new("python3");
                python.arg(source("sdk.py")).env("PYTHONPATH", tool("python"));
                python
            }
            Self::Node => {
                let mut node = Command::new("node");
                node.arg(source("sdk.mjs")).current_dir(tool("node"));
                node
            }
        };
        let mut child = command
            .arg(base)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let calls = child.stdin.take().unwrap();
        let seen = BufReader::new(child.stdout.take().unwrap()).lines();
        Session { _child: child, calls, seen }
    }
}

/// An SDK at work.
pub(crate) struct Session {
    _child: Child,
    calls: ChildStdin,
    seen: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Makes one call, and waits for what the caller saw.
    pub(crate) async fn call(&mut self, call: Value) -> Value {
        self.begin(&call).await;
        self.seen().await
    }

    /// Makes one call without waiting.
    pub(crate) async fn begin(&mut self, call: &Value) {
        self.calls.write_all(format!("{call}\n").as_bytes()).await.unwrap();
    }

    /// What the caller of the oldest call saw.
    pub(crate) async fn seen(&mut self) -> Value {
        let line = timeout(PATIENCE, self.seen.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("the SDK's program ended; see above"));
        serde_json::from_str(&line).unwrap()
    }

    /// Asks for an echo of `prompt`, with `more` parameters.
    pub(crate) async fn chat(&mut self, prompt: &str, more: Value) -> Value {
        self.call(json!({"do": "chat", "params": chat(prompt, more)})).await
    }
}

/// The parameters of a chat completion.
pub(crate) fn chat(prompt: &str, more: Value) -> Value {
    with(json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}]}), more)
}

/// One object with the members of another.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    base.as_object_mut().unwrap().extend(more);
    base
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// A file beside this one.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks").join(name)
}

/// What `make tools` fetched.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(name);
    assert!(path.exists(), "{} is missing: `make tools` fetches it", path.display());
    path
}
