//! What a terminal shows: the important of each kind of evidence, in its columns, and what is missing.

use super::*;

/// What a story says in the terminal, each line as wide as one.
fn told(story: &Story) -> String {
    let told = text(&story.verify_at(story.at, &[]));
    for line in told.lines() {
        assert!(line.chars().count() <= 80, "{}: {line}", story.name);
    }
    told
}

/// The value beside a name, its lines as one.
fn row(told: &str, name: &str) -> String {
    let mut lines =
        told.lines().skip_while(|line| line.get(..14).is_none_or(|start| start.trim_end() != name));
    let first = lines.next().unwrap_or_else(|| panic!("no row {name}: {told}"));
    let rest = lines.take_while(|line| line.starts_with("              "));
    let values: Vec<&str> = [first].into_iter().chain(rest).map(|line| line[14..].trim()).collect();
    values.join(" ")
}

#[test]
fn the_terminal_shows_what_matters_of_each_kind() {
    let of_td = tdx(true);
    let said = told(&of_td);
    let claims = of_td.report_at(of_td.at)["claims"].clone();
    for (name, key) in
        [("MRTD", "mr_td"), ("RTMR0", "rtmr0"), ("RTMR1", "rtmr1"), ("RTMR2", "rtmr2")]
    {
        assert_eq!(row(&said, name).replace(' ', ""), claims[key].as_str().unwrap(), "{name}");
    }
    assert_eq!(row(&said, "RTMR3"), "zero");
    let tcb = row(&said, "TCB");
    assert!(tcb.starts_with("up-to-date, dated 2") && tcb.contains("evaluation "), "{tcb}");
    assert!(row(&said, "platform").contains(claims["platform"]["fmspc"].as_str().unwrap()));
    assert_eq!(row(&said, "event log"), "replays to RTMR0 to RTMR3");
    assert!(row(&said, "challenge").starts_with("none given"), "{said}");
    assert!(!told(&tdx(false)).contains("event log"));

    let said = told(&gpu(true, days(9)));
    let device = row(&said, "gpu0");
    for part in
        ["GH100", "driver ", "VBIOS ", "mode ", "measurements as the reference values have them"]
    {
        assert!(device.contains(part), "{part}: {device}");
    }
    assert_eq!(row(&said, "challenge"), "answered");

    let said = told(&composite());
    assert!(row(&said, "gpu0, gpu1").contains("GH100"), "{said}");
    assert!(
        row(&said, "switch0").contains("LS10") && row(&said, "switch0").contains("locked"),
        "{said}"
    );
    assert_eq!(row(&said, "challenge"), "answered");
    assert_eq!(row(&said, "measurement").replace(' ', ""), "42".repeat(48));

    let said = told(&azure());
    assert!(row(&said, "machine").contains("secure boot on"), "{said}");
    assert_eq!(row(&said, "virtual TPM"), "quote of 24 registers");
    assert!(row(&told(&bundle()), "policy").ends_with(", version 3"));
    assert_eq!(told(&bundle()).matches("sha256:").count(), 0);
}

/// A log of another boot is told where it is looked for.
#[test]
fn a_log_that_does_not_replay_is_told_so() {
    let mut story = tdx(true);
    let other = EventLogRecipe::boot(b"another guest").encode();
    fs::write(story.folder.join("ccel.bin"), other).unwrap();
    story.exit = 10;
    assert_eq!(row(&told(&story), "event log"), "does not replay to the registers");
}

/// Devices of the one kind with certificates of the other, and a switch that the policy does not know, in words that fit.
#[test]
fn a_switch_is_not_spoken_of_as_a_gpu() {
    let pki = NvidiaPki::shared().unwrap();
    let (of_gpu, of_switch) =
        (DeviceRecipe::hopper(&pki, 0).unwrap(), DeviceRecipe::switch(&pki, 0).unwrap());
    let policy = format!(
        "{HEAD}[anchors]\nnvidia-gpu = [\"root.pem\"]\n[nvidia-gpu]\nreference_values = \"any\"\nrevocation = \"if-present\"\n\
         [nvidia-switch]\nreference_values = []\nrevocation = \"if-present\"\n"
    );
    let wire = |device: &DeviceRecipe, chain: &DeviceRecipe| {
        let mut json: Value =
            serde_json::from_slice(&devices(std::slice::from_ref(device), &CHALLENGE.0)).unwrap();
        let chain = sim::nvidia::pem(&chain.sign_chain().unwrap());
        json[0]["certificate"] = sim::nvidia::base64(chain.as_bytes()).into();
        json.to_string().into_bytes()
    };
    for (device, chain, message) in [
        (
            &of_switch,
            &of_gpu,
            "the report is a switch's, and the certificates beside it are a GPU's",
        ),
        (
            &of_gpu,
            &of_switch,
            "the report is a GPU's, and the certificates beside it are a switch's",
        ),
        (&of_switch, &of_switch, "the policy has no reference values of the switch's BIOS"),
    ] {
        let story =
            gpu(false, days(9)).file("evidence", wire(device, chain)).file("policy.toml", &policy);
        let report = story.report_at(story.at);
        let messages: Vec<_> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["message"].as_str().unwrap())
            .collect();
        assert!(messages.contains(&message), "{message}: {messages:?}");
    }
}

