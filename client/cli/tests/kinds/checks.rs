//! The rows of the page: every check that was made, with what it wanted and what there was, and every one that was not, with
//! the reason.

use super::*;

/// A row, as a reader sees it.
#[derive(Debug)]
struct Row {
    code: String,
    /// Which of several values it is about.
    name: String,
    outcome: String,
    why: String,
    expected: String,
    actual: String,
    source: String,
}

/// All rows of the page about a story.
fn rows(story: &Story) -> Vec<Row> {
    let output = story.verify_at(story.at, &["--html", "page.html"]);
    let page =
        String::from_utf8(story.read("page.html")).unwrap_or_else(|_| panic!("{}", said(&output)));
    let text = |part: &str| {
        part.replace("&#39;", "'")
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    };
    let rows: Vec<Row> = page
        .split("<tr class=\"")
        .filter_map(|row| {
            let (code, rest) = row.split_once("<code class=\"code\">")?.1.split_once("</code>")?;
            let (name, rest) = rest.split_once("<br>").unwrap();
            let outcome = rest.split_once("class=\"outcome").unwrap().1.split_once('>').unwrap().1;
            let (outcome, rest) = outcome.split_once("</span>").unwrap();
            let why = rest
                .strip_prefix("<br><span class=\"soft\">")
                .map_or("", |why| why.split("</span>").next().unwrap());
            let cell = |label: &str| {
                let (_, cell) = rest.split_once(&format!("data-label=\"{label}\">")).unwrap();
                text(cell.split("</td>").next().unwrap())
            };
            Some(Row {
                code: code.to_owned(),
                name: text(name).trim().to_owned(),
                outcome: text(outcome),
                why: text(why),
                expected: cell("expected"),
                actual: cell("actual"),
                source: cell("source"),
            })
        })
        .collect();
    assert!(rows.len() > 20, "{}: {} {}", story.name, rows.len(), said(&output));
    rows
}

/// The rows of a rule.
fn of<'a>(rows: &'a [Row], code: &str) -> Vec<&'a Row> {
    let of: Vec<_> = rows.iter().filter(|row| row.code == code).collect();
    assert!(!of.is_empty(), "no row of {code}");
    of
}

/// The one row of a rule.
fn one<'a>(rows: &'a [Row], code: &str) -> &'a Row {
    let of = of(rows, code);
    assert_eq!(of.len(), 1, "{of:?}");
    of[0]
}

/// A check that was made says what it wanted and what there was; one that was not says why.
fn are_whole(story: &Story, rows: &[Row]) {
    for row in rows {
        let is_made = !row.outcome.starts_with("not checked");
        let is_whole = if is_made {
            !row.expected.is_empty() && !row.actual.is_empty()
        } else {
            !row.why.is_empty()
        };
        assert!(is_whole, "{}: {row:?}", story.name);
        assert!(!row.source.is_empty(), "{}: {row:?}", story.name);
    }
}

/// Rules that every kind of evidence has, by what vouches for it.
const CHAIN: [&str; 7] = [
    "signature-invalid",
    "root-not-trusted",
    "certificate-signature-invalid",
    "certificate-algorithm",
    "certificate-not-yet-valid",
    "certificate-expired",
    "certificate-profile",
];

/// A switch alone: its answers, and reference values of its BIOS.
fn switch() -> Story {
    let pki = NvidiaPki::shared().unwrap();
    let device = DeviceRecipe::switch(&pki, 0).unwrap();
    let story = gpu(false, days(9)).with(&["--endorsements", "given.pem"]);
    let mut given = Endorsements::new();
    for place in 1..=3 {
        given.add(&OcspRecipe::about(&device, place, NOW).sign(&device).unwrap()).unwrap();
    }
    let values = device.reference_values().remove(0).encode();
    let policy = format!(
        "{HEAD}[anchors]\nnvidia-gpu = [\"root.pem\"]\n[nvidia-gpu]\nreference_values = []\ntopology = \"if-present\"\n\
         [nvidia-switch]\nreference_values = [\"bios.json\"]\n"
    );
    let mut story = story
        .file("evidence", devices(std::slice::from_ref(&device), &CHALLENGE.0))
        .file("bios.json", values)
        .file("given.pem", given.to_pem())
        .file("policy.toml", policy);
    (story.name, story.platform) = ("switch".to_owned(), "nvidia-switch");
    story
}

