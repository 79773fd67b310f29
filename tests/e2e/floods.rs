//! Floods: what strangers send in masses costs them more than it costs us, and stops nobody who is honest.
//!
//! How long anything takes is nowhere asserted, only that it ends. What a flood costs honest clients in throughput is a figure of
//! `make bench`, and that decapsulation keeps to its share is tested where the share is kept.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "small numbers, and reasons that say what a flood has done"
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use attestation::{Bundle, Challenge, UnixTime, binding::FreshnessProof};
use http::StatusCode;
use tests::{
    fleet::{Fleet, Plan},
    octets::{self, Heard},
    programs::{Place, address_in, quiet_port},
    script::Script,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::told::{PATIENCE, PROMPT, Told};

/// Right in form, to the first epoch's key, and sealed by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn bogus_ciphertexts_keep_nobody_from_an_answer() {
    // A queue of four and a hundredth of the processors fill soon; and if failures counted as requests, the key would be used up.
    let config =
        "limits.decapsulations = 4\nlimits.decapsulation_percent = 1\nlimits.requests_per_key = 60";
    let fleet = Fleet::start(Plan { config, ..Plan::default() }).await;
    let (_, before) = evidence(fleet.enclaves[0], "/v1/evidence").await;
    for (address, path) in [
        (fleet.enclaves[0], "/v1/ohttp".to_owned()),
        (fleet.router, format!("/v1/nodes/{}/ohttp", fleet.nodes[0])),
    ] {
        let flood = Flood::start(24, address, move |number| sealed_post(&path, "", &bogus(number)));
        let client = fleet.client();
        for _ in 0..6 {
            answered_in_the_end(&client).await;
        }
        let told = flood.until(&[400, 503], 40).await;
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [400, 503], "nothing else is said");
    }
    let (_, after) = evidence(fleet.enclaves[0], "/v1/evidence").await;
    assert_eq!(before, after, "what could not be opened used up no key");
}

/// Whatever is wrong with the form is told before any key is used, in one constant answer.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_ciphertexts_in_masses_get_one_constant_answer() {
    let fleet = Fleet::start(Plan::default()).await;
    let constant = octets::talk(fleet.enclaves[0], &sealed_post("/v1/ohttp", "", &bogus(0))).await;
    assert_eq!(constant.status, 400);
    let edit = |at: usize, to: u8| {
        let mut body = bogus(1);
        body[at] = to;
        body
    };
    let kinds: [(&str, Vec<u8>); 8] = [
        ("another key", edit(0, 9)),
        ("another KEM", edit(1, 0x00)),
        ("another KDF", edit(4, 9)),
        ("another AEAD", edit(6, 3)),
        ("nothing", Vec::new()),
        ("half a header", bogus(2)[..600].to_vec()),
        ("a header alone", bogus(3)[..HEADER_LEN].to_vec()),
        ("a chunk of no end", [&bogus(4)[..HEADER_LEN], &[0x40, 0xff, 1, 2, 3]].concat()),
    ];
    for (address, path) in [
        (fleet.enclaves[0], "/v1/ohttp".to_owned()),
        (fleet.router, format!("/v1/nodes/{}/ohttp", fleet.nodes[0])),
    ] {
        let mut asked = JoinSet::new();
        for (kind, body) in &kinds {
            for _ in 0..10 {
                let (request, kind) = (sealed_post(&path, "", body), (*kind).to_owned());
                asked.spawn(async move { (kind, octets::talk(address, &request).await) });
            }
        }
        for (kind, heard) in asked.join_all().await {
            assert_eq!((heard.status, &heard.body), (400, &constant.body), "{kind}");
        }
        for length in ["99999999", "9223372036854775807"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: message/ohttp-chunked-req\r\ncontent-length: {length}\r\n\r\n"
            );
            assert_eq!(octets::talk(address, request.as_bytes()).await.status, 413, "{length}");
        }
    }
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted");
}

