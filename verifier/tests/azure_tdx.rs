//! Machines with TDX on Azure: the quote must be of the report that the paravisor kept, in every form that it has.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod tdx_world;

use attestation::tdx::Form;
use attestation::{Evidence, Sha384, Unverified};
use sim::azure::{self, QuoteRecipe, TpmKey};
use tdx_world::{Case, World, codes, report};
use verifier::{Code, Severity};

/// A machine whose report of its own is `edit`ed, with the hashes that fit it again.
fn machine(form: Form, version: u16, edit: impl Fn(&mut [u8; 1024])) -> Case {
    let key = TpmKey::generate().unwrap();
    let runtime = azure::runtime_data(&key).unwrap().to_string().into_bytes();
    let mut world = World::new(form);
    world.tdx.quote.version = version;
    world.tdx.quote.report.report_data = azure::report_data(&runtime);
    world.policy.insert("azure".to_owned(), toml::Table::new().into());
    let quote = world.tdx.quote().unwrap();
    // Behind the header, and in version 5 behind type and size.
    let body = &quote[if quote[0] == 4 { 48 } else { 54 }..];
    let mut own = [0; 1024];
    own[0] = 0x81;
    for (at, from, len) in [(264, 0, 120), (512, 120, 400), (128, 520, 64)] {
        own[at..][..len].copy_from_slice(&body[from..][..len]);
    }
    if form >= Form::Td15 {
        own[384..400].copy_from_slice(&body[584..600]);
        own[912..960].copy_from_slice(&body[600..648]);
    }
    edit(&mut own);
    for (at, from, len) in [(32, 256, 239), (80, 512, 512)] {
        let hash = Sha384::of(&own[from..][..len]);
        own[at..][..48].copy_from_slice(&hash.0);
    }
    let tpm_quote = QuoteRecipe::new(&[7; 32], &[[0; 32]; 24]).sign(&key).unwrap();
    let hcl = azure::hcl_report(&own, true, &runtime);
    let evidence = azure::evidence(&hcl, &tpm_quote, Some(&quote));
    Case { evidence: Unverified::new(Evidence::from_wire(evidence)), ..world.case() }
}

#[test]
fn a_quote_of_any_form_must_be_of_the_paravisor_s_report() {
    for (form, version) in [(Form::Td10, 4), (Form::Td10, 5), (Form::Td15, 5), (Form::Td15Ex, 5)] {
        let outcome = machine(form, version, |_| ()).judge();
        let said = report(&outcome);
        assert!(outcome.is_ok(), "{form:?}, {version}: {:#?}", said.findings);
        assert_eq!(said.platform, "azure-tdx");
        // The first and the last of what every form has: TEE_TCB_SVN and RTMR3.
        for at in [264, 911] {
            let outcome = machine(form, version, |own| own[at] ^= 1).judge();
            let refused = codes(report(&outcome), Severity::Reject);
            assert_eq!(refused, [Code::AzureTdReportMismatch], "{form:?}, {version} at {at}");
        }
        // TEE_TCB_SVN_2 and SERVTD_HASH, which a quote of TDX 1.0 says nothing of.
        for at in [384, 959] {
            let outcome = machine(form, version, |own| own[at] ^= 1).judge();
            let refused = codes(report(&outcome), Severity::Reject);
            let expected = [Code::AzureTdReportMismatch];
            let expected = if form == Form::Td10 { &[][..] } else { &expected };
            assert_eq!(refused, expected, "{form:?}, {version} at {at}");
        }
    }
}
