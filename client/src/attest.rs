//! Evidence: fetched with a fresh challenge, appraised, and turned into an enclave that one can seal to.

use std::str::FromStr as _;
use std::sync::Arc;

use attestation::{Challenge, Endorsements, Evidence, NodeId, Secret, Unverified, evidence};
use http::Uri;
use http::uri::PathAndQuery;
use serde::Deserialize;
use tls::Authorities;
use verifier::{AttestedKeys, ChainCache, Expectation, Policy, Report, Verdict, appraise_with};

use crate::config::{Clock, RouterUrl, Scheme, Timeouts, loopback, place};
use crate::endorse::{Endorser, Found, Search, Unendorsed};
use crate::error::Error;
use crate::memory::Memory;
use crate::random;
use crate::retry::Refusal;
use crate::session::bearer;
use crate::transport::Transport;

/// An enclave whose evidence was accepted, until [`AttestedKeys`] expire.
#[derive(Debug)]
pub struct Enclave {
    keys: AttestedKeys,
    report: Report,
}

impl Enclave {
    /// Its name for this boot.
    pub const fn node_id(&self) -> NodeId {
        self.keys.node_id()
    }

    /// What its evidence vouches for.
    pub const fn keys(&self) -> &AttestedKeys {
        &self.keys
    }

    /// The appraisal's report.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Whether one may still seal to it.
    pub(crate) fn is_live(&self, clock: &Clock) -> bool {
        self.keys.sealing().at(clock.now()).is_ok()
    }

    /// Whether it serves `model` under a name that the policy gives it.
    pub(crate) fn serves(&self, model: &str) -> bool {
        self.keys.models().iter().any(|name| name == model)
    }
}

/// What appraising takes, shared by the tasks that do it.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) policy: Arc<Policy>,
    pub(crate) endorsements: Endorsements,
    /// Who is asked for what is missing.
    pub(crate) endorser: Option<Arc<dyn Endorser>>,
    pub(crate) clock: Clock,
    pub(crate) memory: Option<Memory>,
    /// Chains that were verified: an enclave's next evidence has the same.
    pub(crate) chains: ChainCache,
}

/// Asks the router which enclaves there are. The answer is a hint: it selects nothing by itself.
pub(crate) async fn fleet(transport: &Transport, router: &RouterUrl) -> Result<Vec<NodeId>, Error> {
    let doing = "asking the router for its enclaves";
    let reply = transport.exchange(doing, router.join("/v1/fleet")?, None, FLEET_LEN_MAX).await?;
    if reply.status != 200 {
        return Err(Refusal::read(reply.status, &reply.body, None).into_error());
    }
    parse_fleet(&reply.body).ok_or_else(|| Error::unreachable(doing, "the answer is no fleet"))
}

/// Fetches evidence of `node` with a challenge of our own, and appraises it.
pub(crate) async fn attest(
    transport: &Transport,
    router: &RouterUrl,
    judge: Arc<Judge>,
    node: NodeId,
) -> Result<Enclave, Error> {
    let challenge = Challenge(random::bytes()?);
    let uri = router.join(&format!("/v1/nodes/{node}/evidence"))?;
    let wire = challenged(transport, uri, &challenge).await?;
    let case =
        Arc::new(Case { evidence: Unverified::new(Evidence::from_wire(wire)), challenge, node });
    let mut found = Endorsements::new();
    let mut search: Option<Box<dyn Search>> = None;
    let mut failures = Vec::new();
    loop {
        let given = with(&judge.endorsements, &found)?;
        let report = match judged(&judge, &case, given.clone()).await {
            Ok(enclave) => {
                if let Some(search) = &search {
                    search.accepted(enclave.report())?;
                }
                return Ok(enclave);
            }
            Err(Error::Rejected(report)) => report,
            Err(error) => return Err(error),
        };
        if search.is_none() {
            let evidence = case.evidence.inspect_untrusted().as_wire();
            let case =
                Unendorsed { evidence, given: &given, policy: &judge.policy, report: &report };
            search = judge.endorser.as_ref().and_then(|endorser| endorser.search(&case));
        }
        // What one document answers may show that another is missing.
        let more = match &mut search {
            Some(search) => search.find(&report).await,
            None => Found::default(),
        };
        failures.extend(more.failures);
        match more.endorsements {
            Some(endorsements) => found = endorsements,
            None if report.verdict == Verdict::Unavailable && !failures.is_empty() => {
                return Err(Error::Unendorsed { report, failures });
            }
            None => return Err(Error::Rejected(report)),
        }
    }
}

