//! What every parser owes to any bytes: an answer without a panic, and one meaning per input.
//!
//! Each function takes bytes that nobody vouches for and asserts what must hold whatever they are. The test `parsers` runs them
//! on seeds and mutations for seconds, in every run; the fuzz targets in `tests/fuzz` run the same functions for as long as one
//! likes, guided by coverage.

use std::{sync::OnceLock, time::Duration};

use attestation::{
    Bundle, Challenge, CpuEvidence, Digest, Endorsements, Evidence, EvidenceKind, ModelManifest,
    NodeId, ReceiptKey, ReportData, SealingKey, Sha256, SignedReceipt, Statement, UnixTime,
    Unverified,
    azure::{AzureEvidence, HclReport, PCRS, TpmQuote},
    binding::FreshnessProof,
    endorsements::{ITEMS_MAX, Kind},
    eventlog::{EventLog, Measured, Register},
    manifest::Weights,
    receipt::{FinishReason, Parameters, Receipt, Usage},
    snp::{self, Product, SnpReport, cert_table},
    tdx::{self, Certification, QeIdentity, TcbInfo, TdReport, TdxQuote, pck_chain},
};
use channel::{
    Broken, Exports, Fields, HEADER_LEN, Limit, Recipient, ReplyKeys, Request, RequestHeader,
    Suite,
    bhttp::{self, Part, ResponseReader},
    chunks::{PLAINTEXT_MAX, write_final_mark, write_len},
};
use engine::{EmbeddedEngine, EngineOptions, TensorType, VerifiedModel};
use sim::{
    SimulatedPlatform,
    policy::Accepted,
    tdx::{Collateral, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe},
};
use verifier::{AttestationResult, AttestedKeys, Expectation, Policy};

// With paths, for the fuzz targets' library has this file as its root.
#[path = "parsers/appraisal.rs"]
mod appraisal;
#[path = "parsers/devices.rs"]
pub(crate) mod devices;
#[path = "parsers/rim.rs"]
mod rim;
#[path = "parsers/seeds.rs"]
mod seeds;

pub use appraisal::appraise;
pub use devices::{device, ocsp};
pub use rim::{is_manifest, rim};

/// One parser, or one family of them.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is its fuzz target's too.
    pub name: &'static str,
    /// What must hold for any bytes.
    pub check: fn(&[u8]),
    /// Inputs to start from, which lead far inside.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutations the short test takes; the slower a target, the fewer.
    pub rounds: u32,
}

/// All of them.
pub const TARGETS: [Target; 18] = [
    Target { name: "report", check: report, seeds: seeds::report_seeds, rounds: 20_000 },
    Target { name: "quote", check: quote, seeds: seeds::quote_seeds, rounds: 10_000 },
    Target { name: "documents", check: documents, seeds: seeds::document_seeds, rounds: 10_000 },
    Target { name: "bundle", check: bundle, seeds: seeds::bundle_seeds, rounds: 20_000 },
    Target { name: "binding", check: binding, seeds: seeds::binding_seeds, rounds: 20_000 },
    Target { name: "receipt", check: receipt, seeds: seeds::receipt_seeds, rounds: 20_000 },
    Target { name: "chunks", check: chunks, seeds: seeds::chunk_seeds, rounds: 4_000 },
    Target { name: "messages", check: messages, seeds: seeds::message_seeds, rounds: 20_000 },
    Target { name: "policy", check: policy, seeds: seeds::policy_seeds, rounds: 2_000 },
    Target { name: "gguf", check: gguf, seeds: seeds::gguf_seeds, rounds: 1_500 },
    Target { name: "table", check: table, seeds: seeds::table_seeds, rounds: 20_000 },
    Target {
        name: "endorsements",
        check: endorsements,
        seeds: seeds::endorsement_seeds,
        rounds: 20_000,
    },
    Target { name: "device", check: device, seeds: devices::device_seeds, rounds: 20_000 },
    Target { name: "ocsp", check: ocsp, seeds: devices::ocsp_seeds, rounds: 1_000 },
    Target { name: "eventlog", check: eventlog, seeds: seeds::eventlog_seeds, rounds: 10_000 },
    Target { name: "azure", check: azure, seeds: seeds::azure_seeds, rounds: 10_000 },
    Target { name: "rim", check: rim, seeds: rim::seeds, rounds: 4_000 },
    Target { name: "appraise", check: appraise, seeds: appraisal::seeds, rounds: 2_000 },
];

