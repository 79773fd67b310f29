//! Every kind of evidence that `veritee` takes, with raw files as auditors have them: judged, in each form of output, and laid
//! out; and that each forecast comes true to the second.
//!
//! What the repository makes itself is always there; real evidence lies beside it (`VERITEE_VECTORS`).
#![expect(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
#![expect(clippy::arithmetic_side_effects, clippy::panic, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "kinds/checks.rs"]
mod checks;
#[path = "../../../verifier/tests/outcome/mod.rs"]
mod outcome;
#[path = "kinds/stories.rs"]
mod stories;
#[path = "kinds/told.rs"]
mod told;
#[path = "../../../verifier/tests/world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::endorsements::Kind;
use attestation::snp::Product;
use attestation::{Endorsements, ReportData, Sha256, UnixTime};
use serde_json::{Value, json};
use sim::nvidia::{DeviceRecipe, NvidiaPki, OcspRecipe};
use sim::tdx::{
    Collateral, EventLogRecipe, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe,
};

use crate::stories::{HEAD, azure, bundle, composite, devices, gpu, tdx};
use crate::world::{CHALLENGE, NOW, World};

/// Evidence in a folder, and how it is judged.
struct Story {
    name: String,
    folder: PathBuf,
    /// What stands after `veritee verify`: the evidence first.
    arguments: Vec<String>,
    at: UnixTime,
    exit: i32,
    platform: &'static str,
    /// What `veritee explain` calls it.
    explained: &'static str,
}

impl Story {
    /// Evidence that is accepted, in a folder of its own; further files are written with [`Self::file`].
    fn new(name: &str, evidence: &[u8], platform: &'static str, explained: &'static str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let folder = format!("veritee-kinds-{}-{}", std::process::id(), MADE.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(folder);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("evidence"), evidence).unwrap();
        let (name, arguments) = (name.to_owned(), vec!["evidence".to_owned()]);
        Self { name, folder, arguments, at: NOW, exit: 0, platform, explained }
    }

    fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder.join(name), contents).unwrap();
        self
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|it| (*it).to_owned()));
        self
    }

    fn veritee(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
        command.current_dir(&self.folder).args(arguments).stdin(Stdio::null());
        for name in ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
            command.env(name, self.folder.join(name));
        }
        command.output().unwrap()
    }

    fn verify_at(&self, at: UnixTime, more: &[&str]) -> Output {
        let at = at.to_string();
        let own: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.veritee(&[&["verify"], &own[..], &["--at", &at, "--offline"], more].concat())
    }

    fn report_at(&self, at: UnixTime) -> Value {
        let output = self.verify_at(at, &["--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.name, said(&output)))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }

    /// The verdict in every form, and the evidence laid out.
    fn check(&self) {
        let Self { name, exit, platform, explained, .. } = self;
        let output = self.verify_at(self.at, &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = &report["findings"];
        assert_eq!(output.status.code(), Some(*exit), "{name}: {} {found:#}", said(&output));
        assert_eq!(&report["platform"], platform, "{name}");
        let verdict = report["verdict"].as_str().unwrap().to_uppercase();

        // Everything that went into it is named.
        let digest = |file: &str| Sha256::of(&self.read(file)).to_string();
        let inputs = report["inputs"].as_array().unwrap();
        let mut named = vec![("evidence", self.arguments[0].clone())];
        let pairs = self.arguments.windows(2).filter_map(|pair| match pair {
            [option, file] if option == "--event-log" => Some(("event log", file.clone())),
            [option, file] if option == "--policy" => Some(("policy", file.clone())),
            _ => None,
        });
        named.extend(pairs);
        for (what, file) in &named {
            let input = inputs.iter().find(|input| input["what"] == *what).expect(what);
            assert_eq!(input["sha256"], digest(file), "{name}: {what}");
            assert_eq!(input["octets"], self.read(file).len(), "{name}: {what}");
        }

        let told = text(&self.verify_at(self.at, &["--forecast"]));
        assert!(told.contains(&verdict), "{name}: {told}");
        let (_, forecast) = told.split_once("What ends, soonest first:\n").expect(name);
        let authentic = !report["claims"].as_object().unwrap().is_empty();
        assert_eq!(forecast.contains("nothing is known of"), !authentic, "{name}: {forecast}");

        let output = self.verify_at(self.at, &["--html", "page.html"]);
        assert_eq!(output.status.code(), Some(*exit), "{name}: {}", said(&output));
        let page = String::from_utf8(self.read("page.html")).unwrap();
        assert!(page.contains(&verdict), "{name}");
        for input in inputs {
            let digest = input["sha256"].as_str().unwrap();
            assert!(page.contains(digest), "{name}: the page does not name {input}");
        }
        let has_log = self.arguments.iter().any(|it| it == "--event-log");
        if authentic {
            // Without a log its checks are shown as not made.
            let concerns = has_log || platform.ends_with("tdx");
            assert_eq!(page.contains("<h3>Event logs</h3>"), concerns, "{name}");
        }
        assert_eq!(page.contains("base64 -d event-log.b64"), has_log, "{name}");
        // The command on the page says the same.
        let command = page.split("<pre>").find(|part| part.starts_with("veritee verify")).unwrap();
        let command = command.split("</pre>").next().unwrap().replace("&#39;", "'");
        let command =
            command.replacen("veritee", &format!("'{}'", env!("CARGO_BIN_EXE_veritee")), 1);
        let again = Command::new("sh")
            .args(["-c", &format!("{command} --json")])
            .current_dir(&self.folder)
            .output()
            .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), report, "{name}");

        let output = self.veritee(&["explain", &self.arguments[0], "--json"]);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!((output.status.code(), &object["kind"]), (Some(0), &json!(explained)), "{name}");
        assert_eq!(object["sha256"], digest(&self.arguments[0]), "{name}");
        let output = self.veritee(&["explain", &self.arguments[0]]);
        assert!(text(&output).starts_with("Nothing here is verified"), "{name}");
    }

    /// Every end of the forecast: a second before it nothing of what is forecast refuses, and a second after it all of that
    /// does. Yields the codes that were forecast.
    fn forecast_comes_true(&self) -> BTreeSet<String> {
        let Self { name, .. } = self;
        assert_eq!(self.report_at(self.at)["verdict"], "accepted", "{name}");
        let told = text(&self.verify_at(self.at, &["--forecast"]));
        let (_, told) = told.split_once("What ends, soonest first:\n").unwrap();
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        let mut all = BTreeSet::new();
        for pair in lines.chunks(2) {
            let [ends, then] = pair else { panic!("{name}: {told}") };
            let ends: UnixTime = ends.split(' ').next().unwrap().parse().unwrap();
            let codes = then.strip_prefix("then").unwrap().trim();
            if codes == "nothing more" {
                continue;
            }
            let codes: BTreeSet<String> = codes.split(", ").map(str::to_owned).collect();
            let second = Duration::from_secs(1);
            let (before, after) = (
                self.report_at(ends.saturating_sub(second)),
                self.report_at(ends.saturating_add(second)),
            );
            let [earlier, later] = [&before, &after].map(rejects);
            assert!(earlier.is_disjoint(&codes), "{name}: {ends} {earlier:?} {codes:?}");
            assert!(later.is_superset(&codes), "{name}: {ends} {later:?} {codes:?}");
            assert_ne!(after["verdict"], "accepted", "{name}: {ends}");
            if all.is_empty() {
                // The first: until then it is accepted, and then refused for this alone.
                assert_eq!(before["verdict"], "accepted", "{name}: {ends}");
                assert_eq!(later, codes, "{name}: {ends}");
            }
            all.extend(codes);
        }
        all
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn rejects(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let refusing = findings.filter(|finding| finding["severity"] == "reject");
    refusing.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn days(count: u64) -> UnixTime {
    NOW.saturating_add(Duration::from_hours(24 * count))
}

fn set(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

#[test]
fn evidence_of_each_kind_is_judged_shown_and_laid_out() {
    for story in [bundle(), tdx(false), tdx(true), gpu(true, days(9)), composite(), azure()] {
        story.check();
    }
}

#[test]
fn every_forecast_comes_true_to_the_second() {
    assert_eq!(
        bundle().forecast_comes_true(),
        set(&["certificate-expired", "crl-expired", "statement-expired"])
    );
    assert_eq!(
        tdx(true).forecast_comes_true(),
        set(&["certificate-expired", "crl-expired", "qe-identity-expired", "tcb-info-expired"])
    );
    let soon = NOW.saturating_add(Duration::from_hours(1));
    let ends = gpu(true, soon).forecast_comes_true();
    assert_eq!(ends, set(&["device-reference-expired", "ocsp-expired"]));
    assert_eq!(gpu(true, days(9)).forecast_comes_true(), set(&["ocsp-expired"]));
    assert!(composite().forecast_comes_true().contains("ocsp-expired"));
    assert_eq!(azure().forecast_comes_true(), set(&["certificate-expired", "crl-expired"]));
}

/// Answers about a GPU's certificates, asked for over the network by `veritee endorsements` and by `verify` itself; they end,
/// as was forecast.
#[test]
fn a_gpu_is_judged_by_answers_that_were_fetched() {
    let now = now();
    let mut story = gpu(false, now.saturating_add(Duration::from_hours(24)));
    story.at = now;
    let device = {
        let pki = NvidiaPki::shared().unwrap();
        DeviceRecipe::hopper(&pki, 0).unwrap()
    };
    let story = story.file("evidence", devices(std::slice::from_ref(&device), &CHALLENGE.0));
    let url = responder(device, now);
    let services = format!("[nvidia]\nocsp_urls = [\"{url}\"]\n[http]\nattempts = 1\n");
    let story = story.file("services.toml", services);
    let missing = story.verify_at(now, &["--json"]);
    assert_eq!(missing.status.code(), Some(20), "{}", text(&missing));
    let services = ["--services", "services.toml"];
    let own: Vec<&str> = story.arguments.iter().map(String::as_str).collect();
    let output = story.veritee(&[&["verify"], &own[..], &services, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{} {}", text(&output), said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let inputs = report["inputs"].as_array().unwrap();
    let fetched = inputs.iter().filter(|input| input["what"] == "endorsement, fetched");
    assert_eq!(fetched.count(), 3, "{inputs:#?}");

    let bundle = ["endorsements", "bundle", "evidence", "--output", "ocsp.pem"];
    let output = story.veritee(&[&bundle[..], &services].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let story = story.with(&["--endorsements", "ocsp.pem"]);
    story.check();
    assert!(story.forecast_comes_true().contains("ocsp-expired"));
    let laid = text(&story.veritee(&["explain", "ocsp.pem"]));
    assert_eq!(laid.matches("status                   good").count(), 3, "{laid}");
}

/// `id-pkix-ocsp-nonce` (RFC 6960 §4.4.1).
const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

/// Answers for a device's certificates at an address of this machine.
fn responder(device: DeviceRecipe, now: UnixTime) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut part = [0; 4096];
            // A request has its nonce at its end, after the head.
            let question = loop {
                let len = stream.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..len]);
                let head = asked.windows(4).position(|it| it == b"\r\n\r\n");
                let whole = head.map(|at| &asked[at + 4..]).filter(|body| {
                    body.get(1).is_some_and(|len| *len == 0x81)
                        && body.len() >= usize::from(body[2]) + 3
                        || body
                            .get(1)
                            .is_some_and(|len| *len < 0x80 && body.len() >= usize::from(*len) + 2)
                });
                if let Some(body) = whole {
                    break body.to_vec();
                }
                assert!(len > 0, "the request ends");
            };
            let at = question.windows(NONCE.len()).position(|it| it == NONCE).unwrap();
            // OCTET STRING in OCTET STRING.
            let nonce = question[at + NONCE.len() + 4..].to_vec();
            // The INTEGER that ends the request's one CertID, before the extensions; a number by itself may be anywhere in digests.
            let is_asked = |place: &usize| {
                let serial = &device.chain[*place].serial;
                let zero: &[u8] = if serial[0] < 0x80 { &[] } else { &[0] };
                let len = u8::try_from(serial.len() + zero.len()).unwrap();
                let id = [&[2, len], zero, serial, &[0xa2]].concat();
                question.windows(id.len()).any(|it| it == id)
            };
            let place = (1..=3).find(is_asked).unwrap();
            let mut answer = OcspRecipe::about(&device, place, now);
            answer.nonce = Some(nonce);
            let body = answer.sign(&device).unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/ocsp-response\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.into_bytes(), body].concat()).unwrap();
        }
    });
    url
}

