//! TDX: one defect each in what an authentic quote says, and what each key of a policy does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod tdx_world;

use attestation::Digest;
use attestation::tdx::{Attributes, Form};
use serde_json::json;
use tdx_world::pki::{Authority, Certificate, PckExtension, RevocationList};
use tdx_world::platform::{INSTANCE, SGX, TEE_TCB_SVN, level, lower, module_level};
use tdx_world::{NOW, SECOND, World, report};
use verifier::Code;

/// A change and the codes that it must be refused for, and no others.
type Defect = (&'static str, Form, &'static [Code], fn(&mut World));

fn values(list: &[&str]) -> toml::Value {
    list.iter().map(|value| toml::Value::from(*value)).collect::<Vec<_>>().into()
}

/// Sets the statuses and advisories of the first level of TCB Info.
fn set_level(world: &mut World, status: &str, advisories: &[&str]) {
    let info = world.tdx.tcb_info.as_mut().unwrap();
    info["tcbLevels"][0] = level(&SGX, 11, &TEE_TCB_SVN, status, advisories);
}

const DEFECTS: &[Defect] = &[
    // Measurements.
    ("MRTD", Form::Td10, &[Code::MeasurementNotAllowed], |w| w.tdx.quote.report.mr_td.0[0] ^= 1),
    ("RTMR0", Form::Td15, &[Code::MeasurementNotAllowed], |w| {
        w.tdx.quote.report.rtmr[0].0[47] ^= 1;
    }),
    ("RTMR1", Form::Td15, &[Code::MeasurementNotAllowed], |w| {
        w.tdx.quote.report.rtmr[1].0[47] ^= 1;
    }),
    ("RTMR2", Form::Td15, &[Code::MeasurementNotAllowed], |w| {
        w.tdx.quote.report.rtmr[2].0[47] ^= 1;
    }),
    ("RTMR3", Form::Td15, &[Code::MeasurementNotAllowed], |w| {
        w.tdx.quote.report.rtmr[3].0[47] ^= 1;
    }),
    ("MRCONFIGID", Form::Td10, &[Code::MrConfigIdNotAllowed], |w| {
        w.tdx.quote.report.mr_config_id.0[0] = 1;
    }),
    ("MROWNER", Form::Td10, &[Code::MrOwnerNotAllowed], |w| {
        w.tdx.quote.report.mr_owner.0[0] = 1;
    }),
    ("MROWNERCONFIG", Form::Td10, &[Code::MrOwnerConfigNotAllowed], |w| {
        w.tdx.quote.report.mr_owner_config.0[0] = 1;
    }),
    // Attributes.
    ("debug", Form::Td10, &[Code::TdDebug], |w| {
        w.tdx.quote.report.td_attributes.0 |= Attributes::DEBUG;
    }),
    ("profiling, HGS+", Form::Td10, &[Code::TdProfiling], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 4;
    }),
    ("profiling, performance", Form::Td15, &[Code::TdProfiling], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 5;
    }),
    ("profiling, telemetry", Form::Td15, &[Code::TdProfiling], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 6;
    }),
    ("a reserved attribute, low", Form::Td10, &[Code::TdAttributesReserved], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 1;
    }),
    ("a reserved attribute, middle", Form::Td10, &[Code::TdAttributesReserved], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 23;
    }),
    ("a reserved attribute, high", Form::Td10, &[Code::TdAttributesReserved], |w| {
        w.tdx.quote.report.td_attributes.0 |= 1 << 61;
    }),
    ("no SEPT_VE_DISABLE", Form::Td10, &[Code::TdSeptVeDisable], |w| {
        w.tdx.quote.report.td_attributes.0 &= !Attributes::SEPT_VE_DISABLE;
    }),
    ("migratable", Form::Td15, &[Code::TdMigratable], |w| {
        w.tdx.quote.report.td_attributes.0 |= Attributes::MIGRATABLE;
    }),
    ("PKS where it is refused", Form::Td15, &[Code::TdPks], |w| {
        w.tdx.quote.report.td_attributes.0 |= Attributes::PKS;
        w.set_in("attributes", "pks", "refused");
    }),
    ("no Key Locker where it is required", Form::Td15, &[Code::TdKeyLocker], |w| {
        w.set_in("attributes", "key_locker", "required");
    }),
    ("PERFMON where it is refused", Form::Td15, &[Code::TdPerfmon], |w| {
        w.tdx.quote.report.td_attributes.0 |= Attributes::PERFMON;
        w.set_in("attributes", "perfmon", "refused");
    }),
    ("XFAM without SSE", Form::Td10, &[Code::XfamInvalid], |w| {
        w.tdx.quote.report.xfam &= !2;
    }),
    ("XFAM with a bit that no TD has", Form::Td10, &[Code::XfamInvalid], |w| {
        w.tdx.quote.report.xfam |= 1 << 3;
    }),
    ("a machine inside the TD", Form::Td15Ex, &[Code::TdVmNotPrimary], |w| {
        w.tdx.quote.report.td15_ex.as_mut().unwrap().vm_id = 1;
    }),
    // Service TDs.
    ("MRSERVICETD", Form::Td15, &[Code::ServiceTdNotAllowed], |w| {
        w.tdx.quote.report.td15.as_mut().unwrap().mr_service_td.0[0] = 1;
    }),
    ("INIT_SERVTD_HASH", Form::Td15Ex, &[Code::ServiceTdNotAllowed], |w| {
        w.tdx.quote.report.td15_ex.as_mut().unwrap().init_service_td_hash.0[0] = 1;
    }),
    ("CUR_SERVTD_HASH", Form::Td15Ex, &[Code::ServiceTdNotAllowed], |w| {
        w.tdx.quote.report.td15_ex.as_mut().unwrap().cur_service_td_hash.0[0] = 1;
    }),
    ("SERVTD_EXT", Form::Td15Ex, &[Code::ServiceTdNotAllowed], |w| {
        w.tdx.quote.report.td_attributes.0 |= Attributes::SERVTD_EXT;
    }),
    // The module.
    ("a module of another signer", Form::Td10, &[Code::TdxModuleMismatch], |w| {
        w.tdx.quote.report.mr_signer_seam.0[0] = 1;
    }),
    ("a module with other attributes", Form::Td10, &[Code::TdxModuleMismatch], |w| {
        w.tdx.quote.report.seam_attributes[0] = 1;
    }),
    ("a module with attributes beside the mask", Form::Td10, &[Code::TdxModuleMismatch], |w| {
        w.tdx.quote.report.seam_attributes[0] = 1;
        let info = w.tdx.tcb_info.as_mut().unwrap();
        info["tdxModuleIdentities"][1]["attributesMask"] = json!("00FFFFFFFFFFFFFF");
    }),
    ("a first module of another signer", Form::Td10, &[Code::TdxModuleMismatch], |w| {
        w.tdx.quote.report.tee_tcb_svn[1] = 0;
        w.tdx.tcb_info.as_mut().unwrap()["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][1]["svn"] =
            json!(0);
        w.tdx.tcb_info.as_mut().unwrap()["tdxModule"]["mrsigner"] = json!("01".repeat(48));
    }),
    ("a module that nobody knows", Form::Td10, &[Code::TdxModuleUnknown], |w| {
        w.tdx.quote.report.tee_tcb_svn[1] = 2;
    }),
    ("a module now that nobody knows", Form::Td15, &[Code::TdxModuleUnknown], |w| {
        w.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2[1] = 2;
    }),
    // Levels.
    ("a platform below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        w.tdx.quote.report.tee_tcb_svn[2] = 0;
    }),
    ("a platform below every level now", Form::Td15, &[Code::TcbLevelMissing], |w| {
        w.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2[2] = 0;
    }),
    ("a PCESVN below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        let extension = PckExtension { pce_svn: Some(10), ..PckExtension::new() };
        w.tdx.pck.set_extension(&extension);
    }),
    ("a component of SGX below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        let extension = PckExtension { sgx: lower(&SGX, 7).to_vec(), ..PckExtension::new() };
        w.tdx.pck.set_extension(&extension);
    }),
    ("a first module below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        // Of version 0, the levels judge the first two components themselves.
        w.tdx.quote.report.tee_tcb_svn[..2].copy_from_slice(&[9, 0]);
    }),
    ("a module below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        w.tdx.quote.report.tee_tcb_svn[0] = 1;
    }),
    ("a quoting enclave below every level", Form::Td10, &[Code::TcbLevelMissing], |w| {
        w.tdx.quote.qe_report.isv_svn = 1;
    }),
    // Status.
    (
        "a platform that is out of date",
        Form::Td10,
        &[Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed],
        |w| w.tdx.quote.report.tee_tcb_svn = lower(&TEE_TCB_SVN, 2),
    ),
    (
        "a module that is out of date",
        Form::Td10,
        &[Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed],
        |w| w.tdx.quote.report.tee_tcb_svn = lower(&TEE_TCB_SVN, 0),
    ),
    (
        "a quoting enclave that is out of date",
        Form::Td10,
        &[Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed],
        |w| w.tdx.quote.qe_report.isv_svn = 3,
    ),
    ("configuration", Form::Td10, &[Code::TcbStatusNotAllowed], |w| {
        set_level(w, "ConfigurationNeeded", &[]);
    }),
    ("hardening", Form::Td15, &[Code::TcbStatusNotAllowed], |w| {
        set_level(w, "SWHardeningNeeded", &[]);
    }),
    ("an advisory of a level that is up to date", Form::Td15, &[Code::AdvisoryNotAllowed], |w| {
        set_level(w, "UpToDate", &["INTEL-SA-00009"]);
    }),
    ("a platform that is revoked", Form::Td10, &[Code::TcbRevoked], |w| {
        set_level(w, "Revoked", &[]);
    }),
    ("a module that is revoked", Form::Td10, &[Code::TcbRevoked], |w| {
        let info = w.tdx.tcb_info.as_mut().unwrap();
        info["tdxModuleIdentities"][1]["tcbLevels"][0] = module_level(5, "Revoked", &[]);
    }),
    ("a quoting enclave that is revoked", Form::Td10, &[Code::TcbRevoked], |w| {
        let identity = w.tdx.qe_identity.as_mut().unwrap();
        identity["tcbLevels"][0] = module_level(4, "Revoked", &[]);
    }),
    ("TCB Info of an old evaluation", Form::Td10, &[Code::TcbEvaluationBelowMinimum], |w| {
        w.tdx.tcb_info.as_mut().unwrap()["tcbEvaluationDataNumber"] = json!(17);
    }),
    ("QE Identity of an old evaluation", Form::Td10, &[Code::TcbEvaluationBelowMinimum], |w| {
        w.tdx.qe_identity.as_mut().unwrap()["tcbEvaluationDataNumber"] = json!(17);
    }),
    // The platform.
    ("another platform", Form::Td10, &[Code::PlatformInstanceNotAllowed], |w| {
        w.set("platforms", values(&[&"ab".repeat(16)]));
    }),
    ("another type", Form::Td10, &[Code::SgxTypeNotAllowed], |w| {
        w.set("sgx_types", values(&["standard", "scalable-with-integrity"]));
    }),
    ("multithreading where it is refused", Form::Td10, &[Code::PckSmt], |w| {
        w.set_in("platform", "smt", "refused");
    }),
    ("a dynamic platform where it is refused", Form::Td10, &[Code::PckDynamicPlatform], |w| {
        w.set_in("platform", "dynamic_platform", "refused");
    }),
    ("no cached keys where they are required", Form::Td10, &[Code::PckCachedKeys], |w| {
        w.set_in("platform", "cached_keys", "required");
    }),
    ("padding where it is refused", Form::Td10, &[Code::QuotePadding], |w| {
        w.tdx.quote.padding = 1;
        w.set("zero_padding", "refused");
    }),
];