/// Evidence, and what it must be of.
#[derive(Debug)]
struct Case {
    evidence: Unverified<Evidence>,
    challenge: Challenge,
    node: NodeId,
}

fn with(given: &Endorsements, found: &Endorsements) -> Result<Endorsements, Error> {
    let mut all = given.clone();
    all.extend(found)?;
    Ok(all)
}

async fn judged(
    judge: &Arc<Judge>,
    case: &Arc<Case>,
    endorsements: Endorsements,
) -> Result<Enclave, Error> {
    let (judge, case) = (Arc::clone(judge), Arc::clone(case));
    // Milliseconds of public-key cryptography: not on the threads that carry streams.
    let judged = tokio::task::spawn_blocking(move || judge.judge(&case, endorsements));
    judged.await.map_err(|_| Error::Bug("the appraisal panicked"))?
}

impl Judge {
    fn judge(&self, case: &Case, endorsements: Endorsements) -> Result<Enclave, Error> {
        let Case { evidence, challenge, node: asked } = case;
        let endorsements = Unverified::new(endorsements);
        let expectation = Expectation::challenged(*challenge);
        let now = self.clock.now();
        let (chains, policy) = (&self.chains, &self.policy);
        let result = appraise_with(chains, policy, evidence, &endorsements, &expectation, now)
            .map_err(|refused| Error::Rejected(Box::new(refused.report().clone())))?;
        if let Some(memory) = &self.memory {
            memory.accept(self.policy.name(), result.policy_version(), result.crl_numbers())?;
        }
        let report = result.report().clone();
        let keys = result.into_keys().ok_or(Error::NoKeys)?;
        let found = keys.node_id();
        if found != *asked {
            return Err(Error::AnotherNode { asked: *asked, found });
        }
        Ok(Enclave { keys, report })
    }
}

/// Evidence as it was fetched, for who appraises it elsewhere.
#[derive(Debug)]
pub struct Fetched {
    /// The evidence, not yet appraised.
    pub evidence: Vec<u8>,
    /// Where it is from.
    pub url: String,
}

/// How evidence is fetched: how long to wait, and what a router wants to see.
#[derive(Debug)]
pub struct Access {
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Who may vouch for the name of an `https` host.
    pub authorities: Authorities,
    /// The router's API key.
    pub authorization: Option<Secret<String>>,
}

impl From<Timeouts> for Access {
    /// Without a key, by the public authorities.
    fn from(timeouts: Timeouts) -> Self {
        Self { timeouts, authorities: Authorities::mozilla(), authorization: None }
    }
}

/// Fetches evidence from the address of an enclave, of a router, or of the evidence itself.
///
/// Evidence is public and proves itself, so any host will do, and any scheme where no key is given. A
/// router is asked for one of its enclaves, drawn at random.
///
/// # Errors
/// An address that is none, a key that would be seen on the way, and any failure to get an answer.
pub async fn fetch_evidence(
    url: &str,
    challenge: &Challenge,
    access: impl Into<Access>,
) -> Result<Fetched, Error> {
    let Access { timeouts, authorities, authorization } = access.into();
    let bad = |why| Error::RouterUrl { url: url.to_owned(), why };
    let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    let (scheme, authority) = place(&uri).map_err(bad)?;
    let is_seen = scheme == Scheme::Http && uri.host().and_then(loopback).is_none();
    if authorization.is_some() && is_seen {
        return Err(Error::KeyInTheClear);
    }
    let authorization = authorization.as_ref().map(bearer).transpose()?;
    let transport = Transport::new(timeouts, authorization, scheme, &authorities)?;
    let below = |path: &str| -> Result<Uri, Error> {
        let url = format!("{}://{authority}{path}", scheme.as_str());
        url.parse().map_err(|_| bad("is not a URL"))
    };
    let target = if uri.path() == "/" {
        let doing = "asking whether this is a router";
        let reply = transport.exchange(doing, below("/v1/fleet")?, None, FLEET_LEN_MAX).await?;
        match parse_fleet(&reply.body).filter(|_| reply.status == 200) {
            Some(nodes) => {
                let node = random::draw(nodes, 1)?.pop();
                let node = node.ok_or(Error::NoEnclaves { candidates: 0, last: None })?;
                below(&format!("/v1/nodes/{node}/evidence"))?
            }
            None => below("/v1/evidence")?,
        }
    } else {
        below(uri.path_and_query().map_or("/", PathAndQuery::as_str))?
    };
    let evidence = challenged(&transport, target.clone(), challenge).await?;
    Ok(Fetched { evidence, url: target.to_string() })
}

