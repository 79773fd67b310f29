//! Authentication of SEV-SNP evidence: every check has a case that fails only because of it.
//! The numbers are those of the list in `docs/rejections.md`.
mod outcome;
mod world;

use attestation::UnixTime;
use attestation::snp::Product;
use sim::certificate::{Extension, Name, Signing};
use sim::der::{self, oid};
use sim::report::{KEY_MASK_CHIP, KEY_NONE, KEY_VLEK};
use sim::{EcKey, Revoked, SignatureForm};
use verifier::{Code, Severity, Verdict};
use world::{Defect, Signer, World, each_is_accepted, each_is_refused, report};

const DAY: u64 = 86_400;

fn genoa() -> World {
    World::new(Product::Genoa)
}

fn after(secs: u64) -> UnixTime {
    UnixTime::from_secs(world::NOW.as_secs().saturating_add(secs))
}

fn before(secs: u64) -> UnixTime {
    UnixTime::from_secs(world::NOW.as_secs().saturating_sub(secs))
}

#[test]
fn evidence_of_every_product_version_and_kind_of_key_is_accepted() {
    for product in Product::ALL {
        let milan: &[Code] =
            if product == Product::Milan { &[Code::ProductNotAllowed] } else { &[] };
        each_is_accepted(|| World::new(product), &[("newest", milan, &|_| {})]);
        each_is_accepted(|| World::vlek(product), &[("vlek", milan, &|_| {})]);
        let alias = [milan, &[Code::PlatformAliasCheck]].concat();
        let versions: [Defect<'_>; 3] = [
            ("version 2", &alias, &|w| {
                w.report.version = 2;
                w.report.cpuid = [0; 3];
                w.set("sev-snp.platform", "alias_check", "allowed");
            }),
            ("version 3", milan, &|w| w.report.version = 3),
            ("version 5", milan, &|w| w.report.version = 5),
        ];
        each_is_accepted(|| World::new(product), &versions);
    }
}

#[test]
fn check_1_the_version_is_known() {
    let versions =
        [0, 1, 4, 6, u32::MAX].map(|version| move |w: &mut World| w.report.version = version);
    for change in &versions {
        each_is_refused(genoa, &[("version", &[Code::ReportVersionUnsupported], change)]);
    }
}

#[test]
fn checks_2_and_19_the_signature_is_canonical_and_verifies() {
    each_is_refused(
        genoa,
        &[
            ("algorithm", &[Code::SignatureAlgorithmUnsupported], &|w| w.report.signature_algo = 2),
            ("over-long r", &[Code::SignatureNotCanonical], &|w| w.form = SignatureForm::LongR),
            ("over-long s", &[Code::SignatureNotCanonical], &|w| w.form = SignatureForm::LongS),
            ("trailing", &[Code::SignatureNotCanonical], &|w| w.form = SignatureForm::Trailing),
            ("flipped", &[Code::SignatureInvalid], &|w| w.form = SignatureForm::Flipped),
            ("big-endian", &[Code::SignatureInvalid], &|w| w.form = SignatureForm::BigEndian),
            ("zero", &[Code::SignatureInvalid], &|w| w.form = SignatureForm::Zero),
            ("another key", &[Code::SignatureInvalid], &|w| w.vek_key = EcKey::generate().unwrap()),
        ],
    );
}

#[test]
fn check_3_the_root_is_an_anchor() {
    each_is_refused(
        genoa,
        &[
            ("the vendor's anchors", &[Code::RootNotTrusted], &|w| {
                w.policy.remove("anchors");
            }),
            ("no anchors", &[Code::RootNotTrusted], &|w| {
                w.set("anchors", "sev-snp", toml::Value::Array(Vec::new()));
            }),
            ("an intermediate that another key signed", &[Code::RootNotTrusted], &|w| {
                w.issuer_key = Signer::Asvk;
            }),
            ("an intermediate that names another issuer", &[Code::RootNotTrusted], &|w| {
                // The right common name, and another organisation.
                w.issuer.issuer.0.remove(4);
            }),
            ("an intermediate whose signature is broken", &[Code::RootNotTrusted], &|w| {
                w.issuer.signing.flips.push((100, 1));
            }),
        ],
    );
    // A root that is given beside the evidence counts for nothing, so it need not be given.
    each_is_accepted(genoa, &[("no root given", &[], &|w| w.give.ark = false)]);
}

