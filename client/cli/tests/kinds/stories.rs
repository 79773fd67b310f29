//! Evidence that the repository makes itself.
#![allow(clippy::wildcard_imports, reason = "it is the other half of one file")]

use super::*;

/// The head of every policy here.
pub(super) const HEAD: &str = "schema = 1\nname = \"auditing\"\nversion = 1\npurpose = \"evaluation\"\n\
                    freshness = { evidence = \"cached\", binding = \"if-present\" }\nconfig = { digests = \"any\" }\n";

/// Files of an SNP world: the bundle that answers its challenge.
pub(super) fn bundle() -> Story {
    let mut world = World::new(Product::Genoa);
    if let Some(crl) = &mut world.crl {
        crl.next_update = Some(days(7));
    }
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    Story::new("bundle", &wire, "sev-snp", "bundle")
        .file("ark.pem", world.pki.sign_as_ark(&world.ark).unwrap())
        .file("policy.toml", world.policy_text())
        .file("given.pem", world.endorsements().inspect_untrusted().to_pem())
        .with(&["--policy", "policy.toml", "--endorsements", "given.pem"])
        .with(&["--challenge", &CHALLENGE.to_string()])
}

/// A quote with the event log of its boot; each of Intel's documents ends on another day.
pub(super) fn tdx(log: bool) -> Story {
    let validity = sim::validity_from(NOW, 40 * 24 * 60 * 60);
    let pki = IntelPki::new(Arc::new(IntelKeys::generate().unwrap()), validity).unwrap();
    let platform = PckPlatform::default();
    let boot = EventLogRecipe::boot(b"guest");
    let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy([7; 48], boot.registers().unwrap()));
    let quote = pki.quote(&recipe, &platform, &ReportData([9; 64])).unwrap();
    let mut collateral = Collateral::up_to_date(validity, &platform, &recipe);
    collateral.tcb_info.next_update = days(3);
    collateral.qe_identity.next_update = days(5);
    let (mut root_crl, mut pck_crl) = (pki.root_crl_recipe(1), pki.pck_crl_recipe(1));
    root_crl.next_update = Some(days(9));
    pck_crl.next_update = Some(days(7));
    let keys = pki.keys();
    let mut given = Endorsements::new();
    given.add_certificate(pki.tcb_signer()).unwrap();
    given.add_crl(&root_crl.sign(&keys.root).unwrap()).unwrap();
    given.add_crl(&pck_crl.sign(&keys.platform_ca).unwrap()).unwrap();
    let tcb_info = collateral.tcb_info.sign(&keys.tcb_signer).unwrap();
    let qe_identity = collateral.qe_identity.sign(&keys.tcb_signer).unwrap();
    given.add_item(Kind::TcbInfo, &tcb_info).unwrap();
    given.add_item(Kind::QeIdentity, &qe_identity).unwrap();
    let mut root = Endorsements::new();
    root.add_certificate(pki.root()).unwrap();
    let any = ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|key| format!("{key} = \"any\"\n"));
    let policy = format!("{HEAD}[anchors]\ntdx = [\"root.pem\"]\n[tdx]\n{}", any.concat());
    let story = Story::new("tdx", &quote, "tdx", "tdx-quote")
        .file("root.pem", root.to_pem())
        .file("policy.toml", policy)
        .file("given.pem", given.to_pem())
        .file("ccel.bin", boot.encode())
        .with(&["--policy", "policy.toml", "--endorsements", "given.pem"]);
    if log { story.with(&["--event-log", "ccel.bin"]) } else { story }
}

/// An enclave on SEV-SNP with two GPUs and a switch: one verdict.
pub(super) fn composite() -> Story {
    let mut world = World::new(Product::Genoa);
    let pki = NvidiaPki::shared().unwrap();
    let mut gpus = [0, 1].map(|number| DeviceRecipe::hopper(&pki, number).unwrap());
    let mut switches = [DeviceRecipe::switch(&pki, 0).unwrap()];
    sim::nvidia::connect(&mut gpus, &mut switches);
    let all: Vec<DeviceRecipe> = gpus.into_iter().chain(switches).collect();
    let accel = devices(&all, &world.statement.accelerator_nonce().0);
    world.statement.accelerators = Some(Sha256::of(&accel));
    world.accel = Some(accel);
    let mut given = world.endorsements().inspect_untrusted().clone();
    for device in &all {
        for place in 1..=3 {
            given.add(&OcspRecipe::about(device, place, NOW).sign(device).unwrap()).unwrap();
        }
    }
    for section in ["nvidia-gpu", "nvidia-switch"] {
        let of = |device: &&DeviceRecipe| {
            device.architecture.is_switch() == (section == "nvidia-switch")
        };
        let mut values = Vec::new();
        for one in all.iter().filter(of).flat_map(DeviceRecipe::reference_values) {
            let one = toml::Value::try_from(one).unwrap();
            if !values.contains(&one) {
                values.push(one);
            }
        }
        world.set(section, "reference_values", toml::Value::Array(values));
    }
    world.set("anchors", "nvidia-gpu", toml::Value::Array(vec!["root.pem".into()]));
    let mut root = Endorsements::new();
    root.add_certificate(pki.root()).unwrap();
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    Story::new("SNP with GPUs", &wire, "sev-snp", "bundle")
        .file("ark.pem", world.pki.sign_as_ark(&world.ark).unwrap())
        .file("root.pem", root.to_pem())
        .file("policy.toml", world.policy_text())
        .file("given.pem", given.to_pem())
        .with(&["--policy", "policy.toml", "--endorsements", "given.pem"])
        .with(&["--challenge", &CHALLENGE.to_string()])
}

