//! Connections to one enclave.
//!
//! A request drives its own connection: there is no task beside the client's, so what a stream costs is one task and the
//! buffers of two connections, and who stops reading a response stops the enclave that writes it. A connection whose
//! exchange ended well is kept for the next one. Nobody drives it meanwhile; what happened to it is found out when it is
//! taken up again.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header, uri::Authority};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Empty};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tls::{CurrentIdentity, Stream};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    body::Upload,
    config::{Enclave, Reach, Timeouts},
    guard::{Guard, GuardCounts, PinsNow},
};

/// One enclave, as something that requests are sent to.
pub(crate) struct Upstream {
    authority: Authority,
    /// None where the enclave is reached by plain HTTP, on loopback.
    guard: Option<Arc<Guard>>,
    connect_max: Duration,
    kept: Mutex<Kept>,
}

/// What is sent: a client's request, or a question of the router's own.
pub(crate) type Outgoing = Either<Box<Upload>, Empty<Bytes>>;

/// A response on its way from an enclave, together with the connection that it comes by.
///
/// Dropped before its end it closes the connection, which is how the enclave learns that nobody listens.
pub(crate) struct Arriving {
    body: Incoming,
    link: Option<Link>,
    home: Arc<Upstream>,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Lost {
    /// There is no connection, and no octet of the request has left.
    Unreachable(io::Error),
    /// The connection died, or what came by it was not HTTP, and the request may have arrived.
    Broke(hyper::Error),
}

/// One connection, and the handle that requests are given to.
struct Link {
    sender: SendRequest<Outgoing>,
    /// None once the connection has ended.
    driver: Option<Driver>,
    /// Of [`Kept`], when the connection was made.
    epoch: u64,
}

/// What moves a connection's octets whenever it is polled.
type Driver = Pin<Box<Connection<TokioIo<Stream>, Outgoing>>>;

/// The connections that nobody uses, and since when.
#[derive(Default)]
struct Kept {
    links: Vec<(Link, Instant)>,
    /// Grows whenever other keys are pinned: what was made before is not kept any more, wherever it is.
    epoch: u64,
}

impl Upstream {
    /// None for an address without a host, which the configuration refuses.
    pub(crate) fn new(
        enclave: &Enclave,
        identity: Option<&Arc<CurrentIdentity>>,
        timeouts: &Timeouts,
    ) -> Option<Arc<Self>> {
        let authority = enclave.url.authority()?.clone();
        let connect_max = timeouts.connect;
        let guard = match &enclave.reach {
            Reach::Plain => None,
            Reach::Tls(source) => {
                let identity = identity.cloned();
                Some(Arc::new(Guard::new(&enclave.name, source, identity, connect_max)))
            }
        };
        Some(Arc::new(Self { authority, guard, connect_max, kept: Mutex::default() }))
    }

    /// `host:port`.
    pub(crate) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What the metrics say of its TLS, where there is any.
    pub(crate) fn tls(&self) -> Option<GuardCounts> {
        self.guard.as_ref().map(|guard| guard.counts())
    }

