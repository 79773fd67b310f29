//! What is laid out of evidence that we make ourselves, and of anything at all.

use attestation::endorsements::Kind as Given;
use attestation::receipt::{FinishReason, Usage};
use attestation::snp::Product;
use attestation::{Digest, Receipt, ReportData, SignedReceipt, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sim::ReportBuilder;
use sim::nvidia::{DeviceRecipe, NvidiaPki, OcspRecipe};
use sim::tdx::{
    Collateral, EventLogRecipe, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe,
};

use super::*;

/// One of everything that is told by content, with the name of its kind.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let now = UnixTime::from_secs(1_795_000_000);
    let validity = sim::validity_from(now, 86_400);
    let pki = IntelPki::new(IntelKeys::generate().unwrap().into(), validity).unwrap();
    let platform = PckPlatform::default();
    let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy([1; 48], [[2; 48]; 4]));
    let quote = pki.quote(&recipe, &platform, &ReportData([3; 64])).unwrap();
    let given = pki.endorse(&Collateral::up_to_date(validity, &platform, &recipe), 1).unwrap();
    let mut report = ReportBuilder::new(Product::Turin, 5).body().to_vec();
    report.resize(attestation::snp::REPORT_LEN, 0);
    let key = sim::azure::TpmKey::generate().unwrap();
    let runtime = sim::azure::runtime_data(&key).unwrap().to_string().into_bytes();
    let hcl = sim::azure::hcl_report(&report, false, &runtime);
    let tpm = sim::azure::QuoteRecipe::new(&[7; 32], &[[7; 32]; 24]).sign(&key).unwrap();
    let gpu = DeviceRecipe::hopper(&NvidiaPki::shared().unwrap(), 1).unwrap();
    let ocsp = OcspRecipe::about(&gpu, 1, now).sign(&gpu).unwrap();
    let device = gpu.sign_report(&[9; 32]).unwrap();
    let chain = sim::nvidia::pem(&gpu.sign_chain().unwrap());
    let devices = json!([{
        "arch": "HOPPER",
        "nonce": hex::encode([9; 32]),
        "evidence": sim::nvidia::base64(&device),
        "certificate": sim::nvidia::base64(chain.as_bytes()),
    }]);
    let values = gpu.reference_values()[0].encode();
    let token = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let token = format!(
        "{}.{}.{}",
        token(json!({ "alg": "ES256" })),
        token(json!({ "ear_status": "affirming", "submods": { "cpu0": {} } })),
        URL_SAFE_NO_PAD.encode([5; 64])
    );
    let policy = include_bytes!("../../../../policies/snp-evaluation.toml").to_vec();
    let item = |kind| given.items(kind)[0].clone();
    vec![
        ("tdx-quote", quote),
        ("sev-snp-report", report),
        ("azure-hcl-report", hcl.clone()),
        ("azure-evidence", sim::azure::evidence(&hcl, &tpm, None)),
        ("nvidia-report", device),
        ("nvidia-devices", devices.to_string().into_bytes()),
        ("event-log", EventLogRecipe::boot(b"guest").encode()),
        ("endorsements", item(Given::Certificate)),
        ("endorsements", item(Given::Crl)),
        ("endorsements", item(Given::TcbInfo)),
        ("endorsements", item(Given::QeIdentity)),
        ("endorsements", ocsp),
        ("reference-values", values),
        ("receipt", receipt()),
        ("token", token.into_bytes()),
        ("policy", policy),
    ]
}

fn receipt() -> Vec<u8> {
    let digest = Digest([1; 32]);
    let now = UnixTime::from_secs(1_795_000_000);
    let payload = Receipt {
        binding_id: attestation::BindingId(digest),
        request: digest,
        req_mac: digest,
        res_mac: digest,
        manifest: digest,
        usage: Usage { prompt: 300, completion: 20, cached: 0 },
        finish: FinishReason::Stop,
        started: now,
        ended: now,
        bound: true,
        par_mac: digest,
        seq: 70_000,
        previous: digest,
    };
    SignedReceipt { kid: digest, payload: payload.encode(), signature: [7; 64] }.encode()
}

fn fields(bytes: &[u8]) -> Value {
    decode(bytes).unwrap().1.into_json()
}

#[test]
fn every_kind_is_told_and_laid_out() {
    for (expected, seed) in seeds() {
        let (Kind(kind, _), sheet) =
            decode(&seed).unwrap_or_else(|error| panic!("{expected}: {error}"));
        assert_eq!(kind, expected);
        let text = sheet.text();
        assert!(!text.contains("cannot be read"), "{expected}: {text}");
        assert!(text.lines().count() > 3, "{expected}: {text}");
    }
}

