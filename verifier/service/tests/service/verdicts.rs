//! What is answered, and that others can verify it.

use attestation::Challenge;
use attestation::snp::Product;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Value, json};
use service::{Algorithm, Config};
use verifier::appraise;
use verifier::ear::PROFILE;

use crate::http::post;
use crate::running::{Folder, Running, accepting, asked};
use crate::world::{NOW, World};

/// The claims of a token that verifies under one of `jwks`, by another library than the one that signed.
pub(crate) fn verified(token: &str, jwks: &Value) -> Value {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("{token} is no compact JWS")
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let head: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(head["typ"], "eat+jwt");
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == head["kid"]).expect("the key is published");
    assert_eq!(key["alg"], head["alg"], "a key signs with one algorithm");
    assert_eq!((&key["kty"], &key["use"]), (&json!("EC"), &json!("sig")));
    let (algorithm, curve): (&dyn VerificationAlgorithm, _) = match head["alg"].as_str().unwrap() {
        "ES256" => (&ECDSA_P256_SHA256_FIXED, "P-256"),
        "ES384" => (&ECDSA_P384_SHA384_FIXED, "P-384"),
        other => panic!("{other} is not offered"),
    };
    assert_eq!(key["crv"], curve);
    let (x, y) = (key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
    let point = [vec![4], decode(x), decode(y)].concat();
    let signed = format!("{header}.{payload}");
    let signature = decode(signature);
    UnparsedPublicKey::new(algorithm, point).verify(signed.as_bytes(), &signature).unwrap();
    serde_json::from_slice(&decode(payload)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_is_signed_for_everybody_to_verify() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let world = World::new(Product::Genoa);
        let folder = Folder::new();
        folder.policy("checks.toml", &world);
        let mut config = folder.config();
        config.signing.algorithm = algorithm;
        config.signing.developer = "https://example.org".to_owned();
        let running = Running::start(config).await;
        let answer = running.appraise(&asked(&world)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "application/json")
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = answer.json();
        let ark = std::fs::read(folder.path("policies/ark.pem")).unwrap();
        let (policy, given) = (world.policy_under(&ark), world.endorsements());
        let judged = appraise(&policy, &world.evidence(), &given, &world.expectation, NOW).unwrap();
        let report = serde_json::to_value(judged.report()).unwrap();
        assert_eq!(answer["report"], report, "the service judges otherwise than the library");

        let jwks = running.get("/.well-known/jwks.json").await;
        assert_eq!(jwks.header("content-type"), "application/jwk-set+json");
        let claims = verified(answer["ear"].as_str().unwrap(), &jwks.json());
        assert_eq!(claims["eat_profile"], PROFILE);
        assert_eq!(claims["iat"], NOW.as_secs());
        assert_eq!(claims["ear_verifier_id"]["developer"], "https://example.org");
        assert_eq!(claims["veritee"]["verdict"], "accepted");
        let key = format!("sha256:{}", world.statement.ohttp_keys);
        assert_eq!(claims["cnf"]["kid"], key);
        for key in jwks.json()["keys"].as_array().unwrap() {
            assert!(key.get("d").is_none(), "a private key is published");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_verdict_and_is_signed_too() {
    let (mut world, _folder, running) = accepting().await;
    world.report.measurement = [0; 48];
    let answer = running.appraise(&asked(&world)).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["report"]["verdict"], "rejected");
    assert_eq!(answer["report"]["findings"][0]["code"], "measurement-not-allowed");
    let jwks = running.get("/.well-known/jwks.json").await.json();
    let claims = verified(answer["ear"].as_str().unwrap(), &jwks);
    assert_eq!(claims["ear_status"], "contraindicated");
    assert!(claims.get("cnf").is_none());
}

/// The cache of chains is of all requests: what one leaves behind must not decide another.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_does_not_hang_on_those_before_it() {
    let (world, _folder, running) = accepting().await;
    let mut connection = running.connect().await;
    for round in 0..3 {
        let answer = connection.send(post("/v1/appraise", asked(&world).to_string())).await.json();
        assert_eq!(answer["report"]["verdict"], "accepted", "round {round}");
        let mut without = asked(&world);
        without["endorsements"] = json!([]);
        let answer = connection.send(post("/v1/appraise", without.to_string())).await.json();
        assert_eq!(answer["report"]["verdict"], "unavailable", "round {round}");
        let mut other = asked(&world);
        other["challenge"] = json!(Challenge([1; 32]).to_string());
        let answer = connection.send(post("/v1/appraise", other.to_string())).await.json();
        assert_eq!(answer["report"]["verdict"], "rejected", "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_only_the_token_gets_it_under_its_type() {
    let (world, _folder, running) = accepting().await;
    let mut request = post("/v1/appraise", asked(&world).to_string());
    request.headers_mut().insert("accept", "application/eat+jwt".parse().unwrap());
    let answer = running.connect().await.send(request).await;
    let expected = format!("application/eat+jwt; eat_profile=\"{PROFILE}\"");
    assert_eq!(answer.header("content-type"), expected);
    let jwks = running.get("/.well-known/jwks.json").await.json();
    assert_eq!(verified(&answer.text(), &jwks)["veritee"]["verdict"], "accepted");
}

/// Evidence as callers have it: JSON as it is, JSON in a text, and binary in base64 or hex.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_comes_in_every_form_that_the_command_takes() {
    let (mut world, folder, running) = accepting().await;
    let wire = |world: &World| world.evidence().inspect_untrusted().as_wire().to_vec();
    let mut question = asked(&world);
    question["evidence"] = json!(String::from_utf8(wire(&world)).unwrap());
    assert_eq!(running.appraise(&question).await.json()["report"]["verdict"], "accepted");

    world.raw = true;
    world.set("freshness", "binding", "if-present");
    world.set("freshness", "evidence", "cached");
    world.policy.insert("name".to_owned(), "raw".into());
    world.policy.insert("purpose".to_owned(), "evaluation".into());
    folder.policy("raw.toml", &world);
    running.until("/v1/policies", |answer| answer.text().contains("raw.toml")).await;
    question["policy"] = json!("raw");
    question["challenge"] = json!(null);
    let raw = wire(&world);
    for text in [STANDARD.encode(&raw), hex::encode(&raw)] {
        question["evidence"] = json!(text);
        let answer = running.appraise(&question).await.json();
        assert_eq!(answer["report"]["verdict"], "accepted", "{answer:#}");
        assert_eq!(answer["report"]["platform"], "sev-snp");
    }
    // The 64 bytes that the hardware signed, and others.
    let signed =
        running.appraise(&question).await.json()["report"]["claims"]["report_data"].clone();
    for (stated, verdict) in [(signed, "accepted"), (json!("00".repeat(64)), "rejected")] {
        question["report_data"] = stated;
        assert_eq!(running.appraise(&question).await.json()["report"]["verdict"], verdict);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endorsements_of_the_service_count_for_every_request() {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    folder.policy("checks.toml", &world);
    let pem = world.endorsements().inspect_untrusted().to_pem();
    let path = folder.write("endorsements.pem", pem);
    let config = Config { endorsements: vec![path], ..folder.config() };
    let running = Running::start(config).await;
    let mut question = asked(&world);
    question.as_object_mut().unwrap().remove("endorsements");
    assert_eq!(running.appraise(&question).await.json()["report"]["verdict"], "accepted");
}