/// SNP reports: what parses is kept as it came, and every field can be asked for.
pub fn report(bytes: &[u8]) {
    let Ok(report) = SnpReport::parse(bytes) else { return };
    assert_eq!(report.as_bytes().as_slice(), bytes);
    assert_eq!(report.signed_bytes(), &bytes[..report.signed_bytes().len()]);
    assert!([2, 3, 5].contains(&report.version()));
    let fields = (
        (report.policy(), report.platform_info(), report.key_info(), report.product()),
        (report.cpuid(), report.mitigations(), report.current_firmware(), report.signature()),
    );
    assert!(!format!("{fields:?}").is_empty());
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        if let Ok(tcb) = snp::TcbVersion::from_raw(product, report.reported_tcb()) {
            assert!(tcb.at_least(tcb));
        }
    }
}

/// TDX quotes: what was signed is what came, nothing but zeros follows, and a chain is certificates.
pub fn quote(bytes: &[u8]) {
    let Ok(quote) = TdxQuote::parse(bytes) else { return };
    assert_eq!(quote.signed, &bytes[..quote.signed.len()]);
    let (_, padding) = bytes.split_at(bytes.len().saturating_sub(quote.padding));
    assert!(padding.iter().all(|byte| *byte == 0));
    let head = if quote.version == 4 { tdx::HEADER_LEN } else { tdx::HEADER_LEN.saturating_add(6) };
    let report = TdReport::parse(quote.report.form(), &quote.signed[head..]);
    assert_eq!(report, Ok(quote.report.clone()));
    assert!(!quote.report.td_attributes.to_string().is_empty());
    if let Certification::PckChain(pem) = quote.certification
        && let Ok(chain) = pck_chain(pem)
    {
        assert!((1..=8).contains(&chain.len()));
    }
}

/// Intel's signed documents: what is signed lies in what came, and levels are sorted.
pub fn documents(bytes: &[u8]) {
    if let Ok(info) = TcbInfo::parse(bytes) {
        let (body, _) = TcbInfo::signed(bytes).expect("it was parsed");
        assert!(bytes.windows(body.len()).any(|window| window == body));
        assert!(info.levels.windows(2).all(|pair| pair[0].sgx >= pair[1].sgx));
    }
    if let Ok(identity) = QeIdentity::parse(bytes) {
        let (body, _) = QeIdentity::signed(bytes).expect("it was parsed");
        assert!(bytes.windows(body.len()).any(|window| window == body));
        assert!(identity.levels.windows(2).all(|pair| pair[0].isv_svn >= pair[1].isv_svn));
    }
}

/// Evidence of any kind; a bundle says again what it said.
pub fn bundle(bytes: &[u8]) {
    let kind = EvidenceKind::detect(bytes);
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(kind, Ok(EvidenceKind::Bundle));
        assert_eq!(Bundle::parse(&bundle.encode()), Ok(bundle));
    }
}

/// What the binding hashes: each has one spelling, except JSON, whose exact octets are hashed.
pub fn binding(bytes: &[u8]) {
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(statement.encode(), bytes);
        assert!(statement.not_before < statement.not_after);
    }
    if let Ok(key) = SealingKey::parse(bytes) {
        assert_eq!(key.encode(), bytes);
    }
    if let Ok(key) = ReceiptKey::parse(bytes) {
        assert_eq!(key.encode(), bytes);
    }
    if let Ok(manifest) = ModelManifest::parse(bytes) {
        assert_eq!(ModelManifest::parse(&manifest.encode()), Ok(manifest));
    }
    if let Ok(proof) = serde_json::from_slice::<FreshnessProof>(bytes) {
        let answers = proof.answers(&CHALLENGE);
        assert!(!answers || !matches!(proof, FreshnessProof::None));
    }
}

/// Receipts and their frame: each has one spelling.
pub fn receipt(bytes: &[u8]) {
    if let Ok(signed) = SignedReceipt::parse(bytes) {
        assert_eq!(signed.encode(), bytes);
        receipt(&signed.payload);
    }
    if let Ok(receipt) = Receipt::parse(bytes) {
        assert_eq!(receipt.encode(), bytes);
    }
}

