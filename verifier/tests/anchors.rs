//! Roots that a policy brings: each is an authority of its vendor's name that signed itself as its vendor signs.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod tdx_world;

use attestation::snp::Product;
use attestation::tdx::Form;
use sim::certificate::{Extension, Name, Signing};
use sim::der::{self, oid};
use sim::nvidia::{DeviceRecipe, EcCertificate, NvidiaPki};
use sim::{CertificateRecipe, Pki, PkiOptions};
use tdx_world::pki::{Certificate, name};
use tdx_world::{NOW, World};
use verifier::Policy;

/// Whether a policy may have this root under this key.
fn is_root(key: &str, der: &[u8]) -> bool {
    let text = format!(
        "schema = 1\nname = 'p'\nversion = 1\npurpose = 'evaluation'\nanchors.{key} = ['root.der']\n"
    );
    match Policy::parse(&text, &|_| Ok(der.to_vec())) {
        Ok(_) => true,
        Err(error) => {
            let keys: Vec<_> = error.problems().iter().map(|problem| &problem.key).collect();
            assert_eq!(keys, [&format!("anchors.{key}")]);
            false
        }
    }
}

/// ECDSA by its last arc: 2 with SHA-256, 3 with SHA-384.
fn ecdsa(arc: u64) -> Vec<u8> {
    der::sequence(&[&der::object(&[1, 2, 840, 10_045, 4, 3, arc])])
}

#[test]
fn of_amd() {
    type Change = fn(&mut CertificateRecipe);
    let validity = NvidiaPki::shared().unwrap().validity;
    let pki = Pki::shared(PkiOptions { product: Product::Genoa, validity }).unwrap();
    let root = pki.ark_recipe().unwrap();
    assert!(is_root("sev-snp", &pki.sign_as_ark(&root).unwrap()));
    assert!(!is_root("sev-snp", &pki.sign_as_ask(&root).unwrap()), "signed by another");
    let list = pki.sign_crl(&pki.crl_recipe(1).unwrap()).unwrap();
    for (certificates, lists, is_file) in [
        (&[pki.ark()][..], &[][..], true),
        (&[pki.ark()], &[&list[..]], false),
        (&[], &[&list[..]], false),
        (&[pki.ark(), pki.ask()], &[], false),
    ] {
        let pem = sim::bundle(certificates, lists).unwrap().to_pem();
        assert_eq!(is_root("sev-snp", pem.as_bytes()), is_file, "{pem}");
    }
    let changes: [(&str, Change); 6] = [
        ("another name", |it| {
            it.subject = Name::amd("ARK-Rome");
            it.issuer = it.subject.clone();
        }),
        ("another issuer", |it| it.issuer = Name::amd("ARK-Turin")),
        ("no authority", |it| it.extensions.clear()),
        ("an authority that signs no certificates", |it| {
            it.extensions.retain(|extension| extension.oid != oid::KEY_USAGE);
        }),
        ("with a condition", |it| {
            it.extensions.push(Extension::critical(&[1, 2, 3], vec![5, 0]));
        }),
        ("signed otherwise", |it| it.signing = Signing::wrong_salt(20)),
    ];
    for (what, change) in changes {
        let mut root = root.clone();
        change(&mut root);
        assert!(!is_root("sev-snp", &pki.sign_as_ark(&root).unwrap()), "{what}");
    }
}

#[test]
fn of_intel() {
    type Change = fn(&mut Certificate);
    let world = World::new(Form::Td10);
    let keys = &world.tdx.keys;
    let root = Certificate::authority("Intel SGX Root CA", "Intel SGX Root CA", &keys.root, NOW, 1);
    assert!(is_root("tdx", &root.sign(&keys.root).unwrap()));
    assert!(!is_root("tdx", &root.sign(&keys.stranger).unwrap()), "signed by another");
    assert!(!is_root("nvidia-gpu", &root.sign(&keys.root).unwrap()), "another vendor's");
    let changes: [(&str, Change); 6] = [
        ("another name", |it| {
            it.subject = name("Intel SGX Other CA");
            it.issuer = it.subject.clone();
        }),
        ("another issuer", |it| it.issuer = name("Intel SGX Other CA")),
        ("no authority", |it| it.extensions.clear()),
        ("an authority that signs no certificates", |it| {
            it.extensions.retain(|extension| extension.oid != oid::KEY_USAGE);
        }),
        ("with a condition", |it| {
            it.extensions.push(Extension::critical(&[1, 2, 3], vec![5, 0]));
        }),
        ("signed otherwise", |it| it.algorithm = ecdsa(3)),
    ];
    for (what, change) in changes {
        let mut root = root.clone();
        change(&mut root);
        assert!(!is_root("tdx", &root.sign(&keys.root).unwrap()), "{what}");
    }
}

#[test]
fn of_nvidia() {
    type Change = fn(&mut EcCertificate);
    let pki = NvidiaPki::shared().unwrap();
    let [.., root] = DeviceRecipe::hopper(&pki, 0).unwrap().chain;
    assert!(is_root("nvidia-gpu", &root.sign(&pki.root).unwrap()));
    assert!(!is_root("nvidia-gpu", &root.sign(&pki.identity).unwrap()), "signed by another");
    assert!(!is_root("tdx", &root.sign(&pki.root).unwrap()), "another vendor's");
    let changes: [(&str, Change); 6] = [
        ("another name", |it| {
            it.rename("NVIDIA Other CA");
            it.issuer = it.subject.clone();
        }),
        ("another issuer", |it| it.issuer.0.swap(0, 1)),
        ("no authority", |it| it.extensions.clear()),
        ("an authority that signs no certificates", |it| {
            it.extensions.retain(|extension| extension.oid != oid::KEY_USAGE);
        }),
        ("with a condition", |it| {
            it.extensions.push(Extension::critical(&[1, 2, 3], vec![5, 0]));
        }),
        ("signed otherwise", |it| it.algorithm = ecdsa(2)),
    ];
    for (what, change) in changes {
        let mut root = root.clone();
        change(&mut root);
        assert!(!is_root("nvidia-gpu", &root.sign(&pki.root).unwrap()), "{what}");
    }
}
