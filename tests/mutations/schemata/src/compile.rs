//! A copy of the workspace in which every mutant is compiled, behind its switch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::points;
use crate::weave::{Point, Woven};

/// Where everything is.
#[derive(Debug)]
pub struct Places {
    /// The workspace.
    pub root: PathBuf,
    /// Everything that is made here, the builds too: cargo takes the copy's packages for the workspace's own, so that
    /// one of them in the other's folder could be run in its place.
    pub target: PathBuf,
    /// The copy.
    pub tree: PathBuf,
    /// The package's folder, from the root.
    pub package: String,
}

impl Places {
    /// A file of this run's about the package.
    pub fn about(&self, name: &str) -> PathBuf {
        self.target.join(self.package.replace('/', "-")).join(name)
    }

    /// The package's name.
    pub fn name(&self) -> Result<String> {
        let manifest = fs::read_to_string(self.root.join(&self.package).join("Cargo.toml"))?;
        let name =
            manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        Ok(name.context("the package has no name")?.to_owned())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.target.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "false");
        cargo
    }
}

/// A program of tests.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name of what it was built from.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What was compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The mutants that compile.
    pub points: Vec<Point>,
    /// How many do not.
    pub unviable: usize,
    /// The package's tests, with the mutants in them.
    pub programs: Vec<Program>,
}

/// Copies the workspace, weaves the package's mutants in, and drops those that do not compile until the rest does.
pub fn compile(places: &Places) -> Result<Compiled> {
    let copied = copy(places)?;
    let source = format!("{}/src/", places.package);
    let mut files = BTreeMap::new();
    let mut number = 0_usize;
    for path in copied.iter().filter(|path| path.starts_with(&source) && is_code(path)) {
        let text = fs::read_to_string(places.root.join(path))?;
        let mut points = points::of(&text).with_context(|| path.clone())?;
        for point in &mut points {
            number = number.saturating_add(1);
            point.number = number;
            point.file.clone_from(path);
        }
        files.insert(path.clone(), (text, points));
    }
    ensure!(number > 0, "{source} has no code");
    let (dropped_file, name) = (places.about("unviable"), places.name()?);
    let known = fs::read_to_string(&dropped_file).unwrap_or_default();
    let known: HashSet<_> = known.lines().collect();
    let all = files.values().flat_map(|(_, points)| points);
    let mut dropped: BTreeSet<_> = all
        .filter(|point| known.contains(point.name().as_str()))
        .map(|point| point.number)
        .collect();
    let check =
        ["check", "--quiet", "--locked", "--package", &name, "--lib", "--message-format=json"];
    let build = [
        "test",
        "--no-run",
        "--locked",
        "--package",
        &name,
        "--lib",
        "--tests",
        "--message-format=json",
    ];
    let mut programs = None;
    for arguments in [&check[..], &build[..]] {
        for round in 1.. {
            let woven = weave(places, &files, &dropped)?;
            let output = places.cargo(arguments).stderr(Stdio::inherit()).output()?;
            let messages = String::from_utf8_lossy(&output.stdout).into_owned();
            let messages: Vec<Value> =
                messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if output.status.success() {
                programs = Some(programs_of(&messages));
                break;
            }
            let blamed: BTreeSet<_> =
                blamed(&messages, &woven).difference(&dropped).copied().collect();
            eprintln!("round {round}: {} mutants do not compile", blamed.len());
            if blamed.is_empty() {
                for message in &messages {
                    let text = message.pointer("/message/rendered").and_then(Value::as_str);
                    eprint!("{}", text.unwrap_or_default());
                }
                bail!("the code does not compile, and no mutant is to blame");
            }
            dropped.extend(blamed);
        }
    }
    let (gone, points): (Vec<_>, Vec<_>) = files
        .into_values()
        .flat_map(|(_, points)| points)
        .partition(|point| dropped.contains(&point.number));
    let names: Vec<_> = gone.iter().map(Point::name).collect();
    fs::write(&dropped_file, names.join("\n"))?;
    let programs = kept(places, programs.unwrap_or_default())?;
    Ok(Compiled { points, unviable: gone.len(), programs })
}

