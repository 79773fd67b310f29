//! What an operator sets: keys, limits, metrics.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use attestation::{Secret, UnixTime};
use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use router::{Config, KeyId, KeyLimits, KeyMetrics, Keys, KeysFile, Overrides};
use tokio::time::{sleep, timeout};

use crate::{
    echo, fed,
    support::{
        NODE, PATIENCE, SEALED, Served, enclave, evidence, names, next, ohttp, problem, raw_head,
        rest, text,
    },
};

/// A file of keys of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("keys-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let place = Self(folder);
        KeysFile::change(&place.file(), |_| Ok(())).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys.toml")
    }

    fn add(&self, number: u8, limits: Overrides) -> (KeyId, String) {
        let seed = Secret::new([number; 40]);
        let add = |file: &mut KeysFile| file.add("somebody", limits, &seed, UnixTime::END);
        let (id, token) = KeysFile::change(&self.file(), add).unwrap();
        (id, token.expose().clone())
    }

    fn revoke(&self, id: KeyId) {
        KeysFile::change(&self.file(), |file| file.revoke(id, UnixTime::END)).unwrap();
    }

    fn keys(&self) -> Keys {
        Keys {
            file: self.file(),
            reload: Duration::from_millis(20),
            limits: WIDE,
            unauthorized_per_minute: KeyLimits::MAX,
            metrics: KeyMetrics::Together,
        }
    }

    async fn serve(&self, enclave: SocketAddr, adjust: impl FnOnce(&mut Keys)) -> Served {
        let mut keys = self.keys();
        adjust(&mut keys);
        Served::start(enclave, |config| config.keys = Some(keys)).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn seal_as(served: &Served, token: &str) -> Response<Incoming> {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", SEALED), ("authorization", bearer.as_str())];
    served.ask(Method::POST, &ohttp(NODE), &headers, Bytes::from_static(b"sealed")).await
}

async fn until_answered(served: &Served, token: &str, status: StatusCode) {
    let asked = async {
        while seal_as(served, token).await.status() != status {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
}

async fn until_counted(served: &Served, line: &str) {
    let counted = async {
        while !text(served.get("/metrics").await).await.lines().any(|found| found == line) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        timeout(PATIENCE, counted).await.is_ok(),
        "{line} in\n{}",
        text(served.get("/metrics").await).await
    );
}

async fn limited(response: Response<Incoming>) -> (String, u32) {
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let after = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    (problem(response).await, after)
}

#[tokio::test]
async fn without_a_good_key_nothing_reaches_an_enclave_and_nothing_is_told() {
    let place = Place::new();
    let (_, good) = place.add(1, Overrides::default());
    let (revoked, gone) = place.add(2, Overrides::default());
    place.revoke(revoked);
    let reached = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&reached);
    let answer = move |request: Request| {
        seen.fetch_add(1, SeqCst);
        echo(request)
    };
    let served = place.serve(enclave(answer).await, |_| {}).await;

    let other_secret = format!("{}{}", &good[..20], "02".repeat(32));
    let unknown = format!("vk_{}_{}", "0".repeat(16), "01".repeat(32));
    assert_eq!(good[20..], "01".repeat(32));
    let headers = [
        vec![],
        vec![String::new()],
        vec!["Bearer ".to_owned()],
        vec![good.clone()],
        vec![format!("Digest {good}")],
        vec![format!("Bearer  {good}")],
        vec![format!("Bearer {good}0")],
        vec![format!("Bearer {good}, Bearer {good}")],
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
        vec![format!("Bearer {other_secret}")],
        vec![format!("Bearer {unknown}")],
        vec![format!("Bearer {gone}")],
    ];
    let unknown_node = "f".repeat(32);
    let mut bodies = Vec::new();
    for values in &headers {
        for (method, path) in [
            (Method::POST, ohttp(NODE)),
            (Method::GET, evidence(NODE)),
            (Method::POST, evidence(NODE)),
            (Method::POST, ohttp(&unknown_node)),
            (Method::DELETE, ohttp(NODE)),
        ] {
            let mut all = vec![("content-type", SEALED)];
            all.extend(values.iter().map(|value| ("authorization", value.as_str())));
            let refused = served.ask(method.clone(), &path, &all, Bytes::new()).await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{method} {path} {values:?}");
            assert_eq!(refused.headers()["www-authenticate"], "Bearer");
            assert_eq!(
                names(refused.headers()),
                ["cache-control", "content-length", "content-type", "date", "www-authenticate"]
            );
            bodies.push(text(refused).await);
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "one constant body: {bodies:?}");
    assert_eq!(reached.load(SeqCst), 0);

    assert_eq!(seal_as(&served, &good).await.status(), StatusCode::OK);
    let lower = [("authorization", format!("bearer {good}"))];
    let lower = lower.each_ref().map(|(name, value)| (*name, value.as_str()));
    let fetched = served.ask(Method::GET, &evidence(NODE), &lower, Bytes::new()).await;
    assert_eq!(fetched.status(), StatusCode::OK);
    assert_eq!(reached.load(SeqCst), 2);
    for open in ["/healthz", "/readyz", "/metrics", "/v1/fleet"] {
        assert_eq!(served.get(open).await.status(), StatusCode::OK, "{open}");
    }
}

#[tokio::test]
async fn a_key_goes_no_further_than_the_router() {
    let place = Place::new();
    let (_, key) = place.add(1, Overrides::default());
    let answer = |request: Request| async move {
        Response::new(Body::from(format!("{:?} {:?}", request.uri(), request.headers())))
    };
    let served = place.serve(enclave(answer).await, |_| {}).await;
    let seen = text(seal_as(&served, &key).await).await;
    assert!(seen.contains(SEALED), "{seen}");
    assert!(!seen.contains("authorization") && !seen.contains(&key), "{seen}");
}

#[tokio::test]
async fn keys_come_and_go_while_streams_go_on() {
    let place = Place::new();
    let (id, key) = place.add(1, Overrides::default());
    let (mut arrived, answer) = fed();
    let served = place.serve(enclave(answer).await, |_| {}).await;
    let (mut response, feed) = tokio::join!(seal_as(&served, &key), arrived.recv());
    let feed = feed.unwrap();
    feed.send(Ok(Bytes::from("one"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "one");

    let (_, added) = place.add(2, Overrides::default());
    place.revoke(id);
    until_answered(&served, &key, StatusCode::UNAUTHORIZED).await;
    let (new, newly_fed) = tokio::join!(seal_as(&served, &added), arrived.recv());
    assert_eq!(new.status(), StatusCode::OK);
    drop(newly_fed);

    feed.send(Ok(Bytes::from("two"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "two");
    drop(feed);
    assert!(next(&mut response).await.is_none(), "a clean end");
    until_counted(&served, "veritee_router_keys 1").await;
}

#[tokio::test]
async fn a_connection_that_was_let_in_is_not_let_in_for_ever() {
    let place = Place::new();
    let (id, key) = place.add(1, Overrides::default());
    let served = place.serve(enclave(echo).await, |_| {}).await;
    let request = |connection: &str| {
        format!(
            "GET {} HTTP/1.1\r\nhost: r\r\nconnection: {connection}\r\nauthorization: Bearer {key}\r\n\r\n",
            evidence(NODE)
        )
    };
    let mut stream = served.raw(&request("keep-alive")).await;
    let mut buffer = [0; 4096];
    let length = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut stream, &mut buffer));
    let length = length.await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"HTTP/1.1 200"));
    place.revoke(id);
    until_counted(&served, "veritee_router_keys 0").await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request("close").as_bytes()).await.unwrap();
    let seen = rest(stream).await;
    assert!(seen.starts_with("HTTP/1.1 401"), "{seen}");
}

#[tokio::test]
async fn a_file_that_is_refused_changes_nothing_and_is_told() {
    let place = Place::new();
    let (_, key) = place.add(1, Overrides::default());
    let served = place.serve(enclave(echo).await, |_| {}).await;
    let good = std::fs::read_to_string(place.file()).unwrap();
    std::fs::write(place.file(), format!("{good}surprise = 1\n")).unwrap();
    until_counted(&served, "veritee_router_key_reloads_total{outcome=\"refused\"} 1").await;
    assert_eq!(seal_as(&served, &key).await.status(), StatusCode::OK);
    // Several looks later, told once.
    sleep(Duration::from_millis(200)).await;
    until_counted(&served, "veritee_router_key_reloads_total{outcome=\"refused\"} 1").await;
    std::fs::remove_file(place.file()).unwrap();
    until_counted(&served, "veritee_router_key_reloads_total{outcome=\"refused\"} 2").await;
    assert_eq!(seal_as(&served, &key).await.status(), StatusCode::OK);
    KeysFile::change(&place.file(), |_| Ok(())).unwrap();
    until_counted(&served, "veritee_router_key_reloads_total{outcome=\"taken\"} 1").await;
    assert_eq!(seal_as(&served, &key).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_router_without_its_file_of_keys_does_not_start() {
    let place = Place::new();
    for spoil in [
        |file: &Path| std::fs::remove_file(file),
        |file: &Path| std::fs::write(file, "schema = 2\n"),
    ] {
        spoil(&place.file()).unwrap();
        let mut config = Config::on_loopback(&["http://127.0.0.1:1"]).unwrap();
        config.keys = Some(place.keys());
        let listener = tokio::net::TcpListener::bind(config.listen).await.unwrap();
        let served = router::serve(listener, config, std::future::pending());
        assert!(timeout(PATIENCE, served).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_key_may_make_so_many_requests_a_minute() {
    let place = Place::new();
    let (_, key) = place.add(1, Overrides::default());
    let more = Overrides { requests_per_minute: Some(1_000), ..Overrides::default() };
    let (_, other) = place.add(2, more);
    let served = place.serve(enclave(echo).await, |keys| keys.limits.requests_per_minute = 2).await;
    for _ in 0..2 {
        assert_eq!(seal_as(&served, &key).await.status(), StatusCode::OK);
    }
    let (code, after) = limited(seal_as(&served, &key).await).await;
    assert_eq!(code, "key-requests-limit");
    assert!((25..=30).contains(&after), "{after}");
    for _ in 0..3 {
        assert_eq!(seal_as(&served, &other).await.status(), StatusCode::OK, "a key of its own");
    }

    place.add(3, Overrides::default());
    until_counted(&served, "veritee_router_keys 3").await;
    let (code, _) = limited(seal_as(&served, &key).await).await;
    assert_eq!(code, "key-requests-limit", "a reload refills nothing");
    until_counted(&served, "veritee_router_refusals_total{code=\"key-requests-limit\"} 2").await;
}

#[tokio::test]
async fn a_key_may_have_so_many_streams_and_they_come_back() {
    let place = Place::new();
    let one = Overrides { streams_max: Some(1), ..Overrides::default() };
    let (_, key) = place.add(1, one);
    let (_, other) = place.add(2, Overrides::default());
    let (mut arrived, answer) = fed();
    let served = place.serve(enclave(answer).await, |_| {}).await;
    let (first, feed) = tokio::join!(seal_as(&served, &key), arrived.recv());
    let refused = limited(seal_as(&served, &key).await).await;
    assert_eq!(refused, ("key-streams-limit".to_owned(), 1));
    let (unaffected, others_feed) = tokio::join!(seal_as(&served, &other), arrived.recv());
    assert_eq!(unaffected.status(), StatusCode::OK);
    drop(others_feed);
    drop(feed);
    assert_eq!(text(first).await, "");
    let (again, feed) = tokio::join!(seal_as(&served, &key), arrived.recv());
    assert_eq!(again.status(), StatusCode::OK);
    // A client that goes away gives its place back too.
    drop(again);
    let feed = feed.unwrap();
    timeout(PATIENCE, feed.closed()).await.unwrap();
    let again = async {
        loop {
            tokio::select! {
                biased;
                feed = arrived.recv() => break feed,
                response = seal_as(&served, &key) => {
                    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    assert!(timeout(PATIENCE, again).await.unwrap().is_some());
}

#[tokio::test]
async fn a_key_may_send_so_much_that_cannot_be_opened() {
    let place = Place::new();
    let (_, key) = place.add(1, Overrides::default());
    let (_, other) = place.add(2, Overrides::default());
    let next_status = Arc::new(AtomicU32::new(200));
    let answered = Arc::clone(&next_status);
    let answer = move |_| {
        let status = u16::try_from(answered.load(SeqCst)).unwrap();
        async move {
            let mut response = Response::new(Body::from("#ohttp-key"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    };
    let served =
        place.serve(enclave(answer).await, |keys| keys.limits.failures_per_minute = 2).await;
    for status in [200, 503, 415, 400, 400] {
        next_status.store(status, SeqCst);
        let response = seal_as(&served, &key).await;
        assert_eq!(u32::from(response.status().as_u16()), status, "only 400 counts");
    }
    next_status.store(200, SeqCst);
    let (code, after) = limited(seal_as(&served, &key).await).await;
    assert_eq!(code, "key-failures-limit");
    assert!((25..=30).contains(&after), "{after}");
    assert_eq!(seal_as(&served, &other).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_address_may_be_refused_so_often_and_its_good_keys_pass() {
    let place = Place::new();
    let (_, key) = place.add(1, Overrides::default());
    let served = place.serve(enclave(echo).await, |keys| keys.unauthorized_per_minute = 2).await;
    for _ in 0..2 {
        assert_eq!(served.seal(b"x").await.status(), StatusCode::UNAUTHORIZED);
    }
    let (code, after) = limited(served.seal(b"x").await).await;
    assert_eq!(code, "address-unauthorized-limit");
    assert!((25..=30).contains(&after), "{after}");
    assert_eq!(seal_as(&served, &key).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn metrics_add_up_and_name_nobody() {
    let place = Place::new();
    let (id, key) = place.add(1, Overrides::default());
    for metrics in [KeyMetrics::Together, KeyMetrics::ById] {
        let served = place.serve(enclave(echo).await, |keys| keys.metrics = metrics).await;
        assert_eq!(text(seal_as(&served, &key).await).await, "sealed");
        assert_eq!(served.seal(b"unkeyed").await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(served.get("/canary-path").await.status(), StatusCode::NOT_FOUND);
        for line in [
            "requests_total{route=\"/v1/nodes/{id}/ohttp\",class=\"2xx\"} 1",
            "requests_total{route=\"/v1/nodes/{id}/ohttp\",class=\"4xx\"} 1",
            "requests_total{route=\"-\",class=\"4xx\"} 1",
            "refusals_total{code=\"unauthorized\"} 1",
            "refusals_total{code=\"not-found\"} 1",
            "streams_total{ending=\"complete\"} 1",
            "bytes_total{direction=\"to-enclaves\"} 6",
            "bytes_total{direction=\"from-enclaves\"} 6",
            "first_byte_seconds_count{to=\"ohttp\"} 1",
            "first_byte_seconds_count{to=\"evidence\"} 0",
            "streams_open 0",
            "keys 1",
        ] {
            until_counted(&served, &format!("veritee_router_{line}")).await;
        }
        let page = text(served.get("/metrics").await).await;
        let ready = page.lines().find(|line| line.starts_with("veritee_router_enclave_ready{"));
        assert!(ready.unwrap().ends_with("\"} 1"), "{page}");
        let by_key = format!("veritee_router_key_requests_total{{key=\"{id}\"}} 1");
        assert_eq!(page.contains(&by_key), metrics == KeyMetrics::ById, "{page}");
        assert_eq!(page.contains(&id.to_string()), metrics == KeyMetrics::ById, "{page}");
        for canary in ["canary", "somebody", NODE, &key] {
            assert!(!page.contains(canary), "{canary} in {page}");
        }
        well_formed(&page);
    }
}

#[tokio::test]
async fn a_slow_client_does_not_make_its_enclave_look_slow() {
    let served = Served::start(enclave(echo).await, |_| {}).await;
    let mut stream = served.raw(&raw_head("connection: close\r\ncontent-length: 3")).await;
    sleep(Duration::from_millis(1_500)).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"one").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 200"));
    let within_a_second = "veritee_router_first_byte_seconds_bucket{to=\"ohttp\",le=\"1\"} 1";
    until_counted(&served, within_a_second).await;
}

/// Each series once, after the lines that say what it is.
fn well_formed(page: &str) {
    let mut series = Vec::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family), "{line} under {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            series.push(name);
        }
    }
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "{page}");
}

mod file {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    use router::KeysError;

    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_nothing_is_left_beside_it() {
        let place = Place::new();
        place.add(1, Overrides::default());
        fs::set_permissions(place.file(), Permissions::from_mode(0o644)).unwrap();
        place.add(2, Overrides::default());
        let mode = fs::metadata(place.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let beside: Vec<_> =
            fs::read_dir(&place.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(beside, ["keys.toml"]);
    }

    #[test]
    fn the_file_stays_its_owners_when_root_changes_it() {
        let place = Place::new();
        if std::os::unix::fs::chown(place.file(), Some(4_321), Some(4_322)).is_err() {
            // Only root can give files away.
            return;
        }
        place.add(1, Overrides::default());
        let after = fs::metadata(place.file()).unwrap();
        assert_eq!((after.uid(), after.gid()), (4_321, 4_322));
        assert_eq!(after.permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let place = Place::new();
        for (mode, good) in [(0o644, true), (0o640, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(place.file(), Permissions::from_mode(mode)).unwrap();
            let loaded = KeysFile::load(&place.file());
            match loaded {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(KeysError::WritableByOthers { mode: found, .. }) => {
                    assert_eq!((good, found), (false, mode));
                }
                Err(error) => panic!("{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let place = Place::new();
        place.add(1, Overrides::default());
        let before = fs::read(place.file()).unwrap();
        let unknown = "00000000000000ff".parse().unwrap();
        let change = KeysFile::change(&place.file(), |file| {
            file.add("two", Overrides::default(), &Secret::new([2; 40]), UnixTime::END)?;
            file.revoke(unknown, UnixTime::END)
        });
        assert!(matches!(change, Err(KeysError::Unknown(_))));
        assert_eq!(fs::read(place.file()).unwrap(), before);
        // A file that is refused is not replaced by a fresh one either.
        fs::write(place.file(), "nonsense").unwrap();
        let change = KeysFile::change(&place.file(), |_| Ok(()));
        assert!(matches!(change, Err(KeysError::Syntax(_))), "{change:?}");
        assert_eq!(fs::read(place.file()).unwrap(), b"nonsense");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_unread() {
        let place = Place::new();
        let mut text = fs::read_to_string(place.file()).unwrap();
        text.push_str(&"#".repeat(1 << 20));
        fs::write(place.file(), text).unwrap();
        assert!(matches!(KeysFile::load(&place.file()), Err(KeysError::TooMany)));
    }

    #[test]
    fn two_who_change_the_file_at_once_take_turns() {
        let place = Place::new();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let place = &place;
                scope.spawn(move || place.add(number, Overrides::default()));
            }
        });
        assert_eq!(KeysFile::load(&place.file()).unwrap().keys().len(), 16);
    }
}

/// No limit that a test does not set is met.
const WIDE: KeyLimits = KeyLimits {
    requests_per_minute: KeyLimits::MAX,
    streams_max: KeyLimits::MAX,
    failures_per_minute: KeyLimits::MAX,
};
