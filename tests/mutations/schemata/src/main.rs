//! Compiles all mutants of a package at once, and runs each against the tests that reach it.
//!
//!     schemata [--package FOLDER] [--only PREFIX,…] [--shard K/N] [--fresh | --keep] [--budget SECONDS] [--threads N]
//!         [--list]
//!
//! Files run in the order of the prefixes. What was noticed already in the same code is not run again, and what survived
//! only where a test has changed since: with `--fresh` everything is, with `--keep` what was noticed stands for changed
//! code too. A budget is for each mutant: where its tests take longer, it stays open.

#![forbid(unsafe_code)]

mod compile;
mod judge;
mod points;
mod weave;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::compile::Places;
use crate::judge::{Judge, Outcome};
use crate::weave::Point;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("schemata: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What is asked for.
struct Asked {
    package: String,
    only: String,
    shard: (usize, usize),
    fresh: bool,
    keep: bool,
    budget: Duration,
    threads: usize,
    list: bool,
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut asked = Self {
            package: "verifier".to_owned(),
            only: String::new(),
            shard: (1, 1),
            fresh: false,
            keep: false,
            budget: Duration::MAX,
            threads: 2,
            list: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--package" => value()?.trim_end_matches('/').clone_into(&mut asked.package),
                "--only" => asked.only = value()?,
                "--shard" => {
                    let value = value()?;
                    let (k, n) = value.split_once('/').context("--shard takes K/N")?;
                    asked.shard = (k.parse()?, n.parse()?);
                    ensure!(
                        (1..=asked.shard.1).contains(&asked.shard.0),
                        "there is no shard {value}"
                    );
                }
                "--budget" => asked.budget = Duration::from_secs(value()?.parse()?),
                "--threads" => asked.threads = value()?.parse()?,
                "--fresh" => asked.fresh = true,
                "--keep" => asked.keep = true,
                "--list" => asked.list = true,
                _ => bail!("{argument} is not known"),
            }
        }
        Ok(asked)
    }
}

/// Whether every mutant was noticed.
fn run() -> Result<bool> {
    let asked = Asked::parse(env::args().skip(1))?;
    let output = Command::new("git").args(["rev-parse", "--show-toplevel"]).output()?;
    ensure!(output.status.success(), "this is no repository");
    let root = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = std::path::absolute(target)?.join("schemata");
    let vectors = env::var_os("VERITEE_VECTORS")
        .map_or_else(|| root.join("../shared/vectors"), PathBuf::from);
    let tree = target.join("tree");
    let places = Places { root, target, tree, package: asked.package.clone() };
    fs::create_dir_all(&places.tree)?;
    fs::create_dir_all(places.about("record"))?;

    // Before anything is copied: what changes while this runs is not what is judged.
    let (code, tests) = digests(&places.root.join(&asked.package))?;
    let compiled = compile::compile(&places)?;
    println!("{} mutants, and {} that do not compile", compiled.points.len(), compiled.unviable);
    let rank = |point: &&Point| asked.only.split(',').position(|only| point.file.starts_with(only));
    let mut chosen: Vec<_> = compiled.points.iter().filter(|point| rank(point).is_some()).collect();
    chosen.sort_by_key(rank);
    if asked.list {
        for point in chosen {
            println!("{}", point.name().replace('\t', "  "));
        }
        return Ok(true);
    }
    let results = places.about("results.tsv");
    let mut known = known(&results)?;
    let text = fs::read_to_string(&results).unwrap_or_default();
    let before = text.lines().next().and_then(|line| line.strip_prefix("# ")?.split_once(' '));
    let is_other = before.is_some_and(|(before, _)| before != code);
    if asked.fresh || is_other && !asked.keep {
        known.clear();
    }
    known.retain(|_, (outcome, _)| *outcome != Outcome::Open);
    if before.is_none_or(|(_, before)| before != tests) {
        // Other tests may notice more. That they notice less, `--fresh` shows.
        known.retain(|_, (outcome, _)| outcome.is_noticed());
    }
    let lines =
        known.iter().map(|(name, (outcome, by))| format!("{}\t{name}\t{by}\n", outcome.name()));
    let lines: String = lines.collect();
    fs::write(&results, format!("# {code} {tests}\n{lines}"))?;
    let (k, n) = asked.shard;
    let mut number = 0_usize;
    chosen.retain(|point| {
        number = number.saturating_add(1);
        number.checked_rem(n) == k.checked_rem(n) && !known.contains_key(&point.name())
    });
    let judge = Judge::new(
        &places,
        &compiled.programs,
        std::path::absolute(vectors)?,
        asked.budget,
        asked.threads,
    )?;
    let (tests, took) = judge.tests();
    println!("{tests} tests, {} s; {} mutants to run", took.as_secs(), chosen.len());
    judge.judge(&chosen, &results)?;
    summary(&compiled.points, &results)
}

type Known = HashMap<String, (Outcome, String)>;

/// What became of mutants, by their names.
fn known(results: &Path) -> Result<Known> {
    let mut known = HashMap::new();
    for line in fs::read_to_string(results)
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (outcome, rest) = line.split_once('\t').context("a line without its parts")?;
        let (name, by) = rest.rsplit_once('\t').context("a line without its parts")?;
        let outcome = Outcome::ALL.into_iter().find(|known| known.name() == outcome);
        known.insert(name.to_owned(), (outcome.context("no such outcome")?, by.to_owned()));
    }
    Ok(known)
}

/// A table by file of all that was run so far.
fn summary(points: &[Point], results: &Path) -> Result<bool> {
    let known = known(results)?;
    let mut files: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    let mut all = [0_usize; 5];
    for point in points {
        let Some((outcome, _)) = known.get(&point.name()) else { continue };
        let counts = files.entry(&point.file).or_default();
        for (counted, of) in Outcome::ALL.into_iter().enumerate() {
            let one = usize::from(of == *outcome);
            for counts in [&mut *counts, &mut all] {
                if let Some(count) = counts.get_mut(counted) {
                    *count = count.saturating_add(one);
                }
            }
        }
    }
    println!(
        "\n{:>7} {:>9} {:>8} {:>9} {:>5}",
        "caught", "timed out", "survived", "unreached", "open"
    );
    for (file, [caught, timed_out, survived, unreached, open]) in
        files.into_iter().chain([("all", all)])
    {
        println!("{caught:>7} {timed_out:>9} {survived:>8} {unreached:>9} {open:>5}  {file}");
    }
    let [_, _, unnoticed @ ..] = all;
    Ok(unnoticed == [0; 3])
}

/// Of the package's code, and of its tests: those of other files, and those that end a file of code.
fn digests(package: &Path) -> Result<(String, String)> {
    let (mut code, mut tests) = (DefaultHasher::new(), DefaultHasher::new());
    let mut folders = vec![package.join("src"), package.join("tests")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path)?;
            let text = String::from_utf8_lossy(&bytes);
            let path = path.strip_prefix(package)?.to_string_lossy();
            if compile::is_code(&path) {
                let (of_code, of_tests) = text.split_once("#[cfg(test)]\n").unwrap_or((&text, ""));
                (&path, of_code).hash(&mut code);
                of_tests.hash(&mut tests);
            } else {
                (&path, text).hash(&mut tests);
            }
        }
    }
    Ok((format!("{:016x}", code.finish()), format!("{:016x}", tests.finish())))
}
