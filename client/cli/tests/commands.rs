//! The contract of the commands: what they say, and above all what they exit with.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

#[path = "commands/mixed_up.rs"]
mod mixed_up;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const POLICY: &str = r#"
schema = 1
name = "looking"
version = 1
purpose = "evaluation"
[freshness]
evidence = "cached"
binding = "if-present"
[config]
digests = "any"
[sev-snp]
measurements = "any"
revocation = "if-present"
"#;

/// A folder of its own for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("veritee-cli-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn veritee(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn exit(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn vectors() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test vectors are is the tester's to say"
    )]
    let folder = std::env::var("VERITEE_VECTORS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("{} is not there: real evidence is not tested", folder.display());
    None
}

#[test]
fn what_is_asked_wrongly_exits_with_2_and_says_how_to_ask() {
    let folder = Folder::new("usage");
    let (policy, evidence) = (folder.file("p.toml", POLICY), folder.file("e", "x"));
    let key = folder.file("key", "vk_0_0\n");
    for arguments in [
        &["verify"][..],
        &["verify", &evidence],
        &["verify", &evidence, "--policy", "/does/not/exist"],
        &["verify", "/does/not/exist", "--policy", &policy],
        &["verify", &evidence, "--policy", &policy, "--at", "yesterday"],
        &["verify", &evidence, "--policy", &policy, "--challenge", "12"],
        &["verify", &evidence, "--policy", &policy, "--report-data", "12"],
        &["verify", &evidence, "--policy", &policy, "--endorsements", "/does/not/exist"],
        &["verify", "http://127.0.0.1:1", "--policy", &policy, "--offline"],
        &["verify", "http://10.0.0.1", "--policy", &policy, "--key-file", &key],
        &["verify", "https://127.0.0.1:1", "--policy", &policy, "--key-file", "/dev/null"],
        &["verify", "https://127.0.0.1:1", "--policy", &policy, "--router-ca", "/does/not/exist"],
        &["explain", "http://router.example", "--key-file", &key],
        &["explain", "/does/not/exist"],
        &["policy", "lint", "/does/not/exist"],
        &["chat", "--policy", &policy, "--router", "http://router.example:80", "hello"],
        &["chat", "--policy", &policy, "--router", "ftp://127.0.0.1", "hello"],
        &["chat", "--policy", &policy, "--router-ca", "/does/not/exist", "hello"],
        &["chat", "--policy", &policy, "--router-ca", &policy, "hello"],
        &["chat", "--policy", &policy, "--endorsements", "/does/not/exist", "hello"],
        &["chat", "--policy", &policy, "--key-file", "/does/not/exist", "hello"],
        &["chat", "--policy", &policy, "--key-file", "/dev/null", "hello"],
        &["proxy", "--policy", &policy, "--listen", "0.0.0.0:0"],
        &["nonsense"],
    ] {
        let output = veritee(arguments);
        assert_eq!(exit(&output), 2, "{arguments:?}: {}", said(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_key_does_not_leave_this_machine_without_tls() {
    let folder = Folder::new("key");
    let (policy, key) = (folder.file("p.toml", POLICY), folder.file("key", "vk_0_0\n"));
    // TEST-NET-1 (RFC 5737): were anything sent, it would take long to fail.
    let verify = ["verify", "http://192.0.2.1", "--policy", &policy, "--key-file", &key];
    let output = veritee(&verify);
    assert_eq!((exit(&output), said(&output).contains("key-in-the-clear")), (2, true));
    let chat = ["chat", "--router", "http://192.0.2.1", "--policy", &policy, "--key-file", &key];
    let output = veritee(&[&chat[..], &["hello"]].concat());
    assert_eq!((exit(&output), said(&output).contains("https://")), (2, true));
}

#[test]
fn chat_and_proxy_need_a_policy_and_say_how_to_write_one() {
    for arguments in [&["chat", "hello"][..], &["proxy"]] {
        let output = veritee(arguments);
        assert_eq!(exit(&output), 2, "{arguments:?}");
        for word in ["policy", "policies/snp-production.toml", "docs/policy.md", "--policy"] {
            assert!(said(&output).contains(word), "{arguments:?} does not say {word}");
        }
    }
}

#[test]
fn a_policy_with_its_own_anchors_is_for_loopback_alone() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("anchors");
    // Any root will do: nobody gets far enough to use it.
    let root = fs::read(vectors.join("snp/builtin-ark-ask/genoa_ark.pem")).unwrap();
    folder.file("ark.pem", root);
    let anchored = POLICY.replace("[sev-snp]", "[anchors]\nsev-snp = [\"ark.pem\"]\n[sev-snp]");
    let policy = folder.file("p.toml", anchored);
    for (command, router) in [
        ("chat", "http://10.0.0.1:8080"),
        ("proxy", "http://10.0.0.1:8080"),
        ("chat", "https://10.0.0.1"),
        ("proxy", "https://localhost"),
    ] {
        let mut arguments = vec![command, "--policy", &policy, "--router", router];
        if command == "chat" {
            arguments.push("hello");
        }
        let output = veritee(&arguments);
        assert_eq!(
            (exit(&output), said(&output).contains("untrusted-anchors")),
            (10, true),
            "{command}: {}",
            said(&output)
        );
    }
}

#[test]
fn who_cannot_be_reached_is_unavailable() {
    let folder = Folder::new("unreachable");
    let policy = folder.file("p.toml", POLICY);
    let mut chat =
        command(&["chat", "--policy", &policy, "--router", "http://127.0.0.1:1", "hello"]);
    let output = chat.env("XDG_STATE_HOME", &folder.0).output().unwrap();
    assert_eq!(
        (exit(&output), said(&output).contains("unreachable")),
        (20, true),
        "{}",
        said(&output)
    );

    let output = veritee(&["verify", "http://127.0.0.1:1", "--policy", &policy, "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(exit(&output), 20);
    assert_eq!(value.get("verdict").unwrap(), "unavailable");
    assert_eq!(value.pointer("/findings/0/code").unwrap(), "unreachable");

    let output = veritee(&["verify", "https://127.0.0.1:1", "--policy", &policy]);
    assert_eq!((exit(&output), said(&output).contains("unreachable")), (20, true));
    let output = veritee(&["explain", "http://127.0.0.1:1"]);
    assert_eq!((exit(&output), said(&output).contains("unreachable")), (20, true));
}

#[test]
fn an_older_policy_is_refused_by_chat_and_not_by_verify() {
    let folder = Folder::new("rollback");
    let policy = folder.file("p.toml", POLICY);
    let state = folder.0.join("veritee");
    fs::create_dir(&state).unwrap();
    let memory = state.join("versions.json");
    fs::write(&memory, r#"{"schema":1,"policies":{"looking":2},"crls":{}}"#).unwrap();
    let chat = || {
        let arguments = ["chat", "--policy", &policy, "--router", "http://127.0.0.1:1", "hello"];
        command(&arguments).env("XDG_STATE_HOME", &folder.0).output().unwrap()
    };
    let output = chat();
    assert_eq!((exit(&output), said(&output).contains("policy-rolled-back")), (10, true));

    fs::write(&memory, "{").unwrap();
    let output = chat();
    assert_eq!((exit(&output), said(&output).contains("memory-unusable")), (20, true));
    assert!(said(&output).contains("repair or remove"), "{}", said(&output));

    let verify = ["verify", "-", "--policy", &policy];
    let output = command(&verify).env("XDG_STATE_HOME", &folder.0).output().unwrap();
    assert_eq!(exit(&output), 30, "verify reads no memory: {}", said(&output));
}

#[test]
fn garbage_is_malformed_in_both_forms() {
    let folder = Folder::new("garbage");
    let policy = folder.file("p.toml", POLICY);
    for (name, garbage) in
        [("empty", &b""[..]), ("text", b"hello"), ("zeros", &[0; 99]), ("json", b"{}")]
    {
        let evidence = folder.file(name, garbage);
        let output = veritee(&["verify", &evidence, "--policy", &policy, "--json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (exit(&output), value.get("verdict").unwrap().as_str()),
            (30, Some("malformed")),
            "{name}"
        );
        assert_eq!(exit(&veritee(&["verify", &evidence, "--policy", &policy])), 30, "{name}");
        assert_eq!(exit(&veritee(&["explain", &evidence])), 30, "{name}");
    }
    let manifest = veritee(&["explain", &folder.file("rim.xml", "<SoftwareIdentity/>")]);
    assert_eq!((exit(&manifest), said(&manifest).contains("import-rim")), (30, true));
    let evidence = folder.file("e", [0; 99]);
    let endorsement = folder.file("endorsement", "hello");
    let output =
        veritee(&["verify", &evidence, "--policy", &policy, "--endorsements", &endorsement]);
    assert_eq!((exit(&output), said(&output).contains("endorsements-malformed")), (30, true));
    let broken = folder.file("broken.toml", "schema = ");
    assert_eq!(exit(&veritee(&["verify", &evidence, "--policy", &broken])), 30);
}

#[test]
fn lint_tells_good_from_dangerous_from_broken() {
    let folder = Folder::new("lint");
    let empty = POLICY.replace("measurements = \"any\"", "measurements = []");
    for (name, text, expected, word) in [
        ("good", POLICY.to_owned(), 0, "good"),
        ("syntax", "schema = ".to_owned(), 30, "error"),
        ("unknown", POLICY.replace("[sev-snp]", "[sev-snp]\nsurprise = 1"), 30, "surprise"),
        ("nothing accepted", empty, 10, "measurements"),
    ] {
        let file = folder.file("p.toml", text);
        let output = veritee(&["policy", "lint", &file]);
        let all = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
        assert_eq!((exit(&output), all.contains(word)), (expected, true), "{name}: {all}");
    }
    let file = folder.file("p.toml", POLICY);
    let output = veritee(&["policy", "show", &file]);
    assert_eq!(exit(&output), 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("looking"));
}

#[test]
fn real_evidence_gets_its_verdict_and_the_exact_object() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("real");
    let policy = folder.file("p.toml", POLICY);
    let path = |name: &str| vectors.join(name).display().to_string();
    let (report, chain) = (path("snp/genoa-ms/report.bin"), path("snp/genoa-ms"));
    let foreign = path("snp/turin-ms");
    for (chain, at, expected, verdict) in [
        (&chain, "2026-11-23T00:00:00Z", 0, "accepted"),
        (&chain, "2001-01-01T00:00:00Z", 10, "rejected"),
        (&foreign, "2026-11-23T00:00:00Z", 10, "rejected"),
    ] {
        let arguments = [
            "verify",
            &report,
            "--policy",
            &policy,
            "--endorsements",
            chain,
            "--at",
            at,
            "--offline",
        ];
        let output = veritee(&[&arguments[..], &["--json"]].concat());
        assert_eq!(exit(&output), expected, "{at}: {}", String::from_utf8_lossy(&output.stdout));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value.get("verdict").unwrap(), verdict);
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "verdict",
                "platform",
                "findings",
                "claims",
                "appraised_at",
                "not_after",
                "policy",
                "anchors",
                "horizon",
                "inputs"
            ]
        );
        assert_eq!(value.get("appraised_at").unwrap(), at);
        let human = veritee(&arguments);
        let text = String::from_utf8_lossy(&human.stdout).into_owned();
        assert_eq!(
            (exit(&human), text.contains(&verdict.to_uppercase())),
            (expected, true),
            "{text}"
        );
    }
    // The same report without its chain, from standard input, as hex.
    let hex = hex::encode(fs::read(&report).unwrap());
    let at = "2026-11-23T00:00:00Z";
    let arguments = ["verify", "-", "--policy", &policy, "--at", at, "--offline"];
    let mut child =
        command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(hex.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(exit(&output), 20, "{}", String::from_utf8_lossy(&output.stdout));

    let explained = veritee(&["explain", &report]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert_eq!(exit(&explained), 0);
    assert!(text.contains("Nothing here is verified") && text.contains("measurement"), "{text}");
}

#[test]
fn report_data_binds_raw_evidence() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("bound");
    let policy = folder.file("p.toml", POLICY);
    let path = |name: &str| vectors.join(name).display().to_string();
    let (report, chain) = (path("snp/genoa-ms/report.bin"), path("snp/genoa-ms"));
    let bytes = fs::read(&report).unwrap();
    // REPORT_DATA is at 0x50 (SNP ABI §7.3).
    let right = hex::encode(bytes.get(0x50..0x90).unwrap());
    let wrong = hex::encode(bytes.get(0x51..0x91).unwrap());
    assert_ne!(right, wrong);
    for (report_data, expected) in [(right.as_str(), 0), (&wrong, 10)] {
        let output = veritee(&[
            "verify",
            &report,
            "--policy",
            &policy,
            "--endorsements",
            &chain,
            "--at",
            "2026-11-23T00:00:00Z",
            "--report-data",
            report_data,
        ]);
        assert_eq!(exit(&output), expected, "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn other_platforms_are_told_and_rejected() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("platforms");
    let policy = folder.file("p.toml", POLICY);
    let path = |name: &str| vectors.join(name).display().to_string();
    let quote = path("tdx/phala-v4-td10/quote.bin");
    let collateral = path("tdx/phala-v4-td10/collateral.json");
    let output =
        veritee(&["verify", &quote, "--policy", &policy, "--endorsements", &collateral, "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((exit(&output), value.get("platform").unwrap().as_str()), (10, Some("tdx")));
    assert_eq!(value.pointer("/findings/0/code").unwrap(), "platform-not-allowed");
    assert_eq!(exit(&veritee(&["explain", &quote])), 0);
}

#[test]
fn intels_collateral_counts_where_it_is_named() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("collateral");
    let tdx = "[tdx]\nmr_td = \"any\"\nrtmr0 = \"any\"\nrtmr1 = \"any\"\nrtmr2 = \"any\"\n\
               rtmr3 = \"any\"\nmr_config_id = \"any\"\nmr_owner = \"any\"\n\
               mr_owner_config = \"any\"\nmin_tcb_evaluation = 1\n";
    let policy = folder.file("p.toml", POLICY.replace("[sev-snp]", &format!("{tdx}[sev-snp]")));
    let path = |name: &str| vectors.join(name).display().to_string();
    let quote = path("tdx/phala-v4-td10/quote.bin");
    let collateral = path("tdx/phala-v4-td10/collateral.json");
    let code = |given: &str| {
        let at = "2025-07-04T10:24:15Z";
        let rest = ["--endorsements", given, "--at", at, "--offline", "--json"];
        let output = veritee(&[&["verify", &quote, "--policy", &policy][..], &rest].concat());
        (exit(&output), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (accepted, said) = code(&collateral);
    assert_eq!(accepted, 0, "{said}");
    // A manifest is none of its business; what claims to be Intel's must be.
    let manifest = folder.file("rim.xml", "<SoftwareIdentity/>");
    let (unavailable, said) = code(&manifest);
    assert!(unavailable == 20 && said.contains("tcb-info-missing"), "{unavailable}: {said}");
    let broken = folder.file("broken.json", "{\"tcb_info\": 1}");
    assert_eq!(code(&broken).0, 30);
}

#[test]
fn an_event_log_is_judged_with_its_quote_and_listed() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("event-log");
    let any = [
        "mr_td",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "service_td",
    ]
    .map(|key| format!("{key} = \"any\"\n"))
    .concat();
    let text =
        format!("{POLICY}[tdx]\nmin_tcb_evaluation = 17\nrevocation = \"if-present\"\n{any}");
    let policy = folder.file("p.toml", &text);
    let path = |name: &str| vectors.join(name).display().to_string();
    let quote = path("tdx/google-ccel-cos113/quote.bin");
    let log = path("tdx/google-ccel-cos113/ccel_data.bin");
    let other = path("eventlog/trustee-ccel/CCEL_data_grub");
    let collateral = path("tdx/assembled/automata-oct25-00806F05.collateral.json");
    let verify = |log: &str| {
        veritee(&[
            "verify",
            &quote,
            "--event-log",
            log,
            "--policy",
            &policy,
            "--endorsements",
            &collateral,
            "--at",
            "2025-11-01T12:26:40Z",
            "--offline",
            "--json",
        ])
    };
    assert_eq!(exit(&verify(&log)), 0);
    let output = verify(&other);
    assert_eq!(exit(&output), 10);
    assert!(String::from_utf8_lossy(&output.stdout).contains("event-log-mismatch"));
    assert_eq!(exit(&verify(&quote)), 30, "a quote is no log");
    assert_eq!(exit(&verify("/nowhere")), 2);
    let output = veritee(&["explain", &quote, "--event-log", &log]);
    let listed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(exit(&output), 0);
    assert!(
        listed
            .contains("measured                 /syslinux/vmlinuz.A init=/usr/lib/systemd/systemd"),
        "{listed}"
    );
    assert_eq!(exit(&veritee(&["explain", &quote, "--event-log", &quote])), 30);
}

#[test]
fn azures_evidence_is_judged_and_explained_in_both_forms() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new("azure");
    let section = "products = [\"milan\"]\nplatform.alias_check = \"allowed\"\n[azure]\n";
    let path = |name: &str| vectors.join("azure/snp-trustee").join(name).display().to_string();
    let chip = path("vcek.pem");
    for (name, section, expected) in [
        ("evidence-v1.json", section.to_owned(), 0),
        ("hcl-report.bin", section.to_owned(), 10),
        ("hcl-report.bin", format!("{section}tpm_quote = \"if-present\"\n"), 0),
    ] {
        let policy = folder.file("p.toml", format!("{POLICY}{section}"));
        let evidence = path(name);
        let output = veritee(&[
            "verify",
            &evidence,
            "--policy",
            &policy,
            "--endorsements",
            &chip,
            "--at",
            "2026-11-23T00:00:00Z",
            "--offline",
        ]);
        assert_eq!(exit(&output), expected, "{name}: {}", String::from_utf8_lossy(&output.stdout));
        let output = veritee(&["explain", &evidence]);
        let explained = String::from_utf8_lossy(&output.stdout);
        assert!(
            explained.contains("secure_boot") && explained.contains("sev_snp_report"),
            "{explained}"
        );
    }
}
