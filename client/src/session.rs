//! A client: verified enclaves, one of them chosen at random for each request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attestation::{NodeId, Secret};
use http::HeaderValue;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use verifier::{AnchorKind, ChainCache, Policy, Report};

use crate::attest::{self, Enclave, Judge};
use crate::config::{Builder, Clock, RouterUrl};
use crate::error::{Error, Family};
use crate::openai::{Chat, Request};
use crate::random;
use crate::request::{self, Sent};
use crate::response::{Answer, AnswerStream};
use crate::retry::{Attempts, Hint};
use crate::transport::Transport;

/// A client of one router under one policy. Clones share what was verified.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    router: RouterUrl,
    transport: Transport,
    judge: Arc<Judge>,
    tenant: Secret<[u8; 32]>,
    candidates_max: usize,
    /// Held while verifying, so that many requests at once verify once.
    verified: AsyncMutex<Verified>,
    verdicts: Mutex<BTreeMap<NodeId, NodeVerdict>>,
}

#[derive(Debug, Default)]
struct Verified {
    enclaves: Vec<Arc<Enclave>>,
    /// How many there were after the last draw; fewer now means that some ended.
    drawn: usize,
    drawn_at: Option<Instant>,
    /// Why the last draw found nobody, and when: who waited for it need not wait for another.
    failed: Option<(Instant, Error)>,
}

/// What became of one candidate.
#[derive(Clone, Debug)]
pub struct NodeVerdict {
    /// The enclave, by the name that the router gave.
    pub node_id: NodeId,
    /// The appraisal's report, where it came to one.
    pub report: Option<Report>,
    /// Why there was none, or why the enclave is not used in spite of it.
    pub error: Option<Error>,
}

impl Client {
    /// Starts to build a client of the router at `router`, under `policy`.
    pub fn builder(router: &str, policy: Policy, clock: Clock) -> Builder {
        Builder::new(router, policy, clock)
    }

