//! The real programs, started as an operator and a user start them, with a tiny model.

use std::path::Path;

use serde_json::{Value, json};
use tests::programs::{MODEL, Place, address_in, until_ready};

use crate::sdk;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_starts_the_stack_and_a_user_verifies_it() {
    let place = Place::new("operator");
    let platform = place.platform().await;
    let config = place.enclave_config("enclave.toml", "127.0.0.1:0".parse().unwrap(), "", "");
    let policy = place.policy(&[place.digests(&config).await]).await;

    let mut enclave = place.start("veritee-enclave", &["--config", &config]);
    let ready = enclave.line().await;
    let url = ready.strip_prefix("ready enclave=").unwrap().split(' ').next().unwrap();
    let fleet = format!("listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"{url}\"\n");
    let fleet = place.write("router.toml", fleet);
    let mut router = place.start("veritee-router", &["--config", &fleet]);
    let ready = router.line().await;
    let router_url = ready.strip_prefix("ready router=").unwrap();
    until_ready(address_in(&ready), None, 1).await;

    let verify = |policy: String, url: String| {
        let place = &place;
        async move { place.run("veritee", &["verify", &url, "--policy", &policy, "--json"]).await }
    };
    for url in [url, router_url] {
        let verified = verify(policy.clone(), url.to_owned()).await;
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        let verdict: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(
            (&verdict["verdict"], &verdict["anchors"]),
            (&json!("accepted"), &json!("untrusted"))
        );
    }
    let strict = repository("policies/snp-evaluation.toml");
    let refused = verify(strict, router_url.to_owned()).await;
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");

    let ask = ["chat", "--router", router_url, "--policy", &policy, "--model", MODEL, "Hello"];
    let answered = place.run("veritee", &ask).await;
    assert_eq!(answered.status.code(), Some(0), "{answered:?}");
    let another =
        ["chat", "--router", router_url, "--policy", &policy, "--model", "other", "Hello"];
    assert_eq!(place.run("veritee", &another).await.status.code(), Some(10));

    for program in [router, enclave, platform] {
        assert!(program.stop().await.success());
    }
    assert_eq!(
        place.run("veritee", &ask).await.status.code(),
        Some(20),
        "nobody is there any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_demo_answers_an_sdk_until_it_is_stopped() {
    let place = Place::new("serve");
    let model = place.tiny_model();
    let mut demo = place.start("veritee", &["demo", "--serve", "--port", "0", "--model", &model]);
    let ready = loop {
        let line = demo.line().await;
        if line.starts_with("ready ") {
            break line;
        }
    };
    let (proxy, router) =
        ready.strip_prefix("ready proxy=").unwrap().split_once(" router=").unwrap();
    until_ready(address_in(router), None, 1).await;
    let models = sdk::ask(proxy, "", 0).await["models"].clone();
    let model = models[0].as_str().unwrap();
    let seen = sdk::ask(proxy, model, 0).await;
    for way in ["stream", "whole"] {
        assert!(seen[way]["error"].is_null() && seen[way]["finish"].is_string(), "{way}: {seen}");
    }
    let router = router.strip_prefix("http://").unwrap().to_owned();
    assert!(demo.stop().await.success());
    assert!(tokio::net::TcpStream::connect(router).await.is_err(), "the router outlived the demo");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_and_shows_every_refusal() {
    demonstrate("demo", &[], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_tdx() {
    demonstrate("demo-tdx", &["--platform", "tdx"], &["ACCEPTED   tdx"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_devices_beside_sev_snp() {
    let more = ["a device fewer", "the accelerators left out", "report-data-mismatch"];
    demonstrate("demo-gpu", &["--platform", "snp+gpu"], &more).await;
}

/// Runs the demonstration and looks for what it has to show, and for `more`.
async fn demonstrate(place: &str, platform: &[&str], more: &[&str]) {
    let place = Place::new(place);
    let model = place.tiny_model();
    let arguments = [&["demo", "--prompt", "Hello", "--model", &model], platform].concat();
    let done = place.run("veritee", &arguments).await;
    let shown =
        [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert_eq!(done.status.code(), Some(0), "{shown}");
    for code in [
        "member-mismatch",
        "challenge-not-answered",
        "ohttp-key",
        "root-not-trusted",
        "untrusted-anchors",
    ]
    .iter()
    .chain(more)
    {
        assert!(shown.contains(code), "{code} is not in\n{shown}");
    }
}

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).to_string_lossy().into_owned()
}