#[test]
fn check_3_an_anchor_is_of_one_product() {
    // Genoa's evidence under Turin's root: the very key, another name.
    let mut world = genoa();
    world.ark = world::pki(Product::Turin).ark_recipe().unwrap();
    let outcome = world.judge();
    assert_eq!(world::codes(report(&outcome), Severity::Reject), [Code::RootNotTrusted]);
}

#[test]
fn check_4_every_certificate_is_valid_at_the_moment_of_appraisal() {
    each_is_refused(
        genoa,
        &[
            ("vcek too early", &[Code::CertificateNotYetValid], &|w| w.vek.not_before = after(1)),
            ("vcek too late", &[Code::CertificateExpired], &|w| w.vek.not_after = before(1)),
            ("ask too early", &[Code::CertificateNotYetValid], &|w| w.issuer.not_before = after(1)),
            ("ask too late", &[Code::CertificateExpired], &|w| w.issuer.not_after = before(1)),
            ("ark too early", &[Code::CertificateNotYetValid], &|w| w.ark.not_before = after(1)),
            ("ark too late", &[Code::CertificateExpired], &|w| w.ark.not_after = before(1)),
        ],
    );
    // Both ends are part of the validity (RFC 5280 §4.1.2.5).
    each_is_accepted(
        genoa,
        &[
            ("first second", &[], &|w| w.vek.not_before = world::NOW),
            ("last second", &[], &|w| w.vek.not_after = world::NOW),
        ],
    );
}

#[test]
fn check_4_certificates_are_signed_as_amd_signs() {
    let both = &[Code::CertificateAlgorithm, Code::CertificateSignatureInvalid];
    let root = &[Code::CertificateAlgorithm, Code::RootNotTrusted];
    each_is_refused(
        genoa,
        &[
            ("vcek with pkcs 1", both, &|w| w.vek.signing = Signing::pkcs1()),
            ("vcek with sha-256", both, &|w| w.vek.signing = Signing::pss_sha256()),
            ("vcek with another salt", &[Code::CertificateAlgorithm], &|w| {
                w.vek.signing = Signing::wrong_salt(32);
            }),
            ("vcek that names two algorithms", &[Code::CertificateAlgorithm], &|w| {
                w.vek.signing.inner = Signing::amd_authority().inner;
            }),
            ("vcek with a broken signature", &[Code::CertificateSignatureInvalid], &|w| {
                w.vek.signing.flips.push((0, 0x80));
            }),
            ("ask with pkcs 1", root, &|w| w.issuer.signing = Signing::pkcs1()),
            ("ask with sha-256", root, &|w| w.issuer.signing = Signing::pss_sha256()),
            ("ask with another salt", &[Code::CertificateAlgorithm], &|w| {
                w.issuer.signing = Signing::wrong_salt(20);
            }),
        ],
    );
}

