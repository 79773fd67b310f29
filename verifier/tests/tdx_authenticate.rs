//! TDX: one defect each in the chain, the lists, the documents and the quote's signatures.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod tdx_world;

use attestation::Endorsements;
use attestation::endorsements::Kind;
use attestation::tdx::Form;
use serde_json::json;
use sim::certificate::Extension;
use sim::der;
use tdx_world::pki::{self, Certificate, PckExtension};
use tdx_world::platform::{EVALUATION, Party, Tdx, pem, tcb_info};
use tdx_world::{NOW, SECOND, World, codes, report};
use verifier::{ChainCache, Code, Severity, Verdict};

const FORMS: [Form; 3] = [Form::Td10, Form::Td15, Form::Td15Ex];

#[test]
fn what_is_right_is_accepted_in_every_form() {
    for form in FORMS {
        let world = World::new(form);
        let outcome = world.judge();
        let report = report(&outcome);
        assert_eq!(report.verdict, Verdict::Accepted, "{form}: {:#?}", report.findings);
        assert_eq!(world.warnings(), [], "{form}");
        assert_eq!(report.platform, "tdx");
        for (key, value) in [
            ("tcb_status", json!("up-to-date")),
            ("tcb_evaluation", json!(EVALUATION)),
            ("qe_identity_evaluation", json!(EVALUATION)),
            ("report", json!(form.to_string())),
        ] {
            assert_eq!(report.claims[key], value, "{key}");
        }
        // Version 5 may carry the report of TDX 1.0, too.
        let mut five = World::new(form);
        five.tdx.quote.version = 5;
        assert_eq!(five.refusals(), [], "{form}");
    }
}

/// A change and the codes that it must be refused for, and no others.
type Defect = (&'static str, &'static [Code], fn(&mut World));

