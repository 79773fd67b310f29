//! The vectors beside this file: our crates reproduce each, and so does a second implementation in another language.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a vector that is not reproduced fails"
)]

mod exchange;

use std::{env, fs, path::Path, path::PathBuf, process::Command};

use attestation::{
    BindingId, Bundle, Challenge, CpuEvidence, Digest, Fresh, NodeId, Receipt, ReceiptKey,
    ReportData, SealingKey, Secret, Sha256, SignedReceipt, Statement, UnixTime, Unverified,
    binding::{FreshnessProof, accelerator_nonce as nonce_of},
    merkle,
    receipt::{FinishReason, Parameters, Usage},
};
use channel::Blinds;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;
use verifier::receipt::Transcript;

#[test]
fn our_crates_reproduce_every_vector() {
    let mut seen = 0_usize;
    for file in files() {
        let case: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let (input, output) = (&case["input"], &case["output"]);
        let name = file.display();
        let verdict = match case["kind"].as_str().unwrap() {
            "statement" => statement(input, output),
            "malformed_statement" => malformed(&Statement::parse(&octets(&input["statement"]))),
            "merkle" => batch(input),
            "accelerator_nonce" => accelerator_nonce(input, output),
            "bundle" => bundle(input, output),
            "refused_bundle" => {
                malformed(&Bundle::parse(input["bundle"].as_str().unwrap().as_bytes()))
            }
            "sealing_key" => exchange::sealing_key(input, output),
            "malformed_sealing_key" => malformed(&SealingKey::parse(&octets(&input["ohttp_keys"]))),
            "receipt_key" => receipt_key(input, output),
            "malformed_receipt_key" => malformed(&ReceiptKey::parse(&octets(&input["cose_key"]))),
            "exchange" => exchange::exchange(input, output),
            "response" => exchange::response(input),
            "receipt" => receipt(input, output),
            "refused_receipt" => refused_receipt(input),
            other => panic!("{name}: {other} is no kind"),
        };
        assert_eq!(verdict, case["expect"].as_str().unwrap(), "{name}: {}", case["note"]);
        seen = seen.saturating_add(1);
    }
    assert!(seen > 100, "only {seen} vectors found");
}

#[test]
fn a_second_implementation_reproduces_every_vector() {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python-vectors");
    assert!(packages.is_dir(), "its library is missing; `make tools` fetches it");
    let checked = Command::new("python3")
        .arg(folder().join("check.py"))
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(said.trim(), format!("{} vectors", files().len()));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// All vectors, in order.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for area in ["binding", "channel", "evidence", "keys", "receipt"] {
        for entry in fs::read_dir(folder().join(area)).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.sort();
    files
}

/// A value's octets.
fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The same where the length is known.
fn array<const N: usize>(value: &Value) -> [u8; N] {
    octets(value).try_into().unwrap()
}

fn digest(value: &Value) -> Sha256 {
    Digest(array(value))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The verdict of a parser whose error has no finer name in the vectors.
fn malformed<T>(parsed: &Result<T, attestation::Malformed>) -> &'static str {
    if parsed.is_ok() { "accepted" } else { "malformed" }
}

fn statement(input: &Value, output: &Value) -> &'static str {
    let optional = |name: &str| (input[name] != "").then(|| array(&input[name]));
    let statement = Statement {
        node_id: NodeId(array(&input["node_id"])),
        ohttp_keys: digest(&input["ohttp_keys"]),
        compat_key: optional("compat_key"),
        tls_spki: digest(&input["tls_spki"]),
        receipt_key: digest(&input["receipt_key"]),
        manifest: digest(&input["manifest"]),
        config: digest(&input["config"]),
        accelerators: optional("accelerators").map(Digest),
        not_before: UnixTime::from_secs(number(&input["not_before"])),
        not_after: UnixTime::from_secs(number(&input["not_after"])),
    };
    let encoded = octets(&output["statement"]);
    assert_eq!(statement.encode(), encoded);
    assert_eq!(Statement::parse(&encoded), Ok(statement.clone()));
    assert_eq!(statement.binding_id(), BindingId(digest(&output["binding_id"])));
    let data = ReportData::bind(&statement.binding_id(), &fresh(&input["freshness"], output));
    assert_eq!(data, ReportData(array(&output["report_data"])));
    "accepted"
}