/// Chunked OHTTP, both directions.
///
/// The first octet says how the rest arrives in pieces. The rest is pushed as a request and as a response that nobody sealed,
/// which must not open; and it edits a response that was sealed, of which nothing but its own prefix may come out.
pub fn chunks(bytes: &[u8]) {
    let Some((&step, rest)) = bytes.split_first() else { return };
    let step = usize::from(step).saturating_add(1);
    if let Some((head, body)) = rest.split_at_checked(HEADER_LEN)
        && let Ok(header) = RequestHeader::parse(head)
    {
        assert_eq!(header.encode(), head);
        let to = RECIPIENT.get_or_init(|| Recipient::generate(7, 10));
        if let Ok(mut opener) = to.begin(&header, Limit::default()) {
            let pushed = body.chunks(step).try_for_each(|piece| opener.push(piece));
            assert!(opener.buffered() <= body.len());
            assert!(pushed.and_then(|()| opener.finish().map(drop)).is_err(), "nobody sealed it");
        }
    }
    assert!(open(rest, step).1.is_err(), "nobody sealed it");

    let sent: [&[u8]; 3] = [b"one", &[b'2'; 600], b"three"];
    let (mut writer, mut sealed) = reply().into_sealer(&[3; 32]);
    writer.seal(sent[0], &mut sealed).expect("it is short");
    writer.seal(sent[1], &mut sealed).expect("it is short");
    writer.seal_final(sent[2], &mut sealed).expect("it is short");
    let mut edited = sealed.clone();
    for edit in rest.chunks_exact(4).take(8) {
        let at = place(edit, edited.len());
        match edit[0] % 4 {
            0 => edited.truncate(at),
            1 => edited.insert(at, edit[3]),
            2 => drop(edited.drain(at..edited.len().min(at.saturating_add(edit[3].into())))),
            _ => {
                if let Some(octet) = edited.get_mut(at) {
                    *octet ^= edit[3];
                }
            }
        }
    }
    let (opened, end) = open(&edited, step);
    assert!(opened.iter().zip(&sent[..2]).all(|(got, sent)| got == sent) && opened.len() <= 2);
    // A length may be written longer than it needs to be, so other octets may be the same answer; none is a shorter one.
    if end.is_ok() {
        assert_eq!((opened.len(), end.as_deref()), (2, Ok(sent[2])));
    } else {
        assert_ne!(edited, sealed, "what was sealed opens");
    }
}

/// Binary HTTP: a request means the same again, and a response the same however it is cut.
pub fn messages(bytes: &[u8]) {
    if let Ok(parsed) = Request::parse(bytes) {
        assert!(parsed.message_len <= bytes.len());
        assert!(bytes[parsed.message_len..].iter().all(|octet| *octet == 0));
        let again = parsed.request.encode();
        let again = Request::parse(again.expose()).expect("we write what we read");
        assert_eq!(again.request.path, parsed.request.path);
        assert_eq!(again.request.content.expose(), parsed.request.content.expose());
        assert!(again.request.fields == parsed.request.fields);
        assert!(again.request.trailers == parsed.request.trailers);
    }
    assert_eq!(read(bytes, bytes.len().max(1)), read(bytes, 1));
}

/// Policies: a text is one, or says why not; what production demands is not got around.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read_anchor = |_: &str| Ok(world().ark.clone());
    match Policy::parse(text, &read_anchor) {
        Ok(policy) => {
            assert!(!policy.show().is_empty());
            assert_eq!(*policy.digest(), Sha256::of(bytes));
            if policy.purpose() == verifier::policy::Purpose::Production {
                assert_eq!(policy.anchors(), verifier::AnchorKind::Production);
            }
        }
        Err(error) => assert!(!error.problems().is_empty()),
    }
    drop(Policy::lint(
        text,
        &read_anchor,
        &Endorsements::new(),
        UnixTime::from_secs(1_795_000_000),
    ));
}

/// GGUF files, up to an engine that could answer.
pub fn gguf(bytes: &[u8]) {
    let model = VerifiedModel::check(bytes.to_vec(), Sha256::of(bytes).0).expect("it is the same");
    let options =
        EngineOptions { threads: 1, slots: 1, queue: 1, context: 32, ..EngineOptions::default() };
    if let Ok(engine) = EmbeddedEngine::load(model, options) {
        assert!(engine.tokenizer().vocabulary() > 0);
    }
}

/// A host's certificate table.
pub fn table(bytes: &[u8]) {
    if let Ok(found) = cert_table::parse(bytes) {
        assert!(Kind::ALL.iter().all(|kind| found.items(*kind).len() <= ITEMS_MAX));
    }
}