    pub(crate) fn assemble(
        builder: Builder,
        router: RouterUrl,
        tenant: Secret<[u8; 32]>,
    ) -> Result<Self, Error> {
        let Builder {
            router: _,
            policy,
            clock,
            endorsements,
            endorser,
            memory,
            authorization,
            authorities,
            candidates_max,
            timeouts,
            tenant: _,
        } = builder;
        let authorization = authorization.as_ref().map(bearer).transpose()?;
        let chains = ChainCache::default();
        let inner = Inner {
            transport: Transport::new(timeouts, authorization, router.scheme(), &authorities)?,
            router,
            judge: Arc::new(Judge { policy, endorsements, endorser, clock, memory, chains }),
            tenant,
            candidates_max,
            verified: AsyncMutex::default(),
            verdicts: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The router.
    pub fn router(&self) -> &RouterUrl {
        &self.inner.router
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.inner.judge.policy
    }

    /// The evidence verdict in a word, as the proxy's header says it.
    pub fn verdict(&self) -> &'static str {
        match self.policy().anchors() {
            AnchorKind::Production => "accepted",
            AnchorKind::Untrusted => "accepted-untrusted-anchors",
        }
    }

    /// The enclaves that one may seal to now, verified anew where none is left.
    ///
    /// # Errors
    /// No enclave could be verified: the verdict, if one was refused.
    pub async fn enclaves(&self) -> Result<Vec<Arc<Enclave>>, Error> {
        let asked = Instant::now();
        let mut verified = self.inner.verified.lock().await;
        if let Some((_, error)) = verified.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        self.renew(&mut verified).await?;
        Ok(verified.enclaves.clone())
    }

    /// The models that one may ask for: attested, and named by the policy.
    ///
    /// # Errors
    /// No enclave could be verified.
    pub async fn models(&self) -> Result<Vec<String>, Error> {
        Ok(available(&self.enclaves().await?))
    }

    /// What became of each candidate of the last draw.
    pub fn verdicts(&self) -> Vec<NodeVerdict> {
        self.inner
            .verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Seals `request` to a verified enclave chosen at random, and opens the answer.
    ///
    /// An answer that is not streamed comes back whole and verified, or not at all.
    ///
    /// # Errors
    /// No verified enclave for the model, no answer, or an answer that does not verify.
    pub async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let mut attempts = Attempts::default();
        let mut busy = BTreeSet::new();
        let mut last = None;
        loop {
            let Some(enclave) = self.choose(request.model(), &busy).await? else {
                return Err(last.unwrap_or(Error::NoEnclaves { candidates: 0, last: None }));
            };
            match self.attempt(&enclave, request).await? {
                Sent::Answered(arriving) => {
                    return arriving.into_answer(request).await;
                }
                Sent::Refused(refusal) => {
                    if refusal.is_about_the_enclave() {
                        self.forget(&enclave).await;
                    }
                    // Busy or gone, it would say the same again; with another key it may not.
                    if refusal.hint != Hint::Key {
                        busy.insert(enclave.node_id());
                    }
                    attempts.again(refusal)?;
                    last = Some(refusal.into_error());
                }
            }
        }
    }

    /// Asks for a streamed answer to a conversation.
    ///
    /// # Errors
    /// As [`send`](Self::send), and an answer that says that the request is refused.
    pub async fn chat(&self, chat: &Chat) -> Result<AnswerStream, Error> {
        let request = Request::chat(&Chat { stream: true, ..chat.clone() })?;
        match self.send(&request).await? {
            Answer::Stream(stream) => Ok(*stream),
            Answer::Whole(answer) => Err(answer.into_refusal()),
        }
    }

    async fn attempt(&self, enclave: &Arc<Enclave>, request: &Request) -> Result<Sent, Error> {
        let Inner { router, transport, judge, tenant, .. } = &*self.inner;
        request::send(transport, router, &judge.clock, enclave, tenant, request).await
    }

    /// A verified enclave that serves `model`, at random; none where all that serve it are `busy`.
    async fn choose(
        &self,
        model: &str,
        busy: &BTreeSet<NodeId>,
    ) -> Result<Option<Arc<Enclave>>, Error> {
        let enclaves = self.enclaves().await?;
        let serving: Vec<_> = enclaves.iter().filter(|enclave| enclave.serves(model)).collect();
        if serving.is_empty() {
            let available = available(&enclaves);
            return Err(Error::ModelNotAllowed { model: model.to_owned(), available });
        }
        let free: Vec<_> =
            serving.into_iter().filter(|enclave| !busy.contains(&enclave.node_id())).collect();
        Ok(random::draw(free, 1)?.pop().cloned())
    }

    /// Verifies a fresh draw where none is left, or where some ended and a while has passed.
    async fn renew(&self, verified: &mut Verified) -> Result<(), Error> {
        let clock = &self.inner.judge.clock;
        verified.enclaves.retain(|enclave| enclave.is_live(clock));
        let rested = verified.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW_PAUSE);
        let short = verified.enclaves.len() < verified.drawn;
        let needs_draw = verified.enclaves.is_empty() || (short && rested);
        if !needs_draw {
            return Ok(());
        }
        verified.failed = None;
        let drawn = self.draw(&verified.enclaves).await;
        let now = Instant::now();
        verified.drawn_at = Some(now);
        match drawn {
            Ok(enclaves) => {
                for enclave in enclaves {
                    verified.enclaves.retain(|have| have.node_id() != enclave.node_id());
                    verified.enclaves.push(enclave);
                }
                verified.drawn = verified.enclaves.len();
                Ok(())
            }
            // What is left still stands.
            Err(_) if !verified.enclaves.is_empty() => Ok(()),
            Err(error) => {
                verified.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    /// Draws candidates at random and verifies each (`docs/protocol.md` §5.3); what is known of those
    /// that are `left` stays known.
    async fn draw(&self, left: &[Arc<Enclave>]) -> Result<Vec<Arc<Enclave>>, Error> {
        let Inner { router, transport, judge, candidates_max, .. } = &*self.inner;
        let nodes = attest::fleet(transport, router).await?;
        let nodes = random::draw(nodes, *candidates_max)?;
        let candidates = nodes.len();
        let mut tasks = JoinSet::new();
        for node in nodes {
            let (transport, router, judge) = (transport.clone(), router.clone(), Arc::clone(judge));
            tasks.spawn(
                async move { (node, attest::attest(&transport, &router, judge, node).await) },
            );
        }
        let (mut enclaves, mut errors, mut verdicts) = (Vec::new(), Vec::new(), BTreeMap::new());
        while let Some(task) = tasks.join_next().await {
            let (node_id, result) = task.map_err(|_| Error::Bug("a verification panicked"))?;
            verdicts.insert(node_id, NodeVerdict::of(node_id, &result));
            match result {
                Ok(enclave) => enclaves.push(Arc::new(enclave)),
                Err(error) => errors.push(error),
            }
        }
        let mut known = self.inner.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|node_id, _| left.iter().any(|enclave| enclave.node_id() == *node_id));
        known.append(&mut verdicts);
        drop(known);
        if enclaves.is_empty() { Err(gravest(candidates, errors)) } else { Ok(enclaves) }
    }

    async fn forget(&self, enclave: &Arc<Enclave>) {
        let mut verified = self.inner.verified.lock().await;
        verified.enclaves.retain(|have| !Arc::ptr_eq(have, enclave));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("router", &self.inner.router)
            .field("policy", self.policy().id())
            .finish_non_exhaustive()
    }
}

impl NodeVerdict {
    fn of(node_id: NodeId, result: &Result<Enclave, Error>) -> Self {
        match result {
            Ok(enclave) => Self { node_id, report: Some(enclave.report().clone()), error: None },
            Err(error) => {
                let error = error.clone();
                Self { node_id, report: error.report().cloned(), error: Some(error) }
            }
        }
    }
}

pub(crate) fn bearer(token: &Secret<String>) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Error::Request("has a router token that fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Names that any of `enclaves` serves, in order.
fn available(enclaves: &[Arc<Enclave>]) -> Vec<String> {
    let names = enclaves.iter().flat_map(|enclave| enclave.keys().models());
    names.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// Among failures a verdict counts most: it will not change by trying again.
fn gravest(candidates: usize, errors: Vec<Error>) -> Error {
    let weight = |error: &Error| match error.family() {
        Family::Rejected => 4,
        Family::Malformed => 3,
        Family::Bug => 2,
        Family::Usage => 1,
        Family::Unavailable => 0,
    };
    match errors.into_iter().max_by_key(weight) {
        Some(error) if weight(&error) > 0 || error.report().is_some() => error,
        last => Error::NoEnclaves { candidates, last: last.map(|error| error.to_string()) },
    }
}

/// How long a client goes on with fewer enclaves before it draws again.
const REDRAW_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_outweighs_what_may_pass() {
        let died = || Error::ConnectionDied;
        assert_eq!(gravest(2, vec![died(), Error::NoKeys, died()]).code(), "no-keys");
        assert_eq!(gravest(2, vec![died()]).code(), "no-enclaves");
        assert_eq!(gravest(0, vec![]).code(), "no-enclaves");
    }
}