#[test]
fn every_defect_is_refused_for_itself_alone() {
    for (what, form, expected, change) in DEFECTS {
        let mut world = World::new(*form);
        change(&mut world);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(world.refusals(), expected, "{what}");
    }
}

#[test]
fn a_register_with_events_has_the_value_that_the_policy_wants_besides() {
    let mut world = World::new(Form::Td15);
    let mut event = toml::Table::new();
    event.insert("name".to_owned(), "kernel".into());
    event.insert("register".to_owned(), "rtmr2".into());
    event.insert("text".to_owned(), values(&["quiet"]));
    world.set_in("event_log", "events", vec![toml::Value::Table(event)]);
    assert_eq!(world.refusals(), [Code::EventLogMissing]);
    world.tdx.quote.report.rtmr[2].0[0] ^= 1;
    assert_eq!(world.refusals(), [Code::MeasurementNotAllowed, Code::EventLogMissing]);
}

#[test]
fn padding_of_zeros_is_allowed_unless_it_is_refused() {
    let mut world = World::new(Form::Td10);
    world.tdx.quote.padding = 3000;
    assert_eq!(world.refusals(), []);
    world.set("zero_padding", "refused");
    assert_eq!(world.refusals(), [Code::QuotePadding]);
    world.tdx.quote.padding = 0;
    assert_eq!(world.refusals(), []);
}