/// Through a router that asks for keys, a flood stops at the router once its key has failed often enough, and another key is not
/// asked to pay for it.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_one_key_stop_that_key_at_the_router() {
    const ALLOWED: usize = 5;
    let file = std::env::temp_dir().join(format!("veritee-floods-{}.toml", std::process::id()));
    let key = |name: &str, seed: u8| {
        let seed = attestation::Secret::new([seed; 40]);
        let overrides = router::Overrides::default();
        let add =
            |keys: &mut router::KeysFile| keys.add(name, overrides, &seed, UnixTime::from_secs(0));
        router::KeysFile::change(&file, add).unwrap().1
    };
    let (hostile, honest) = (key("hostile", 1), key("honest", 2));
    let limits = router::KeyLimits {
        requests_per_minute: 10_000,
        streams_max: 10,
        failures_per_minute: u32::try_from(ALLOWED).unwrap(),
    };
    let keys = router::Keys {
        file: file.clone(),
        reload: Duration::from_secs(1),
        limits,
        unauthorized_per_minute: 100,
        metrics: router::KeyMetrics::Together,
    };
    let fleet = Fleet::start(Plan { keys: Some(keys), ..Plan::default() }).await;
    let path = format!("/v1/nodes/{}/ohttp", fleet.nodes[0]);
    let header = format!("authorization: Bearer {}\r\n", hostile.expose());
    let mut told: BTreeMap<u16, usize> = BTreeMap::new();
    for number in 0..40 {
        let heard = octets::talk(fleet.router, &sealed_post(&path, &header, &bogus(number))).await;
        *told.entry(heard.status).or_default() += 1;
        if heard.status == 429 {
            let wait: u32 = heard.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
    }
    // One comes back every twelve seconds.
    assert!((ALLOWED..ALLOWED + 4).contains(&told[&400]), "{told:?}");
    assert_eq!(told[&400] + told[&429], 40, "{told:?}");
    // Evidence is refused to that key, too: it is the key that is stopped.
    let ask =
        format!("GET /v1/nodes/{}/evidence HTTP/1.1\r\nhost: x\r\n{header}\r\n", fleet.nodes[0]);
    assert_eq!(octets::talk(fleet.router, ask.as_bytes()).await.status, 429);
    let policy = fleet.read_policy(&fleet.policy);
    let client = fleet.builder(policy).authorization(honest).build().unwrap();
    assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted");
    std::fs::remove_file(file).unwrap();
}

/// The memory of a real enclave after one flood, and after three more.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_nothing_behind_in_memory() {
    const WAVE: u64 = 600;
    const SLACK_KIB: u64 = 4 << 10;
    let place = Place::new("flood");
    let platform = place.platform().await;
    let limits = "decapsulation_percent = 100";
    let config = place.enclave_config("enclave.toml", quiet_port(), "", limits);
    let mut enclave = place.start("veritee-enclave", &["--config", &config]);
    let address = address_in(&enclave.line().await);
    let wave = async |from: u64| {
        let post = |number| sealed_post("/v1/ohttp", "", &bogus(number));
        let mut asked = JoinSet::new();
        for number in 0..WAVE {
            let request = post(from + number);
            asked.spawn(async move { octets::talk(address, &request).await.status });
            while asked.len() >= 16 {
                assert!(matches!(asked.join_next().await.unwrap().unwrap(), 400 | 503));
            }
        }
        asked.join_all().await;
    };
    wave(0).await;
    let before = resident_kib(enclave.id());
    for number in 1..4 {
        wave(number * WAVE).await;
    }
    let after = resident_kib(enclave.id());
    assert!(after < before + SLACK_KIB, "{before} KiB, then {after} KiB");
    assert!(enclave.stop().await.success() && platform.stop().await.success());
}

