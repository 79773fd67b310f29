//! The program's life: a test PKI on disk, its policy, and its socket.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use attestation::platform::{Request, Response, Signed, frame_len};
use attestation::snp::{Product, SnpReport};
use attestation::{Digest, ReportData, Sha256, UnixTime};
use sim::SimError;
use sim::policy::Accepted;
use sim::serve::Service;
use sim::store::{CpuKind, Existing, InitOptions, Store};

const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);
const DAY: u64 = 24 * 60 * 60;

fn folder(name: &str) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    folder
}

fn options() -> InitOptions {
    InitOptions {
        cpu: CpuKind::SevSnp(Product::Turin),
        devices: (0, 0),
        measurement: Digest([7; 48]),
        accepted: Accepted::default(),
        secs: 30 * DAY,
        existing: Existing::Keep,
    }
}

fn accepted(config: u8) -> Accepted {
    Accepted {
        manifest: Some(Digest([1; 32])),
        names: vec!["tiny".to_owned()],
        configs: vec![Digest([config; 32])],
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_test_pki_is_its_owners_alone_and_not_overwritten() {
    let folder = folder("init");
    let store = Store::init(&folder, options(), NOW).unwrap();
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let validity = store.validity();
    let lifetime = validity.not_after.as_secs().checked_sub(validity.not_before.as_secs());
    assert_eq!(lifetime, Some(30 * DAY));

    let again = |existing, now| Store::init(&folder, InitOptions { existing, ..options() }, now);
    assert!(matches!(again(Existing::Keep, NOW), Err(SimError::Exists { .. })));
    let ark = fs::read(folder.join("ark.pem")).unwrap();
    let replaced = again(Existing::Replace, NOW).unwrap();
    assert_ne!(fs::read(folder.join("ark.pem")).unwrap(), ark);
    assert!(replaced.policy_version() > store.policy_version(), "clients refuse a lower version");

    let later = NOW.saturating_add(Duration::from_secs(31 * DAY));
    assert!(matches!(Store::open(&folder, later), Err(SimError::Expired { .. })));
    assert!(Store::open(&folder, NOW).is_ok());
    again(Existing::Keep, later).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = folder("foreign");
    fs::create_dir_all(&folder).unwrap();
    assert!(matches!(Store::open(&folder, NOW), Err(SimError::Missing { .. })));
    fs::write(folder.join("letter.txt"), "dear").unwrap();
    assert!(matches!(Store::init(&folder, options(), NOW), Err(SimError::Argument(_))));
    fs::write(folder.join("state.json"), "{\"schema\":1}").unwrap();
    assert!(matches!(Store::open(&folder, NOW), Err(SimError::Damaged { .. })));
    assert!(matches!(Store::init(&folder, options(), NOW), Err(SimError::Damaged { .. })));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn validity_is_bounded() {
    for secs in [0, 30 * DAY + 1] {
        let result = Store::init(&folder("bounds"), InitOptions { secs, ..options() }, NOW);
        assert!(matches!(result, Err(SimError::Argument(_))), "{secs}");
    }
}

#[test]
fn the_policy_follows_what_is_accepted_without_a_new_pki() {
    let folder = folder("policy");
    let mut store = Store::init(&folder, options(), NOW).unwrap();
    let ark = fs::read(folder.join("ark.pem")).unwrap();
    let first = store.policy_version();
    store.render_policy(accepted(2), NOW).unwrap();
    let second = store.policy_version();
    assert!(second > first);
    store.render_policy(accepted(2), NOW).unwrap();
    assert_eq!(store.policy_version(), second, "the same text keeps its version");
    store.render_policy(accepted(3), NOW).unwrap();
    assert!(store.policy_version() > second);

    let text = fs::read_to_string(store.policy_path()).unwrap();
    assert!(text.contains(&format!("\"tiny\" = \"sha256:{}\"", Sha256::from(Digest([1; 32])))));
    assert!(text.contains(&format!("digests = [\"sha256:{}\"]", "03".repeat(32))));
    assert!(text.contains(&format!("measurements = [\"{}\"]", "07".repeat(48))));
    assert!(text.contains(&format!("version = {}", store.policy_version())));
    assert!(text.contains("purpose = \"simulation\""));
    assert_eq!(fs::read(folder.join("ark.pem")).unwrap(), ark);
    assert_eq!(Store::open(&folder, NOW).unwrap().accepted(), &accepted(3));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_that_would_break_the_policy_are_refused() {
    for name in ["", "a\"b", "a\nb", "a b", &"x".repeat(129)] {
        let bad = Accepted { names: vec![name.to_owned()], ..accepted(1) };
        assert!(matches!(bad.check(), Err(SimError::Argument(_))), "{name:?}");
    }
    let nameless = Accepted { names: Vec::new(), ..accepted(1) };
    assert!(nameless.check().is_err());
    let without = Accepted { manifest: None, ..accepted(1) };
    assert!(without.check().is_err());
    accepted(1).check().unwrap();
}

fn exchange(socket: &Path, request: &[u8]) -> Option<Response> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request).unwrap();
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let mut contents = vec![0; frame_len(header).unwrap()];
    stream.read_exact(&mut contents).unwrap();
    Some(Response::parse(&contents).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_socket_serves_reports_and_refuses_the_rest() {
    let folder = folder("serve");
    let store = Store::init(&folder, options(), NOW).unwrap();
    let socket = folder.join("s");
    // Nobody serves this one any more.
    drop(UnixListener::bind(&socket).unwrap());
    let service = Service::bind(&socket).unwrap();
    assert_eq!(mode(&socket), 0o600);
    assert!(matches!(Service::bind(&socket), Err(SimError::File { .. })), "somebody serves it");
    let machine = store.machine().unwrap();
    let serving = tokio::spawn(async move { service.run(machine).await });

    let path = socket.clone();
    tokio::task::spawn_blocking(move || {
        let request = Request::Report(ReportData([9; 64]));
        let Some(Response::Evidence { signed, endorsements }) = exchange(&path, &request.encode())
        else {
            unreachable!("evidence");
        };
        let Signed::Cpu { cpu, event_log: None } = signed else { unreachable!("a report") };
        let report = SnpReport::parse(&cpu.bytes).unwrap();
        assert_eq!(report.report_data(), [9; 64]);
        assert_eq!(report.measurement().0, [7; 48]);
        assert_eq!((endorsements.certificates().len(), endorsements.crls().len()), (3, 1));
        assert_eq!(exchange(&path, &[0, 0, 0, 2, 9, 9]), Some(Response::Refused));
        let devices = Request::Accelerators(Digest([9; 32]));
        assert_eq!(exchange(&path, &devices.encode()), Some(Response::Refused), "it has none");
        assert_eq!(exchange(&path, &[0, 0, 2, 0]), None, "too long a request");
    })
    .await
    .unwrap();

    serving.abort();
    drop(serving.await);
    assert!(!socket.exists(), "the socket goes with its service");
    fs::write(&socket, "a file").unwrap();
    assert!(matches!(Service::bind(&socket), Err(SimError::File { .. })));
    assert_eq!(fs::read(&socket).unwrap(), b"a file");
    fs::remove_dir_all(folder).unwrap();
}
