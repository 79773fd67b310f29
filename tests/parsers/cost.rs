//! What hostile bytes cost a verifier in memory. (No test asserts a time: what costs signatures is bounded by their number.)

use allocation_counter::measure;
use tests::hostile::{LEN, inputs};

/// Eight times what was sent.
const MEMORY_MAX: u64 = 8 << 20;

#[test]
fn a_mebibyte_of_malice_takes_eight_at_most() {
    for input in inputs() {
        let log = input.event_log.as_ref().map_or(0, Vec::len);
        for len in [input.evidence.len(), input.endorsements.len(), log] {
            assert!(len <= LEN, "{}", input.name);
        }
        let mut judged = None;
        let used = measure(|| judged = input.judge());
        assert!(!matches!(judged, Some(Ok(_))), "{} is accepted", input.name);
        assert!(used.bytes_max <= MEMORY_MAX, "{} took {} octets", input.name, used.bytes_max);
    }
}
