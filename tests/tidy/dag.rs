//! Who may depend on whom: the table of `ARCHITECTURE.md`, compared with what cargo resolves.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    process::Command,
};

use serde_json::Value;

use crate::repository::{document, none, root, with_extension};

/// One row: a package, the packages of ours that it may name, and what it must never link, however far down.
struct Row {
    package: &'static str,
    may: &'static [&'static str],
    never: &'static [&'static str],
}

/// I/O that no pure crate reaches.
const IO: [&str; 6] = ["tokio", "hyper", "reqwest", "ureq", "mio", "socket2"];

const TABLE: [Row; 21] = [
    Row { package: "attestation", may: &[], never: &IO },
    Row {
        package: "channel",
        may: &["attestation"],
        never: &["verifier", "collect", "tokio", "hyper", "mio"],
    },
    Row { package: "collect", may: &["attestation"], never: &["channel", "verifier", "hyper"] },
    Row {
        package: "verifier",
        may: &["attestation"],
        never: &["channel", "collect", "tokio", "hyper", "mio"],
    },
    Row {
        package: "endorsements",
        may: &["attestation"],
        never: &["channel", "collect", "seal", "client", "enclave", "router", "sim"],
    },
    Row {
        package: "sim",
        may: &["attestation"],
        never: &["verifier", "channel", "enclave", "client"],
    },
    Row {
        package: "tls",
        may: &["attestation"],
        never: &["channel", "verifier", "seal", "engine", "client", "enclave", "router"],
    },
    Row { package: "engine", may: &["attestation"], never: &["channel", "hyper", "reqwest"] },
    Row {
        package: "upstream",
        may: &["attestation"],
        never: &["channel", "tls", "rustls", "reqwest", "engine"],
    },
    Row {
        package: "rim",
        may: &["attestation"],
        never: &["verifier", "client", "tokio", "hyper", "mio"],
    },
    Row {
        package: "service",
        may: &["attestation", "tls", "verifier"],
        never: &["channel", "seal", "client", "collect", "enclave", "router", "sim", "engine"],
    },
    Row { package: "seal", may: &["attestation", "channel", "verifier"], never: &IO },
    Row {
        package: "client",
        may: &["attestation", "channel", "seal", "tls", "verifier"],
        never: &["collect", "enclave", "router", "sim", "engine"],
    },
    Row {
        package: "enclave",
        may: &["attestation", "channel", "collect", "engine", "tls", "upstream"],
        never: &["verifier", "seal", "client", "sim", "router"],
    },
    Row {
        package: "router",
        may: &["attestation", "tls"],
        never: &["channel", "verifier", "seal", "engine", "client", "collect", "sim", "enclave"],
    },
    Row {
        package: "proxy",
        may: &["attestation", "client", "tls", "verifier"],
        never: &["enclave", "router", "sim", "engine", "collect"],
    },
    Row {
        package: "veritee",
        may: &["attestation", "client", "endorsements", "proxy", "rim", "verifier"],
        never: &["enclave", "router", "sim", "engine", "collect"],
    },
    // The harness puts all of them together; nothing depends on it.
    Row {
        package: "tests",
        may: &[
            "attestation",
            "channel",
            "client",
            "collect",
            "enclave",
            "engine",
            "proxy",
            "rim",
            "router",
            "seal",
            "sim",
            "tls",
            "verifier",
        ],
        never: &[],
    },
    // The figures: what a program of ours or a test may name, and peers to compare with.
    Row {
        package: "bench",
        may: &[
            "attestation",
            "channel",
            "client",
            "collect",
            "enclave",
            "engine",
            "proxy",
            "router",
            "seal",
            "sim",
            "tests",
            "tls",
            "verifier",
        ],
        never: &[],
    },
    // Other people's verifiers beside ours.
    Row { package: "differential", may: &["attestation", "sim", "verifier"], never: &[] },
    // What must not compile; the fewer dependencies, the sooner it does not.
    Row {
        package: "compile-fail",
        may: &["attestation", "channel", "seal", "verifier"],
        never: &[],
    },
];

/// The second column of a row that names `package` in its first: ours that it may depend on.
fn named_in<'a>(line: &'a str, package: &str) -> Option<BTreeSet<&'a str>> {
    let mut columns = line.strip_prefix("| `")?.split('|');
    let first = columns.next()?;
    let may: BTreeSet<&str> =
        columns.next()?.split(',').map(str::trim).filter(|name| *name != "-").collect();
    let is_row = first.split(['`', ',']).any(|name| name.trim() == package);
    // Other tables have other things in their second column.
    let is_ours = may.iter().all(|name| TABLE.iter().any(|row| row.package == *name));
    (is_row && is_ours).then_some(may)
}

