//! Which path is what, and the answers that the router gives itself.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Serialize;
use tls::CurrentIdentity;
use tokio::time::Instant;

use crate::{
    body::Reply,
    config::{Config, Readers},
    keys::{Keyring, KeysError},
    metrics::{Gauges, Metrics},
    pool::{Candidate, NodeId, Pool},
    problem::Problem,
    relay::{Errand, Relay, discard},
    told::{Lines, Told},
};

/// Everything that answering a request needs.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) pool: Pool,
    pub(crate) relay: Relay,
    pub(crate) metrics: Arc<Metrics>,
    /// None where everybody may send requests.
    pub(crate) keys: Option<Arc<Keyring>>,
    readers: Readers,
    draining: AtomicBool,
}

/// A path, understood. Its name is what logs say: a path as written may carry anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Health,
    Ready,
    Metrics,
    Fleet,
    Evidence(NodeId),
    Ohttp(NodeId),
    Nowhere,
}

/// The body of `/v1/fleet`.
#[derive(Serialize)]
struct Fleet {
    nodes: Vec<Candidate>,
}

impl Router {
    /// `identity` is what enclaves beyond TLS are shown.
    pub(crate) fn new(
        config: &Config,
        identity: Option<&Arc<CurrentIdentity>>,
    ) -> Result<Self, KeysError> {
        let metrics = Arc::new(Metrics::default());
        Ok(Self {
            pool: Pool::new(&config.enclaves, identity, &config.timeouts),
            relay: Relay::new(config, Arc::clone(&metrics)),
            metrics,
            keys: config.keys.as_ref().map(Keyring::open).transpose()?.map(Arc::new),
            readers: config.metrics,
            draining: AtomicBool::new(false),
        })
    }

    /// From now on new work is refused.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, SeqCst);
    }

    /// Answers one request; whatever happens, with an answer.
    pub(crate) async fn answer(
        &self,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        let start = Instant::now();
        let route = Route::parse(request.uri().path());
        let response = self.dispatch(route, client, request).await.unwrap_or_else(|problem| {
            self.metrics.refused(problem);
            problem.response()
        });
        let status = response.status();
        let (route_name, node) = (route.name(), route.node().map(tracing::field::debug));
        self.metrics.answered(route_name, status);
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if route.is_probe() {
            tracing::debug!(route = route_name, status = status.as_u16(), ms, "answered");
        } else {
            self.lines(route, status).tell(Instant::now(), |untold| {
                tracing::info!(
                    route = route_name,
                    node,
                    status = status.as_u16(),
                    ms,
                    untold,
                    "answered"
                );
            });
        }
        response
    }

    fn lines(&self, route: Route, status: StatusCode) -> &Told {
        let Lines { refused, sealed: [sealed, _], evidence: [evidence, _], others } =
            &self.metrics.lines;
        match route {
            _ if !status.is_success() => refused,
            Route::Ohttp(_) => sealed,
            Route::Evidence(_) => evidence,
            Route::Health | Route::Ready | Route::Metrics | Route::Fleet | Route::Nowhere => others,
        }
    }

    async fn dispatch(
        &self,
        route: Route,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Problem> {
        // First of all: who has no key learns nothing of the fleet here.
        let place = match (&self.keys, route.node()) {
            (Some(keys), Some(_)) => match keys.admit(client, request.headers(), Instant::now()) {
                Ok(place) => Some(place),
                Err(problem) => return refuse(request, problem),
            },
            (None, _) | (_, None) => None,
        };
        let allow = route.allow();
        let errand = match (route, request.method()) {
            (Route::Nowhere, _) => return refuse(request, Problem::NotFound),
            (Route::Health, &Method::GET) => {
                return Ok(text(StatusCode::OK, "text/plain", "ok\n".into()));
            }
            (Route::Ready, &Method::GET) => return Ok(self.ready()),
            (Route::Metrics, _) if !self.readers.include(client) => {
                return refuse(request, Problem::NotFound);
            }
            (Route::Metrics, &Method::GET) => return Ok(self.count()),
            (Route::Fleet, &Method::GET) => {
                return Ok(json(StatusCode::OK, &Fleet { nodes: self.pool.candidates() }));
            }
            (Route::Evidence(node), &Method::GET) => (node, Errand::CachedEvidence),
            (Route::Evidence(node), &Method::POST) => (node, Errand::FreshEvidence),
            (Route::Ohttp(node), &Method::POST) => (node, Errand::Sealed),
            (_, _) => return refuse(request, Problem::MethodNotAllowed(allow)),
        };
        let (node, errand) = errand;
        if self.draining.load(SeqCst) {
            return refuse(request, Problem::Draining);
        }
        match self.pool.find(node) {
            Some((slot, true)) => self.relay.carry(&slot, errand, request, place).await,
            Some((_, false)) => refuse(request, Problem::NotReady),
            None if errand == Errand::Sealed => refuse(request, Problem::Misdirected),
            None => refuse(request, Problem::UnknownNode),
        }
    }

    fn ready(&self) -> Response<Reply> {
        let (nodes, ready) = self.pool.counts();
        let (status, word) = match (self.draining.load(SeqCst), ready) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            (false, 0) => (StatusCode::SERVICE_UNAVAILABLE, "no-enclave-ready"),
            (false, _) => (StatusCode::OK, "ready"),
        };
        json(status, &serde_json::json!({"status": word, "nodes": nodes, "nodes_ready": ready}))
    }

    fn count(&self) -> Response<Reply> {
        let counted = self.metrics.render(&Gauges {
            draining: self.draining.load(SeqCst),
            streams_open: self.relay.streams_open(),
            streams_max: self.relay.streams_max(),
            enclaves: self.pool.states(),
            keys: self.keys.as_ref().map(|keys| keys.counts()),
        });
        text(StatusCode::OK, "text/plain; version=0.0.4", counted.into())
    }
}

