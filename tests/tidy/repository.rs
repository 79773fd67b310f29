//! The tracked files, read once per check, and small ways to look at text.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// One tracked text file.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Every text file that is tracked, or would be: what git ignores is left out.
pub(crate) fn tracked() -> Vec<Tracked> {
    let mut files: Vec<_> = names().into_iter().filter_map(read).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "only {} files found under {}", files.len(), root().display());
    files
}

/// The tracked files whose names end in `.extension`.
pub(crate) fn with_extension(extension: &str) -> Vec<Tracked> {
    let wanted =
        |file: &Tracked| Path::new(&file.path).extension().is_some_and(|found| found == extension);
    tracked().into_iter().filter(wanted).collect()
}

/// A document that must be there.
pub(crate) fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with all complaints at once, one a line.
pub(crate) fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What stands between back quotes, in order. Fences of code blocks hold none.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

fn names() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            names.split_terminator('\0').map(str::to_owned).collect()
        }
        // An unpacked archive has no git: everything but what builds leave is the source.
        Ok(_) | Err(_) => {
            let mut found = Vec::new();
            walk(&root(), &mut found);
            found
        }
    }
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "node_modules" {
                walk(&path, found);
            }
        } else if let Ok(relative) = path.strip_prefix(root()) {
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
}

fn read(path: String) -> Option<Tracked> {
    // Gone from the folder and not yet from the index, or not text: neither is ours to judge.
    let bytes = fs::read(root().join(&path)).ok()?;
    String::from_utf8(bytes).ok().map(|text| Tracked { path, text })
}

#[test]
fn quoted_text_is_found() {
    assert_eq!(quoted("a `b` c `d e`\n`f"), ["b", "d e", "f"]);
}
