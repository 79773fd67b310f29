//! Accelerators sign for node and key, and the CPU signs for what they said (`docs/protocol.md` §5.2).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attestation::{Bundle, Endorsements, Sha256, Statement, UnixTime};
use collect::{AcceleratorEvidence, Accelerators, CollectError};
use enclave::boot::BootError;
use enclave::{Boot, Clock, Config, Serving};
use engine::{EchoEngine, Engine};

use crate::support::{NOW, bundle, challenge, config, platform, text};

/// A certificate as far as endorsements look.
const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];

/// The configuration of every enclave here: it names accelerators.
fn with_accelerators(engine: &dyn Engine) -> Config {
    let plain = String::from_utf8(config(engine, "", "").effective().to_vec()).unwrap();
    let named = plain.replace(
        "path = \"unused\"\n\n[model]",
        "path = \"unused\"\naccelerators = \"unused\"\n\n[model]",
    );
    assert_ne!(named, plain, "the configuration names accelerators");
    Config::parse(&named).unwrap()
}

fn boot(config: Config) -> Boot {
    Boot::new(config, Clock::new(|| UnixTime::from_secs(NOW)))
}

async fn start(accelerators: Box<dyn Accelerators>) -> Result<Serving, BootError> {
    let engine = Arc::new(EchoEngine::new(1, Duration::ZERO));
    let boot = boot(with_accelerators(engine.as_ref()));
    boot.make_keys(Box::new(platform), Some(accelerators))?.load(engine)?.attest().await
}

/// The evidence of a device that repeats its nonce.
fn devices(nonce: &Sha256) -> AcceleratorEvidence {
    let mut endorsements = Endorsements::new();
    endorsements.add(CERT).unwrap();
    AcceleratorEvidence { evidence: format!("[\"{nonce}\"]").into_bytes(), endorsements }
}

fn statement(bundle: &Bundle) -> Statement {
    Statement::parse(&bundle.statement).unwrap()
}

#[tokio::test]
async fn the_statement_names_what_the_accelerators_signed_for_this_epoch() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let serving = start(Box::new(move |nonce: &Sha256| {
        noted.lock().unwrap().push(*nonce);
        Ok(devices(nonce))
    }));
    let serving = serving.await.unwrap();
    let cached = bundle(&serving).await;
    let nonce = statement(&cached).accelerator_nonce();
    assert_eq!(*asked.lock().unwrap(), [nonce]);
    let expected = devices(&nonce);
    assert_eq!(cached.accel.as_ref(), Some(&expected.evidence));
    assert_eq!(statement(&cached).accelerators, Some(Sha256::of(&expected.evidence)));
    assert!(String::from_utf8(cached.endorsements.clone()).unwrap().contains("CERTIFICATE"));
    assert!(String::from_utf8(cached.config.clone()).unwrap().contains("accelerators = "));

    // A challenge is the CPU's: the devices are not asked again, and the same octets travel.
    let response = challenge(&serving, format!(r#"{{"challenge":"{}"}}"#, "ab".repeat(32))).await;
    let fresh = Bundle::parse(text(response).await.as_bytes()).unwrap();
    assert_ne!(fresh.freshness, cached.freshness);
    assert_eq!((fresh.accel, fresh.statement), (cached.accel, cached.statement));
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_serves_without_the_accelerators_that_the_configuration_names() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let refuse = |_: &Sha256| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Err(CollectError::Refused)
    };
    let error = start(Box::new(refuse)).await.unwrap_err();
    assert!(matches!(error, BootError::Platform(CollectError::Refused)), "{error}");
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);

    let engine = EchoEngine::new(1, Duration::ZERO);
    let named = || boot(with_accelerators(&engine));
    let error = named().make_keys(Box::new(platform), None).unwrap_err();
    assert_eq!(error.code(), "boot-accelerators");
    let unnamed = boot(config(&engine, "", ""));
    let gpus: Box<dyn Accelerators> = Box::new(|nonce: &Sha256| Ok(devices(nonce)));
    let error = unnamed.make_keys(Box::new(platform), Some(gpus)).unwrap_err();
    assert_eq!(error.code(), "boot-accelerators");
    assert!(named().accelerators().is_some());
    assert!(boot(config(&engine, "", "")).accelerators().is_none());
}