const DEFECTS: &[Defect] = &[
    // The chain.
    ("a foreign chain", &[Code::RootNotTrusted], |w| {
        w.anchor = Some(Tdx::new(Form::Td10, NOW).unwrap().root_der().unwrap());
    }),
    ("no root in the chain", &[Code::PckChainInvalid], |w| {
        let [pck, authority, _] = w.tdx.chain().unwrap();
        w.tdx.quote.certification = Some(pem(&[pck, authority]).into_bytes());
    }),
    ("a certificate too many", &[Code::PckChainInvalid], |w| {
        let [pck, authority, root] = w.tdx.chain().unwrap();
        let chain = [pck, authority.clone(), authority, root];
        w.tdx.quote.certification = Some(pem(&chain).into_bytes());
    }),
    ("a chain that is no PEM", &[Code::EvidenceMalformed], |w| {
        w.tdx.quote.certification = Some(b"none".to_vec());
    }),
    ("a PCK that is signed by another", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.signers.pck = Party::Stranger;
    }),
    ("an authority that is signed by another", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.signers.authority = Party::Stranger;
    }),
    ("a PCK that names another issuer", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.pck.issuer = pki::name("Intel SGX Root CA");
    }),
    ("an authority that names another issuer", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.authority.issuer = pki::name("Intel SGX PCK Platform CA");
    }),
    ("a PCK with another algorithm", &[Code::CertificateAlgorithm], |w| {
        w.tdx.pck.algorithm = der::sequence(&[&der::object(&[1, 2, 840, 10_045, 4, 3, 3])]);
    }),
    ("an authority with another algorithm", &[Code::CertificateAlgorithm], |w| {
        w.tdx.authority.algorithm = der::sequence(&[&der::object(&[1, 2, 840, 10_045, 4, 3, 3])]);
    }),
    ("a PCK of another name", &[Code::CertificateProfile], |w| {
        w.tdx.pck.subject = pki::name("Intel SGX TCB Signing");
    }),
    ("an authority of another name", &[Code::CertificateProfile], |w| {
        w.tdx.authority.subject = pki::name("Intel SGX Other CA");
        w.tdx.pck.issuer = pki::name("Intel SGX Other CA");
        w.tdx.pck_list.as_mut().unwrap().issuer = pki::name("Intel SGX Other CA");
    }),
    ("a PCK that may issue", &[Code::CertificateProfile], |w| {
        let authority = w.tdx.authority.extensions.clone();
        let sgx = w.tdx.pck.extensions.pop().unwrap();
        w.tdx.pck.extensions = authority;
        w.tdx.pck.extensions.push(sgx);
    }),
    ("an authority that may not issue", &[Code::CertificateProfile], |w| {
        w.tdx.authority.extensions = w.tdx.tcb_signer.as_ref().unwrap().extensions.clone();
    }),
    ("a PCK with a critical extension", &[Code::CertificateProfile], |w| {
        w.tdx.pck.extensions.push(Extension::critical(&[1, 2, 3], vec![5, 0]));
    }),
    ("an authority with a critical extension", &[Code::CertificateProfile], |w| {
        w.tdx.authority.extensions.push(Extension::critical(&[1, 2, 3], vec![5, 0]));
    }),
    ("a PCK that is not yet valid", &[Code::CertificateNotYetValid], |w| {
        w.tdx.pck.not_before = NOW.saturating_add(SECOND);
    }),
    ("a PCK that expired", &[Code::CertificateExpired], |w| {
        w.tdx.pck.not_after = NOW.saturating_sub(SECOND);
    }),
    ("an authority that is not yet valid", &[Code::CertificateNotYetValid], |w| {
        w.tdx.authority.not_before = NOW.saturating_add(SECOND);
    }),
    ("an authority that expired", &[Code::CertificateExpired], |w| {
        w.tdx.authority.not_after = NOW.saturating_sub(SECOND);
    }),
    ("a root that is not yet valid", &[Code::CertificateNotYetValid], |w| {
        w.tdx.root.not_before = NOW.saturating_add(SECOND);
    }),
    ("a root that expired", &[Code::CertificateExpired], |w| {
        w.tdx.root.not_after = NOW.saturating_sub(SECOND);
    }),
    // The lists.
    ("no list of the root", &[Code::CrlMissing], |w| w.tdx.root_list = None),
    ("no list of the authority", &[Code::CrlMissing], |w| w.tdx.pck_list = None),
    ("a list of the root that another signed", &[Code::CrlSignatureInvalid], |w| {
        w.tdx.signers.root_list = Party::Stranger;
    }),
    ("a list of the authority that the root signed", &[Code::CrlSignatureInvalid], |w| {
        w.tdx.signers.pck_list = Party::Root;
    }),
    ("a list of the root that is not yet good", &[Code::CrlNotYetValid], |w| {
        w.tdx.root_list.as_mut().unwrap().this_update = NOW.saturating_add(SECOND);
    }),
    ("a list of the authority that is not yet good", &[Code::CrlNotYetValid], |w| {
        w.tdx.pck_list.as_mut().unwrap().this_update = NOW.saturating_add(SECOND);
    }),
    ("a list of the root that expired", &[Code::CrlExpired], |w| {
        w.tdx.root_list.as_mut().unwrap().next_update = Some(NOW.saturating_sub(SECOND));
    }),
    ("a list of the authority that expired", &[Code::CrlExpired], |w| {
        w.tdx.pck_list.as_mut().unwrap().next_update = Some(NOW.saturating_sub(SECOND));
    }),
    ("a list without an end", &[Code::CrlExpired], |w| {
        w.tdx.pck_list.as_mut().unwrap().next_update = None;
    }),
    ("a partial list", &[Code::CrlProfile], |w| {
        let list = w.tdx.pck_list.as_mut().unwrap();
        list.extensions.push(Extension::critical(&[2, 5, 29, 28], der::sequence(&[])));
    }),
    ("a list without a number", &[Code::CrlProfile], |w| {
        w.tdx.pck_list.as_mut().unwrap().extensions.clear();
    }),
    ("a PCK that is revoked", &[Code::PckRevoked], |w| {
        w.tdx.pck_list.as_mut().unwrap().revoked.push(3);
    }),
    ("an authority that is revoked", &[Code::IntermediateRevoked], |w| {
        w.tdx.root_list.as_mut().unwrap().revoked.push(2);
    }),
    ("a signer that is revoked", &[Code::TcbSignerRevoked], |w| {
        w.tdx.root_list.as_mut().unwrap().revoked.push(4);
    }),
    // The signer of documents.
    (
        "no signer",
        // Intel's own is built in, and did not sign these.
        &[Code::TcbSignerMissing],
        |w| w.tdx.tcb_signer = None,
    ),
    ("a signer of another name", &[Code::TcbSignerMissing], |w| {
        w.tdx.tcb_signer.as_mut().unwrap().subject = pki::name("Intel SGX PCK Certificate");
    }),
    ("a signer that a platform's authority issued", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.signers.tcb_signer = Party::Authority;
        w.tdx.tcb_signer.as_mut().unwrap().issuer = pki::name("Intel SGX PCK Platform CA");
    }),
    ("a signer whom another signed", &[Code::CertificateSignatureInvalid], |w| {
        w.tdx.signers.tcb_signer = Party::Stranger;
    }),
    ("a signer that may issue", &[Code::CertificateProfile], |w| {
        w.tdx.tcb_signer.as_mut().unwrap().extensions = w.tdx.authority.extensions.clone();
    }),
    ("a signer that is not yet valid", &[Code::CertificateNotYetValid], |w| {
        w.tdx.tcb_signer.as_mut().unwrap().not_before = NOW.saturating_add(SECOND);
    }),
    ("a signer that expired", &[Code::CertificateExpired], |w| {
        w.tdx.tcb_signer.as_mut().unwrap().not_after = NOW.saturating_sub(SECOND);
    }),
    // The documents.
    ("no TCB Info", &[Code::TcbInfoMissing], |w| w.tdx.tcb_info = None),
    ("TCB Info of another family", &[Code::TcbInfoMissing], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["fmspc"] = json!("90c06f000001");
    }),
    ("TCB Info of another enclave", &[Code::PceIdMismatch], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["pceId"] = json!("0001");
    }),
    ("TCB Info that a PCK signed", &[Code::TcbInfoSignatureInvalid], |w| {
        w.tdx.signers.tcb_info = Party::Pck;
    }),
    ("TCB Info that the root signed", &[Code::TcbInfoSignatureInvalid], |w| {
        w.tdx.signers.tcb_info = Party::Root;
    }),
    ("TCB Info that is not yet good", &[Code::TcbInfoNotYetValid], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["issueDate"] = json!(NOW.saturating_add(SECOND));
    }),
    ("TCB Info that expired", &[Code::TcbInfoExpired], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["nextUpdate"] = json!(NOW.saturating_sub(SECOND));
    }),
    ("TCB Info of SGX", &[Code::EndorsementsMalformed, Code::TcbInfoMissing], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["id"] = json!("SGX");
    }),
    ("no QE Identity", &[Code::QeIdentityMissing], |w| w.tdx.qe_identity = None),
    ("QE Identity that another signed", &[Code::QeIdentitySignatureInvalid], |w| {
        w.tdx.signers.qe_identity = Party::Stranger;
    }),
    ("QE Identity that is not yet good", &[Code::QeIdentityNotYetValid], |w| {
        w.tdx.qe_identity.as_mut().unwrap()["issueDate"] = json!(NOW.saturating_add(SECOND));
    }),
    ("QE Identity that expired", &[Code::QeIdentityExpired], |w| {
        w.tdx.qe_identity.as_mut().unwrap()["nextUpdate"] = json!(NOW.saturating_sub(SECOND));
    }),
    ("QE Identity of SGX", &[Code::EndorsementsMalformed, Code::QeIdentityMissing], |w| {
        w.tdx.qe_identity.as_mut().unwrap()["id"] = json!("QE");
    }),
    // The quote.
    ("a quote that another key signed", &[Code::SignatureInvalid], |w| {
        w.tdx.signers.quote = Party::Stranger;
    }),
    ("an enclave whose report another signed", &[Code::QeReportSignatureInvalid], |w| {
        w.tdx.signers.qe_report = Party::Stranger;
    }),
    ("an enclave that vouches for another key", &[Code::AttestationKeyMismatch], |w| {
        w.tdx.quote.vouched = Some([7; 32]);
    }),
    ("an enclave that says more", &[Code::AttestationKeyMismatch], |w| {
        w.tdx.quote.qe_report.report_data[63] = 1;
    }),
    ("an enclave of another signer", &[Code::QeIdentityMismatch], |w| {
        w.tdx.quote.qe_report.mr_signer[31] ^= 1;
    }),
    ("another enclave of that signer", &[Code::QeIdentityMismatch], |w| {
        w.tdx.quote.qe_report.isv_prod_id = 1;
    }),
    ("an enclave with other features", &[Code::QeIdentityMismatch], |w| {
        w.tdx.quote.qe_report.misc_select[0] = 1;
    }),
    ("an enclave with other attributes", &[Code::QeIdentityMismatch], |w| {
        w.tdx.quote.qe_report.attributes[0] |= 0x20;
    }),
    ("an enclave that can be debugged", &[Code::QeDebug], |w| {
        w.tdx.quote.qe_report.attributes[0] |= 2;
        w.tdx.qe_identity.as_mut().unwrap()["attributesMask"] =
            json!("F9FFFFFFFFFFFFFF0000000000000000");
    }),
    ("no chain and no PCK", &[Code::PckMissing], |w| {
        w.tdx.quote.certification_type = 3;
    }),
];