#[test]
fn what_a_policy_relaxes_is_a_warning() {
    type Relax = fn(&mut World);
    let relaxed: &[(&str, Code, Relax)] = &[
        ("any MRTD", Code::MeasurementNotAllowed, |w| w.set("mr_td", "any")),
        ("any RTMR", Code::MeasurementNotAllowed, |w| w.set("rtmr2", "any")),
        ("any MRCONFIGID", Code::MrConfigIdNotAllowed, |w| w.set("mr_config_id", "any")),
        ("any MROWNER", Code::MrOwnerNotAllowed, |w| w.set("mr_owner", "any")),
        ("any MROWNERCONFIG", Code::MrOwnerConfigNotAllowed, |w| w.set("mr_owner_config", "any")),
        ("debug", Code::TdDebug, |w| {
            w.tdx.quote.report.td_attributes.0 |= Attributes::DEBUG;
            w.set_in("attributes", "debug", "allowed");
        }),
        ("profiling", Code::TdProfiling, |w| {
            w.tdx.quote.report.td_attributes.0 |= 1 << 5;
            w.set_in("attributes", "profiling", "allowed");
        }),
        ("migration", Code::TdMigratable, |w| {
            w.tdx.quote.report.td_attributes.0 |= Attributes::MIGRATABLE;
            w.set_in("attributes", "migratable", "allowed");
        }),
        ("SEPT_VE_DISABLE", Code::TdSeptVeDisable, |w| {
            w.tdx.quote.report.td_attributes.0 &= !Attributes::SEPT_VE_DISABLE;
            w.set_in("attributes", "sept_ve_disable", "allowed");
        }),
        ("any service TD", Code::ServiceTdNotAllowed, |w| {
            w.tdx.quote.report.td15.as_mut().unwrap().mr_service_td.0[0] = 1;
            w.tdx.quote.report.td_attributes.0 |= Attributes::SERVTD_EXT;
            w.set("service_td", "any");
        }),
        ("a status", Code::TcbStatusNotAllowed, |w| {
            set_level(w, "ConfigurationNeeded", &[]);
            w.set("tcb_status", values(&["up-to-date", "configuration-needed"]));
        }),
        ("an advisory", Code::AdvisoryNotAllowed, |w| {
            set_level(w, "UpToDate", &["INTEL-SA-00009"]);
            w.set("advisories_allowed", values(&["INTEL-SA-00009"]));
        }),
        ("any advisory", Code::AdvisoryNotAllowed, |w| {
            set_level(w, "UpToDate", &["INTEL-SA-00009"]);
            w.set("advisories_allowed", "any");
        }),
    ];
    for (what, code, change) in relaxed {
        let mut world = World::new(Form::Td15);
        change(&mut world);
        assert_eq!(world.warnings(), [*code], "{what}");
    }
}

