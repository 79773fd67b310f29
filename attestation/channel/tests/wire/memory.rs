//! What was secret is nowhere in memory once its owners are gone (house rule: secrets are boring).
//!
//! A vector that grows gives its old memory back as it is, and nothing in safe code shows that. So
//! these tests read their own process's memory, where freed blocks lie until they are used again.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use attestation::Secret;
use channel::{Answer, Cadence, Fields, Recipient, Request, Suite};
use zeroize::Zeroizing;

use crate::support::{exchange, open_in, seal};

const SUITE: Suite = Suite::XWingAes256Gcm;
const MASK: u8 = 0x80;
const LEN: usize = 32;

/// A text that no other test uses. It exists in memory under a mask only, until it is asked for.
struct Canary([u8; LEN]);

impl Canary {
    fn new(seed: u8) -> Self {
        let letter = |at: u8| b'a' + (at.wrapping_mul(7) ^ seed.wrapping_mul(31)) % 26;
        let mut masked = [0; LEN];
        for (octet, at) in masked.iter_mut().zip(0..) {
            *octet = letter(at) | MASK;
        }
        Self(masked)
    }

    /// `len` octets of it, over and over, in one allocation.
    fn text(&self, len: usize) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(len));
        text.extend(self.0.iter().cycle().take(len).map(|octet| octet ^ MASK));
        text
    }

    /// How often one of its rotations starts in writable memory.
    fn found(&self) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let (mut found, mut buffer) = (0, vec![0; 1 << 20]);
        for line in maps.lines().filter(|line| line.split(' ').nth(1) == Some("rw-p")) {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let hex = |text| u64::from_str_radix(text, 16).unwrap();
            let (mut at, end) = (hex(start), hex(end));
            while at < end {
                let len = buffer.len().min(usize::try_from(end - at).unwrap());
                // What another thread has unmapped in between is gone for good.
                let Ok(read) = memory.read_at(&mut buffer[..len], at) else { break };
                if read < LEN {
                    break;
                }
                found += buffer[..read].windows(LEN / 2).filter(|part| self.is_at(part)).count();
                // The windows of neighbouring pieces overlap.
                at += u64::try_from(if read == len && at + u64::try_from(len).unwrap() != end {
                    read - LEN
                } else {
                    read
                })
                .unwrap();
            }
        }
        found
    }

    fn is_at(&self, part: &[u8]) -> bool {
        part.iter().zip(&self.0).all(|(octet, masked)| octet ^ MASK == *masked)
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let canary = Canary::new(1);
    assert_eq!(canary.found(), 0);
    let text = canary.text(LEN);
    assert!(canary.found() > 0);
    drop(text);
    assert_eq!(canary.found(), 0, "zeroised");
    // And in memory that was given back, which is what the other tests are about.
    drop(canary.text(500).to_vec());
    assert!(canary.found() > 0);
}

fn request(canary: &Canary) -> Request {
    Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "abc.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new().with("veritee-tenant", canary.text(300)).unwrap(),
        content: Secret::new(std::mem::take(&mut *canary.text(9000))),
        trailers: Fields::new().with("x", canary.text(300)).unwrap(),
    }
}

#[test]
fn an_encoded_request_leaves_nothing_behind() {
    let canary = Canary::new(2);
    drop(request(&canary).encode());
    assert_eq!(canary.found(), 0);
}

#[test]
fn an_opened_request_leaves_nothing_behind() {
    let canary = Canary::new(3);
    for step in [1, 333, 1 << 20] {
        let to = &Recipient::generate(7, 10);
        let message = request(&canary).encode();
        let pieces: Vec<&[u8]> = message.expose().chunks(700).collect();
        let sealed = seal(to, SUITE, &pieces).bytes();
        let opened = open_in(to, &sealed, step).unwrap();
        let parsed = Request::parse(opened.plaintext.expose()).unwrap();
        assert_eq!(parsed.request.content.expose().len(), 9000);
        drop((message, opened, parsed));
        assert_eq!(canary.found(), 0, "in pieces of {step}");
    }
}

#[test]
fn an_answer_leaves_nothing_behind() {
    let canary = Canary::new(4);
    // Lengths that make the buffers grow: within a cell, within a chunk, over chunks.
    for len in [300, 600, 2000, 5000, 40_000] {
        let (opened, ..) = exchange(SUITE);
        let (sealer, mut out) = opened.reply.into_sealer(&[0x11; 32]);
        let fields = Fields::new();
        let mut answer = Answer::begin(sealer, &opened.blinds, 200, &fields, &mut out).unwrap();
        let text = canary.text(len);
        answer.event(&text, &mut out).unwrap();
        answer.body(&text, &mut out).unwrap();
        answer.finish(&Fields::new(), &mut out).unwrap();
        drop(text);
        assert_eq!(canary.found(), 0, "{len} octets");
    }
}

#[test]
fn an_opened_answer_leaves_nothing_behind() {
    let canary = Canary::new(6);
    for step in [1, 333, 1 << 20] {
        let (request, reply, _) = exchange(SUITE);
        let (mut sealer, mut out) = request.reply.into_sealer(&[0x11; 32]);
        sealer.seal(&canary.text(5000), &mut out).unwrap();
        sealer.seal_final(&canary.text(1000), &mut out).unwrap();
        let (mut opener, mut seen) = (reply.into_opener(1 << 20), 0);
        for piece in out.chunks(step) {
            opener.push(piece, |chunk| seen += chunk.len()).unwrap();
        }
        assert_eq!((seen, opener.finish().unwrap().len()), (5000, 1000));
        assert_eq!(canary.found(), 0, "in pieces of {step}");
    }
}

#[test]
fn a_cadence_leaves_nothing_behind() {
    let canary = Canary::new(5);
    let (mut cadence, mut cell) = (Cadence::new(), Zeroizing::new(Vec::new()));
    for _ in 0..20 {
        let text = canary.text(100);
        cadence.push_text(std::str::from_utf8(&text).unwrap());
        cadence.push_event(&canary.text(400));
        cadence.tick(|text, out| out.extend_from_slice(text.as_bytes()), &mut cell);
    }
    while !cadence.is_empty() {
        cadence.tick(|text, out| out.extend_from_slice(text.as_bytes()), &mut cell);
    }
    drop((cadence, cell));
    assert_eq!(canary.found(), 0);
}
