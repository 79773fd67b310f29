//! The engine's process: what it can do, what it keeps, and what happens when it dies.

use std::{fs, time::Duration};

use tests::{
    programs::{PATIENCE, Running, signal},
    scan::{Needle, Scanner},
};
use tokio::time::{sleep, timeout};

use crate::hunt::{Hunt, Legs};

/// Nothing that was asked is in the memory of the engine or of the server, a second after the last answer.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_question_is_left_in_the_enclave() {
    let hunt = Hunt::start("forgets", Legs::Plain).await;
    let canary = Needle::random("a prompt");
    for (more, status) in [
        ("\"max_tokens\":24", 200),
        ("\"max_tokens\":24,\"stream\":true", 200),
        ("\"max_tokens\":0", 400),
    ] {
        for _ in 0..20 {
            let told = hunt.ask(&Hunt::chat(&canary, more)).await;
            assert_eq!(told.status, status, "{told:?}");
        }
    }
    sleep(Duration::from_secs(1)).await;
    // What each holds for as long as it runs is found, so the right octets are looked at.
    let engine = Needle::new("its own argument", "/proc/self/exe\0--engine-process");
    let server = Needle::new("its own argument", &hunt.place.path("enclave.toml"));
    for (name, id, own) in
        [("engine", engine_of(&hunt.enclave), engine), ("server", hunt.enclave.id(), server)]
    {
        let found = Scanner::new(&[canary.clone(), own.clone()]).memory(id).found;
        assert!(found.has(&own, "text"), "the {name} was not looked at");
        for (form, _) in canary.forms() {
            assert!(!found.has(&canary, form), "the {name} keeps the prompt ({form})");
        }
    }
}

/// It has its two descriptors and what it made of them; it can be given no other, nor take one.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_has_nothing_but_its_model_and_its_socket() {
    let hunt = Hunt::start("confined", Legs::Plain).await;
    let engine = engine_of(&hunt.enclave);
    let status = fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    assert_eq!((has("Seccomp:").as_str(), has("NoNewPrivs:").as_str()), ("2", "1"));
    assert_eq!(has("Seccomp_filters:"), "2");
    assert_eq!(fs::read(format!("/proc/{engine}/environ")).unwrap(), b"");
    let open = fs::read_dir(format!("/proc/{engine}/fd")).unwrap().flatten();
    let open =
        open.map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned());
    for name in open.collect::<Vec<_>>() {
        let is_its_own =
            ["socket:", "anon_inode:", "/dev/null"].iter().any(|kind| name.starts_with(kind))
                || name.ends_with("tiny.gguf");
        assert!(is_its_own, "{name} is open");
    }
}

/// A crash fails what was being answered, tells nothing, leaves the keys where they are, and another engine follows.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_is_followed_by_another() {
    let hunt = Hunt::start("dies", Legs::Plain).await;
    let canary = Needle::random("a prompt");
    let first = engine_of(&hunt.enclave);
    // It is stopped, so that it has the question and cannot answer, and killed as the kernel would.
    signal(first, "STOP").await;
    let killed = async {
        sleep(Duration::from_millis(300)).await;
        signal(first, "KILL").await;
    };
    let question = Hunt::chat(&canary, "");
    let (told, ()) = tokio::join!(hunt.ask(&question), killed);
    assert_eq!(told.status, 500, "{told:?}");
    assert!(!told.body.contains(canary.text()), "{told:?}");
    let again = async {
        loop {
            let told = hunt.ask(&Hunt::chat(&canary, "")).await;
            if told.is_whole() && told.status == 200 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("another engine answers");
    assert_ne!(engine_of(&hunt.enclave), first);
    assert!(hunt.place.log("enclave").contains("\"engine-ended\""));
}

/// The one process that the enclave has started.
pub(crate) fn engine_of(enclave: &Running) -> u32 {
    enclave.engine().expect("an enclave has one engine")
}
