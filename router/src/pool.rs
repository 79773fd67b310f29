//! The fleet as the router sees it: which enclaves answer, under which id, and whether they serve.
//!
//! Everything here is what enclaves say of themselves, over a connection that proves at most who has a pinned key: a hint
//! (docs/protocol.md §5.3).

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Either, Empty, Limited};
use serde::{Deserialize, Serialize};
use tls::CurrentIdentity;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::{Enclave, Timeouts},
    metrics::EnclaveState,
    upstream::{Lost, Upstream},
};

/// The id that an enclave draws when it boots: a restart changes it (docs/protocol.md §5.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeId([u8; 16]);

/// All enclaves of the configuration.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Arc<Slot>>,
}

/// One enclave of the configuration, and what was last seen there.
#[derive(Debug)]
pub(crate) struct Slot {
    upstream: Arc<Upstream>,
    name: String,
    seen: watch::Sender<Option<Sighting>>,
    look_again: Notify,
}

/// What an enclave last said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    node: NodeId,
    models: Vec<String>,
    not_after: Option<Instant>,
    ready: bool,
    missed: u32,
}

/// One candidate in `/v1/fleet`.
#[derive(Debug, Serialize)]
pub(crate) struct Candidate {
    id: NodeId,
    path: String,
    models: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Instant>,
    ready: bool,
}

/// One look at an enclave's `/readyz`.
enum Look {
    Serving { node: NodeId, models: Vec<String>, not_after: Option<Instant> },
    NotServing,
    Missed,
}

/// A moment as an enclave writes it, seconds or RFC 3339: passed on, never computed with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Instant {
    Seconds(u64),
    Text(String),
}

/// An enclave's own words; unknown members are for others.
#[derive(Deserialize)]
struct ReadyFile {
    node_id: String,
    #[serde(default)]
    models: Vec<String>,
    not_after: Option<Instant>,
}

impl NodeId {
    /// Reads exactly 32 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let pairs: &[[u8; 2]; 16] = pairs.try_into().ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut id = [0; 16];
        for (octet, [high, low]) in id.iter_mut().zip(pairs) {
            *octet = digit(*high)?.checked_shl(4)? | digit(*low)?;
        }
        Some(Self(id))
    }
}

impl Pool {
    /// `identity` is what enclaves beyond TLS are shown.
    pub(crate) fn new(
        enclaves: &[Enclave],
        identity: Option<&Arc<CurrentIdentity>>,
        timeouts: &Timeouts,
    ) -> Self {
        let slot = |enclave: &Enclave| {
            let upstream = Upstream::new(enclave, identity, timeouts)?;
            let (seen, _) = watch::channel(None);
            Some(Arc::new(Slot {
                upstream,
                name: enclave.name.clone(),
                seen,
                look_again: Notify::new(),
            }))
        };
        Self { slots: enclaves.iter().filter_map(slot).collect() }
    }

    /// Looks at every enclave, again and again, until the set is dropped.
    pub(crate) fn watch(&self, timeouts: &Timeouts) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for slot in &self.slots {
            tasks.spawn(Arc::clone(slot).watch(timeouts.clone()));
        }
        tasks
    }

    /// The enclave that has this id now, and whether it serves.
    pub(crate) fn find(&self, node: NodeId) -> Option<(Arc<Slot>, bool)> {
        let mut found = None;
        for slot in &self.slots {
            let ready =
                slot.seen.borrow().as_ref().filter(|seen| seen.node == node).map(|seen| seen.ready);
            match ready {
                Some(true) => return Some((Arc::clone(slot), true)),
                Some(false) => found = Some((Arc::clone(slot), false)),
                None => {}
            }
        }
        found
    }

    /// Every enclave that has been seen.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.slots
            .iter()
            .filter_map(|slot| slot.seen.borrow().as_ref().map(Candidate::of))
            .collect()
    }

    /// Every enclave of the configuration, in its order.
    pub(crate) fn states(&self) -> Vec<EnclaveState> {
        self.slots.iter().map(|slot| slot.state()).collect()
    }

    /// How many enclaves have been seen, and how many serve.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.slots.iter().fold((0, 0), |(nodes, ready), slot| match slot.seen.borrow().as_ref() {
            Some(seen) => (nodes.saturating_add(1), ready.saturating_add(usize::from(seen.ready))),
            None => (nodes, ready),
        })
    }
}