#[test]
fn check_4_certificates_are_what_their_role_wants() {
    const CA: &[Code] = &[Code::CertificateProfile];
    let ca_flag =
        || Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[&der::boolean(true)]));
    let unknown = || Extension::critical(oid::SUBJECT_KEY_ID, der::octet_string(&[1; 20]));
    each_is_refused(
        genoa,
        &[
            ("ask without the ca flag", CA, &|w| {
                w.issuer = w.issuer.clone().without(oid::BASIC_CONSTRAINTS);
            }),
            ("ask with a ca flag that may be ignored", CA, &|w| {
                w.issuer.extension_mut(oid::BASIC_CONSTRAINTS).unwrap().critical = false;
            }),
            ("ask with the ca flag off", CA, &|w| {
                w.issuer = w.issuer.clone().with_value(oid::BASIC_CONSTRAINTS, der::sequence(&[]));
            }),
            ("ask without key usage", CA, &|w| {
                w.issuer = w.issuer.clone().without(oid::KEY_USAGE);
            }),
            ("ask that may not sign certificates", CA, &|w| {
                w.issuer = w.issuer.clone().with_value(oid::KEY_USAGE, vec![0x03, 2, 1, 0x02]);
            }),
            ("ask with an unknown critical extension", CA, &|w| {
                w.issuer
                    .extensions
                    .push(Extension::critical(oid::ISSUING_DISTRIBUTION, der::sequence(&[])));
            }),
            ("ask with an extension twice", CA, &|w| {
                w.issuer
                    .extensions
                    .push(Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&[1; 20])));
            }),
            ("vcek that is an authority", CA, &|w| w.vek.extensions.push(ca_flag())),
            ("vcek that may sign certificates", CA, &|w| {
                w.vek.extensions.push(Extension::critical(oid::KEY_USAGE, vec![0x03, 2, 1, 0x04]));
            }),
            ("vcek with an unknown critical extension", CA, &|w| w.vek.extensions.push(unknown())),
            (
                "ask by another name",
                &[Code::CertificateSignatureInvalid, Code::RootNotTrusted],
                &|w| {
                    w.issuer.subject = Name::amd("SEV-Other");
                },
            ),
            (
                "ask of another product's root",
                &[Code::CertificateProfile, Code::RootNotTrusted],
                &|w| {
                    w.issuer.issuer = Name::amd("ARK-Turin");
                },
            ),
            ("vcek by another name", CA, &|w| w.vek.subject = Name::amd("SEV-OTHER")),
            ("vcek by no name", CA, &|w| {
                w.vek.subject.0.pop();
            }),
            ("vlek issued by an ask", CA, &|w| w.vek.subject = Name::amd("SEV-VLEK")),
        ],
    );
}

#[test]
fn check_4_what_is_not_given_is_unavailable() {
    each_is_refused(genoa, &[("no vcek", &[Code::VekMissing], &|w| w.give.vek = false)]);
    each_is_refused(
        || World::vlek(Product::Genoa),
        &[("no asvk", &[Code::IntermediateMissing], &|w| w.give.issuer = false)],
    );
    for world in [genoa(), World::vlek(Product::Genoa)] {
        let mut world = world;
        world.give.vek = false;
        let outcome = world.judge();
        assert_eq!(report(&outcome).verdict, Verdict::Unavailable);
        assert!(report(&outcome).claims.is_empty(), "unauthenticated claims are not shown");
    }
}

