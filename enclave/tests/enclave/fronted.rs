//! What holds for every answer, when a server of the same machine gives it: padding, tenants, leaving, waiting, dawdling.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use attestation::receipt::{FinishReason, Usage};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use channel::padding::CELL_LEN;
use enclave::Serving;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::front::{before, folder, until_ready};
use crate::support::{self, Answer, Peer, sealed_request, user};

/// A server whose answers the test plays.
struct Stage {
    socket: PathBuf,
    asked: Arc<Mutex<mpsc::UnboundedReceiver<Asked>>>,
    heard: mpsc::UnboundedSender<Asked>,
    server: JoinHandle<()>,
}

/// One request that it got.
struct Asked {
    body: Value,
    answer: mpsc::Sender<Bytes>,
}

struct Played(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Played {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|octets| octets.map(|octets| Ok(Frame::data(octets))))
    }
}

impl Stage {
    /// With an enclave before it that is ready.
    async fn new(story: &str, top: &str, end: &str) -> (Self, Serving) {
        let folder = folder(story);
        let (socket, model) = (folder.join("s"), folder.join("model"));
        std::fs::write(&model, "weights").unwrap();
        let (heard, asked) = mpsc::unbounded_channel();
        let server = listen(&socket, &heard);
        let stage = Self { socket, asked: Arc::new(Mutex::new(asked)), heard, server };
        let serving = stage.enclave(top, end).await;
        (stage, serving)
    }

    /// One more enclave before it.
    async fn enclave(&self, top: &str, end: &str) -> Serving {
        let model = self.socket.with_file_name("model");
        let (serving, _watching) = before("vllm", &self.socket, &model, top, end).await;
        until_ready(&serving, true).await;
        serving
    }

    async fn next(&self) -> Asked {
        soon(async { self.asked.lock().await.recv().await }).await.unwrap()
    }

    /// It ends, and what it was answering with it.
    async fn dies(&mut self) {
        self.server.abort();
        drop((&mut self.server).await);
        std::fs::remove_file(&self.socket).unwrap();
    }

    fn comes_back(&mut self) {
        self.server = listen(&self.socket, &self.heard);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.abort();
        drop(std::fs::remove_dir_all(self.socket.parent().unwrap()));
    }
}

fn listen(socket: &PathBuf, heard: &mpsc::UnboundedSender<Asked>) -> JoinHandle<()> {
    let heard = heard.clone();
    let chat = move |Json(body): Json<Value>| async move {
        let media = if body["stream"] == true { "text/event-stream" } else { "application/json" };
        let (answer, played) = mpsc::channel(1);
        heard.send(Asked { body, answer }).unwrap();
        ([("content-type", media)], Body::new(Played(played))).into_response()
    };
    let router = axum::Router::new()
        .route("/health", get(async || ""))
        .route("/v1/chat/completions", post(chat));
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

impl Asked {
    async fn say(&self, event: &Value) {
        let event = format!("data: {event}\n\n");
        soon(self.answer.send(event.into())).await.unwrap();
    }

    async fn text(&self, text: &str, said: u32) {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        self.say(&json!({"choices": [choice], "usage": usage(said)})).await;
    }

    async fn end(self, said: u32) {
        let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
        self.say(&json!({"choices": [choice]})).await;
        self.say(&json!({"choices": [], "usage": usage(said)})).await;
        soon(self.answer.send("data: [DONE]\n\n".into())).await.unwrap();
    }
}

fn usage(said: u32) -> Value {
    json!({"prompt_tokens": 7, "completion_tokens": said, "total_tokens": 7 + said})
}

/// Whatever should happen soon.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), event).await.expect("in time")
}

