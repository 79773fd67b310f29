//! A key that nobody vouched for cannot be sealed to.
use attestation::{SealingKey, UnixTime};

fn seal(request: &channel::Request) {
    let key = SealingKey::new(0, &[0; 1216]);
    let _ = seal::seal(&key, request, UnixTime::from_secs(0));
}

fn main() {}
