//! Other platforms than SEV-SNP alone: the same stack, and what is done to their evidence, by the operator on the way and by
//! whoever answers for the devices inside.

use std::sync::Arc;

use attestation::Digest;
use serde_json::Value;
use tests::{
    fleet::{DeviceLie, Fleet, Plan, Simulated},
    script::Script,
};

use crate::told::{PROMPT, Told, refusals};

/// Eight GPUs and four switches, as in a server; stories about lies get by with fewer.
const SERVER: (u8, u8) = (8, 4);
const FEW: (u8, u8) = (2, 1);

async fn tdx() -> Fleet {
    Fleet::start(Plan { machine: Simulated::Tdx, ..Plan::default() }).await
}

async fn with_devices(devices: (u8, u8)) -> Fleet {
    Fleet::start(Plan { devices, ..Plan::default() }).await
}

/// The bundle that a fleet's only enclave shows to everyone.
async fn bundle(fleet: &Fleet) -> Value {
    let (_, body) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    serde_json::from_slice(&body).unwrap()
}

/// The first code that a new client of the fleet meets, and all of them.
async fn refused(fleet: &Fleet, script: Script) -> (&'static str, Vec<&'static str>) {
    fleet.relay.play(script);
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert!(told.text.is_empty() && !told.finished, "{told:?}");
    let all = told.end.as_ref().err().map(refusals).unwrap_or_default();
    (told.code(), all)
}

async fn assert_answers(fleet: &Fleet, platform: &str) {
    let client = fleet.client();
    let told = Told::by(&client, PROMPT).await;
    assert_eq!((told.code(), told.text.as_str(), told.finished), ("accepted", PROMPT, true));
    assert_eq!(client.verdict(), "accepted-untrusted-anchors");
    assert_eq!(client.enclaves().await.unwrap()[0].report().platform, platform);
}

