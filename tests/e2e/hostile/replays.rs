//! Requests that the operator keeps: sent again wherever and whenever, or changed. Each acts at most once.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tests::{
    fleet::{Fleet, Plan},
    framing::{Framed, REQUEST_HEAD},
    lies::{self, ACCEPTED},
    octets::{Heard, talk, talk_on},
    relay::Exchange,
    script::{Script, Step, flipped},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::told::{PROMPT, Told};

/// A genuine request that no enclave has seen yet: the operator answered in its place.
async fn withheld(fleet: &Fleet, prompt: &str) -> Exchange {
    let before = fleet.relay.sealed().len();
    let page = Script::Answer { status: StatusCode::OK, media_type: "text/html", body: Vec::new() };
    fleet.relay.play(page);
    assert_eq!(Told::by(&fleet.client(), prompt).await.code(), "response-not-sealed");
    fleet.relay.play(Script::Honest);
    fleet.relay.until_sealed(before.saturating_add(1)).await.pop().unwrap()
}

/// The same as a client would write it.
fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: message/ohttp-chunked-req\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One request, sent again on the same connection, on others, past the router, later, and after a restart.
pub(super) async fn everywhere() {
    let fleet = Fleet::start(Plan::default()).await;
    let request = withheld(&fleet, PROMPT).await;
    let path = request.asked.1.clone();
    let to_router = post(&path, &request.request);
    let to_enclave = post("/v1/ohttp", &request.request);

    // On one connection, on another one, past the router, and past the relay.
    let router = TcpStream::connect(fleet.router).await.unwrap();
    let (router, first) = talk_on(router, &to_router).await;
    assert_eq!((first.status, first.complete), (200, true));
    let (_, same_connection) = talk_on(router, &to_router).await;
    let refusal = same_connection.body.clone();
    assert_refused(&same_connection, &refusal, "on the same connection");
    let problem: serde_json::Value = serde_json::from_slice(&refusal).unwrap();
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#ohttp-key");
    assert_refused(&talk(fleet.router, &to_router).await, &refusal, "on another connection");
    assert_refused(&talk(fleet.enclaves[0], &to_enclave).await, &refusal, "past the router");

    // The evidence of later challenges has the same keys, and the set forgets nothing.
    for _ in 0..3 {
        assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), ACCEPTED);
    }
    assert_refused(&talk(fleet.enclaves[0], &to_enclave).await, &refusal, "later");

    // An enclave that starts again has other keys, and another name.
    let again = Fleet::start(Plan::default()).await;
    assert_ne!(again.nodes, fleet.nodes);
    assert_refused(&talk(again.enclaves[0], &to_enclave).await, &refusal, "after a restart");
    assert_eq!(talk(again.router, &to_router).await.status, 421, "under its old name");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_in_flight_one_is_answered() {
    // The first goes on answering while the second comes.
    let slow = Plan::default().with_echo(12, Duration::from_millis(40));
    let fleet = Fleet::start(slow).await;
    let request = withheld(&fleet, PROMPT).await;
    let octets = post("/v1/ohttp", &request.request);
    let enclave = fleet.enclaves[0];
    let (first, second) = tokio::join!(talk(enclave, &octets), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        talk(enclave, &octets).await
    });
    assert_eq!((first.status, first.complete), (200, true), "{first:?}");
    assert_refused(&second, &second.body, "while the first is answered");

    // Both are on their way in, and the last octet of each comes at the same time.
    for _ in 0..8 {
        let request = withheld(&fleet, PROMPT).await;
        let octets = post("/v1/ohttp", &request.request);
        let (last, start) = octets.split_last().unwrap();
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(enclave).await.unwrap();
            stream.write_all(start).await.unwrap();
            open.push(stream);
        }
        // Until all are decapsulated; where one is not, it is refused before.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let heard = open.into_iter().map(|stream| talk_on(stream, std::slice::from_ref(last)));
        let heard = futures_util::future::join_all(heard).await;
        let mut statuses: Vec<u16> = heard.iter().map(|(_, heard)| heard.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400, 400]);
    }
}

