//! What the commands fetch, keep and write, against a mirror on this machine.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "endorsements/asking.rs"]
mod asking;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::binding::FreshnessProof;
use attestation::keys::XWING_PUBLIC_LEN;
use attestation::manifest::Weights;
use attestation::snp::Product;
use attestation::{
    Bundle, Challenge, CpuEvidence, Digest, Endorsements, Fresh, ModelManifest, NodeId, ReceiptKey,
    ReportData, SealingKey, Sha256, Statement, UnixTime,
};
use ring::signature::KeyPair as _;
use serde_json::Value;
use sim::tdx::{Collateral, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe};
use sim::{ChipId, CrlRecipe, EcKey, Pki, PkiOptions, ReportBuilder, Vek, validity_from};

const POLICY: &str = r#"
schema = 1
name = "fetching"
version = 1
purpose = "evaluation"
[freshness]
evidence = "cached"
binding = "if-present"
[config]
digests = "any"
[anchors]
sev-snp = ["ark.pem"]
[sev-snp]
products = ["genoa"]
measurements = "any"
revocation = "required"
"#;

/// A body, and a header with a chain.
type Answer = (Vec<u8>, Option<(&'static str, String)>);
type Answers = dyn Fn(&str) -> Option<Answer> + Send + Sync;

/// A mirror: yields its address, and what it was asked.
fn mirror(answer: Arc<Answers>, wait: Duration) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            thread::spawn(move || serve(stream.unwrap(), &*answer, &seen, wait));
        }
    });
    (url, asked)
}

fn serve(mut stream: TcpStream, answer: &Answers, asked: &Mutex<Vec<String>>, wait: Duration) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    asked.lock().unwrap().push(path.clone());
    thread::sleep(wait);
    let (status, (body, chain)) =
        answer(&path).map_or_else(|| (404, (Vec::new(), None)), |answer| (200, answer));
    let chain = chain.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    let len = body.len();
    let head =
        format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{chain}content-length: {len}\r\n\r\n");
    // Who asked may be gone.
    drop(stream.write_all(&[head.into_bytes(), body].concat()));
}

/// Hardware, as far as it signs.
type Signer = Arc<dyn Fn(&ReportData) -> CpuEvidence + Send + Sync>;

/// A folder with evidence, a policy, a mirror's configuration, and everything that a user's home has.
struct Place {
    folder: PathBuf,
    /// What the hardware signs.
    signer: Signer,
    /// Endorsements of which one has ended.
    stale: Endorsements,
    asked: Arc<Mutex<Vec<String>>>,
}

fn folder(name: &str) -> PathBuf {
    let name = format!("veritee-fetch-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn tdx_policy() -> String {
    let (before, _) = POLICY.split_once("[anchors]").unwrap();
    let any = ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|key| format!("{key} = \"any\"\n"));
    format!("{before}[anchors]\ntdx = [\"root.pem\"]\n[tdx]\n{}", any.concat())
}

fn now() -> UnixTime {
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the clock as well")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime::from_secs(now.as_secs())
}

fn ago(secs: u64) -> UnixTime {
    now().saturating_sub(Duration::from_secs(secs))
}

