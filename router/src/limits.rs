//! What one key may use of the router in a minute and at once, and what one address may get wrong.
//!
//! Time is an argument. A bucket is one instant, the virtual scheduling time of GCRA: it needs no task that refills it, and an
//! idle one costs nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};

use tls::network;
use tokio::time::Instant;

use crate::config::KeyLimits;

/// Which limit stopped a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Requests of one key in a minute.
    Requests,
    /// Requests of one key in flight.
    Streams,
    /// Requests of one key that enclaves could not open, in a minute (docs/protocol.md §5.9).
    Failures,
    /// Requests of one address without a good key, in a minute.
    Unauthorized,
}

/// A request that was stopped, and for how long the next one would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) limit: Limit,
    pub(crate) retry_after_secs: u32,
}

/// Tokens that come back at an even rate; a full bucket holds one minute's worth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When everything taken so far will have come back.
    whole_at: Option<Instant>,
}

/// What one key has used. It outlives a reload of the file, so that a reload refills nothing.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    buckets: Mutex<Buckets>,
    streams: AtomicU32,
    requests: AtomicU64,
    limited: AtomicU64,
}

#[derive(Debug, Default)]
struct Buckets {
    requests: Bucket,
    failures: Bucket,
}

/// One request's place under the limits of its key, held until its response has ended.
#[derive(Debug)]
pub(crate) struct Place {
    meter: Arc<Meter>,
    failures_per_minute: u32,
}

/// What addresses got wrong lately: a bounded number of buckets, and one for all others.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<Buckets401>);

/// Who is connected, so that one address cannot take every place.
#[derive(Debug)]
pub(crate) struct Crowd {
    per_address_max: u32,
    /// By address, of those that have a connection: as many entries as connections, at most.
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// One connection's place in the crowd.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    network: IpAddr,
}

#[derive(Debug, Default)]
struct Buckets401 {
    by_address: HashMap<IpAddr, Bucket>,
    others: Bucket,
    swept_at: Option<Instant>,
}

impl Bucket {
    /// Takes a token, or says how long the next one takes to come.
    fn take(&mut self, per_minute: u32, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(per_minute, now) {
            return Err(wait);
        }
        self.charge(per_minute, now);
        Ok(())
    }

    /// Takes a token whether or not one is there; a bucket is never more than empty.
    fn charge(&mut self, per_minute: u32, now: Instant) {
        let debt = self.debt(now).saturating_add(interval(per_minute)).min(MINUTE);
        self.whole_at = now.checked_add(debt);
    }

    /// How long until a token is there, if none is.
    fn wait(&self, per_minute: u32, now: Instant) -> Option<Duration> {
        let after = self.debt(now).saturating_add(interval(per_minute));
        after.checked_sub(MINUTE).filter(|wait| !wait.is_zero())
    }

    fn debt(&self, now: Instant) -> Duration {
        self.whole_at.map_or(Duration::ZERO, |whole| whole.saturating_duration_since(now))
    }
}

impl Meter {
    /// Lets one request in, if every limit allows it. A refused request takes no token.
    pub(crate) fn enter(
        self: &Arc<Self>,
        limits: &KeyLimits,
        now: Instant,
    ) -> Result<Place, Limited> {
        let entered = self.try_enter(limits, now);
        let counter = if entered.is_ok() { &self.requests } else { &self.limited };
        counter.fetch_add(1, Relaxed);
        entered
    }

    fn try_enter(self: &Arc<Self>, limits: &KeyLimits, now: Instant) -> Result<Place, Limited> {
        let KeyLimits { requests_per_minute, streams_max, failures_per_minute } = *limits;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = buckets.failures.wait(failures_per_minute, now) {
            return Err(Limited::after(Limit::Failures, wait));
        }
        self.streams
            .fetch_update(SeqCst, SeqCst, |open| {
                open.checked_add(1).filter(|open| *open <= streams_max)
            })
            .map_err(|_| Limited { limit: Limit::Streams, retry_after_secs: 1 })?;
        let place = Place { meter: Arc::clone(self), failures_per_minute };
        match buckets.requests.take(requests_per_minute, now) {
            Ok(()) => Ok(place),
            Err(wait) => Err(Limited::after(Limit::Requests, wait)),
        }
    }