async fn challenged(
    transport: &Transport,
    uri: Uri,
    challenge: &Challenge,
) -> Result<Vec<u8>, Error> {
    let body = format!("{{\"challenge\":\"{challenge}\"}}");
    let reply = transport.exchange("fetching evidence", uri, Some(body), evidence::LEN_MAX).await?;
    if reply.status == 200 {
        Ok(reply.body)
    } else {
        Err(Refusal::read(reply.status, &reply.body, None).into_error())
    }
}

/// The ids of the enclaves that the router calls ready; the rest of what it says is not needed.
fn parse_fleet(body: &[u8]) -> Option<Vec<NodeId>> {
    #[derive(Deserialize)]
    struct Fleet {
        nodes: Vec<Candidate>,
    }
    #[derive(Deserialize)]
    struct Candidate {
        id: String,
        #[serde(default = "ready")]
        ready: bool,
    }
    const fn ready() -> bool {
        true
    }
    let fleet: Fleet = serde_json::from_slice(body).ok()?;
    let ready = fleet.nodes.into_iter().filter(|candidate| candidate.ready);
    let mut nodes: Vec<_> =
        ready.filter_map(|candidate| NodeId::from_str(&candidate.id).ok()).collect();
    // A router that names one enclave often does not make it likelier.
    nodes.sort_unstable();
    nodes.dedup();
    Some(nodes)
}

/// Longest fleet: some thousands of enclaves.
const FLEET_LEN_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Who listens on this machine is asked by its address: a resolver that says otherwise gets no key.
    #[tokio::test]
    async fn no_resolver_says_where_this_machine_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let len = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
            String::from_utf8_lossy(head.get(..len).unwrap()).to_lowercase()
        });
        let key = Some(Secret::new("vk_0_0".to_owned()));
        let access = Access { authorization: key, ..Access::from(Timeouts::default()) };
        let url = format!("http://LocalHost:{port}/v1/evidence?a");
        let fetched = fetch_evidence(&url, &Challenge([7; 32]), access).await.unwrap();
        assert_eq!(fetched.url, format!("http://127.0.0.1:{port}/v1/evidence?a"));
        let head = asked.await.unwrap();
        assert!(head.starts_with("post /v1/evidence?a "), "{head}");
        assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{head}");
        assert!(head.contains("\r\nauthorization: bearer vk_0_0\r\n"), "the control: {head}");
    }

    /// What is no address is not taken for another one: a port that is none is not the usual one.
    #[tokio::test]
    async fn evidence_is_asked_for_at_an_address_or_not_at_all() {
        for url in [
            "http://127.0.0.1:65536",
            "http://127.0.0.1:",
            "http://user@127.0.0.1:1",
            "http://127.0.0.1@192.0.2.1/",
            "ftp://127.0.0.1",
            "127.0.0.1:8080",
            "",
        ] {
            let fetched = fetch_evidence(url, &Challenge([7; 32]), Timeouts::default()).await;
            assert_eq!(fetched.unwrap_err().code(), "router-url", "{url}");
        }
    }

    #[test]
    fn a_fleet_is_its_ready_and_distinct_ids() {
        let (a, b) = ("0".repeat(32), "1".repeat(32));
        let body = format!(
            r#"{{"nodes":[{{"id":"{b}","ready":true,"x":1}},{{"id":"{a}"}},{{"id":"{a}","ready":true}},
               {{"id":"{}","ready":false}},{{"id":"short"}}]}}"#,
            "2".repeat(32)
        );
        let nodes = parse_fleet(body.as_bytes()).unwrap();
        assert_eq!(nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), [a, b]);
        for bad in ["", "{}", "[]", r#"{"nodes":{}}"#, r#"{"nodes":[1]}"#] {
            assert_eq!(parse_fleet(bad.as_bytes()), None, "{bad}");
        }
    }
}