#[test]
fn every_check_that_was_made_has_a_row_for_each_kind() {
    for story in
        [bundle(), tdx(true), tdx(false), gpu(true, days(9)), switch(), composite(), azure()]
    {
        let rows = rows(&story);
        let name = &story.name;
        are_whole(&story, &rows);
        for code in CHAIN {
            assert_eq!(one(&rows, code).outcome, "no objection", "{name}: {code}");
        }
        let ends = one(&rows, "certificate-expired");
        assert!(
            ends.expected.contains(&story.at.to_string()) && ends.actual.contains(" until "),
            "{ends:?}"
        );
        assert!(!ends.actual.contains("list") && !ends.actual.contains("OCSP"), "{ends:?}");
        // Nothing of another vendor's.
        let is_device =
            |row: &&Row| row.code.starts_with("device-") || row.code.starts_with("ocsp-");
        let has_devices = story.platform.starts_with("nvidia") || name.contains("GPU");
        assert_eq!(rows.iter().any(|row| is_device(&row)), has_devices, "{name}");
        assert_eq!(
            rows.iter().any(|row| row.code.starts_with("pck-")),
            story.platform == "tdx",
            "{name}"
        );
        assert_eq!(
            rows.iter().any(|row| row.code == "tpm-pcr-not-allowed"),
            name == "Azure",
            "{name}"
        );
        for row in
            rows.iter().filter(|row| story.platform == "tdx" || row.code == "root-not-trusted")
        {
            let is_amds = row.source.contains("AMD") || row.source.contains("measurements");
            assert_eq!(
                is_amds,
                row.code == "root-not-trusted" && story.platform.ends_with("snp"),
                "{name}: {row:?}"
            );
        }
    }
}

#[test]
fn each_register_of_a_td_has_a_row() {
    let story = tdx(true);
    let report = story.report_at(story.at);
    let rtmr1 = report["claims"]["rtmr1"].as_str().unwrap().to_owned();
    let other = "17".repeat(48);
    let any = ["mr_td", "rtmr0", "rtmr3"].map(|key| format!("{key} = \"any\"\n")).concat();
    let policy = format!(
        "{HEAD}[anchors]\ntdx = [\"root.pem\"]\n[tdx]\n{any}rtmr1 = [\"{rtmr1}\"]\nrtmr2 = [\"{other}\"]\n"
    );
    let mut story = story.file("policy.toml", policy);
    story.exit = 10;
    let rows = rows(&story);
    are_whole(&story, &rows);
    let of = of(&rows, "measurement-not-allowed");
    let said: Vec<_> = of.iter().map(|row| (row.name.as_str(), row.outcome.as_str())).collect();
    assert_eq!(
        said,
        [
            ("MRTD", "warning (cpu0)"),
            ("RTMR0", "warning (cpu0)"),
            ("RTMR1", "no objection"),
            ("RTMR2", "refused (cpu0)"),
            ("RTMR3", "warning (cpu0)"),
        ]
    );
    assert_eq!((&of[2].expected, &of[2].actual), (&rtmr1, &rtmr1));
    assert_eq!(of[3].expected, other);
    assert!(of[0].source.contains("mr_td"), "{:?}", of[0]);
}

#[test]
fn stated_report_data_is_shown_on_both_sides() {
    let stated = "09".repeat(64);
    let without = rows(&tdx(false));
    let row = one(&without, "report-data-mismatch");
    assert!(row.outcome == "not checked" && row.why.contains("--report-data"), "{row:?}");
    assert_eq!((row.expected.as_str(), row.actual.as_str()), ("none was stated", ""));
    assert_eq!(one(&without, "quote-padding").actual, "not compared");
    let with = rows(&tdx(false).with(&["--report-data", &stated]));
    let row = one(&with, "report-data-mismatch");
    assert_eq!(
        (row.outcome.as_str(), &row.expected, &row.actual),
        ("no objection", &stated, &stated)
    );
    let other = "08".repeat(64);
    let refused = rows(&tdx(false).with(&["--report-data", &other]));
    let row = one(&refused, "report-data-mismatch");
    assert_eq!(
        (row.outcome.as_str(), &row.expected, &row.actual),
        ("refused (cpu0)", &other, &stated)
    );
}

