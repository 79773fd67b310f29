//! Documents that stay true: links, citations, labels, claims, decisions.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use crate::repository::{Tracked, document, none, quoted, root, tracked, with_extension};

#[test]
fn links_resolve() {
    let mut complaints = Vec::new();
    let pages = with_extension("md");
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), slugs(&page.text))).collect();
    for page in &pages {
        for target in links(&page.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if path.is_empty() { page.path.clone() } else { beside(&page.path, path) };
            if !root().join(&linked).exists() {
                complaints.push(format!("{}: `{target}` leads nowhere", page.path));
            } else if !anchor.is_empty()
                && !anchors.get(linked.as_str()).is_some_and(|known| known.contains(anchor))
            {
                complaints.push(format!("{}: `{target}`: no such heading", page.path));
            }
        }
    }
    none(&complaints);
}

/// Code that cites `docs/x.md §1.2` cites something.
#[test]
fn citations_resolve() {
    let mut complaints = Vec::new();
    let mut headings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut cited = 0_usize;
    for file in tracked() {
        // These files hold made-up citations.
        if file.path.starts_with("tests/tidy/") {
            continue;
        }
        if !["rs", "toml", "py"]
            .iter()
            .any(|end| file.path.rsplit_once('.').is_some_and(|(_, found)| found == *end))
        {
            continue;
        }
        for (page, section) in citations(&flattened(&file)) {
            cited = cited.saturating_add(1);
            if !root().join(&page).exists() {
                complaints.push(format!("{}: cites {page}, which does not exist", file.path));
                continue;
            }
            let known = headings.entry(page.clone()).or_insert_with(|| sections(&document(&page)));
            if let Some(section) = section.filter(|section| !known.contains(section)) {
                complaints
                    .push(format!("{}: cites {page} §{section}, which does not exist", file.path));
            }
        }
    }
    assert!(cited > 20, "only {cited} citations found");
    complaints.sort();
    complaints.dedup();
    none(&complaints);
}

/// Two equal labels would let one thing pass for another; one that is not written down cannot be checked by others.
#[test]
fn labels_are_unique_and_documented() {
    let source = document("attestation/src/labels.rs");
    let protocol = document("docs/protocol.md");
    let labels: Vec<&str> = source
        .lines()
        .filter(|line| line.starts_with("pub const"))
        .filter_map(|line| {
            line.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')).map(|(label, _)| label)
        })
        .collect();
    assert!(labels.len() > 8, "only {} labels found", labels.len());
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for label in labels {
        let label = label.trim_end_matches("\\0");
        if !seen.insert(label) {
            complaints.push(format!("label \"{label}\" twice"));
        }
        if !protocol.contains(&format!("\"{label}\"")) {
            complaints
                .push(format!("docs/protocol.md does not name the label \"{label}\" in quotes"));
        }
    }
    none(&complaints);
}

/// Each claim of the threat model is carried by tests that exist, named as `path/of/file.rs::test`.
#[test]
fn claims_name_their_tests() {
    let tests = tests_by_file();
    let page = document("docs/threat-model.md");
    let claims = claims(&page);
    let found = claims.len();
    assert!(
        found > 4,
        "only {found} claims found: write each as `**C1**` or in a row that starts `| C1 |`"
    );
    let mut complaints = Vec::new();
    for (index, (number, text)) in claims.iter().enumerate() {
        let expected = index.saturating_add(1);
        if *number != expected {
            complaints.push(format!("claim C{number} stands where C{expected} should"));
        }
        let named: Vec<_> =
            quoted(text).into_iter().filter_map(|name| name.split_once(".rs::")).collect();
        if named.is_empty() {
            complaints.push(format!("claim C{number} names no `path/of/file.rs::test`"));
        }
        for (file, test) in named {
            if !tests.get(&format!("{file}.rs")).is_some_and(|known| known.contains(test)) {
                complaints.push(format!("claim C{number}: there is no test {test} in {file}.rs"));
            }
        }
    }
    for (file, test) in quoted(&page).into_iter().filter_map(|name| name.split_once(".rs::")) {
        if !tests.get(&format!("{file}.rs")).is_some_and(|known| known.contains(test)) {
            complaints.push(format!("docs/threat-model.md: there is no test {test} in {file}.rs"));
        }
    }
    complaints.dedup();
    none(&complaints);
}

#[test]
fn decisions_are_numbered() {
    let mut numbers = Vec::new();
    let mut complaints = Vec::new();
    for page in with_extension("md") {
        let Some(name) =
            page.path.strip_prefix("docs/decisions/").filter(|name| *name != "README.md")
        else {
            continue;
        };
        match name
            .split_once('-')
            .and_then(|(number, _)| (number.len() == 4).then_some(number)?.parse::<usize>().ok())
        {
            Some(number) => numbers.push(number),
            None => complaints.push(format!("{}: name it NNNN-title.md", page.path)),
        }
        if !page.text.starts_with("# ") {
            complaints.push(format!("{}: no title", page.path));
        }
        for heading in ["Context", "Decision", "Consequence"] {
            if !page.text.contains(heading) {
                complaints.push(format!("{}: does not say its {heading}", page.path));
            }
        }
    }
    numbers.sort_unstable();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    if numbers != expected || numbers.is_empty() {
        complaints
            .push(format!("docs/decisions: numbered {numbers:?}, not 1 to {}", numbers.len()));
    }
    none(&complaints);
}

