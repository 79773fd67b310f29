//! Policies and keys, followed while the service runs.

use std::fs;

use attestation::snp::Product;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use serde_json::{Value, json};
use service::{Clock, Config, FileError, KeyError, PublicKey, Service, SigningKey, Unusable};

use crate::http::Answer;
use crate::running::{Folder, Running, accepting, asked, exists, pem, private_pem};
use crate::verdicts::verified;
use crate::world::{MODEL, NOW, World};

fn status<'a>(policies: &'a Value, file: &str) -> &'a Value {
    let mut all = policies["policies"].as_array().unwrap().iter();
    all.find(|status| status["file"] == file).unwrap_or(&Value::Null)
}

fn standing(answer: &Answer, file: &str) -> String {
    status(&answer.json(), file)["standing"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_counts_as_it_is() {
    let (mut world, folder, running) = accepting().await;
    let before = running.get("/v1/policies").await.json();
    let before = status(&before, "checks.toml");
    assert_eq!((&before["name"], &before["version"]), (&json!("checks"), &json!(3)));
    assert_eq!(before["digest"], json!(world.parsed_policy().digest()));
    assert_eq!(before["anchors"], "untrusted");

    world.set("models", MODEL, format!("sha256:{}", "0".repeat(64)));
    world.policy.insert("version".to_owned(), 4.into());
    folder.policy("checks.toml", &world);
    running
        .until("/v1/policies", |answer| status(&answer.json(), "checks.toml")["version"] == 4)
        .await;
    let answer = running.appraise(&asked(&world)).await.json();
    assert_eq!(answer["report"]["findings"][0]["code"], "model-not-allowed");

    fs::remove_file(folder.path("policies/checks.toml")).unwrap();
    running.until("/v1/policies", |answer| standing(answer, "checks.toml") == "none").await;
    assert_eq!(running.appraise(&asked(&world)).await.code(), "unknown-policy");
    // Nothing can be answered any more, and whoever balances the load is told.
    let ready = running.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (503, "no-policy\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_refused_leaves_the_one_before_it_and_is_told_of() {
    let (world, folder, running) = accepting().await;
    let good = world.policy_text();
    for bad in ["not a policy", "schema = 1\n", &good.replace("schema = 1", "schema = 9")] {
        folder.write("policies/checks.toml", bad);
        let told = running
            .until("/v1/policies", |answer| standing(answer, "checks.toml") == "stale")
            .await;
        let told = told.json();
        let told = status(&told, "checks.toml");
        assert!(told["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
        assert_eq!(told["digest"], json!(world.parsed_policy().digest()));
        let answer = running.appraise(&asked(&world)).await.json();
        assert_eq!(answer["report"]["verdict"], "accepted", "{bad}");
        folder.write("policies/checks.toml", &good);
        running.until("/v1/policies", |answer| standing(answer, "checks.toml") == "current").await;
    }
    let metrics = running.get("/metrics").await.text();
    let refused = "veritee_verifier_reloads_total{of=\"policies\",outcome=\"refused\"} 3\n";
    assert!(metrics.contains(refused), "{metrics}");
}

/// A root is part of a policy: replacing its file replaces what counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_changes_counts_as_it_is() {
    let (world, folder, running) = accepting().await;
    let other = World::new(Product::Turin);
    folder.write("policies/ark.pem", other.pki.sign_as_ark(&other.ark).unwrap());
    for _ in 0..200 {
        let answer = running.appraise(&asked(&world)).await.json();
        if answer["report"]["verdict"] == "rejected" {
            assert_eq!(answer["report"]["findings"][0]["code"], "root-not-trusted");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the old root counts on");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_takes_the_name_of_anothers_policy() {
    let (mut world, folder, running) = accepting().await;
    let mut other = World::new(Product::Genoa);
    other.set("models", MODEL, format!("sha256:{}", "0".repeat(64)));
    // It comes first by name, and later.
    folder.policy("aaa.toml", &other);
    let told = running.until("/v1/policies", |answer| standing(answer, "aaa.toml") != "none").await;
    assert_eq!(standing(&told, "aaa.toml"), "refused");
    assert!(status(&told.json(), "aaa.toml")["error"].as_str().unwrap().contains("checks.toml"));
    assert_eq!(running.appraise(&asked(&world)).await.json()["report"]["verdict"], "accepted");
    // Once the name is free it may have it.
    fs::remove_file(folder.path("policies/checks.toml")).unwrap();
    running.until("/v1/policies", |answer| standing(answer, "aaa.toml") == "current").await;
    world.policy.insert("version".to_owned(), 9.into());
    folder.policy("checks.toml", &world);
    running.until("/v1/policies", |answer| standing(answer, "checks.toml") == "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_makes_it_look_at_once() {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    folder.policy("checks.toml", &world);
    let hour = std::time::Duration::from_hours(1);
    let running = Running::start(Config { reload: hour, ..folder.config() }).await;
    folder.policy("more.toml", &world);
    assert_eq!(standing(&running.get("/v1/policies").await, "more.toml"), "none");
    running.reload.notify_one();
    running.until("/v1/policies", |answer| standing(answer, "more.toml") == "refused").await;
}

/// A key pair that another library made: its PKCS #8, and its public key in PEM.
fn key(algorithm: &'static EcdsaSigningAlgorithm, prefix: &str) -> (String, String) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap();
    let spki = [hex::decode(prefix).unwrap(), pair.public_key().as_ref().to_vec()].concat();
    (private_pem(der.as_ref()), pem("PUBLIC KEY", &spki))
}

fn p256() -> (String, String) {
    key(&ECDSA_P256_SHA256_FIXED_SIGNING, "3059301306072a8648ce3d020106082a8648ce3d030107034200")
}

fn p384() -> (String, String) {
    key(&ECDSA_P384_SHA384_FIXED_SIGNING, "3076301006072a8648ce3d020106052b81040022036200")
}

fn kids(jwks: &Value) -> Vec<String> {
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_followed_stays_published() {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    folder.policy("checks.toml", &world);
    let (first, first_public) = p256();
    let (second, second_public) = p384();
    let mut config = folder.config();
    config.signing.key = Some(folder.write("ear.key", first));
    config.signing.publish = vec![folder.write("next.pub", &second_public)];
    let running = Running::start(config).await;
    let jwks = running.get("/.well-known/jwks.json").await.json();
    let (old, new) = (
        PublicKey::from_file(&folder.write("first.pub", first_public)).unwrap().kid(),
        PublicKey::from_file(&folder.path("next.pub")).unwrap().kid(),
    );
    // The next one is known before it signs anything.
    assert_eq!(kids(&jwks), [old.clone(), new.clone()]);
    assert_eq!(running.get("/readyz").await.text(), "ready\n");
    let ask = async || {
        let answer = running.appraise(&asked(&world)).await.json();
        answer["ear"].as_str().unwrap().to_owned()
    };
    let before = ask().await;

    folder.write("ear.key", second);
    running.until("/.well-known/jwks.json", |answer| kids(&answer.json())[0] == new).await;
    let jwks = running.get("/.well-known/jwks.json").await.json();
    assert_eq!(kids(&jwks), [new.clone(), old]);
    let after = ask().await;
    verified(&before, &jwks);
    verified(&after, &jwks);
    assert_ne!(before.split('.').next(), after.split('.').next());
    assert_eq!(running.service.kid(), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_leaves_the_one_before_it() {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    folder.policy("checks.toml", &world);
    let mut config = folder.config();
    config.signing.key = Some(folder.write("ear.key", p256().0));
    let running = Running::start(config).await;
    let kid = running.service.kid();
    folder.write_as("ear.key", p256().0, 0o640);
    let refused = "veritee_verifier_reloads_total{of=\"keys\",outcome=\"refused\"} 1\n";
    running.until("/metrics", |answer| answer.text().contains(refused)).await;
    assert_eq!(running.service.kid(), kid);
    let answer = running.appraise(&asked(&world)).await.json();
    let jwks = running.get("/.well-known/jwks.json").await.json();
    verified(answer["ear"].as_str().unwrap(), &jwks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_with_the_service_is_told_of() {
    let (_world, _folder, running) = accepting().await;
    assert_eq!(running.get("/readyz").await.text(), "ready ephemeral-key\n");
    assert!(running.get("/metrics").await.text().contains("veritee_verifier_key_ephemeral 1\n"));
}

#[test]
fn each_file_that_is_no_key_is_refused_for_its_reason() {
    let folder = Folder::new();
    let (private, public) = p256();
    let good = folder.write("good.key", &private);
    assert!(SigningKey::from_file(&good).is_ok());
    assert!(!format!("{:?}", SigningKey::from_file(&good)).contains(&private[40..80]));
    let not_private = |name: &str, content: &str| {
        let path = folder.write(name, content);
        assert_eq!(SigningKey::from_file(&path).unwrap_err(), KeyError::NotPrivate(path), "{name}");
    };
    not_private("empty.key", "");
    not_private("public.key", &public);
    not_private("twice.key", &format!("{private}{private}"));
    not_private("cut.key", &private.replace("-----END PRIVATE KEY-----", ""));
    not_private(
        "ed25519.key",
        &private_pem(&hex::decode("302e020100300506032b657004220420").unwrap()),
    );
    for mode in [0o604, 0o640, 0o660, 0o602] {
        let path = folder.write_as("open.key", &private, mode);
        let exposed = KeyError::File(FileError::Exposed { path: path.clone(), mode });
        assert_eq!(SigningKey::from_file(&path).unwrap_err(), exposed);
    }
    let missing = folder.path("missing.key");
    assert!(!exists(&missing));
    assert!(matches!(SigningKey::from_file(&missing), Err(KeyError::File(_))));
    // A point that is not on the curve.
    let spki = format!("3059301306072a8648ce3d020106082a8648ce3d03010703420004{}", "01".repeat(64));
    let path = folder.write("off.pub", pem("PUBLIC KEY", &hex::decode(spki).unwrap()));
    assert_eq!(PublicKey::from_file(&path).unwrap_err(), KeyError::NotPublic(path));
}

#[test]
fn a_service_without_a_policy_does_not_start_and_one_with_a_bad_one_says_so() {
    let world = World::new(Product::Genoa);
    let folder = Folder::new();
    let load = || Service::load(folder.config(), Clock::new(|| NOW));
    assert_eq!(load().unwrap_err(), Unusable::NoPolicy(folder.path("policies")));
    folder.write("policies/bad.toml", "nonsense");
    assert!(matches!(load(), Err(Unusable::NoPolicy(_))));
    folder.policy("checks.toml", &world);
    let service = load().unwrap();
    assert!(matches!(service.strictly(), Err(Unusable::Policy { file, .. }) if file == "bad.toml"));
    fs::remove_file(folder.path("policies/bad.toml")).unwrap();
    assert_eq!(load().unwrap().strictly(), Ok(()));
    fs::remove_dir_all(folder.path("policies")).unwrap();
    assert!(matches!(load(), Err(Unusable::Policies(_))));
}
