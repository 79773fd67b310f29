//! Policies that somebody must have signed, and versions that never go back.

use std::fs;

use attestation::snp::Product;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use service::{Clock, Config, Service, Unusable};
use verifier::Policy;
use verifier::policy::{PolicyKey, Signature};

use crate::running::{Folder, Running, asked};
use crate::world::{NOW, World};

/// Who signs policies.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn key(&self) -> PolicyKey {
        PolicyKey(self.0.public_key().as_ref().try_into().unwrap())
    }

    /// The line that signs what stands in a policy's file now.
    fn line(&self, folder: &Folder, file: &str) -> String {
        let text = fs::read_to_string(folder.path(file)).unwrap();
        let beside = |name: &str| Ok(fs::read(folder.path("policies").join(name)).unwrap());
        let message = Policy::bytes_to_sign(&text, &beside).unwrap();
        let value = self.0.sign(&message).as_ref().try_into().unwrap();
        Signature { key: self.key(), value }.to_string()
    }

    fn sign(&self, folder: &Folder, file: &str) {
        folder.write(&format!("{file}.sig"), self.line(folder, file));
    }
}

const FILE: &str = "policies/checks.toml";

/// A world, its policy signed in a folder, and who signed it.
fn signed() -> (World, Folder, Signer) {
    let (world, folder, signer) = (World::new(Product::Genoa), Folder::new(), Signer::new(1));
    folder.policy("checks.toml", &world);
    signer.sign(&folder, FILE);
    folder.write("policies.pub", signer.key().to_pem());
    (world, folder, signer)
}

fn demanding(folder: &Folder) -> Config {
    Config { policy_key: Some(folder.path("policies.pub")), ..folder.config() }
}

fn load(config: Config) -> Result<Service, Unusable> {
    Service::load(config, Clock::new(|| NOW))
}

/// Why a service does not start with this policy.
fn refusal(folder: &Folder) -> String {
    let refused = load(demanding(folder)).unwrap_err();
    let Unusable::Policy { file, error } = refused else { panic!("{refused}") };
    assert_eq!(file, "checks.toml");
    error
}

fn told(answer: &Value) -> &Value {
    &answer["policies"][0]
}

#[test]
fn what_the_key_did_not_sign_refuses_the_start() {
    let (mut world, folder, signer) = signed();
    assert!(load(demanding(&folder)).is_ok());

    let line = signer.line(&folder, FILE);
    fs::remove_file(folder.path(&format!("{FILE}.sig"))).unwrap();
    assert!(refusal(&folder).starts_with("its signature cannot be read"));
    folder.write(&format!("{FILE}.sig"), "no signature");
    assert!(refusal(&folder).contains("has a line that is none"));
    folder.write(&format!("{FILE}.sig"), Signer::new(2).line(&folder, FILE));
    assert!(refusal(&folder).contains("is not signed by the key"));
    folder.write(&format!("{FILE}.sig"), line);
    assert!(load(demanding(&folder)).is_ok());

    // Another text, or another root, than what was signed.
    world.policy.insert("version".to_owned(), 4.into());
    folder.write(FILE, world.policy_text());
    assert!(refusal(&folder).contains("over something else"));
    signer.sign(&folder, FILE);
    assert!(load(demanding(&folder)).is_ok());
    let other = World::new(Product::Turin);
    folder.write("policies/ark.pem", other.pki.sign_as_ark(&other.ark).unwrap());
    assert!(refusal(&folder).contains("over something else"));
    // Without a key nobody need have signed.
    assert!(load(folder.config()).is_ok());
}

#[test]
fn one_policy_without_a_signature_is_reason_enough_not_to_start() {
    let (mut world, folder, _signer) = signed();
    world.policy.insert("name".to_owned(), "other".into());
    folder.write("policies/other.toml", world.policy_text());
    let refused = load(demanding(&folder)).unwrap_err();
    assert!(matches!(&refused, Unusable::Policy { file, .. } if file == "other.toml"), "{refused}");
}

