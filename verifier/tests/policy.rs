//! Policies: what the shipped ones accept, what may be written, and what lint says.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod outcome;
mod world;

use std::fs;
use std::path::Path;

use attestation::Endorsements;
use attestation::snp::Product;
use sim::Pki;
use verifier::policy::{Problem, Purpose, Weight};
use verifier::{AnchorKind, Code, Policy, Severity, appraise};
use world::{NOW, World, report};

/// One thing that is changed.
type Change<'a> = &'a dyn Fn(&mut World);

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

fn no_files(name: &str) -> Result<Vec<u8>, String> {
    Err(format!("{name}: a shipped policy names no file"))
}

fn parse(text: &str) -> Policy {
    Policy::parse(text, &no_files).unwrap()
}

fn production() -> World {
    let mut world = World::new(Product::Genoa);
    world.policy.insert("purpose".to_owned(), "production".into());
    world.policy.remove("anchors");
    world
}

#[test]
fn every_shipped_policy_parses_under_its_own_name() {
    let shipped = shipped();
    assert!(shipped.len() >= 3);
    for (name, text) in shipped {
        let policy = parse(&text);
        assert_eq!(policy.name(), name);
        let expected = match name.as_str() {
            "simulation" => AnchorKind::Untrusted,
            _ => AnchorKind::Production,
        };
        assert_eq!(policy.anchors(), expected, "{name}");
        assert_eq!(policy.purpose() == Purpose::Simulation, name == "simulation", "{name}");
        assert!(policy.show().contains(&format!("Policy {name}, version 1, for ")), "{name}");
    }
}

fn lint(text: &str) -> Vec<Problem> {
    Policy::lint(text, &no_files, &Endorsements::new(), NOW)
}

#[test]
fn lint_refuses_what_nobody_filled_in() {
    for (name, text) in shipped() {
        let problems = lint(&text);
        let errors: Vec<_> = problems
            .iter()
            .filter(|problem| problem.weight == Weight::Error)
            .map(|problem| problem.key.as_str())
            .collect();
        let expected: &[&str] = match name.as_str() {
            name if name.ends_with("-evaluation") => &[],
            "snp-production" => &["models", "config.digests", "sev-snp.measurements"],
            "snp-gpu-production" => &[
                "models",
                "config.digests",
                "sev-snp.measurements",
                "nvidia-gpu.reference_values",
                "nvidia-gpu.reference_values",
                "nvidia-switch.reference_values",
            ],
            "azure-production" => &[
                "models",
                "config.digests",
                "sev-snp.measurements",
                "azure.pcrs.4",
                "azure.pcrs.7",
                "azure.pcrs.9",
            ],
            "tdx-production" => {
                &["models", "config.digests", "tdx.mr_td", "tdx.rtmr0", "tdx.rtmr1", "tdx.rtmr2"]
            }
            "high-assurance" => &[
                "models",
                "config.digests",
                "sev-snp.measurements",
                "sev-snp.chips",
                "tdx.mr_td",
                "tdx.rtmr0",
                "tdx.rtmr1",
                "tdx.rtmr2",
                "tdx.platforms",
            ],
            _ => &["models", "config.digests", "anchors.sev-snp", "sev-snp.measurements"],
        };
        assert_eq!(errors, expected, "{name}: {problems:#?}");
    }
}

/// The simulated platform's evidence is genuine in every way but its root.
#[test]
fn no_shipped_policy_accepts_the_simulated_platform() {
    for product in [Product::Genoa, Product::Turin] {
        let world = World::new(product);
        for (name, text) in shipped() {
            let policy = parse(&text);
            for raw in [false, true] {
                let mut world = World::new(product);
                world.raw = raw;
                let outcome = appraise(
                    &policy,
                    &world.evidence(),
                    &world.endorsements(),
                    &world.expectation,
                    world.now,
                );
                let report = report(&outcome);
                assert!(outcome.is_err(), "{name} accepts the simulated platform");
                let codes = world::codes(report, Severity::Reject);
                let expected = match name.as_str() {
                    "tdx-production" | "tdx-evaluation" | "nvidia-evaluation" => {
                        Code::PlatformNotAllowed
                    }
                    _ => Code::RootNotTrusted,
                };
                assert!(codes.contains(&expected), "{name}: {:#?}", report.findings);
                // Where no GPUs are demanded, that is all.
                let alone = codes == [expected] || name == "snp-gpu-production";
                assert!(alone, "{name}: {:#?}", report.findings);
            }
        }
        assert!(world.judge().is_ok(), "a policy that names the root accepts it");
    }
}

