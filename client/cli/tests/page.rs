//! The page of `veritee verify --html`, and the forecast: what they say, that it is so, and that a
//! browser obeys nothing that came from elsewhere.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../../../verifier/tests/outcome/mod.rs"]
mod outcome;
#[path = "../../../verifier/tests/world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use attestation::snp::Product;
use attestation::{Sha256, UnixTime};
use serde_json::Value;

use crate::world::{CHALLENGE, NOW, World};

/// A world's files, as somebody who verifies has them.
struct Files {
    folder: PathBuf,
    evidence: String,
}

impl Files {
    fn of(world: &World) -> Self {
        Self::named(world, "evidence.json")
    }

    fn named(world: &World, evidence: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("veritee-page-{}-{}", std::process::id(), MADE.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ark.pem"), world.pki.sign_as_ark(&world.ark).unwrap()).unwrap();
        fs::write(folder.join("policy.toml"), world.policy_text()).unwrap();
        fs::write(folder.join(evidence), world.evidence().inspect_untrusted().as_wire()).unwrap();
        let given = world.endorsements().inspect_untrusted().to_pem();
        fs::write(folder.join("endorsements.pem"), given).unwrap();
        Self { folder, evidence: evidence.to_owned() }
    }

    fn veritee(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).output().unwrap()
    }

    fn verify_at(&self, at: UnixTime, more: &[&str]) -> Output {
        let (challenge, at) = (CHALLENGE.to_string(), at.to_string());
        let arguments = [
            "verify",
            &self.evidence,
            "--policy",
            "policy.toml",
            "--endorsements",
            "endorsements.pem",
            "--challenge",
            &challenge,
            "--at",
            &at,
        ];
        self.veritee(&[&arguments[..], more].concat())
    }

