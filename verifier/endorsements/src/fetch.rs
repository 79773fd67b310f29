//! Asking, politely, and keeping what comes.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use attestation::{Endorsements, Malformed, UnixTime};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{Mutex, Semaphore};

use crate::config::Config;
use crate::document::Document;
use crate::error::{Unavailable, Why};
use crate::holds::Holds;
use crate::http::Http;
use crate::item::{Item, Question};
use crate::marks::Marks;
use crate::ocsp::NONCE_LEN;
use crate::store::{BUCKETS, Entry, Found, Record, Store, bucket};
use crate::tls::Dialer;
use crate::world::World;

/// Asks vendors' services, and keeps what they say.
pub struct Fetcher {
    config: Config,
    store: Store,
    marks: Marks,
    world: Arc<dyn World>,
    http: Http,
    holds: Holds,
    /// One request in flight for an item, among the tasks of this process.
    turns: Vec<Mutex<()>>,
    at_once: Semaphore,
}

/// What may be asked of whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// What is kept is used until it is due; then the service is asked.
    Cached,
    /// The service is asked. What is kept is used where there is no answer, and an answer takes its
    /// place even where it is older: the way out of a cache that a mirror has spoilt.
    Fresh,
    /// Nobody is asked.
    Offline,
}

/// A document, and how it was had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obtained {
    /// What it is of.
    pub item: Item,
    /// The document.
    pub document: Document,
    /// Where it came from.
    pub source: String,
    /// When it came.
    pub fetched_at: UnixTime,
    /// When it will be fetched again.
    pub refresh_at: UnixTime,
    /// How it was had.
    pub origin: Origin,
}

/// How a document was had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// It was fetched, and is kept.
    Network,
    /// It was fetched, and could not be kept.
    NotKept(String),
    /// It was kept.
    Cache,
    /// It was kept and is due; asking for the next one failed.
    CacheAfter(Why),
}

/// What is being done, for people who wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A service is asked.
    Asking {
        /// For what.
        item: String,
        /// Where.
        url: String,
    },
    /// It failed, and is tried again.
    Waiting {
        /// What.
        item: String,
        /// For how long.
        wait: Duration,
        /// Why.
        why: Why,
    },
    /// What was kept is damaged and removed.
    Damaged {
        /// What.
        item: String,
    },
}

/// Who is told of steps.
pub type Fetching<'a> = &'a (dyn Fn(Step) + Send + Sync);

impl Fetcher {
    /// A fetcher that keeps documents in `store`.
    ///
    /// # Errors
    /// The TLS library refuses its configuration.
    pub fn new(
        config: Config,
        store: Store,
        marks: Marks,
        world: Arc<dyn World>,
    ) -> Result<Self, Malformed> {
        let dialer = Dialer::new(config.roots.clone(), config.connect)
            .map_err(|_| Malformed::invalid("TLS configuration", "is refused"))?;
        let http = Http::new(dialer, config.answer);
        let turns = (0..BUCKETS).map(|_| Mutex::new(())).collect();
        let at_once = Semaphore::new(config.at_once);
        Ok(Self { config, store, marks, world, http, holds: Holds::default(), turns, at_once })
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The memory of evaluation numbers.
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Everything that is kept, by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn status(&self) -> io::Result<Vec<Entry>> {
        self.store.list(self.world.now(), |record| self.refresh_at(record))
    }

    /// Every document that is kept and may be used now.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn kept(&self) -> io::Result<Vec<Document>> {
        let records = self.store.all(self.world.now())?;
        Ok(records.into_iter().map(|record| record.document).collect())
    }

    /// Obtains each of `items`, some at the same time; the results are in their order.
    pub async fn obtain_all(
        &self,
        items: &[Item],
        mode: Mode,
        fetching: Fetching<'_>,
    ) -> Vec<Result<Obtained, Unavailable>> {
        // No closure of a borrowed item: whoever runs this elsewhere than here needs one lifetime.
        let mut each = Vec::with_capacity(items.len());
        for item in items {
            each.push(self.obtain(item, mode, fetching));
        }
        stream::iter(each).buffered(self.config.at_once).collect().await
    }

    /// Obtains one item.
    ///
    /// # Errors
    /// [`Unavailable`]: not kept, or no longer good, and not to be had.
    pub async fn obtain(
        &self,
        item: &Item,
        mode: Mode,
        fetching: Fetching<'_>,
    ) -> Result<Obtained, Unavailable> {
        let name = item.name();
        let before = self.read(item, &name, fetching);
        let usable = self.usable(before.as_ref());
        match (mode, usable) {
            (Mode::Offline, Some(record)) => return Ok(self.cached(item, record, Origin::Cache)),
            (Mode::Offline, None) => {
                let ends = before.as_ref().and_then(|record| record.document.window().ends);
                let why = ends.map_or(Why::Offline, Why::Ended);
                return Err(Unavailable { item: name, url: None, why });
            }
            (Mode::Cached, Some(record)) if !self.is_due(record) => {
                return Ok(self.cached(item, record, Origin::Cache));
            }
            (Mode::Cached | Mode::Fresh, _) => {}
        }
        let bucket = bucket(&name);
        let turn = match self.turns.get(bucket) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let lock = self.lock(bucket).await;
        let obtained = self.refresh(item, name, before, mode, fetching).await;
        drop((lock, turn));
        obtained
    }