#[test]
fn every_defect_is_refused_for_itself_alone() {
    for (index, (what, expected, change)) in DEFECTS.iter().enumerate() {
        let mut world = World::new(FORMS[index % FORMS.len()]);
        change(&mut world);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(world.refusals(), expected, "{what}");
    }
}

#[test]
fn what_is_missing_leaves_the_verdict_open() {
    for code in [
        Code::CrlMissing,
        Code::TcbSignerMissing,
        Code::TcbInfoMissing,
        Code::QeIdentityMissing,
        Code::PckMissing,
    ] {
        let (what, _, change) = DEFECTS.iter().find(|(_, codes, _)| *codes == [code]).unwrap();
        let mut world = World::new(Form::Td15);
        change(&mut world);
        assert_eq!(report(&world.judge()).verdict, Verdict::Unavailable, "{what}");
    }
    // A policy that does without a list says so.
    let mut world = World::new(Form::Td10);
    world.set("revocation", "if-present");
    (world.tdx.root_list, world.tdx.pck_list) = (None, None);
    assert_eq!(world.warnings(), [Code::CrlMissing]);
}

#[test]
fn periods_include_both_their_ends() {
    let mut world = World::new(Form::Td10);
    let tdx = &mut world.tdx;
    (tdx.pck.not_before, tdx.authority.not_after) = (NOW, NOW);
    let signer = tdx.tcb_signer.as_mut().unwrap();
    (signer.not_before, signer.not_after) = (NOW, NOW);
    tdx.root_list.as_mut().unwrap().this_update = NOW;
    tdx.pck_list.as_mut().unwrap().next_update = Some(NOW);
    tdx.tcb_info.as_mut().unwrap()["issueDate"] = json!(NOW);
    tdx.qe_identity.as_mut().unwrap()["nextUpdate"] = json!(NOW);
    assert_eq!(world.refusals(), []);
    assert_eq!(world.judge().unwrap().not_after(), NOW);
}