impl Slot {
    fn state(&self) -> EnclaveState {
        let seen = self.seen.borrow();
        EnclaveState {
            name: self.name.clone(),
            address: self.upstream.authority().to_string(),
            seen: seen.is_some(),
            ready: seen.as_ref().is_some_and(|seen| seen.ready),
            missed: seen.as_ref().map_or(0, |seen| seen.missed),
            tls: self.upstream.tls(),
        }
    }

    /// The way to the enclave.
    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Somebody could not connect: look again at once instead of at the next turn.
    pub(crate) fn suspect(&self) {
        self.look_again.notify_one();
    }

    async fn watch(self: Arc<Self>, timeouts: Timeouts) {
        let wait = timeouts.connect.saturating_add(LOOK_MAX);
        loop {
            self.upstream.refresh().await;
            let look = timeout(wait, self.look()).await.unwrap_or(Look::Missed);
            self.note(look);
            self.upstream.prune(tokio::time::Instant::now());
            // This much always passes, so that suspicion cannot become a flood.
            sleep(LOOK_PAUSE.min(timeouts.poll)).await;
            tokio::select! {
                () = sleep(jittered(timeouts.poll)) => {}
                () = self.look_again.notified() => {}
            }
        }
    }

    async fn look(&self) -> Look {
        let question = Either::Right(Empty::new());
        let request = self.upstream.request(Method::GET, "/readyz", question);
        match self.upstream.send(request).await {
            Ok(response) if response.status() == StatusCode::OK => {
                match Limited::new(response.into_body(), READY_BYTES_MAX).collect().await {
                    Ok(body) => understand(&body.to_bytes()),
                    Err(_) => Look::Missed,
                }
            }
            Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Look::NotServing
            }
            // Refused: nobody is there, which is an answer.
            Err(Lost::Unreachable(_)) => Look::NotServing,
            Ok(_) | Err(Lost::Broke(_)) => Look::Missed,
        }
    }

    fn note(&self, look: Look) {
        let before = self.seen.borrow().clone();
        let after = match &before {
            Some(before) => Some(before.next(look)),
            None => Sighting::first(look),
        };
        let was_ready = before.is_some_and(|seen| seen.ready);
        let is_ready = after.as_ref().is_some_and(|seen| seen.ready);
        if was_ready != is_ready {
            let node = after.as_ref().map(|seen| tracing::field::debug(seen.node));
            tracing::info!(enclave = self.name, node, ready = is_ready, "readiness changed");
        }
        self.seen.send_replace(after);
    }
}

impl Sighting {
    fn first(look: Look) -> Option<Self> {
        match look {
            Look::Serving { node, models, not_after } => {
                Some(Self { node, models, not_after, ready: true, missed: 0 })
            }
            Look::NotServing | Look::Missed => None,
        }
    }

    /// One missed look is forgiven, two are not; an enclave that says that it does not serve is believed.
    fn next(&self, look: Look) -> Self {
        match look {
            Look::Serving { node, models, not_after } => {
                Self { node, models, not_after, ready: true, missed: 0 }
            }
            Look::NotServing => Self { ready: false, missed: 0, ..self.clone() },
            Look::Missed => {
                let missed = self.missed.saturating_add(1);
                Self { ready: self.ready && missed < MISSES_MAX, missed, ..self.clone() }
            }
        }
    }
}

impl Candidate {
    fn of(seen: &Sighting) -> Self {
        let Sighting { node, models, not_after, ready, missed: _ } = seen;
        let path = format!("/v1/nodes/{node:?}");
        Self {
            id: *node,
            path,
            models: models.clone(),
            not_after: not_after.clone(),
            ready: *ready,
        }
    }
}