/// Endorsements in PEM and DER: what is taken is the same again as PEM.
pub fn endorsements(bytes: &[u8]) {
    let mut all = Endorsements::new();
    let taken = all.add(bytes);
    if all == Endorsements::new() {
        assert!(taken.is_err(), "nothing was taken, and nothing said");
        return;
    }
    let mut again = Endorsements::new();
    again.add(all.to_pem().as_bytes()).expect("we write what we read");
    assert_eq!(again, all);
}

/// Event logs: what parses replays to what its digests alone make, and no event is both hashed and not.
pub fn eventlog(bytes: &[u8]) {
    let Ok(log) = EventLog::parse(bytes) else { return };
    let mut registers = [Digest([0; 48]); 4];
    for (register, value) in Register::RTMRS.into_iter().zip(&mut registers) {
        for event in log.extended(register) {
            assert!(event.is_extended() && event.register == register);
            *value = attestation::eventlog::extend(value, &event.digest);
        }
    }
    assert_eq!(log.replay(), registers);
    for event in log.events() {
        if let Measured::Octets(octets) = event.measured() {
            assert_eq!(attestation::Sha384::of(octets), event.digest);
        }
    }
    // Padding says nothing, and anything else after the end is refused.
    let padded = [bytes, &[0xff; 8]].concat();
    if bytes.len() <= attestation::eventlog::LEN_MAX - 8 {
        assert_eq!(EventLog::parse(&padded).map(|log| log.replay()), Ok(registers));
        assert!(EventLog::parse(&[&padded[..], &[0]].concat()).is_err());
    }
}

/// Azure's evidence, raw and in JSON: what parses is told by its content, and its digest is of its own octets.
pub fn azure(bytes: &[u8]) {
    if let Ok(report) = HclReport::parse(bytes) {
        assert!(matches!(EvidenceKind::detect(bytes), Ok(EvidenceKind::AzureHcl(_))));
        let length = bytes[1232..1236].try_into().map(u32::from_le_bytes).expect("four octets");
        let runtime = &bytes[1236..][..usize::try_from(length).expect("it was read")];
        assert_eq!(report.runtime_digest, Sha256::of(runtime));
    }
    if AzureEvidence::parse_json(bytes).is_ok() {
        assert_eq!(EvidenceKind::detect(bytes), Ok(EvidenceKind::AzureJson));
    }
    if let Some((signature, message)) = bytes.split_first_chunk::<256>()
        && let Ok(quote) = TpmQuote::parse(message.to_vec(), signature, &vec![vec![0; 32]; PCRS])
    {
        assert_eq!(quote.message, message);
        assert!(message.starts_with(b"\xffTCG\x80\x18"));
    }
}

/// The keys that an untouched case leads to, and the moment when it does. Its receipt key is that of the Ed25519 seed of 32 nines.
pub fn attested() -> (AttestedKeys, UnixTime) {
    let world = world();
    let mut endorsements = Endorsements::new();
    endorsements.add(&world.given).expect("we write what we read");
    let verdict = verifier::appraise(
        &world.policy,
        &Unverified::new(Evidence::from_wire(world.bundle.encode())),
        &Unverified::new(endorsements),
        &Expectation::challenged(CHALLENGE),
        world.now,
    );
    let keys = verdict.ok().and_then(AttestationResult::into_keys);
    (keys.expect("the untouched case is accepted"), world.now)
}

const CHALLENGE: Challenge = Challenge([0xc4; 32]);

/// The Ed25519 key of the seed of 32 nines.
const RECEIPTS: ReceiptKey = ReceiptKey([
    0xfd, 0x17, 0x24, 0x38, 0x5a, 0xa0, 0xc7, 0x5b, 0x64, 0xfb, 0x78, 0xcd, 0x60, 0x2f, 0xa1, 0xd9,
    0x91, 0xfd, 0xeb, 0xf7, 0x6b, 0x13, 0xc5, 0x8e, 0xd7, 0x02, 0xea, 0xc8, 0x35, 0xe9, 0xf6, 0x18,
]);

static RECIPIENT: OnceLock<Recipient> = OnceLock::new();

