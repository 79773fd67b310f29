//! HTTP to the router: bounded, with a limit on every wait.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tls::{Authorities, Connector, Dialer, Servers, TlsError};
use tokio::time::timeout;

use crate::config::{Scheme, Timeouts};
use crate::error::Error;

/// Connections to one router.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<Dialer, Full<Bytes>>,
    timeouts: Timeouts,
    /// For the router alone; goes with every request to it.
    authorization: Option<HeaderValue>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Transport {
    /// Connections by one scheme, and by no other: TLS is not left out because an address says so.
    pub(crate) fn new(
        timeouts: Timeouts,
        authorization: Option<HeaderValue>,
        scheme: Scheme,
        authorities: &Authorities,
    ) -> Result<Self, Error> {
        let dialer = match scheme {
            Scheme::Http => Dialer::plain(timeouts.connect),
            Scheme::Https => {
                let servers = Servers::Authorities(authorities.clone());
                let tls = Connector::new(servers, None, timeouts.connect)
                    .map_err(|why| Error::Tls { doing: "preparing TLS", why })?;
                Dialer::tls(tls, timeouts.connect)
            }
        };
        let client = Client::builder(TokioExecutor::new())
            // Idle connections may die unnoticed, and a request on one would seem to have died on the way.
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(dialer);
        Ok(Self { client, timeouts, authorization })
    }

    /// Asks with GET, or with POST where there is a JSON body; reads at most `bytes_max`.
    pub(crate) async fn exchange(
        &self,
        doing: &'static str,
        uri: Uri,
        json: Option<String>,
        bytes_max: usize,
    ) -> Result<Reply, Error> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        if let Some(json) = json {
            *request.method_mut() = Method::POST;
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Full::new(json.into());
        }
        let whole = async {
            let response = self.send(doing, request).await?;
            let status = response.status().as_u16();
            let body = read(doing, response.into_body(), bytes_max).await?;
            Ok(Reply { status, body })
        };
        timeout(self.timeouts.exchange, whole)
            .await
            .map_err(|_| Error::unreachable(doing, "no answer in time"))?
    }

    /// Sends a sealed request and waits for the head of the response.
    ///
    /// The set of headers is the same for every client and request (`docs/protocol.md` §5.4).
    pub(crate) async fn post(&self, uri: Uri, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(channel::names::MEDIA_REQUEST));
        headers.insert("incremental", HeaderValue::from_static("?1"));
        timeout(self.timeouts.head, self.send(SENDING, request))
            .await
            .map_err(|_| Error::unreachable(SENDING, "no answer in time"))?
    }

    /// Reads the body of a refusal, however much of it there is within reason.
    pub(crate) async fn problem(&self, body: Incoming) -> Vec<u8> {
        let read = read(SENDING, body, PROBLEM_LEN_MAX);
        // Only a hint is in it: one that does not arrive is none.
        timeout(self.timeouts.connect, read).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The longest wait for the next chunk of a response.
    pub(crate) const fn idle(&self) -> Duration {
        self.timeouts.idle
    }

    async fn send(
        &self,
        doing: &'static str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(token) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        self.client.request(request).await.map_err(|error| {
            if !error.is_connect() {
                Error::ConnectionDied
            } else if let Some(why) = TlsError::cause_of(&error) {
                Error::Tls { doing, why }
            } else {
                let why = error.source().map_or_else(|| error.to_string(), chain);
                Error::unreachable(doing, why)
            }
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// `Retry-After` in seconds; a date is nothing that we were told.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

async fn read(doing: &'static str, mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::unreachable(doing, "the answer broke off"))?;
        if let Some(data) = frame.data_ref() {
            if out.len().saturating_add(data.len()) > bytes_max {
                return Err(Error::unreachable(
                    doing,
                    "the answer is longer than any that is right",
                ));
            }
            out.extend_from_slice(data);
        }
    }
    Ok(out)
}

/// The innermost causes, which say more than "client error".
fn chain(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

const SENDING: &str = "sending the sealed request";

/// A problem+json body of ours has under 200 octets.
const PROBLEM_LEN_MAX: usize = 4096;