#[test]
fn the_extension_of_the_pck_is_exact() {
    type Change = fn(&mut PckExtension);
    let odd: [(&str, Change); 12] = [
        ("no PPID", |e| e.ppid = None),
        ("a component missing", |e| e.sgx.truncate(15)),
        ("a component too many", |e| e.sgx.extend([0, 0])),
        ("no PCESVN", |e| e.pce_svn = None),
        ("a PCESVN that is no u16", |e| e.pce_svn = Some(0x1_0000)),
        ("no CPUSVN", |e| e.cpu_svn = None),
        ("no PCE-ID", |e| e.pce_id = None),
        ("no FMSPC", |e| e.fmspc = None),
        ("an FMSPC of another length", |e| e.fmspc = Some(vec![0; 5])),
        ("no type", |e| e.sgx_type = None),
        ("an instance twice", |e| e.more = pki::pair(&[6], &der::octet_string(&[0; 16]))),
        ("what is no pair of its", |e| {
            e.more = der::sequence(&[&der::object(&[1, 2, 3]), &der::integer(1)]);
        }),
    ];
    for (what, change) in odd {
        let mut extension = PckExtension::new();
        change(&mut extension);
        let mut world = World::new(Form::Td10);
        world.tdx.pck.set_extension(&extension);
        assert_eq!(world.refusals(), [Code::CertificateExtensionMalformed], "{what}");
    }
    // What Intel may add is no error; what it always writes must be there, once.
    let mut extension = PckExtension::new();
    extension.more = pki::pair(&[9], &der::integer(1));
    let mut world = World::new(Form::Td10);
    world.tdx.pck.set_extension(&extension);
    assert_eq!(world.refusals(), []);
    let sgx = world.tdx.pck.extensions.pop().unwrap();
    assert_eq!(world.refusals(), [Code::CertificateExtensionMissing]);
    world.tdx.pck.extensions.extend([sgx.clone(), sgx]);
    // Twice is against the profile of every certificate.
    let found = world.refusals();
    assert_eq!(found, [Code::CertificateProfile, Code::CertificateExtensionMissing]);
}