    /// The page about the world at [`NOW`].
    fn page(&self) -> String {
        let output = self.verify_at(NOW, &["--html", "page.html"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| [0, 10, 20].contains(&code)), "{said}");
        fs::read_to_string(self.folder.join("page.html")).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let rejects = findings.filter(|finding| finding["severity"] == "reject");
    rejects.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// Whether a row of the checks is about this rule.
fn is_about(row: &str, code: &str) -> bool {
    row.contains(&format!("<code class=\"code\">{code}</code>"))
}

/// The least that a browser does to text.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

/// Names and attributes of every element; anything that could be markup counts.
fn elements(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("every < of the page begins a tag");
        let name_len = tag.find(char::is_whitespace).unwrap_or(tag.len());
        let (name, mut attributes) = tag.split_at(name_len);
        let mut names = Vec::new();
        while let Some((attribute, value)) = attributes.split_once("=\"") {
            names.push(attribute.trim().to_owned());
            attributes = value.split_once('"').expect("every value is quoted").1;
        }
        assert!(attributes.trim().is_empty() || name == "!doctype", "{tag}");
        found.push((name.to_owned(), names));
        rest = after;
        // What is in it is CSS, of ours.
        if name == "style" {
            rest = rest.split_once("</style>").expect("it ends").1;
        }
    }
    found
}

#[test]
fn a_page_says_everything_that_the_verdict_rests_on() {
    let world = World::new(Product::Genoa);
    let files = Files::of(&world);
    let page = unescaped(&files.page());
    let evidence = fs::read(files.folder.join("evidence.json")).unwrap();
    let report = json(&files.verify_at(NOW, &["--json"]));
    let said = |value: &str| assert!(page.contains(value), "the page does not say {value}");
    said("ACCEPTED");
    said("Untrusted anchors");
    said(&Sha256::of(&evidence).to_string());
    said(&Sha256::of(world.policy_text().as_bytes()).to_string());
    said(&world.policy_text());
    said(report["not_after"].as_str().unwrap());
    assert_eq!(report["policy"]["version"], 3);
    said("<dt>policy version</dt><dd>3</dd>");
    said(&CHALLENGE.to_string());
    for code in ["signature-invalid", "measurement-not-allowed", "crl-expired", "statement-expired"]
    {
        said(&format!(">{code}<"));
    }
    // A check that found nothing: what it wants and what there is.
    let row = page.split("<tr").find(|row| is_about(row, "measurement-not-allowed")).unwrap();
    assert_eq!(row.matches(&"42".repeat(48)).count(), 2, "{row}");
    assert!(row.contains("no objection"), "{row}");
    for (name, value) in report["claims"].as_object().unwrap() {
        if let Some(text) = value.as_str() {
            said(name);
            said(text);
        }
    }
    said("What is not proved");
    said("roots of its own");
    said("attacks with physical access");
}

#[test]
fn a_refusal_shows_what_was_expected_and_what_was_there() {
    let mut world = World::new(Product::Genoa);
    world.report.measurement = [0x17; 48];
    let page = unescaped(&Files::of(&world).page());
    assert!(page.contains("REJECTED"));
    let row = page.split("<tr").find(|row| is_about(row, "measurement-not-allowed")).unwrap();
    for part in ["refused (cpu0)", &"42".repeat(48), &"17".repeat(48)] {
        assert!(row.contains(part), "{part} in {row}");
    }
    assert!(page.contains("Anything: the evidence was not accepted"));
}

#[test]
fn what_is_not_authentic_is_not_shown_as_checked_or_claimed() {
    let mut world = World::new(Product::Genoa);
    world.form = sim::SignatureForm::Flipped;
    let page = Files::of(&world).page();
    assert!(page.contains("signature-invalid"));
    assert!(!page.contains("no objection"), "a check that was not made is shown as passed");
    assert!(page.contains("what is not authentic claims nothing"));
}

/// Somebody who has nothing but the page and the files comes to the same verdict.
#[test]
fn the_command_on_the_page_says_the_same() {
    let mut refused = World::new(Product::Genoa);
    refused.report.vmpl = 2;
    for world in [World::new(Product::Genoa), refused] {
        let files = Files::named(&world, "it's the evidence.json");
        let page = unescaped(&files.page());
        let command = page.split("<pre>").find(|part| part.starts_with("veritee verify")).unwrap();
        let command = command.split("</pre>").next().unwrap();
        let veritee = env!("CARGO_BIN_EXE_veritee");
        let command = command.replacen("veritee", &format!("'{veritee}'"), 1);
        let output = Command::new("sh")
            .args(["-c", &format!("{command} --json")])
            .current_dir(&files.folder)
            .output()
            .unwrap();
        assert_eq!(json(&output), json(&files.verify_at(NOW, &["--json"])));
        let exits = format!("It exits with {}.", output.status.code().unwrap());
        assert!(page.contains(&exits), "{exits}");
    }
}

/// The evidence in the page is the evidence.
#[test]
fn the_page_carries_what_it_is_about() {
    use base64::Engine as _;
    let world = World::new(Product::Genoa);
    let files = Files::of(&world);
    let page = unescaped(&files.page());
    let (_, carried) = page.split_once("base64 -d evidence.b64").unwrap();
    let text = carried.split("<pre>").nth(1).unwrap().split("</pre>").next().unwrap();
    let text: String = text.split_whitespace().collect();
    let carried = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    assert_eq!(carried, fs::read(files.folder.join("evidence.json")).unwrap());
    assert!(page.contains(&fs::read_to_string(files.folder.join("endorsements.pem")).unwrap()));
}

#[test]
fn nothing_that_came_from_elsewhere_becomes_markup() {
    const HOSTILE: &str =
        "</pre></style><script>alert(1)</script><img src=x onerror='x'>\"'&\u{202e}";
    let mut world = World::new(Product::Genoa);
    world.policy.insert("name".to_owned(), "</pre><script>alert(2)</script>".into());
    let files = Files::named(&world, "e\"><script>x.json");
    let policy = format!("{}\n# {HOSTILE}\n", world.policy_text());
    fs::write(files.folder.join("policy.toml"), policy).unwrap();
    let page = files.page();
    let allowed: BTreeSet<&str> = [
        "!doctype", "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3",
        "p", "section", "strong", "span", "b", "br", "code", "pre", "dl", "dt", "dd", "ul", "li",
        "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "footer",
    ]
    .into();
    let attributes: BTreeSet<&str> =
        ["lang", "charset", "http-equiv", "content", "name", "class", "data-label"].into();
    for (name, found) in elements(&page) {
        assert!(allowed.contains(name.trim_start_matches('/')), "<{name}>");
        for attribute in found {
            assert!(attributes.contains(attribute.as_str()), "{name} {attribute}");
        }
    }
    assert!(unescaped(&page).contains("<script>alert(1)</script>"), "nothing hostile is in it");
    assert!(!page.contains('\u{202e}'), "a character that turns text around is in it");
    assert!(page.contains("[U+202E]"));
    // The policy that browsers are given allows the one style, by its digest.
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = Sha256::of(style.as_bytes());
    let digest =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_bytes());
    assert!(page.contains(&format!("default-src 'none'; style-src 'sha256-{digest}'")));
    for outside in ["url(", "@import", "expression(", "://"] {
        assert!(!style.contains(outside), "{outside}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_told_of() {
    let files = Files::of(&World::new(Product::Genoa));
    let output = files.verify_at(NOW, &["--html", "no/such/folder/page.html"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Each end of the forecast, to the second: before it the evidence is accepted, unless something
/// else has ended, and after it refused for the reason that is forecast.
#[test]
fn the_forecast_comes_true() {
    let mut world = World::new(Product::Genoa);
    let later = |days: u64| NOW.saturating_add(Duration::from_hours(24 * days));
    world.statement.not_after = later(3);
    if let Some(crl) = &mut world.crl {
        crl.next_update = Some(later(7));
    }
    world.vek.not_after = later(14);
    let files = Files::of(&world);
    let report = json(&files.verify_at(NOW, &["--json"]));
    assert_eq!(report["verdict"], "accepted", "{report:#}");
    let horizon = report["horizon"].as_array().unwrap();
    let ends: Vec<(UnixTime, &str)> = horizon
        .iter()
        .map(|end| (end["ends"].as_str().unwrap().parse().unwrap(), end["what"].as_str().unwrap()))
        .collect();
    assert!(ends.is_sorted_by_key(|(ends, _)| *ends), "{ends:?}");
    let what: Vec<_> = ends.iter().map(|(_, what)| *what).collect();
    for expected in ["revocation list", "VCEK", "ASK", "ARK", "statement"] {
        assert!(what.contains(&expected), "{expected} in {what:?}");
    }
    let told = String::from_utf8(files.verify_at(NOW, &["--forecast"]).stdout).unwrap();
    let (_, told) = told.split_once("What ends, soonest first:").unwrap();

    let second = Duration::from_secs(1);
    let at = |time| json(&files.verify_at(time, &["--json"]));
    let (first, _) = ends[0];
    assert_eq!(at(first.saturating_sub(second))["verdict"], "accepted");
    for (what, code) in [
        ("revocation list", "crl-expired"),
        ("VCEK", "certificate-expired"),
        ("statement", "statement-expired"),
    ] {
        let (ends, _) = ends.iter().find(|(_, known)| *known == what).unwrap();
        let (before, after) =
            (codes(&at(ends.saturating_sub(second))), codes(&at(ends.saturating_add(second))));
        assert!(!before.contains(code), "{what}: {before:?}");
        assert!(after.contains(code), "{what}: {after:?}");
        let line =
            told.lines().skip_while(|line| !line.contains(&ends.to_string())).nth(1).unwrap();
        assert!(line.contains(code), "{what}: {told}");
    }
}

#[test]
fn any_instant_can_be_judged_for() {
    let files = Files::of(&World::new(Product::Genoa));
    for (at, verdict) in
        [(UnixTime::from_secs(0), "rejected"), (NOW, "accepted"), (UnixTime::END, "rejected")]
    {
        let report = json(&files.verify_at(at, &["--json", "--forecast"]));
        assert_eq!(
            (&report["verdict"], &report["appraised_at"]),
            (&verdict.into(), &at.to_string().into())
        );
    }
}

/// Where there is nothing authentic there is nothing to forecast.
#[test]
fn nothing_is_forecast_of_what_is_not_authentic() {
    let mut world = World::new(Product::Genoa);
    world.form = sim::SignatureForm::Flipped;
    let output = Files::of(&world).verify_at(NOW, &["--forecast"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("the evidence is not authentic"), "{told}");
}

/// A page that a browser shows, with what the browser makes of it.
#[test]
fn a_page_fits_a_desk_and_a_phone_by_day_and_by_night() {
    let files = Files::of(&World::new(Product::Genoa));
    files.page();
    let browser = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../browser");
    assert!(browser.exists(), "{} is missing: `make tools` fetches it", browser.display());
    let looks = ["1280,light", "1280,dark", "390,light", "390,dark"];
    let output = Command::new("node")
        .arg("--experimental-websocket")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page.mjs"))
        .arg(&browser)
        .arg(files.folder.join("profile"))
        .arg(files.folder.join("page.html"))
        .args(looks)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let seen: Vec<Value> = serde_json::from_slice(&output.stdout).expect(&said);
    assert_eq!(seen.len(), looks.len(), "{said}");
    for (look, seen) in looks.iter().zip(&seen) {
        let (width, scheme) = look.split_once(',').unwrap();
        assert_eq!(seen["width"].to_string(), width, "{look}");
        let scrolls = seen["scroll"].as_u64().unwrap();
        assert!(scrolls <= width.parse().unwrap(), "{look}: {scrolls} pixels wide");
        let paper = if scheme == "dark" { "rgb(15, 19, 24)" } else { "rgb(255, 255, 255)" };
        assert_eq!(seen["paper"], paper, "{look}");
        // On a phone a table is a list.
        let head = if width == "390" { "none" } else { "table-header-group" };
        assert_eq!(seen["head"], head, "{look}");
        // The page itself, and nothing else; and the browser has nothing to complain of.
        assert_eq!(seen["requests"].as_array().unwrap().len(), 1, "{look}: {seen}");
        assert_eq!(seen["logged"], serde_json::json!([]), "{look}");
        assert!(seen["text"].as_u64() > Some(5_000), "{look}: {seen}");
    }
}