    /// The part that one process does at a time.
    async fn refresh(
        &self,
        item: &Item,
        name: String,
        before: Option<Record>,
        mode: Mode,
        fetching: Fetching<'_>,
    ) -> Result<Obtained, Unavailable> {
        let kept = self.read(item, &name, fetching);
        let usable = self.usable(kept.as_ref());
        // Whoever was here before may have fetched it.
        if let Some(record) = usable
            && kept != before
            && !self.is_due(record)
        {
            return Ok(self.cached(item, record, Origin::Cache));
        }
        let seen = if mode == Mode::Fresh { None } else { kept.as_ref() };
        match self.fetch(item, &name, seen, fetching).await {
            Ok((document, source)) => {
                let fetched_at = self.world.now();
                let record = Record { document, item: name, source, fetched_at };
                let origin = match self.store.write(&record, self.config.len_max) {
                    Ok(()) => Origin::Network,
                    Err(error) => Origin::NotKept(error.to_string()),
                };
                Ok(self.cached(item, &record, origin))
            }
            Err((url, why)) => match usable {
                Some(record) => Ok(self.cached(item, record, Origin::CacheAfter(why))),
                None => Err(Unavailable { item: name, url, why }),
            },
        }
    }

    /// Asks, again and again as far as that is polite.
    async fn fetch(
        &self,
        item: &Item,
        name: &str,
        seen: Option<&Record>,
        fetching: Fetching<'_>,
    ) -> Result<(Document, String), (Option<String>, Why)> {
        let mut attempt = 0_u32;
        loop {
            let round = self.ask_everywhere(item, name, seen, fetching).await;
            let failed = match round {
                Ok(found) => return Ok(found),
                Err(failed) => failed,
            };
            attempt = attempt.saturating_add(1);
            let (url, why) = match failed.worth_another() {
                Some(passing) if attempt < self.config.attempts => passing,
                _ => return Err(failed.last()),
            };
            let mut wait = self.config.backoff.after(attempt.saturating_sub(1), self.draw());
            if let Why::RateLimited { until } = why {
                let asked = until.as_secs().saturating_sub(self.world.now().as_secs());
                wait = wait.max(Duration::from_secs(asked));
                if wait > self.config.wait_max {
                    return Err((Some(url), why));
                }
            }
            fetching(Step::Waiting { item: name.to_owned(), wait, why });
            self.world.sleep(wait).await;
        }
    }

    /// Asks one address after the other, once each.
    async fn ask_everywhere(
        &self,
        item: &Item,
        name: &str,
        seen: Option<&Record>,
        fetching: Fetching<'_>,
    ) -> Result<(Document, String), Round> {
        let mut round = Round(Vec::new());
        let mut nonce = [0; NONCE_LEN];
        if !self.world.random(&mut nonce) {
            return Err(Round(vec![(None, Why::NoRandomness)]));
        }
        let questions = match item.questions(&self.config, nonce) {
            Ok(questions) => questions,
            Err(malformed) => return Err(Round(vec![(None, malformed.into())])),
        };
        for question in questions {
            let url = question.url.clone();
            if let Some(until) = self.holds.until(&self.store, &url, self.world.now()) {
                round.0.push((Some(url), Why::RateLimited { until }));
                continue;
            }
            fetching(Step::Asking { item: name.to_owned(), url: url.clone() });
            match self.ask(item, &question, seen).await {
                Ok(document) => return Ok((document, url)),
                Err(why) => {
                    if let Why::RateLimited { until } = why {
                        self.holds.note(&self.store, &url, until);
                    }
                    round.0.push((Some(url), why));
                }
            }
        }
        Err(round)
    }

    /// One question, and everything that an answer has to be.
    async fn ask(
        &self,
        item: &Item,
        question: &Question,
        seen: Option<&Record>,
    ) -> Result<Document, Why> {
        // The semaphore is never closed.
        let permit = self.at_once.acquire().await.ok();
        let answer = self.http.ask(question, self.world.now()).await;
        drop(permit);
        let answer = answer?;
        let document = item.read(question, &answer.headers, &answer.body)?;
        let (window, now) = (document.window(), self.world.now());
        if let Some(ends) = window.ends.filter(|ends| *ends < now) {
            return Err(Why::Ended(ends));
        }
        if now < window.begins {
            return Err(Why::NotYet(window.begins));
        }
        self.check_edition(item, &document, seen)?;
        Ok(document)
    }

