//! What vouches for the enclave: bundles, keys and readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attestation::binding::FreshnessProof;
use attestation::snp::offset;
use attestation::{
    BindingId, Bundle, Challenge, Fresh, ModelManifest, ReportData, Sha256, Statement, UnixTime,
};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use collect::CollectError;
use enclave::boot::BootError;
use enclave::{Boot, Clock};
use engine::{EchoEngine, Engine};
use tower::ServiceExt as _;

use crate::support::{self, MODEL, NOW, bundle, challenge, config, get, platform, start, text};

/// Recomputes everything that a bundle's report signs.
fn check(bundle: &Bundle) -> (Statement, FreshnessProof) {
    let statement = Statement::parse(&bundle.statement).unwrap();
    for (member, expected) in [
        (&bundle.ohttp_keys, statement.ohttp_keys),
        (&bundle.receipt_key, statement.receipt_key),
        (&bundle.manifest, statement.manifest),
        (&bundle.config, statement.config),
    ] {
        assert_eq!(Sha256::of(member), expected);
    }
    let proof: FreshnessProof = serde_json::from_slice(&bundle.freshness).unwrap();
    let binding = BindingId::of_statement(&bundle.statement);
    let expected = ReportData::bind(&binding, &proof.fresh());
    assert_eq!(bundle.cpu0.bytes[offset::REPORT_DATA..][..64], expected.0);
    (statement, proof)
}

#[tokio::test]
async fn cached_bundle_binds_keys_model_and_configuration() {
    let serving = start(1).await;
    let bundle = bundle(&serving).await;
    let (statement, proof) = check(&bundle);
    assert_eq!(proof.fresh(), Fresh::None);
    assert_eq!(statement.node_id, serving.node_id());
    // A minute early: clients' clocks may be behind.
    assert_eq!(statement.not_before, UnixTime::from_secs(NOW - 60));
    assert_eq!(
        statement.not_after,
        UnixTime::from_secs(NOW).saturating_add(Duration::from_hours(1))
    );
    assert!(!statement.tls_spki.is_zero());
    let manifest = ModelManifest::parse(&bundle.manifest).unwrap();
    assert_eq!(manifest.names, [MODEL, "alias"]);
    let engine = EchoEngine::new(1, Duration::ZERO);
    assert_eq!(manifest.weights.sha256.0, engine.description().weights_sha256);
    assert_eq!(bundle.config, config(&engine, "", "").effective());
}

