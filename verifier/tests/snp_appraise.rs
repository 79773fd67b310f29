//! Appraisal of authentic SEV-SNP evidence: every check has a case that fails only because of it,
//! and every relaxation one that is accepted with a warning.

mod outcome;
mod world;

use attestation::snp::Product;
use attestation::{Evidence, Unverified};
use sim::report::KEY_AUTHOR;
use toml::Value;
use verifier::{Code, Severity, Verdict, appraise};
use world::{World, codes, each_is_accepted, each_is_refused, report};

fn genoa() -> World {
    World::new(Product::Genoa)
}

fn turin() -> World {
    World::new(Product::Turin)
}

fn words(list: &[&str]) -> Value {
    Value::Array(list.iter().map(|word| Value::from(*word)).collect())
}

#[test]
fn check_11_tcb_order_and_minima() {
    each_is_refused(
        genoa,
        &[
            ("reported above committed", &[Code::TcbOrder], &|w| {
                w.report.committed_tcb.microcode = 1;
            }),
            ("committed above current", &[Code::TcbOrder], &|w| w.report.committed_tcb.snp = 99),
            ("launch above current", &[Code::TcbOrder], &|w| w.report.launch_tcb.bootloader = 99),
            // A higher part does not make up for a lower one.
            ("launch below the minimum", &[Code::TcbBelowMinimum], &|w| {
                w.report.launch_tcb.snp = 1;
            }),
            ("reported below the minimum", &[Code::TcbBelowMinimum], &|w| {
                w.set("sev-snp.min_tcb.genoa", "snp", 24);
            }),
            ("reported alone below the minimum", &[Code::TcbBelowMinimum], &|w| {
                w.report.reported_tcb.snp = 22;
                let snp = sim::der::integer(w.report.reported_tcb.snp.into());
                w.vek = w.vek.clone().with_value(sim::der::oid::SPL_SNP, snp);
            }),
            ("a reserved byte", &[Code::TcbOrder], &|w| {
                w.report.patches.push((attestation::snp::offset::LAUNCH_TCB + 3, vec![1]));
            }),
            ("firmware that can be rolled back", &[Code::FirmwareProvisional], &|w| {
                w.report.current_version = [66, 55, 1];
                w.set("sev-snp", "provisional_firmware", "refused");
            }),
            ("firmware that cannot be rolled back", &[Code::FirmwareProvisional], &|w| {
                w.set("sev-snp", "provisional_firmware", "required");
            }),
            ("a TCB that can be rolled back", &[Code::FirmwareProvisional], &|w| {
                w.report.current_tcb.microcode = 99;
                w.set("sev-snp", "provisional_firmware", "refused");
            }),
        ],
    );
    each_is_refused(
        turin,
        &[("fmc below the minimum", &[Code::TcbBelowMinimum], &|w| {
            w.set("sev-snp.min_tcb.turin", "fmc", 2);
        })],
    );
    each_is_accepted(
        genoa,
        &[
            ("firmware that can be rolled back", &[], &|w| w.report.current_version = [66, 55, 1]),
            ("no minimum", &[Code::TcbMinimumNotSet], &|w| {
                w.set("sev-snp", "min_tcb", toml::Table::new());
            }),
        ],
    );
}

#[test]
fn check_12_guest_policy() {
    const BITS: [(&str, u32, Code); 6] = [
        ("smt", 16, Code::GuestPolicySmt),
        ("single_socket", 20, Code::GuestPolicySingleSocket),
        ("aes_256_xts", 22, Code::GuestPolicyAes256Xts),
        ("rapl_disabled", 23, Code::GuestPolicyRapl),
        ("ciphertext_hiding", 24, Code::GuestPolicyCiphertextHiding),
        ("page_swap_disabled", 25, Code::GuestPolicyPageSwap),
    ];
    for (key, bit, code) in BITS {
        let set = |w: &mut World| w.report.policy |= 1 << bit;
        let clear = |w: &mut World| w.report.policy &= !(1 << bit);
        each_is_refused(
            genoa,
            &[
                (key, &[code], &|w| {
                    clear(w);
                    w.set("sev-snp.guest_policy", key, "required");
                }),
                (key, &[code], &|w| {
                    set(w);
                    w.set("sev-snp.guest_policy", key, "refused");
                }),
            ],
        );
        each_is_accepted(
            genoa,
            &[
                (key, &[], &|w| {
                    set(w);
                    w.set("sev-snp.guest_policy", key, "required");
                }),
                (key, &[], &|w| {
                    clear(w);
                    w.set("sev-snp.guest_policy", key, "refused");
                }),
                (key, &[], &|w| {
                    set(w);
                    w.set("sev-snp.guest_policy", key, "allowed");
                }),
            ],
        );
    }
}