/// Every octet of a small request, and everything that can be done to the chunks of a long one; then the request itself, which
/// shows that nothing else was wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_request_is_refused_like_any_other() {
    let fleet = Fleet::start(Plan::default()).await;
    let small = withheld(&fleet, "hi").await;
    let (status, refusal) = fleet.relay.send_instead(&small, Bytes::from_static(b"junk")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for at in 0..small.request.len() {
        let changed = Bytes::from(flipped(&small.request, at));
        let heard = fleet.relay.send_instead(&small, changed).await;
        assert_eq!(heard, (status, refusal.clone()), "octet {at} flipped");
        let cut = small.request.slice(..at);
        // A cut in the key costs a decapsulation no less than one in the chunks: some of each will do.
        if at % 61 == 0 || at < 9 || (1120..1140).contains(&at) {
            let heard = fleet.relay.send_instead(&small, cut).await;
            assert_eq!(heard, (status, refusal.clone()), "cut at {at}");
        }
    }
    assert_eq!(fleet.relay.send_again(&small).await.0, StatusCode::OK, "the control");

    let long = withheld(&fleet, &PROMPT.repeat(700)).await;
    let other = withheld(&fleet, &PROMPT.repeat(701)).await;
    let framed = |exchange: &Exchange| Framed::parse(&exchange.request, REQUEST_HEAD);
    let (framed, other) = (framed(&long), framed(&other));
    assert!(framed.chunks.len() > 1, "only {} chunks", framed.chunks.len());
    let answer = fleet.relay.sealed().into_iter().find(|exchange| !exchange.response.is_empty());
    let answer =
        answer.map(|exchange| Framed::parse(&exchange.response, 32)).unwrap_or(other.clone());
    let mut accepted = Vec::new();
    for lies::Reframing { story, make, code } in lies::reframings(&framed, &other, &answer) {
        let changed = Bytes::from(make(&framed));
        // The other request is genuine, and its time comes below.
        if changed == other.encode() {
            continue;
        }
        if code == ACCEPTED {
            accepted.push((story, changed));
            continue;
        }
        let heard = fleet.relay.send_instead(&long, changed).await;
        assert_eq!(heard, (status, refusal.clone()), "{story}");
    }
    // Longer lengths say the same, and say it once.
    assert!(accepted.len() > 1);
    for (index, (story, changed)) in accepted.into_iter().enumerate() {
        let (status, _) = fleet.relay.send_instead(&long, changed).await;
        assert_eq!(status.as_u16(), if index == 0 { 200 } else { 400 }, "{story}");
    }
}

/// A key that the enclave does not have, has had, or will have.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_of_another_epoch_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    let request = withheld(&fleet, PROMPT).await;
    let refusal = fleet.relay.send_instead(&request, Bytes::from_static(b"junk")).await;
    for by in 1..=u8::MAX {
        let mut changed = request.request.to_vec();
        changed[0] = changed[0].wrapping_add(by);
        let heard = fleet.relay.send_instead(&request, Bytes::from(changed)).await;
        assert_eq!(heard, refusal, "{by} epochs on");
    }
    assert_eq!(fleet.relay.send_again(&request).await.0, StatusCode::OK, "the control");
}

/// A client that goes away in the middle of its upload, or of the answer, leaves nothing that acts.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_nothing_and_may_be_sent_whole() {
    let fleet = Fleet::start(Plan::default()).await;
    let request = withheld(&fleet, PROMPT).await;
    let octets = post("/v1/ohttp", &request.request);
    for part in [200, 1300, octets.len().saturating_sub(1)] {
        let mut stream = TcpStream::connect(fleet.enclaves[0]).await.unwrap();
        stream.write_all(&octets[..part]).await.unwrap();
        drop(stream);
    }
    let heard = talk(fleet.enclaves[0], &octets).await;
    assert_eq!((heard.status, heard.complete), (200, true));
    fleet.relay.play(Script::response(|_| vec![Step::Abort]));
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "connection-died");
}

fn assert_refused(heard: &Heard, refusal: &[u8], story: &str) {
    assert_eq!(heard.status, 400, "{story}: {heard:?}");
    assert_eq!(heard.body, refusal, "{story}: one constant answer");
}