#[tokio::test]
async fn fresh_bundles_answer_their_challenges_under_the_same_binding() {
    let serving = start(1).await;
    let cached = bundle(&serving).await;
    let challenges = [[1; 32], [2; 32], [3; 32]].map(Challenge);
    let ask = |challenge: Challenge| {
        let serving = serving.clone();
        async move {
            let body = format!(r#"{{"challenge":"{challenge}"}}"#);
            let response = self::challenge(&serving, body).await;
            assert_eq!(response.status(), StatusCode::OK);
            Bundle::parse(text(response).await.as_bytes()).unwrap()
        }
    };
    let [a, b, c] = challenges;
    let (a, b, c) = tokio::join!(ask(a), ask(b), ask(c));
    for (challenge, fresh) in challenges.iter().zip([a, b, c]) {
        let (_, proof) = check(&fresh);
        assert!(proof.answers(challenge));
        assert!(!proof.answers(&Challenge([9; 32])));
        assert_eq!(fresh.statement, cached.statement);
    }
}

#[tokio::test]
async fn bad_challenges_are_refused() {
    let serving = start(1).await;
    let hex = "ab".repeat(32);
    for (body, status) in [
        (String::new(), 400),
        ("{}".to_owned(), 400),
        (format!(r#"{{"challenge":"{hex}","x":1}}"#), 400),
        (format!(r#"{{"challenge":"{hex}","challenge":"{hex}"}}"#), 400),
        (format!(r#"{{"challenge":"{hex}ab"}}"#), 400),
        (format!(r#"{{"challenge":"{}"}}"#, hex.to_uppercase()), 400),
        (format!(r#"{{"challenge":"{hex}"}}{}"#, " ".repeat(2000)), 400),
    ] {
        assert_eq!(challenge(&serving, body.clone()).await.status(), status, "{body:.80}");
    }
    let request = Request::post("/v1/evidence").body(Body::empty()).unwrap();
    let response = serving.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn keys_are_served_where_rfc_9540_puts_them() {
    let serving = start(1).await;
    let response = get(&serving, "/.well-known/ohttp-gateway").await;
    assert_eq!(response.headers()["content-type"], "application/ohttp-keys");
    assert_eq!(support::collect(response).await, bundle(&serving).await.ohttp_keys);
}

#[tokio::test]
async fn readiness_names_the_node_and_its_models() {
    let serving = start(1).await;
    let response = get(&serving, "/readyz").await;
    assert_eq!(response.status(), StatusCode::OK);
    let ready: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    let expected = serde_json::json!({
        "status": "ready",
        "node_id": serving.node_id().to_string(),
        "spki": format!("sha256:{}", check(&bundle(&serving).await).0.tls_spki),
        "models": [MODEL, "alias"],
        "not_after": UnixTime::from_secs(NOW + 3600).to_string(),
    });
    assert_eq!(ready, expected);
    assert_eq!(get(&serving, "/healthz").await.status(), StatusCode::OK);
    assert!(text(get(&serving, "/metrics").await).await.contains("veritee_enclave_up 1\n"));
}

#[tokio::test]
async fn two_boots_share_no_key() {
    let (a, b) = (bundle(&start(1).await).await, bundle(&start(1).await).await);
    let (a, b) = (check(&a).0, check(&b).0);
    assert_ne!(a.node_id, b.node_id);
    assert_ne!(a.ohttp_keys, b.ohttp_keys);
    assert_ne!(a.receipt_key, b.receipt_key);
    assert_ne!(a.tls_spki, b.tls_spki);
    assert_eq!((a.manifest, a.config), (b.manifest, b.config));
}

#[tokio::test]
async fn nothing_serves_without_evidence_or_with_another_model() {
    let engine = Arc::new(EchoEngine::new(1, Duration::ZERO));
    let boot = || {
        let clock = Clock::new(|| UnixTime::from_secs(NOW));
        Boot::new(config(engine.as_ref(), "", ""), clock)
    };
    let refuse = |_: &ReportData| Err(CollectError::Refused);
    let loaded = boot().make_keys(Box::new(refuse), None).unwrap().load(engine.clone()).unwrap();
    let error = loaded.attest().await.unwrap_err();
    assert!(matches!(error, BootError::Platform(CollectError::Refused)), "{error}");

    let mut description = engine.description().clone();
    description.weights_sha256[0] ^= 1;
    let keyed = boot().make_keys(Box::new(platform), None).unwrap();
    let error = keyed.load(Arc::new(Other(description))).unwrap_err();
    assert_eq!(error.code(), "boot-other-model");
}

#[tokio::test]
async fn platform_that_fails_later_is_busy_to_a_challenger_and_the_cache_stands() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    let engine = Arc::new(EchoEngine::new(1, Duration::ZERO));
    let attester = |data: &ReportData| {
        if BROKEN.load(Ordering::Relaxed) { Err(CollectError::Busy) } else { platform(data) }
    };
    let clock = Clock::new(|| UnixTime::from_secs(NOW));
    let boot = Boot::new(config(engine.as_ref(), "", ""), clock);
    let loaded = boot.make_keys(Box::new(attester), None).unwrap().load(engine).unwrap();
    let serving = loaded.attest().await.unwrap();
    BROKEN.store(true, Ordering::Relaxed);
    let response = challenge(&serving, format!(r#"{{"challenge":"{}"}}"#, "ab".repeat(32))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(get(&serving, "/v1/evidence").await.status(), StatusCode::OK);
}

/// An engine that runs another model.
struct Other(engine::ModelDescription);

impl Engine for Other {
    fn start(&self, _: engine::Request) -> Result<engine::Generation, engine::EngineError> {
        Err(engine::EngineError::Crashed)
    }
    fn description(&self) -> &engine::ModelDescription {
        &self.0
    }
}