impl Place {
    fn new(name: &str, wait: Duration) -> Self {
        let folder = folder(name);
        let product = Product::Genoa;
        let validity = validity_from(now(), 20 * 24 * 60 * 60);
        let pki = Pki::shared(PkiOptions { product, validity }).unwrap();
        let chip = ChipId::of(product, 5);
        let report = ReportBuilder { chip_id: chip.0, ..ReportBuilder::new(product, 3) };
        let Vek { key, certificate } = pki.issue_vcek(report.reported_tcb, &chip).unwrap();
        let sign = |key: &EcKey| report.sign(key).unwrap();
        fs::write(folder.join("report.bin"), sign(&key)).unwrap();
        fs::write(folder.join("ark.pem"), pem(&[pki.ark()])).unwrap();
        fs::write(folder.join("policy.toml"), POLICY).unwrap();
        let (chain, crl) = (pem(&[pki.ask(), pki.ark()]), pki.crl_recipe(1).unwrap());
        let vlek_chain = pem(&[pki.asvk(), pki.ark()]);
        let ended = CrlRecipe { next_update: Some(ago(60)), this_update: ago(3600), ..crl.clone() };
        let mut stale = Endorsements::new();
        stale.add(chain.as_bytes()).unwrap();
        stale.add_certificate(&certificate).unwrap();
        stale.add_crl(&pki.sign_crl(&ended).unwrap()).unwrap();
        let crl = pki.sign_crl(&crl).unwrap();
        let signer = move |data: &ReportData| {
            let report = ReportBuilder { report_data: data.0, ..report.clone() };
            CpuEvidence::sev_snp(report.sign(&key).unwrap())
        };
        let answer = move |path: &str| match path {
            "/vcek/v1/Genoa/cert_chain" => Some((chain.clone().into_bytes(), None)),
            "/vlek/v1/Genoa/cert_chain" => Some((vlek_chain.clone().into_bytes(), None)),
            "/vcek/v1/Genoa/crl" | "/vlek/v1/Genoa/crl" => Some((crl.clone(), None)),
            "/v1/rim/NV_TEST_1" => {
                Some((b"{\"id\":\"NV_TEST_1\",\"rim\":\"PGEvPg==\"}".to_vec(), None))
            }
            path if path.starts_with("/vcek/v1/Genoa/") => Some((certificate.clone(), None)),
            _ => None,
        };
        let (url, asked) = mirror(Arc::new(answer), wait);
        let services = format!(
            "[amd]\nurls = [\"{url}\"]\n[nvidia]\nrim_urls = [\"{url}\"]\n[http]\nattempts = 1\n"
        );
        fs::write(folder.join("services.toml"), services).unwrap();
        Self { folder, signer: Arc::new(signer), stale, asked }
    }