#[test]
fn what_a_policy_names_is_accepted_without_a_word() {
    let hash = |byte: &str| byte.repeat(48);
    let changes: [fn(&mut World, &str); 6] = [
        |w, hash| {
            w.tdx.quote.report.td15.as_mut().unwrap().mr_service_td = Digest([0xaa; 48]);
            w.tdx.quote.report.td_attributes.0 |= Attributes::SERVTD_EXT;
            w.set("service_td", values(&[hash]));
        },
        |w, hash| {
            w.tdx.quote.report.mr_config_id = Digest([0xaa; 48]);
            w.set("mr_config_id", values(&[hash]));
        },
        |w, _| w.set("platforms", values(&[&Digest(INSTANCE).to_string()])),
        // A platform may also be named by its provisioning id.
        |w, _| w.set("platforms", values(&[&"99".repeat(16)])),
        |w, _| w.set("sgx_types", values(&["scalable"])),
        |w, _| {
            w.set_in("platform", "smt", "required");
            w.set_in("platform", "cached_keys", "refused");
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut world = World::new(Form::Td15);
        change(&mut world, &hash("aa"));
        assert_eq!(world.warnings(), [], "{index}");
    }
}

#[test]
fn what_a_processors_pck_does_not_say_is_neither_required_nor_refused() {
    let mut world = World::new(Form::Td10);
    let extension = PckExtension { instance_id: None, configuration: None, ..PckExtension::new() };
    let (keys, authority) = (&world.tdx.keys, Authority::Processor);
    world.tdx.pck = Certificate::pck(&extension, authority, &keys.pck, NOW);
    world.tdx.authority =
        Certificate::authority(authority.name(), "Intel SGX Root CA", &keys.authority, NOW, 2);
    world.tdx.pck_list = Some(RevocationList::new(authority.name(), NOW));
    assert_eq!(world.refusals(), []);
    for demand in ["required", "refused"] {
        world.set_in("platform", "smt", demand);
        assert_eq!(world.refusals(), [Code::PckSmt], "{demand}");
    }
    world.set_in("platform", "smt", "allowed");
    world.set("platforms", values(&[&Digest(INSTANCE).to_string()]));
    assert_eq!(world.refusals(), [Code::PlatformInstanceNotAllowed]);
    world.set("platforms", values(&[&"99".repeat(16)]));
    assert_eq!(world.refusals(), []);
}

#[test]
fn a_grace_is_dated_and_ends_the_acceptance() {
    let grace = |until: attestation::UnixTime, min: &str| {
        let mut grace = toml::Table::new();
        grace.insert("statuses".to_owned(), values(&["out-of-date"]));
        grace.insert("until".to_owned(), until.to_string().into());
        grace.insert("tcb_date_min".to_owned(), min.into());
        grace
    };
    let mut world = World::new(Form::Td15);
    // The lower level of everything, at launch and now.
    world.tdx.quote.report.tee_tcb_svn = lower(&TEE_TCB_SVN, 2);
    world.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2 = lower(&TEE_TCB_SVN, 2);
    world.set("advisories_allowed", values(&["INTEL-SA-00002"]));
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed]);
    let until = NOW.saturating_add(SECOND * 60);
    world.set("grace", grace(until, "2026-08-13T00:00:00Z"));
    assert_eq!(world.warnings(), [Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed]);
    let outcome = world.judge().unwrap();
    assert_eq!(outcome.not_after(), until, "the grace ends it");
    // At its end it still holds, and a second later it does not.
    world.now = until;
    assert_eq!(world.refusals(), []);
    world.now = until.saturating_add(SECOND);
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed]);
    world.now = NOW;
    // A level that is older than the policy wants has none.
    world.set("grace", grace(until, "2026-08-13T00:00:01Z"));
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed]);
    // It covers no other status, and nothing covers a revocation.
    world.set("grace", grace(until, "2026-08-13T00:00:00Z"));
    set_level(&mut world, "Revoked", &[]);
    world.tdx.quote.report.tee_tcb_svn = TEE_TCB_SVN;
    assert_eq!(world.refusals(), [Code::TcbRevoked]);
    set_level(&mut world, "ConfigurationNeeded", &[]);
    world.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2 = TEE_TCB_SVN;
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed]);
}

