//! One report in flight, challenges batched, a new epoch first, everything bounded.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attestation::binding::FreshnessProof;
use attestation::{BindingId, Challenge, CpuEvidence, Digest, Endorsements, Fresh, ReportData};
use collect::{CollectError, Collector, Limits, PlatformEvidence};

fn limits() -> Limits {
    Limits { window: Duration::from_millis(60), ..Limits::default() }
}

fn epoch(seed: u8) -> BindingId {
    BindingId(Digest([seed; 32]))
}

fn challenge(seed: u16) -> Challenge {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    Challenge(bytes)
}

/// Evidence whose report is the report data, so that a test sees what was signed.
fn evidence(report_data: &ReportData) -> PlatformEvidence {
    PlatformEvidence {
        cpu: CpuEvidence::sev_snp(report_data.0.to_vec()),
        event_log: None,
        endorsements: Endorsements::new(),
    }
}

fn signed(binding: u8, fresh: &Fresh) -> Vec<u8> {
    ReportData::bind(&epoch(binding), fresh).0.to_vec()
}

/// The report data that a platform was asked to sign, in order.
type Notes = Arc<Mutex<Vec<Vec<u8>>>>;

/// A platform that notes what it signs, and signs only when it is let.
fn gated() -> (impl collect::Attester + 'static, mpsc::Sender<()>, Notes) {
    let (gate, wait) = mpsc::channel::<()>();
    let notes = Notes::default();
    let taken = Arc::clone(&notes);
    let attester = move |report_data: &ReportData| {
        taken.lock().unwrap().push(report_data.0.to_vec());
        wait.recv().map_err(|_| CollectError::Refused)?;
        Ok(evidence(report_data))
    };
    (attester, gate, notes)
}

fn spawn(attester: impl collect::Attester + 'static, limits: Limits) -> Collector {
    Collector::spawn(Box::new(attester), limits).unwrap()
}

/// Waits, within a bound, until the condition holds.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("five seconds were not enough");
}

#[tokio::test]
async fn a_lone_challenge_is_answered_as_itself() {
    let collector = spawn(|data: &ReportData| Ok(evidence(data)), limits());
    let collected = collector.fresh(epoch(1), challenge(7)).await.unwrap();
    assert_eq!(collected.evidence.cpu.bytes, signed(1, &Fresh::Challenge(challenge(7))));
    assert_eq!(
        collected.freshness,
        FreshnessProof::Challenge { challenge: Digest(challenge(7).0) }
    );
}