fn now() -> UnixTime {
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the clock as well")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime::from_secs(now.as_secs())
}

/// Real evidence: what it is called, its file, and what stands beside it.
struct Real {
    evidence: &'static str,
    given: &'static [&'static str],
    event_log: Option<&'static str>,
    at: &'static str,
    exit: i32,
    platform: &'static str,
    explained: &'static str,
}

const CPU: &str = r#"
[sev-snp]
products = ["milan", "genoa", "turin"]
measurements = "any"
revocation = "if-present"
platform.alias_check = "allowed"
[tdx]
mr_td = "any"
rtmr0 = "any"
rtmr1 = "any"
rtmr2 = "any"
rtmr3 = "any"
mr_config_id = "any"
mr_owner = "any"
service_td = "any"
tcb_status = ["up-to-date", "out-of-date"]
advisories_allowed = ["INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986"]
min_tcb_evaluation = 17
revocation = "if-present"
attributes.sept_ve_disable = "allowed"
[azure]
tpm_quote = "if-present"
"#;

const DEVICES: &str = r#"
[nvidia-gpu]
reference_values = "any"
revocation = "if-present"
topology = "if-present"
[nvidia-switch]
reference_values = "any"
revocation = "if-present"
"#;

const LATE: &str = "2026-11-23T00:00:00Z";
const OCTOBER: &[&str] = &["tdx/assembled/automata-oct25-00806F05.collateral.json"];

