//! Policies, key by key: what production does not relax, which values are none, what lint finds, and what is shown.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use core::time::Duration;

use attestation::snp::Product;
use attestation::{Endorsements, Sha256, UnixTime};
use verifier::Policy;
use verifier::policy::{Problem, Weight};

/// The moment that lint judges for: 2026-11-18.
const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);
const STRICT: &str = include_str!("policy_sections/strict.toml");

/// The strict policy with keys set, each to a value as TOML has it; a key without a value is taken out.
fn with(changes: &[(&str, &str)]) -> String {
    let mut policy: toml::Table = toml::from_str(STRICT).unwrap();
    for (path, value) in changes {
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &mut policy;
        for part in section.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().unwrap();
        }
        table.remove(key);
        if !value.is_empty() {
            let mut read: toml::Table = toml::from_str(&format!("v = {value}")).unwrap();
            table.insert(key.to_owned(), read.remove("v").unwrap());
        }
    }
    toml::to_string(&policy).unwrap()
}

fn no_files(name: &str) -> Result<Vec<u8>, String> {
    Err(format!("{name} is not there"))
}

/// What refuses the text as a policy: keys.
fn refused(text: &str) -> Vec<String> {
    let problems = |error: verifier::policy::PolicyError| error.problems().to_vec();
    let found = Policy::parse(text, &no_files).map_or_else(problems, |_| Vec::new());
    found.into_iter().map(|problem| problem.key).collect()
}

/// What lint says: `error key` and `warning key`.
fn lint(text: &str) -> Vec<String> {
    let word = |problem: &Problem| match problem.weight {
        Weight::Error => format!("error {}", problem.key),
        Weight::Warning => format!("warning {}", problem.key),
    };
    Policy::lint(text, &no_files, &Endorsements::new(), NOW).iter().map(word).collect()
}

#[test]
fn what_relaxes_is_not_for_production() {
    assert_eq!(lint(STRICT), [""; 0]);
    for (key, value) in [
        ("freshness.binding", "'if-present'"),
        ("config.digests", "'any'"),
        ("sev-snp.measurements", "'any'"),
        ("tdx.mr_td", "'any'"),
        ("tdx.rtmr0", "'any'"),
        ("tdx.event_log.duplicate_separators", "'tolerated'"),
        ("tdx.event_log.events", "[{ name = 'n', register = 'rtmr2', at = [1], digests = 'any' }]"),
        ("azure.tpm_quote", "'if-present'"),
        ("azure.pcrs", "{}"),
        ("azure.secure_boot", "'allowed'"),
        ("azure.tpm", "'allowed'"),
        ("nvidia-gpu.reference_values", "'any'"),
        ("nvidia-gpu.revocation", "'if-present'"),
        ("nvidia-gpu.confidential_compute", "['single', 'unstated']"),
        ("nvidia-gpu.devtools", "'allowed'"),
        ("nvidia-gpu.topology", "'if-present'"),
        ("nvidia-switch.reference_values", "'any'"),
        ("nvidia-switch.revocation", "'if-present'"),
        ("nvidia-switch.unlocked", "'allowed'"),
    ] {
        assert_eq!(refused(&with(&[(key, value)])), [key], "{value}");
        // For evaluation it is possible, and lint says so.
        let elsewhere = with(&[(key, value), ("purpose", "'evaluation'")]);
        assert_eq!(refused(&elsewhere), [""; 0], "{key}");
        assert_eq!(lint(&elsewhere), [format!("warning {key}")]);
    }
    // Tools and settings that can be changed may be refused or allowed, and not required.
    for key in ["nvidia-gpu.devtools", "nvidia-switch.unlocked"] {
        let required = with(&[(key, "'required'"), ("purpose", "'evaluation'")]);
        assert_eq!(refused(&required), [key]);
    }
    // Nothing but an evaluation does without a binding.
    let simulation = [("purpose", "'simulation'"), ("freshness.binding", "'if-present'")];
    assert_eq!(refused(&with(&simulation)), ["freshness.binding"]);
}