#[tokio::test]
async fn challenges_of_one_window_share_a_report_that_answers_each() {
    let (attester, gate, notes) = gated();
    let collector = spawn(attester, limits());
    let asked: Vec<_> = (0..5)
        .map(|seed| {
            let collector = collector.clone();
            tokio::spawn(async move {
                (seed, collector.fresh(epoch(1), challenge(seed)).await.unwrap())
            })
        })
        .collect();
    gate.send(()).unwrap();
    for answer in asked {
        let (seed, collected) = answer.await.unwrap();
        assert!(collected.freshness.answers(&challenge(seed)), "{seed}");
        assert!(!collected.freshness.answers(&challenge(99)));
        assert_eq!(collected.evidence.cpu.bytes, signed(1, &collected.freshness.fresh()));
    }
    assert_eq!(notes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn epochs_do_not_share_a_report() {
    let collector = spawn(|data: &ReportData| Ok(evidence(data)), limits());
    let (one, two) = tokio::join!(
        collector.fresh(epoch(1), challenge(1)),
        collector.fresh(epoch(2), challenge(1))
    );
    assert_eq!(one.unwrap().evidence.cpu.bytes, signed(1, &Fresh::Challenge(challenge(1))));
    assert_eq!(two.unwrap().evidence.cpu.bytes, signed(2, &Fresh::Challenge(challenge(1))));
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_its_window() {
    let window = Duration::from_hours(1);
    let collector =
        spawn(|data: &ReportData| Ok(evidence(data)), Limits { window, batch_max: 2, ..limits() });
    let (one, two) = tokio::join!(
        collector.fresh(epoch(1), challenge(1)),
        collector.fresh(epoch(1), challenge(2))
    );
    assert!(one.unwrap().freshness.answers(&challenge(1)));
    assert!(two.unwrap().freshness.answers(&challenge(2)));
}

#[tokio::test]
async fn a_full_batch_of_1024_proves_each_challenge() {
    let collector = spawn(|data: &ReportData| Ok(evidence(data)), limits());
    let asked: Vec<_> = (0..1024)
        .map(|seed| {
            let collector = collector.clone();
            tokio::spawn(async move {
                (seed, collector.fresh(epoch(1), challenge(seed)).await.unwrap())
            })
        })
        .collect();
    let mut reports = Vec::new();
    for answer in asked {
        let (seed, collected) = answer.await.unwrap();
        assert!(collected.freshness.answers(&challenge(seed)), "{seed}");
        reports.push(collected.evidence.cpu.bytes.clone());
    }
    reports.dedup();
    assert_eq!(reports.len(), 1);
}

#[tokio::test]
async fn a_new_epoch_goes_before_challenges_that_wait() {
    let (attester, gate, notes) = gated();
    let collector = spawn(attester, limits());
    let ask = |seed| {
        let collector = collector.clone();
        tokio::spawn(async move { collector.fresh(epoch(1), challenge(seed)).await })
    };
    let first = ask(1);
    until(|| notes.lock().unwrap().len() == 1).await;
    // One report is in flight; a challenge waits well past its window, then the epoch comes.
    let second = ask(2);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let rotation = tokio::spawn({
        let collector = collector.clone();
        async move { collector.epoch(epoch(2)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(notes.lock().unwrap().len(), 1, "one report in flight");
    for _ in 0..3 {
        gate.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    rotation.await.unwrap().unwrap();
    let order = [
        signed(1, &Fresh::Challenge(challenge(1))),
        signed(2, &Fresh::None),
        signed(1, &Fresh::Challenge(challenge(2))),
    ];
    assert_eq!(*notes.lock().unwrap(), order);
}

#[tokio::test]
async fn an_epoch_is_collected_once_whoever_asks() {
    let (attester, gate, notes) = gated();
    let collector = spawn(attester, limits());
    let (one, two, ()) =
        tokio::join!(collector.epoch(epoch(1)), collector.epoch(epoch(1)), async {
            gate.send(()).unwrap();
        });
    assert_eq!(one.unwrap().cpu.bytes, signed(1, &Fresh::None));
    two.unwrap();
    collector.epoch(epoch(1)).await.unwrap();
    assert_eq!(notes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_epoch_is_not_kept() {
    let mut failures = 1;
    let attester = move |data: &ReportData| {
        if failures > 0 {
            failures = 0;
            return Err(CollectError::Refused);
        }
        Ok(evidence(data))
    };
    let collector = spawn(attester, limits());
    assert_eq!(collector.epoch(epoch(1)).await.unwrap_err(), CollectError::Refused);
    assert!(collector.epoch(epoch(1)).await.is_ok());
}

#[tokio::test]
async fn a_full_queue_says_busy_and_forgets_who_left() {
    let (attester, _gate, notes) = gated();
    let collector = spawn(
        attester,
        Limits { waiting_max: 2, wait_max: Duration::from_millis(300), ..limits() },
    );
    let ask = |seed| {
        let collector = collector.clone();
        tokio::spawn(async move { collector.fresh(epoch(1), challenge(seed)).await.map(drop) })
    };
    let flying = ask(0);
    until(|| notes.lock().unwrap().len() == 1).await;
    let waiting = [ask(1), ask(2)];
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ask(3).await.unwrap(), Err(CollectError::Busy));
    assert_eq!(flying.await.unwrap(), Err(CollectError::TimedOut));
    for one in waiting {
        assert_eq!(one.await.unwrap(), Err(CollectError::TimedOut));
    }
    // Nobody waits any more, so there is room, though the platform still hangs.
    assert_eq!(ask(4).await.unwrap(), Err(CollectError::TimedOut));
}

#[tokio::test]
async fn challenges_of_those_who_left_are_not_signed() {
    let (attester, gate, notes) = gated();
    let collector = spawn(attester, limits());
    let gone = tokio::spawn({
        let collector = collector.clone();
        async move { collector.fresh(epoch(1), challenge(1)).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    gone.abort();
    drop(gone.await);
    gate.send(()).unwrap();
    collector.fresh(epoch(1), challenge(2)).await.unwrap();
    assert_eq!(*notes.lock().unwrap(), [signed(1, &Fresh::Challenge(challenge(2)))]);
}

#[tokio::test]
async fn a_platform_that_dies_closes_the_queue() {
    let attester =
        |_: &ReportData| -> Result<PlatformEvidence, CollectError> { panic!("the platform dies") };
    let collector = spawn(attester, limits());
    assert_eq!(collector.epoch(epoch(1)).await.unwrap_err(), CollectError::Closed);
    assert_eq!(collector.fresh(epoch(1), challenge(1)).await.unwrap_err(), CollectError::Closed);
}