#[test]
fn a_quote_without_a_chain_takes_the_pck_that_signed_it() {
    let mut world = World::new(Form::Td15);
    world.tdx.quote.certification_type = 3;
    let mut given = world.tdx.endorsements().unwrap();
    let [pck, authority, _] = world.tdx.chain().unwrap();
    // Another platform's beside it does no harm.
    let stranger = Certificate::pck(
        &PckExtension::new(),
        pki::Authority::Platform,
        &world.tdx.keys.stranger,
        NOW,
    );
    given.add_certificate(&stranger.sign(&world.tdx.keys.authority).unwrap()).unwrap();
    given.add_certificate(&pck).unwrap();
    world.given = Some(given.clone());
    assert_eq!(world.refusals(), [Code::IntermediateMissing]);
    // Nor do many others, before its authority's.
    for number in 0..10 {
        let mut other = world.tdx.authority.clone();
        other.subject = pki::name(&format!("Authority {number}"));
        given.add_certificate(&other.sign(&world.tdx.keys.root).unwrap()).unwrap();
    }
    given.add_certificate(&authority).unwrap();
    world.given = Some(given);
    assert_eq!(world.refusals(), []);
    world.anchor = Some(Tdx::new(Form::Td10, NOW).unwrap().root_der().unwrap());
    // The roots have the same name, so that it is the signature that tells them apart.
    let found = world.refusals();
    assert!(found.contains(&Code::CertificateSignatureInvalid), "{found:?}");
}

#[test]
fn a_quote_without_a_chain_is_followed_by_names() {
    let mut world = World::new(Form::Td15);
    world.tdx.quote.certification_type = 3;
    let mut given = world.tdx.endorsements().unwrap();
    // However many others there are, they are no PCKs.
    for number in 0..10 {
        let mut other = world.tdx.authority.clone();
        other.subject = pki::name(&format!("Stranger {number}"));
        given.add_certificate(&other.sign(&world.tdx.keys.root).unwrap()).unwrap();
    }
    let [pck, authority, _] = world.tdx.chain().unwrap();
    given.add_certificate(&pck).unwrap();
    given.add_certificate(&authority).unwrap();
    world.given = Some(given);
    assert_eq!(world.refusals(), []);
    // An authority of another root, by its name.
    world.tdx.authority.issuer = pki::name("Another Root CA");
    let mut given = world.tdx.endorsements().unwrap();
    for certificate in &world.tdx.chain().unwrap()[..2] {
        given.add_certificate(certificate).unwrap();
    }
    world.given = Some(given);
    assert_eq!(world.refusals(), [Code::RootNotTrusted]);
}

