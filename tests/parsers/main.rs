//! Every parser on thousands of inputs, in seconds: what the fuzz targets do for as long as one likes, without a fuzzer.
//!
//! The inputs are the same in every run, so that a failure comes again.
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a promise that is broken fails the test"
)]

mod cost;

use std::panic::catch_unwind;

use attestation::{
    Bundle, Endorsements, EvidenceKind, ModelManifest, ReceiptKey, SealingKey, Sha256,
    SignedReceipt, Statement,
    binding::FreshnessProof,
    gpu::{GpuReport, ReferenceValues, parse_devices},
    receipt::Receipt,
    snp::{SnpReport, cert_table},
    tdx::{QeIdentity, TcbInfo, TdxQuote},
};
use channel::Request;
use engine::{EmbeddedEngine, EngineOptions, VerifiedModel};
use rim::Component;
use tests::parsers::{TARGETS, Target, is_manifest};

#[test]
fn every_parser_keeps_its_promises_on_any_bytes() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has nothing to start from", target.name);
        for seed in &seeds {
            keeps(target, seed);
        }
        let mut dice = Dice(u64::from(target.rounds));
        for _ in 0..target.rounds {
            keeps(target, &dice.mutated(&seeds));
        }
    }
}

/// Otherwise the mutations would all be refused at the door.
#[test]
fn the_seeds_lead_inside() {
    let seeds = |name| {
        let target = TARGETS.into_iter().find(|target| target.name == name);
        target.map(|target| (target.seeds)()).unwrap_or_default()
    };
    let count =
        |name, taken: fn(&[u8]) -> bool| seeds(name).iter().filter(|seed| taken(seed)).count();
    assert_eq!(count("report", |seed| SnpReport::parse(seed).is_ok()), 3);
    assert_eq!(count("bundle", |seed| Bundle::parse(seed).is_ok()), 2);
    assert_eq!(count("bundle", |seed| EvidenceKind::detect(seed).is_ok()), 5);
    assert_eq!(count("binding", |seed| Statement::parse(seed).is_ok()), 1);
    assert_eq!(count("binding", |seed| SealingKey::parse(seed).is_ok()), 1);
    assert_eq!(count("binding", |seed| ReceiptKey::parse(seed).is_ok()), 1);
    assert_eq!(count("binding", |seed| ModelManifest::parse(seed).is_ok()), 1);
    assert_eq!(count("binding", |seed| serde_json::from_slice::<FreshnessProof>(seed).is_ok()), 2);
    assert_eq!(count("receipt", |seed| SignedReceipt::parse(seed).is_ok()), 1);
    assert_eq!(count("receipt", |seed| Receipt::parse(seed).is_ok()), 1);
    assert_eq!(count("messages", |seed| Request::parse(seed).is_ok()), 2);
    assert_eq!(
        count("table", |seed| cert_table::parse(seed).is_ok_and(|all| all.crls().len() == 1)),
        1
    );
    assert_eq!(count("endorsements", |seed| Endorsements::new().add(seed).is_ok()), 6);
    assert_eq!(count("quote", |seed| TdxQuote::parse(seed).is_ok()), 3);
    assert_eq!(count("documents", |seed| TcbInfo::parse(seed).is_ok()), 1);
    assert_eq!(count("documents", |seed| QeIdentity::parse(seed).is_ok()), 1);
    assert_eq!(count("device", |seed| GpuReport::parse(seed).is_ok()), 2);
    assert_eq!(count("device", |seed| parse_devices(seed).is_ok()), 1);
    assert_eq!(count("device", |seed| ReferenceValues::parse(seed).is_ok()), 1);
    assert_eq!(count("ocsp", |seed| Endorsements::new().add(seed).is_ok()), 3);
    assert_eq!(count("rim", |seed| is_manifest(seed, Component::Driver)), 1);
    assert_eq!(count("rim", |seed| is_manifest(seed, Component::Vbios)), 1);
    let options =
        EngineOptions { threads: 1, slots: 1, queue: 1, context: 32, ..EngineOptions::default() };
    for seed in seeds("gguf") {
        let digest = Sha256::of(&seed).0;
        let model = VerifiedModel::check(seed, digest).unwrap();
        assert!(EmbeddedEngine::load(model, options).is_ok());
    }
}

fn keeps(target: Target, input: &[u8]) {
    if catch_unwind(|| (target.check)(input)).is_err() {
        let shown = hex::encode(&input[..input.len().min(2_000)]);
        panic!("{} broke a promise on {} octets: {shown}", target.name, input.len());
    }
}

/// Marsaglia's xorshift: the same throws in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap_or_default().checked_rem(sides).unwrap_or_default()
    }

    fn octet(&mut self) -> u8 {
        // Lengths and their borders are where parsers err.
        const TELLING: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];
        let any = u8::try_from(self.throw(256)).unwrap_or_default();
        if self.throw(2) == 0 { TELLING[self.throw(TELLING.len())] } else { any }
    }

    /// One of the seeds with one to eight edits.
    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.throw(seeds.len())].clone();
        for _ in 0..=self.throw(8) {
            // Half of the edits near the front, where headers and counts are.
            let reach = if self.throw(2) == 0 { bytes.len() } else { bytes.len().min(64) };
            let at = self.throw(reach.max(1)).min(bytes.len());
            match self.throw(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.octet()),
                2 => {
                    let end = bytes.len().min(at.saturating_add(self.throw(32)));
                    bytes.drain(at..end);
                }
                3 => {
                    let other = &seeds[self.throw(seeds.len())];
                    let from = self.throw(other.len());
                    let end = other.len().min(from.saturating_add(self.throw(64)));
                    bytes.splice(at..at, other[from..end].iter().copied());
                }
                _ => {
                    let octet = self.octet();
                    if let Some(place) = bytes.get_mut(at) {
                        *place = octet;
                    }
                }
            }
        }
        bytes
    }
}
