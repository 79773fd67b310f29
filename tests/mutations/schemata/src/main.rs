//! Compiles all mutants of a package at once, and runs each against the tests that reach it.
//!
//!     schemata [--package FOLDER] [--only PREFIX] [--shard K/N] [--survivors] [--list]
//!
//! What was run already, on the same code and tests, is not run again.

#![forbid(unsafe_code)]

mod compile;
mod judge;
mod points;
mod weave;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
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
    survivors: bool,
    list: bool,
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut asked = Self {
            package: "verifier".to_owned(),
            only: String::new(),
            shard: (1, 1),
            survivors: false,
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
                "--survivors" => asked.survivors = true,
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

    let compiled = compile::compile(&places)?;
    println!("{} mutants, and {} that do not compile", compiled.points.len(), compiled.unviable);
    let chosen = compiled.points.iter().filter(|point| point.file.starts_with(&asked.only));
    let mut chosen: Vec<_> = chosen.collect();
    if asked.list {
        for point in chosen {
            println!("{}", point.name().replace('\t', "  "));
        }
        return Ok(true);
    }
    let results = places.about("results.tsv");
    let mut known = known(&results)?;
    let digest = format!("# {:016x}", digest(&places.root.join(&asked.package))?);
    let same = fs::read_to_string(&results).is_ok_and(|text| text.starts_with(&digest));
    if asked.survivors {
        // Their results come anew; the others' stand.
        known.retain(|_, (outcome, _)| outcome.is_noticed());
    } else if !same {
        known.clear();
    }
    let lines =
        known.iter().map(|(name, (outcome, by))| format!("{}\t{name}\t{by}\n", outcome.name()));
    let lines: String = lines.collect();
    fs::write(&results, format!("{digest}\n{lines}"))?;
    let (k, n) = asked.shard;
    let mut number = 0_usize;
    chosen.retain(|point| {
        number = number.saturating_add(1);
        number.checked_rem(n) == k.checked_rem(n) && !known.contains_key(&point.name())
    });
    let judge = Judge::new(&places, &compiled.programs, std::path::absolute(vectors)?)?;
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
    let mut files: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut all = [0_usize; 4];
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
    println!("\n{:>7} {:>9} {:>8} {:>9}", "caught", "timed out", "survived", "unreached");
    for (file, [caught, timed_out, survived, unreached]) in files.into_iter().chain([("all", all)])
    {
        println!("{caught:>7} {timed_out:>9} {survived:>8} {unreached:>9}  {file}");
    }
    let [_, _, survived, unreached] = all;
    Ok(survived == 0 && unreached == 0)
}

/// Of the package's code and tests: when they change, results are no longer theirs.
fn digest(folder: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![folder.join("src"), folder.join("tests")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else {
                path.hash(&mut hasher);
                fs::read(&path)?.hash(&mut hasher);
            }
        }
    }
    Ok(hasher.finish())
}
