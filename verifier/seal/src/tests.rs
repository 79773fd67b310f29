//! Both halves together: what `seal` sends, the channel opens, and the other way round.

use attestation::{Secret, Sha256};
use channel::chunks::Misframed;
use channel::padding::{CELL_LEN, FINAL_LEN};
use channel::{
    Answer, Fields, HEADER_LEN, Limit, Opened, Recipient, Refused, Request, RequestHeader,
};

use crate::open::{Broken, Event, Finished, PendingResponse};
use crate::request::seal_to;

fn request(content_len: usize) -> Request {
    Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "node.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new().with("content-type", "application/json").unwrap(),
        content: Secret::new(vec![b'x'; content_len]),
        trailers: Fields::new(),
    }
}

fn open(to: &Recipient, bytes: &[u8]) -> Result<Opened, Refused> {
    let (header, chunks) = bytes.split_at(HEADER_LEN);
    let limit = Limit { bytes_max: 1 << 30 };
    let mut opener = to.begin(&RequestHeader::parse(header)?, limit)?;
    opener.push(chunks)?;
    opener.finish()
}

/// One exchange: the client's end, and the answer of three events in its chunks.
fn exchange() -> (PendingResponse, Vec<Vec<u8>>, Sha256) {
    let to = Recipient::generate(5, 10);
    let (sealed, pending) = seal_to(to.public(), &request(10)).unwrap();
    let opened = open(&to, &sealed.into_bytes()).unwrap();
    let (reply, nonce) = opened.reply.into_sealer(&[0x33; 32]);
    let (mut frames, mut out) = (vec![nonce], Vec::new());
    let fields = Fields::new().with("content-type", "text/event-stream").unwrap();
    let mut answer = Answer::begin(reply, &opened.blinds, 200, &fields, &mut out).unwrap();
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        frames.push(core::mem::take(&mut out));
        answer.event(event.as_bytes(), &mut out).unwrap();
    }
    frames.push(core::mem::take(&mut out));
    let res_mac = answer.res_mac();
    answer.finish(&Fields::new().with("veritee-receipt", "abc").unwrap(), &mut out).unwrap();
    frames.push(out);
    (pending, frames, res_mac)
}

/// Feeds the stream in pieces of `step`; gives the content before the end, and the end.
fn receive(
    pending: PendingResponse,
    bytes: &[u8],
    step: usize,
) -> (String, Result<Finished, Broken>) {
    let (mut stream, mut events) = (pending.open(), Vec::new());
    let pushed = bytes.chunks(step).try_for_each(|piece| stream.push(piece, &mut events));
    let content = events.iter().filter_map(|event| match event {
        Event::Content(octets) => Some(String::from_utf8_lossy(octets)),
        Event::Head { .. } => None,
    });
    let content = content.collect::<String>();
    let lines = content.lines().filter(|line| !line.is_empty() && !line.starts_with(':'));
    (lines.collect::<Vec<_>>().join("|"), pushed.and_then(|()| stream.finish()))
}

#[test]
fn a_request_arrives_as_it_was_and_in_a_bucket() {
    for (content_len, bucket, chunks) in [
        (0, 1 << 10, 1),
        (1000, 1 << 11, 1),
        (16_000, 1 << 14, 1),
        (16_400, 1 << 15, 2),
        (100_000, 1 << 17, 8),
    ] {
        let to = Recipient::generate(5, 10);
        let (sealed, pending) = seal_to(to.public(), &request(content_len)).unwrap();
        let bytes = sealed.into_bytes();
        assert_eq!(bytes[..7], [5, 0x64, 0x7a, 0, 1, 0, 2], "X-Wing, HKDF-SHA256, AES-256-GCM");
        let framing = (chunks - 1) * (4 + 16) + 1 + 16;
        assert_eq!(bytes.len(), HEADER_LEN + bucket + framing, "{content_len}");

        let opened = open(&to, &bytes).unwrap();
        let plain = opened.plaintext.expose();
        assert_eq!(plain.len(), bucket);
        let parsed = Request::parse(plain).unwrap();
        assert_eq!(parsed.request.content.expose().len(), content_len);
        // Both ends commit to the request without its padding, and name it alike.
        let message = &plain[..parsed.message_len];
        assert_eq!(pending.req_mac, opened.blinds.request_mac(message));
        assert_eq!(pending.request, opened.request_digest);
    }
}

