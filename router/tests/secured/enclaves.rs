//! The leg to enclaves: only those whose key is pinned, and only by TLS.

use super::*;

/// Accepts connections by TLS for an enclave.
struct Listening {
    tcp: TcpListener,
    acceptor: Acceptor,
}

impl axum::serve::Listener for Listening {
    type Io = ServerStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, client) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(tcp).await {
                return (stream, client);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// An enclave that shows whatever `shown` is, takes `clients`, and closes its connections after each answer.
async fn behind_tls<F, Fut>(shown: &Arc<CurrentIdentity>, clients: Clients, answer: F) -> SocketAddr
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let handshakes = Handshakes { timeout: PATIENCE, at_once: 64 };
    let acceptor = Acceptor::new(Arc::clone(shown), clients, handshakes).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let closing = middleware::map_response(|mut response: Response<Body>| async move {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
        response
    });
    let app = app(Arc::new(Mutex::new(NODE.to_owned())), answer).layer(closing);
    let listening = Listening { tcp, acceptor };
    tokio::spawn(async move { axum::serve(listening, app).await.unwrap() });
    address
}

/// Makes the only enclave of a configuration one that is reached by TLS.
fn pinned(config: &mut Config, enclave: SocketAddr, router: &Shown, source: PinSource) {
    let url = format!("https://{enclave}").parse().unwrap();
    config.enclaves = vec![Enclave { url, name: "one".to_owned(), reach: Reach::Tls(source) }];
    config.identity = Some(router.configured());
}

fn fixed(pins: &[SpkiPin]) -> PinSource {
    PinSource { pins: pins.to_vec(), file: None }
}

async fn metrics(served: &Served, line: &str) {
    until_counted(line, || async { text(served.get("/metrics").await).await }).await;
}

/// A line about the one enclave.
fn of_one(name: &str, enclave: SocketAddr, label: &str, count: u64) -> String {
    format!("{name}{{enclave=\"one\",address=\"{enclave}\",{label}}} {count}")
}

#[tokio::test]
async fn looks_evidence_and_requests_all_go_to_the_pinned_key() {
    let (router, enclave) = (Shown::new(), another());
    let (old, shown) = (another().spki(), CurrentIdentity::new(enclave.clone()));
    let answer = |request: Request| async move {
        // The request says where it came in, and that nobody was told of the router's certificate but TLS.
        let head = format!("{} {:?}", request.uri(), request.headers().keys().collect::<Vec<_>>());
        Response::new(Body::from(head))
    };
    let clients = Clients::Pinned(pins(router.spki));
    let address = behind_tls(&shown, clients, answer).await;
    let source = fixed(&[old, enclave.spki()]);
    let served = Served::start(address, |config| pinned(config, address, &router, source)).await;
    assert!(text(served.seal(b"x").await).await.starts_with("/v1/ohttp"));
    assert!(text(served.get(&evidence(NODE)).await).await.starts_with("/v1/evidence"));
}

#[tokio::test]
async fn an_unknown_key_is_not_reached_and_is_told() {
    let (router, known) = (Shown::new(), another());
    let shown = CurrentIdentity::new(known.clone());
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let answer = move |request: Request| {
        count.fetch_add(1, SeqCst);
        echo(request)
    };
    let address = behind_tls(&shown, Clients::Anyone, answer).await;
    let source = fixed(&[known.spki()]);
    let served = Served::start(address, |config| {
        pinned(config, address, &router, source);
        config.timeouts.poll = Duration::from_mins(1);
    })
    .await;
    assert_eq!(served.seal(b"x").await.status(), StatusCode::OK);

    shown.replace(another());
    let refused = served.seal(b"x").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem(refused).await, "node-unreachable");
    assert_eq!(reached.load(SeqCst), 1, "nothing was sent");
    // The request raised suspicion, and the look that follows finds the same.
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    let failures = "enclave_tls_failures_total";
    metrics(&served, &of_one(failures, address, "code=\"spki-not-pinned\"", 2)).await;
}

#[tokio::test]
async fn https_never_becomes_http() {
    let router = Shown::new();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let answer = move |request: Request| {
        count.fetch_add(1, SeqCst);
        echo(request)
    };
    let address = enclave(answer).await;
    let source = fixed(&[another().spki()]);
    let served =
        Served::start_blind(address, |config| pinned(config, address, &router, source)).await;
    let failures = "enclave_tls_failures_total";
    metrics(&served, &of_one(failures, address, "code=\"not-tls\"", 3)).await;
    assert_eq!(served.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem(served.seal(b"x").await).await, "misdirected", "it was never seen");
    assert_eq!(reached.load(SeqCst), 0);
}