/// Challenges in masses: the platform signs for many at once, what is over the bound is told so, and the key is replaced in spite
/// of it.
#[tokio::test(flavor = "multi_thread")]
async fn challenges_in_masses_share_reports_and_delay_no_new_key() {
    let config = "limits.evidence_requests = 16\nlimits.requests_per_key = 4";
    let plan = Plan { config, report_takes: Duration::from_millis(150), ..Plan::default() };
    let fleet = Fleet::start(plan).await;
    let client = fleet.client();
    client.enclaves().await.unwrap();
    let direct = (fleet.enclaves[0], "/v1/evidence".to_owned());
    let through = (fleet.router, format!("/v1/nodes/{}/evidence", fleet.nodes[0]));
    let before = fleet.reports.load(SeqCst);
    let floods = [direct.clone(), through].map(|(address, path)| {
        Flood::start(32, address, move |number| challenge_post(&path, &challenge(number)))
    });
    let (_, first) = evidence(direct.0, &direct.1).await;

    // Sixteen who found a place share reports; each answers its own.
    let mut found = 0_u64;
    for number in 0..500 {
        let challenge = challenge(1_000_000 + number);
        let heard = octets::talk(direct.0, &challenge_post(&direct.1, &challenge)).await;
        if heard.status == 200 {
            let bundle = Bundle::parse(&heard.body).unwrap();
            let proof: FreshnessProof = serde_json::from_slice(&bundle.freshness).unwrap();
            assert!(proof.answers(&challenge));
            found += 1;
            if found == 2 {
                break;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(found, 2, "nobody finds a place any more");

    // Who has evidence is answered all the while. Four answers use up the key, and the next one comes.
    for _ in 0..4 {
        assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted");
    }
    let next = async {
        loop {
            let (status, cached) = evidence(direct.0, &direct.1).await;
            assert_eq!(status, 200, "cached evidence has no queue");
            if cached != first {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, next).await.expect("the flood held up the next key");

    let mut fresh = 0;
    for flood in floods {
        let told = flood.until(&[200, 503], 16).await;
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [200, 503]);
        fresh += told[&200];
    }
    let reports = fleet.reports.load(SeqCst) - before;
    assert!(reports * 3 < fresh, "{reports} reports for {fresh} challenges");
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted", "after the flood");
}

/// Who says nothing, half a head or half a body is cut off, by the enclave and by the router, and meanwhile others are answered.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off() {
    let config = "limits.header_s = 1\nlimits.upload_s = 1";
    let fleet = Fleet::start(Plan { config, ..Plan::default() }).await;
    let mut config =
        router::Config::on_loopback(&[&format!("http://{}", fleet.enclaves[0])]).unwrap();
    config.timeouts.request_head = Duration::from_secs(1);
    config.timeouts.upload = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let impatient = listener.local_addr().unwrap();
    tokio::spawn(router::serve(listener, config, std::future::pending()));
    tests::programs::until_ready(impatient, None, 1).await;

    for (address, path) in [
        (fleet.enclaves[0], "/v1/ohttp".to_owned()),
        (impatient, format!("/v1/nodes/{}/ohttp", fleet.nodes[0])),
    ] {
        let whole = sealed_post(&path, "", &bogus(1));
        let head = whole.len() - bogus(1).len();
        let mut slow = JoinSet::new();
        for _ in 0..20 {
            for (kind, octets, status) in [
                ("nothing", 0, 0),
                ("a word", 4, 0),
                ("half a head", head - 2, 0),
                ("a head", head, 408),
                ("half a header", head + 500, 408),
                ("all but the end", whole.len() - 1, 408),
            ] {
                let front = whole[..octets].to_vec();
                slow.spawn(async move { (kind, status, cut_off(address, &front).await) });
            }
        }
        assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted", "meanwhile");
        for (kind, status, heard) in slow.join_all().await {
            // A server may close on a bad beginning with or without a word; what it must not do is wait.
            let expected = [status, if status == 0 { 408 } else { status }];
            assert!(expected.contains(&heard.status), "{kind}: {heard:?}");
        }
    }
}

/// Octets of all requests that are arriving are bounded together: of uploads that stop half-way as many are held as fit, and the
/// others are told to come back.
#[tokio::test(flavor = "multi_thread")]
async fn octets_that_wait_are_bounded_together() {
    let config =
        "limits.request_bytes = 65536\nlimits.buffered_bytes = 150000\nlimits.upload_s = 2";
    let fleet = Fleet::start(Plan { config, ..Plan::default() }).await;
    // A genuine request that never arrived.
    let (status, media_type) = (StatusCode::SERVICE_UNAVAILABLE, "application/problem+json");
    fleet.relay.play(Script::Answer { status, media_type, body: Vec::new() });
    assert_ne!(Told::by(&fleet.client(), &PROMPT.repeat(800)).await.code(), "accepted");
    let request = fleet.relay.until_sealed(1).await.remove(0).request;
    assert!(request.len() > 65_536);
    let whole = sealed_post("/v1/ohttp", "", &request);
    let mut uploads = JoinSet::new();
    for _ in 0..12 {
        let (address, front) = (fleet.enclaves[0], whole[..whole.len() - 1].to_vec());
        uploads.spawn(async move { cut_off(address, &front).await.status });
    }
    let statuses = uploads.join_all().await;
    let held = statuses.iter().filter(|status| **status == 408).count();
    // Two fit. One more may find room that somebody gives back who was refused.
    assert!((1..=3).contains(&held), "{statuses:?}");
    assert!(statuses.iter().all(|status| [408, 503].contains(status)), "{statuses:?}");
    let heard = octets::talk(fleet.enclaves[0], &whole).await;
    assert_eq!(heard.status, 200, "what they held came back");
}

/// Connections are bounded, and who holds them without asking loses them to those who ask.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room() {
    let config = "limits.connections = 8\nlimits.header_s = 1";
    let fleet = Fleet::start(Plan { config, ..Plan::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..32 {
        idle.push(TcpStream::connect(fleet.enclaves[0]).await.unwrap());
    }
    let heard = octets::talk(fleet.enclaves[0], &octets::get("/healthz")).await;
    assert_eq!(heard.status, 200);
    for mut stream in idle {
        let mut seen = Vec::new();
        // A reset is an end as good as any.
        drop(timeout(PATIENCE, stream.read_to_end(&mut seen)).await.expect("it is never closed"));
    }
}

/// Requests without end, over as many connections at once as it was started with.
struct Flood {
    stop: Arc<AtomicBool>,
    told: Arc<std::sync::Mutex<BTreeMap<u16, usize>>>,
    connections: JoinSet<()>,
}

impl Flood {
    fn start(
        connections: u64,
        address: SocketAddr,
        request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (mut tasks, request) = (JoinSet::new(), Arc::new(request));
        for connection in 0..connections {
            let (stop, told, request) =
                (Arc::clone(&stop), Arc::clone(&told), Arc::clone(&request));
            tasks.spawn(async move {
                for count in 0.. {
                    if stop.load(SeqCst) {
                        return;
                    }
                    let heard = octets::talk(address, &request(connection << 32 | count)).await;
                    check(&heard);
                    let told: &std::sync::Mutex<BTreeMap<u16, usize>> = &told;
                    *told.lock().unwrap().entry(heard.status).or_default() += 1;
                    // Two processors have other tests to run, too.
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self { stop, told, connections: tasks }
    }

    /// Ends it once each of these was told so often; everything that was told.
    async fn until(self, statuses: &[u16], count: usize) -> BTreeMap<u16, usize> {
        let enough = async {
            loop {
                let told = self.told.lock().unwrap().clone();
                if statuses.iter().all(|status| told.get(status).is_some_and(|told| *told >= count))
                {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let told = timeout(PATIENCE, enough).await;
        let heard = self.told.lock().unwrap().clone();
        assert!(told.is_ok(), "not told {statuses:?} {count} times: {heard:?}");
        self.stop.store(true, SeqCst);
        self.connections.join_all().await;
        let told = self.told.lock().unwrap();
        told.clone()
    }
}

/// Who is told to come back is told when.
fn check(heard: &Heard) {
    if heard.status == 503 {
        let wait: u32 = heard.header("retry-after").expect("a wait").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{heard:?}");
    }
}

/// Asks until an answer has come whole; who is told to come back does.
async fn answered_in_the_end(client: &client::Client) {
    let answered = async {
        loop {
            let told = Told::by(client, PROMPT).await;
            match told.code() {
                "accepted" => return,
                "busy" => sleep(Duration::from_millis(10)).await,
                other => panic!("{other}: {told:?}"),
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("the flood shut an honest client out");
}

/// Sends what there is of a request and says no more: what is heard before the connection ends.
async fn cut_off(address: SocketAddr, front: &[u8]) -> Heard {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(front).await.unwrap();
    let mut seen = Vec::new();
    // A reset is an end as good as any.
    drop(timeout(PATIENCE, stream.read_to_end(&mut seen)).await.expect("it is never cut off"));
    Heard::parse(&seen)
}

async fn evidence(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let heard = octets::talk(address, &octets::get(path)).await;
    (heard.status, heard.body)
}

fn challenge(number: u64) -> Challenge {
    let mut challenge = [0; 32];
    challenge[..8].copy_from_slice(&number.to_le_bytes());
    Challenge(challenge)
}

fn challenge_post(path: &str, challenge: &Challenge) -> Vec<u8> {
    octets::post_json(path, format!("{{\"challenge\":\"{challenge}\"}}").as_bytes())
}

/// A POST of a sealed request; `header` is one more line of the head, or none.
fn sealed_post(path: &str, header: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{header}content-type: message/ohttp-chunked-req\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A ciphertext of the right form that nobody sealed; a new one for each number.
fn bogus(number: u64) -> Vec<u8> {
    let mut body = vec![0, 0x64, 0x7a, 0, 1, 0, 2];
    let seed = attestation::Sha256::of(&number.to_le_bytes());
    body.extend(seed.0.iter().copied().cycle().take(HEADER_LEN - 7 + 1 + 1_024 + 16));
    body[HEADER_LEN] = 0;
    body
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

const HEADER_LEN: usize = 7 + 1_120;