    /// Requests in flight, let in so far, and refused so far.
    pub(crate) fn counts(&self) -> (u32, u64, u64) {
        (self.streams.load(SeqCst), self.requests.load(Relaxed), self.limited.load(Relaxed))
    }
}

impl Place {
    /// The enclave answered that it could not make sense of the request.
    pub(crate) fn failed(&self, now: Instant) {
        let mut buckets = self.meter.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.failures.charge(self.failures_per_minute, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At least this place is counted.
        self.meter.streams.fetch_sub(1, SeqCst);
    }
}

impl Addresses {
    /// Notes that `address` came without a good key; an error once it has done so too often.
    ///
    /// Only such requests meet this limit: a good key passes from any address, so that nobody can shut out those who share
    /// theirs. Nothing is lost: 256 random bits are not guessed, at any rate.
    pub(crate) fn failed(
        &self,
        address: IpAddr,
        per_minute: u32,
        now: Instant,
    ) -> Result<(), Limited> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .of(network(address), now)
            .take(per_minute, now)
            .map_err(|wait| Limited::after(Limit::Unauthorized, wait))
    }
}

impl Buckets401 {
    fn of(&mut self, network: IpAddr, now: Instant) -> &mut Bucket {
        let Self { by_address, others, swept_at } = self;
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&network) {
            let recently =
                swept_at.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_INTERVAL);
            if !recently {
                by_address.retain(|_, bucket| !bucket.debt(now).is_zero());
                *swept_at = Some(now);
            }
            if by_address.len() >= ADDRESSES_MAX {
                return others;
            }
        }
        by_address.entry(network).or_default()
    }
}

impl Crowd {
    pub(crate) fn new(per_address_max: u32) -> Arc<Self> {
        Arc::new(Self { per_address_max, open: Mutex::default() })
    }

