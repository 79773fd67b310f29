//! A second implementation asks over HTTP and verifies what it is given: another language, another library.

use std::path::Path;
use std::process::Stdio;

use attestation::snp::Product;
use serde_json::{Value, json};
use service::Algorithm;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::running::{Folder, Running, asked};
use crate::world::{CHALLENGE, NOW, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_implementation_verifies_the_tokens() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let (mut world, folder) = (World::new(Product::Genoa), Folder::new());
        folder.policy("checks.toml", &world);
        let mut config = folder.config();
        config.signing.algorithm = algorithm;
        let running = Running::start(config).await;
        let key = format!("sha256:{}", world.statement.ohttp_keys);
        let accepted = json!({ "body": asked(&world), "verdict": "accepted", "key": key });
        world.report.measurement = [0; 48];
        let rejected = json!({ "body": asked(&world), "verdict": "rejected", "key": key });
        let given = json!({
            "service": format!("http://{}", running.address),
            "algorithm": algorithm.name(),
            "now": NOW.as_secs(),
            "challenge": CHALLENGE.to_string(),
            "asked": [accepted, rejected],
        });
        let said = verified(&given).await;
        assert!(said.starts_with("2 tokens, "), "{said}");
        let refused = said.split(' ').nth(2).and_then(|count| count.parse::<u32>().ok());
        assert!(refused.is_some_and(|refused| refused > 250), "{said}");
    }
}

/// What the script beside this file says of what the service answers.
async fn verified(given: &Value) -> String {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python-vectors");
    assert!(packages.is_dir(), "its library is missing; `make tools` fetches it");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/ear.py");
    let mut python = Command::new("python3");
    python.arg(script).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = python.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(given.to_string().as_bytes()).await.unwrap();
    drop(input);
    let done = child.wait_with_output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