fn fresh(freshness: &Value, output: &Value) -> Fresh {
    match freshness["type"].as_str().unwrap() {
        "none" => Fresh::None,
        "challenge" => Fresh::Challenge(Challenge(array(&freshness["challenge"]))),
        _ => {
            let all = freshness["challenges"].as_array().unwrap();
            let all: Vec<_> = all.iter().map(|each| Challenge(array(each))).collect();
            let index = usize::try_from(number(&freshness["index"])).unwrap();
            let (root, paths) = merkle::root_and_paths(&all);
            assert_eq!((root, merkle::root(&all)), (digest(&output["root"]), root));
            let path: Vec<_> = output["path"].as_array().unwrap().iter().map(digest).collect();
            assert_eq!((&paths[index], merkle::path(&all, index)), (&path, path.clone()));
            let (at, size) = (index.try_into().unwrap(), all.len().try_into().unwrap());
            let proof = FreshnessProof::Batch { root, index: at, size, path };
            assert!(proof.answers(&all[index]));
            proof.fresh()
        }
    }
}

fn batch(input: &Value) -> &'static str {
    let path: Vec<_> = input["path"].as_array().unwrap().iter().map(digest).collect();
    let (index, size) = (number(&input["index"]), number(&input["size"]));
    let (index, size) = (index.try_into().unwrap(), size.try_into().unwrap());
    let proof = FreshnessProof::Batch { root: digest(&input["root"]), index, size, path };
    let answers = proof.answers(&Challenge(array(&input["challenge"])));
    if answers { "accepted" } else { "challenge-not-answered" }
}

fn accelerator_nonce(input: &Value, output: &Value) -> &'static str {
    let nonce = nonce_of(&NodeId(array(&input["node_id"])), &digest(&input["ohttp_keys"]));
    assert_eq!(nonce, digest(&output["nonce"]));
    "accepted"
}

fn bundle(input: &Value, output: &Value) -> &'static str {
    let optional = |label: &str| input.get(label).map(|member| octets(&member[1]));
    let member = |label: &str| optional(label).unwrap();
    let is_tdx = input["cpu0"][0].as_str().unwrap().contains("tdx");
    let cpu = if is_tdx { CpuEvidence::tdx } else { CpuEvidence::sev_snp };
    let bundle = Bundle {
        statement: member("statement"),
        ohttp_keys: member("ohttp_keys"),
        receipt_key: member("receipt_key"),
        manifest: member("manifest"),
        config: member("config"),
        freshness: member("freshness"),
        cpu0: cpu(member("cpu0")),
        event_log: optional("event_log"),
        accel: optional("accel"),
        endorsements: member("endorsements"),
    };
    let text = output["bundle"].as_str().unwrap().as_bytes();
    assert_eq!((bundle.encode().as_slice(), Bundle::parse(text)), (text, Ok(bundle)));
    let written: Value = serde_json::from_slice(text).unwrap();
    for (label, member) in input.as_object().unwrap() {
        assert_eq!(written[label][0], member[0], "{label} has the media type of the protocol");
    }
    "accepted"
}

fn receipt_pair(seed: &Value) -> (Ed25519KeyPair, ReceiptKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&octets(seed)).unwrap();
    let public = ReceiptKey(pair.public_key().as_ref().try_into().unwrap());
    (pair, public)
}

fn receipt_key(input: &Value, output: &Value) -> &'static str {
    let (_, key) = receipt_pair(&input["seed"]);
    assert_eq!(key, ReceiptKey(array(&output["public"])));
    let encoded = octets(&output["cose_key"]);
    assert_eq!((key.encode(), ReceiptKey::parse(&encoded)), (encoded, Ok(key)));
    assert_eq!(key.thumbprint(), digest(&output["thumbprint"]));
    "accepted"
}