#[test]
fn a_key_that_is_none_refuses_the_start() {
    let (_world, folder, _signer) = signed();
    let path = folder.path("policies.pub");
    for bad in ["", "no key"] {
        folder.write("policies.pub", bad);
        let refused = load(demanding(&folder)).unwrap_err();
        assert!(
            matches!(&refused, Unusable::PolicyKey { path: at, .. } if *at == path),
            "{refused}"
        );
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(load(demanding(&folder)), Err(Unusable::PolicyKey { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_once_it_is_signed() {
    let (mut world, folder, signer) = signed();
    let before = world.parsed_policy();
    let running = Running::start(demanding(&folder)).await;
    world.policy.insert("version".to_owned(), 4.into());
    folder.write(FILE, world.policy_text());
    let answer = running
        .until("/v1/policies", |answer| told(&answer.json())["standing"] == "stale")
        .await
        .json();
    assert_eq!(told(&answer)["digest"], json!(before.digest()), "the old one counts on");
    assert!(told(&answer)["error"].as_str().unwrap().contains("over something else"));
    assert_eq!(running.appraise(&asked(&world)).await.json()["report"]["verdict"], "accepted");

    signer.sign(&folder, FILE);
    let answer = running
        .until("/v1/policies", |answer| told(&answer.json())["standing"] == "current")
        .await
        .json();
    assert_eq!(told(&answer)["version"], 4);

    // A signature that goes takes effect like a change of the policy.
    fs::remove_file(folder.path(&format!("{FILE}.sig"))).unwrap();
    running.until("/v1/policies", |answer| told(&answer.json())["standing"] == "stale").await;
    assert_eq!(running.appraise(&asked(&world)).await.json()["report"]["verdict"], "accepted");
}

/// Writes the policy with these numbers.
fn at(world: &mut World, folder: &Folder, version: i64, floor: i64) {
    world.policy.insert("version".to_owned(), version.into());
    world.policy.insert("min_version".to_owned(), floor.into());
    folder.policy("checks.toml", world);
}

#[test]
fn what_is_older_than_what_counted_refuses_the_start() {
    let (mut world, folder) = (World::new(Product::Genoa), Folder::new());
    let remembering = || load(Config { memory: Some(folder.path("state")), ..folder.config() });
    let rolled_back = |why: &str| match remembering() {
        Err(Unusable::NoPolicy(_)) => {}
        other => panic!("{why}: {other:?}"),
    };
    at(&mut world, &folder, 5, 0);
    remembering().unwrap();
    at(&mut world, &folder, 4, 0);
    rolled_back("an older one");
    assert!(load(folder.config()).is_ok(), "nothing is remembered where nobody asked for it");
    at(&mut world, &folder, 5, 0);
    remembering().unwrap();
    at(&mut world, &folder, 9, 7);
    remembering().unwrap();
    at(&mut world, &folder, 8, 0);
    rolled_back("older than what counted, and no older than what was said to be good");

    // What another name says is its own.
    world.policy.insert("name".to_owned(), "other".into());
    at(&mut world, &folder, 1, 0);
    remembering().unwrap();

    // A damaged memory is none that knows nothing.
    for damage in ["", "{", "{\"schema\":2,\"policies\":{},\"floors\":{}}"] {
        folder.write("state/versions.json", damage);
        assert!(matches!(remembering(), Err(Unusable::Memory(_))), "{damage:?}");
    }
}

/// The floor alone: as a memory has it that a client of the same policies wrote.
#[test]
fn a_floor_refuses_what_is_below_it() {
    let (mut world, folder) = (World::new(Product::Genoa), Folder::new());
    let remembering = || load(Config { memory: Some(folder.path("state")), ..folder.config() });
    fs::create_dir(folder.path("state")).unwrap();
    folder.write("state/versions.json", "{\"schema\":1,\"policies\":{},\"floors\":{\"checks\":7}}");
    at(&mut world, &folder, 6, 0);
    assert!(matches!(remembering(), Err(Unusable::NoPolicy(_))));
    at(&mut world, &folder, 7, 0);
    remembering().unwrap();
    // What the file said is still known after more was written.
    let kept = fs::read_to_string(folder.path("state/versions.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        kept,
        json!({ "schema": 1, "policies": { "checks": 7 }, "floors": { "checks": 7 } })
    );
}

#[test]
fn a_memory_that_everybody_may_change_is_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut world, folder) = (World::new(Product::Genoa), Folder::new());
    fs::create_dir(folder.path("state")).unwrap();
    fs::set_permissions(folder.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    at(&mut world, &folder, 5, 0);
    let refused = load(Config { memory: Some(folder.path("state")), ..folder.config() });
    assert!(matches!(refused, Err(Unusable::Policies(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_policy_leaves_the_one_before_it() {
    let (mut world, folder) = (World::new(Product::Genoa), Folder::new());
    at(&mut world, &folder, 5, 3);
    let running = Running::start(folder.config()).await;
    at(&mut world, &folder, 4, 0);
    let answer = running
        .until("/v1/policies", |answer| told(&answer.json())["standing"] == "stale")
        .await
        .json();
    assert_eq!(told(&answer)["version"], 5);
    assert!(told(&answer)["error"].as_str().unwrap().contains("version 4 is older than 5"));
    assert_eq!(running.appraise(&asked(&world)).await.json()["report"]["verdict"], "accepted");
    at(&mut world, &folder, 6, 0);
    running.until("/v1/policies", |answer| told(&answer.json())["version"] == 6).await;
}