fn texts(answer: &Answer) -> String {
    let chunks = answer.chunks_json();
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

const STREAM: &str = r#","stream":true"#;

#[tokio::test]
async fn paced_answers_come_in_cells_whatever_the_server_does() {
    let (stage, serving) = Stage::new("paced", "padding = \"p2\"", "").await;
    let peer = Peer::of(&serving).await;
    let sealed = peer.seal_chat(&user("x", STREAM));
    let post = support::post(&serving, sealed.body.clone());
    let first = async {
        let asked = stage.next().await;
        asked.text("a", 1).await;
        asked
    };
    let (response, asked) = tokio::join!(post, first);
    let mut body = response.into_body();
    let mut octets = Vec::new();
    // It is silent, and that does not show: there are more cells than anything said can fill.
    while octets.len() < 12 * CELL_LEN {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        octets.extend_from_slice(&frame.into_data().unwrap());
    }
    let long = "b".repeat(3 * CELL_LEN);
    let rest = async {
        asked.text(&long, 2).await;
        asked.end(2).await;
    };
    let (more, ()) = tokio::join!(body.collect(), rest);
    octets.extend_from_slice(&more.unwrap().to_bytes());
    let answer = peer.open(sealed, &octets);
    assert!(answer.chunks.iter().all(|len| *len == CELL_LEN), "{:?}", answer.chunks);
    assert_eq!(texts(&answer), format!("a{long}"));
    assert!(answer.chunks_json().iter().all(|event| event.get("usage").is_none()));
    assert_eq!(answer.receipt.usage, Usage { prompt: 7, completion: 2, cached: 0 });
}

#[tokio::test]
async fn unpaced_events_fill_cells_by_powers_of_two() {
    let (stage, serving) = Stage::new("cells", "", "").await;
    let peer = Peer::of(&serving).await;
    let mut cells = Vec::new();
    for len in [2 * CELL_LEN + 1, 3 * CELL_LEN, 5 * CELL_LEN] {
        let text = "c".repeat(len);
        let play = async {
            let asked = stage.next().await;
            asked.text(&text, 1).await;
            asked.end(1).await;
        };
        let json = user("x", STREAM);
        let (answer, ()) = tokio::join!(peer.ask(&serving, &json), play);
        assert_eq!(texts(&answer), text);
        assert!(answer.chunks.iter().all(|len| *len == CELL_LEN), "{:?}", answer.chunks);
        cells.push(answer.chunks.len());
    }
    assert_eq!((cells[0], cells[0] + 4), (cells[1], cells[2]));
}

#[tokio::test]
async fn a_tenant_has_a_salt_of_its_own_for_one_boot() {
    let (stage, serving) = Stage::new("salts", "", "").await;
    let again = stage.enclave("", "").await;
    let mut salts = Vec::new();
    for (serving, tenant) in [(&serving, "ab"), (&serving, "ab"), (&serving, "cd"), (&again, "ab")]
    {
        let peer = Peer::of(serving).await;
        let mut request = peer.chat(&user("x", STREAM));
        request.fields = channel::Fields::new()
            .with("content-type", "application/json")
            .and_then(|fields| {
                fields.with(channel::names::BINDING, peer.statement.binding_id().to_string())
            })
            .and_then(|fields| fields.with(channel::names::TENANT, tenant.repeat(32)))
            .unwrap();
        let sealed = peer.seal(&request);
        let play = async {
            let asked = stage.next().await;
            let salt = asked.body["cache_salt"].as_str().unwrap().to_owned();
            asked.end(0).await;
            salt
        };
        let (response, salt) = tokio::join!(support::post(serving, sealed.body.clone()), play);
        assert_eq!(peer.open(sealed, &support::collect(response).await).status, 200);
        assert!(!salt.contains(&tenant.repeat(8)), "the tenant's name goes nowhere");
        salts.push(salt);
    }
    assert_eq!(salts[0], salts[1]);
    assert_ne!(salts[0], salts[2], "another tenant");
    assert_ne!(salts[0], salts[3], "another boot");
}

/// Serves over TCP, where a client can leave and dawdle.
async fn serve(serving: &Serving) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(enclave::serve(listener, serving.clone(), std::future::pending()));
    address
}

