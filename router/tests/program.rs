//! The program itself: its lines, its exit codes, its signals, its logs.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_veritee-router");

fn config(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("router-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn run(path: &PathBuf, check: bool) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(path);
    if check {
        command.arg("--check-config");
    }
    command.output().unwrap()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let good = "listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"http://127.0.0.1:1\"\n";
    let output = run(&config("good", good), true);
    assert_eq!(output.status.code(), Some(0));
    for (name, text, expected) in [
        ("open", good.replace("127.0.0.1:0", "0.0.0.0:0"), "TLS"),
        ("unknown", format!("{good}sruprise = 1\n"), "sruprise"),
        ("empty", String::new(), "listen"),
    ] {
        for check in [true, false] {
            let output = run(&config(name, &text), check);
            assert_eq!(output.status.code(), Some(2), "{name}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
    assert_eq!(run(&PathBuf::from("/nonexistent"), true).status.code(), Some(2));
}

#[test]
fn it_says_when_it_is_ready_logs_no_content_and_stops_on_sigterm() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let enclave = nobody.local_addr().unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"http://{enclave}\"\nname = \"one\"\n"
    );
    let child = Command::new(PROGRAM)
        .arg("--config")
        .arg(config("run", &text))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("ready router=http://").unwrap();

    let node = "0".repeat(32);
    let mut stream = TcpStream::connect(address).unwrap();
    let ours = stream.local_addr().unwrap();
    let request = format!(
        "POST /v1/nodes/{node}/ohttp?canary-query HTTP/1.1\r\nhost: canary-host\r\nconnection: close\r\n\
         authorization: Bearer canary-key\r\ncontent-type: message/ohttp-chunked-req\r\ncontent-length: 11\r\n\r\ncanary-body"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /canary-path HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();

    let killed = Command::new("kill").arg("-TERM").arg(child.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut logs = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut logs).unwrap();
    assert!(logs.contains("/v1/nodes/{id}/ohttp"), "the request was logged: {logs}");
    assert!(
        logs.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{logs}"
    );
    for needle in ["canary", &ours.port().to_string()] {
        assert!(!logs.contains(needle), "{needle} in {logs}");
    }
}

#[test]
fn an_identity_is_made_shown_and_never_overwritten() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("router-{}-identity", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("router.pem"), folder.join("router.key"));
    let files = |command: &str| {
        let mut program = Command::new(PROGRAM);
        program.args(["identity", command, "--certificate"]).arg(&certificate);
        program.arg("--key").arg(&key).output().unwrap()
    };
    assert_eq!(files("show").status.code(), Some(2), "there is none yet");
    let made = files("new");
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let pin = said(&made);
    assert!(pin.starts_with("sha256:") && pin.len() == 72, "the pin alone: {pin}");
    assert_eq!(said(&files("show")), pin);
    let access = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(access(&key), 0o600);
    let before = (std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap());
    assert_eq!(files("new").status.code(), Some(2), "nothing is overwritten");
    assert_eq!((std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap()), before);

    let configured = folder.join("router.toml");
    let text = format!(
        "listen = \"0.0.0.0:0\"\n[[enclaves]]\nurl = \"https://192.0.2.1:9000\"\nspki = [\"{}\"]\n\
         [tls]\ncertificate = \"router.pem\"\nkey = \"router.key\"\n\
         [identity]\ncertificate = \"router.pem\"\nkey = \"router.key\"\n",
        pin.trim_end()
    );
    std::fs::write(&configured, &text).unwrap();
    assert_eq!(run(&configured, true).status.code(), Some(0));
    let mut show = Command::new(PROGRAM);
    let shown = show.args(["identity", "show", "--config"]).arg(&configured).output().unwrap();
    assert_eq!(said(&shown), pin, "relative to the configuration");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = run(&configured, true);
    assert_eq!(exposed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&exposed.stderr).contains("mode 0644"), "{exposed:?}");
    std::fs::set_permissions(&certificate, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&configured, text.replacen("router.key", "router.pem", 1)).unwrap();
    assert_eq!(run(&configured, true).status.code(), Some(2), "no key in that file");
    std::fs::remove_dir_all(folder).unwrap();
}

fn keys(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("keys").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn keys_are_added_listed_and_revoked() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("router-{}-program-keys", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.toml");
    let path = file.to_str().unwrap();
    let configured = folder.join("router.toml");
    let minimal = "listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"http://127.0.0.1:1\"\n";
    std::fs::write(&configured, format!("{minimal}[keys]\nfile = \"keys.toml\"\n")).unwrap();
    let config = configured.to_str().unwrap();
    assert_eq!(run(&configured, true).status.code(), Some(2), "there is no such file yet");

    let added = keys(&["add", "--keys", path, "--name", "one", "--streams-max", "3"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let key = said(&added);
    let key = key.trim_end();
    assert!(key.starts_with("vk_") && key.len() == 84, "the key alone: {key}");
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(!stored.contains(&key[20..]), "{stored}");
    assert!(!String::from_utf8(added.stderr).unwrap().contains(&key[20..]));
    let another = keys(&["add", "--config", config, "--name", "two"]);
    assert_eq!(another.status.code(), Some(0), "relative to the configuration: {another:?}");
    assert_ne!(said(&another).trim_end(), key);
    assert_eq!(run(&configured, true).status.code(), Some(0));

    let id = &key[3..19];
    let listed = said(&keys(&["list", "--config", config]));
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with(&format!("{id}\tlive\tadded 2")), "{listed}");
    assert!(lines[0].ends_with("\tstreams_max=3\tone") && lines[1].ends_with("\t-\ttwo"));
    assert!(!listed.contains(&key[20..]));

    let revoked = keys(&["revoke", "--keys", path, id]);
    assert_eq!((revoked.status.code(), said(&revoked)), (Some(0), format!("revoked {id}\n")));
    let listed = said(&keys(&["list", "--keys", path]));
    assert!(listed.starts_with(&format!("{id}\trevoked 2")), "{listed}");

    let before = std::fs::read(&file).unwrap();
    let missing = folder.join("missing.toml");
    let missing = missing.to_str().unwrap();
    for refused in [
        &["revoke", "--keys", path, "0000000000000000"][..],
        &["revoke", "--keys", path, "one"],
        &["revoke", "--keys", missing, id],
        &["list", "--keys", missing],
        &["add", "--keys", path, "--name", ""],
        &["add", "--keys", path, "--name", "x", "--streams-max", "0"],
        &["add", "--keys", path],
        &["add", "--name", "x"],
        &["add", "--keys", path, "--config", config, "--name", "x"],
    ] {
        let output = keys(refused);
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert!(!PathBuf::from(missing).exists());
    std::fs::remove_dir_all(folder).unwrap();
}