#[test]
fn a_grace_is_for_the_oldest_of_what_makes_the_tcb() {
    type Level = fn(&mut World) -> &mut serde_json::Value;
    let start = || {
        let mut world = World::new(Form::Td15);
        set_level(&mut world, "OutOfDate", &[]);
        // At launch the first level, now the second.
        world.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2 = lower(&TEE_TCB_SVN, 2);
        world.set("advisories_allowed", values(&["INTEL-SA-00002"]));
        let mut grace = toml::Table::new();
        grace.insert("statuses".to_owned(), values(&["out-of-date"]));
        grace.insert("until".to_owned(), NOW.saturating_add(SECOND).to_string().into());
        grace.insert("tcb_date_min".to_owned(), "2026-08-13T00:00:00Z".into());
        world.set("grace", grace);
        world
    };
    assert_eq!(start().refusals(), []);
    let older: [(&str, Level); 4] = [
        ("launch", |w| &mut w.tdx.tcb_info.as_mut().unwrap()["tcbLevels"][0]),
        ("now", |w| &mut w.tdx.tcb_info.as_mut().unwrap()["tcbLevels"][1]),
        ("module", |w| {
            &mut w.tdx.tcb_info.as_mut().unwrap()["tdxModuleIdentities"][1]["tcbLevels"][0]
        }),
        ("enclave", |w| &mut w.tdx.qe_identity.as_mut().unwrap()["tcbLevels"][0]),
    ];
    for (what, level) in older {
        let mut world = start();
        level(&mut world)["tcbDate"] = "2026-08-12T23:59:59Z".into();
        assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed], "{what}");
    }
}

