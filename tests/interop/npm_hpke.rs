//! The npm packages `hpke` and `@panva/hpke-noble`, which speak AES-256-GCM, under a client in another language.

use std::{fs::File, path::Path, process::Stdio, time::Duration};

use attestation::Sha256;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{Heard, PROMPT, open_fleet};

#[tokio::test(flavor = "multi_thread")]
async fn its_client_is_answered_through_the_router() {
    let (fleet, bundle) = open_fleet().await;
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../node");
    assert!(packages.is_dir(), "the packages are missing; `make tools` fetches them");
    // Read from standard input, the script finds packages where it runs.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/client.mjs");
    let asked = Command::new("node")
        .args(["--input-type=module", "-"])
        .current_dir(packages)
        .env("ROUTER", fleet.relay.url())
        .env("PROMPT", PROMPT)
        .stdin(File::open(script).unwrap())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let asked = timeout(Duration::from_mins(1), asked).await.unwrap().unwrap();
    assert!(asked.status.success(), "the client failed");

    let heard: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(heard["outer"], 200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let header = hex::decode(text(&heard["header"])).unwrap();
    Heard {
        status: heard["status"].as_u64().unwrap().try_into().unwrap(),
        media: text(&heard["type"]),
        content: text(&heard["content"]),
        receipt: text(&heard["trailers"]["veritee-receipt"]),
        request: Sha256::of(&header),
    }
    .assert_answered(&bundle);
    // Every cell is 512 octets and a tag; the final chunk has no length.
    let lengths = heard["lengths"].as_array().unwrap();
    let (last, cells) = lengths.split_last().unwrap();
    assert_eq!(last, 0);
    assert!(cells.len() > 2 && cells.iter().all(|cell| cell == 528), "{lengths:?}");
}