#[test]
fn what_is_no_value_is_refused_with_its_key() {
    let event = |rest: &str| format!("[{{ name = 'n', register = 'rtmr2', {rest} }}]");
    let digest = "digests = ['666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666']";
    let cases = [
        ("schema", "2".to_owned(), "schema"),
        ("name", "''".to_owned(), "name"),
        ("name", format!("'{}'", "n".repeat(129)), "name"),
        ("min_version", "4".to_owned(), "min_version"),
        ("freshness.max_age", "'1'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'m'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'1w'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'0s'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'366d1s'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'367d'".to_owned(), "freshness.max_age"),
        ("freshness.max_age", "'18446744073709551615d'".to_owned(), "freshness.max_age"),
        ("config.digests", "['sha256:…']".to_owned(), "config.digests"),
        ("config.digests", "['sha512:22']".to_owned(), "config.digests"),
        ("anchors.tdx", "['no.pem']".to_owned(), "anchors.tdx"),
        ("anchors.nvidia-gpu", "['no.pem']".to_owned(), "anchors.nvidia-gpu"),
        ("tdx.event_log.events", event("at = [0], text = ['t']"), "tdx.event_log.events"),
        ("tdx.event_log.events", event("digests = ['66']"), "tdx.event_log.events"),
        ("tdx.event_log.events", event("digests = 'any'"), "tdx.event_log.events"),
        (
            "tdx.event_log.events",
            event("at = [1], digests = 'any', text = ['t']"),
            "tdx.event_log.events",
        ),
        ("tdx.event_log.events", event(digest).replace("rtmr2", "rtmr4"), "tdx.event_log.events"),
        ("tdx.tcb_status", "['up-to-date', 'revoked']".to_owned(), "tdx.tcb_status"),
        ("tdx.tcb_status", "['up-to-date', 'good']".to_owned(), "tdx.tcb_status"),
        (
            "tdx.grace",
            "{ statuses = ['out-of-date'], until = 'soon' }".to_owned(),
            "tdx.grace.until",
        ),
        ("tdx.sgx_types", "['scalable', 'new']".to_owned(), "tdx.sgx_types"),
        ("tdx.advisories_allowed", "['INTEL-SA-']".to_owned(), "tdx.advisories_allowed"),
        ("tdx.advisories_allowed", "['INTEL-SA-1x']".to_owned(), "tdx.advisories_allowed"),
        ("tdx.advisories_allowed", "['SA-00001']".to_owned(), "tdx.advisories_allowed"),
        ("sev-snp.products", "['genoa', 'rome']".to_owned(), "sev-snp.products"),
        ("sev-snp.vmpl", "[0, 4]".to_owned(), "sev-snp.vmpl"),
        (
            "sev-snp.min_tcb.rome",
            "{ bootloader = 1, tee = 0, snp = 0, microcode = 0 }".to_owned(),
            "sev-snp.min_tcb.rome",
        ),
        (
            "sev-snp.min_tcb.milan",
            "{ bootloader = 1, tee = 0, snp = 0, microcode = 0, fmc = 1 }".to_owned(),
            "sev-snp.min_tcb.milan",
        ),
        ("azure.pcrs.24", "[]".to_owned(), "azure.pcrs.24"),
        ("azure.pcrs.04", "[]".to_owned(), "azure.pcrs.04"),
        ("azure.pcrs.x", "[]".to_owned(), "azure.pcrs.x"),
        ("azure.pcrs.4", "['77']".to_owned(), "azure.pcrs.4"),
        ("nvidia-gpu.min_driver", "'new'".to_owned(), "nvidia-gpu.min_driver"),
        ("nvidia-gpu.devtools", "'required'".to_owned(), "nvidia-gpu.devtools"),
        ("nvidia-gpu.architectures", "['rome']".to_owned(), "nvidia-gpu.architectures"),
        ("nvidia-gpu.architectures", "['ls10']".to_owned(), "nvidia-gpu.architectures"),
        ("nvidia-gpu.devices", "['first']".to_owned(), "nvidia-gpu.devices"),
        ("nvidia-gpu.min_vbios.GH100", "'new'".to_owned(), "nvidia-gpu.min_vbios.GH100"),
        ("nvidia-gpu.min_vbios.LS10", "'96.00.9F.00.01'".to_owned(), "nvidia-gpu.min_vbios.LS10"),
        ("nvidia-gpu.reference_values", "['no.json']".to_owned(), "nvidia-gpu.reference_values"),
        ("nvidia-switch.unlocked", "'required'".to_owned(), "nvidia-switch.unlocked"),
        ("nvidia-switch.architectures", "['hopper']".to_owned(), "nvidia-switch.architectures"),
    ];
    for (path, value, expected) in &cases {
        let found = refused(&with(&[(path, value)]));
        let others = found.iter().any(|key| key != expected && key != "anchors");
        assert!(found.contains(&(*expected).to_owned()) && !others, "{path} = {value}: {found:?}");
    }
    for (path, value) in [
        ("name", format!("'{}'", "n".repeat(128))),
        ("min_version", "3".to_owned()),
        ("freshness.max_age", "'1s'".to_owned()),
        ("freshness.max_age", "'61m'".to_owned()),
        ("freshness.max_age", "'2h'".to_owned()),
        ("freshness.max_age", "'366d'".to_owned()),
        ("azure.pcrs.23", "[]".to_owned()),
        ("azure.pcrs.0", "[]".to_owned()),
        ("nvidia-gpu.min_driver", "'1.2.3.4.5'".to_owned()),
        ("sev-snp.vmpl", "[3]".to_owned()),
        ("tdx.advisories_allowed", "['INTEL-SA-00001']".to_owned()),
        ("nvidia-gpu.architectures", "['Blackwell', 'HOPPER']".to_owned()),
    ] {
        assert_eq!(refused(&with(&[(path, &value)])), [""; 0], "{path} = {value}");
    }
}