#[test]
fn advisories_about_what_runs_now_count_too() {
    let mut world = World::new(Form::Td15);
    world.tdx.quote.report.td15.as_mut().unwrap().tee_tcb_svn2 = lower(&TEE_TCB_SVN, 2);
    world.set("tcb_status", values(&["out-of-date"]));
    assert_eq!(world.refusals(), [Code::AdvisoryNotAllowed]);
    world.set("advisories_allowed", values(&["INTEL-SA-00002"]));
    assert_eq!(world.refusals(), []);
}

#[test]
fn a_td_that_was_launched_before_an_update_should_be_launched_anew() {
    let mut world = World::new(Form::Td15);
    world.tdx.quote.report.tee_tcb_svn = lower(&TEE_TCB_SVN, 2);
    world.set("advisories_allowed", values(&["INTEL-SA-00002"]));
    let outcome = world.judge();
    assert_eq!(report(&outcome).claims["tcb_status"], json!("td-relaunch-advised"));
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed]);
    world.set("tcb_status", values(&["up-to-date", "out-of-date"]));
    assert_eq!(world.refusals(), [Code::TcbStatusNotAllowed], "that is another status");
    world.set("tcb_status", values(&["td-relaunch-advised"]));
    assert_eq!(world.warnings(), [Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed]);
}

#[test]
fn levels_are_those_of_the_highest_that_is_met_however_they_are_written() {
    let mut world = World::new(Form::Td15);
    let info = world.tdx.tcb_info.as_mut().unwrap();
    let levels = info["tcbLevels"].as_array_mut().unwrap();
    levels.reverse();
    let modules = info["tdxModuleIdentities"].as_array_mut().unwrap();
    for module in modules {
        module["tcbLevels"].as_array_mut().unwrap().reverse();
    }
    let identity = world.tdx.qe_identity.as_mut().unwrap();
    identity["tcbLevels"].as_array_mut().unwrap().reverse();
    assert_eq!(world.refusals(), []);
}

#[test]
fn advisories_of_all_levels_add_up() {
    let mut world = World::new(Form::Td10);
    world.tdx.quote.report.tee_tcb_svn = lower(&lower(&TEE_TCB_SVN, 2), 0);
    world.tdx.quote.qe_report.isv_svn = 2;
    world.set("tcb_status", values(&["out-of-date"]));
    let all = ["INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00003"];
    world.set("advisories_allowed", values(&all));
    let outcome = world.judge();
    assert_eq!(report(&outcome).claims["advisories"], json!(all));
    assert_eq!(world.refusals(), []);
    for missing in 0..all.len() {
        let mut others = all.to_vec();
        others.remove(missing);
        world.set("advisories_allowed", values(&others));
        assert_eq!(world.refusals(), [Code::AdvisoryNotAllowed], "{missing}");
    }
}