    /// A request for one of the enclave's own paths.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &'static str,
        body: Outgoing,
    ) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(path);
        // An authority has no octet that a header may not have.
        if let Ok(host) = HeaderValue::from_str(self.authority.as_str()) {
            request.headers_mut().insert(header::HOST, host);
        }
        request
    }

    /// Sends a request, by a connection that was kept if one is still good, and returns the response's head when it is there.
    ///
    /// It goes to another connection only when no octet of it has left (docs/protocol.md §5.6).
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Arriving>, Lost> {
        while let Some(mut link) = self.take(Instant::now()) {
            if !link.is_alive().await {
                continue;
            }
            match link.exchange(request).await {
                Ok(response) => return Ok(self.arriving(response, link)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broke(error.into_error())),
                },
            }
        }
        let mut link = self.connect().await.map_err(Lost::Unreachable)?;
        match link.exchange(request).await {
            Ok(response) => Ok(self.arriving(response, link)),
            Err(error) => Err(self.broke(error.into_error())),
        }
    }

    /// Reads again who may answer, if that is in a file. Connections to those who may no more are not used again.
    pub(crate) async fn refresh(&self) {
        if let Some(guard) = &self.guard
            && guard.refresh().await == PinsNow::Others
        {
            let mut kept = self.kept();
            kept.links.clear();
            kept.epoch = kept.epoch.saturating_add(1);
        }
    }

    fn broke(&self, error: hyper::Error) -> Lost {
        if let Some(guard) = &self.guard {
            guard.broke(&error);
        }
        Lost::Broke(error)
    }

    async fn connect(&self) -> io::Result<Link> {
        // Before it is asked who is pinned: this can be too old, and never too new.
        let epoch = self.kept().epoch;
        let connected = timeout(self.connect_max, TcpStream::connect(self.authority.as_str()));
        let tcp = connected.await??;
        tcp.set_nodelay(true)?;
        let stream = match &self.guard {
            None => Stream::Plain(tcp),
            Some(guard) => guard.secure(self.authority.host(), tcp).await?,
        };
        let handshake = Builder::new()
            .read_buf_exact_size(Some(READ_BYTES))
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, driver) = handshake.map_err(io::Error::other)?;
        Ok(Link { sender, driver: Some(Box::pin(driver)), epoch })
    }

    fn arriving(self: &Arc<Self>, response: Response<Incoming>, link: Link) -> Response<Arriving> {
        if let Some(guard) = &self.guard {
            guard.answered();
        }
        response.map(|body| {
            // A body that is empty is never asked for its end.
            let over = body.is_end_stream() && link.is_idle();
            let link = if over { self.keep(link) } else { Some(link) };
            Arriving { body, link, home: Arc::clone(self) }
        })
    }

    /// Closes the connections that have been idle for too long.
    pub(crate) fn prune(&self, now: Instant) {
        self.kept().links.retain(|(_, since)| now.saturating_duration_since(*since) < IDLE_MAX);
    }

    /// The connection that was used last: those that are not needed grow old.
    fn take(&self, now: Instant) -> Option<Link> {
        let (link, since) = self.kept().links.pop()?;
        (now.saturating_duration_since(since) < IDLE_MAX).then_some(link)
    }

    /// Nothing is left of the connection where it came from, whether or not there is room for it here.
    fn keep(&self, link: Link) -> Option<Link> {
        let mut kept = self.kept();
        if kept.links.len() < KEPT_MAX && link.epoch == kept.epoch {
            kept.links.push((link, Instant::now()));
        }
        None
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    async fn exchange(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Looks whether the enclave closed a kept connection, or said something unasked, while nobody was looking.
    async fn is_alive(&mut self) -> bool {
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            Poll::Ready(())
        })
        .await;
        self.is_idle()
    }

    /// Whether the last exchange is over in both directions and the next one may begin.
    fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Moves octets. Where the connection fails, the exchange that was under way hears of it.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
        *driver = None;
    }
}

impl Arriving {
    /// The response has ended: its connection is kept if the request has ended too, and closed otherwise.
    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(mut link) = self.link.take() {
            drive(&mut link.driver, cx);
            if link.is_idle() {
                self.home.keep(link);
            }
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(link) = &mut this.link {
            drive(&mut link.driver, cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(frame) => frame.is_none() || this.body.is_end_stream(),
        };
        if ended {
            this.end(cx);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// What one read of an enclave's connection may take, which is also the longest head of a response. A cell has 530 octets,
/// and ours send five headers.
const READ_BYTES: usize = 4 << 10;

/// Connections that are kept for the next requests to one enclave, and for how long: less than the five seconds after which
/// enclaves close them unless told otherwise. A request that meets that moment is lost, and nobody may send it again.
const KEPT_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_secs(4);