#[test]
fn the_documents_of_a_release_are_there() {
    for path in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
        "docs/protocol.md",
        "docs/threat-model.md",
        "docs/policy.md",
        "docs/rejections.md",
        "policies/README.md",
    ] {
        assert!(root().join(path).is_file(), "{path} is missing");
    }
    let readme = document("README.md").lines().count();
    assert!(readme <= 150, "README.md has {readme} lines, at most 150");
    let architecture = document("ARCHITECTURE.md").lines().count();
    assert!(architecture <= 300, "ARCHITECTURE.md has {architecture} lines, at most 300");
    assert!(document("CHANGELOG.md").contains("Security"), "CHANGELOG.md has no Security heading");
}

/// Inline links, outside code.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split('`').step_by(2) {
            found.extend(part.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// `target` as seen from the folder of `page`, without `.` and `..`.
fn beside(page: &str, target: &str) -> String {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let mut clean = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

/// The anchors of a page's headings, as GitHub makes them.
fn slugs(page: &str) -> BTreeSet<String> {
    let mut slugs = BTreeSet::new();
    for heading in headings(page) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        slugs.insert(slug);
    }
    slugs
}

fn headings(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
}

/// The numbers of a page's headings: `5.2 Binding` is `5.2`.
fn sections(page: &str) -> BTreeSet<String> {
    headings(page)
        .filter_map(|heading| heading.split_whitespace().next())
        .map(|number| number.trim_end_matches('.').to_owned())
        .filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// A file as one line, comment marks removed, so that a citation may be wrapped.
fn flattened(file: &Tracked) -> String {
    let strip = |line: &str| {
        let line = line.trim_start();
        ["//!", "///", "//", "#"]
            .iter()
            .find_map(|mark| line.strip_prefix(mark))
            .unwrap_or(line)
            .trim()
            .to_owned()
    };
    file.text.lines().map(strip).collect::<Vec<_>>().join(" ")
}

/// Every mention of `docs/….md`, with each section that follows it: `docs/x.md §1.2, §1.3 and §2`.
fn citations(text: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("docs/") {
        let (_, rest) = text.split_at(at);
        let Some((page, rest)) = rest.split_once(".md") else { continue };
        if page.len() > 64
            || !page.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_'))
        {
            continue;
        }
        let page = format!("{page}.md");
        let mut rest = rest.trim_start_matches(['`', '"']);
        let mut any = false;
        while let Some(next) = rest.trim_start().strip_prefix('§') {
            let end = next.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(next.len());
            let (number, after) = next.split_at(end);
            found.push((page.clone(), Some(number.trim_end_matches('.').to_owned())));
            any = true;
            let after = after.trim_start();
            rest = after.strip_prefix(',').or_else(|| after.strip_prefix("and")).unwrap_or("");
        }
        if !any {
            found.push((page, None));
        }
    }
    found
}

/// Claims in order: number and text, up to the next claim or heading.
fn claims(page: &str) -> Vec<(usize, String)> {
    let mut claims: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        if let Some(number) = claim_number(line) {
            claims.push((number, line.to_owned()));
            open = true;
        } else if line.starts_with("## ") || line.starts_with("# ") {
            open = false;
        } else if let Some((_, text)) = claims.last_mut().filter(|_| open) {
            text.push('\n');
            text.push_str(line);
        }
    }
    claims
}

/// `| C7 |`, `**C7**`, `**C7.**`, `### C7` and the like.
fn claim_number(line: &str) -> Option<usize> {
    let start = line.trim_start_matches(['|', '*', '#', '-', ' ']);
    if start.len() == line.len() {
        return None;
    }
    let digits = start.strip_prefix('C')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
    if ends { number.parse().ok() } else { None }
}

/// The names of all tests by file: functions under `#[test]` or `#[tokio::test]`.
pub(crate) fn tests_by_file() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests = BTreeMap::new();
    for file in with_extension("rs") {
        let mut names = BTreeSet::new();
        let mut marked = false;
        for line in file.text.lines().map(str::trim_start) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
                names.extend(rest.split('(').next().map(str::to_owned));
                marked = false;
            }
        }
        tests.insert(file.path, names);
    }
    tests
}

#[test]
fn citations_are_found_wherever_they_wrap() {
    let text = "see docs/protocol.md §5.2, §5.7 and §6. Also `docs/policy.md`.";
    let found = citations(text);
    let expected = [
        ("protocol", Some("5.2")),
        ("protocol", Some("5.7")),
        ("protocol", Some("6")),
        ("policy", None),
    ]
    .map(|(page, section)| (format!("docs/{page}.md"), section.map(str::to_owned)));
    assert_eq!(found, expected);
}

#[test]
fn claims_are_found_in_tables_and_paragraphs() {
    let page =
        "# T\n| C1 | a | `x` |\n| C2 | b |\n**C3.** text\nmore `y`\n## Next\nC4 is mentioned\n";
    let found = claims(page);
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(quoted(&found[2].1), ["y"]);
}

#[test]
fn links_are_resolved_from_their_page() {
    assert_eq!(beside("docs/a/b.md", "../c.md"), "docs/c.md");
    assert_eq!(links("[a](b.md) `[c](d)` [e](f#g)"), ["b.md", "f#g"]);
    assert!(slugs("## 5.2 Key *binding*").contains("52-key-binding"));
}