/// Code that mutants are made of: no program of its own, and no tests.
pub fn is_code(path: &str) -> bool {
    let path = Path::new(path);
    let is = |name: &str| path.file_name().is_some_and(|file| file == name);
    path.extension().is_some_and(|extension| extension == "rs")
        && !is("main.rs")
        && !is("tests.rs")
        && !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "bin")
}

/// Copies what git knows of or could, and says what that is.
fn copy(places: &Places) -> Result<BTreeSet<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&places.root)
        .output()?;
    ensure!(listed.status.success(), "git does not list the files");
    let listed = String::from_utf8(listed.stdout)?;
    let listed: BTreeSet<_> = listed
        .split_terminator('\0')
        .filter(|path| places.root.join(path).is_file())
        .map(ToOwned::to_owned)
        .collect();
    for path in &listed {
        // The woven ones come later: a file that is written again is compiled again.
        if !(path.starts_with(&format!("{}/src/", places.package)) && is_code(path)) {
            write(&places.tree.join(path), &fs::read(places.root.join(path))?)?;
        }
    }
    remove_others(&places.tree, &places.tree, &listed)?;
    Ok(listed)
}

fn remove_others(folder: &Path, tree: &Path, listed: &BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let relative = path.strip_prefix(tree)?.to_string_lossy().into_owned();
        if path.is_dir() {
            remove_others(&path, tree, listed)?;
        } else if !listed.contains(&relative) && !relative.ends_with("src/schemata.rs") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

type Files = BTreeMap<String, (String, Vec<Point>)>;

fn weave(
    places: &Places,
    files: &Files,
    dropped: &BTreeSet<usize>,
) -> Result<BTreeMap<String, Woven>> {
    let mut all = BTreeMap::new();
    for (path, (text, points)) in files {
        let kept: Vec<_> = points.iter().filter(|point| !dropped.contains(&point.number)).collect();
        let mut woven = Woven::of(text, &kept);
        if *path == format!("{}/src/lib.rs", places.package) {
            woven.text.push_str("\nmod schemata;\n");
        }
        write(&places.tree.join(path), woven.text.as_bytes())?;
        all.insert(path.clone(), woven);
    }
    let switch = places.tree.join(&places.package).join("src/schemata.rs");
    write(&switch, include_bytes!("switch.rs"))?;
    Ok(all)
}

/// The mutants that the compiler's errors are about.
fn blamed(messages: &[Value], woven: &BTreeMap<String, Woven>) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    for message in messages {
        if message.pointer("/message/level").and_then(Value::as_str) != Some("error") {
            continue;
        }
        let mut spans: BTreeMap<&str, [Vec<core::ops::Range<usize>>; 2]> = BTreeMap::new();
        let shown = message.pointer("/message/spans").and_then(Value::as_array);
        for span in shown.into_iter().flatten() {
            // What a macro wrote is shown where the macro is, too.
            let mut next = Some(span);
            while let Some(span) = next {
                next = span.pointer("/expansion/span");
                let number = |key| {
                    span.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
                };
                let file = span.get("file_name").and_then(Value::as_str);
                let (Some(file), Some(start), Some(end)) =
                    (file, number("byte_start"), number("byte_end"))
                else {
                    continue;
                };
                let [primary, others] = spans.entry(file).or_default();
                let is_primary = span.get("is_primary").and_then(Value::as_bool) == Some(true);
                if is_primary { primary } else { others }.push(start..end);
            }
        }
        for (file, [primary, others]) in spans {
            if let Some(woven) = woven.get(file) {
                all.extend(woven.blamed(&primary, &others));
            }
        }
    }
    all
}

/// The programs, where another build does not touch them.
fn kept(places: &Places, programs: Vec<Program>) -> Result<Vec<Program>> {
    let folder = places.about("programs");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let keep = |program: Program| {
        let path = folder.join(program.path.file_name().context("a program has a name")?);
        fs::copy(&program.path, &path)?;
        Ok(Program { path, ..program })
    };
    programs.into_iter().map(keep).collect()
}

fn programs_of(messages: &[Value]) -> Vec<Program> {
    let program = |message: &Value| {
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        let name = message.pointer("/target/name")?.as_str()?.to_owned();
        is_test.then_some(Program { name, path })
    };
    messages.iter().filter_map(program).collect()
}
