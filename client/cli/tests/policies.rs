//! `veritee policy`: who signed what, and manifests of NVIDIA's taken apart.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use attestation::gpu::ReferenceValues;

const POLICY: &str = r#"
schema = 1
name = "looking"
version = 3
min_version = 2
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
        let path = std::env::temp_dir().join(format!("veritee-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn file(&self, name: &str, contents: &str) -> String {
        fs::write(self.0.join(name), contents).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn veritee(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veritee"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Exit code, and everything that was said.
fn told(arguments: &[&str]) -> (i32, String) {
    let output = veritee(arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

/// A command ends like this, and names this code.
#[track_caller]
fn ends(arguments: &[&str], code: i32, word: &str) {
    let (found, said) = told(arguments);
    assert!(found == code && said.contains(word), "{arguments:?}: {found}, {said}");
}

#[test]
fn who_demands_a_signature_takes_no_other_policy() {
    let folder = Folder::new("signed");
    let policy = folder.file("p.toml", POLICY);
    let evidence = folder.file("e", "no evidence");
    let (ours, theirs) = (folder.path("ours"), folder.path("theirs"));
    for key in [&ours, &theirs] {
        ends(&["policy", "keygen", key], 0, ".pub ");
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = fs::read(&ours).unwrap();
    ends(&["policy", "keygen", &ours], 2, "cannot write");
    assert_eq!(fs::read(&ours).unwrap(), before, "a key is never written over");

    let (key, other) = (format!("{ours}.pub"), format!("{theirs}.pub"));
    let verify = ["verify", &evidence, "--policy", &policy, "--policy-key", &key];
    let chat = ["chat", "--policy", &policy, "--policy-key", &key, "hello"];
    let proxy = ["proxy", "--policy", &policy, "--policy-key", &key];
    let show = ["policy", "show", &policy, "--policy-key", &key];
    let commands: [&[&str]; 4] = [&verify, &chat, &proxy, &show];
    for command in commands {
        ends(command, 10, "policy-not-signed");
    }
    // Of another key alone.
    ends(&["policy", "sign", &policy, "--key", &theirs], 0, "signed by");
    for command in commands {
        ends(command, 10, "policy-not-signed");
    }
    ends(&["policy", "sign", &policy, "--key", &ours], 0, "signed by");
    ends(&show, 0, "Policy looking, version 3");
    // The policy is good, so that the evidence is looked at: it is none.
    ends(&verify, 30, "evidence-malformed");
    let of_other = ["policy", "show", &policy, "--policy-key", &other];
    ends(&of_other, 0, "version 3");
    // Signing again replaces the signer's own line and no other.
    ends(&["policy", "sign", &policy, "--key", &ours], 0, "signed by");
    let signatures = fs::read_to_string(folder.path("p.toml.sig")).unwrap();
    assert_eq!(signatures.lines().count(), 2);
    ends(&of_other, 0, "version 3");

    fs::write(&policy, POLICY.replace("version = 3", "version = 4")).unwrap();
    for command in commands {
        ends(command, 10, "policy-signature-invalid");
    }
    fs::write(&policy, POLICY).unwrap();
    ends(&show, 0, "version 3");
    folder.file("p.toml.sig", "nonsense");
    ends(&show, 10, "policy-not-signed");
    ends(&["policy", "sign", &policy, "--key", &ours], 30, "signatures-malformed");
    // Without a demand nobody looks at signatures.
    ends(&["policy", "show", &policy], 0, "version 3");
    let keyless = ["verify", &evidence, "--policy", &policy, "--policy-key", &policy];
    ends(&keyless, 30, "is no Ed25519 public key");
    ends(&["chat", "--policy-key", &key, "hello"], 2, "--policy");
}

/// GPUs that come with their switches, and no section for those.
#[test]
fn a_fabric_without_a_section_for_its_switches_accepts_nothing() {
    let folder = Folder::new("fabric");
    let policy = |gpu: &str, switch: &str| {
        let head = "schema = 1\nname = \"p\"\nversion = 1\npurpose = \"evaluation\"\nconfig = { digests = \"any\" }\n\
                    freshness = { evidence = \"challenged\", binding = \"if-present\" }\n[models]\nm = \"sha256:";
        let digest = "01".repeat(32);
        let text = format!(
            "{head}{digest}\"\n[nvidia-gpu]\nreference_values = \"any\"\n{gpu}\n{switch}\n"
        );
        folder.file("fabric.toml", &text)
    };
    let only = "confidential_compute = [\"protected-pcie\"]";
    let both = "confidential_compute = [\"single\", \"protected-pcie\"]";
    let section = "[nvidia-switch]\nreference_values = \"any\"";
    ends(
        &["policy", "lint", &policy(only, "")],
        10,
        "no section nvidia-switch: nothing is accepted",
    );
    let topology = format!("{only}\ntopology = \"if-present\"");
    for (gpu, switch) in [(only, section), (both, ""), (&topology, "")] {
        ends(&["policy", "lint", &policy(gpu, switch)], 0, "good");
    }
}

#[test]
fn what_lint_refuses_is_not_signed() {
    let folder = Folder::new("unsigned");
    let key = folder.path("key");
    ends(&["policy", "keygen", &key], 0, ".pub ");
    let (empty, none) = (
        folder.file("e.toml", &POLICY.replace("measurements = \"any\"", "measurements = []")),
        folder.file("n.toml", &POLICY.replace("min_version = 2", "min_version = 4")),
    );
    ends(&["policy", "sign", &empty, "--key", &key], 10, "sev-snp.measurements");
    ends(&["policy", "sign", &none, "--key", &key], 30, "min_version");
    assert!(!Path::new(&folder.path("e.toml.sig")).exists());
    let policy = folder.file("p.toml", POLICY);
    ends(&["policy", "sign", &policy, "--key", &policy], 2, "no Ed25519 private key");
    ends(&["policy", "sign", &policy, "--key", &format!("{key}.pub")], 2, "private key");
}

fn import<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["policy", "import-rim"], rest, &["--at", "2026-11-23T00:00:00Z"]].concat()
}

#[test]
fn manifests_become_reference_values() {
    #[expect(clippy::disallowed_methods, reason = "where the vectors are is the tester's to say")]
    let vectors = std::env::var("VERITEE_VECTORS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !vectors.is_dir() {
        eprintln!("{} is not there: no manifest of NVIDIA's is imported", vectors.display());
        return;
    }
    let vector = |name: &str| vectors.join("nvidia").join(name).display().to_string();
    let driver = vector("sdk-unit/NV_GPU_DRIVER_GH100_550.144.03.xml");
    let switch = vector("sdk-unit/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml");
    let vbios = vector("nvtrust/1010_0200_882_96005E0001_PROD.swidtag");

    let output = veritee(&import(&[&driver]));
    let values = ReferenceValues::parse(&output.stdout).unwrap();
    assert_eq!(values.id, "NV_GPU_DRIVER_GH100_550.144.03");
    assert_eq!(values.measurements.len(), 21);

    let folder = Folder::new("rims");
    let into = folder.path("driver.json");
    ends(&import(&[&driver, "-o", &into]), 0, "HCC RIM L4 Signer");
    assert_eq!(fs::read(&into).unwrap(), output.stdout);
    ends(&import(&[&driver, &switch, "-o", &folder.path("")]), 0, "LS10");
    for id in ["NV_GPU_DRIVER_GH100_550.144.03", "NV_SWITCH_BIOS_5612_0002_890_9610550001"] {
        let file = fs::read(folder.path(&format!("{id}.json"))).unwrap();
        assert_eq!(ReferenceValues::parse(&file).unwrap().id, id);
    }

    ends(&import(&[&driver, &switch]), 2, "folder");
    ends(&import(&[&driver, &switch, "-o", &into]), 2, "folder");
    ends(&import(&[&driver, "--id", "NV_GPU_DRIVER_GH100_550.144.04"]), 2, "550.144.04");
    ends(&import(&[&folder.file("x.xml", "<a/>")]), 10, "rim-signature-form");
    ends(&import(&[&folder.file("x.xml", "no XML")]), 30, "rim-malformed");
    ends(&import(&["/does/not/exist"]), 2, "cannot read");
    let bad = vector("sdk-unit/incorrect_signature_driver_rim.xml");
    ends(&import(&[&bad]), 10, "rim-signature-invalid");
    // Nothing is written where one of several is refused.
    let other = Folder::new("none");
    ends(&import(&[&driver, &bad, "-o", &other.path("")]), 10, "rim-signature-invalid");
    assert_eq!(fs::read_dir(other.path("")).unwrap().count(), 0);

    ends(&import(&[&vbios]), 10, "--at");
    let then = ["policy", "import-rim", &vbios, "--at", "2025-01-01T00:00:00Z"];
    ends(&then, 0, "NVIDIA did not sign");
    let copy = folder.path("vbios.xml");
    fs::copy(&vbios, &copy).unwrap();
    let unnamed = ["policy", "import-rim", &copy, "--at", "2025-01-01T00:00:00Z"];
    ends(&unnamed, 2, "--id");
    let named = [&unnamed[..], &["--id", "NV_GPU_VBIOS_1010_0200_882_96005E0001"]].concat();
    ends(&named, 0, "\"1010\"");
}