const fn real(
    evidence: &'static str,
    given: &'static [&'static str],
    at: &'static str,
    (exit, platform, explained): (i32, &'static str, &'static str),
) -> Real {
    Real { evidence, given, event_log: None, at, exit, platform, explained }
}

const SNP: (i32, &str, &str) = (0, "sev-snp", "sev-snp-report");
const TDX: (i32, &str, &str) = (0, "tdx", "tdx-quote");
const GPU: (i32, &str, &str) = (0, "nvidia-gpu", "nvidia-devices");
const SWITCH: (i32, &str, &str) = (0, "nvidia-switch", "nvidia-devices");

const REAL: &[Real] = &[
    // Certificates in PEM and DER, in files and folders; reports in octets and hex.
    real("snp/genoa-ms/report.bin", &["snp/genoa-ms"], LATE, SNP),
    real("snp/turin-ms/report.bin", &["snp/turin-ms"], LATE, SNP),
    real(
        "snp/milan-virtee/report.hex",
        &["snp/milan-virtee/vcek.der", "snp/milan-virtee/cert_chain.pem"],
        LATE,
        SNP,
    ),
    // Collateral in one file as public tools write it, and as Intel's service answers.
    real(
        "tdx/phala-v4-td10/quote.bin",
        &["tdx/phala-v4-td10/collateral.json"],
        "2025-07-04T10:24:15Z",
        TDX,
    ),
    real(
        "tdx/phala-near/quote.hex",
        &["tdx/phala-near/collateral.json"],
        "2025-09-17T00:00:00Z",
        TDX,
    ),
    real("tdx/google-v5/quote.bin", &["tdx/tinfoil-collateral"], "2026-01-27T15:55:00Z", TDX),
    real(
        "tdx/phala-td15ex/quote.bin",
        &["tdx/phala-td15ex/collateral.json"],
        "2026-10-20T12:26:40Z",
        TDX,
    ),
    Real {
        event_log: Some("tdx/google-ccel-cos113/ccel_data.bin"),
        ..real("tdx/google-ccel-cos113/quote.bin", OCTOBER, "2025-11-01T12:26:40Z", TDX)
    },
    Real {
        event_log: Some("eventlog/trustee-ccel/CCEL_data_grub"),
        exit: 10,
        ..real("tdx/google-ccel-cos113/quote.bin", OCTOBER, "2025-11-01T12:26:40Z", TDX)
    },
    real("nvidia/nvtrust/gpu_evidence.json", &[], LATE, GPU),
    real("nvidia/nvtrust/switch_evidence.json", &[], LATE, SWITCH),
    real("nvidia/sdk-evidence/hopper_evidence.json", &[], LATE, GPU),
    real("nvidia/sdk-evidence/switch_evidence_ls10.json", &[], LATE, SWITCH),
    // A raw report, its chain, and a manifest, which endorses nothing here.
    real(
        "nvidia/nvtrust/hopperAttestationReport.txt",
        &[
            "nvidia/nvtrust/hopperCertChain.txt",
            "nvidia/nvtrust/1010_0200_882_96005E0001_PROD.swidtag",
        ],
        LATE,
        (0, "nvidia-gpu", "nvidia-report"),
    ),
    real("azure/snp-trustee/evidence-v1.json", &[], LATE, (0, "azure-sev-snp", "azure-evidence")),
    real(
        "azure/snp-trustee/hcl-report.bin",
        &["azure/snp-trustee/vcek.pem"],
        LATE,
        (0, "azure-sev-snp", "azure-hcl-report"),
    ),
    real(
        "azure/tdx-trustee/evidence-v1.json",
        OCTOBER,
        "2025-11-01T12:26:40Z",
        (0, "azure-tdx", "azure-evidence"),
    ),
    // A report of TDX proves nothing away from its machine.
    real("azure/tdx-trustee/hcl-report.bin", &[], LATE, (10, "azure-tdx", "azure-hcl-report")),
];