#[test]
fn no_two_ciphertexts_are_alike() {
    let to = Recipient::generate(5, 10);
    let [one, two] = [(); 2].map(|()| seal_to(to.public(), &request(1)).unwrap().0.into_bytes());
    assert_ne!(one[7..HEADER_LEN], two[7..HEADER_LEN]);
    assert_ne!(one[HEADER_LEN..], two[HEADER_LEN..]);
}

#[test]
fn an_answer_is_whole_however_it_arrives() {
    for step in [1, 7, 1000, usize::MAX] {
        let (pending, frames, res_mac) = exchange();
        let request = pending.request;
        let (content, end) = receive(pending, &frames.concat(), step);
        assert_eq!(content, "data: one|data: two|data: three");
        let finished = end.unwrap();
        assert!(finished.events.is_empty());
        let receipt = finished.trailers.only("veritee-receipt").unwrap();
        assert_eq!(receipt, Some(b"abc".as_slice()));
        assert_eq!(finished.transcript.res_mac, res_mac, "both ends commit to the same octets");
        assert_eq!(finished.transcript.request, request);
        let par_mac = finished.transcript.par_mac(b"cbor");
        assert_eq!(par_mac, finished.transcript.blinds.parameters_mac(b"cbor"));
        assert_ne!(par_mac, finished.transcript.par_mac(b"other"));
    }
}

#[test]
fn the_head_comes_first_and_without_what_pads_it_mattering() {
    let (pending, frames, _) = exchange();
    let (mut stream, mut events) = (pending.open(), Vec::new());
    stream.push(&frames[..2].concat(), &mut events).unwrap();
    let [Event::Head { status, fields }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*status, 200);
    assert_eq!(fields.only("content-type").unwrap(), Some(b"text/event-stream".as_slice()));
}

#[test]
fn no_truncation_finishes() {
    let (_, frames, _) = exchange();
    let len = frames.concat().len();
    assert_eq!(len, 32 + 4 * (2 + CELL_LEN + 16) + 1 + FINAL_LEN + 16);
    for cut in 0..len {
        let (pending, frames, _) = exchange();
        let (content, end) = receive(pending, &frames.concat()[..cut], 100);
        assert!("data: one|data: two|data: three".starts_with(&content), "only a prefix is given");
        let why = end.unwrap_err();
        assert!(["response-truncated", "response-not-authentic"].contains(&why.code()), "{why}");
    }
}

#[test]
fn a_router_that_plays_with_chunks_is_noticed() {
    let plays: [(&str, &[usize], &str); 6] = [
        ("reorders", &[0, 1, 3, 2, 4, 5], ""),
        ("repeats", &[0, 1, 2, 2, 3, 4, 5], "data: one"),
        ("leaves out", &[0, 1, 2, 4, 5], "data: one"),
        ("ends early", &[0, 1, 2, 5], "data: one"),
        ("withholds the head", &[0, 2, 3, 4, 5], ""),
        ("goes on after the end", &[0, 1, 2, 3, 4, 5, 2], "data: one|data: two|data: three"),
    ];
    for (name, order, prefix) in plays {
        let (pending, frames, _) = exchange();
        let bytes: Vec<u8> = order.iter().flat_map(|at| frames[*at].clone()).collect();
        let (content, end) = receive(pending, &bytes, 50);
        assert_eq!(content, prefix, "{name}: nothing but what stood in its position");
        assert_eq!(end.unwrap_err().code(), "response-not-authentic", "{name}");
    }
    let ((pending, frames, _), (_, other, _)) = (exchange(), exchange());
    let spliced = [frames[..3].concat(), other[3..].concat()].concat();
    let (content, end) = receive(pending, &spliced, 50);
    assert_eq!((content.as_str(), end.is_err()), ("data: one", true), "another answer's chunks");
    let (pending, ..) = exchange();
    let (content, end) = receive(pending, &other.concat(), 50);
    assert_eq!((content.as_str(), end.is_err()), ("", true), "another answer");
}

