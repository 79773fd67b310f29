//! What the kernel writes when a program dies.

use std::{fs, os::unix::process::ExitStatusExt as _, path::PathBuf};

use tests::{
    programs::{Place, Running},
    scan::{Needle, Scanner},
};

use crate::{
    engine::engine_of,
    hunt::{Hunt, Legs},
};

/// A core holds all that its program saw. Who sees prompts leaves none, whatever those who start it allow.
#[tokio::test(flavor = "multi_thread")]
async fn who_sees_prompts_leaves_no_core() {
    let hunt = Hunt::start("cores", Legs::Plain).await;
    let place = &hunt.place;
    let canary = Needle::random("in memory");
    // The enclave sees it too, and keeps nothing of it (`engine`); while it answers a core would hold it.
    assert!(saw(&hunt, &hunt.proxy, &canary).await, "the proxy never saw the prompt");
    let engine = engine_of(&hunt.enclave);
    assert_eq!(limit_of_cores(engine), ["0", "0"], "the engine");
    for (name, program) in [("the enclave", hunt.enclave), ("the proxy", hunt.proxy)] {
        let id = program.id();
        assert_eq!(limit_of_cores(id), ["0", "0"], "{name}");
        die(program).await;
        assert_eq!(written(place), Vec::<PathBuf>::new(), "{name} left a core");
    }
    die(hunt.router).await;
    if are_written() {
        assert_eq!(
            written(place).len(),
            1,
            "the control, whose limit nobody lowered, leaves a core"
        );
    }
}

/// Whether a program has the canary in its memory after a question. What an answered question leaves there is soon written over, so
/// it is asked until something is left.
async fn saw(hunt: &Hunt, program: &Running, canary: &Needle) -> bool {
    let scanner = Scanner::new(std::slice::from_ref(canary));
    for _ in 0..QUESTIONS {
        let told = hunt.ask(&Hunt::chat(canary, "")).await;
        assert!(told.is_whole(), "{told:?}");
        if scanner.memory(program.id()).found.has(canary, "text") {
            return true;
        }
    }
    false
}

/// Makes a program abort.
pub(crate) async fn die(program: Running) {
    program.signal("ABRT").await;
    assert_eq!(program.wait().await.signal(), Some(6), "it aborted");
}

/// Whether the kernel writes cores as files into the folder in which a program runs.
pub(crate) fn are_written() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let are = !pattern.trim().is_empty() && !pattern.contains(['/', '|']);
    if !are {
        let told = format!("cores go to {}, where this test does not look\n", pattern.trim());
        drop(std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()));
    }
    are
}

/// The cores in a story's folder.
pub(crate) fn written(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.folder()).unwrap().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    names.map(|entry| entry.path()).collect()
}

fn limit_of_cores(id: u32) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut fields = line.split_ascii_whitespace().map(str::to_owned);
    [fields.next().unwrap(), fields.next().unwrap()]
}

/// How often is asked: one question in five leaves nothing in the proxy.
const QUESTIONS: usize = 50;