#[test]
fn real_evidence_of_each_kind_is_judged_shown_and_laid_out() {
    let Some(root) = vectors() else { return };
    for case in REAL {
        let sections = if case.platform.starts_with("nvidia") { DEVICES } else { CPU };
        let evidence = fs::read(root.join(case.evidence)).unwrap();
        let mut story = Story::new(case.evidence, &evidence, case.platform, case.explained)
            .file("policy.toml", format!("{HEAD}{sections}"))
            .with(&["--policy", "policy.toml"]);
        for given in case.given {
            story = story.with(&["--endorsements", root.join(given).to_str().unwrap()]);
        }
        if let Some(log) = case.event_log {
            story = story.with(&["--event-log", root.join(log).to_str().unwrap()]);
        }
        (story.at, story.exit) = (case.at.parse().unwrap(), case.exit);
        story.check();
    }
}

/// What is printed is what is on the screen, on white, with nothing cut or outside; the octets stay in the file.
#[test]
fn pages_are_printed_whole_and_legible() {
    let browser = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../browser");
    assert!(browser.exists(), "{} is missing: `make tools` fetches it", browser.display());
    for story in [tdx(true), composite()] {
        let name = &story.name;
        let output = story.verify_at(story.at, &["--html", "page.html"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
        let file = |name: &str| story.folder.join(name).display().to_string();
        let pdf = file("page.pdf");
        // A4 and Letter between their margins, whatever the reader's screen is like.
        let looks = [format!("703,dark,,{pdf}"), "725,light,,/dev/null".to_owned()];
        let output = Command::new("node")
            .arg("--experimental-websocket")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page.mjs"))
            .arg(&browser)
            .args([file("profile"), file("page.html")])
            .args(&looks)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let seen: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{name}: {error}: {}", said(&output)));
        assert_eq!(seen.len(), looks.len(), "{name}");
        for seen in &seen {
            for what in ["outside", "over", "faint", "painted"] {
                assert_eq!(seen[what], json!([]), "{name}: {what}");
            }
            assert_eq!((&seen["cut"], &seen["parted"]), (&json!(0), &json!(0)), "{name}: {seen}");
            assert_eq!(seen["paper"], "rgb(255, 255, 255)", "{name}");
            // The head of a table is on each of its sheets.
            assert_eq!(seen["head"], "table-header-group", "{name}");
            assert_eq!((&seen["octets"], &seen["told"]), (&json!(0), &json!(1)), "{name}: {seen}");
            assert!(seen["rows"].as_u64() > Some(40), "{name}: {seen}");
        }
        let pdf = story.read("page.pdf");
        assert!(pdf.starts_with(b"%PDF-"), "{name}");
        let pages = pdf.windows(11).filter(|octets| octets == b"/Type /Page").count();
        let trees = pdf.windows(12).filter(|octets| octets == b"/Type /Pages").count();
        assert!((3..=60).contains(&(pages - trees)), "{name}: {pages} less {trees} sheets");
    }
}

/// The same evidence in octets, hex and base64, from a file and from standard input.
#[test]
fn evidence_may_be_text_and_may_come_over_a_pipe() {
    let story = tdx(false);
    let octets = story.read("evidence");
    let forms = [
        octets.clone(),
        hex::encode(&octets).into_bytes(),
        sim::nvidia::base64(&octets).into_bytes(),
    ];
    for form in forms {
        let at = story.at.to_string();
        let own: Vec<&str> = story.arguments.iter().skip(1).map(String::as_str).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
        command.current_dir(&story.folder).args([
            "verify",
            "-",
            "--at",
            &at,
            "--offline",
            "--json",
        ]);
        command.args(own).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&form).unwrap();
        let output = child.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verdict"], "accepted", "{report:#}");
        assert_eq!(report["inputs"][0]["name"], "-");
        assert_eq!(report["inputs"][0]["sha256"], Sha256::of(&form).to_string());
    }
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test vectors are is the tester's to say"
    )]
    let root = std::env::var("VERITEE_VECTORS").map_or(beside, PathBuf::from);
    if root.join("cases.toml").is_file() {
        // The command runs in another folder.
        return root.canonicalize().ok();
    }
    eprintln!("skipped: no vectors at {}", root.display());
    None
}
