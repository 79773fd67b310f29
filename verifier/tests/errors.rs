//! What ended has a name that scripts may rely on.

use attestation::UnixTime;
use verifier::Expired;

#[test]
fn an_attestation_that_ended_has_a_name_and_a_remedy() {
    let expired = Expired { not_after: UnixTime::from_secs(1), now: UnixTime::from_secs(2) };
    assert_eq!(expired.code(), "attestation-expired");
    assert!(expired.to_string().contains("verify again"), "{expired}");
}