#[tokio::test(flavor = "multi_thread")]
async fn tdx_answers() {
    assert_answers(&tdx().await, "tdx").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sev_snp_with_a_servers_devices_answers() {
    let fleet = with_devices(SERVER).await;
    assert_answers(&fleet, "sev-snp").await;
    let client = fleet.client();
    let enclaves = client.enclaves().await.unwrap();
    let claims = serde_json::to_string(&enclaves[0].report().claims).unwrap();
    assert!(claims.contains("HOPPER"), "the verdict tells of the devices: {claims}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tdx_with_devices_answers() {
    let plan = Plan { machine: Simulated::Tdx, devices: (1, 0), ..Plan::default() };
    assert_answers(&Fleet::start(plan).await, "tdx").await;
}

/// The evidence of one CPU in the place of another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_quote_of_another_enclave_or_kind_is_refused() {
    let (mine, other, snp) = (tdx().await, tdx().await, Fleet::start(Plan::default()).await);
    let (quote, report) = (bundle(&other).await, bundle(&snp).await);
    let member = |from: &Value, member: &str| from[member].clone();

    let taken = member(&quote, "cpu0");
    let script = Script::bundle(move |bundle| bundle["cpu0"] = taken.clone());
    let (_, all) = refused(&mine, script).await;
    assert!(all.contains(&"root-not-trusted"), "another vendor's: {all:?}");

    // The same vendor's, for an earlier question.
    let (own, label) = (bundle(&mine).await, "cpu0");
    let script = Script::bundle(move |bundle| bundle[label] = own[label].clone());
    assert_eq!(
        refused(&mine, script).await,
        ("report-data-mismatch", vec!["report-data-mismatch"])
    );

    // A report of SEV-SNP where the policy wants TDX, with and without the event log that it cannot have.
    let taken = member(&report, "cpu0");
    let script = Script::bundle(move |bundle| {
        bundle["cpu0"] = taken.clone();
        bundle.as_object_mut().unwrap().remove("event_log");
    });
    assert_eq!(refused(&mine, script).await.0, "platform-not-allowed");
    let taken = member(&report, "cpu0");
    let script = Script::bundle(move |bundle| bundle["cpu0"] = taken.clone());
    assert_eq!(refused(&mine, script).await.0, "evidence-malformed");

    // A quote that says that it is a report, and the other way round.
    let named = member(&report, "cpu0")[0].clone();
    let script = Script::bundle(move |bundle| {
        bundle["cpu0"][0] = named.clone();
        bundle.as_object_mut().unwrap().remove("event_log");
    });
    assert_eq!(refused(&mine, script).await.0, "evidence-malformed");
    let taken = member(&quote, "cpu0");
    let script = Script::bundle(move |bundle| bundle["cpu0"] = taken.clone());
    assert_eq!(refused(&snp, script).await.0, "platform-not-allowed");

    // The control.
    mine.relay.play(Script::Honest);
    assert_answers(&mine, "tdx").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_a_quote_is_refused() {
    let fleet = tdx().await;
    // Within MRTD, of version 5.
    let script = Script::bundle(|bundle| flip(bundle, "cpu0", 54 + 136));
    assert_eq!(refused(&fleet, script).await.0, "signature-invalid");
}

/// What the operator on the way does to the devices' evidence: it is none that the statement names.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_are_exchanged_on_the_way_are_refused() {
    let (mine, other) = (with_devices(FEW).await, with_devices(FEW).await);
    let foreign = devices(&bundle(&other).await);
    let own = devices(&bundle(&mine).await);
    let (last, first) = (foreign.last().unwrap().clone(), own[0].clone());
    let stories: [(&str, &str, Vec<Value>); 4] = [
        ("missing", "device-count", own[1..].to_vec()),
        ("extra", "device-repeated", [own.clone(), vec![first]].concat()),
        ("foreign", "device-nonce-mismatch", [&own[..own.len() - 1], &[last]].concat()),
        ("another enclave's", "device-nonce-mismatch", foreign),
    ];
    for (story, of_device, list) in stories {
        let script = Script::bundle(move |bundle| put(bundle, &list));
        let (_, all) = refused(&mine, script).await;
        for code in ["member-mismatch", of_device] {
            assert!(all.contains(&code), "{story}: no {code} in {all:?}");
        }
    }
    let script = Script::bundle(|bundle| {
        bundle.as_object_mut().unwrap().remove("accel");
    });
    let (_, all) = refused(&mine, script).await;
    assert!(all.contains(&"member-mismatch"), "none: {all:?}");
    let plain = Fleet::start(Plan::default()).await;
    let script = Script::bundle(move |bundle| {
        bundle["accel"] = serde_json::json!(["application/vnd.veritee.nvidia-evidence+json", ""]);
        put(bundle, &own);
    });
    let (_, all) = refused(&plain, script).await;
    assert!(all.contains(&"member-mismatch"), "where there are none: {all:?}");

    // Evidence of an earlier epoch's devices is another enclave's, too: node and key are in the nonce.
    mine.relay.play(Script::Honest);
    assert_answers(&mine, "sev-snp").await;
}

/// Whoever answers for the devices inside the guest lies, and the CPU signs for that: the devices' own signatures do not.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_are_missing_repeated_foreign_or_replayed_are_refused() {
    let foreign = with_devices(FEW).await;
    let theirs = devices(&bundle(&foreign).await);
    let edit = |edit: fn(&mut Vec<Value>)| -> DeviceLie {
        Arc::new(move |devices, nonce| {
            let mut list = list(&devices.evidence(nonce).unwrap());
            edit(&mut list);
            serde_json::to_vec(&list).unwrap()
        })
    };
    let stories: [(&str, &str, DeviceLie); 5] = [
        ("missing", "device-count", edit(|list| drop(list.pop()))),
        ("repeated", "device-repeated", edit(|list| list.push(list[0].clone()))),
        (
            "replayed",
            "device-nonce-mismatch",
            Arc::new(|devices, _| devices.evidence(&Digest([7; 32])).unwrap()),
        ),
        (
            "foreign",
            "device-nonce-mismatch",
            Arc::new(move |_, _| serde_json::to_vec(&theirs).unwrap()),
        ),
        ("no list", "evidence-malformed", Arc::new(|_, _| b"{}".to_vec())),
    ];
    for (story, expected, lie) in stories {
        let plan = Plan { devices: FEW, device_lie: Some(lie), ..Plan::default() };
        let fleet = Fleet::start(plan).await;
        let (code, all) = refused(&fleet, Script::Honest).await;
        assert!(code == expected || all.contains(&expected), "{story}: {code}, {all:?}");
    }
}

/// Flips one bit of a member.
fn flip(bundle: &mut Value, member: &str, at: usize) {
    let mut octets = octets(&bundle[member]);
    octets[at] ^= 1;
    bundle[member][1] = Value::String(tests::script::base64url(&octets));
}

fn octets(member: &Value) -> Vec<u8> {
    tests::script::unbase64url(member[1].as_str().unwrap())
}

/// The devices of a bundle.
fn devices(bundle: &Value) -> Vec<Value> {
    list(&octets(&bundle["accel"]))
}

fn list(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap()
}

/// Puts devices into a bundle.
fn put(bundle: &mut Value, devices: &[Value]) {
    let octets = serde_json::to_vec(devices).unwrap();
    bundle["accel"][1] = Value::String(tests::script::base64url(&octets));
}
