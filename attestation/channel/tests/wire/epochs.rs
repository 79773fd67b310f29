//! Key epochs, grace and zeroising on monotonic time (`docs/protocol.md` §5.1).

use core::time::Duration;

use channel::{KeyRing, Limit, Refused, RequestHeader, Rotation, RotationError, Suite};

use crate::support::{open, seal};

const MINUTE: Duration = Duration::from_mins(1);
const SUITE: Suite = Suite::XWingAes256Gcm;

fn ring(requests_max: usize) -> KeyRing {
    KeyRing::new(Rotation::new(60 * MINUTE, 10 * MINUTE, requests_max).unwrap(), Duration::ZERO)
}

fn rotate(ring: &mut KeyRing, now: Duration) {
    ring.stage(now);
    assert!(ring.promote(now));
}

#[test]
fn a_key_is_accepted_through_its_epoch_and_its_grace_then_gone() {
    let mut ring = ring(100);
    let old = ring.current().clone();
    assert_eq!((ring.epoch(), old.public().key_id(), ring.ends()), (0, 0, 60 * MINUTE));
    assert!(!ring.is_due(59 * MINUTE, Duration::ZERO));
    assert!(ring.is_due(59 * MINUTE, MINUTE));
    rotate(&mut ring, 60 * MINUTE);
    assert_eq!((ring.epoch(), ring.current().public().key_id()), (1, 1));
    assert_eq!(ring.ends(), 120 * MINUTE);

    for (minutes, accepted) in [(60, true), (69, true), (70, false), (1000, false)] {
        ring.expire(minutes * MINUTE);
        assert_eq!(ring.lookup(0, minutes * MINUTE).is_ok(), accepted, "minute {minutes}");
    }
    // It is zeroised, whoever still holds it.
    let request = seal(&old, SUITE, &[b"stale"]).bytes();
    assert_eq!(open(&old, &request).unwrap_err(), Refused::KeyRetired);
}

#[test]
fn grace_ends_with_time_even_if_nobody_calls_expire() {
    let mut ring = ring(100);
    rotate(&mut ring, 60 * MINUTE);
    assert_eq!(ring.lookup(0, 70 * MINUTE).unwrap_err(), Refused::UnknownKey);
    assert!(ring.lookup(0, Duration::from_nanos(70 * 60 * 1_000_000_000 - 1)).is_ok());
}

#[test]
fn a_key_without_successor_ends_with_its_grace() {
    let mut ring = ring(100);
    assert!(ring.lookup(0, 69 * MINUTE).is_ok());
    assert_eq!(ring.lookup(0, 70 * MINUTE).unwrap_err(), Refused::UnknownKey);
    ring.expire(70 * MINUTE);
    let request = seal(ring.current(), SUITE, &[b"late"]).bytes();
    assert_eq!(open(ring.current(), &request).unwrap_err(), Refused::KeyRetired);
}

#[test]
fn a_staged_key_is_nobodys_until_it_is_promoted() {
    let mut ring = ring(100);
    assert!(!ring.promote(MINUTE), "nothing is staged");
    let staged = ring.stage(MINUTE).public().clone();
    assert_eq!(staged, *ring.stage(2 * MINUTE).public(), "staging again gives the same key");
    assert_eq!(ring.lookup(1, 2 * MINUTE).unwrap_err(), Refused::UnknownKey);
    assert!(ring.promote(3 * MINUTE));
    assert_eq!(*ring.current().public(), staged);
    assert_eq!(ring.ends(), 63 * MINUTE, "the epoch starts when the key is offered");
}

#[test]
fn a_full_key_is_due_and_leaves_at_once() {
    let mut ring = ring(1);
    let full = ring.current().clone();
    assert!(open(&full, &seal(&full, SUITE, &[b"only"]).bytes()).is_ok());
    assert!(ring.is_due(MINUTE, Duration::ZERO));
    rotate(&mut ring, MINUTE);
    assert_eq!(ring.lookup(0, MINUTE).unwrap_err(), Refused::UnknownKey);
    assert!(ring.lookup(1, MINUTE).is_ok());
}

#[test]
fn a_key_is_due_before_it_is_full_and_leaves_when_it_is() {
    let mut ring = ring(8);
    let nearly = ring.current().clone();
    let ask = || open(&nearly, &seal(&nearly, SUITE, &[b"one more"]).bytes()).is_ok();
    for _ in 0..6 {
        assert!(ask());
    }
    assert!(!ring.is_due(MINUTE, Duration::ZERO));
    assert!(ask());
    assert!(ring.is_due(MINUTE, Duration::ZERO), "while one request is left");
    rotate(&mut ring, MINUTE);
    assert!(ring.lookup(0, MINUTE).is_ok());
    assert!(ask());
    assert_eq!(ring.lookup(0, MINUTE).unwrap_err(), Refused::UnknownKey, "with no look in between");
}

#[test]
fn open_requests_outlive_their_key() {
    let mut ring = ring(100);
    let sealed = seal(ring.current(), SUITE, &[b"slow"]);
    let header = RequestHeader::parse(&sealed.header).unwrap();
    let mut opener = ring.lookup(0, MINUTE).unwrap().begin(&header, Limit::default()).unwrap();
    rotate(&mut ring, 60 * MINUTE);
    ring.expire(70 * MINUTE);
    opener.push(&sealed.frames.concat()).unwrap();
    assert_eq!(opener.finish().unwrap().plaintext.expose(), b"slow");
}

#[test]
fn ids_wrap_with_the_epoch() {
    let mut ring = ring(100);
    for epoch in 1..=257_u32 {
        rotate(&mut ring, epoch * 60 * MINUTE);
    }
    assert_eq!((ring.epoch(), ring.current().public().key_id()), (257, 1));
    assert!(ring.lookup(0, 257 * 60 * MINUTE).is_ok());
    assert!(ring.lookup(255, 257 * 60 * MINUTE).is_err());
}

#[test]
fn rotations_that_protect_nothing_are_refused() {
    for (epoch, grace, requests, why) in [
        (9, 1, 1, RotationError::EpochTooShort),
        (10, 11, 1, RotationError::GraceTooLong),
        (10, 10, 0, RotationError::NoRequests),
    ] {
        assert_eq!(Rotation::new(epoch * MINUTE, grace * MINUTE, requests), Err(why));
    }
    let default = Rotation::default();
    assert_eq!((default.epoch(), default.grace()), (60 * MINUTE, 10 * MINUTE));
}
