//! The leg from clients: the router's own certificate, and handshakes that lead nowhere.

use super::*;

/// A router that speaks TLS beyond loopback, in front of an enclave that does not.
async fn serve(shown: &Shown, enclave: SocketAddr, adjust: impl FnOnce(&mut Config)) -> Served {
    let served = Served::start_blind(enclave, |config| {
        config.listen = "0.0.0.0:0".parse().unwrap();
        config.tls = Some(shown.configured());
        adjust(config);
    })
    .await;
    let ready = "GET /readyz HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";
    let asked = async {
        while !tell(served.address, shown.spki, ready).await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    served
}

async fn metrics(served: &Served, spki: SpkiPin, line: &str) {
    until_counted(line, || tell(served.address, spki, METRICS)).await;
}

#[tokio::test]
async fn a_certificate_is_replaced_and_streams_go_on() {
    let mut shown = Shown::new();
    let (mut arrived, answer) = fed();
    let served = serve(&shown, enclave(answer).await, |_| {}).await;
    let mut stream = connect(served.address, shown.spki).await.unwrap();
    stream.write_all(raw_head("content-length: 0").as_bytes()).await.unwrap();
    let feed = arrived.recv().await.unwrap();
    feed.send(Ok(Bytes::from("before"))).await.unwrap();
    seen(&mut stream, "before").await;

    let (certificate, key) = pem();
    let new = identity(&certificate, &key).spki();
    shown.write(&certificate, &key);
    let renewed = async {
        while connect(served.address, new).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, renewed).await.unwrap();
    let old = connect(served.address, shown.spki).await;
    assert_eq!(old.unwrap_err(), TlsError::NotPinned { found: new });
    metrics(&served, new, "certificate_reloads_total{certificate=\"tls\",outcome=\"taken\"} 1")
        .await;

    feed.send(Ok(Bytes::from("after"))).await.unwrap();
    seen(&mut stream, "after").await;
    drop(feed);
    seen(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_certificate_that_is_refused_changes_nothing_and_is_told() {
    let mut shown = Shown::new();
    let served = serve(&shown, enclave(echo).await, |_| {}).await;
    let (certificate, key) = pem();
    let (_, foreign) = pem();
    let refused = "certificate_reloads_total{certificate=\"tls\",outcome=\"refused\"}";
    for (number, (certificate, key)) in
        [("nonsense", key.as_str()), (&certificate, "nonsense"), (&certificate, &foreign)]
            .into_iter()
            .enumerate()
    {
        // The pair is written one after the other, which may be seen as two changes.
        let before = number;
        shown.write(certificate, key);
        let counted = async {
            loop {
                let page = tell(served.address, shown.spki, METRICS).await;
                let line = page.lines().find(|line| line.contains(refused)).unwrap();
                let count: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
                if count > before {
                    break;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap();
        assert!(connect(served.address, shown.spki).await.is_ok(), "{number}");
    }
    metrics(
        &served,
        shown.spki,
        "certificate_reloads_total{certificate=\"tls\",outcome=\"taken\"} 0",
    )
    .await;
}

#[tokio::test]
async fn a_router_without_its_certificate_does_not_start() {
    let shown = Shown::new();
    std::fs::remove_file(shown.files().key).unwrap();
    for (tls, identity) in [(Some(shown.configured()), None), (None, Some(shown.configured()))] {
        let mut config = Config::on_loopback(&["http://127.0.0.1:1"]).unwrap();
        (config.tls, config.identity) = (tls, identity);
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let served = router::serve(listener, config, std::future::pending());
        assert!(timeout(PATIENCE, served).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn plain_http_gets_no_answer_where_tls_is() {
    let shown = Shown::new();
    let served = serve(&shown, enclave(echo).await, |_| {}).await;
    let answer =
        crate::support::rest(served.raw("GET /healthz HTTP/1.1\r\nhost: r\r\n\r\n").await).await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    metrics(&served, shown.spki, "handshakes_failed_total{code=\"not-tls\"} 1").await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_holds_no_place() {
    let shown = Shown::new();
    let served = serve(&shown, enclave(echo).await, |config| {
        config.limits.connections_max = 1;
        config.timeouts.request_head = SHORT;
    })
    .await;
    // Half a record.
    let _silent = served.raw("\x16\x03\x01").await;
    metrics(&served, shown.spki, "handshakes_failed_total{code=\"tls-handshake-timeout\"} 1").await;
}

#[tokio::test]
async fn the_oldest_of_too_many_handshakes_makes_room() {
    let shown = Shown::new();
    let served =
        serve(&shown, enclave(echo).await, |config| config.limits.handshakes_max = 1).await;
    let mut oldest = served.raw("\x16\x03\x01").await;
    let _next = served.raw("\x16\x03\x01").await;
    let mut buffer = [0; 16];
    let cut = timeout(PATIENCE, oldest.read(&mut buffer)).await.unwrap();
    assert!(matches!(cut, Ok(0) | Err(_)), "{cut:?}");
    metrics(&served, shown.spki, "handshakes_failed_total{code=\"tls-handshake-displaced\"} 2")
        .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_on_through_tls_too() {
    let shown = Shown::new();
    let (mut arrived, answer) = fed();
    let served = serve(&shown, enclave(answer).await, |config| config.timeouts.idle = SHORT).await;
    let mut stream = connect(served.address, shown.spki).await.unwrap();
    stream.write_all(raw_head("content-length: 0").as_bytes()).await.unwrap();
    let feed = arrived.recv().await.unwrap();
    let piece = Bytes::from(vec![0; 1 << 20]);
    let pump = async { while feed.send(Ok(piece.clone())).await.is_ok() {} };
    timeout(PATIENCE, pump).await.unwrap();
}

#[tokio::test]
async fn metrics_are_for_those_on_loopback() {
    // No octet leaves: this only asks which address would be ours.
    let routed = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Ok(ours) = routed else {
        // A machine without a network has no other address.
        return;
    };
    for (metrics, status) in [(Readers::Loopback, "404"), (Readers::Everybody, "200")] {
        let shown = Shown::new();
        let served = serve(&shown, enclave(echo).await, |config| config.metrics = metrics).await;
        let outside = SocketAddr::new(ours.ip(), served.address.port());
        for (address, expected) in [(served.address, "200"), (outside, status)] {
            let answer = tell(address, shown.spki, METRICS).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{address}: {answer}");
        }
    }
}
