//! Only the verifier makes an `Attested` value.
use attestation::{SealingKey, UnixTime};

fn main() {
    let key = SealingKey::new(0, &[0; 1216]);
    let _ = verifier::Attested::new(key, UnixTime::from_secs(0));
}
