//! Two ways to the same engine: through client, router and enclave, and directly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use attestation::NodeId;
use bytes::Bytes;
use client::{Chat, Client};
use engine::EchoEngine;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tests::fleet::{Fleet, MODEL, Plan};

use super::peer;
use crate::harness::Failed;

/// How one asks.
pub(crate) trait Way: Clone + Send + Sync + 'static {
    /// Asks for an echo of `prompt` and calls `event` for each event of the answer, as it is there.
    fn ask(
        &self,
        prompt: &str,
        event: impl FnMut() + Send,
    ) -> impl Future<Output = Result<Asked, Broke>> + Send;
}

/// Why there is no answer.
pub(crate) type Broke = Box<dyn std::error::Error + Send + Sync>;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A whole answer.
    Answered,
    /// An answer that says to come back.
    Refused,
}

/// Through everything.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    fleet: Arc<Fleet>,
    client: Client,
}

impl Path {
    pub(crate) async fn start(
        padding: &'static str,
        events: u32,
        pace: Duration,
    ) -> Result<Self, Failed> {
        let plan = Plan { config: padding, ..Plan::default().with_echo(events, pace) };
        let fleet = Fleet::start(plan).await;
        let clock = client::Clock::new(super::moment);
        let router = format!("http://{}", fleet.router);
        let client = Client::builder(&router, fleet.read_policy(&fleet.policy), clock).build()?;
        // From here on evidence is cached.
        client.enclaves().await?;
        Ok(Self { fleet: Arc::new(fleet), client })
    }

    pub(crate) fn router(&self) -> SocketAddr {
        self.fleet.router
    }

    pub(crate) fn node(&self) -> NodeId {
        self.fleet.nodes.first().copied().unwrap_or(NodeId([0; 16]))
    }
}

impl Way for Path {
    async fn ask(&self, prompt: &str, mut event: impl FnMut() + Send) -> Result<Asked, Broke> {
        let mut answer = match self.client.chat(&Chat::question(MODEL, prompt)).await {
            Ok(answer) => answer,
            Err(client::Error::Outer { status: 503, .. }) => return Ok(Asked::Refused),
            Err(error) => return Err(error.into()),
        };
        while answer.next().await?.is_some() {
            event();
        }
        Ok(Asked::Answered)
    }
}

/// Past everything.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    server: SocketAddr,
    client: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Direct {
    pub(crate) async fn start(events: u32, pace: Duration) -> Result<Self, Failed> {
        let server = peer::serve(Arc::new(EchoEngine::new(events, pace))).await?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { server, client })
    }
}

impl Way for Direct {
    async fn ask(&self, prompt: &str, mut event: impl FnMut() + Send) -> Result<Asked, Broke> {
        let body = serde_json::to_vec(&Chat::question(MODEL, prompt))?;
        let mut request = Request::post(format!("http://{}{}", self.server, peer::PATH))
            .body(Full::new(Bytes::from(body)))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let mut body = self.client.request(request).await?.into_body();
        // An event ends with an empty line.
        let (mut last, mut tail) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            for octet in frame?.into_data().unwrap_or_default() {
                tail.push(octet);
                if (last, octet) == (b'\n', b'\n') {
                    event();
                    if tail == b"data: [DONE]\n\n" {
                        return Ok(Asked::Answered);
                    }
                    tail.clear();
                }
                last = octet;
            }
        }
        Err("the direct answer broke off".into())
    }
}

/// The programs log every request, so what is measured does, too; nobody reads it.
pub(crate) fn log_to_nowhere() -> Result<(), Failed> {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let log = tracing_subscriber::fmt().json().with_writer(std::sync::Mutex::new(nowhere)).finish();
    tracing::subscriber::set_global_default(log)?;
    Ok(())
}