#[test]
fn of_several_documents_the_latest_that_is_good_counts() {
    let mut world = World::new(Form::Td15);
    let good = world.tdx.endorsements().unwrap();
    let add = |world: &World, all: &mut Endorsements, number: u32, signer: Party| {
        let mut info = tcb_info(NOW);
        info["tcbEvaluationDataNumber"] = json!(number);
        let item = world.tdx.document("tcbInfo", &info, signer).unwrap();
        all.add_item(Kind::TcbInfo, &item).unwrap();
    };
    // An old one that is still good hides no newer, wherever it stands.
    let mut both = Endorsements::new();
    add(&world, &mut both, EVALUATION - 1, Party::TcbSigner);
    both.extend(&good).unwrap();
    world.given = Some(both.clone());
    let outcome = world.judge().unwrap();
    assert_eq!(outcome.report().claims["tcb_evaluation"], json!(EVALUATION));
    // Neither does a worthless one that claims to be newer: it is for the record.
    add(&world, &mut both, EVALUATION + 1, Party::Stranger);
    world.given = Some(both);
    let outcome = world.judge().unwrap();
    assert_eq!(outcome.report().claims["tcb_evaluation"], json!(EVALUATION));
    let noted = codes(outcome.report(), Severity::Info);
    assert!(noted.contains(&Code::TcbInfoSignatureInvalid), "{noted:?}");
    // Alone, the old one is below what the policy wants.
    let mut old = Endorsements::new();
    add(&world, &mut old, EVALUATION - 1, Party::TcbSigner);
    world.tdx.tcb_info = None;
    old.extend(&world.tdx.endorsements().unwrap()).unwrap();
    world.given = Some(old);
    world.set("min_tcb_evaluation", i64::from(EVALUATION));
    assert_eq!(world.refusals(), [Code::TcbEvaluationBelowMinimum]);
}

#[test]
fn another_certificate_of_the_signers_key_hides_nothing() {
    let mut world = World::new(Form::Td15);
    let copy = world.tdx.tcb_signer.as_ref().unwrap().sign(&world.tdx.keys.stranger).unwrap();
    let mut given = Endorsements::new();
    given.add_certificate(&copy).unwrap();
    given.extend(&world.tdx.endorsements().unwrap()).unwrap();
    world.given = Some(given.clone());
    assert_eq!(world.refusals(), []);
    // Alone it is not enough.
    let signer = world.tdx.tcb_signer.take();
    let mut alone = Endorsements::new();
    alone.add_certificate(&copy).unwrap();
    alone.extend(&world.tdx.endorsements().unwrap()).unwrap();
    (world.tdx.tcb_signer, world.given) = (signer, Some(alone));
    assert_eq!(world.refusals(), [Code::CertificateSignatureInvalid]);
}

#[test]
fn numbers_that_never_go_back_are_told() {
    let world = World::new(Form::Td15);
    let outcome = world.judge().unwrap();
    let numbers: Vec<_> = outcome
        .crl_numbers()
        .iter()
        .map(|known| (known.issuer.split(' ').take(3).collect::<Vec<_>>().join(" "), known.number))
        .collect();
    let evaluation = u64::from(EVALUATION);
    assert_eq!(
        numbers,
        [
            ("Intel SGX Root".to_owned(), 7),
            ("Intel SGX PCK".to_owned(), 7),
            ("TCB Info 90c06f000000,".to_owned(), evaluation),
            ("QE Identity TD_QE,".to_owned(), evaluation),
        ]
    );
    // Under another root they are other numbers.
    let other = World::new(Form::Td15).judge().unwrap();
    for known in other.crl_numbers() {
        assert!(!outcome.crl_numbers().iter().any(|have| have.issuer == known.issuer), "{known:?}");
    }
}