    /// Nothing older takes the place of what was seen before.
    fn check_edition(
        &self,
        item: &Item,
        document: &Document,
        seen: Option<&Record>,
    ) -> Result<(), Why> {
        let floor = self.marks.floor(item).map_err(|error| Why::Marks(error.to_string()))?;
        let Some(edition) = document.edition() else { return Ok(()) };
        let kept = seen.and_then(|record| record.document.edition());
        let highest = kept.and_then(|edition| edition.number).max(floor);
        if let (Some(got), Some(seen)) = (edition.number, highest)
            && got < seen
        {
            return Err(Why::RolledBack { what: "the number", seen, got });
        }
        match kept {
            Some(kept) if edition.number <= kept.number && edition.issued < kept.issued => {
                Err(Why::RolledBack {
                    what: "the time of issue",
                    seen: kept.issued.as_secs(),
                    got: edition.issued.as_secs(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What is kept of `item`, as far as it is about it.
    fn read(&self, item: &Item, name: &str, fetching: Fetching<'_>) -> Option<Record> {
        let record = match self.store.read(name) {
            Found::Nothing => return None,
            Found::Record(record) => Some(*record).filter(|r| item.check(&r.document).is_ok()),
            Found::Damaged => None,
        };
        if record.is_none() {
            fetching(Step::Damaged { item: name.to_owned() });
        }
        record
    }

    /// The record, where its document has begun and not ended.
    fn usable<'r>(&self, record: Option<&'r Record>) -> Option<&'r Record> {
        record.filter(|record| record.document.window().has(self.world.now()))
    }

    fn is_due(&self, record: &Record) -> bool {
        let now = self.world.now();
        // What was fetched in the future was fetched by a wrong clock.
        self.refresh_at(record) <= now || now < record.fetched_at
    }

    /// When a quarter is left of what was left when it came; for what is published again and again at
    /// the latest after a while, however long it says that it is good.
    fn refresh_at(&self, record: &Record) -> UnixTime {
        let came = record.fetched_at;
        let due = match record.document.window().ends {
            Some(ends) => {
                let left = ends.as_secs().saturating_sub(came.as_secs());
                ends.saturating_sub(Duration::from_secs(left.checked_div(4).unwrap_or(0)))
            }
            None => came.saturating_add(ENDLESS_AGE_MAX),
        };
        match record.document.edition() {
            Some(_) => due.min(came.saturating_add(self.config.age_max)),
            None => due,
        }
    }

    fn cached(&self, item: &Item, record: &Record, origin: Origin) -> Obtained {
        Obtained {
            item: item.clone(),
            document: record.document.clone(),
            source: record.source.clone(),
            fetched_at: record.fetched_at,
            refresh_at: self.refresh_at(record),
            origin,
        }
    }

    /// Waits for the other processes. Where nothing can be locked nothing can be kept either, and each
    /// asks for itself.
    async fn lock(&self, bucket: usize) -> Option<File> {
        for _ in 0..LOCK_TRIES {
            match self.store.try_lock(bucket) {
                Ok(Some(file)) => return Some(file),
                Ok(None) => self.world.sleep(LOCK_WAIT).await,
                Err(_) => return None,
            }
        }
        None
    }

    fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness the wait is the shortest, and the next attempt says why it fails.
        let _ = self.world.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("config", &self.config)
            .field("store", &self.store)
            .field("marks", &self.marks)
            .finish_non_exhaustive()
    }
}

/// Everything obtained in one pool.
///
/// # Errors
/// Too much for one pool.
pub fn pool<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
) -> Result<Endorsements, Malformed> {
    let mut pool = Endorsements::new();
    documents.into_iter().try_for_each(|document| document.add_to(&mut pool))?;
    Ok(pool)
}

/// Who was asked in vain, and why it was in vain.
struct Round(Vec<(Option<String>, Why)>);

impl Round {
    /// The failure after which to wait, if there is one that may pass: one that is no rate limit, or the
    /// rate limit that ends first.
    fn worth_another(&self) -> Option<(String, Why)> {
        let passing = self.0.iter().filter(|(_, why)| why.is_passing());
        let ends = |why: &Why| {
            if let Why::RateLimited { until } = why { *until } else { UnixTime::from_secs(0) }
        };
        let (url, why) = passing.min_by_key(|(_, why)| ends(why))?;
        Some((url.clone().unwrap_or_default(), why.clone()))
    }

    fn last(mut self) -> (Option<String>, Why) {
        self.0.pop().unwrap_or((None, Why::Offline))
    }
}

/// What has no end is fetched again after a month.
const ENDLESS_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// Between two looks at a lock that another process holds.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Five minutes: another process that waits for a service is done by then.
const LOCK_TRIES: u32 = 3000;