#[test]
fn what_a_template_leaves_open_is_told_from_what_is_misspelt() {
    for (value, is_open) in [
        ("<64 hex>", true),
        ("64 hex>", true),
        ("sha256:…", true),
        ("sha256:...", true),
        ("FILL IN", true),
        ("sha256:22", false),
    ] {
        let error = Policy::parse(&with(&[("config.digests", &format!("['{value}']"))]), &no_files);
        let says = error.unwrap_err().to_string();
        assert_eq!(says.contains("is a placeholder"), is_open, "{says}");
    }
}

#[test]
fn a_megabyte_is_a_policy_and_an_octet_more_is_none() {
    let padded = |len: usize| format!("{STRICT}#{}", "x".repeat(len - STRICT.len() - 1));
    assert_eq!(refused(&padded(1 << 20)), [""; 0]);
    assert_eq!(refused(&padded((1 << 20) + 1)), ["policy"]);
}

/// What is changed, and what lint says of it.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn what_accepts_nothing_is_found() {
    let cases: [Case<'_>; 21] = [
        (&[("sev-snp.products", "[]"), ("sev-snp.min_tcb", "")], &["error sev-snp.products"]),
        (&[("sev-snp.signing_keys", "[]")], &["error sev-snp.signing_keys"]),
        (&[("sev-snp.signing_keys", "['vlek']")], &["error sev-snp.csp_ids"]),
        (&[("sev-snp.signing_keys", "['vlek']"), ("sev-snp.csp_ids", "['csp']")], &[]),
        (&[("sev-snp.csp_ids", "['csp']")], &["warning sev-snp.csp_ids"]),
        (&[("sev-snp.vmpl", "[]")], &["error sev-snp.vmpl"]),
        (
            &[("sev-snp.products", "['milan', 'genoa']"), ("purpose", "'evaluation'")],
            &["warning sev-snp.products", "warning sev-snp.min_tcb"],
        ),
        (
            &[("sev-snp.products", "['milan']"), ("purpose", "'evaluation'")],
            &["warning sev-snp.min_tcb", "warning sev-snp.products", "warning sev-snp.min_tcb"],
        ),
        (&[("models", "{}")], &["error models"]),
        (&[("config.digests", "[]")], &["error config.digests"]),
        (&[("models", "{}"), ("config", "{ digests = [] }"), ("purpose", "'evaluation'")], &[]),
        (
            &[("tdx.event_log.events", "[{ name = 'n', register = 'rtmr2' }]")],
            &["error tdx.event_log.events"],
        ),
        (&[("sev-snp", ""), ("tdx", "")], &["error azure"]),
        (&[("sev-snp", "")], &[]),
        (&[("tdx", "")], &[]),
        (&[("azure.vms", "[]")], &["error azure.vms"]),
        (&[("azure.pcrs.4", "[]")], &["error azure.pcrs.4"]),
        (&[("nvidia-gpu.confidential_compute", "[]")], &["error nvidia-gpu.confidential_compute"]),
        (&[("nvidia-gpu.architectures", "[]")], &["error nvidia-gpu.architectures"]),
        (&[("nvidia-gpu.devices", "[]")], &["error nvidia-gpu.devices"]),
        (&[("nvidia-switch.count", "0")], &["error nvidia-switch.count"]),
    ];
    for (changes, expected) in cases {
        assert_eq!(lint(&with(changes)), expected, "{changes:?}");
    }
    let sections = ["sev-snp", "tdx", "azure", "nvidia-gpu", "nvidia-switch"];
    let without = |kept: &str| {
        let gone: Vec<_> = sections.iter().filter(|it| **it != kept).map(|it| (*it, "")).collect();
        lint(&with(&gone))
    };
    assert_eq!(without(""), ["error policy"]);
    assert_eq!(without("azure"), ["error policy", "error azure"]);
    for section in ["sev-snp", "tdx", "nvidia-gpu", "nvidia-switch"] {
        assert_eq!(without(section), [""; 0], "{section} alone");
    }
    // GPUs that come with their switches, which are refused; others do not, nor where their topology is not asked for.
    let no_switch = |changes: &[(&str, &str)]| {
        let mut all = vec![("nvidia-switch", ""), ("purpose", "'evaluation'")];
        all.extend(changes);
        let mut found = lint(&with(&all));
        found.retain(|word| word.ends_with("confidential_compute"));
        found
    };
    let modes = "nvidia-gpu.confidential_compute";
    let alone = (modes, "['protected-pcie']");
    assert_eq!(no_switch(&[alone]), [format!("error {modes}")]);
    assert_eq!(no_switch(&[alone, ("nvidia-gpu.topology", "'if-present'")]), [""; 0]);
    assert_eq!(no_switch(&[(modes, "['single', 'protected-pcie']")]), [""; 0]);
    assert_eq!(lint(&with(&[alone])), [""; 0]);
    // Of values of one kind alone no device is accepted.
    for kind in ["driver", "vbios"] {
        let mut policy: toml::Table = toml::from_str(STRICT).unwrap();
        let values = policy["nvidia-gpu"]["reference_values"].as_array_mut().unwrap();
        values.retain(|values| values["kind"].as_str() == Some(kind));
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(lint(&text), ["error nvidia-gpu.reference_values"], "{kind} alone");
    }
}

