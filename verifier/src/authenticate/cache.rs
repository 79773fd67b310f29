//! Chains that were verified before, so that the same one is not verified again.
//!
//! What following a chain yields depends on the certificates and lists that were given and carried,
//! in their order, on the anchors, on whether a list is demanded, and on the time, and on nothing
//! else where one signing key alone is offered. The key of an entry is a digest of all of these but
//! the time; of the time, an entry holds the window in which every comparison with it comes out the
//! same. Only chains without a finding are kept. So a hit is what following would have yielded, and a
//! miss, an expiry or a revocation takes the way that it always took.

use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use attestation::{Sha256, UnixTime};

use super::Inputs;
use super::chain::Chain;
use crate::policy::Presence;

/// Chains of signing keys that were followed to an anchor, for [`appraise_with`](crate::appraise_with).
///
/// It holds no verdict on a report, no key and no secret: whoever appraises without it comes to the
/// same result, later. Threads may share it; it is held for a look-up alone.
pub struct ChainCache {
    capacity: usize,
    /// The one that was used last is the last.
    entries: Mutex<Vec<Entry>>,
}

#[derive(Clone)]
struct Entry {
    key: Sha256,
    window: Window,
    chain: Chain,
}

impl ChainCache {
    /// An empty one that will keep at most `capacity` chains, and forgets the one that was not used
    /// for longest. With a capacity of zero it keeps nothing.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Vec::new()) }
    }

    /// How many chains it holds.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chain that following would yield without a finding, if that is known.
    pub(super) fn find(&self, key: &Sha256, now: UnixTime) -> Option<Chain> {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.key == *key)?;
        entries.get_mut(at..)?.rotate_left(1);
        entries.last().filter(|entry| entry.window.holds(now)).map(|entry| entry.chain.clone())
    }

    /// Keeps a chain that was followed without a finding.
    pub(super) fn keep(&self, key: Sha256, window: Window, chain: &Chain) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry { key, window, chain: chain.clone() };
        let mut entries = self.lock();
        // At another time the same endorsements may make another chain.
        entries.retain(|entry| entry.key != key);
        let too_many = entries.len().saturating_add(1).saturating_sub(self.capacity);
        entries.drain(..too_many);
        entries.push(entry);
    }

    /// Nothing panics while it is locked, so what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ChainCache {
    /// Room for the enclaves that one client or service talks to in a day.
    fn default() -> Self {
        Self::new(256)
    }
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainCache({} of {})", self.len(), self.capacity)
    }
}

/// A digest of everything but the time that following a chain depends on.
pub(super) fn key(inputs: Inputs<'_>) -> Sha256 {
    let Inputs { report: _, endorsements, anchors, revocation, now: _ } = inputs;
    let lists = endorsements.map(|from| [from.certificates(), from.crls()]);
    let mut all = Vec::with_capacity(
        lists.iter().flatten().flat_map(|ders| *ders).fold(LENS_ROOM, |sum, der| {
            sum.saturating_add(der.len()).saturating_add(size_of::<u64>())
        }),
    );
    all.extend_from_slice(anchors.digest().as_bytes());
    all.push(match revocation {
        Presence::Required => 1,
        Presence::IfPresent => 0,
    });
    for ders in lists.iter().flatten() {
        push_len(ders.len(), &mut all);
        for der in *ders {
            push_len(der.len(), &mut all);
            all.extend_from_slice(der);
        }
    }
    Sha256::of(&all)
}

/// Lengths before what they count, so that no two lists are written alike.
pub(crate) fn push_len(len: usize, out: &mut Vec<u8>) {
    // No list in memory is longer than 64 bits can say.
    out.extend_from_slice(&u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes());
}

/// The anchors' digest, the switch, and four counts.
const LENS_ROOM: usize = 32 + 1 + 4 * size_of::<u64>();

/// The moments around one at which no period starts or ends: every check of time says the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Window {
    /// The first of them.
    from: UnixTime,
    /// The last of them.
    to: UnixTime,
}

impl Window {
    /// The moments that lie on the same side of every start and every end as `now`. Periods include
    /// both.
    pub(super) fn around(
        now: UnixTime,
        periods: impl Iterator<Item = (UnixTime, UnixTime)>,
    ) -> Self {
        const SECOND: core::time::Duration = core::time::Duration::from_secs(1);
        let mut window = Self { from: UnixTime::from_secs(0), to: UnixTime::END };
        for (start, end) in periods {
            if now < start {
                window.to = window.to.min(start.saturating_sub(SECOND));
            } else {
                window.from = window.from.max(start);
            }
            if now > end {
                window.from = window.from.max(end.saturating_add(SECOND));
            } else {
                window.to = window.to.min(end);
            }
        }
        window
    }

    fn holds(self, now: UnixTime) -> bool {
        self.from <= now && now <= self.to
    }
}

#[cfg(test)]
mod tests {
    use attestation::Endorsements;
    use attestation::snp::{Product, SnpReport};