async fn send(address: std::net::SocketAddr, request: Request<Body>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_client_that_leaves_is_left_by_the_server_s_connection_too() {
    for (top, more) in [("", STREAM), ("", ""), ("padding = \"p2\"", STREAM)] {
        let (stage, serving) = Stage::new("leaves", top, "").await;
        let peer = Peer::of(&serving).await;
        let address = serve(&serving).await;
        let body = peer.seal_chat(&user("x", more)).body;
        let response = send(address, sealed_request(body)).await;
        let asked = stage.next().await;
        if more == STREAM {
            asked.text("a", 1).await;
        }
        assert!(!asked.answer.is_closed());
        drop(response);
        soon(asked.answer.closed()).await;
    }
}

#[tokio::test]
async fn a_slow_reader_stalls_neither_others_nor_the_server_for_ever() {
    for top in ["", "padding = \"p2\""] {
        let (stage, serving) = Stage::new("dawdles", top, "[limits]\nstall_s = 1").await;
        let peer = Peer::of(&serving).await;
        let address = serve(&serving).await;
        let slow = peer.seal_chat(&user("x", STREAM)).body;
        let unread = send(address, sealed_request(slow)).await;
        let asked = stage.next().await;
        let flood = async move {
            let long = "d".repeat(100_000);
            let choice = json!({"index": 0, "delta": {"content": long}, "finish_reason": null});
            let event = format!("data: {}\n\n", json!({"choices": [choice]}));
            // Until nobody takes it any more: what is not read is not taken from the server either.
            while asked.answer.send(event.clone().into()).await.is_ok() {}
        };
        let flooding = tokio::spawn(flood);
        let quick = async {
            let asked = stage.next().await;
            asked.text("quick", 1).await;
            asked.end(1).await;
        };
        let sealed = peer.seal_chat(&user("x", STREAM));
        let answered = async {
            let response = send(address, sealed_request(sealed.body.clone())).await;
            response.into_body().collect().await.unwrap().to_bytes()
        };
        let (octets, ()) = soon(async { tokio::join!(answered, quick) }).await;
        assert_eq!(texts(&peer.open(sealed, &octets)), "quick");
        if !top.is_empty() {
            // At a cell a tick, the kernel's buffers would take minutes to fill.
            drop(unread);
        }
        soon(flooding).await.unwrap();
    }
}

#[tokio::test]
async fn each_wait_for_the_server_ends_inside_the_seal() {
    let (stage, serving) = Stage::new("waits", "", "first_s = 1\nidle_s = 1").await;
    let peer = Peer::of(&serving).await;
    let json = user("x", STREAM);
    // Silence from the beginning.
    let (answer, asked) = tokio::join!(peer.ask(&serving, &json), stage.next());
    assert_eq!(answer.receipt.finish, FinishReason::Error, "{}", answer.json());
    assert!(answer.status >= 500, "{}", answer.status);
    soon(asked.answer.closed()).await;
    // And after some words: these are counted.
    let play = async {
        let asked = stage.next().await;
        asked.text("a", 3).await;
        asked.text("b", 5).await;
        asked
    };
    let (answer, asked) = tokio::join!(peer.ask(&serving, &json), play);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.receipt.finish, FinishReason::Aborted);
    assert_eq!(answer.receipt.usage, Usage { prompt: 7, completion: 5, cached: 0 });
    soon(asked.answer.closed()).await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let (mut stage, serving) = Stage::new("returns", "", "").await;
    let peer = Peer::of(&serving).await;
    for _ in 0..2 {
        let dying = async {
            let asked = stage.next().await;
            asked.text("half", 2).await;
            asked
        };
        let sealed = peer.seal_chat(&user("x", STREAM));
        let post = support::post(&serving, sealed.body.clone());
        let (response, asked) = tokio::join!(post, dying);
        drop(asked);
        stage.dies().await;
        let answer = peer.open(sealed, &support::collect(response).await);
        assert_eq!(answer.receipt.finish, FinishReason::Aborted);
        assert_eq!(answer.receipt.usage.completion, 2);
        until_ready(&serving, false).await;
        assert_eq!(peer.ask(&serving, &user("x", "")).await.status, 503);
        stage.comes_back();
        until_ready(&serving, true).await;
        let play = async {
            let asked = stage.next().await;
            asked.text("whole", 1).await;
            asked.end(1).await;
        };
        let json = user("x", STREAM);
        let (answer, ()) = tokio::join!(peer.ask(&serving, &json), play);
        assert_eq!(
            (texts(&answer), answer.receipt.finish),
            ("whole".to_owned(), FinishReason::Stop)
        );
    }
}
