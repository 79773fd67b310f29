//! Over real connections: clients that leave or dawdle, and the way out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use enclave::Serving;
use engine::{Engine, GenerationEvent};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Peer, Played, delta, sealed_request, start_with, user};

struct Server {
    address: SocketAddr,
    serving: Serving,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn serve(engine: Arc<dyn Engine>, top: &str, end: &str) -> Server {
    let serving = start_with(engine, top, end).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap_or(()) };
    let ended = tokio::spawn(enclave::serve(listener, serving.clone(), shutdown));
    Server { address, serving, stop, ended }
}

async fn send(address: SocketAddr, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

async fn readiness(address: SocketAddr) -> StatusCode {
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    send(address, request).await.unwrap().status()
}

/// Whatever should happen soon.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), event).await.expect("in time")
}

const FINISHED: GenerationEvent =
    GenerationEvent::Finished { reason: engine::FinishReason::Stop, completion_tokens: 1 };

#[tokio::test]
async fn client_that_goes_away_cancels_its_generation() {
    for (top, more) in
        [("", r#","stream":true"#), ("", ""), ("padding = \"p2\"", r#","stream":true"#)]
    {
        let (engine, mut stage) = Played::new();
        let server = serve(engine, top, "").await;
        let peer = Peer::of(&server.serving).await;
        let response = send(server.address, sealed_request(peer.seal_chat(&user("x", more)).body));
        let response = response.await.unwrap();
        let (_, events) = soon(stage.recv()).await.unwrap();
        events.send(delta("a", 1)).await.unwrap();
        assert!(!events.is_closed());
        drop(response);
        soon(events.closed()).await;
    }
}

#[tokio::test]
async fn slow_reader_stalls_itself_alone_and_not_for_ever() {
    let (engine, mut stage) = Played::new();
    let server = serve(engine, "", "[limits]\nstall_s = 1").await;
    let peer = Peer::of(&server.serving).await;
    let stream = r#","stream":true"#;
    let slow = send(server.address, sealed_request(peer.seal_chat(&user("x", stream)).body));
    let _unread = slow.await.unwrap();
    let (_, events) = soon(stage.recv()).await.unwrap();
    let text = "a".repeat(4000);
    for n in 0..4000 {
        events.try_send(delta(&text, n)).expect("the generation's channel has room");
    }
    // Meanwhile another client is answered.
    let sealed = peer.seal_chat(&user("x", stream));
    let other = send(server.address, sealed_request(sealed.body.clone())).await.unwrap();
    let (_, quick) = soon(stage.recv()).await.unwrap();
    quick.send(delta("a", 1)).await.unwrap();
    quick.send(FINISHED).await.unwrap();
    let octets = soon(other.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(peer.open(sealed, &octets).status, 200);
    soon(events.closed()).await;
}

#[tokio::test]
async fn who_takes_nothing_loses_the_connection() {
    let (engine, mut stage) = Played::new();
    let server = serve(engine, "", "[limits]\nstall_s = 1\nconnections = 1").await;
    let peer = Peer::of(&server.serving).await;
    let request = sealed_request(peer.seal_chat(&user("x", r#","stream":true"#)).body);
    let _unread = send(server.address, request).await.unwrap();
    let (_, events) = soon(stage.recv()).await.unwrap();
    let text = "a".repeat(4000);
    for n in 0..4000 {
        events.try_send(delta(&text, n)).expect("the generation's channel has room");
    }
    assert_eq!(soon(readiness(server.address)).await, StatusCode::OK);
}

#[tokio::test]
async fn answer_that_breaks_off_never_looks_whole() {
    let (played, _stage) = Played::new();
    let server = serve(Arc::new(Panics(played.description().clone())), "", "").await;
    let peer = Peer::of(&server.serving).await;
    for _ in 0..2 {
        let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
        let response = send(server.address, sealed_request(sealed.body.clone())).await.unwrap();
        let octets = response.into_body().collect().await.unwrap().to_bytes();
        let answer = peer.open(sealed, &octets);
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (500, &"internal_error".into())
        );
    }
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let (engine, mut stage) = Played::new();
    let server = serve(engine, "", "").await;
    let peer = Peer::of(&server.serving).await;
    let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
    let response = send(server.address, sealed_request(sealed.body.clone())).await.unwrap();
    let (_, events) = soon(stage.recv()).await.unwrap();
    assert_eq!(readiness(server.address).await, StatusCode::OK);
    server.stop.send(()).unwrap();
    soon(async {
        while readiness(server.address).await != StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let late = sealed_request(peer.seal_chat(&user("x", "")).body);
    let late = send(server.address, late).await.unwrap();
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!server.ended.is_finished());
    events.send(delta("a", 1)).await.unwrap();
    events.send(FINISHED).await.unwrap();
    let octets = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(peer.open(sealed, &octets).status, 200);
    soon(server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn draining_has_a_limit_and_what_is_cut_shows_it() {
    let (engine, mut stage) = Played::new();
    let server = serve(engine, "", "[limits]\ndrain_s = 1").await;
    let peer = Peer::of(&server.serving).await;
    let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
    let response = send(server.address, sealed_request(sealed.body)).await.unwrap();
    let (_, _events) = soon(stage.recv()).await.unwrap();
    server.stop.send(()).unwrap();
    soon(server.ended).await.unwrap().unwrap();
    assert!(soon(response.into_body().collect()).await.is_err(), "never a clean end");
}

#[tokio::test]
async fn head_that_does_not_come_ends_the_connection() {
    let (engine, _stage) = Played::new();
    let server = serve(engine, "", "[limits]\nheader_s = 1").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /v1/ohttp HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded() {
    let (engine, _stage) = Played::new();
    let server = serve(engine, "", "[limits]\nconnections = 1\nheader_s = 2").await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let next = readiness(server.address);
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(300), &mut next).await.is_err(), "waits for a place");
    assert_eq!(soon(next).await, StatusCode::OK, "the idle one was ended");
}

#[tokio::test]
async fn only_loopback_is_served() {
    let (engine, _stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = enclave::serve(listener, serving, std::future::pending()).await.unwrap_err();
    assert!(refused.to_string().contains("TLS"));
}

/// An engine with a defect.
struct Panics(engine::ModelDescription);

impl Engine for Panics {
    fn start(&self, _: engine::Request) -> Result<engine::Generation, engine::EngineError> {
        panic!("a defect of the engine");
    }
    fn description(&self) -> &engine::ModelDescription {
        &self.0
    }
}