/// Devices of which the same is to be said are told of once.
#[test]
fn eight_devices_are_not_told_of_eight_times() {
    let pki = NvidiaPki::shared().unwrap();
    let all: Vec<_> = (0..8).map(|number| DeviceRecipe::hopper(&pki, number).unwrap()).collect();
    let policy = format!(
        "{HEAD}[anchors]\nnvidia-gpu = [\"root.pem\"]\n[nvidia-gpu]\nreference_values = \"any\"\nrevocation = \"if-present\"\ntopology = \"if-present\"\n"
    );
    let story = gpu(false, days(9))
        .file("evidence", devices(&all, &CHALLENGE.0))
        .file("policy.toml", &policy);
    let said = told(&story);
    assert_eq!(said.matches("ocsp-missing  (gpu0 to gpu7)").count(), 3, "{said}");
    assert_eq!(said.matches("device-reference-missing").count(), 1, "{said}");
    assert!(row(&said, "gpu0 to gpu7").contains("GH100"), "{said}");
    // A name that does not fit beside its value stands above it.
    let switches: Vec<_> =
        (0..4).map(|number| DeviceRecipe::switch(&pki, number).unwrap()).collect();
    let four = gpu(false, days(9)).file("evidence", devices(&switches, &CHALLENGE.0)).file(
        "policy.toml",
        format!(
            "{policy}[nvidia-switch]\nreference_values = \"any\"\nrevocation = \"if-present\"\n"
        ),
    );
    let said = told(&four);
    let mut lines = said.lines().skip_while(|line| *line != "switch0 to switch3");
    assert!(
        lines.nth(1).is_some_and(|line| line.starts_with("              LS10, BIOS ")),
        "{said}"
    );
    drop(story.verify_at(story.at, &["--html", "page.html"]));
    let page = String::from_utf8(story.read("page.html")).unwrap();
    assert_eq!(
        page.matches("<code>ocsp-missing</code> <span class=\"soft\">(gpu0 to gpu7)").count(),
        3
    );
}

/// Without a network: two lines say who was asked and why nothing came, and the verdict says what is missing.
#[test]
fn what_cannot_be_fetched_is_told_in_few_words() {
    let services = "[amd]\nurls = [\"http://127.0.0.1:1\"]\n[intel]\nurls = [\"http://127.0.0.1:1\"]\nroot_crl_urls = [\"http://127.0.0.1:1\"]\n[http]\nattempts = 2\n";
    let mut story = tdx(false).file("services.toml", services).file("empty.pem", "");
    story.arguments = ["evidence", "--policy", "policy.toml", "--services", "services.toml"]
        .map(str::to_owned)
        .to_vec();
    let at = story.at.to_string();
    let own: Vec<&str> = story.arguments.iter().map(String::as_str).collect();
    let output = story.veritee(&[&["verify"], &own[..], &["--at", &at]].concat());
    assert_eq!(output.status.code(), Some(20), "{}", text(&output));
    let notes = said(&output);
    assert!(notes.lines().count() <= 3, "{notes}");
    assert!(
        notes.contains("asking Intel's service for what is missing: http://127.0.0.1:1"),
        "{notes}"
    );
    assert!(notes.contains("of Intel's not to be had: the service cannot be reached"), "{notes}");
    let shown = text(&output);
    let missing = row(&shown, "missing");
    for part in ["TCB Info (cpu0)", "QE Identity (cpu0)", "service-unreachable"] {
        assert!(missing.contains(part), "{part}: {shown}");
    }
    let next = row(&shown, "next");
    assert!(
        next.contains("veritee endorsements bundle evidence --output endorsements.pem"),
        "{next}"
    );
    assert!(!next.contains("--offline"), "{next}");
    let command = "veritee endorsements bundle evidence --output endorsements.pem";
    assert!(shown.lines().any(|line| line.trim() == command), "on a line of its own: {shown}");
    let output = story.veritee(
        &[&["verify"], &own[..], &["--at", &at, "--json", "--html", "page.html"]].concat(),
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["not_had"].as_array().unwrap().len(), 1, "{report:#}");
    let page = String::from_utf8(story.read("page.html")).unwrap();
    assert!(
        page.contains("<dt>missing</dt><dd>") && page.contains("endorsements bundle evidence"),
        "{page}"
    );
    // Who forbade the network hears of that first.
    let offline = text(&story.verify_at(story.at, &[]));
    assert!(row(&offline, "next").starts_with("leave --offline out; or, "), "{offline}");
    assert!(!offline.contains("not to be had"), "{offline}");
}

/// Of two devices, one without a chain: what it answers, nobody knows.
#[test]
fn a_challenge_is_answered_by_all_devices_or_not_at_all() {
    for (has_chain, expected) in [(true, true), (false, false)] {
        let story = gpu(true, days(9));
        let mut list: Value = serde_json::from_slice(&story.read("evidence")).unwrap();
        let mut second = list[0].clone();
        if !has_chain {
            second["certificate"] = "".into();
        }
        list.as_array_mut().unwrap().push(second);
        let story = story.file("evidence", list.to_string());
        let told = text(&story.verify_at(story.at, &[]));
        assert!(told.contains("driver"), "{told}");
        assert_eq!(told.contains("challenge     answered"), expected, "{told}");
    }
}