/// The normal dependencies, after resolution: package to packages, by short name.
struct Graph {
    ours: BTreeSet<String>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn every_package_of_the_workspace_has_a_row() {
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.package.to_owned()).collect();
    assert_eq!(
        Graph::load().ours,
        rows,
        "the table in tests/tidy/dag.rs and the members of Cargo.toml differ"
    );
}

#[test]
fn dependencies_follow_the_table() {
    let graph = Graph::load();
    let mut complaints = Vec::new();
    for row in &TABLE {
        for dependency in graph.direct.get(row.package).into_iter().flatten() {
            if graph.ours.contains(dependency) && !row.may.contains(&dependency.as_str()) {
                complaints.push(format!("{}: may not depend on {dependency}", row.package));
            }
        }
    }
    none(&complaints);
}

#[test]
fn nothing_forbidden_is_linked() {
    let graph = Graph::load();
    let mut complaints = Vec::new();
    for row in &TABLE {
        let linked = graph.linked(row.package);
        for forbidden in row.never {
            if let Some(path) = linked.get(*forbidden) {
                complaints.push(format!(
                    "{}: links {forbidden} through {}",
                    row.package,
                    path.join(" > ")
                ));
            }
        }
    }
    none(&complaints);
}

/// People read the table in `ARCHITECTURE.md`; it is this one.
#[test]
fn the_architecture_page_has_the_same_table() {
    let page = document("ARCHITECTURE.md");
    let mut complaints = Vec::new();
    for row in TABLE
        .iter()
        .filter(|row| !["tests", "bench", "compile-fail", "differential"].contains(&row.package))
    {
        let expected: BTreeSet<&str> = row.may.iter().copied().collect();
        let found = page.lines().find_map(|line| named_in(line, row.package));
        match found {
            None => complaints.push(format!(
                "ARCHITECTURE.md: no row for `{}` under \"may depend on\"",
                row.package
            )),
            Some(found) if found != expected => {
                complaints.push(format!(
                    "ARCHITECTURE.md: `{}` may depend on {found:?}, the test says {expected:?}",
                    row.package
                ));
            }
            Some(_) => {}
        }
    }
    none(&complaints);
}

/// What cargo cannot see of the engine: it reads files, and no network.
#[test]
fn the_engine_opens_no_socket() {
    let mut complaints = Vec::new();
    for file in
        with_extension("rs").iter().filter(|file| file.path.starts_with("enclave/engine/src/"))
    {
        for needle in ["std::net", "tokio::net", "std::process", "std::env"] {
            if file.text.contains(needle) {
                complaints.push(format!("{}: {needle} in the engine", file.path));
            }
        }
    }
    none(&complaints);
}

/// What `cargo metadata` cannot see: the standard library's own I/O.
#[test]
fn pure_crates_do_not_touch_the_world() {
    let pure = [
        "attestation/src/",
        "attestation/channel/src/",
        "verifier/src/",
        "verifier/rim/src/",
        "verifier/seal/src/",
    ];
    let mut complaints = Vec::new();
    for file in with_extension("rs") {
        if !pure.iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for needle in [
            "std::net",
            "std::fs",
            "std::process",
            "std::env",
            "std::thread",
            "SystemTime",
            "Instant::now",
        ] {
            for (number, line) in code.lines().enumerate() {
                if line.contains(needle) && !line.trim_start().starts_with("//") {
                    complaints.push(format!(
                        "{}:{}: {needle} in a pure crate",
                        file.path,
                        number.saturating_add(1)
                    ));
                }
            }
        }
    }
    none(&complaints);
}

impl Graph {
    fn load() -> Self {
        let metadata = metadata();
        let packages = metadata["packages"].as_array().unwrap();
        let members: BTreeSet<&str> = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        let mut names = BTreeMap::new();
        let mut ours = BTreeSet::new();
        for package in packages {
            let (id, name) = (package["id"].as_str().unwrap(), package["name"].as_str().unwrap());
            let short = if members.contains(id) {
                name.strip_prefix("veritee-").unwrap_or(name)
            } else {
                name
            };
            names.insert(id, short.to_owned());
            if members.contains(id) {
                ours.insert(short.to_owned());
            }
        }
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let entry = direct.entry(names[node["id"].as_str().unwrap()].clone()).or_default();
            for dependency in node["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    entry.insert(names[dependency["pkg"].as_str().unwrap()].clone());
                }
            }
        }
        Self { ours, direct }
    }

    /// Everything that is linked into `package`, each with the way there.
    fn linked(&self, package: &str) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        let mut queue = VecDeque::from([(package.to_owned(), vec![package.to_owned()])]);
        while let Some((from, path)) = queue.pop_front() {
            for next in self.direct.get(&from).into_iter().flatten() {
                if !found.contains_key(next) {
                    let mut longer = path.clone();
                    longer.push(next.clone());
                    found.insert(next.clone(), longer.clone());
                    queue.push_back((next.clone(), longer));
                }
            }
        }
        found
    }
}

fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").current_dir(root()).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
