//! The hostile operator: a relay between a client and a router that follows a [`Script`].
//!
//! It is a real HTTP server in front of a real HTTP client, so what clients see is what a hostile network could send them. It
//! holds no key: it changes, keeps, repeats and withholds octets, as any operator could.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    framing::{Framed, RESPONSE_HEAD},
    octets::Asked,
    script::{On, Script, Step},
};

/// What was carried: one request and its answer, as the client sent the one and the upstream the other.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Method and path.
    pub asked: (Method, String),
    /// The client's headers.
    pub headers: HeaderMap,
    /// The client's body.
    pub request: Bytes,
    /// The upstream's status.
    pub status: StatusCode,
    /// The upstream's body, as far as it came. Empty where it passed unbuffered.
    pub response: Bytes,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: SocketAddr,
    client: Client<HttpConnector, BoxBody<Bytes, Infallible>>,
    script: Mutex<Script>,
    carried: Mutex<VecDeque<Exchange>>,
    evidence: Mutex<Option<Bytes>>,
}

/// An upstream's answer, read whole.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// It ended where it said it would.
    complete: bool,
}

/// What a path is to the relay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fleet,
    Evidence,
    Sealed,
    Other,
}

impl Relay {
    /// Starts an honest relay to the router at `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            upstream,
            client: Client::builder(TokioExecutor::new()).build_http(),
            script: Mutex::new(Script::Honest),
            carried: Mutex::new(VecDeque::new()),
            evidence: Mutex::new(None),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("the relay serves");
                connections.spawn(converse(Arc::clone(&serving), stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, task }
    }

    /// Where clients believe that the router is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Follows another script from the next request on.
    pub fn play(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// What was carried so far, oldest first; at most the last 64.
    pub fn carried(&self) -> Vec<Exchange> {
        lock(&self.shared.carried).iter().cloned().collect()
    }

    /// The sealed exchanges among them.
    pub fn sealed(&self) -> Vec<Exchange> {
        let mut carried = self.carried();
        carried.retain(|exchange| Kind::of(&exchange.asked.1) == Kind::Sealed);
        carried
    }

    /// The same, once there are as many as `count`: an exchange is put down when its last octet has passed.
    pub async fn until_sealed(&self, count: usize) -> Vec<Exchange> {
        for _ in 0..500 {
            let sealed = self.sealed();
            if sealed.len() >= count {
                return sealed;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("fewer than {count} sealed requests were carried");
    }

    /// Asks the router, past the script.
    pub async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        let whole = self.shared.ask(&Method::GET, path, &HeaderMap::new(), Bytes::new()).await;
        (whole.status, whole.body)
    }

    /// Sends a sealed request again, as it was carried: status and body of the answer.
    pub async fn send_again(&self, exchange: &Exchange) -> (StatusCode, Bytes) {
        self.send_instead(exchange, exchange.request.clone()).await
    }

    /// The same with another body.
    pub async fn send_instead(&self, exchange: &Exchange, body: Bytes) -> (StatusCode, Bytes) {
        let (method, path) = &exchange.asked;
        let whole = self.shared.ask(method, path, &exchange.headers, body).await;
        (whole.status, whole.body)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection. A raw script writes the answer itself; everything else is a server's answer.
async fn converse(shared: Arc<Shared>, mut stream: TcpStream) {
    // Small pieces leave when they are made, as they would from a router.
    drop(stream.set_nodelay(true));
    let script = lock(&shared.script).clone();
    if let Script::Raw { on, answer } = script {
        if let Some(asked) = Asked::read(&mut stream).await {
            let steps = shared.spell(asked, on, &*answer).await;
            // How a client takes it is the client's business.
            drop(write(&mut stream, steps).await);
        }
        return;
    }
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(relay(shared, request.map(Body::new)).await) }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn write(stream: &mut TcpStream, steps: Vec<Step>) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Send(octets) => stream.write_all(&octets).await?,
            Step::Stall(time) => sleep(time).await,
            Step::Abort => return Ok(()),
            Step::Endless { octets, pause } => loop {
                stream.write_all(&octets).await?;
                sleep(pause).await;
            },
        }
    }
    stream.shutdown().await
}

async fn relay(shared: Arc<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let script = lock(&shared.script).clone();
    if matches!(script, Script::Honest) {
        return shared.pass(&head.method, &path, &head.headers, body).await;
    }
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return answer(StatusCode::BAD_REQUEST, &HeaderMap::new(), Body::empty()),
    };
    shared.follow(script, &head.method, &path, &head.headers, body).await
}

