//! Sizes and commitments of whole answers, and what hides their lengths (`docs/protocol.md` §5.7).

use std::collections::BTreeMap;

use attestation::digest::Mac;
use channel::bhttp::{Part, ResponseReader};
use channel::padding::{CELL_CONTENT_LEN, CELL_LEN, FINAL_LEN, request_bucket};
use channel::{Answer, Blinds, Cadence, Fields, ReplyKeys, Suite, Unsealable};

use crate::support::{exchange, open_response};

const SUITE: Suite = Suite::XWingAes256Gcm;

/// Makes an answer with `make`; gives the plaintexts of its chunks, the content, and checks the MAC.
fn answer(make: impl FnOnce(&mut Answer, &mut Vec<u8>)) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (opened, reply, blinds) = exchange(SUITE);
    let (sealer, mut out) = opened.reply.into_sealer(&[0x11; 32]);
    let fields = Fields::new().with("content-type", "text/event-stream").unwrap();
    let mut answer = Answer::begin(sealer, &opened.blinds, 200, &fields, &mut out).unwrap();
    make(&mut answer, &mut out);
    let res_mac = answer.res_mac();
    answer.finish(&Fields::new().with("veritee-receipt", [b'r'; 800]).unwrap(), &mut out).unwrap();
    let (chunks, content, seen) = received(reply, &blinds, &out);
    assert_eq!(res_mac, seen, "both ends commit to the same octets");
    (chunks, content)
}

/// What a client makes of it.
fn received(
    reply: ReplyKeys,
    blinds: &Blinds,
    out: &[u8],
) -> (Vec<Vec<u8>>, Vec<u8>, attestation::Sha256) {
    let chunks = open_response(reply, out, 100).unwrap();
    let (mut reader, mut content) = (ResponseReader::new(), Vec::new());
    for chunk in &chunks {
        reader
            .push(chunk, |part| {
                if let Part::Content(octets) = part {
                    content.extend_from_slice(octets);
                }
            })
            .unwrap();
    }
    let mut mac = Mac::new(&blinds.response);
    let covered = usize::try_from(reader.octets_before_trailers()).unwrap();
    mac.update(&chunks.concat()[..covered]);
    assert!(reader.finish().unwrap().trailers.only("veritee-receipt").unwrap().is_some());
    (chunks, content, mac.finish())
}

/// The lines that an SSE reader acts on.
fn events(content: &[u8]) -> Vec<&str> {
    let lines = std::str::from_utf8(content).unwrap().lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with(':')).collect()
}

#[test]
fn every_cell_of_a_stream_has_one_size() {
    let mut histogram = BTreeMap::new();
    let (opened, ..) = exchange(SUITE);
    let (sealer, mut out) = opened.reply.into_sealer(&[0x11; 32]);
    let mut answer = Answer::begin(sealer, &opened.blinds, 200, &Fields::new(), &mut out).unwrap();
    let mut state = 7_u64;
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = usize::from(state.to_be_bytes()[0]) * 2;
        let event = format!("data: {}\n\n", "x".repeat(len.min(CELL_CONTENT_LEN - 8)));
        out.clear();
        answer.event(event.as_bytes(), &mut out).unwrap();
        *histogram.entry(out.len()).or_insert(0) += 1;
    }
    // 512 octets, a tag of 16 and a length of 2.
    assert_eq!(histogram, BTreeMap::from([(CELL_LEN + 16 + 2, 10_000)]));
}

#[test]
fn an_event_of_any_length_arrives_whole() {
    for len in 0..2 * CELL_CONTENT_LEN + 3 {
        let event = format!("data: {}\n\n", "e".repeat(len));
        let (chunks, content) = answer(|answer, out| {
            answer.event(event.as_bytes(), out).unwrap();
            answer.event(b"data: next\n\n", out).unwrap();
        });
        assert_eq!(events(&content), [event.trim_end_matches('\n'), "data: next"], "{len}");
        let (last, cells) = chunks.split_last().unwrap();
        assert!(cells.iter().all(|cell| cell.len() == CELL_LEN));
        assert_eq!(cells.len(), 1 + event.len().div_ceil(CELL_CONTENT_LEN) + 1);
        assert_eq!(last.len(), FINAL_LEN);
        // Whatever precedes an event ends with an empty line, so the event starts afresh.
        let next = content.windows(11).position(|window| window == b"data: next\n").unwrap();
        assert!(content[..next].ends_with(b"\n"));
    }
}

#[test]
fn the_head_is_one_cell_whatever_it_says() {
    for len in 0..440 {
        let (opened, reply, blinds) = exchange(SUITE);
        let (sealer, mut out) = opened.reply.into_sealer(&[0; 32]);
        let fields = Fields::new().with("x", vec![b'v'; len]).unwrap();
        let answer = Answer::begin(sealer, &opened.blinds, 429, &fields, &mut out).unwrap();
        assert_eq!(out.len(), 32 + 2 + CELL_LEN + 16, "{len}");
        answer.finish(&Fields::new().with("veritee-receipt", "r").unwrap(), &mut out).unwrap();
        received(reply, &blinds, &out);
    }
    let (opened, ..) = exchange(SUITE);
    let (sealer, mut out) = opened.reply.into_sealer(&[0; 32]);
    let fields = Fields::new().with("x", vec![b'v'; 600]).unwrap();
    let too_long = Answer::begin(sealer, &opened.blinds, 200, &fields, &mut out);
    assert_eq!(too_long.unwrap_err(), Unsealable::TooLong);
}