    /// None where the address has all the connections that it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let network = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network).or_default();
        // An address without connections may have one, so nothing stays behind where this one is refused.
        *count = count.checked_add(1).filter(|count| *count <= self.per_address_max)?;
        Some(Seat { crowd: Arc::clone(self), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

impl Limited {
    /// Whole seconds, rounded up: a client that waits as long as it is told is let in.
    fn after(limit: Limit, wait: Duration) -> Self {
        let secs = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self { limit, retry_after_secs: u32::try_from(secs).unwrap_or(u32::MAX).max(1) }
    }
}

/// Between two tokens. A rate of zero would be no rate; the configuration refuses it.
fn interval(per_minute: u32) -> Duration {
    MINUTE.checked_div(per_minute).unwrap_or(MINUTE)
}

const MINUTE: Duration = Duration::from_mins(1);

/// Addresses with a bucket of their own.
const ADDRESSES_MAX: usize = 4096;

/// Between two searches for addresses that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: KeyLimits =
        KeyLimits { requests_per_minute: 3, streams_max: 2, failures_per_minute: 2 };

    fn start() -> Instant {
        Instant::now()
    }

    fn later(now: Instant, secs: u64) -> Instant {
        now.checked_add(Duration::from_secs(secs)).unwrap()
    }

    fn stopped(meter: &Arc<Meter>, limits: &KeyLimits, now: Instant) -> Limited {
        meter.enter(limits, now).unwrap_err()
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_one_an_interval() {
        let (meter, now) = (Arc::new(Meter::default()), start());
        for _ in 0..3 {
            drop(meter.enter(&LIMITS, now).unwrap());
        }
        let refused = Limited { limit: Limit::Requests, retry_after_secs: 20 };
        assert_eq!(stopped(&meter, &LIMITS, now), refused);
        assert_eq!(stopped(&meter, &LIMITS, later(now, 19)).retry_after_secs, 1);
        drop(meter.enter(&LIMITS, later(now, 20)).unwrap());
        assert_eq!(stopped(&meter, &LIMITS, later(now, 20)), refused);
        for _ in 0..3 {
            drop(meter.enter(&LIMITS, later(now, 3_600)).unwrap());
        }
        assert!(meter.enter(&LIMITS, later(now, 3_600)).is_err(), "no more than a minute's worth");
        assert_eq!(meter.counts(), (0, 7, 4));
    }

    #[test]
    fn streams_are_counted_until_their_place_is_given_up() {
        let (meter, now) = (Arc::new(Meter::default()), start());
        let (first, second) =
            (meter.enter(&LIMITS, now).unwrap(), meter.enter(&LIMITS, now).unwrap());
        let refused = Limited { limit: Limit::Streams, retry_after_secs: 1 };
        assert_eq!(stopped(&meter, &LIMITS, now), refused);
        drop(first);
        drop(meter.enter(&LIMITS, now).unwrap());
        drop(second);
        assert_eq!(meter.counts().0, 0);
    }

    #[test]
    fn failures_stop_the_key_until_one_has_come_back() {
        let (meter, now) = (Arc::new(Meter::default()), start());
        let limits = KeyLimits { requests_per_minute: 1_000, ..LIMITS };
        let place = meter.enter(&limits, now).unwrap();
        place.failed(now);
        drop(meter.enter(&limits, now).unwrap());
        place.failed(now);
        let refused = Limited { limit: Limit::Failures, retry_after_secs: 30 };
        assert_eq!(stopped(&meter, &limits, now), refused);
        for _ in 0..100 {
            place.failed(now);
        }
        assert_eq!(stopped(&meter, &limits, now), refused, "never more than empty");
        drop(meter.enter(&limits, later(now, 30)).unwrap());
    }

    #[test]
    fn a_refused_request_takes_no_token() {
        let (meter, now) = (Arc::new(Meter::default()), start());
        let place = meter.enter(&LIMITS, now).unwrap();
        let narrow = KeyLimits { streams_max: 1, ..LIMITS };
        for _ in 0..10 {
            assert_eq!(stopped(&meter, &narrow, now).limit, Limit::Streams);
        }
        drop(place);
        drop(meter.enter(&narrow, now).unwrap());
        drop(meter.enter(&narrow, now).unwrap());
        assert_eq!(stopped(&meter, &narrow, now).limit, Limit::Requests);
        assert_eq!(meter.counts().0, 0, "a refused request holds no place");
    }

    #[test]
    fn each_address_has_its_own_count_and_a_v6_network_is_one() {
        let (addresses, now) = (Addresses::default(), start());
        let at = |text: &str| addresses.failed(text.parse().unwrap(), 2, now);
        assert!(at("192.0.2.1").is_ok() && at("::ffff:192.0.2.1").is_ok());
        let refused = Limited { limit: Limit::Unauthorized, retry_after_secs: 30 };
        assert_eq!(at("192.0.2.1").unwrap_err(), refused);
        assert!(at("192.0.2.2").is_ok());
        assert!(at("2001:db8::1").is_ok() && at("2001:db8::2").is_ok());
        assert!(at("2001:db8::3").is_err());
        assert!(at("2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn addresses_are_bounded_forgotten_when_idle_and_shared_beyond() {
        let (addresses, now) = (Addresses::default(), start());
        let at = |number: usize, now| {
            let number = u32::try_from(number).unwrap();
            addresses.failed(IpAddr::V4(number.into()), 1, now)
        };
        for number in 0..ADDRESSES_MAX {
            assert!(at(number, now).is_ok());
        }
        assert!(at(ADDRESSES_MAX, now).is_ok(), "the shared bucket");
        assert!(at(ADDRESSES_MAX.saturating_add(1), now).is_err(), "is shared");
        assert_eq!(addresses.0.lock().unwrap().by_address.len(), ADDRESSES_MAX);
        assert!(at(ADDRESSES_MAX.saturating_add(2), later(now, 61)).is_ok());
        assert_eq!(addresses.0.lock().unwrap().by_address.len(), 1, "the idle ones are gone");
    }

    #[test]
    fn an_address_has_so_many_connections_and_leaves_nothing_behind() {
        let crowd = Crowd::new(2);
        let enter = |text: &str| crowd.enter(text.parse().unwrap());
        let (first, second) = (enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        let others = (enter("192.0.2.2").unwrap(), enter("2001:db8::1").unwrap());
        let _third = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "a network is one");
        drop(first);
        let again = enter("192.0.2.1").unwrap();
        drop((second, again, others));
        assert_eq!(crowd.open.lock().unwrap().len(), 1);
    }
}
