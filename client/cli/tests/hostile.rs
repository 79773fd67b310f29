//! What others made, shown and overwritten: a terminal obeys none of it, and nothing is written where
//! nobody named.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use attestation::Sha256;

/// A folder of its own for one test, which is everybody's home.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("veritee-hostile-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, contents: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn veritee(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_veritee"))
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .env("HOME", &self.0)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap()
    }

    /// Exit code, and everything that a terminal would show.
    fn told(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.veritee(arguments);
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit code"), String::from_utf8(told).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const POLICY: &str = "schema = 1\nname = \"p\"\nversion = 1\npurpose = \"evaluation\"\n\
    [freshness]\nevidence = \"cached\"\nbinding = \"if-present\"\n[config]\ndigests = \"any\"\n\
    [sev-snp]\nmeasurements = \"any\"\nrevocation = \"if-present\"\n";

fn obeys_nothing(told: &str) {
    let commands =
        |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!told.contains(commands), "{told:?}");
}

#[test]
fn a_terminal_obeys_no_policy() {
    let folder = Folder::new("policy");
    let name = "\\u001b[2J\\u009b1mseen\\u202edezilaer";
    let events = format!(
        "[tdx]\n[tdx.event_log]\n[[tdx.event_log.events]]\nname = \"{name}\"\nregister = \"rtmr2\"\ntext = [\"{name}\"]\n"
    );
    folder.file("shown.toml", &format!("{POLICY}{events}"));
    let (code, told) = folder.told(&["policy", "show", "shown.toml"]);
    assert!(code == 0 && told.contains("seen[U+202E]dezilaer"), "{told:?}");
    obeys_nothing(&told);
    folder.file("refused.toml", &format!("{POLICY}\"{name}\" = 1\n"));
    let (code, told) = folder.told(&["policy", "lint", "refused.toml"]);
    assert!(code == 30 && told.contains("seen[U+202E]dezilaer"), "{told:?}");
    obeys_nothing(&told);
}

#[test]
fn a_terminal_obeys_no_cache() {
    let folder = Folder::new("cache");
    let item = "amd/Genoa/vcek-crl";
    // An empty list of parts is none: what is damaged is listed under its file's name.
    let header = format!("{{\"item\":\"{item}\",\"source\":\"x\"}}\n");
    let record = format!("veritee-endorsement-1 {}\n{header}", Sha256::of(header.as_bytes()));
    folder.file(".cache/veritee/endorsements/\u{1b}[2J\u{202e}seen.endorsement", &record);
    let marks = "{\"schema\":1,\"numbers\":{\"\\u001b[2J\\u202eseen\":7}}";
    folder.file(".local/state/veritee/endorsements/evaluation-numbers.json", marks);
    let (code, told) = folder.told(&["endorsements", "status"]);
    assert!(code == 0 && told.matches("[2J[U+202E]seen").count() == 2, "{told:?}");
    obeys_nothing(&told);
    // For programs it says the same as ever, in characters that a terminal shows.
    let (code, told) = folder.told(&["endorsements", "status", "--json"]);
    assert_eq!(code, 0);
    obeys_nothing(&told);
    let read: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(read["evaluation_numbers"]["\u{1b}[2J\u{202e}seen"], 7);
}

#[test]
fn a_result_is_written_where_it_was_asked_for_and_nowhere_else() {
    let folder = Folder::new("links");
    folder.file("policy.toml", POLICY);
    folder.file("report", "00");
    folder.file("dear", "dear");
    let page = |name| {
        folder.told(&["verify", "report", "--policy", "policy.toml", "--offline", "--html", name])
    };
    // A link beside, where a draft would be.
    symlink("dear", folder.0.join("page.html.new")).unwrap();
    let (code, told) = page("page.html");
    assert_eq!(code, 30, "{told}");
    assert_eq!(folder.text("dear"), "dear");
    assert!(folder.text("page.html").starts_with("<!doctype html>"));
    assert!(!folder.0.join("page.html.new").exists());
    // What is there and no file stays what it is.
    symlink("dear", folder.0.join("link.html")).unwrap();
    let made = Command::new("mkfifo").arg(folder.0.join("pipe.html")).status().unwrap();
    assert!(made.success());
    for name in ["link.html", "pipe.html", "."] {
        let (code, told) = page(name);
        assert!(code == 2 && told.contains("no plain file"), "{name}: {told}");
    }
    assert_eq!(folder.text("dear"), "dear");
    assert!(fs::symlink_metadata(folder.0.join("link.html")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(folder.0.join("pipe.html")).unwrap().file_type().is_fifo());
}

#[test]
fn a_key_is_made_whole_or_not_at_all() {
    let folder = Folder::new("keygen");
    folder.file("old", "an older key");
    assert_eq!(folder.told(&["policy", "keygen", "old"]).0, 2);
    assert_eq!(folder.text("old"), "an older key");
    assert!(!folder.0.join("old.pub").exists(), "a public half of no private one");
    folder.file("new.pub", "somebody's");
    assert_eq!(folder.told(&["policy", "keygen", "new"]).0, 2);
    assert_eq!(folder.text("new.pub"), "somebody's");
    assert!(!folder.0.join("new").exists(), "a private half of another public one");
    assert_eq!(folder.told(&["policy", "keygen", "good"]).0, 0);
}