pub(super) fn devices(devices: &[DeviceRecipe], nonce: &[u8; 32]) -> Vec<u8> {
    let entry = |device: &DeviceRecipe| {
        let chain = sim::nvidia::pem(&device.sign_chain().unwrap());
        json!({
            "arch": device.architecture.name(),
            "nonce": hex::encode(nonce),
            "evidence": sim::nvidia::base64(&device.sign_report(nonce).unwrap()),
            "certificate": sim::nvidia::base64(chain.as_bytes()),
        })
    };
    Value::from(devices.iter().map(entry).collect::<Vec<_>>()).to_string().into_bytes()
}

/// A GPU with reference values that end, and answers about its certificates that end in two hours.
pub(super) fn gpu(ocsp: bool, values_end: UnixTime) -> Story {
    let pki = NvidiaPki::shared().unwrap();
    let device = DeviceRecipe::hopper(&pki, 0).unwrap();
    let mut names = Vec::new();
    let mut root = Endorsements::new();
    root.add_certificate(pki.root()).unwrap();
    let wire = devices(std::slice::from_ref(&device), &CHALLENGE.0);
    let mut story = Story::new("GPU", &wire, "nvidia-gpu", "nvidia-devices");
    for (number, mut values) in device.reference_values().into_iter().enumerate() {
        values.not_after = Some(values_end);
        let name = format!("values-{number}.json");
        story = story.file(&name, values.encode());
        names.push(format!("\"{name}\""));
    }
    let policy = format!(
        "{}[anchors]\nnvidia-gpu = [\"root.pem\"]\n[nvidia-gpu]\nreference_values = [{}]\n",
        HEAD.replace("cached", "challenged"),
        names.join(", ")
    );
    story = story.file("root.pem", root.to_pem()).file("policy.toml", policy).with(&[
        "--policy",
        "policy.toml",
        "--challenge",
        &CHALLENGE.to_string(),
    ]);
    if !ocsp {
        return story;
    }
    let mut given = Endorsements::new();
    for place in 1..=3 {
        let mut answer = OcspRecipe::about(&device, place, NOW);
        answer.answers[0].next_update = Some(NOW.saturating_add(Duration::from_hours(2)));
        given.add(&answer.sign(&device).unwrap()).unwrap();
    }
    story.file("ocsp.pem", given.to_pem()).with(&["--endorsements", "ocsp.pem"])
}

/// Azure's paravisor around an SNP report, and its TPM's quote.
pub(super) fn azure() -> Story {
    let mut snp = World::new(Product::Genoa);
    if let Some(crl) = &mut snp.crl {
        crl.next_update = Some(days(7));
    }
    let key = sim::azure::TpmKey::generate().unwrap();
    let runtime = sim::azure::runtime_data(&key).unwrap().to_string().into_bytes();
    let report = snp.report.clone().report_data(&ReportData(sim::azure::report_data(&runtime)));
    let report = report.sign_as(&snp.vek_key, snp.form).unwrap();
    let hcl = sim::azure::hcl_report(&report, false, &runtime);
    let quote = sim::azure::QuoteRecipe::new(&CHALLENGE.0, &[[7; 32]; 24]).sign(&key).unwrap();
    snp.policy["purpose"] = "evaluation".into();
    snp.policy["freshness"]["binding"] = "if-present".into();
    snp.set(
        "azure",
        "pcrs",
        toml::Table::from_iter([("4".to_owned(), vec!["07".repeat(32)].into())]),
    );
    Story::new(
        "Azure",
        &sim::azure::evidence(&hcl, &quote, None),
        "azure-sev-snp",
        "azure-evidence",
    )
    .file("ark.pem", snp.pki.sign_as_ark(&snp.ark).unwrap())
    .file("policy.toml", snp.policy_text())
    .file("given.pem", snp.endorsements().inspect_untrusted().to_pem())
    .with(&["--policy", "policy.toml", "--endorsements", "given.pem"])
    .with(&["--challenge", &CHALLENGE.to_string()])
}
