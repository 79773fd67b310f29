//! What a stranger may send about a TD: a genuine quote, which anybody may have seen, beside what nobody signed.

use std::sync::OnceLock;

use attestation::endorsements::{ITEMS_MAX, Kind};
use attestation::eventlog::{EVENTS_MAX, EventKind, Register};
use attestation::{Endorsements, ReportData, Sha384, UnixTime};
use sim::tdx::{
    Collateral, EventLogRecipe, IntelKeys, IntelPki, LoggedEvent, PckPlatform, QuoteRecipe,
    TdReportRecipe,
};
use verifier::Policy;

use super::{Hostile, Platform};

pub(super) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A verifier, and what is genuine.
pub(super) struct World {
    pub(super) policy: Policy,
    pki: IntelPki,
    collateral: Collateral,
    quote: Vec<u8>,
}

pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let validity = sim::validity_from(NOW, sim::VALIDITY_SECS_MAX);
        let keys = IntelKeys::generate().expect("keys");
        let pki = IntelPki::new(keys.into(), validity).expect("certificates");
        let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy([0x5a; 48], [[1; 48]; 4]));
        let platform = PckPlatform::default();
        let quote = pki.quote(&recipe, &platform, &ReportData([7; 64])).expect("a quote");
        let collateral = Collateral::up_to_date(validity, &platform, &recipe);
        let text = "schema = 1\nname = \"t\"\nversion = 1\npurpose = \"evaluation\"\n\
            [freshness]\nevidence = \"cached\"\nbinding = \"if-present\"\n[config]\ndigests = \"any\"\n\
            [anchors]\ntdx = [\"root\"]\n[tdx]\nmr_td = \"any\"\nrtmr0 = \"any\"\nrtmr1 = \"any\"\nrtmr2 = \"any\"\nrtmr3 = \"any\"\n";
        let root = pki.root().to_vec();
        let policy = Policy::parse(text, &|_| Ok(root.clone())).expect("it is a policy");
        World { policy, pki, collateral, quote }
    })
}

/// All of it.
pub(super) fn inputs() -> Vec<Hostile> {
    let genuine = world().pki.endorse(&world().collateral, 1).expect("it is endorsed");
    let hostile = |name, endorsements, event_log| Hostile {
        name,
        evidence: world().quote.clone(),
        endorsements,
        event_log,
        of: Platform::Tdx,
    };
    let with_log = |name, kind, data: &[u8]| {
        hostile(name, genuine.to_pem().into_bytes(), Some(log(kind, data)))
    };
    // Of a text all that a boot loader may have measured is tried.
    let text = [b"grub_cmd: ".as_slice(), &[b'a'; LOGGED_LEN - 12], &[0, b'a']].concat();
    vec![
        hostile("documents, signers and lists, none of which anybody signed", forged(1), None),
        hostile("the same with long documents", forged(LEVELS), None),
        with_log(
            "a log of failures that were not measured",
            EventKind::SEPARATOR,
            &[1; LOGGED_LEN],
        ),
        with_log("a log of texts that were not measured", EventKind::IPL, &text),
    ]
}

/// Levels of a document that is as long as one may be, nearly.
const LEVELS: usize = 120;
/// What an event may have of data where a log of as many as are read is as long as one may be, nearly.
const LOGGED_LEN: usize = 180;

/// As many of everything as a verifier reads and as fits, each in the name of one who counts.
fn forged(levels: usize) -> Vec<u8> {
    let World { pki, collateral, .. } = world();
    let mut all = Endorsements::new();
    let stranger = &pki.keys().pck;
    // The rest is for the others.
    let mut room = super::LEN.saturating_sub(200 << 10);
    for place in 0..u32::try_from(ITEMS_MAX).expect("it is small") {
        let number = u64::from(place);
        let mut signer = pki.tcb_signer_recipe();
        signer.serial = sim::der::integer(number.saturating_add(100));
        let list =
            if place % 2 == 0 { pki.root_crl_recipe(number) } else { pki.pck_crl_recipe(number) };
        let mut collateral = collateral.clone();
        collateral.tcb_info.evaluation = place;
        collateral.qe_identity.evaluation = place;
        let level = collateral.tcb_info.levels[0].clone();
        collateral.tcb_info.levels = vec![level; levels];
        let signer = signer.sign(stranger).expect("it is signed");
        let list = list.sign(stranger).expect("it is signed");
        let qe_identity = collateral.qe_identity.sign(stranger).expect("it is signed");
        let tcb_info = collateral.tcb_info.sign(stranger).expect("it is signed");
        // In base64, and in lines.
        let len = tcb_info.len().saturating_mul(7) / 5;
        for (kind, item) in
            [(Kind::Certificate, signer), (Kind::Crl, list), (Kind::QeIdentity, qe_identity)]
        {
            all.add_item(kind, &item).expect("there is room");
        }
        if let Some(left) = room.checked_sub(len) {
            room = left;
            all.add_item(Kind::TcbInfo, &tcb_info).expect("there is room");
        }
    }
    all.to_pem().into_bytes()
}

/// As many events as are read, whose data are others than what was measured.
fn log(kind: EventKind, data: &[u8]) -> Vec<u8> {
    let event = |(number, register): (usize, &Register)| LoggedEvent {
        register: *register,
        kind,
        digest: Sha384::of(&number.to_be_bytes()),
        data: data.to_vec(),
    };
    let registers = (0..EVENTS_MAX).zip(Register::RTMRS.iter().cycle());
    EventLogRecipe { events: registers.map(event).collect(), area: 0 }.encode()
}