#[test]
fn what_ends_is_told_of() {
    let after = |secs: u64| NOW.saturating_add(Duration::from_secs(secs));
    let second = Duration::from_secs(1);
    let half_a_year = 183 * 86_400;
    for (until, expected) in [
        (NOW.saturating_sub(second), &["error tdx.grace.until"][..]),
        (NOW, &[]),
        (after(half_a_year), &[]),
        (after(half_a_year + 1), &["warning tdx.grace.until"]),
    ] {
        let grace = format!("{{ statuses = ['out-of-date'], until = '{until}' }}");
        assert_eq!(lint(&with(&[("tdx.grace", &grace)])), expected, "{until}");
    }
    let dated = |min: UnixTime| {
        let (statuses, until) = ("statuses = ['out-of-date']", after(5));
        let grace = format!("{{ {statuses}, until = '{until}', tcb_date_min = '{min}' }}");
        lint(&with(&[("tdx.grace", &grace)]))
    };
    assert_eq!(dated(after(5)), [""; 0]);
    assert_eq!(dated(after(6)), ["error tdx.grace.tcb_date_min"]);
    let ending = |end: UnixTime| lint(&STRICT.replace("2027-01-01T00:00:00Z", &end.to_string()));
    assert_eq!(ending(NOW), [""; 0]);
    assert_eq!(ending(NOW.saturating_sub(second)), ["error nvidia-gpu.reference_values"]);
    // What is wrong comes before what somebody should know.
    let both = [("sev-snp.csp_ids", "['csp']"), ("nvidia-switch.count", "0")];
    assert_eq!(lint(&with(&both)), ["error nvidia-switch.count", "warning sev-snp.csp_ids"]);
}