#[test]
fn the_horizon_names_all_that_ends() {
    let outcome = World::new(Form::Td10).judge().unwrap();
    let mut found: Vec<_> = outcome
        .report()
        .horizon
        .deadlines()
        .iter()
        .map(|deadline| deadline.what.as_ref())
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "PCK",
            "PCK authority",
            "PCK revocation list",
            "QE Identity",
            "TCB Info",
            "TCB signer",
            "root",
            "root revocation list",
        ]
    );
}

#[test]
fn a_known_platform_is_judged_anew_where_anything_differs() {
    let chains = ChainCache::default();
    let mut world = World::new(Form::Td15);
    let mut case = world.case();
    assert!(case.warm(&chains).is_ok());
    assert_eq!(chains.len(), 1);
    assert!(case.warm(&chains).is_ok());
    assert_eq!(chains.len(), 1, "the same");
    // Time passes: what was good is not any more.
    case.now = NOW.saturating_add(SECOND * 86_400 * 40);
    let outcome = case.warm(&chains);
    assert_eq!(
        codes(report(&outcome), Severity::Reject),
        [Code::CrlExpired, Code::TcbInfoExpired, Code::QeIdentityExpired]
    );
    // Other documents, other anchors, another demand.
    world.tdx.pck_list.as_mut().unwrap().revoked.push(3);
    let outcome = world.case().warm(&chains);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::PckRevoked]);
    world.tdx.pck_list.as_mut().unwrap().revoked.pop();
    world.anchor = Some(Tdx::new(Form::Td10, NOW).unwrap().root_der().unwrap());
    let outcome = world.case().warm(&chains);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::RootNotTrusted]);
    world.anchor = None;
    world.tdx.root_list = None;
    world.set("revocation", "if-present");
    assert!(world.case().warm(&chains).is_ok());
    world.set("revocation", "required");
    let outcome = world.case().warm(&chains);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::CrlMissing]);
    assert_eq!(chains.len(), 1, "what left a finding is not kept");
}

#[test]
fn what_is_known_ends_with_the_first_of_its_parts() {
    type End = fn(&mut World, attestation::UnixTime);
    let end = NOW.saturating_add(SECOND * 60);
    let ends: [(Code, End); 5] = [
        (Code::CertificateExpired, |w, end| w.tdx.pck.not_after = end),
        (Code::CertificateExpired, |w, end| w.tdx.tcb_signer.as_mut().unwrap().not_after = end),
        (Code::CrlExpired, |w, end| w.tdx.pck_list.as_mut().unwrap().next_update = Some(end)),
        (Code::TcbInfoExpired, |w, end| {
            w.tdx.tcb_info.as_mut().unwrap()["nextUpdate"] = end.to_string().into();
        }),
        (Code::QeIdentityExpired, |w, end| {
            w.tdx.qe_identity.as_mut().unwrap()["nextUpdate"] = end.to_string().into();
        }),
    ];
    for (place, (code, set)) in ends.into_iter().enumerate() {
        let mut world = World::new(Form::Td15);
        set(&mut world, end);
        let (mut case, chains) = (world.case(), ChainCache::default());
        assert!(case.warm(&chains).is_ok(), "{place}");
        assert_eq!(chains.len(), 1, "{place}");
        case.now = end.saturating_add(SECOND);
        let outcome = case.warm(&chains);
        assert_eq!(codes(report(&outcome), Severity::Reject), [code], "{place}");
    }
}

#[test]
fn no_bit_of_a_quote_can_change() {
    let world = World::new(Form::Td15Ex);
    let case = world.case();
    let chains = ChainCache::default();
    assert!(case.warm(&chains).is_ok());
    let quote = world.tdx.quote().unwrap();
    let mut case = case;
    // The chain's PEM may be spelt in several ways: what it says is in the next test.
    let pem = quote.windows(10).position(|bytes| bytes == b"-----BEGIN").unwrap();
    // QE and PCE versions of the header are signed too; nothing is left out.
    for at in 0..pem {
        let mut changed = quote.clone();
        changed[at] ^= 1;
        case.evidence = attestation::Unverified::new(attestation::Evidence::from_wire(changed));
        assert!(case.warm(&chains).is_err(), "byte {at:#x}");
    }
}