/// Filling the production template in does not help the simulated platform either.
#[test]
fn a_production_policy_cannot_bring_roots_of_its_own() {
    let mut world = World::new(Product::Genoa);
    world.policy.insert("purpose".to_owned(), "production".into());
    let ark = world.pki.ark().to_vec();
    let error = Policy::parse(&world.policy_text(), &move |_| Ok(ark.clone())).unwrap_err();
    assert!(error.problems().iter().any(|problem| problem.key == "anchors"), "{error}");
    // Without them it parses, and refuses.
    let filled_in = production();
    let policy = parse(&filled_in.policy_text());
    let (evidence, given) = (filled_in.evidence(), filled_in.endorsements());
    let outcome = appraise(&policy, &evidence, &given, &filled_in.expectation, filled_in.now);
    assert_eq!(world::codes(report(&outcome), Severity::Reject), [Code::RootNotTrusted]);
    assert_eq!(lint(&filled_in.policy_text()), []);
}

#[test]
fn production_admits_no_relaxation() {
    let relaxations: [(&str, Change<'_>); 12] = [
        ("freshness.binding", &|w| w.set("freshness", "binding", "if-present")),
        ("config.digests", &|w| w.set("config", "digests", "any")),
        ("sev-snp.measurements", &|w| w.set("sev-snp", "measurements", "any")),
        ("sev-snp.revocation", &|w| w.set("sev-snp", "revocation", "if-present")),
        ("sev-snp.guest_policy.debug", &|w| w.set("sev-snp.guest_policy", "debug", "allowed")),
        ("sev-snp.guest_policy.migration", &|w| {
            w.set("sev-snp.guest_policy", "migration", "required");
        }),
        ("sev-snp.migration_agent", &|w| w.set("sev-snp", "migration_agent", "allowed")),
        ("sev-snp.guest_policy.unknown_bits", &|w| {
            w.set("sev-snp.guest_policy", "unknown_bits", "tolerated");
        }),
        ("sev-snp.guest_policy.cxl", &|w| w.set("sev-snp.guest_policy", "cxl", "allowed")),
        ("sev-snp.mitigations.unchanged", &|w| {
            w.set("sev-snp.mitigations", "unchanged", "allowed");
        }),
        ("sev-snp.platform.alias_check", &|w| w.set("sev-snp.platform", "alias_check", "allowed")),
        ("sev-snp.min_tcb", &|w| {
            w.policy["sev-snp"].as_table_mut().unwrap().remove("min_tcb");
        }),
    ];
    for (key, relax) in relaxations {
        let mut world = production();
        relax(&mut world);
        let error = Policy::parse(&world.policy_text(), &no_files).unwrap_err();
        let keys: Vec<_> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key]);
        // The same for evaluation is allowed, and lint says so.
        world.policy.insert("purpose".to_owned(), "evaluation".into());
        let problems = lint(&world.policy_text());
        assert!(problems.iter().any(|p| p.key == key && p.weight == Weight::Warning), "{key}");
    }
}