#[test]
fn check_5_revocation() {
    each_is_refused(
        genoa,
        &[
            ("none", &[Code::CrlMissing], &|w| w.crl = None),
            ("of another root", &[Code::CrlMissing], &|w| {
                w.crl.as_mut().unwrap().issuer = Name::amd("ARK-Turin");
            }),
            ("signed by another key", &[Code::CrlSignatureInvalid], &|w| w.crl_key = Signer::Ask),
            ("signed otherwise", &[Code::CrlSignatureInvalid], &|w| {
                w.crl.as_mut().unwrap().signing = Signing::pkcs1();
            }),
            ("from the future", &[Code::CrlNotYetValid], &|w| {
                w.crl.as_mut().unwrap().this_update = after(1);
            }),
            ("expired", &[Code::CrlExpired], &|w| {
                w.crl.as_mut().unwrap().next_update = Some(before(1));
            }),
            ("without an end", &[Code::CrlExpired], &|w| {
                w.crl.as_mut().unwrap().next_update = None;
            }),
            ("without a number", &[Code::CrlProfile], &|w| {
                w.crl.as_mut().unwrap().extensions.retain(|e| e.oid != oid::CRL_NUMBER);
            }),
            ("with a huge number", &[Code::CrlProfile], &|w| {
                let extensions = &mut w.crl.as_mut().unwrap().extensions;
                extensions.retain(|e| e.oid != oid::CRL_NUMBER);
                extensions.push(Extension::plain(oid::CRL_NUMBER, der::unsigned(&[1; 9])));
            }),
            ("indirect or partial", &[Code::CrlProfile], &|w| {
                w.crl
                    .as_mut()
                    .unwrap()
                    .extensions
                    .push(Extension::critical(oid::ISSUING_DISTRIBUTION, der::sequence(&[])));
            }),
            ("ask revoked", &[Code::IntermediateRevoked], &|w| {
                let serial = w.issuer.serial.clone();
                w.crl.as_mut().unwrap().revoked.push(Revoked {
                    serial,
                    at: before(DAY),
                    reason: Some(1),
                });
            }),
            ("vcek revoked", &[Code::VekRevoked], &|w| {
                let serial = w.vek.serial.clone();
                w.crl.as_mut().unwrap().revoked.push(Revoked {
                    serial,
                    at: before(DAY),
                    reason: None,
                });
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("others revoked", &[], &|w| {
                let serial = der::integer(77);
                w.crl.as_mut().unwrap().revoked.push(Revoked {
                    serial,
                    at: before(DAY),
                    reason: None,
                });
            }),
            ("none, where the policy does without", &[Code::CrlMissing], &|w| {
                w.crl = None;
                w.set("sev-snp", "revocation", "if-present");
            }),
        ],
    );
    // A list that is there counts even where the policy would do without one.
    each_is_refused(
        genoa,
        &[("expired", &[Code::CrlExpired], &|w| {
            w.crl.as_mut().unwrap().next_update = Some(before(1));
            w.set("sev-snp", "revocation", "if-present");
        })],
    );
}

#[test]
fn check_5_a_missing_list_is_unavailable_unless_something_is_rejected() {
    let mut world = genoa();
    world.crl = None;
    assert_eq!(report(&world.judge()).verdict, Verdict::Unavailable);
    world.report.vmpl = 3;
    let outcome = world.judge();
    assert_eq!(report(&outcome).verdict, Verdict::Rejected);
    assert_eq!(
        world::codes(report(&outcome), Severity::Reject),
        [Code::CrlMissing, Code::VmplNotAllowed]
    );
}

#[test]
fn check_5_the_number_is_handed_to_the_client() {
    let result = genoa().judge().unwrap();
    let [crl] = result.crl_numbers() else { panic!("one list was used") };
    assert_eq!(crl.number, 5);
    assert!(crl.issuer.starts_with("ARK-Genoa "), "{}", crl.issuer);
}

#[test]
fn check_6_the_kind_of_key_is_the_certificates() {
    each_is_refused(
        genoa,
        &[
            ("none", &[Code::SigningKeyInvalid], &|w| w.report.key_info = KEY_NONE),
            ("reserved", &[Code::SigningKeyInvalid], &|w| w.report.key_info = 2 << 2),
            ("vlek", &[Code::SigningKeyMismatch], &|w| w.report.key_info = KEY_VLEK),
        ],
    );
    each_is_refused(
        || World::vlek(Product::Genoa),
        &[("vcek", &[Code::SigningKeyMismatch], &|w| w.report.key_info = 0)],
    );
}

#[test]
fn check_7_the_chip_is_the_certificates() {
    for product in [Product::Genoa, Product::Turin] {
        each_is_refused(
            || World::new(product),
            &[
                ("another chip", &[Code::ChipIdMismatch], &|w| w.report.chip_id[7] ^= 1),
                ("beyond the id's end", &[Code::ChipIdMismatch], &|w| w.report.chip_id[63] ^= 1),
                ("masked by flag", &[Code::ChipIdMasked], &|w| w.report.key_info |= KEY_MASK_CHIP),
                ("masked by zeros", &[Code::ChipIdMasked, Code::ChipIdMismatch], &|w| {
                    w.report.chip_id = [0; 64];
                }),
                ("no hardware id", &[Code::CertificateExtensionMissing], &|w| {
                    w.vek = w.vek.clone().without(oid::HWID);
                }),
                ("hardware id of another length", &[Code::CertificateExtensionMalformed], &|w| {
                    w.vek = w.vek.clone().with_value(oid::HWID, vec![1; 16]);
                }),
            ],
        );
        // The newer spelling: an OCTET STRING inside the extension's own.
        each_is_accepted(
            || World::new(product),
            &[("wrapped", &[], &|w| {
                let bare = w.vek.extension_mut(oid::HWID).unwrap();
                bare.value = der::octet_string(&bare.value);
            })],
        );
    }
}

#[test]
fn check_8_the_tcb_is_the_certificates() {
    each_is_refused(
        genoa,
        &[
            ("boot loader", &[Code::ReportedTcbMismatch], &|w| {
                w.report.reported_tcb.bootloader = 9;
            }),
            ("microcode", &[Code::ReportedTcbMismatch], &|w| w.report.reported_tcb.microcode = 1),
            ("reserved", &[Code::ReportedTcbMismatch], &|w| {
                w.vek = w.vek.clone().with_value(oid::SPL_5, der::integer(1));
            }),
        ],
    );
    each_is_refused(
        || World::new(Product::Turin),
        &[("fmc", &[Code::ReportedTcbMismatch], &|w| w.report.reported_tcb.fmc = Some(0))],
    );
}

#[test]
fn check_8_every_extension_is_mandatory_and_canonical() {
    let common: &[&'static [u64]] = &[
        oid::STRUCT_VERSION,
        oid::PRODUCT_NAME,
        oid::SPL_BOOTLOADER,
        oid::SPL_TEE,
        oid::SPL_SNP,
        oid::SPL_5,
        oid::SPL_6,
        oid::SPL_7,
        oid::SPL_MICROCODE,
    ];
    for (product, own) in [(Product::Genoa, oid::SPL_4), (Product::Turin, oid::SPL_FMC)] {
        for id in common.iter().copied().chain([own]) {
            each_is_refused(
                || World::new(product),
                &[
                    ("missing", &[Code::CertificateExtensionMissing], &|w| {
                        w.vek = w.vek.clone().without(id);
                    }),
                    ("not canonical", &[Code::CertificateExtensionMalformed], &|w| {
                        w.vek = w.vek.clone().with_value(id, vec![0x02, 0x02, 0x00, 0x01]);
                    }),
                    ("with a tail", &[Code::CertificateExtensionMalformed], &|w| {
                        w.vek.extension_mut(id).unwrap().value.push(0);
                    }),
                    (
                        "twice",
                        &[Code::CertificateProfile, Code::CertificateExtensionMissing],
                        &|w| {
                            let twin = w.vek.extension_mut(id).unwrap().clone();
                            w.vek.extensions.push(twin);
                        },
                    ),
                ],
            );
        }
    }
}

#[test]
fn check_9_a_vlek_names_its_provider_and_no_chip() {
    each_is_refused(
        || World::vlek(Product::Genoa),
        &[
            ("no provider", &[Code::CertificateExtensionMissing], &|w| {
                w.vek = w.vek.clone().without(oid::CSP_ID);
            }),
            ("a provider that is no string", &[Code::CertificateExtensionMalformed], &|w| {
                w.vek = w.vek.clone().with_value(oid::CSP_ID, vec![0x16, 9, b'x']);
            }),
            ("a chip", &[Code::CertificateExtensionMissing], &|w| {
                w.vek = w.vek.clone().with_value(oid::HWID, vec![1; 64]);
            }),
            ("a provider that the policy does not know", &[Code::CspNotAllowed], &|w| {
                w.set("sev-snp", "csp_ids", toml::Value::Array(vec!["other.example".into()]));
            }),
            ("a kind that the policy does not accept", &[Code::SigningKeyNotAllowed], &|w| {
                w.set("sev-snp", "signing_keys", toml::Value::Array(vec!["vcek".into()]));
            }),
        ],
    );
    each_is_refused(
        genoa,
        &[("a vcek with a provider", &[Code::CertificateExtensionMissing], &|w| {
            w.vek = w.vek.clone().with_value(oid::CSP_ID, der::tlv(0x16, b"CN=x"));
        })],
    );
}

#[test]
fn check_10_the_processor_is_the_certificates_product() {
    each_is_refused(
        genoa,
        &[
            ("another product", &[Code::ProductMismatch], &|w| w.report.cpuid = [0x1a, 0x02, 1]),
            ("an unknown processor", &[Code::ProductMismatch], &|w| w.report.cpuid = [0x1b, 0, 0]),
            ("another product name", &[Code::ProductMismatch], &|w| {
                w.vek = w.vek.clone().with_value(oid::PRODUCT_NAME, der::tlv(0x16, b"Turin"));
            }),
            ("a product name with a tail", &[Code::ProductMismatch], &|w| {
                w.vek = w.vek.clone().with_value(oid::PRODUCT_NAME, der::tlv(0x16, b"Genoan"));
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[("with a stepping", &[], &|w| {
            w.vek = w.vek.clone().with_value(oid::PRODUCT_NAME, der::tlv(0x16, b"Genoa-B1"));
        })],
    );
}

#[test]
fn after_a_failed_authentication_nothing_else_is_judged_or_shown() {
    let mut world = genoa();
    world.form = SignatureForm::Flipped;
    // These would be rejected too, were the claims authentic.
    world.report.policy |= 1 << 19;
    world.report.vmpl = 3;
    let outcome = world.judge();
    let report = report(&outcome);
    assert_eq!(world::codes(report, Severity::Reject), [Code::SignatureInvalid]);
    assert_eq!(world::codes(report, Severity::Info), [Code::NotEvaluated]);
    assert!(report.claims.is_empty());
    assert!(report.findings.is_sorted_by_key(|finding| finding.severity));
}

#[test]
fn endorsements_parse_to_the_last_byte() {
    let world = genoa();
    for (what, spoil) in [("trailing", 0_usize), ("cut", 1)] {
        let mut all = attestation::Endorsements::new();
        let mut vek = world.pki.sign_as_ask(&world.vek).unwrap();
        if spoil == 0 {
            vek.push(0);
        } else {
            vek.pop();
        }
        all.add_certificate(&vek).unwrap();
        let outcome = verifier::appraise(
            &world.parsed_policy(),
            &world.evidence(),
            &attestation::Unverified::new(all),
            &world.expectation,
            world.now,
        );
        assert_eq!(report(&outcome).verdict, Verdict::Malformed, "{what}");
    }
}

/// What is malformed is said, even where what is good would do without it.
#[test]
fn nothing_malformed_is_passed_over() {
    type Add = fn(&mut attestation::Endorsements, &[u8]);
    let world = genoa();
    let good = world.endorsements();
    let good = good.inspect_untrusted();
    let adds: [(&str, &[u8], Add); 2] = [
        ("certificate", &good.certificates()[0], |all, der| all.add_certificate(der).unwrap()),
        ("list", &good.crls()[0], |all, der| all.add_crl(der).unwrap()),
    ];
    for (what, der, add) in adds {
        for (trailing, expected) in [(&[][..], Verdict::Accepted), (&[0][..], Verdict::Malformed)] {
            let mut all = good.clone();
            add(&mut all, &[der, trailing].concat());
            let outcome = verifier::appraise(
                &world.parsed_policy(),
                &world.evidence(),
                &attestation::Unverified::new(all),
                &world.expectation,
                world.now,
            );
            let said = report(&outcome);
            assert_eq!(said.verdict, expected, "{what}: {:#?}", said.findings);
            let malformed: &[Code] =
                if trailing.is_empty() { &[] } else { &[Code::EndorsementsMalformed] };
            assert_eq!(world::codes(said, Severity::Reject), malformed, "{what}");
        }
    }
}

/// Every byte of a chain counts: of the signing key, the intermediate and the revocation list. The
/// root is left out, because the anchor is what counts, not what was given.
#[test]
fn no_bit_of_a_chain_can_change() {
    let world = genoa();
    let (policy, evidence) = (world.parsed_policy(), world.evidence());
    let given = world.endorsements();
    let [vek, issuer, ark] = given.inspect_untrusted().certificates() else { panic!("three") };
    let [crl] = given.inspect_untrusted().crls() else { panic!("one") };
    let judge = |parts: [&[u8]; 3]| {
        let [vek, issuer, crl] = parts;
        let all = sim::bundle(&[vek, issuer, ark], &[crl]).unwrap();
        let all = attestation::Unverified::new(all);
        verifier::appraise(&policy, &evidence, &all, &world.expectation, world.now).is_ok()
    };
    assert!(judge([vek, issuer, crl]));
    for (name, which) in [("vcek", 0_usize), ("ask", 1), ("crl", 2)] {
        let parts: [&[u8]; 3] = [vek, issuer, crl];
        for at in 0..parts[which].len() {
            let mut spoilt = parts[which].to_vec();
            spoilt[at] ^= 1;
            let mut parts = parts;
            parts[which] = &spoilt;
            assert!(!judge(parts), "{name}, byte {at}");
        }
    }
}