#[test]
fn what_had_nothing_to_look_at_says_so_and_nothing_else_does() {
    let not_checked = |rows: &[Row]| -> BTreeSet<String> {
        let left = rows.iter().filter(|row| row.outcome.starts_with("not checked"));
        left.map(|row| row.code.clone()).collect()
    };
    // Without a log: what is about one, and no more.
    let (with, without) = (not_checked(&rows(&tdx(true))), not_checked(&rows(&tdx(false))));
    let log = set(&[
        "event-data-mismatch",
        "event-log-malformed",
        "event-log-mismatch",
        "event-missing",
        "event-not-allowed",
        "event-secure-boot",
        "event-separator-duplicate",
        "event-separator-error",
    ]);
    assert!(without.difference(&with).eq(&log), "{without:?}");
    assert!(with.is_subset(&without), "{with:?}");

    // Nobody asked with a challenge.
    let asked = gpu(true, days(9));
    let own: Vec<String> = asked.arguments.clone();
    let at = own.iter().position(|it| it == "--challenge").unwrap();
    let mut unasked = gpu(true, days(9));
    drop(unasked.arguments.drain(at..at + 2));
    let policy =
        String::from_utf8(unasked.read("policy.toml")).unwrap().replace("challenged", "cached");
    let unasked = unasked.file("policy.toml", policy);
    let (asked, unasked) = (rows(&asked), rows(&unasked));
    let row = one(&asked, "device-nonce-mismatch");
    let nonce = CHALLENGE.to_string();
    assert_eq!(
        (row.outcome.as_str(), &row.expected, &row.actual),
        ("no objection", &nonce, &nonce)
    );
    let row = one(&unasked, "device-nonce-mismatch");
    assert_eq!((row.outcome.as_str(), row.why.as_str()), ("not checked", "no challenge was given"));
    let more: BTreeSet<_> = &not_checked(&unasked) - &not_checked(&asked);
    assert_eq!(more, set(&["device-nonce-mismatch"]));

    // No answer about the certificates: the device itself is judged all the same.
    let mut mute = gpu(false, days(9));
    mute.exit = 20;
    let mute = rows(&mute);
    let more: BTreeSet<_> = &not_checked(&mute) - &not_checked(&asked);
    let answers = set(&[
        "device-on-hold",
        "device-revoked",
        "device-status-unknown",
        "ocsp-expired",
        "ocsp-not-yet-valid",
        "ocsp-responder-not-authorised",
        "ocsp-signature-invalid",
    ]);
    assert_eq!(more, answers);
    assert!(
        one(&mute, "device-revoked").why.contains("no OCSP response about the chip certificate"),
        "{mute:?}"
    );
    assert_eq!(one(&mute, "ocsp-missing").outcome, "refused (gpu0)");
    assert_eq!(one(&mute, "device-count").outcome, "not asked for");

    // Nothing to compare measurements with: what is about values is not checked, and the rest is.
    let policy = format!(
        "{HEAD}[anchors]\nnvidia-gpu = [\"root.pem\"]\n[nvidia-gpu]\nreference_values = \"any\"\n"
    );
    let any = rows(&gpu(true, days(9)).file("policy.toml", policy));
    let more: BTreeSet<_> = &not_checked(&any) - &not_checked(&asked);
    let values = set(&[
        "device-devtools",
        "device-measurement-mismatch",
        "device-measurement-unlisted",
        "device-reference-expired",
        "device-reference-overlap",
    ]);
    assert_eq!(more, values);
    assert_eq!(one(&any, "device-measurement-missing").outcome, "no objection, in part");
    let locked = rows(&switch());
    assert_eq!(one(&locked, "switch-unlocked").actual, "locked: true");
}

