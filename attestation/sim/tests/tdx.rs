//! What the simulated Intel makes has the form of Intel's own; that it is accepted, the end-to-end tests show.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::sync::Arc;

use attestation::endorsements::Kind;
use attestation::eventlog::{EventLog, Measured, Register};
use attestation::tdx::{Certification, Form, QeIdentity, TcbInfo, TdxQuote};
use attestation::{Digest, ReportData, UnixTime};
use sim::replay::TdxHost;
use sim::tdx::{
    Collateral, EventLogRecipe, IntelKeys, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe,
};

fn pki() -> IntelPki {
    let validity = sim::validity_from(UnixTime::from_secs(1_795_000_000), 86_400);
    IntelPki::new(Arc::new(IntelKeys::generate().unwrap()), validity).unwrap()
}

fn recipe() -> QuoteRecipe {
    QuoteRecipe::healthy(TdReportRecipe::healthy([7; 48], [[1; 48], [2; 48], [3; 48], [0; 48]]))
}

#[test]
fn quotes_of_both_versions_have_intels_form() {
    let (pki, platform, report_data) = (pki(), PckPlatform::default(), ReportData([9; 64]));
    let mut older = recipe();
    older.report.td15 = None;
    for (recipe, version, form) in [(recipe(), 5, Form::Td15), (older, 4, Form::Td10)] {
        let bytes = pki.quote(&recipe, &platform, &report_data).unwrap();
        let quote = TdxQuote::parse(&bytes).unwrap();
        assert_eq!((quote.version, quote.report.form(), quote.padding), (version, form, 0));
        assert_eq!(quote.report.report_data, [9; 64]);
        assert_eq!((quote.report.mr_td, quote.report.rtmr[2]), (Digest([7; 48]), Digest([3; 48])));
        assert_eq!((quote.qe_report.isv_svn, quote.qe_report.is_debug()), (4, false));
        let Certification::PckChain(chain) = quote.certification else {
            unreachable!("a chain");
        };
        assert_eq!(String::from_utf8_lossy(chain).matches("BEGIN CERTIFICATE").count(), 3);
    }
}

/// Once made, a host signs anew what it signed, and changes nothing else.
#[test]
fn a_host_changes_the_report_data_and_the_signature_alone() {
    let (pki, platform) = (pki(), PckPlatform::default());
    let template = pki.quote(&recipe(), &platform, &ReportData([0; 64])).unwrap();
    let key = sim::P256Key::from_pkcs8(pki.keys().attestation_pkcs8().unwrap().expose()).unwrap();
    let host = TdxHost::new(
        template.clone(),
        key,
        None,
        pki.endorse(&Collateral::up_to_date(pki.validity(), &platform, &recipe()), 1).unwrap(),
    )
    .unwrap();
    let bytes = host.quote(&ReportData([9; 64])).unwrap();
    let (before, after) = (TdxQuote::parse(&template).unwrap(), TdxQuote::parse(&bytes).unwrap());
    assert_eq!(after.report.report_data, [9; 64]);
    assert_ne!(after.signature, before.signature);
    let differing = bytes.iter().zip(&template).filter(|(one, other)| one != other).count();
    assert!(differing <= 64 + 64, "{differing} octets differ");
    assert_eq!((bytes.len(), after.attestation_key), (template.len(), before.attestation_key));
}

#[test]
fn documents_are_read_as_they_were_meant() {
    let (pki, platform) = (pki(), PckPlatform::default());
    let collateral = Collateral::up_to_date(pki.validity(), &platform, &recipe());
    let all = pki.endorse(&collateral, 7).unwrap();
    assert_eq!((all.certificates().len(), all.crls().len()), (1, 2));
    let info = TcbInfo::parse(&all.items(Kind::TcbInfo)[0]).unwrap();
    assert_eq!((info.fmspc, info.pce_id, info.evaluation), (platform.fmspc, [0, 0], 20));
    assert_eq!((info.levels.len(), info.levels[0].sgx), (1, platform.sgx));
    assert_eq!((info.modules.len(), info.modules[0].0), (1, 1));
    let identity = QeIdentity::parse(&all.items(Kind::QeIdentity)[0]).unwrap();
    assert_eq!((identity.isv_prod_id, identity.levels[0].isv_svn), (2, 4));
    // In PEM it is the same.
    let mut again = attestation::Endorsements::new();
    again.add(all.to_pem().as_bytes()).unwrap();
    assert_eq!(again, all);
}

#[test]
fn a_log_leads_to_its_registers() {
    let recipe = EventLogRecipe::boot(b"a guest");
    let bytes = recipe.encode();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!((bytes.len(), log.events().len()), (4096, recipe.events.len()));
    let registers = recipe.registers().unwrap();
    assert_eq!(log.replay().map(|register| register.0), registers);
    assert_eq!(registers[3], [0; 48], "nobody measured to it");
    assert!(log.extended(Register::Rtmr1).all(|e| matches!(e.measured(), Measured::Octets(_))));
}