#[test]
fn json_answers_come_in_four_sizes_or_so() {
    for (len, total) in [
        (0, 4 << 10),
        (2, 4 << 10),
        (4094, 4 << 10),
        (4095, 16 << 10),
        (16_382, 16 << 10),
        (16_383, 64 << 10),
        (4 * 16_382, 64 << 10),
        (4 * 16_382 + 1, 256 << 10),
    ] {
        let json = vec![b'1'; len];
        let (chunks, content) = answer(|answer, out| answer.body(&json, out).unwrap());
        assert_eq!(content[..len], json);
        assert!(content[len..].iter().all(|octet| *octet == b' '), "white space after the value");
        let sizes: Vec<usize> = chunks.iter().map(Vec::len).collect();
        let (body, ends) = (&sizes[1..sizes.len() - 1], [sizes[0], sizes[sizes.len() - 1]]);
        assert_eq!(ends, [CELL_LEN, FINAL_LEN]);
        assert_eq!(body.iter().sum::<usize>(), total, "{len}");
        assert!(body.iter().all(|size| *size == total.min(16_384)), "full chunks");
    }
}

#[test]
fn trailers_that_do_not_fit_are_refused() {
    let (opened, ..) = exchange(SUITE);
    let (sealer, mut out) = opened.reply.into_sealer(&[0; 32]);
    let answer = Answer::begin(sealer, &opened.blinds, 200, &Fields::new(), &mut out).unwrap();
    let trailers = Fields::new().with("veritee-receipt", vec![b'r'; FINAL_LEN]).unwrap();
    assert_eq!(answer.finish(&trailers, &mut out), Err(Unsealable::TooLong));
}

#[test]
fn requests_are_padded_to_powers_of_two() {
    for (len, bucket) in [
        (0, 1 << 10),
        (1, 1 << 10),
        (1 << 10, 1 << 10),
        ((1 << 10) + 1, 1 << 11),
        ((1 << 20) + 1, 1 << 21),
        (1 << 30, 1 << 30),
    ] {
        assert_eq!(request_bucket(len), Some(bucket), "{len}");
    }
    assert_eq!(request_bucket((1 << 30) + 1), None);
    assert_eq!(request_bucket(usize::MAX), None);
}

/// The event that a renderer makes of a piece of text.
fn render(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {text}\n\n").as_bytes());
}

#[test]
fn a_cadence_fills_one_cell_per_tick_and_loses_nothing() {
    let (mut cadence, mut content, mut cell) = (Cadence::new(), Vec::new(), Vec::new());
    let mut expected = String::new();
    for tick in 0..200_usize {
        // Bursts and silence.
        for piece in 0..(tick * 7) % 5 {
            let text = format!("[{tick}.{piece}]");
            cadence.push_text(&text);
            expected.push_str(&text);
        }
        cadence.tick(render, &mut cell);
        assert_eq!(cell.len(), CELL_CONTENT_LEN);
        content.extend_from_slice(&cell);
    }
    cadence.push_text("end");
    cadence.push_event(b"data: [DONE]\n\n");
    let mut ticks = 0;
    while !cadence.is_empty() {
        cadence.tick(render, &mut cell);
        content.extend_from_slice(&cell);
        ticks += 1;
    }
    assert_eq!(ticks, 1, "a burst that fits a cell leaves in one");
    let events = events(&content);
    let text: String = events.iter().filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(text, format!("{expected}end[DONE]"));
    assert_eq!(events.last(), Some(&"data: [DONE]"));
}

#[test]
fn what_a_cell_cannot_hold_leaves_with_the_next() {
    let (mut cadence, mut cell) = (Cadence::new(), Vec::new());
    cadence.push_text(&"w".repeat(1200));
    let mut content = Vec::new();
    for _ in 0..3 {
        assert!(!cadence.is_empty());
        cadence.tick(render, &mut cell);
        content.extend_from_slice(&cell);
    }
    assert!(cadence.is_empty());
    assert_eq!(events(&content), [format!("data: {}", "w".repeat(1200))]);
    cadence.tick(render, &mut cell);
    assert_eq!((cell.len(), events(&cell).len()), (CELL_CONTENT_LEN, 0), "silence is a full cell");
}

#[test]
fn a_tick_goes_out_as_one_cell() {
    let mut cell = Vec::new();
    let mut cadence = Cadence::new();
    cadence.push_text("hello");
    cadence.tick(render, &mut cell);
    let (chunks, content) = answer(|answer, out| {
        answer.cell(&cell, out).unwrap();
        assert_eq!(answer.cell(&cell[1..], out), Err(Unsealable::TooLong));
    });
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [CELL_LEN, CELL_LEN, FINAL_LEN]);
    assert_eq!(events(&content), ["data: hello"]);
}