#[test]
fn a_list_that_is_missing_hides_what_it_would_say_alone() {
    // Of Intel's two lists, that of the platforms' authority.
    let story = tdx(true);
    let mut given = Endorsements::new();
    given.add(&story.read("given.pem")).unwrap();
    let mut less = Endorsements::new();
    for kind in Kind::ALL {
        for item in given.items(kind) {
            let is_pck_list = kind == Kind::Crl && *item == given.items(Kind::Crl)[1];
            if !is_pck_list {
                less.add_item(kind, item).unwrap();
            }
        }
    }
    let mut story = story.file("given.pem", less.to_pem());
    story.exit = 20;
    let rows = rows(&story);
    are_whole(&story, &rows);
    assert_eq!(one(&rows, "crl-missing").outcome, "refused (cpu0)");
    assert_eq!(one(&rows, "pck-revoked").outcome, "not checked");
    for (code, outcome) in [
        ("intermediate-revoked", "no objection"),
        ("tcb-signer-revoked", "no objection"),
        ("crl-expired", "no objection, in part"),
        ("tcb-info-expired", "no objection"),
        ("td-debug", "no objection"),
    ] {
        assert_eq!(one(&rows, code).outcome, outcome, "{code}");
    }
    assert!(one(&rows, "crl-expired").why.contains("no revocation list of"), "{rows:?}");
}

#[test]
fn what_a_report_does_not_show_is_not_called_checked() {
    let older = rows(&bundle());
    for code in ["mitigation-missing", "mitigation-changed"] {
        let row = one(&older, code);
        assert_eq!((row.outcome.as_str(), row.why.is_empty()), ("not checked", false), "{row:?}");
    }
    assert_eq!(one(&older, "product-mismatch").outcome, "no objection");
    // The newest form of all.
    let mut world = World::new(Product::Turin);
    world.report.version = 5;
    let given = world.endorsements().inspect_untrusted().to_pem();
    let newer = bundle()
        .file("evidence", world.evidence().inspect_untrusted().as_wire())
        .file("given.pem", given)
        .file("ark.pem", world.pki.sign_as_ark(&world.ark).unwrap())
        .file("policy.toml", world.policy_text());
    let newer = rows(&newer);
    assert_eq!(one(&newer, "mitigation-missing").outcome, "not asked for");
    assert_eq!(one(&newer, "mitigation-changed").outcome, "no objection");
    assert_eq!(one(&newer, "guest-policy-smt").outcome, "not asked for");
    let debug = one(&newer, "guest-policy-debug");
    assert_eq!(
        (debug.outcome.as_str(), debug.expected.as_str()),
        ("no objection", "refused (default)")
    );
    assert!(debug.actual.starts_with("bit 19 of 0x") && debug.actual.ends_with(": 0"), "{debug:?}");
}

/// A finding about something that is not there does not show it as there.
#[test]
fn what_is_missing_is_not_shown_as_given() {
    let policy = String::from_utf8(tdx(false).read("policy.toml")).unwrap();
    let relaxed = format!("{policy}revocation = \"if-present\"\n");
    let story = tdx(false).file("policy.toml", relaxed);
    let mut given = Endorsements::new();
    given.add(&story.read("given.pem")).unwrap();
    let mut less = Endorsements::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Crl) {
        for item in given.items(kind) {
            less.add_item(kind, item).unwrap();
        }
    }
    let story = story.file("given.pem", less.to_pem());
    let rows = rows(&story);
    are_whole(&story, &rows);
    for (code, expected) in [("crl-missing", "if-present"), ("binding-not-checked", "if-present")] {
        let row = one(&rows, code);
        let said = (row.outcome.as_str(), row.expected.as_str(), row.actual.as_str());
        assert_eq!(said, ("warning (cpu0)", expected, "not so"), "{code}");
    }
    for code in ["crl-expired", "crl-signature-invalid", "intermediate-revoked", "pck-revoked"] {
        assert_eq!(one(&rows, code).outcome, "not checked", "{code}");
    }
}

/// Without a section for it, nothing that Azure's paravisor says was looked at.
#[test]
fn what_the_policy_does_not_know_was_not_checked() {
    let mut story = azure();
    let policy = String::from_utf8(story.read("policy.toml")).unwrap();
    let mut policy: toml::Table = policy.parse().unwrap();
    policy.remove("azure");
    story.exit = 10;
    let story = story.file("policy.toml", policy.to_string());
    let rows = rows(&story);
    are_whole(&story, &rows);
    for code in [
        "azure-runtime-data-mismatch",
        "azure-secure-boot",
        "tpm-quote-signature-invalid",
        "tpm-pcr-not-allowed",
        "challenge-not-answered",
        "report-data-mismatch",
    ] {
        let row = one(&rows, code);
        assert_eq!(
            (row.outcome.as_str(), row.why.contains("no section")),
            ("not checked", true),
            "{row:?}"
        );
    }
    assert_eq!(one(&rows, "platform-not-allowed").outcome, "refused (cpu0)");
    assert_eq!(one(&rows, "signature-invalid").outcome, "no objection");
}

