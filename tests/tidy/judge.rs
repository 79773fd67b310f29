//! What the verifier's documents and data say, compared with the verifier.

use std::{collections::BTreeSet, fs};

use attestation::{Endorsements, UnixTime};
use verifier::{Code, Policy, policy::Weight};

use crate::docs::tests_by_file;
use crate::repository::{Tracked, document, none, quoted, root, tracked};

/// `docs/rejections.md` has one row per code, in the order of the enum, and no other.
#[test]
fn rejection_codes_are_documented() {
    let page = document("docs/rejections.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| quoted(line).first().copied())
        .collect();
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let mut complaints = Vec::new();
    for code in &known {
        match rows.iter().filter(|row| *row == code).count() {
            0 => complaints.push(format!("docs/rejections.md: no row starts with | `{code}` |")),
            1 => {}
            more => complaints.push(format!("docs/rejections.md: {more} rows for {code}")),
        }
    }
    for row in rows.iter().filter(|row| !known.contains(*row)) {
        complaints.push(format!("docs/rejections.md: `{row}` is no code of the verifier's"));
    }
    none(&complaints);
}

/// `docs/verification.md` has a row per code, and every function and test that it names is there.
#[test]
fn verification_covers_every_code() {
    let page = document("docs/verification.md");
    let (_, rest) = page.split_once("## The checks, by code").unwrap();
    let (tables, peers) = rest.split_once("## Manifests").unwrap();
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let tests = tests_by_file();
    let mut complaints = Vec::new();
    let mut rows = Vec::new();
    for line in tables.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.split(" | ").collect();
        let [code, _, _, places, shown] = columns[..] else {
            complaints.push(format!("docs/verification.md: not five columns: {line}"));
            continue;
        };
        let code = quoted(code).first().copied().unwrap_or_default();
        rows.push(code);
        for place in quoted(places) {
            let is_there = place.split_once("::").is_some_and(|(file, name)| {
                let path = root().join("verifier/src").join(file);
                let text = fs::read_to_string(path).unwrap_or_default();
                ["(", "<"].iter().any(|end| text.contains(&format!("fn {name}{end}")))
            });
            if !is_there {
                complaints.push(format!("docs/verification.md: {code}: there is no {place}"));
            }
        }
        for test in quoted(shown) {
            let is_there = test
                .split_once("::")
                .is_some_and(|(file, name)| tests.get(file).is_some_and(|it| it.contains(name)));
            if !is_there {
                complaints.push(format!("docs/verification.md: {code}: there is no test {test}"));
            }
        }
        if quoted(shown).is_empty() && !shown.contains("nothing yet") {
            complaints.push(format!("docs/verification.md: {code}: names no test"));
        }
    }
    for code in &known {
        if rows.iter().filter(|row| *row == code).count() != 1 {
            complaints.push(format!("docs/verification.md: not one row starts with | `{code}` |"));
        }
    }
    for row in rows.iter().filter(|row| !known.contains(*row)) {
        complaints.push(format!("docs/verification.md: `{row}` is no code of the verifier's"));
    }
    if !tables.contains(&format!("Codes: {}.", known.len())) {
        complaints.push(format!("docs/verification.md: there are {} codes", known.len()));
    }
    for test in quoted(peers).into_iter().filter(|name| name.contains(".rs::")) {
        let (file, name) = test.split_once("::").unwrap_or_default();
        if !tests.get(file).is_some_and(|it| it.contains(name)) {
            complaints.push(format!("docs/verification.md: there is no test {test}"));
        }
    }
    let of_peers = peers.lines().filter(|line| line.starts_with("| "));
    for code in of_peers.filter_map(|line| line.split(" | ").nth(1)).flat_map(quoted) {
        if code.contains('-') && !known.contains(code) {
            complaints.push(format!("docs/verification.md: `{code}` is no code of the verifier's"));
        }
    }
    none(&complaints);
}

/// Shipped policies parse, and a template that nobody filled in accepts nothing.
#[test]
fn shipped_policies_parse_and_accept_nothing_unread() {
    let mut complaints = Vec::new();
    let policies = policies();
    assert!(policies.len() >= 3, "policies/ has {} policies", policies.len());
    for file in &policies {
        let folder = root().join("policies");
        let read = |name: &str| fs::read(folder.join(name)).map_err(|error| error.to_string());
        let name = file.path.trim_start_matches("policies/").trim_end_matches(".toml");
        let problems = Policy::lint(
            &file.text,
            &read,
            &Endorsements::new(),
            UnixTime::from_secs(1_795_000_000),
        );
        let refused = problems.iter().any(|problem| problem.weight == Weight::Error);
        let template =
            ["production", "simulation", "assurance"].iter().any(|word| name.contains(word));
        if template && !refused {
            complaints.push(format!("{}: a template that lint does not refuse", file.path));
        }
        for problem in problems.iter().filter(|problem| problem.message.contains("unknown field")) {
            complaints.push(format!("{}: {}: {}", file.path, problem.key, problem.message));
        }
        if let (false, Err(error)) = (template, Policy::parse(&file.text, &read)) {
            complaints.push(format!("{}: {error}", file.path));
        }
    }
    none(&complaints);
}

#[test]
fn no_shipped_policy_allows_debug_unless_it_says_so_in_its_name() {
    let mut complaints = Vec::new();
    for file in policies() {
        let table: toml::Table =
            file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let development = file.path.trim_start_matches("policies/").starts_with("dev-");
        if !development && allows_debug(&toml::Value::Table(table)) {
            complaints.push(format!("{}: allows debug; only policies named dev-* may", file.path));
        }
    }
    none(&complaints);
}

fn policies() -> Vec<Tracked> {
    let is_policy = |file: &Tracked| {
        let name = file.path.strip_prefix("policies/").and_then(|name| name.strip_suffix(".toml"));
        name.is_some_and(|name| !name.contains('/'))
    };
    tracked().into_iter().filter(is_policy).collect()
}

/// A key `debug`, however deep, that is anything but `"refused"`.
fn allows_debug(value: &toml::Value) -> bool {
    let toml::Value::Table(table) = value else { return false };
    table.iter().any(|(key, value)| {
        (key == "debug" && value.as_str() != Some("refused")) || allows_debug(value)
    })
}

#[test]
fn debug_is_found_however_deep() {
    for (text, expected) in [
        ("[sev-snp.guest_policy]\ndebug = \"allowed\"", true),
        ("[sev-snp]\nguest_policy.debug = true", true),
        ("[sev-snp.guest_policy]\ndebug = \"refused\"", false),
        ("name = \"debug\"", false),
    ] {
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(allows_debug(&toml::Value::Table(table)), expected, "{text}");
    }
}