#[test]
fn no_chunk_passes_for_the_last_nor_the_last_for_another() {
    let len = frame_len();
    for at in 1..5 {
        let (pending, frames, _) = exchange();
        // In its own position, and with the mark of the last instead of its length.
        let bytes = [frames[..at].concat().as_slice(), &[0], &frames[at][len..]].concat();
        let (_, end) = receive(pending, &bytes, 50);
        assert_eq!(end.unwrap_err().code(), "response-not-authentic", "chunk {at} as the last");
    }
    let (pending, frames, _) = exchange();
    let mut bytes = frames[..5].concat();
    channel::chunks::write_len(frames[5][1..].len(), &mut bytes);
    bytes.extend(&frames[5][1..]);
    let (_, end) = receive(pending, &bytes, 50);
    assert_eq!(end.unwrap_err().code(), "response-not-authentic", "the last as another");
}

/// Octets of the length that announces a cell.
fn frame_len() -> usize {
    let mut len = Vec::new();
    channel::chunks::write_len(CELL_LEN + channel::TAG_LEN, &mut len);
    len.len()
}

#[test]
fn a_shorter_nonce_is_no_way_to_a_weaker_suite() {
    // The nonce of AES-128-GCM has 16 octets: the client knows one length, and so one key.
    let (pending, frames, _) = exchange();
    let weaker = [frames[0][..16].to_vec(), frames[1..].concat()].concat();
    assert!(receive(pending, &weaker, 100).1.is_err());
}

#[test]
fn authentic_nonsense_is_refused() {
    for (last, why) in [
        (b"\x00\x00".as_slice(), "response-malformed"),
        (b"\x03\x40\xc8\x00\x02h", "response-malformed"),
        (b"", "response-malformed"),
    ] {
        let to = Recipient::generate(5, 10);
        let (sealed, pending) = seal_to(to.public(), &request(1)).unwrap();
        let opened = open(&to, &sealed.into_bytes()).unwrap();
        let (reply, mut out) = opened.reply.into_sealer(&[0; 32]);
        reply.seal_final(last, &mut out).unwrap();
        assert_eq!(receive(pending, &out, 10).1.unwrap_err().code(), why, "{last:?}");
    }
    // An empty chunk before the end would hide a truncation from careless readers.
    let (pending, frames, _) = exchange();
    let bytes = [frames[0].clone(), vec![16], vec![0; 16]].concat();
    let why = receive(pending, &bytes, 10).1.unwrap_err();
    assert_eq!(why, Broken::Chunks(channel::Broken::Framing(Misframed::Empty)));
}

#[test]
fn a_break_is_final() {
    let (pending, frames, _) = exchange();
    let (mut stream, mut events) = (pending.open(), Vec::new());
    stream.push(&frames[0], &mut events).unwrap();
    let first = stream.push(&frames[2], &mut events).unwrap_err();
    assert_eq!(stream.push(&frames[1], &mut events).unwrap_err(), first);
    assert!(events.is_empty());
    assert_eq!(stream.finish().unwrap_err(), first);
}

#[test]
fn a_message_that_broke_stays_broken() {
    let to = Recipient::generate(5, 10);
    let (sealed, pending) = seal_to(to.public(), &request(1)).unwrap();
    let opened = open(&to, &sealed.into_bytes()).unwrap();
    let (mut reply, mut out) = opened.reply.into_sealer(&[0; 32]);
    let (mut stream, mut events) = (pending.open(), Vec::new());
    // A request's first octet, and then the head of a response: both authentic, and together nothing.
    reply.seal(b"\x00", &mut out).unwrap();
    let first = stream.push(&out, &mut events).unwrap_err();
    assert_eq!(first.code(), "response-malformed");
    out.clear();
    reply.seal(b"\x03\x40\xc8\x00", &mut out).unwrap();
    assert_eq!(stream.push(&out, &mut events).unwrap_err(), first);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(stream.finish().unwrap_err(), first);
}

#[test]
fn debug_shows_no_content() {
    let (pending, frames, _) = exchange();
    let shown = format!("{pending:?}");
    assert!(!shown.contains("[51"), "{shown}");
    let (mut stream, mut events) = (pending.open(), Vec::new());
    stream.push(&frames[..3].concat(), &mut events).unwrap();
    assert!(!format!("{stream:?}").contains("data"));
    assert_eq!(format!("{:?}", events.last().unwrap()), "Content(510 octets)");
}
