//! Another engine's server inside the same machine: vLLM, `SGLang` or llama-server, asked over a unix socket or loopback.
//!
//! What the client wrote is forwarded field by field, by a list: what names a cache, a slot or another
//! request is never among them. What separates tenants is set here. Answers pass as they came, but for
//! the names of the answer and its counts of tokens. Only the paths of [`Route`] are ever asked for.

#![forbid(unsafe_code)]

mod address;
mod answer;
mod failure;
mod object;
mod request;
mod sse;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use address::{Address, NoAddress};
pub use answer::{End, Events, Finish, Names, Tokens, Whole};
use attestation::Secret;
use bytes::Bytes;
pub use failure::Failure;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Which program serves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// vLLM: prefixes are reused under the same `cache_salt` alone.
    Vllm,
    /// `SGLang`: likewise; versions without the field need `--disable-radix-cache`.
    Sglang,
    /// llama.cpp's server: no prefix is reused (`cache_prompt: false`).
    LlamaServer,
}

impl Kind {
    /// The name in configurations and manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaServer => "llama-server",
        }
    }
}

/// What the server is asked for; there is no way to ask for anything else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl Route {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

/// Where the server is, and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which program it is.
    pub kind: Kind,
    /// Where it listens.
    pub address: Address,
    /// Under what name it knows the model.
    pub model: String,
    /// For a connection.
    pub connect: Duration,
    /// For the first event of a stream.
    pub first: Duration,
    /// Between two events.
    pub idle: Duration,
    /// For an answer to end, from when it is asked for.
    pub answer: Duration,
}

/// What is asked, once it has been read and found good.
pub struct Question {
    /// Where.
    pub route: Route,
    /// The JSON object as the client wrote it.
    pub body: Secret<Vec<u8>>,
    /// Whose it is.
    pub tenant: [u8; 32],
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client asked for counts in the stream.
    pub usage: bool,
    /// How many answers are wanted.
    pub choices: u32,
    /// What the answer is to be called.
    pub names: Names,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("route", &self.route).finish_non_exhaustive()
    }
}

/// An answer that has begun; dropping it closes the connection, which cancels it.
#[derive(Debug)]
pub enum Reply {
    /// All of it.
    Whole(Whole),
    /// Event by event.
    Events(Box<Events>),
}

/// The server, as far as it is known.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
    salt: hmac::Key,
    ready: AtomicBool,
}

impl Upstream {
    /// A server that is not known to be ready; `secret` is made anew at every boot.
    pub fn new(settings: Settings, secret: &Secret<[u8; 32]>) -> Self {
        let salt = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        Self { settings, salt, ready: AtomicBool::new(false) }
    }

    /// Which program it is.
    pub const fn kind(&self) -> Kind {
        self.settings.kind
    }

    /// Whether it was well when it was last looked at.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Looks after the server for as long as it is polled, and says when it comes and goes.
    pub async fn watch(&self, tell: impl Fn(bool)) {
        loop {
            self.note(self.is_well().await, &tell);
            sleep(WATCH).await;
        }
    }

    fn note(&self, well: bool, tell: &impl Fn(bool)) {
        if self.ready.swap(well, Ordering::Relaxed) != well {
            tell(well);
        }
    }

    async fn is_well(&self) -> bool {
        let asked = async {
            let request = Request::get("/health").header(HOST, LOCAL).body(Full::default());
            let (response, _connection) = self.send(request.ok()?).await.ok()?;
            Some(response.status() == StatusCode::OK)
        };
        timeout(HEALTH_MAX, asked).await.ok().flatten().unwrap_or(false)
    }

    /// Asks, and gives the answer's beginning.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn ask(&self, question: Question) -> Result<Reply, Failure> {
        if !self.is_ready() {
            return Err(Failure::Unreachable);
        }
        let Settings { first, idle, answer, .. } = self.settings;
        let now = Instant::now();
        let deadline = now.checked_add(answer).unwrap_or(now);
        let tag = hmac::sign(&self.salt, &[LABEL, &question.tenant].concat());
        let salt = hex::encode(tag.as_ref());
        let body = request::write(&self.settings, &question, &salt).ok_or(Failure::Broken)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(question.route.path())
            .header(HOST, LOCAL)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, if question.stream { EVENTS } else { "application/json" })
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Failure::Broken)?;
        let patience = if question.stream { first.min(answer) } else { answer };
        let replied = async {
            let (response, connection) = self.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(failure::read(response).await);
            }
            let media = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |m| m.as_bytes());
            if media.starts_with(EVENTS.as_bytes()) != question.stream {
                return Err(Failure::Broken);
            }
            let body = response.into_body();
            if question.stream {
                let mut events = Events::new(body, connection, &question, idle, deadline);
                events.begin().await?;
                Ok(Reply::Events(Box::new(events)))
            } else {
                Whole::read(body, &question.names).await.map(Reply::Whole)
            }
        };
        timeout(patience, replied).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Every request has a connection of its own: to close it is to cancel.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let connecting = async {
            match &self.settings.address {
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.ok()?;
                    shake(TokioIo::new(stream)).await
                }
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.ok()?;
                    shake(TokioIo::new(stream)).await
                }
            }
        };
        let connected = timeout(self.settings.connect, connecting).await;
        let (mut sender, connection) = connected.ok().flatten().ok_or(Failure::Unreachable)?;
        let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
        Ok((response, connection))
    }
}

/// A connection that lasts as long as this does.
#[derive(Debug)]
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn shake<S>(stream: TokioIo<S>) -> Option<(http1::SendRequest<Full<Bytes>>, Connection)>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let shaken = http1::Builder::new().max_buf_size(BUFFER_LEN_MAX).handshake(stream).await;
    let (sender, connection) = shaken.ok()?;
    // How it ends is told by the answer.
    let connection = tokio::spawn(async move { drop(connection.await) });
    Some((sender, Connection(connection)))
}

const LABEL: &[u8] = b"veritee cache salt v1";
const LOCAL: &str = "localhost";
const EVENTS: &str = "text/event-stream";
/// How often the server is looked at.
const WATCH: Duration = Duration::from_millis(500);
/// For the server to say that it is well.
const HEALTH_MAX: Duration = Duration::from_secs(5);
/// Octets that a connection reads ahead.
const BUFFER_LEN_MAX: usize = 64 << 10;