/// An accepting case, made once.
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) bundle: Bundle,
    pub(crate) given: Vec<u8>,
    ark: Vec<u8>,
    pub(crate) now: UnixTime,
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let now = UnixTime::from_secs(1_800_000_000);
        let validity = sim::validity_from(now, sim::VALIDITY_SECS_MAX);
        let measurement = [0x5a; 48];
        let (pki, platform) = SimulatedPlatform::shared(Product::Genoa, validity, measurement)
            .expect("the test PKI is made");
        let ark =
            sim::bundle(&[pki.ark()], &[]).expect("a root is a certificate").to_pem().into_bytes();
        let manifest = manifest().encode();
        let config = b"padding = \"p1\"\n".to_vec();
        let sealing = SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]);
        let receipts = RECEIPTS;
        let statement = Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Sha256::of(&sealing.encode()),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: receipts.thumbprint(),
            manifest: Sha256::of(&manifest),
            config: Sha256::of(&config),
            accelerators: None,
            not_before: now.saturating_sub(Duration::from_mins(10)),
            not_after: now.saturating_add(Duration::from_mins(50)),
        };
        let proof = FreshnessProof::Challenge { challenge: Digest(CHALLENGE.0) };
        let data = ReportData::bind(&statement.binding_id(), &proof.fresh());
        let accepted = Accepted {
            manifest: Some(Sha256::of(&manifest)),
            names: vec!["m".to_owned()],
            configs: vec![Sha256::of(&config)],
        };
        let measurement = Digest(measurement).to_string();
        let policy =
            sim::policy::render(1, Product::Genoa, &measurement, &accepted, validity.not_after);
        let policy = Policy::parse(&policy, &|_| Ok(ark.clone())).expect("the policy parses");
        let bundle = Bundle {
            statement: statement.encode(),
            ohttp_keys: sealing.encode(),
            receipt_key: receipts.encode(),
            manifest,
            config,
            freshness: serde_json::to_vec(&proof).expect("a proof is JSON"),
            cpu0: CpuEvidence::sev_snp(
                platform.report(&data).expect("the simulated platform signs"),
            ),
            event_log: None,
            accel: None,
            endorsements: Vec::new(),
        };
        let given = platform.endorsements.to_pem().into_bytes();
        World { policy, bundle, given, ark, now }
    })
}

fn manifest() -> ModelManifest {
    ModelManifest {
        schema: 1,
        names: vec!["m".to_owned()],
        weights: Weights { format: "gguf".to_owned(), sha256: Digest([1; 32]) },
        tokenizer_sha256: Digest([2; 32]),
        template_sha256: Digest([3; 32]),
        numeric_profile: "veritee-1".to_owned(),
    }
}

/// Where an edit is made, in something so long.
fn place(edit: &[u8], len: usize) -> usize {
    let at = usize::from(u16::from_be_bytes([edit[1], edit[2]]));
    at.checked_rem(len).unwrap_or_default()
}

/// The keys of one response, which no handshake made.
fn reply() -> ReplyKeys {
    let suite = Suite::XWingAes256Gcm;
    let header = RequestHeader::new(1, suite, Box::new([5; channel::ENC_LEN]));
    let exports = Exports::derive(suite, |_, out| {
        out.fill(4);
        Ok::<(), ()>(())
    });
    ReplyKeys::new(&header, exports.expect("nothing refuses")).0
}

/// What opens of a response that arrives in pieces: its chunks, and the final one if that is authentic.
fn open(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Result<Vec<u8>, Broken>) {
    let (mut reader, mut opened) = (reply().into_opener(1 << 20), Vec::new());
    let pushed = bytes
        .chunks(step)
        .try_for_each(|piece| reader.push(piece, |chunk| opened.push(chunk.to_vec())));
    (opened, pushed.and_then(|()| reader.finish().map(|last| last.to_vec())))
}

/// A response as it is read in pieces: status, content and trailers, if it is one.
fn read(bytes: &[u8], step: usize) -> Option<(Option<u16>, Vec<u8>, Fields)> {
    let (mut reader, mut status, mut content) = (ResponseReader::new(), None, Vec::new());
    for piece in bytes.chunks(step) {
        let pushed = reader.push(piece, |part| match part {
            Part::ResponseHead { status: read, .. } => status = Some(read),
            Part::Content(octets) => content.extend_from_slice(octets),
            Part::RequestHead { .. } => panic!("a request in a response"),
        });
        pushed.ok()?;
    }
    assert!(reader.octets_before_trailers() <= u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    reader.finish().ok().map(|end| (status, content, end.trailers))
}