#[test]
fn lint_wants_milan_by_chip_in_production() {
    let mut world = production();
    let minimum = world.policy["sev-snp"]["min_tcb"]["genoa"].clone();
    world.set("sev-snp.min_tcb", "milan", minimum);
    world.set("sev-snp", "products", toml::Value::Array(vec!["milan".into(), "genoa".into()]));
    let errors = |world: &World| {
        let problems = lint(&world.policy_text());
        problems
            .into_iter()
            .filter(|p| p.weight == Weight::Error)
            .map(|p| p.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(errors(&world), ["sev-snp.products"]);
    world.set("sev-snp", "chips", toml::Value::Array(vec!["11".repeat(64).into()]));
    assert!(errors(&world).is_empty());
}

#[test]
fn what_is_no_policy_is_refused_with_its_key() {
    let broken: [(&str, Change<'_>); 19] = [
        ("policy", &|w| w.set("sev-snp", "unknown_key", 1)),
        ("policy", &|w| w.set("sev-snp.platform", "unknown_key", 1)),
        ("policy", &|w| w.set("unknown_section", "key", 1)),
        ("policy", &|w| w.set("sev-snp", "measurements", "all")),
        ("policy", &|w| w.set("sev-snp", "revocation", "never")),
        ("policy", &|w| {
            w.policy.remove("version");
        }),
        ("schema", &|w| drop(w.policy.insert("schema".to_owned(), 2.into()))),
        ("name", &|w| drop(w.policy.insert("name".to_owned(), "two words".into()))),
        ("freshness.max_age", &|w| w.set("freshness", "max_age", "3600")),
        ("freshness.max_age", &|w| w.set("freshness", "max_age", "0s")),
        ("freshness.max_age", &|w| w.set("freshness", "max_age", "367d")),
        ("freshness.binding", &|w| w.set("freshness", "binding", "if-present")),
        ("models.x", &|w| w.set("models", "x", "00")),
        ("sev-snp.products", &|w| w.set("sev-snp", "products", list("rome"))),
        ("sev-snp.measurements", &|w| w.set("sev-snp", "measurements", list("<96 hex>"))),
        // The level of reports that the host asks for.
        ("sev-snp.vmpl", &|w| {
            w.set("sev-snp", "vmpl", toml::Value::Array(vec![0.into(), u32::MAX.into()]));
        }),
        ("sev-snp.min_tcb.genoa", &|w| {
            for part in ["bootloader", "tee", "snp", "microcode"] {
                w.set("sev-snp.min_tcb.genoa", part, 0);
            }
        }),
        ("sev-snp.guest_policy.abi_min", &|w| w.set("sev-snp.guest_policy", "abi_min", "1")),
        ("sev-snp.min_tcb.turin", &|w| {
            let genoas = w.policy["sev-snp"]["min_tcb"]["genoa"].clone();
            w.set("sev-snp.min_tcb", "turin", genoas);
        }),
    ];
    for (key, spoil) in broken {
        let mut world = World::new(Product::Genoa);
        spoil(&mut world);
        let ark = world.pki.ark().to_vec();
        let error = Policy::parse(&world.policy_text(), &move |_| Ok(ark.clone())).unwrap_err();
        let keys: Vec<_> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{error}");
    }
    assert!(Policy::parse(&"#".repeat((1 << 20) + 1), &no_files).is_err());
    assert!(Policy::parse("", &no_files).is_err());
}

fn list(word: &str) -> toml::Value {
    toml::Value::Array(vec![word.into()])
}

#[test]
fn an_anchor_is_a_root_that_signed_itself() {
    let world = World::new(Product::Genoa);
    let pki: &Pki = &world.pki;
    let mut not_self_signed = pki.ark_recipe().unwrap();
    not_self_signed.signing.flips.push((9, 1));
    let not_a_root = sim::certificate::Name::amd("ROOT");
    let named_otherwise = sim::CertificateRecipe {
        issuer: not_a_root.clone(),
        subject: not_a_root,
        ..pki.ark_recipe().unwrap()
    };
    let mut not_self_issued = pki.ark_recipe().unwrap();
    not_self_issued.issuer.0.remove(4);
    let no_authority = pki.ark_recipe().unwrap().without(sim::der::oid::BASIC_CONSTRAINTS);
    for (what, file) in [
        ("an intermediate", pki.ask().to_vec()),
        ("a broken signature", pki.sign_as_ark(&not_self_signed).unwrap()),
        ("another name", pki.sign_as_ark(&named_otherwise).unwrap()),
        ("another issuer", pki.sign_as_ark(&not_self_issued).unwrap()),
        ("no authority", pki.sign_as_ark(&no_authority).unwrap()),
        ("nothing", Vec::new()),
        ("text", b"text".to_vec()),
    ] {
        let error = Policy::parse(&world.policy_text(), &move |_| Ok(file.clone())).unwrap_err();
        assert_eq!(error.problems()[0].key, "anchors.sev-snp", "{what}");
    }
    let error = Policy::parse(&world.policy_text(), &no_files).unwrap_err();
    assert!(error.to_string().contains("ark.pem"), "{error}");
}

#[test]
fn the_digest_is_of_the_exact_text() {
    let (_, text) = shipped().remove(0);
    let one = parse(&text);
    let other = parse(&format!("{text}\n"));
    assert_eq!(one.digest(), &attestation::Sha256::of(text.as_bytes()));
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn sections_that_accept_nothing_are_told() {
    let mut world = World::new(Product::Genoa);
    world.policy.remove("sev-snp");
    world.policy.remove("anchors");
    world.set("nvidia-gpu", "count", 8);
    let policy = parse(&world.policy_text());
    assert!(policy.show().contains("SEV-SNP is refused.\nTDX is refused."));
    assert!(policy.show().contains("NVIDIA GPUs are demanded, of: HOPPER, BLACKWELL."));
    let errors: Vec<_> = lint(&world.policy_text());
    let key = "nvidia-gpu.reference_values";
    assert!(errors.iter().any(|p| p.key == key && p.weight == Weight::Error), "{errors:#?}");
}

#[test]
fn a_section_of_tdx_says_what_it_accepts() {
    let zero = "0".repeat(96);
    let section = |keys: &str| {
        format!(
            "schema = 1\nname = \"tdx\"\nversion = 1\npurpose = \"production\"\n\
             [models]\nm = \"sha256:{}\"\n[config]\ndigests = [\"sha256:{}\"]\n[tdx]\n{keys}",
            "0".repeat(64),
            "0".repeat(64)
        )
    };
    let pinned = ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]
        .map(|key| format!("{key} = [\"{zero}\"]\n"))
        .concat();
    let problems = |keys: &str| -> Vec<(String, Weight)> {
        let found = lint(&section(keys));
        found.into_iter().map(|problem| (problem.key, problem.weight)).collect()
    };
    assert_eq!(problems(&pinned), []);
    let shown = parse(&section(&pinned)).show();
    for sentence in ["TDX is accepted.", "  TCB status: up-to-date.", "  Service TDs: none."] {
        assert!(shown.contains(sentence), "{shown}");
    }
    let grace = |until: &str| {
        format!("{pinned}grace = {{ statuses = [\"out-of-date\"], until = \"{until}\" }}\n")
    };
    let with_grace = parse(&section(&grace("2026-12-31T00:00:00Z")));
    assert!(with_grace.show().contains("  Until 2026-12-31T00:00:00Z also: out-of-date.\n"));
    assert_eq!(with_grace.grace_ends().map(|end| end.to_string()).unwrap(), "2026-12-31T00:00:00Z");
    assert_eq!(problems(&grace("2026-12-31T00:00:00Z")), []);
    // Nothing that relaxes is for production, and nothing that means nothing is for anybody.
    for (key, wrong) in [
        ("tdx.mr_td", pinned.replacen(&format!("[\"{zero}\"]"), "\"any\"", 1)),
        ("tdx.rtmr0", pinned.replacen("rtmr0", "mr_owner", 1)),
        ("tdx.rtmr3", pinned.replace("rtmr3 = [\"", "rtmr3 = [\"00")),
        ("tdx.mr_config_id", format!("{pinned}mr_config_id = \"any\"")),
        ("tdx.mr_owner", format!("{pinned}mr_owner = []")),
        ("tdx.mr_owner_config", format!("{pinned}mr_owner_config = \"any\"")),
        ("tdx.service_td", format!("{pinned}service_td = \"any\"")),
        ("tdx.tcb_status", format!("{pinned}tcb_status = [\"up-to-date\", \"out-of-date\"]")),
        ("tdx.tcb_status", format!("{pinned}tcb_status = [\"revoked\"]")),
        ("tdx.tcb_status", format!("{pinned}tcb_status = [\"good\"]")),
        ("tdx.tcb_status", format!("{pinned}tcb_status = []")),
        ("tdx.grace.until", grace("soon")),
        ("tdx.grace.statuses", grace("2026-12-31T00:00:00Z").replace("out-of-date", "up-to-date")),
        ("tdx.grace.statuses", grace("2026-12-31T00:00:00Z").replace("\"out-of-date\"", "")),
        (
            "tdx.grace.tcb_date_min",
            grace("2026-12-31T00:00:00Z")
                .replace(" }", ", tcb_date_min = \"2027-01-01T00:00:00Z\" }"),
        ),
        ("tdx.advisories_allowed", format!("{pinned}advisories_allowed = [\"SA-1\"]")),
        ("tdx.advisories_allowed", format!("{pinned}advisories_allowed = \"any\"")),
        ("tdx.min_tcb_evaluation", format!("{pinned}min_tcb_evaluation = 0")),
        ("tdx.platforms", format!("{pinned}platforms = []")),
        ("tdx.platforms", format!("{pinned}platforms = [\"00\"]")),
        ("tdx.sgx_types", format!("{pinned}sgx_types = []")),
        ("tdx.sgx_types", format!("{pinned}sgx_types = [\"new\"]")),
        ("tdx.revocation", format!("{pinned}revocation = \"if-present\"")),
        ("tdx.zero_padding", format!("{pinned}zero_padding = \"required\"")),
        ("tdx.attributes.debug", format!("{pinned}attributes.debug = \"allowed\"")),
        ("tdx.attributes.profiling", format!("{pinned}attributes.profiling = \"required\"")),
        ("tdx.attributes.migratable", format!("{pinned}attributes.migratable = \"allowed\"")),
        (
            "tdx.attributes.sept_ve_disable",
            format!("{pinned}attributes.sept_ve_disable = \"allowed\""),
        ),
    ] {
        assert_eq!(problems(&wrong), [(key.to_owned(), Weight::Error)], "{wrong}");
    }
    // A status that is not known is no status, and no key that is not known is read.
    assert_eq!(problems(&format!("{pinned}unknown = 1"))[0].0, "policy");
}

/// What lint says of `policy`, as `error key` and `warning key`, for `NOW`.
fn words(text: &str, endorsements: &Endorsements) -> Vec<String> {
    let word = |problem: &Problem| match problem.weight {
        Weight::Error => format!("error {}", problem.key),
        Weight::Warning => format!("warning {}", problem.key),
    };
    Policy::lint(text, &no_files, endorsements, NOW).iter().map(word).collect()
}

#[test]
fn lint_finds_what_cannot_be_meant() {
    let cases: [(&str, Change<'_>); 7] = [
        ("error sev-snp.platform.smt", &|w| {
            w.set("sev-snp.guest_policy", "smt", "refused");
            w.set("sev-snp.platform", "smt", "required");
        }),
        ("error sev-snp.platform.rapl_disabled", &|w| {
            w.set("sev-snp.guest_policy", "rapl_disabled", "required");
            w.set("sev-snp.platform", "rapl_disabled", "refused");
        }),
        ("error sev-snp.platform.ciphertext_hiding", &|w| {
            w.set("sev-snp.guest_policy", "ciphertext_hiding", "required");
            w.set("sev-snp.platform", "ciphertext_hiding", "refused");
        }),
        ("error sev-snp.measurements", &|w| {
            w.set("sev-snp", "measurements", list(&"00".repeat(48)));
        }),
        ("error sev-snp.chips", &|w| w.set("sev-snp", "chips", toml::Value::Array(Vec::new()))),
        ("warning sev-snp.csp_ids", &|w| w.set("sev-snp", "csp_ids", list("example"))),
        ("warning sev-snp.min_tcb", &|w| {
            let mut minimum = w.policy["sev-snp"]["min_tcb"]["genoa"].clone();
            minimum.as_table_mut().unwrap().insert("fmc".to_owned(), 1.into());
            w.set("sev-snp.min_tcb", "turin", minimum);
            w.set("sev-snp", "products", list("genoa"));
        }),
    ];
    assert_eq!(words(&production().policy_text(), &Endorsements::new()), [""; 0]);
    for (expected, spoil) in cases {
        let mut world = production();
        spoil(&mut world);
        assert_eq!(words(&world.policy_text(), &Endorsements::new()), [expected]);
    }
}

#[test]
fn lint_knows_what_has_an_end() {
    let tdx = |grace: &str, advisory: &str| {
        let values: String = ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]
            .map(|name| format!("{name} = [\"{}\"]\n", "11".repeat(48)))
            .concat();
        format!(
            "schema = 1\nname = \"t\"\nversion = 1\npurpose = \"evaluation\"\n\
             [tdx]\n{values}advisories_allowed = [{advisory}]\n\
             [tdx.grace]\nstatuses = [\"out-of-date\"]\nuntil = \"{grace}\"\n"
        )
    };
    let none = Endorsements::new();
    let found = |grace: &str, advisory: &str, given: &Endorsements| {
        let mut found = words(&tdx(grace, advisory), given);
        found.retain(|word| word.contains("grace") || word.contains("advisor"));
        found
    };
    // `NOW` is 2026-11-18.
    assert_eq!(found("2026-12-18T00:00:00Z", "", &none), [""; 0]);
    assert_eq!(found("2026-11-01T00:00:00Z", "", &none), ["error tdx.grace.until"]);
    assert_eq!(found("2027-11-18T00:00:00Z", "", &none), ["warning tdx.grace.until"]);
    let mut given = Endorsements::new();
    let info = format!(
        "{{\"tcbInfo\":{{\"tcbLevels\":[{{\"advisoryIDs\":[\"INTEL-SA-00001\"]}}],\
         \"tdxModuleIdentities\":[{{\"tcbLevels\":[{{\"advisoryIDs\":[\"INTEL-SA-00002\"]}}]}}]}},\
         \"signature\":\"{}\"}}",
        "00".repeat(64)
    );
    given.add(info.as_bytes()).unwrap();
    let until = "2026-12-18T00:00:00Z";
    let known = "\"INTEL-SA-00001\", \"INTEL-SA-00002\"";
    assert_eq!(found(until, known, &given), [""; 0]);
    assert_eq!(found(until, "\"INTEL-SA-00003\"", &given), ["warning tdx.advisories_allowed"]);
    assert_eq!(found(until, "\"INTEL-SA-00003\"", &none), [""; 0], "nothing to compare with");
}

#[test]
fn lint_tells_whose_roots_are_trusted() {
    let mut world = World::new(Product::Genoa);
    let ark = world.pki.ark().to_vec();
    let read = move |_: &str| Ok(ark.clone());
    let anchors = |world: &World| {
        let problems = Policy::lint(&world.policy_text(), &read, &Endorsements::new(), NOW);
        problems
            .into_iter()
            .map(|p| p.key)
            .filter(|key| key.starts_with("anchors."))
            .collect::<Vec<_>>()
    };
    assert_eq!(anchors(&world), Vec::<String>::new());
    world.set("tdx", "mr_td", "any");
    assert_eq!(anchors(&world), ["anchors.tdx"], "Intel's own beside one of ours");
    world.policy.remove("tdx");
    world.set("nvidia-switch", "count", 4);
    assert_eq!(anchors(&world), ["anchors.nvidia-gpu"], "NVIDIA's own beside one of ours");
    world.policy.remove("nvidia-switch");
    world.set("nvidia-gpu", "count", 8);
    assert_eq!(anchors(&world), ["anchors.nvidia-gpu"], "of either kind of device");
    world.policy.remove("nvidia-gpu");
    world.policy.remove("sev-snp");
    assert_eq!(anchors(&world), ["anchors.sev-snp"], "roots of nothing");
    for key in ["sev-snp", "tdx", "nvidia-gpu"] {
        world.policy.remove("anchors");
        world.set("anchors", key, toml::Value::Array(Vec::new()));
        let key = format!("anchors.{key}");
        assert_eq!(anchors(&world), [key.as_str(), key.as_str()], "none, and of nothing");
    }
}

#[test]
fn a_policy_does_not_forbid_itself() {
    let text = |min: u64| {
        production().policy_text().replacen(
            "version = 3",
            &format!("version = 3\nmin_version = {min}"),
            1,
        )
    };
    let policy = parse(&text(3));
    assert_eq!((policy.version(), policy.min_version()), (3, 3));
    assert!(policy.show().contains("below 3"));
    let error = Policy::parse(&text(4), &no_files).unwrap_err();
    assert_eq!(error.problems()[0].key, "min_version");
}

#[test]
fn lint_knows_when_reference_values_end() {
    let values = |kind: &str, id: &str, rest: &str, end: &str| {
        format!(
            "{{ schema = 1, kind = \"{kind}\", id = \"{id}\", chip = \"GH100\", {rest} \
             not_after = \"{end}\", measurements = [{{ index = 7, digests = [\"{}\"] }}] }}",
            "11".repeat(48)
        )
    };
    let found = |end: &str| {
        let driver = values("driver", "d", "version = \"550.1\",", end);
        let board = "version = \"96.00.5E.00.01\", project = \"1010\", project_sku = \"0200\", \
                     chip_sku = \"882\",";
        let vbios = values("vbios", "v", board, "2027-01-01T00:00:00Z");
        let text = format!(
            "schema = 1\nname = \"g\"\nversion = 1\npurpose = \"evaluation\"\n\
             [nvidia-gpu]\nreference_values = [{driver}, {vbios}]\n"
        );
        words(&text, &Endorsements::new())
    };
    // `NOW` is 2026-11-18.
    assert_eq!(found("2026-12-30T00:00:00Z"), [""; 0]);
    assert_eq!(found("2026-11-01T00:00:00Z"), ["error nvidia-gpu.reference_values"]);
}
