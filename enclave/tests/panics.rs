//! A panic ends its task alone, is counted, and what it says goes nowhere.
//!
//! The hook is the process's, so this test has a program of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "enclave/captured.rs"]
mod captured;

use captured::Captured;

#[test]
fn panic_is_counted_and_its_message_is_dropped() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(captured.clone()).finish();
    let metrics = enclave::metrics::Metrics::new();
    enclave::event::install_panic_hook();
    tracing::subscriber::with_default(subscriber, || {
        let result = std::panic::catch_unwind(|| panic!("a prompt: {}", "canary-7f3a"));
        assert!(result.is_err());
    });
    let log = captured.text();
    assert_eq!(log.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(line["fields"]["event"], "panicked");
    assert_eq!(line["level"], "ERROR");
    assert!(!log.contains("canary"), "{log}");
    metrics.publish();
    assert!(metrics.shown().contains("veritee_enclave_panics_total 1\n"));
}