impl Shared {
    /// The honest way: octets go on as they come. They are kept too, for later scripts.
    async fn pass(
        self: &Arc<Self>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Response<Body> {
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return answer(StatusCode::BAD_REQUEST, &HeaderMap::new(), Body::empty());
        };
        let body = body.to_bytes();
        let Ok(incoming) =
            self.client.request(self.outgoing(method, path, headers, body.clone())).await
        else {
            return answer(StatusCode::BAD_GATEWAY, &HeaderMap::new(), Body::empty());
        };
        let (head, incoming) = incoming.into_parts();
        let keeper = Keeper {
            shared: Arc::clone(self),
            exchange: Exchange {
                asked: (method.clone(), path.to_owned()),
                headers: headers.clone(),
                request: body,
                status: head.status,
                response: Bytes::new(),
            },
            seen: Vec::new(),
        };
        let body = stream::unfold((incoming, keeper), |(mut incoming, mut keeper)| async move {
            let frame = incoming.frame().await?;
            let data = frame.map(|frame| frame.into_data().unwrap_or_default());
            if let Ok(data) = &data {
                keeper.seen.extend_from_slice(data);
            }
            Some((data, (incoming, keeper)))
        });
        answer(head.status, &head.headers, Body::from_stream(body))
    }

    async fn follow(
        &self,
        script: Script,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Body> {
        let kind = Kind::of(path);
        if let (Kind::Sealed, Script::Answer { status, media_type, body: answered }) =
            (kind, &script)
        {
            let mut own = HeaderMap::new();
            own.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
            self.keep(Exchange {
                asked: (method.clone(), path.to_owned()),
                headers: headers.clone(),
                request: body,
                status: *status,
                response: Bytes::from(answered.clone()),
            });
            return answer(*status, &own, Body::from(answered.clone()));
        }
        if let (Kind::Sealed, Script::ReplayResponse, Some(earlier)) =
            (kind, &script, self.earlier_response())
        {
            return answer(StatusCode::OK, &sealed_headers(), Body::from(earlier));
        }
        let body_sent = match (kind, &script) {
            (Kind::Sealed, Script::Request(edit)) => Bytes::from(edit(&body)),
            (_, _) => body.clone(),
        };
        let path_sent = match (kind, &script) {
            (Kind::Evidence, Script::EvidenceOf(node)) => format!("/v1/nodes/{node}/evidence"),
            (Kind::Sealed, Script::Misdeliver(node)) => format!("/v1/nodes/{node}/ohttp"),
            (Kind::Sealed, Script::RequestHead { path: edit, .. }) => edit(path),
            (_, _) => path.to_owned(),
        };
        let mut method_sent = method.clone();
        let mut headers_sent = headers.clone();
        if let (Kind::Sealed, Script::RequestHead { method, headers, .. }) = (kind, &script) {
            method_sent = method.clone();
            for (name, value) in headers {
                headers_sent.insert(*name, http::HeaderValue::from_static(value));
            }
        }
        let (method_sent, headers_sent) = (&method_sent, &headers_sent);
        let mut whole = self.ask(method_sent, &path_sent, headers_sent, body_sent.clone()).await;
        self.keep(Exchange {
            asked: (method.clone(), path.to_owned()),
            headers: headers.clone(),
            request: body,
            status: whole.status,
            response: whole.body.clone(),
        });
        match (kind, script) {
            (Kind::Fleet, Script::Fleet(edit)) | (Kind::Evidence, Script::Evidence(edit))
                if whole.is_ok() =>
            {
                whole.body = Bytes::from(edit(&whole.body));
                whole.respond()
            }
            (Kind::Evidence, Script::StaleEvidence) => {
                if let Some(first) = lock(&self.evidence).clone() {
                    whole.body = first;
                }
                whole.respond()
            }
            (Kind::Sealed, Script::ReplayRequest) => {
                self.ask(method, &path_sent, headers, body_sent).await.respond()
            }
            (Kind::Sealed, Script::Response(tamper)) if whole.is_ok() => {
                let steps = tamper(Framed::parse(&whole.body, RESPONSE_HEAD));
                answer(whole.status, &whole.headers, play(steps))
            }
            (Kind::Sealed, Script::Head { status, headers }) => {
                for (name, value) in headers {
                    whole.headers.insert(name, http::HeaderValue::from_static(value));
                }
                whole.status = status;
                whole.respond()
            }
            (_, _) => whole.respond(),
        }
    }

    /// What a raw script makes of one request; what it is not about is passed on.
    async fn spell(
        &self,
        asked: Asked,
        on: On,
        answer: &(dyn Fn(&[u8]) -> Vec<Step> + Send + Sync),
    ) -> Vec<Step> {
        let Asked { method, path, headers, body } = asked;
        let whole = self.ask(&method, &path, &headers, body.clone()).await;
        self.keep(Exchange {
            asked: (method, path.clone()),
            headers,
            request: body,
            status: whole.status,
            response: whole.body.clone(),
        });
        let kind = Kind::of(&path);
        let meant = match on {
            On::Fleet => kind == Kind::Fleet,
            On::Evidence => kind == Kind::Evidence,
            On::Sealed => kind == Kind::Sealed,
        };
        if meant { answer(&whole.body) } else { vec![Step::Send(whole.plain())] }
    }

    /// Asks the upstream and reads the answer whole.
    async fn ask(&self, method: &Method, path: &str, headers: &HeaderMap, body: Bytes) -> Whole {
        let outgoing = self.outgoing(method, path, headers, body);
        let Ok(incoming) = self.client.request(outgoing).await else {
            let (headers, body) = (HeaderMap::new(), Bytes::new());
            return Whole { status: StatusCode::BAD_GATEWAY, headers, body, complete: true };
        };
        let (head, mut incoming) = incoming.into_parts();
        let mut body = Vec::new();
        let mut complete = true;
        while let Some(frame) = incoming.frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(_)) => {}
                Err(_) => complete = false,
            }
            assert!(body.len() <= BODY_BYTES_MAX, "a response too long for the harness");
        }
        Whole { status: head.status, headers: head.headers, body: Bytes::from(body), complete }
    }

    fn outgoing(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> http::Request<BoxBody<Bytes, Infallible>> {
        let uri: Uri = format!("http://{}{path}", self.upstream)
            .parse()
            .expect("a path that came in goes out");
        let mut request = http::Request::new(Full::new(body).boxed());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = carried_on(headers);
        request
    }

    fn keep(&self, exchange: Exchange) {
        if Kind::of(&exchange.asked.1) == Kind::Evidence && exchange.status.is_success() {
            lock(&self.evidence).get_or_insert_with(|| exchange.response.clone());
        }
        let mut carried = lock(&self.carried);
        if carried.len() >= CARRIED_MAX {
            carried.pop_front();
        }
        carried.push_back(exchange);
    }

    fn earlier_response(&self) -> Option<Bytes> {
        let carried = lock(&self.carried);
        let sealed = |exchange: &&Exchange| {
            Kind::of(&exchange.asked.1) == Kind::Sealed && exchange.status.is_success()
        };
        carried.iter().rev().find(sealed).map(|exchange| exchange.response.clone())
    }
}

