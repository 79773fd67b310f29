//! `veritee-sim` as a person runs it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use attestation::ReportData;
use attestation::platform::{Request, Response, frame_len};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_veritee-sim"))
}

#[test]
fn init_policy_serve_and_a_polite_end() {
    let data =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("program-{}", std::process::id()));
    drop(fs::remove_dir_all(&data));
    let folder = data.join("veritee/simulation");
    let run = |args: &[&str]| {
        let output = program().env("XDG_DATA_HOME", &data).args(args).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };

    let (code, text) = run(&["show"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("veritee-sim init"), "it says what to do: {text}");
    let (code, text) = run(&["init", "--days", "1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("veritee-sim policy"), "it says the next step: {text}");
    assert_eq!(run(&["init"]).0, Some(2), "it is still valid");

    let digest = "ab".repeat(32);
    let config = format!("sha256:{digest}");
    let reference =
        ["--manifest-digest", &digest, "--model-name", "tiny", "--config-digest", &config];
    let (code, text) = run(&[&["policy"], &reference[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("veritee-sim serve"), "it says the next step: {text}");
    assert_eq!(run(&["policy", "--manifest-digest", &digest]).0, Some(2), "a model without a name");
    assert_eq!(run(&["policy", "--manifest-digest", "ab"]).0, Some(2), "no digest");
    assert!(fs::read_to_string(folder.join("simulation.toml")).unwrap().contains(&digest));

    let socket = data.join("s");
    let mut service = program()
        .env("XDG_DATA_HOME", &data)
        .args(["serve", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("ready socket={}\n", socket.display()));
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&Request::Report(ReportData([5; 64])).encode()).unwrap();
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut contents = vec![0; frame_len(header).unwrap()];
    stream.read_exact(&mut contents).unwrap();
    assert!(matches!(Response::parse(&contents), Ok(Response::Evidence { .. })));

    let ended = Command::new("kill").args(["-TERM", &service.id().to_string()]).status().unwrap();
    assert!(ended.success());
    assert_eq!(service.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
    fs::remove_dir_all(data).unwrap();
}