fn understand(body: &[u8]) -> Look {
    let Ok(ReadyFile { node_id, models, not_after }) = serde_json::from_slice(body) else {
        return Look::Missed;
    };
    let long = |text: &String| text.len() > NAME_LEN_MAX;
    let bounded = models.len() <= MODELS_MAX
        && !models.iter().any(long)
        && !matches!(&not_after, Some(Instant::Text(text)) if long(text));
    match NodeId::parse(&node_id) {
        Some(node) if bounded => Look::Serving { node, models, not_after },
        Some(_) | None => Look::Missed,
    }
}

/// Between three and five quarters of `interval`, so that many routers do not ask in step.
fn jittered(interval: Duration) -> Duration {
    let draw = u32::try_from(RandomState::new().hash_one(0_u8) & 0xff).unwrap_or(0);
    let part = interval.checked_div(512).unwrap_or_default();
    part.saturating_mul(draw.saturating_add(384))
}

const fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => octet.checked_sub(b'0'),
        b'a'..=b'f' => octet.checked_sub(b'a' - 10),
        _ => None,
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// How long one look may take once connected.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Between two looks, however much an enclave is suspected.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Looks in a row that may fail to find out before an enclave counts as gone.
const MISSES_MAX: u32 = 2;

/// Octets of an enclave's `/readyz`.
const READY_BYTES_MAX: usize = 64 << 10;

/// Served names of one enclave, and octets of one name: what the hint may hold.
const MODELS_MAX: usize = 64;
const NAME_LEN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "000102030405060708090a0b0c0d0eff";

    fn serving(id: &str) -> Look {
        understand(
            format!(
                "{{\"status\":\"ready\",\"node_id\":\"{id}\",\"models\":[\"m\"],\"not_after\":7}}"
            )
            .as_bytes(),
        )
    }

    #[test]
    fn an_id_is_exactly_32_lower_case_digits() {
        assert_eq!(format!("{:?}", NodeId::parse(ID).unwrap()), ID);
        for bad in [
            "",
            "00",
            &ID.to_uppercase(),
            &format!("{ID}0"),
            &format!("{ID}00"),
            &ID.replace('f', "g"),
        ] {
            assert!(NodeId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_moment_may_be_a_number_or_a_text() {
        for instant in [
            serde_json::json!(7),
            serde_json::json!("2026-11-23T00:00:00Z"),
            serde_json::Value::Null,
        ] {
            let body = serde_json::json!({"node_id": ID, "not_after": instant}).to_string();
            assert!(matches!(understand(body.as_bytes()), Look::Serving { .. }), "{body}");
        }
    }

    #[test]
    fn one_missed_look_is_forgiven_and_two_are_not() {
        let first = Sighting::first(serving(ID)).unwrap();
        let second = first.next(Look::Missed);
        assert!(second.ready);
        assert!(!second.next(Look::Missed).ready);
        assert!(second.next(serving(ID)).next(Look::Missed).ready);
        assert!(!first.next(Look::NotServing).ready);
        assert!(
            !first.next(Look::NotServing).next(Look::Missed).ready,
            "only an answer makes it ready again"
        );
    }

    #[test]
    fn a_restart_changes_the_id() {
        let other = ID.replace("ff", "00");
        let seen = Sighting::first(serving(ID)).unwrap().next(serving(&other));
        assert_eq!(Some(seen.node), NodeId::parse(&other));
    }

    #[test]
    fn an_oversized_or_foreign_readyz_is_not_believed() {
        let names = vec!["m"; 65];
        let long = "x".repeat(257);
        for body in [
            "{}".to_owned(),
            "[]".to_owned(),
            "{\"node_id\":\"zz\"}".to_owned(),
            serde_json::json!({"node_id": ID, "models": names}).to_string(),
            serde_json::json!({"node_id": ID, "models": [long]}).to_string(),
            serde_json::json!({"node_id": ID, "not_after": long}).to_string(),
            serde_json::json!({"node_id": ID, "not_after": {}}).to_string(),
        ] {
            assert!(matches!(understand(body.as_bytes()), Look::Missed), "{body}");
        }
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let interval = Duration::from_secs(1);
        for _ in 0..1000 {
            let drawn = jittered(interval);
            assert!(
                drawn >= Duration::from_millis(749) && drawn <= Duration::from_millis(1251),
                "{drawn:?}"
            );
        }
    }
}