impl Readers {
    fn include(self, client: IpAddr) -> bool {
        match self {
            Self::Loopback => client.to_canonical().is_loopback(),
            Self::Everybody => true,
        }
    }
}

impl Route {
    fn parse(path: &str) -> Self {
        match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/v1/fleet" => Self::Fleet,
            _ => {
                path.strip_prefix("/v1/nodes/").and_then(Self::parse_node).unwrap_or(Self::Nowhere)
            }
        }
    }

    fn parse_node(rest: &str) -> Option<Self> {
        let (id, what) = rest.split_once('/')?;
        let node = NodeId::parse(id)?;
        match what {
            "evidence" => Some(Self::Evidence(node)),
            "ohttp" => Some(Self::Ohttp(node)),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        let [health, ready, metrics, fleet, evidence, ohttp, nowhere] = ROUTE_NAMES;
        match self {
            Self::Health => health,
            Self::Ready => ready,
            Self::Metrics => metrics,
            Self::Fleet => fleet,
            Self::Evidence(_) => evidence,
            Self::Ohttp(_) => ohttp,
            Self::Nowhere => nowhere,
        }
    }

    const fn allow(self) -> &'static str {
        match self {
            Self::Health | Self::Ready | Self::Metrics | Self::Fleet => "GET",
            Self::Evidence(_) => "GET, POST",
            Self::Ohttp(_) => "POST",
            Self::Nowhere => "",
        }
    }

    const fn node(self) -> Option<NodeId> {
        match self {
            Self::Evidence(node) | Self::Ohttp(node) => Some(node),
            Self::Health | Self::Ready | Self::Metrics | Self::Fleet | Self::Nowhere => None,
        }
    }

    /// Asked all day by machines; not worth a line each.
    const fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Ready | Self::Metrics)
    }
}

fn refuse(request: Request<Incoming>, problem: Problem) -> Result<Response<Reply>, Problem> {
    discard(request.into_body());
    Err(problem)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Reply> {
    match serde_json::to_vec(value) {
        Ok(bytes) => text(status, "application/json", bytes.into()),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new()),
    }
}

fn text(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::fixed(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What logs and metrics call the routes, in the order of [`Route`].
pub(crate) const ROUTE_NAMES: [&str; 7] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/fleet",
    "/v1/nodes/{id}/evidence",
    "/v1/nodes/{id}/ohttp",
    "-",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stay_on_loopback_unless_they_are_public() {
        for (client, local) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(Readers::Loopback.include(client), local, "{client}");
            assert!(Readers::Everybody.include(client), "{client}");
        }
    }

    #[test]
    fn only_the_listed_paths_lead_somewhere() {
        let id = "00112233445566778899aabbccddeeff";
        let node = NodeId::parse(id).unwrap();
        for (path, expected) in [
            ("/healthz".to_owned(), Route::Health),
            ("/v1/fleet".to_owned(), Route::Fleet),
            (format!("/v1/nodes/{id}/evidence"), Route::Evidence(node)),
            (format!("/v1/nodes/{id}/ohttp"), Route::Ohttp(node)),
            (format!("/v1/nodes/{id}/ohttp/"), Route::Nowhere),
            (format!("/v1/nodes/{id}"), Route::Nowhere),
            (format!("/v1/nodes/{id}/metrics"), Route::Nowhere),
            (format!("/v1/nodes/../{id}/ohttp"), Route::Nowhere),
            ("/v1/nodes/00/ohttp".to_owned(), Route::Nowhere),
            ("/v1/ohttp".to_owned(), Route::Nowhere),
            ("/".to_owned(), Route::Nowhere),
        ] {
            assert_eq!(Route::parse(&path), expected, "{path}");
        }
    }
}