/// Keeps an exchange that passes unbuffered, once it is over.
struct Keeper {
    shared: Arc<Shared>,
    exchange: Exchange,
    seen: Vec<u8>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut exchange = self.exchange.clone();
        exchange.response = Bytes::from(std::mem::take(&mut self.seen));
        self.shared.keep(exchange);
    }
}

impl Whole {
    fn is_ok(&self) -> bool {
        self.status.is_success() && self.complete
    }

    fn respond(self) -> Response<Body> {
        let mut steps = vec![Step::Send(self.body.to_vec())];
        if !self.complete {
            steps.push(Step::Abort);
        }
        answer(self.status, &self.headers, play(steps))
    }
}

impl Whole {
    /// The answer on the wire, with its length.
    fn plain(&self) -> Vec<u8> {
        let media = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status.as_u16(),
            media.unwrap_or("text/plain"),
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

impl Kind {
    fn of(path: &str) -> Self {
        match path.rsplit('/').next() {
            Some("fleet") => Self::Fleet,
            Some("evidence") => Self::Evidence,
            Some("ohttp") => Self::Sealed,
            Some(_) | None => Self::Other,
        }
    }
}

/// A body that does what the steps say.
fn play(steps: Vec<Step>) -> Body {
    let steps = steps.into_iter();
    Body::from_stream(stream::unfold((steps, None), |(mut steps, endless)| async move {
        if let Some((octets, pause)) = endless {
            sleep(pause).await;
            return Some((Ok(Bytes::clone(&octets)), (steps, Some((octets, pause)))));
        }
        loop {
            match steps.next()? {
                // An empty piece would be no piece.
                Step::Send(octets) if octets.is_empty() => {}
                Step::Send(octets) => return Some((Ok(Bytes::from(octets)), (steps, None))),
                Step::Endless { octets, pause } => {
                    let octets = Bytes::from(octets);
                    return Some((Ok(octets.clone()), (steps, Some((octets, pause)))));
                }
                Step::Stall(time) => sleep(time).await,
                Step::Abort => {
                    // What was sent before has to be on the wire before the connection dies.
                    sleep(Duration::from_millis(20)).await;
                    let died = io::Error::from(io::ErrorKind::ConnectionAborted);
                    return Some((Err(died), (steps, None)));
                }
            }
        }
    }))
}

fn answer(status: StatusCode, headers: &HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = carried_on(headers);
    response
}

/// Headers without those that belong to one connection: lengths are made anew.
fn carried_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::HOST]
    {
        headers.remove(name);
    }
    headers
}

fn sealed_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("message/ohttp-chunked-res"));
    headers.insert("incremental", http::HeaderValue::from_static("?1"));
    headers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// What the harness holds of one body.
const BODY_BYTES_MAX: usize = 64 << 20;

/// How many exchanges are kept.
const CARRIED_MAX: usize = 64;