fn receipt(input: &Value, output: &Value) -> &'static str {
    let asked = &input["parameters"];
    let parameters = Parameters {
        model: asked["model"].as_str().unwrap().to_owned(),
        temperature: asked["temperature"].as_f64(),
        top_p: asked["top_p"].as_f64(),
        top_k: asked["top_k"].as_u64(),
        seed: asked["seed"].as_i64(),
        max_tokens: asked["max_tokens"].as_u64(),
        stop: serde_json::from_value(asked["stop"].clone()).unwrap(),
        stream: asked["stream"].as_bool().unwrap(),
        ..Parameters::default()
    };
    assert_eq!(parameters.encode(), octets(&output["parameters"]));
    let blinds = Blinds {
        request: Secret::new([0; 32]),
        response: Secret::new([0; 32]),
        parameters: Secret::new(array(&input["blind_par"])),
    };
    assert_eq!(blinds.parameters_mac(&parameters.encode()), digest(&output["par_mac"]));

    let claims = &input["claims"];
    let count = |name: &str| u32::try_from(number(&claims["usage"][name])).unwrap();
    let finishes = [FinishReason::Stop, FinishReason::Length, FinishReason::None];
    let receipt = Receipt {
        binding_id: BindingId(digest(&claims["binding_id"])),
        request: digest(&claims["request"]),
        req_mac: digest(&claims["req_mac"]),
        res_mac: digest(&claims["res_mac"]),
        manifest: digest(&claims["manifest"]),
        usage: Usage {
            prompt: count("prompt"),
            completion: count("completion"),
            cached: count("cached"),
        },
        finish: finishes.into_iter().find(|known| claims["finish"] == known.as_str()).unwrap(),
        started: UnixTime::from_secs(number(&claims["times"][0])),
        ended: UnixTime::from_secs(number(&claims["times"][1])),
        bound: claims["bound"] == "bound",
        par_mac: digest(&output["par_mac"]),
        seq: number(&claims["seq"]),
        previous: digest(&claims["previous"]),
    };
    let payload = octets(&output["payload"]);
    assert_eq!((receipt.encode(), Receipt::parse(&payload)), (payload.clone(), Ok(receipt)));
    let (pair, key) = receipt_pair(&input["seed"]);
    let message = SignedReceipt::to_be_signed(&key.thumbprint(), &payload);
    assert_eq!(message, octets(&output["to_be_signed"]));
    let signature = pair.sign(&message).as_ref().try_into().unwrap();
    let signed = SignedReceipt { kid: key.thumbprint(), payload, signature };
    assert_eq!(signed.encode(), octets(&output["signed"]));
    assert_eq!(signed.digest(), digest(&output["sha256"]));
    let mut claims = claims.clone();
    claims["par_mac"] = output["par_mac"].clone();
    verdict(&signed.encode(), key, &claims)
}

fn refused_receipt(input: &Value) -> &'static str {
    let (_, key) = receipt_pair(&input["seed"]);
    verdict(&octets(&input["receipt"]), key, &input["transcript"])
}

/// What a client says of a receipt after an exchange of which it has seen this.
fn verdict(receipt: &[u8], key: ReceiptKey, seen: &Value) -> &'static str {
    let transcript = Transcript {
        binding_id: BindingId(digest(&seen["binding_id"])),
        request: digest(&seen["request"]),
        req_mac: digest(&seen["req_mac"]),
        res_mac: digest(&seen["res_mac"]),
        par_mac: digest(&seen["par_mac"]),
        manifest: digest(&seen["manifest"]),
    };
    let (attested, now) = tests::parsers::attested();
    assert_eq!(attested.receipts().at(now), Ok(&key), "the vectors' key is the attested one");
    let receipt = Unverified::new(receipt.to_vec());
    match verifier::receipt::verify(&receipt, attested.receipts(), &transcript, now) {
        Ok(_) => "accepted",
        Err(refused) => refused.code(),
    }
}