    /// A TDX quote and Intel's documents, of the evaluation that the number says.
    fn intel(name: &str, evaluation: Arc<AtomicU32>) -> Self {
        let folder = folder(name);
        let pki = IntelPki::new(
            Arc::new(IntelKeys::generate().unwrap()),
            validity_from(now(), 20 * 24 * 60 * 60),
        );
        let (pki, platform) = (pki.unwrap(), PckPlatform::default());
        let rtmr = [[1; 48], [2; 48], [3; 48], [0; 48]];
        let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy([7; 48], rtmr));
        let quote = pki.quote(&recipe, &platform, &ReportData([9; 64])).unwrap();
        fs::write(folder.join("report.bin"), quote).unwrap();
        fs::write(folder.join("root.pem"), pem(&[pki.root()])).unwrap();
        fs::write(folder.join("policy.toml"), tdx_policy()).unwrap();
        let escape =
            |issuer: &[u8]| pem(&[issuer, pki.root()]).replace('\n', "%0A").replace(' ', "%20");
        let (authority, signer) = (escape(pki.platform_ca()), escape(pki.tcb_signer()));
        let root_crl = pki.root_crl_recipe(1).sign(&pki.keys().root).unwrap();
        let pck_crl = pki.pck_crl_recipe(1).sign(&pki.keys().platform_ca).unwrap();
        let of = (pki.clone(), recipe.clone(), platform.clone());
        let hardware = move |data: &ReportData| {
            let (pki, recipe, platform) = &of;
            CpuEvidence::tdx(pki.quote(recipe, platform, data).unwrap())
        };
        let answer = move |path: &str| {
            let mut collateral = Collateral::up_to_date(pki.validity(), &platform, &recipe);
            let number = evaluation.load(Ordering::SeqCst);
            collateral.tcb_info.evaluation = number;
            collateral.qe_identity.evaluation = number;
            let key = &pki.keys().tcb_signer;
            let with_chain = |name, document: Result<Vec<u8>, _>| {
                Some((document.unwrap(), Some((name, signer.clone()))))
            };
            match path {
                "/IntelSGXRootCA.der" => Some((root_crl.clone(), None)),
                "/sgx/certification/v4/pckcrl?ca=platform&encoding=der" => {
                    let chain = ("SGX-PCK-CRL-Issuer-Chain", authority.clone());
                    Some((pck_crl.clone(), Some(chain)))
                }
                "/tdx/certification/v4/tcb?fmspc=90c06f000000&update=standard" => {
                    with_chain("TCB-Info-Issuer-Chain", collateral.tcb_info.sign(key))
                }
                "/tdx/certification/v4/qe/identity?update=standard" => with_chain(
                    "SGX-Enclave-Identity-Issuer-Chain",
                    collateral.qe_identity.sign(key),
                ),
                _ => None,
            }
        };
        let (url, asked) = mirror(Arc::new(answer), Duration::ZERO);
        let services = format!(
            "[intel]\nurls = [\"{url}\"]\nroot_crl_urls = [\"{url}/IntelSGXRootCA.der\"]\n\
             [http]\nattempts = 1\n"
        );
        fs::write(folder.join("services.toml"), services).unwrap();
        Self { folder, signer: Arc::new(hardware), stale: Endorsements::new(), asked }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
        command.args(arguments).stdin(Stdio::null());
        for (name, folder) in [
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
        ] {
            command.env(name, self.folder.join(folder));
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn verify(&self, more: &[&str]) -> (i32, Value, String) {
        let (report, policy) = (self.path("report.bin"), self.path("policy.toml"));
        let arguments = ["verify", &report, "--policy", &policy, "--json"];
        let output = self.run(&[&arguments[..], more].concat());
        let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), value, said(&output))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn pem(certificates: &[&[u8]]) -> String {
    certificates.iter().fold(String::new(), |mut all, der| {
        let mut one = Endorsements::new();
        one.add_certificate(der).unwrap();
        all.push_str(&one.to_pem());
        all
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn verify_fetches_what_is_missing_once() {
    let place = Place::new("verify", Duration::ZERO);
    let services = place.path("services.toml");
    let (exit, verdict, said) = place.verify(&["--services", &services]);
    assert_eq!((exit, verdict["verdict"].as_str()), (0, Some("accepted")), "{verdict:#} {said}");
    let asked = place.asked();
    assert_eq!(asked.len(), 3, "certificate, chain and list, each once: {asked:?}");
    assert_eq!(said.matches("asking AMD's service").count(), 1, "{said}");
    // It is kept.
    assert_eq!(place.verify(&["--services", &services]).0, 0);
    assert_eq!(place.asked(), Vec::<String>::new());
    // What is given is not asked for.
    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    let bundle = place.path("chain.pem");
    let report = place.path("report.bin");
    let arguments = ["endorsements", "bundle", &report, "--output", &bundle];
    let output = place.run(&[&arguments[..], &["--services", &services]].concat());
    assert_eq!(code(&output), 0, "{}", self::said(&output));
    place.asked();
    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    assert_eq!(place.verify(&["--services", &services, "--endorsements", &bundle]).0, 0);
    assert_eq!(place.asked(), Vec::<String>::new());
    // And the bundle does without a network.
    assert_eq!(place.verify(&["--offline", "--endorsements", &bundle]).0, 0);
}

#[test]
fn without_a_network_or_a_service_the_verdict_is_unavailable() {
    let place = Place::new("unavailable", Duration::ZERO);
    let (exit, verdict, said) = place.verify(&["--offline"]);
    assert_eq!((exit, verdict["verdict"].as_str()), (20, Some("unavailable")));
    assert!(!said.contains("asking"), "{said}");
    // Roots of the policy's own: vendors have nothing to say of them, and are not asked.
    let (exit, _, said) = place.verify(&[]);
    assert_eq!((exit, said.contains("asking")), (20, false), "{said}");
    let nobody = "[amd]\nurls = [\"http://127.0.0.1:1\"]\n[http]\nattempts = 1\n";
    fs::write(place.folder.join("nobody.toml"), nobody).unwrap();
    let (exit, verdict, said) = place.verify(&["--services", &place.path("nobody.toml")]);
    assert_eq!((exit, verdict["verdict"].as_str()), (20, Some("unavailable")), "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
    assert_eq!(place.asked(), Vec::<String>::new());
}

/// A verdict that rests on what was fetched is remembered, so that nobody can go back behind it: not
/// even once the cache is gone.
#[test]
fn an_evaluation_that_a_verdict_rested_on_is_remembered() {
    let evaluation = Arc::new(AtomicU32::new(20));
    let place = Place::intel("tdx", Arc::clone(&evaluation));
    let services = place.path("services.toml");
    let verify = || place.verify(&["--services", &services]);
    let status = || {
        let output = place.run(&["endorsements", "status", "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        // No number of a root that a policy brings counts against Intel's.
        assert_eq!(value["evaluation_numbers"], serde_json::json!({}));
        value["untrusted_evaluation_numbers"].clone()
    };
    // What was only fetched is not remembered.
    let report = place.path("report.bin");
    let fetched = place.run(&["endorsements", "fetch", &report, "--services", &services]);
    assert_eq!((code(&fetched), status().as_object().unwrap().len()), (0, 0), "{}", said(&fetched));
    assert_eq!(place.asked().len(), 4);
    let (exit, verdict, text) = verify();
    assert_eq!(exit, 0, "{verdict:#} {text}");
    assert_eq!(status()["intel/tdx-tcb-info/90c06f000000/standard"], 20);
    assert_eq!(status()["intel/tdx-qe-identity/standard"], 20);
    assert_eq!(place.asked(), Vec::<String>::new(), "it was kept");

    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    evaluation.store(19, Ordering::SeqCst);
    let (exit, verdict, text) = verify();
    assert_eq!((exit, verdict["verdict"].as_str()), (20, Some("unavailable")), "{text}");
    assert!(text.contains("has the number 19, and 20 was seen before"), "{text}");
    evaluation.store(21, Ordering::SeqCst);
    assert_eq!(verify().0, 0);
    assert_eq!(status()["intel/tdx-qe-identity/standard"], 21);
}

/// What an item is fetched for are findings that there are.
#[test]
fn items_answer_codes_of_the_verifier() {
    let known: Vec<&str> = verifier::Code::ALL.iter().map(|code| code.as_str()).collect();
    for code in [
        "vek-missing",
        "intermediate-missing",
        "certificate-signature-invalid",
        "crl-missing",
        "crl-expired",
        "tcb-info-missing",
        "tcb-info-expired",
        "tcb-signer-missing",
        "qe-identity-missing",
        "qe-identity-expired",
        "ocsp-missing",
        "ocsp-expired",
    ] {
        assert!(known.contains(&code), "{code}");
        let update = endorsements::Update::Standard;
        let items = [
            endorsements::Item::vcek(
                Product::Genoa,
                &[1; 64],
                ReportBuilder::new(Product::Genoa, 3).reported_tcb,
            ),
            endorsements::Item::AmdChain(Product::Genoa, endorsements::AmdKey::Vcek),
            endorsements::Item::AmdCrl(Product::Genoa, endorsements::AmdKey::Vcek),
            endorsements::Item::IntelTcbInfo { fmspc: [0; 6], update },
            endorsements::Item::IntelQeIdentity { update },
            endorsements::Item::NvidiaOcsp { certificate: Vec::new(), issuer: Vec::new() },
        ];
        assert!(items.iter().any(|item| item.answers(code)), "{code}");
    }
}

#[test]
fn processes_that_start_together_ask_once() {
    let place = Place::new("together", Duration::from_millis(150));
    let services = place.path("services.toml");
    let arguments = ["endorsements", "fetch", "--product", "genoa", "--services", &services];
    let start = |_| {
        let mut command = place.command(&arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
    }
    let mut asked = place.asked();
    asked.sort();
    let expected = [
        "/vcek/v1/Genoa/cert_chain",
        "/vcek/v1/Genoa/crl",
        "/vlek/v1/Genoa/cert_chain",
        "/vlek/v1/Genoa/crl",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn status_says_what_is_kept_and_until_when() {
    let place = Place::new("status", Duration::ZERO);
    let services = place.path("services.toml");
    let report = place.path("report.bin");
    let with = |arguments: &[&str]| {
        place.run(&[&["endorsements"], arguments, &["--services", &services, "--json"]].concat())
    };
    let fetched = with(&["fetch", &report]);
    let value: Value = serde_json::from_slice(&fetched.stdout).unwrap();
    let items = value["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "{value:#}");
    assert!(items.iter().all(|item| item["outcome"] == "fetched"), "{value:#}");
    let again: Value = serde_json::from_slice(&with(&["fetch", &report]).stdout).unwrap();
    assert!(again["items"].as_array().unwrap().iter().all(|item| item["outcome"] == "kept"));
    place.asked();
    with(&["fetch", &report, "--fresh"]);
    assert_eq!(place.asked().len(), 3);

    let status: Value = serde_json::from_slice(&with(&["status"]).stdout).unwrap();
    let kept = status["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 3, "{status:#}");
    for entry in kept {
        let time = |key: &str| entry[key].as_str().unwrap().parse::<UnixTime>().unwrap();
        assert_eq!(entry["health"], "fresh");
        assert!(time("fetched_at") < time("refresh_at") && time("refresh_at") < time("ends"));
    }
    assert_eq!(place.asked(), Vec::<String>::new());
    let plain = place.run(&["endorsements", "status"]);
    let text = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(text.contains("fresh    amd/Genoa/vcek-crl") && text.contains("ends 20"), "{text}");
}

#[test]
fn manifests_are_written_to_files() {
    let place = Place::new("rim", Duration::ZERO);
    let services = place.path("services.toml");
    let folder = place.folder.display().to_string();
    let fetch = |id: &str| {
        place.run(&[
            "endorsements",
            "fetch",
            "--rim",
            id,
            "--output",
            &folder,
            "--services",
            &services,
        ])
    };
    assert_eq!(code(&fetch("NV_TEST_1")), 0);
    assert_eq!(fs::read_to_string(place.folder.join("NV_TEST_1.xml")).unwrap(), "<a/>");
    assert_eq!(code(&fetch("NV_TEST_2")), 20);
    assert_eq!(code(&fetch("../x")), 2);
}

#[test]
fn what_cannot_be_meant_is_usage() {
    let place = Place::new("usage", Duration::ZERO);
    fs::write(place.folder.join("bad.toml"), "[amd]\nurl = \"https://x\"\n").unwrap();
    let (bad, report) = (place.path("bad.toml"), place.path("report.bin"));
    for arguments in [
        &["fetch"][..],
        &["fetch", "--fmspc", "12"],
        &["fetch", "--product", "rome"],
        &["fetch", "--rim", "X"],
        &["fetch", &report, "--services", &bad],
        &["status", "--services", "/does/not/exist"],
        &["bundle", &report],
    ] {
        let output = place.run(&[&["endorsements"], arguments].concat());
        assert_eq!(code(&output), 2, "{arguments:?}: {}", said(&output));
    }
    let (exit, _, said) = place.verify(&["--services", &bad]);
    assert_eq!(exit, 2, "{said}");
    // Nothing is kept, so there is nothing to bundle.
    let out = place.path("out.pem");
    let output = place.run(&["endorsements", "bundle", "--output", &out]);
    assert_eq!((code(&output), place.folder.join("out.pem").exists()), (20, false));
    let mut garbage = place.command(&["endorsements", "fetch", "-"]);
    let mut child = garbage.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"garbage").unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(30), "{text}");
}
