//! What real evidence says that it needs, and real documents of Intel's.

use std::fs;
use std::path::{Path, PathBuf};

use attestation::snp::Product;
use attestation::{Endorsements, UnixTime};
use endorsements::{Item, Mode, Needs, Update};

use crate::service::Reply;
use crate::stage::{NOW, Stage};

fn vectors() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test vectors are is the tester's to say"
    )]
    let folder = std::env::var("VERITEE_VECTORS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    #[expect(clippy::print_stderr, reason = "a test that does less says so")]
    {
        eprintln!("no vectors at {}: their part of this test is left out", folder.display());
    }
    None
}

fn names(needs: &Needs) -> Vec<String> {
    needs.items.iter().map(Item::name).collect()
}

#[test]
fn real_evidence_says_what_it_needs() {
    let Some(vectors) = vectors() else { return };
    for (path, product, expected) in [
        (
            "snp/genoa-ms/report.bin",
            None,
            vec!["Genoa/vcek/", "Genoa/vcek-chain", "Genoa/vcek-crl"],
        ),
        (
            "snp/turin-ms/report.bin",
            None,
            vec!["Turin/vcek/", "Turin/vcek-chain", "Turin/vcek-crl"],
        ),
        ("snp/milan-google/report.bin", None, vec![]),
        (
            "snp/milan-google/report.bin",
            Some(Product::Milan),
            vec!["Milan/vcek/", "Milan/vcek-chain", "Milan/vcek-crl"],
        ),
        ("snp/vlek-trustee/report.bin", None, vec!["Milan/vlek-chain", "Milan/vlek-crl"]),
        (
            "tdx/google-v5/quote.bin",
            None,
            vec!["pck-crl/platform", "root-crl", "tcb-info/", "qe-identity/"],
        ),
        (
            "tdx/phala-v4-td10/quote.bin",
            None,
            vec!["pck-crl/platform", "root-crl", "tcb-info/", "qe-identity/"],
        ),
        ("nvidia/sdk-evidence/hopper_evidence.json", None, vec!["ocsp/"; 3]),
        (
            "azure/kinvolk/hcl-report-snp.bin",
            Some(Product::Milan),
            vec!["vcek/", "vcek-chain", "vcek-crl"],
        ),
        (
            "azure/tdx-trustee/evidence-v1.json",
            None,
            vec!["pck-crl/platform", "root-crl", "tcb-info/", "qe-identity/"],
        ),
        ("azure/kinvolk/hcl-report-tdx.bin", None, vec![]),
    ] {
        let evidence = fs::read(vectors.join(path)).unwrap();
        let needs = Needs::of(&evidence, &Endorsements::new(), product, Update::Standard).unwrap();
        let names = names(&needs);
        assert_eq!(names.len(), expected.len(), "{path}: {needs:?}");
        for (name, part) in names.iter().zip(expected) {
            assert!(name.contains(part), "{path}: {name} has no {part}");
        }
        assert_eq!(
            needs.items.is_empty(),
            needs.notes.len() == 1 && !path.contains("vlek"),
            "{path}"
        );
    }
}

/// Four GPUs whose chains share their upper certificates ask about each certificate once.
#[test]
fn a_certificate_that_devices_share_is_asked_about_once() {
    let Some(vectors) = vectors() else { return };
    let evidence = fs::read(vectors.join("nvidia/sdk-evidence/multi_gpu_hopper.json")).unwrap();
    let devices = attestation::gpu::parse_devices(&evidence).unwrap();
    let needs = Needs::of(&evidence, &Endorsements::new(), None, Update::Standard).unwrap();
    let mut names = names(&needs);
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(devices.len() > 1 && all < 3 * devices.len(), "{all} of {}", devices.len());
}

/// A quote names the family whose TCB Info was recorded with it; Intel's own documents are taken as
/// they came, chain in the header and all.
#[tokio::test]
async fn documents_that_intel_sent_are_taken() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("tdx/tinfoil-collateral");
    let file = move |name: &str| fs::read(folder.join(name)).unwrap();
    let stage = Stage::new("real-intel").await;
    let then: UnixTime = "2026-01-20T00:00:00Z".parse().unwrap();
    stage.world.set(then.as_secs());
    assert_ne!(then.as_secs(), NOW);
    stage.service.answer(move |asked, _| {
        let (header, chain, body) = match asked.line.as_str() {
            "GET /sgx/certification/v4/pckcrl?ca=platform&encoding=der" => {
                ("SGX-PCK-CRL-Issuer-Chain", "pck_crl_platform_chain.txt", "pck_crl_platform.crl")
            }
            "GET /sgx/certification/v4/pckcrl?ca=processor&encoding=der" => {
                ("SGX-PCK-CRL-Issuer-Chain", "pck_crl_processor_chain.txt", "pck_crl_processor.crl")
            }
            "GET /IntelSGXRootCA.der" => return Reply::Ok(Vec::new(), file("root_ca.crl")),
            "GET /tdx/certification/v4/tcb?fmspc=90c06f000000&update=standard" => (
                "TCB-Info-Issuer-Chain",
                "tcb_info_90c06f000000_chain.txt",
                "tcb_info_90c06f000000.json",
            ),
            "GET /tdx/certification/v4/qe/identity?update=standard" => {
                ("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_chain.txt", "qe_identity.json")
            }
            _ => return Reply::Status(404, Vec::new()),
        };
        let chain = String::from_utf8(file(chain)).unwrap().trim().to_owned();
        Reply::Ok(vec![(header, chain)], file(body))
    });
    let needs = Needs::of_family([0x90, 0xc0, 0x6f, 0, 0, 0], Update::Standard);
    let got = stage.fetcher.obtain_all(&needs.items, Mode::Cached, &|_| ()).await;
    assert_eq!(got.len(), 5);
    for one in &got {
        assert!(one.is_ok(), "{one:?}");
    }
    let numbers: Vec<_> = got.iter().flatten().filter_map(|one| one.document.number()).collect();
    assert!(numbers.ends_with(&[18, 18]), "{numbers:?}");
    // What was recorded with a quote of that family is what that quote asks for.
    let quote = fs::read(vectors.join("tdx/google-v5/quote.bin")).unwrap();
    let needs = Needs::of(&quote, &Endorsements::new(), None, Update::Standard).unwrap();
    let got = stage.fetcher.obtain_all(&needs.items, Mode::Offline, &|_| ()).await;
    assert!(got.iter().all(Result::is_ok), "{got:?}");
}
