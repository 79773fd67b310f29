//! What a client remembers of lists and policies, and what it does where it cannot.

use std::fs;
use std::path::PathBuf;

use client::Memory;
use verifier::CrlNumber;

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
