//! What every file owes: a length that can be read, no unsafe code outside its two homes, no unowned debts.

use crate::repository::{Tracked, none, tracked, with_extension};

/// Lines of code that a reader takes in one sitting, tests aside. More needs a reason here.
const LINES_SOFT: usize = 600;

/// Lines, all of them, that no reason excuses.
const LINES_HARD: usize = 1000;

/// Files over the soft budget, each with its reason.
const LONG_FOR_A_REASON: &[(&str, &str)] = &[];

/// The only modules with unsafe code, each with its reason.
const UNSAFE: [(&str, &str); 1] =
    [("enclave/engine/src/kernels", "vector instructions have no safe interface")];

#[test]
fn files_stay_readable() {
    let mut complaints = Vec::new();
    for file in with_extension("rs") {
        let all = file.text.lines().count();
        let code = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let excused = LONG_FOR_A_REASON.iter().any(|(path, _)| *path == file.path);
        if all > LINES_HARD {
            complaints.push(format!("{}: {all} lines, at most {LINES_HARD}: split it", file.path));
        } else if code > LINES_SOFT && !excused {
            complaints.push(format!(
                "{}: {code} lines without tests, more than {LINES_SOFT}: split it",
                file.path
            ));
        } else if code <= LINES_SOFT && excused {
            complaints.push(format!("{}: {code} lines need no excuse any more", file.path));
        }
    }
    none(&complaints);
}

#[test]
fn unsafe_code_stays_in_its_homes() {
    let mut complaints = Vec::new();
    for file in with_extension("rs") {
        let at_home = UNSAFE.iter().any(|(home, _)| file.path.starts_with(home));
        for (number, line) in code_lines(&file) {
            let found = ["{", "fn", "impl", "extern", "trait"]
                .iter()
                .any(|next| line.contains(&["unsafe", next].join(" ")));
            if found && !at_home {
                complaints.push(format!("{}:{number}: unsafe code outside its homes", file.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_crate_root_forbids_unsafe_code() {
    let mut complaints = Vec::new();
    let mut roots = 0_usize;
    for file in with_extension("rs") {
        let root = ["/src/lib.rs", "/src/main.rs"].iter().any(|end| file.path.ends_with(end));
        if !root {
            continue;
        }
        roots = roots.saturating_add(1);
        let package = file.path.rsplit_once("/src/").map_or("", |(package, _)| package);
        let forbids = file.text.contains("#![forbid(unsafe_code)]");
        let homes = UNSAFE
            .iter()
            .any(|(home, _)| home.rsplit_once("/src/").is_some_and(|(of, _)| of == package));
        // Where one module is allowed to, the workspace's `deny` stands for the rest and the exception has to say so.
        if !forbids && !homes {
            complaints.push(format!("{}: no #![forbid(unsafe_code)]", file.path));
        }
    }
    assert!(roots > 10, "only {roots} crate roots found");
    none(&complaints);
}

/// A debt without an owner is nobody's.
#[test]
fn debts_have_owners() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut complaints = Vec::new();
    for file in tracked() {
        for (number, line) in file.text.lines().enumerate() {
            for word in words {
                let unowned = line.match_indices(word).any(|(at, _)| is_unowned(line, at, word));
                if unowned {
                    let number = number.saturating_add(1);
                    complaints.push(format!(
                        "{}:{number}: {word} without an owner: write {word}(name)",
                        file.path
                    ));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn no_unfinished_code() {
    let macros = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];
    let mut complaints = Vec::new();
    for file in with_extension("rs") {
        for (number, line) in code_lines(&file) {
            for name in macros.iter().filter(|name| line.contains(**name)) {
                complaints.push(format!("{}:{number}: {name}", file.path));
            }
        }
    }
    none(&complaints);
}

/// Nothing of the machine on which it was written, and nothing that only its authors could look up.
#[test]
fn files_speak_of_the_product_alone() {
    // Put together here, so that this file does not hold them.
    let needles = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/t", "mp/brief"],
        ["cra", "tes.io"],
        ["py", "pi.org"],
        ["npm", "js.org"],
        ["later se", "ssion"],
        ["iss", "ue #"],
    ]
    .map(|parts| parts.concat());
    let mut complaints = Vec::new();
    for file in tracked() {
        // The lockfile is cargo's own and names where packages come from.
        if file.path.ends_with("Cargo.lock") {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            for needle in needles.iter().filter(|needle| line.contains(needle.as_str())) {
                complaints.push(format!("{}:{}: `{needle}`", file.path, number.saturating_add(1)));
            }
        }
    }
    none(&complaints);
}

/// The lines that are not comments, numbered from one.
fn code_lines(file: &Tracked) -> impl Iterator<Item = (usize, &str)> {
    let numbered =
        file.text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// A word of its own, and not followed by `(name)`.
fn is_unowned(line: &str, at: usize, word: &str) -> bool {
    let (before, rest) = line.split_at(at);
    let after = rest.strip_prefix(word).unwrap_or_default();
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let whole = !before.chars().next_back().is_some_and(inside)
        && !after.chars().next().is_some_and(inside);
    let owned = after
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(name, _)| !name.is_empty());
    whole && !owned
}

#[test]
fn owners_are_recognised() {
    let word = concat!("TO", "DO");
    for (line, expected) in [
        (format!("// {word}: later"), true),
        (format!("// {word}(ada): later"), false),
        (format!("// {word}(): later"), true),
        (format!("A{word}S"), false),
    ] {
        let at = line.find(word).unwrap();
        assert_eq!(is_unowned(&line, at, word), expected, "{line}");
    }
}