#[test]
fn a_policy_is_shown_whole() {
    let show = |text: &str| Policy::parse(text, &no_files).unwrap().show();
    let shown = |text: &str| {
        let shown = show(text);
        let lines = shown.lines().filter(|line| !line.starts_with("Its digest is sha256:"));
        lines.fold(String::new(), |all, line| all + line + "\n")
    };
    assert_eq!(shown(STRICT), include_str!("policy_sections/strict.txt"));
    let relaxed = with(&[
        ("purpose", "'evaluation'"),
        ("min_version", ""),
        ("models", ""),
        ("config", ""),
        ("freshness", "{ evidence = 'cached', binding = 'if-present', max_age = '10m' }"),
        ("sev-snp.products", "['genoa', 'turin']"),
        ("sev-snp.min_tcb", ""),
        ("sev-snp.measurements", "'any'"),
        ("sev-snp.revocation", "'if-present'"),
        ("sev-snp.signing_keys", "['vcek', 'vlek']"),
        ("sev-snp.csp_ids", "['example']"),
        ("sev-snp.id_keys", &format!("['{}']", "01".repeat(48))),
        ("sev-snp.author_keys", &format!("['{}']", "02".repeat(48))),
        ("sev-snp.host_data", &format!("['{}']", "03".repeat(32))),
        ("sev-snp.family_ids", &format!("['{}']", "04".repeat(16))),
        ("sev-snp.image_ids", &format!("['{}']", "05".repeat(16))),
        ("sev-snp.guest_svn_min", "7"),
        ("sev-snp.mitigations.required", "3"),
        ("sev-snp.guest_policy.unknown_bits", "'tolerated'"),
        ("tdx.event_log", ""),
        ("tdx.rtmr2", "'any'"),
        (
            "tdx.grace",
            "{ statuses = ['out-of-date'], until = '2026-12-31T00:00:00Z', tcb_date_min = '2026-01-01T00:00:00Z' }",
        ),
        ("tdx.revocation", "'if-present'"),
        ("tdx.sgx_types", "['scalable']"),
        ("tdx.event_log.duplicate_separators", "'tolerated'"),
        ("azure.tpm_quote", "'if-present'"),
        ("azure.pcrs", ""),
        ("azure.vms", "['one', 'two']"),
        ("nvidia-gpu.count", ""),
        ("nvidia-gpu.min_driver", ""),
        ("nvidia-gpu.min_vbios", ""),
        ("nvidia-gpu.reference_values", "'any'"),
        ("nvidia-gpu.revocation", "'if-present'"),
        ("nvidia-gpu.unlisted", "'tolerated'"),
        ("nvidia-gpu.topology", "'if-present'"),
        ("nvidia-switch.count", ""),
    ]);
    assert_eq!(shown(&relaxed), include_str!("policy_sections/relaxed.txt"));
    let digest = Sha256::of(STRICT.as_bytes());
    assert!(show(STRICT).contains(&format!("Its digest is sha256:{digest}.\n")));
    let shown = show(&with(&[("nvidia-gpu.confidential_compute", "[]")]));
    assert!(shown.contains("  Modes of confidential computing: none.\n"), "{shown}");
    // A register that has events may have values besides, and is what both say.
    let value = "55".repeat(48);
    let shown = show(&with(&[("tdx.rtmr2", &format!("['{value}']"))]));
    assert!(shown.contains(&format!("  RTMR2: {value}.\n")), "{shown}");
    let nothing =
        [("sev-snp", ""), ("tdx", ""), ("azure", ""), ("nvidia-gpu", ""), ("nvidia-switch", "")];
    let refusing = show(&with(&nothing));
    for platform in ["SEV-SNP is", "TDX is", "NVIDIA GPUs are", "NVIDIA switches are"] {
        assert!(refusing.contains(&format!("{platform} refused.\n")), "{refusing}");
    }
}

#[test]
fn roots_of_a_policys_own_are_named_and_no_others() {
    let nvidia = sim::nvidia::NvidiaPki::shared().unwrap();
    let show = |key: &str, root: &[u8]| {
        let text = with(&[(key, "['root.pem']"), ("purpose", "'evaluation'")]);
        Policy::parse(&text, &|_| Ok(root.to_vec())).unwrap().show()
    };
    let shown = show("anchors.nvidia-gpu", nvidia.root());
    let own = format!("NVIDIA Device Identity CA {}", Sha256::of(nvidia.root()));
    let sentence = format!("It trusts roots of its own, not the vendors': {own}.\n");
    assert!(shown.contains(&sentence), "{shown}");
    let validity = nvidia.validity;
    let options = sim::PkiOptions { product: Product::Genoa, validity };
    let amd = sim::Pki::shared(options).unwrap();
    let own = format!("ARK-Genoa {}", Sha256::of(amd.ark()));
    let sentence = format!("It trusts roots of its own, not the vendors': {own}.\n");
    assert!(show("anchors.sev-snp", amd.ark()).contains(&sentence));
}
