//! What a client remembers of lists and policies, and what it does where it cannot.

use std::fs;
use std::path::PathBuf;

use client::{Client, Clock, Memory};
use verifier::{CrlNumber, Policy};

/// A folder of this test's own that is not there yet.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("memory-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    folder
}

fn list(number: u64) -> [CrlNumber; 1] {
    [CrlNumber { issuer: "ARK-Genoa".to_owned(), number }]
}

#[test]
fn a_newer_list_is_remembered_where_nothing_else_is_new() {
    let folder = folder("list");
    let memory = Memory::in_folder(folder.clone());
    memory.accept("p", 1, &list(3)).unwrap();
    memory.accept("p", 1, &list(4)).unwrap();
    assert_eq!(memory.accept("p", 1, &list(3)).unwrap_err().code(), "crl-rolled-back");
    memory.accept("p", 1, &list(4)).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

/// There is no file either where the folder is none; what is not known to be new is not taken for it.
#[test]
fn a_memory_that_cannot_be_looked_into_is_an_error() {
    let folder = folder("file");
    fs::write(&folder, "no folder").unwrap();
    let memory = Memory::in_folder(folder.clone());
    let error = memory.check_policy("p", 1).unwrap_err();
    assert_eq!(error.code(), "memory-unusable");
    assert!(error.to_string().contains(&memory.path().display().to_string()), "{error}");
    assert_eq!(memory.accept("p", 1, &[]).unwrap_err().code(), "memory-unusable");
    fs::remove_file(folder).unwrap();
}

/// A policy that withdraws older ones counts as soon as a client was made with it, although nothing was
/// ever accepted under it.
#[test]
fn a_policy_that_was_read_withdraws_older_ones() {
    let folder = folder("floor");
    let build = |version: u64, floor: u64| {
        let text = format!(
            "schema = 1\nname = \"p\"\nversion = {version}\nmin_version = {floor}\n\
             purpose = \"evaluation\"\n[sev-snp]\n"
        );
        let policy = Policy::parse(&text, &|_| Err("names no file".to_owned())).unwrap();
        let clock = Clock::new(|| attestation::UnixTime::from_secs(1_795_000_000));
        let builder = Client::builder("http://127.0.0.1:1", policy, clock);
        builder.memory(Memory::in_folder(folder.clone())).build().map(drop)
    };
    build(3, 0).unwrap();
    // A newer version alone withdraws nothing until something is accepted under it.
    build(9, 0).unwrap();
    build(3, 0).unwrap();
    build(9, 5).unwrap();
    assert_eq!(build(4, 0).unwrap_err().code(), "policy-rolled-back");
    build(5, 0).unwrap();
    // A policy that is refused withdraws nothing either.
    assert!(build(4, 4).is_err());
    fs::remove_dir_all(folder).unwrap();
}
