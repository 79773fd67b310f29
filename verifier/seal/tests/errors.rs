//! Errors say what to do, under names that scripts may rely on, and show nothing else.

use std::error::Error;

use attestation::{Malformed, UnixTime};
use channel::chunks::Misframed;
use seal::{Broken, SealError};
use verifier::Expired;

#[test]
fn a_request_that_is_not_sealed_has_a_name_and_a_reason() {
    let expired = Expired { not_after: UnixTime::from_secs(1), now: UnixTime::from_secs(2) };
    for (error, code, says) in [
        (SealError::Expired(expired), "attestation-expired", "verify again"),
        (SealError::TooLong, "request-too-long", "longer than a request may be"),
        (SealError::Key, "sealing-key-invalid", "not a key of the suite"),
    ] {
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(says), "{error}");
        // What evidence has to do with it, evidence says.
        let source = error.source().map(ToString::to_string);
        assert_eq!(source, (code == "attestation-expired").then(|| expired.to_string()));
    }
}

#[test]
fn an_answer_that_broke_has_a_name_and_a_reason() {
    let framing = |why| Broken::Chunks(channel::Broken::Framing(why));
    for (error, code, says) in [
        (framing(Misframed::Truncated), "response-truncated", "ends before its final chunk"),
        (framing(Misframed::Empty), "response-framing", "is empty"),
        (framing(Misframed::TooLarge), "response-framing", "longer than its limit"),
        (Broken::Chunks(channel::Broken::Unauthentic), "response-not-authentic", "not authentic"),
        (Broken::Message(Malformed::invalid("response", "is odd")), "response-malformed", "is odd"),
    ] {
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(says), "{error}");
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(&source) && !source.is_empty(), "{error}: {source}");
    }
}