#[test]
fn members_are_those_that_were_made() {
    let seeds = seeds();
    let of = |kind: &str, at: usize| {
        let mut seeds = seeds.iter().filter(|(known, _)| *known == kind);
        fields(&seeds.nth(at).unwrap().1)
    };
    for (kind, at, pointer, expected) in [
        ("tdx-quote", 0, "/report/mr_td", json!("01".repeat(48))),
        ("tdx-quote", 0, "/report/rtmr3", json!("02".repeat(48))),
        ("tdx-quote", 0, "/report/report_data", json!("03".repeat(64))),
        ("tdx-quote", 0, "/report/td_attributes_bits/sept_ve_disable", json!(true)),
        ("tdx-quote", 0, "/qe_report/debug", json!(false)),
        ("sev-snp-report", 0, "/product", json!("Turin")),
        ("sev-snp-report", 0, "/guest_policy_bits/debug", json!(false)),
        ("azure-evidence", 0, "/tpm_quote/answers", json!("07".repeat(32))),
        ("azure-evidence", 0, "/tpm_quote/pcr0", json!("07".repeat(32))),
        ("nvidia-devices", 0, "/device/0/nonce", json!("09".repeat(32))),
        ("nvidia-devices", 0, "/device/0/stated_beside_it/architecture", json!("HOPPER")),
        ("endorsements", 2, "/tcb_info/0/fmspc", json!("90c06f000000")),
        ("endorsements", 4, "/ocsp_response/0/answer/0/status", json!("good")),
        ("endorsements", 4, "/ocsp_response/0/response_status", json!("successful")),
        ("receipt", 0, "/seq", json!(70_000)),
        ("token", 0, "/claims/ear_status", json!("affirming")),
        ("policy", 0, "/schema", json!(1)),
    ] {
        assert_eq!(of(kind, at).pointer(pointer), Some(&expected), "{kind} {pointer}");
    }
    // The family that collateral is asked for, as the PCK certificate has it.
    let quote = of("tdx-quote", 0);
    let pck = quote["pck_chain"][0]["extension"].as_array().unwrap();
    let platform = pck.iter().find_map(|extension| extension.get("platform")).unwrap();
    assert_eq!(platform["fmspc"], "90c06f000000");
    assert!(platform["tcb"]["sgx_component_16"].is_u64(), "{platform}");
}

/// Receipts come as octets, as text of them, and as the proxy answers.
#[test]
fn a_receipt_may_be_text() {
    let whole = fields(&receipt());
    let text = URL_SAFE_NO_PAD.encode(receipt());
    let answer = json!({ "id": "chatcmpl-1", "receipt": text, "claims": {} }).to_string();
    for form in [hex::encode(receipt()), text, answer] {
        assert_eq!(fields(form.as_bytes()), whole, "{form}");
    }
}

/// Whatever is changed in it, laying it out ends, is bounded, and commands no terminal.
#[test]
fn hostile_bytes_are_laid_out_or_refused_within_bounds() {
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let mut laid = 0_u32;
    for (kind, seed) in seeds() {
        for round in 0..400 {
            let mut bytes = seed.clone();
            match round % 4 {
                0 => bytes.truncate(random(seed.len())),
                1 => bytes.extend(vec![0xff; random(300)]),
                _ => {
                    for _ in 0..=random(4) {
                        let at = random(bytes.len());
                        bytes[at] = random(256).try_into().unwrap();
                    }
                }
            }
            let Ok((_, sheet)) = decode(&bytes) else { continue };
            laid += 1;
            let text = sheet.text();
            assert!(text.len() < 64 * bytes.len() + 20_000, "{kind}: {} octets", text.len());
            let hidden = |c: char| c != '\n' && crate::output::is_hidden(c);
            assert!(!text.contains(hidden), "{kind}: {text:?}");
            let json = crate::output::plain_json(&sheet.into_json().to_string());
            assert!(!json.contains(crate::output::is_hidden), "{kind}: {json:?}");
            serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
    }
    assert!(laid > 500, "only {laid} changed inputs were laid out: the test looks at nothing");
}

/// What a certificate's name says is text, whatever it holds.
#[test]
fn names_in_certificates_command_nothing() {
    let (_, der) = seeds().into_iter().find(|(kind, _)| *kind == "endorsements").unwrap();
    let at = der.windows(5).position(|octets| octets == b"Intel").unwrap();
    let mut hostile = der;
    hostile[at..at + 5].copy_from_slice(b"\x1b[2J\x07");
    let text = decode(&hostile).unwrap().1.text();
    assert!(text.contains("[U+001B][2J[U+0007]") || text.contains("cannot be read"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