#[test]
fn check_12_guest_policy_by_default() {
    each_is_refused(
        genoa,
        &[
            ("debug", &[Code::GuestPolicyDebug], &|w| w.report.policy |= 1 << 19),
            ("migration", &[Code::GuestPolicyMigration], &|w| w.report.policy |= 1 << 18),
            ("cxl", &[Code::GuestPolicyCxl], &|w| w.report.policy |= 1 << 21),
            ("no cxl, which is wanted", &[Code::GuestPolicyCxl], &|w| {
                w.set("sev-snp.guest_policy", "cxl", "required");
            }),
            ("bit 17", &[Code::GuestPolicyReserved], &|w| w.report.policy &= !(1 << 17)),
            ("unknown", &[Code::GuestPolicyUnknownBits], &|w| w.report.policy |= 1 << 26),
            ("unknown, highest", &[Code::GuestPolicyUnknownBits], &|w| w.report.policy |= 1 << 63),
            ("abi", &[Code::GuestPolicyAbi], &|w| {
                w.report.policy |= 0x0137;
                w.set("sev-snp.guest_policy", "abi_min", "1.56");
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("abi", &[], &|w| {
                w.report.policy |= 0x0200;
                w.set("sev-snp.guest_policy", "abi_min", "1.56");
            }),
            ("debug", &[Code::GuestPolicyDebug], &|w| {
                w.report.policy |= 1 << 19;
                w.set("sev-snp.guest_policy", "debug", "allowed");
            }),
            ("migration", &[Code::GuestPolicyMigration], &|w| {
                w.report.policy |= 1 << 18;
                w.set("sev-snp.guest_policy", "migration", "allowed");
            }),
            ("cxl", &[Code::GuestPolicyCxl], &|w| {
                w.report.policy |= 1 << 21;
                w.set("sev-snp.guest_policy", "cxl", "allowed");
            }),
            ("unknown", &[Code::GuestPolicyUnknownBits], &|w| {
                w.report.policy |= 1 << 40;
                w.set("sev-snp.guest_policy", "unknown_bits", "tolerated");
            }),
        ],
    );
}

#[test]
fn check_13_no_migration_agent() {
    let agent = |w: &mut World| w.report.report_id_ma[31] = 0;
    each_is_refused(genoa, &[("agent", &[Code::MigrationAgent], &agent)]);
    each_is_accepted(
        genoa,
        &[("agent", &[Code::MigrationAgent], &|w| {
            agent(w);
            w.set("sev-snp", "migration_agent", "allowed");
        })],
    );
    each_is_refused(
        || {
            let mut world = genoa();
            agent(&mut world);
            world.set("sev-snp", "migration_agent", "required");
            world
        },
        &[("none", &[Code::MigrationAgent], &|w| w.report.report_id_ma = [0xff; 32])],
    );
}

#[test]
fn check_14_platform_information() {
    const BITS: [(&str, u32, Code); 6] = [
        ("smt", 0, Code::PlatformSmt),
        ("tsme", 1, Code::PlatformTsme),
        ("ecc", 2, Code::PlatformEcc),
        ("rapl_disabled", 3, Code::PlatformRapl),
        ("ciphertext_hiding", 4, Code::PlatformCiphertextHiding),
        ("tio", 7, Code::PlatformTio),
    ];
    for (key, bit, code) in BITS {
        let set = |w: &mut World| w.report.platform_info |= 1 << bit;
        let clear = |w: &mut World| w.report.platform_info &= !(1 << bit);
        each_is_refused(
            genoa,
            &[
                (key, &[code], &|w| {
                    clear(w);
                    w.set("sev-snp.platform", key, "required");
                }),
                (key, &[code], &|w| {
                    set(w);
                    w.set("sev-snp.platform", key, "refused");
                }),
            ],
        );
        each_is_accepted(genoa, &[("on", &[], &set), ("off", &[], &clear)]);
    }
}

#[test]
fn check_14_alias_check_and_unknown_bits() {
    each_is_refused(
        genoa,
        &[
            ("alias check", &[Code::PlatformAliasCheck], &|w| w.report.platform_info &= !(1 << 5)),
            ("version 2", &[Code::PlatformAliasCheck], &|w| {
                w.report.version = 2;
                w.report.cpuid = [0; 3];
            }),
            ("unknown platform bit", &[Code::PlatformUnknownBits], &|w| {
                w.report.platform_info |= 1 << 6;
                w.set("sev-snp.platform", "unknown_bits", "refused");
            }),
            ("unknown key flag", &[Code::PlatformUnknownBits], &|w| {
                w.report.key_info |= 1 << 5;
                w.set("sev-snp.platform", "unknown_bits", "refused");
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("unknown platform bit", &[], &|w| w.report.platform_info |= 1 << 6),
            ("alias check not wanted", &[Code::PlatformAliasCheck], &|w| {
                w.report.platform_info &= !(1 << 5);
                w.set("sev-snp.platform", "alias_check", "refused");
            }),
            ("alias check", &[Code::PlatformAliasCheck], &|w| {
                w.report.platform_info &= !(1 << 5);
                w.set("sev-snp.platform", "alias_check", "allowed");
            }),
        ],
    );
}

#[test]
fn check_15_mitigations() {
    each_is_refused(
        turin,
        &[
            ("at launch", &[Code::MitigationMissing], &|w| {
                w.report.launch_mitigations = 0x1f;
                w.set("sev-snp.mitigations", "required", 0x20);
                w.set("sev-snp.mitigations", "unchanged", "allowed");
            }),
            ("now", &[Code::MitigationMissing], &|w| {
                w.report.current_mitigations = 0x1f;
                w.set("sev-snp.mitigations", "required", 0x20);
                w.set("sev-snp.mitigations", "unchanged", "allowed");
            }),
            ("changed", &[Code::MitigationChanged], &|w| w.report.current_mitigations = 0x7f),
        ],
    );
    each_is_refused(
        genoa,
        &[("not reported", &[Code::MitigationMissing], &|w| {
            w.set("sev-snp.mitigations", "required", 1);
        })],
    );
    each_is_accepted(
        turin,
        &[
            ("all there", &[], &|w| w.set("sev-snp.mitigations", "required", 0x3f)),
            ("changed", &[Code::MitigationChanged], &|w| {
                w.report.current_mitigations = 0x7f;
                w.set("sev-snp.mitigations", "unchanged", "allowed");
            }),
            ("changed, as wanted", &[Code::MitigationChanged], &|w| {
                w.report.current_mitigations = 0x7f;
                w.set("sev-snp.mitigations", "unchanged", "refused");
            }),
        ],
    );
}

#[test]
fn check_16_privilege_level() {
    each_is_refused(
        genoa,
        &[
            ("one", &[Code::VmplNotAllowed], &|w| w.report.vmpl = 1),
            ("the host", &[Code::VmplNotAllowed], &|w| w.report.vmpl = u32::MAX),
        ],
    );
    each_is_accepted(
        genoa,
        &[("one", &[], &|w| {
            w.report.vmpl = 1;
            w.set("sev-snp", "vmpl", Value::Array(vec![0.into(), 1.into()]));
        })],
    );
}

#[test]
fn check_17_what_was_launched() {
    let one = "01".repeat(48);
    each_is_refused(
        genoa,
        &[
            ("measurement", &[Code::MeasurementNotAllowed], &|w| w.report.measurement[47] ^= 1),
            ("no measurement", &[Code::MeasurementNotAllowed], &|w| {
                w.set("sev-snp", "measurements", words(&[]));
            }),
            ("host data", &[Code::HostDataNotAllowed], &|w| {
                w.set("sev-snp", "host_data", words(&[&"01".repeat(32)]));
            }),
            ("family", &[Code::FamilyIdNotAllowed], &|w| {
                w.set("sev-snp", "family_ids", words(&[&"01".repeat(16)]));
            }),
            ("image", &[Code::ImageIdNotAllowed], &|w| {
                w.set("sev-snp", "image_ids", words(&[&"01".repeat(16)]));
            }),
            ("guest svn", &[Code::GuestSvnBelowMinimum], &|w| w.set("sev-snp", "guest_svn_min", 1)),
            ("id key", &[Code::IdKeyNotAllowed], &|w| w.set("sev-snp", "id_keys", words(&[&one]))),
            ("author key", &[Code::AuthorKeyNotAllowed], &|w| {
                w.report.key_info |= KEY_AUTHOR;
                w.report.author_key_digest = [2; 48];
                w.set("sev-snp", "author_keys", words(&[&one]));
            }),
            ("author key without its flag", &[Code::AuthorKeyNotAllowed], &|w| {
                w.report.author_key_digest = [1; 48];
                w.set("sev-snp", "author_keys", words(&[&one]));
            }),
            ("author flag without a key", &[Code::AuthorKeyNotAllowed], &|w| {
                w.report.key_info |= KEY_AUTHOR;
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("any measurement", &[Code::MeasurementNotAllowed], &|w| {
                w.set("sev-snp", "measurements", "any");
            }),
            ("all of them", &[], &|w| {
                w.report.host_data = [1; 32];
                w.report.family_id = [1; 16];
                w.report.image_id = [1; 16];
                w.report.guest_svn = 1;
                w.report.id_key_digest = [1; 48];
                w.report.author_key_digest = [1; 48];
                w.report.key_info |= KEY_AUTHOR;
                w.set("sev-snp", "host_data", words(&[&"01".repeat(32)]));
                w.set("sev-snp", "family_ids", words(&[&"01".repeat(16)]));
                w.set("sev-snp", "image_ids", words(&[&"01".repeat(16)]));
                w.set("sev-snp", "guest_svn_min", 1);
                w.set("sev-snp", "id_keys", words(&[&one]));
                w.set("sev-snp", "author_keys", words(&[&one]));
            }),
        ],
    );
}

#[test]
fn check_20_whose_chip_and_which_product() {
    let chip = |w: &World| hex::encode(w.report.chip_id);
    each_is_refused(
        genoa,
        &[
            ("another chip", &[Code::ChipNotAllowed], &|w| {
                w.set("sev-snp", "chips", words(&[&"00".repeat(64)]));
            }),
            ("another product", &[Code::ProductNotAllowed], &|w| {
                w.set("sev-snp", "products", words(&["turin"]));
            }),
        ],
    );
    // By default Genoa and Turin are accepted, and Milan is not.
    let default = |w: &mut World| {
        w.policy["sev-snp"].as_table_mut().unwrap().remove("products");
    };
    each_is_accepted(genoa, &[("by default", &[], &default)]);
    each_is_accepted(turin, &[("by default", &[], &default)]);
    each_is_refused(
        || World::new(Product::Milan),
        &[("by default", &[Code::ProductNotAllowed], &default)],
    );
    each_is_accepted(
        genoa,
        &[("this chip", &[], &|w| w.set("sev-snp", "chips", words(&[&chip(w)])))],
    );
    // Turin's ids are eight bytes, and may be written so.
    each_is_accepted(
        turin,
        &[("this chip", &[], &|w| {
            let short = chip(w).get(..16).unwrap().to_owned();
            w.set("sev-snp", "chips", words(&[&short]));
        })],
    );
}

/// Evidence of other makers' platforms, by its first octets: a verdict, and none that says that it is garbage.
#[test]
fn a_platform_that_is_not_appraised_is_told() {
    let mut sgx = [vec![3, 0, 2, 0], vec![0; 8]].concat();
    sgx.extend(attestation::tdx::INTEL_QE_VENDOR);
    sgx.resize(1116, 7);
    let nitro = [&[0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0][..], &[0x59; 900]].concat();
    let tagged = [&[0xd2][..], &nitro].concat();
    let cca = [&[0xd9, 0x01, 0x8f, 0xa2][..], &[7; 600]].concat();
    let judge = |wire: Vec<u8>| {
        let world = World::new(Product::Genoa);
        let evidence = Unverified::new(Evidence::from_wire(wire));
        let (policy, given) = (world.parsed_policy(), world.endorsements());
        let outcome = appraise(&policy, &evidence, &given, &world.expectation, world.now);
        outcome.unwrap_err().report().clone()
    };
    for (platform, wire) in
        [("sgx", &sgx), ("aws-nitro", &nitro), ("aws-nitro", &tagged), ("arm-cca", &cca)]
    {
        for wire in [wire.clone(), hex::encode(wire).into_bytes()] {
            let said = judge(wire);
            assert_eq!((said.verdict, said.platform), (Verdict::Rejected, platform));
            assert_eq!(codes(&said, Severity::Reject), [Code::PlatformNotSupported]);
            assert!(said.claims.is_empty(), "{:?}", said.claims);
        }
    }
    // The same with one octet changed is evidence of nothing.
    for (at, mut wire) in [(12, sgx), (3, nitro), (2, cca)] {
        wire[at] ^= 1;
        assert_eq!(codes(&judge(wire), Severity::Reject), [Code::EvidenceMalformed]);
    }
}

#[test]
fn a_platform_without_a_section_is_refused() {
    each_is_refused(
        genoa,
        &[("no section", &[Code::PlatformNotAllowed], &|w| {
            w.policy.remove("sev-snp");
        })],
    );
}

#[test]
fn there_is_nothing_that_an_event_log_could_replay_to() {
    let world = genoa();
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    for (log, expected) in [(None, &[][..]), (Some(vec![0; 64]), &[Code::EventLogNotApplicable])] {
        let evidence = Evidence::from_wire(wire.clone());
        let evidence = match log {
            Some(log) => evidence.with_event_log(log),
            None => evidence,
        };
        let outcome = appraise(
            &world.parsed_policy(),
            &Unverified::new(evidence),
            &world.endorsements(),
            &world.expectation,
            world.now,
        );
        assert_eq!(codes(report(&outcome), Severity::Reject), expected);
    }
}

#[test]
fn all_findings_are_reported_together() {
    each_is_refused(
        genoa,
        &[(
            "three things at once",
            &[Code::GuestPolicyDebug, Code::VmplNotAllowed, Code::MeasurementNotAllowed],
            &|w| {
                w.report.policy |= 1 << 19;
                w.report.vmpl = 2;
                w.report.measurement = [0; 48];
            },
        )],
    );
}