#[tokio::test]
async fn an_enclave_that_does_not_know_the_router_is_told_apart() {
    let (router, enclave) = (Shown::new(), another());
    let shown = CurrentIdentity::new(enclave.clone());
    let clients = Clients::Pinned(pins(another().spki()));
    let address = behind_tls(&shown, clients, echo).await;
    let source = fixed(&[enclave.spki()]);
    let served =
        Served::start_blind(address, |config| pinned(config, address, &router, source)).await;
    let refused = async {
        loop {
            let page = text(served.get("/metrics").await).await;
            let line = format!(
                "veritee_router_{}",
                of_one("enclave_tls_failures_total", address, "code=\"tls-refused-by-peer\"", 1)
            );
            if page.lines().any(|found| found.starts_with(line.trim_end_matches('1'))) {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(served.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_enclave_that_restarts_is_known_by_its_file() {
    let (router, first) = (Shown::new(), another());
    let shown = CurrentIdentity::new(first.clone());
    let address = behind_tls(&shown, Clients::Pinned(pins(router.spki)), echo).await;
    let file = router.folder.join("one.pins");
    let source = PinSource { pins: Vec::new(), file: Some(file.clone()) };
    let served =
        Served::start_blind(address, |config| pinned(config, address, &router, source)).await;
    // There is no file yet: nobody is pinned, so nobody is believed.
    metrics(&served, &of_one("pin_reloads_total", address, "outcome=\"taken\"", 0)).await;
    assert_eq!(served.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    std::fs::write(&file, format!("# one\n\n{}\n", first.spki())).unwrap();
    served.until("/readyz", StatusCode::OK).await;

    let second = another();
    shown.replace(second.clone());
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    std::fs::write(&file, format!("{}\n", second.spki())).unwrap();
    served.until("/readyz", StatusCode::OK).await;
    assert_eq!(served.seal(b"x").await.status(), StatusCode::OK);
    metrics(&served, &of_one("pin_reloads_total", address, "outcome=\"taken\"", 2)).await;

    for (number, bad) in [(1, "sha256:00"), (2, "# nobody\n"), (3, "")] {
        std::fs::write(&file, bad).unwrap();
        // A file that is being written may be seen empty in between, which is refused as well.
        let refused = async {
            loop {
                let page = text(served.get("/metrics").await).await;
                let line = page.lines().find(|line| {
                    line.contains("pin_reloads_total{") && line.contains("outcome=\"refused\"")
                });
                let count: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
                if count >= number {
                    break;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, refused).await.unwrap();
        assert_eq!(served.seal(b"x").await.status(), StatusCode::OK, "{bad:?}");
    }
    std::fs::remove_file(&file).unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(served.seal(b"x").await.status(), StatusCode::OK, "no file says nothing");
}

#[tokio::test]
async fn a_file_of_pins_that_others_can_write_is_not_believed() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
    let (router, enclave) = (Shown::new(), another());
    let shown = CurrentIdentity::new(enclave.clone());
    let address = behind_tls(&shown, Clients::Anyone, echo).await;
    let file = router.folder.join("one.pins");
    std::fs::write(&file, enclave.spki().to_string()).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let source = PinSource { pins: Vec::new(), file: Some(file.clone()) };
    let served =
        Served::start_blind(address, |config| pinned(config, address, &router, source)).await;
    metrics(&served, &of_one("pin_reloads_total", address, "outcome=\"refused\"", 1)).await;
    assert_eq!(served.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    served.until("/readyz", StatusCode::OK).await;
}

/// Once a key is not pinned any more, connections that were made to it before carry no new request: neither those that
/// were idle then, nor those whose answers end later.
#[tokio::test]
async fn a_key_that_is_no_longer_pinned_gets_no_further_request() {
    let (router, known) = (Shown::new(), another());
    let shown = CurrentIdentity::new(known.clone());
    let handshakes = Handshakes { timeout: PATIENCE, at_once: 64 };
    let acceptor = Acceptor::new(Arc::clone(&shown), Clients::Anyone, handshakes).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let (mut arrived, answer) = fed();
    // Connections stay open after an answer here.
    let app = app(Arc::new(Mutex::new(NODE.to_owned())), answer);
    tokio::spawn(async move { axum::serve(Listening { tcp, acceptor }, app).await.unwrap() });
    let file = router.folder.join("one.pins");
    std::fs::write(&file, known.spki().to_string()).unwrap();
    let source = PinSource { pins: Vec::new(), file: Some(file.clone()) };
    let served = Served::start(address, |config| pinned(config, address, &router, source)).await;
    let (mut response, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    let feed = feed.unwrap();
    feed.send(Ok(Bytes::from("one"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "one");

    std::fs::write(&file, another().spki().to_string()).unwrap();
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    feed.send(Ok(Bytes::from("two"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "two", "what is on its way goes on");
    drop(feed);
    assert!(next(&mut response).await.is_none(), "a clean end");
    // Several looks later.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(served.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem(served.seal(b"x").await).await, "node-not-ready");
}