    use super::super::chain::{Kind, Vek, verify};
    use super::*;
    use crate::anchors::TrustAnchors;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    const FOREVER: Window = Window { from: UnixTime::from_secs(0), to: UnixTime::END };

    /// A chain that is told from others by its end.
    fn chain(ends: u64) -> Chain {
        let vek = Vek {
            kind: Kind::Vcek,
            product: Product::Genoa,
            point: [0; 97],
            tcb: None,
            chip: None,
            csp_id: None,
        };
        Chain { vek, ends: at(ends), crl: None, signs_report: false }
    }

    #[test]
    fn what_is_kept_is_found_in_its_window_until_it_was_not_used_for_longest() {
        let chains = ChainCache::new(2);
        let keys = [0_u8, 1, 2].map(|name| Sha256::of(&[name]));
        let ends = |key: usize, now| chains.find(&keys[key], at(now)).map(|chain| chain.ends);
        assert_eq!(ends(0, 5), None);
        chains.keep(keys[0], Window { from: at(5), to: at(7) }, &chain(10));
        for (now, expected) in [(4, None), (5, Some(at(10))), (7, Some(at(10))), (8, None)] {
            assert_eq!(ends(0, now), expected, "at {now}");
        }
        // At another time it is another chain, in the same place.
        chains.keep(keys[0], FOREVER, &chain(11));
        assert_eq!((ends(0, 8), chains.len()), (Some(at(11)), 1));
        chains.keep(keys[1], FOREVER, &chain(20));
        assert_eq!(ends(0, 5), Some(at(11)), "used again");
        chains.keep(keys[2], FOREVER, &chain(30));
        assert_eq!([ends(0, 5), ends(1, 5), ends(2, 5)], [Some(at(11)), None, Some(at(30))]);
    }

    #[test]
    fn the_key_covers_all_that_a_chain_depends_on() {
        let (certificate, list) = ([1_u8; 40], [2_u8; 40]);
        let endorse = |certificates: &[&[u8]], crls: &[&[u8]]| {
            let mut all = Endorsements::new();
            for der in certificates {
                all.add_certificate(der).unwrap();
            }
            for der in crls {
                all.add_crl(der).unwrap();
            }
            all
        };
        let none = Endorsements::new();
        let both = endorse(&[&certificate], &[&list]);
        let given: [[&Endorsements; 2]; 7] = [
            [&none, &none],
            [&both, &none],
            [&none, &both],
            [&both, &both],
            [&endorse(&[&certificate, &list], &[]), &none],
            [&endorse(&[&list], &[&certificate]), &none],
            [&endorse(&[&list, &certificate], &[]), &none],
        ];
        let report = sim::ReportBuilder::new(Product::Genoa, 3);
        let report = report.sign(&sim::EcKey::generate().unwrap()).unwrap();
        let report = SnpReport::parse(&report).unwrap();
        let amd = TrustAnchors::production();
        let one = TrustAnchors::untrusted(Some(amd.sev_snp()[..1].to_vec()));
        let mut keys = Vec::new();
        for endorsements in given {
            for anchors in [&amd, &one] {
                for revocation in [Presence::Required, Presence::IfPresent] {
                    let now = at(0);
                    let report = &report;
                    keys.push(key(Inputs { report, endorsements, anchors, revocation, now }));
                }
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (28, 28), "two inputs have the same key");
    }

    #[test]
    fn a_chain_that_is_kept_is_not_followed_again() {
        let report = sim::ReportBuilder::new(Product::Genoa, 3);
        let report = report.sign(&sim::EcKey::generate().unwrap()).unwrap();
        let (none, anchors) = (Endorsements::new(), TrustAnchors::production());
        let inputs = Inputs {
            report: &SnpReport::parse(&report).unwrap(),
            endorsements: [&none, &none],
            anchors: &anchors,
            revocation: Presence::Required,
            now: at(5),
        };
        let (chains, mut findings) = (ChainCache::default(), Vec::new());
        assert!(verify(inputs, &chains, &mut findings).is_none(), "there is nothing to follow");
        assert_eq!((core::mem::take(&mut findings).len(), chains.len()), (1, 0));
        chains.keep(key(inputs), FOREVER, &chain(10));
        let found = verify(inputs, &chains, &mut findings).unwrap();
        assert_eq!((found.ends, findings.len()), (at(10), 0));
    }

    #[test]
    fn a_window_ends_where_a_comparison_would_change() {
        let periods = [(10, 90), (20, 80), (5, 15), (95, 99), (60, 40)];
        for now in 0..=100 {
            let window =
                Window::around(at(now), periods.iter().map(|(start, end)| (at(*start), at(*end))));
            let outcome = |now: u64| periods.map(|(start, end)| (now < start, now > end));
            for other in 0..=100 {
                let between = now.min(other)..=now.max(other);
                let same = between.clone().all(|moment| outcome(moment) == outcome(now));
                assert_eq!(window.holds(at(other)), same, "{now} and {other}");
            }
        }
    }
}
