//! Evidence: fetched with a fresh challenge, appraised, and turned into an enclave that one can seal to.

use std::str::FromStr as _;
use std::sync::Arc;

use attestation::{Challenge, Endorsements, Evidence, NodeId, Secret, Unverified, evidence};
use http::Uri;
use serde::Deserialize;
use tls::Authorities;
use verifier::{AttestedKeys, ChainCache, Expectation, Policy, Report, appraise_with};

use crate::config::{Clock, NO_SCHEME, RouterUrl, Scheme, Timeouts, loopback};
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
    let evidence = challenged(transport, uri, &challenge).await?;
    // Milliseconds of public-key cryptography: not on the threads that carry streams.
    let judged = tokio::task::spawn_blocking(move || judge.judge(evidence, challenge, node));
    judged.await.map_err(|_| Error::Bug("the appraisal panicked"))?
}

impl Judge {
    fn judge(&self, wire: Vec<u8>, challenge: Challenge, asked: NodeId) -> Result<Enclave, Error> {
        let evidence = Unverified::new(Evidence::from_wire(wire));
        let endorsements = Unverified::new(self.endorsements.clone());
        let expectation = Expectation::challenged(challenge);
        let now = self.clock.now();
        let (chains, policy) = (&self.chains, &self.policy);
        let result = appraise_with(chains, policy, &evidence, &endorsements, &expectation, now)
            .map_err(|refused| Error::Rejected(Box::new(refused.report().clone())))?;
        if let Some(memory) = &self.memory {
            memory.accept(self.policy.name(), result.policy_version(), result.crl_numbers())?;
        }
        let report = result.report().clone();
        let keys = result.into_keys().ok_or(Error::NoKeys)?;
        let found = keys.node_id();
        if found != asked {
            return Err(Error::AnotherNode { asked, found });
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
    let authority = uri.authority().ok_or_else(|| bad(NO_SCHEME))?;
    let (scheme, prefix) = match uri.scheme_str() {
        Some("http") => (Scheme::Http, "http"),
        Some("https") => (Scheme::Https, "https"),
        _ => return Err(bad(NO_SCHEME)),
    };
    let is_seen = scheme == Scheme::Http && loopback(authority.host()).is_none();
    if authorization.is_some() && is_seen {
        return Err(Error::KeyInTheClear);
    }
    let authorization = authorization.as_ref().map(bearer).transpose()?;
    let transport = Transport::new(timeouts, authorization, scheme, &authorities)?;
    let below = |path: &str| -> Result<Uri, Error> {
        format!("{prefix}://{authority}{path}").parse().map_err(|_| bad("is not a URL"))
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
        uri.clone()
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
    use super::*;

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
