//! Identities in files, and files that change.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use tls::{
    Acceptor, Clients, CurrentIdentity, Identity, IdentityError, IdentityFiles, Servers, SpkiPin,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{HANDSHAKES, WAIT, connector, converse, handshake, own, pins};

fn files(name: &str) -> IdentityFiles {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    IdentityFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") }
}

fn write(files: &IdentityFiles, (key, certificate): &(KeyPair, rcgen::Certificate)) -> SpkiPin {
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    allow(files, 0o600);
    SpkiPin::of_certificate(certificate.der()).unwrap()
}

fn allow(files: &IdentityFiles, mode: u32) {
    fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_private_key_that_others_can_read_or_write_is_refused() {
    let files = files("exposed");
    let pin = write(&files, &own());
    for mode in [0o604, 0o644, 0o602, 0o620, 0o660] {
        allow(&files, mode);
        let refused = files.load().unwrap_err();
        assert_eq!(refused.code(), "identity-key-exposed", "{mode:04o}");
        assert!(refused.to_string().contains(&format!("{mode:04o}")), "{refused}");
    }
    for mode in [0o400, 0o600, 0o640] {
        allow(&files, mode);
        assert_eq!(files.load().unwrap().spki(), pin, "{mode:04o}");
    }
}

#[test]
fn each_bad_identity_is_refused_for_its_reason() {
    let (key, certificate) = own();
    let (key, certificate) = (key.serialize_pem(), certificate.pem());
    let other = KeyPair::generate().unwrap().serialize_pem();
    let block = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let good = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    assert!(!format!("{good:?}").contains("PRIVATE"));
    for (certificate, key, why) in [
        (&String::new(), &key, IdentityError::NoCertificate),
        (&key, &key, IdentityError::NoCertificate),
        (&certificate.replace('\n', "\n!"), &key, IdentityError::CertificateNotPem),
        (&certificate.repeat(9), &key, IdentityError::ChainTooLong),
        (&block("CERTIFICATE"), &key, IdentityError::CertificateUnusable),
        (&VERSION_1.to_owned(), &key, IdentityError::CertificateUnusable),
        (&certificate, &String::new(), IdentityError::NoKey),
        (&certificate, &certificate, IdentityError::NoKey),
        (&certificate, &key.replace('\n', "\n!"), IdentityError::KeyNotPem),
        (&certificate, &key.repeat(2), IdentityError::SeveralKeys),
        (&certificate, &block("PRIVATE KEY"), IdentityError::KeyUnusable),
        (&certificate, &other, IdentityError::Mismatch),
    ] {
        let refused = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(refused, why);
    }
}

#[test]
fn files_are_read_within_bounds() {
    let files = files("bounds");
    let pin = write(&files, &own());
    assert_eq!(files.load().unwrap().spki(), pin);
    fs::write(&files.key, vec![b'\n'; 200_000]).unwrap();
    let refused = files.load().unwrap_err();
    assert_eq!(refused.code(), "identity-unreadable");
    assert!(refused.to_string().contains("more than"), "{refused}");
    fs::remove_file(&files.key).unwrap();
    assert_eq!(files.load().unwrap_err().code(), "identity-unreadable");
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_connections_are_open() {
    let files = files("reload");
    let (first, second) = (own(), own());
    let old = write(&files, &first);
    let current = CurrentIdentity::new(files.load().unwrap());
    let acceptor = Acceptor::new(Arc::clone(&current), Clients::Anyone, HANDSHAKES).unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let watch = files.clone().watch(Arc::clone(&current), Duration::from_millis(10), move |what| {
        told.send(what).unwrap();
    });
    let watch = tokio::spawn(watch);
    let with = |pin| connector(Servers::Pinned(pins(&[pin])), None);
    let (accepted, connected) = handshake(&acceptor, &with(old), "h").await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());

    // Half of it: refused, reported, and without effect.
    fs::write(&files.certificate, second.1.pem()).unwrap();
    let heard_next = timeout(WAIT, heard.recv()).await.unwrap().unwrap();
    assert_eq!(heard_next, Err(IdentityError::Mismatch));
    assert_eq!(current.get().spki(), old);
    assert!(handshake(&acceptor, &with(old), "h").await.1.is_ok());

    let new = write(&files, &second);
    let mut heard_next = timeout(WAIT, heard.recv()).await.unwrap().unwrap();
    while heard_next.is_err() {
        // A look at a file that is being written.
        heard_next = timeout(WAIT, heard.recv()).await.unwrap().unwrap();
    }
    assert_eq!(heard_next, Ok(new));
    assert!(handshake(&acceptor, &with(new), "h").await.1.is_ok());
    assert!(handshake(&acceptor, &with(old), "h").await.1.is_err());
    converse(&mut accepted, &mut connected).await;

    // The files go away: what was taken stays.
    fs::remove_file(&files.certificate).unwrap();
    let gone = timeout(WAIT, heard.recv()).await.unwrap().unwrap();
    assert_eq!(gone.unwrap_err().code(), "identity-unreadable");
    assert!(handshake(&acceptor, &with(new), "h").await.1.is_ok());
    watch.abort();
}

#[tokio::test]
async fn what_changed_before_the_first_look_is_noticed() {
    let files = files("early");
    write(&files, &own());
    let current = CurrentIdentity::new(files.load().unwrap());
    let new = write(&files, &own());
    let (told, mut heard) = mpsc::unbounded_channel();
    let watch = tokio::spawn(files.watch(Arc::clone(&current), WAIT, move |what| {
        told.send(what).unwrap();
    }));
    assert_eq!(timeout(WAIT, heard.recv()).await.unwrap().unwrap(), Ok(new));
    assert_eq!(current.get().spki(), new);
    watch.abort();
}

/// What `openssl x509 -req` makes of a request where nobody asks for extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGDCBvwIUeTfX/L28kbjFglEBNshGOYzPkRswCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyMzA5NDc1MloYDzIxMjYxMDMwMDk0NzUyWjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS2nuqlLEZaAW/I
eODUkyh9TwDoKA61YD8ULjtmYw/MgTDfp9sPXpUA0hNeJIXHDZ9kfRvR17rmfmBd
tNpK2U83MAoGCCqGSM49BAMCA0gAMEUCIAxsq8Yr9sApq5mE5j94yP6virgTsmjR
D2ig6Gc8r70MAiEAzLfvZn3xDrjb+r6Ojkp/D2rvLKR/OnI/pnh3KKaiZxQ=
-----END CERTIFICATE-----
";