#[test]
fn of_several_devices_each_has_its_own_outcome() {
    let mut world = World::new(Product::Genoa);
    let pki = NvidiaPki::shared().unwrap();
    let all = [0, 1].map(|number| DeviceRecipe::hopper(&pki, number).unwrap());
    let nonce = world.statement.accelerator_nonce().0;
    // The second's signature is broken.
    let mut accel: Value = serde_json::from_slice(&devices(&all, &nonce)).unwrap();
    let mut report = all[1].sign_report(&nonce).unwrap();
    *report.last_mut().unwrap() ^= 1;
    accel[1]["evidence"] = sim::nvidia::base64(&report).into();
    let accel = accel.to_string().into_bytes();
    world.statement.accelerators = Some(Sha256::of(&accel));
    world.accel = Some(accel);
    world.set("nvidia-gpu", "reference_values", "any");
    world.set("nvidia-gpu", "revocation", "if-present");
    world.set("anchors", "nvidia-gpu", toml::Value::Array(vec!["root.pem".into()]));
    world.policy["purpose"] = "evaluation".into();
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    let mut story = composite()
        .file("evidence", wire)
        .file("ark.pem", world.pki.sign_as_ark(&world.ark).unwrap())
        .file("given.pem", world.endorsements().inspect_untrusted().to_pem())
        .file("policy.toml", world.policy_text());
    story.exit = 10;
    let rows = rows(&story);
    are_whole(&story, &rows);
    let outcomes = |code: &str| -> Vec<String> {
        of(&rows, code).iter().map(|row| row.outcome.clone()).collect()
    };
    assert_eq!(outcomes("signature-invalid"), ["refused (gpu1)", "no objection (cpu0, gpu0)"]);
    assert_eq!(outcomes("device-mode-not-allowed"), ["no objection (gpu0)", "not checked (gpu1)"]);
    assert_eq!(outcomes("device-topology"), ["not checked"]);
    assert_eq!(outcomes("device-repeated"), ["no objection, in part"]);
    assert_eq!(outcomes("measurement-not-allowed"), ["no objection"]);
}

/// What is asked of GPUs is not asked of switches, nor of another chip what is asked of one.
#[test]
fn of_what_a_policy_does_not_ask_a_device_nothing_is_called_passed() {
    for (chip, expected) in [
        ("GH100", &["no objection (gpu0, gpu1)", "not asked for (switch0)"][..]),
        ("GH10X", &["no objection (gpu0, gpu1)", "not asked for (switch0)"]),
        ("GB100", &["not asked for"]),
    ] {
        let story = composite();
        let mut policy: toml::Table =
            String::from_utf8(story.read("policy.toml")).unwrap().parse().unwrap();
        let min: toml::Table = format!("{chip} = \"00.00.00.00.01\"").parse().unwrap();
        policy["nvidia-gpu"].as_table_mut().unwrap().insert("min_vbios".to_owned(), min.into());
        let rows = rows(&story.file("policy.toml", policy.to_string()));
        let outcomes: Vec<_> =
            of(&rows, "device-vbios-below-minimum").iter().map(|row| &*row.outcome).collect();
        assert_eq!(outcomes, expected, "{chip}");
    }
}

/// A policy of several platforms says nothing of a TD in its section for another.
#[test]
fn a_register_is_asked_for_by_the_section_of_its_own_platform() {
    let story = tdx(true);
    let policy = String::from_utf8(story.read("policy.toml")).unwrap();
    let pinned = policy.replace("mr_td = \"any\"", &format!("mr_td = [\"{}\"]", "07".repeat(48)));
    let other = "\n[sev-snp]\nmeasurements = \"any\"\n[sev-snp.min_tcb]\n";
    let rows = rows(&story.file("policy.toml", pinned + other));
    assert_eq!(of(&rows, "measurement-not-allowed")[0].outcome, "no objection");
}
