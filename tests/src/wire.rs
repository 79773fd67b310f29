//! The wire: one HTTP request at a time as a test writes it, and taps that put down every octet that passes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

/// A relay of octets that keeps all that passes, in either direction.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Kept>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Kept {
    upstream: Mutex<SocketAddr>,
    gate: watch::Sender<Gate>,
    streams: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
}

/// What becomes of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// So many more octets of each connection pass.
    Hold(usize),
    /// Connections end where they are.
    Shut,
}

/// A request for `path`: POST with `json` where there is some, GET otherwise.
pub fn request(path: &str, json: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(json.unwrap_or_default().to_owned())));
    *request.uri_mut() = path.parse().expect("a test's path is one");
    if json.is_some() {
        *request.method_mut() = Method::POST;
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    request
}

/// The same with an API key.
pub fn with_key(mut request: Request<Full<Bytes>>, key: &str) -> Request<Full<Bytes>> {
    let bearer = format!("Bearer {key}").parse().expect("a key fits a header");
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    request
}

/// Sends a request on a connection of its own, and waits for the head of the answer.
///
/// # Errors
/// Why there is none, for people.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    send_over(stream, address, request).await
}

/// Sends a request by TLS, or without where there is no connector.
///
/// # Errors
/// Why there is no answer, for people.
pub async fn send_by(
    connector: Option<&tls::Connector>,
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let Some(connector) = connector else { return send(address, request).await };
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let host = address.ip().to_string();
    let stream =
        connector.connect(&host, stream).await.map_err(|error| format!("connect: {error}"))?;
    send_over(stream, address, request).await
}

async fn send_over<S>(
    stream: S,
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("handshake: {error}"))?;
    let connection = tokio::spawn(async move { drop(connection.await) });
    let host = address.to_string().parse().expect("an address fits a header");
    request.headers_mut().entry(header::HOST).or_insert(host);
    let (head, body) =
        sender.send_request(request).await.map_err(|error| format!("send: {error}"))?.into_parts();
    Ok(Answer { status: head.status, headers: head.headers, body, connection })
}

impl Answer {
    /// The next octets of the body; `None` after a clean end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self.body.frame().await {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(format!("body: {error}")),
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// The connection broke, or there is more than a harness holds.
    pub async fn whole(mut self) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        while let Some(octets) = self.next().await? {
            whole.extend_from_slice(&octets);
            if whole.len() > BODY_BYTES_MAX {
                return Err("a body too long for the harness".to_owned());
            }
        }
        Ok(whole)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Tap {
    /// Starts a tap in front of `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Kept {
            upstream: Mutex::new(upstream),
            gate: watch::Sender::new(Gate::Open),
            streams: Mutex::new(Vec::new()),
        });
        let kept = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&kept)));
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Lets so many more octets of answers pass on each connection, and keeps the rest back.
    pub fn hold_after(&self, octets: usize) {
        self.shared.gate.send_replace(Gate::Hold(octets));
    }

    /// Lets everything pass again.
    pub fn let_pass(&self) {
        self.shared.gate.send_replace(Gate::Open);
    }

    /// Ends all connections, without what was kept back: as if who answers had died. Until [`let_pass`](Self::let_pass) no answer
    /// comes through.
    pub fn cut(&self) {
        self.shared.gate.send_replace(Gate::Shut);
    }

    /// All that passed so far: one entry for each direction of each connection.
    pub fn streams(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.streams).iter().map(|stream| lock(stream).clone()).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, kept: Arc<Kept>) {
    let upstream = *lock(&kept.upstream);
    let Ok(Ok(server)) = timeout(Duration::from_secs(2), TcpStream::connect(upstream)).await else {
        return;
    };
    let ((client_in, client_out), (server_in, server_out)) =
        (client.into_split(), server.into_split());
    // Whoever breaks off has to be noticed by the other side, so the end of either direction is the end of both.
    tokio::select! {
        () = copy(client_in, server_out, kept.stream(), None) => {}
        () = copy(server_in, client_out, kept.stream(), Some(kept.gate.subscribe())) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    kept: Arc<Mutex<Vec<u8>>>,
    mut gate: Option<watch::Receiver<Gate>>,
) {
    let mut buffer = vec![0; BUFFER];
    let mut room = room_behind(gate.as_mut());
    while let Some(free) = room {
        let changed = async {
            match &mut gate {
                Some(gate) => drop(gate.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changed => room = room_behind(gate.as_mut()),
            read = from.read(&mut buffer[..free]), if free > 0 => {
                let Ok(length @ 1..) = read else { break };
                lock(&kept).extend_from_slice(&buffer[..length]);
                if to.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
                if gate.as_ref().is_some_and(|gate| matches!(*gate.borrow(), Gate::Hold(_))) {
                    room = Some(free.saturating_sub(length));
                }
            }
        }
    }
    // The other side may be gone already.
    drop(to.shutdown().await);
}

/// How many octets may pass from now on; none at all where the connection is to end.
fn room_behind(gate: Option<&mut watch::Receiver<Gate>>) -> Option<usize> {
    match gate.map_or(Gate::Open, |gate| *gate.borrow_and_update()) {
        Gate::Open => Some(BUFFER),
        Gate::Hold(octets) => Some(octets.min(BUFFER)),
        Gate::Shut => None,
    }
}

impl Kept {
    fn stream(&self) -> Arc<Mutex<Vec<u8>>> {
        let stream = Arc::default();
        lock(&self.streams).push(Arc::clone(&stream));
        stream
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What passes at a time, and the most that passes a gate that holds.
const BUFFER: usize = 16 << 10;

/// What the harness holds of one body.
const BODY_BYTES_MAX: usize = 64 << 20;
