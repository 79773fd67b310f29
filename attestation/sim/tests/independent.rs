//! The crate `sev`, which has its own parsers and its own cryptography, accepts what we sign and
//! refuses each defect that it looks for.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use attestation::snp::Product;
use attestation::{ReportData, UnixTime};
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use sim::certificate::Signing;
use sim::report::{self, ReportBuilder, SignatureForm};
use sim::{ChipId, Pki, SimulatedPlatform};

const NOW: u64 = 1_795_000_000;

fn platform(product: Product) -> (Pki, SimulatedPlatform) {
    let validity = sim::validity_from(UnixTime::from_secs(NOW), sim::VALIDITY_SECS_MAX);
    SimulatedPlatform::shared(product, validity, [0x42; 48]).unwrap()
}

fn accepts(certificates: [&[u8]; 3], report: &[u8]) -> bool {
    let [ark, issuer, vek] = certificates.map(|der| Certificate::from_der(der).unwrap());
    let chain = Chain { ca: ca::Chain { ark, ask: issuer }, vek };
    (&chain, &AttestationReport::from_bytes(report).unwrap()).verify().is_ok()
}

#[test]
fn every_version_of_every_product_is_accepted() {
    for product in Product::ALL {
        let (pki, platform) = platform(product);
        for version in [2, 3, 5] {
            let mut builder = ReportBuilder::new(product, version);
            builder.chip_id = platform.template.chip_id;
            builder.measurement = [7; 48];
            let report = builder.report_data(&ReportData([9; 64])).sign(&platform.vek.key).unwrap();
            assert!(
                accepts([pki.ark(), pki.ask(), &platform.vek.certificate], &report),
                "{product} v{version}"
            );
        }
    }
}

#[test]
fn fields_lie_where_the_other_parser_looks() {
    let (_, platform) = platform(Product::Turin);
    let mut builder = platform.template.clone();
    builder.family_id = [1; 16];
    builder.image_id = [2; 16];
    builder.host_data = [3; 32];
    builder.id_key_digest = [4; 48];
    builder.author_key_digest = [5; 48];
    builder.report_id = [6; 32];
    builder.report_id_ma = [7; 32];
    builder.guest_svn = 8;
    builder.vmpl = 3;
    builder.report_data = [10; 64];
    builder.launch_mitigations = 11;
    builder.current_mitigations = 12;
    let theirs = AttestationReport::from_bytes(&builder.sign(&platform.vek.key).unwrap()).unwrap();
    assert_eq!(theirs.version, 5);
    assert_eq!(theirs.family_id, [1; 16]);
    assert_eq!(theirs.image_id, [2; 16]);
    assert_eq!(theirs.host_data, [3; 32]);
    assert_eq!(theirs.id_key_digest, [4; 48]);
    assert_eq!(theirs.author_key_digest, [5; 48]);
    assert_eq!(theirs.report_id, [6; 32]);
    assert_eq!(theirs.report_id_ma, [7; 32]);
    assert_eq!(theirs.guest_svn, 8);
    assert_eq!(theirs.vmpl, 3);
    assert_eq!(theirs.report_data, [10; 64]);
    assert_eq!(theirs.launch_mit_vector, Some(11));
    assert_eq!(theirs.current_mit_vector, Some(12));
    assert_eq!(theirs.measurement, [0x42; 48]);
    assert_eq!(theirs.chip_id, platform.template.chip_id);
    assert_eq!((theirs.cpuid_fam_id, theirs.cpuid_mod_id), (Some(0x1a), Some(0x02)));
    let tcb = report::healthy_tcb(Product::Turin);
    for theirs in [theirs.current_tcb, theirs.reported_tcb, theirs.committed_tcb, theirs.launch_tcb]
    {
        let levels = (theirs.fmc, theirs.bootloader, theirs.tee, theirs.snp, theirs.microcode);
        assert_eq!(levels, (tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode));
    }
}

#[test]
fn a_vlek_signs_too() {
    let (pki, platform) = platform(Product::Milan);
    let vlek = pki.issue_vlek(report::healthy_tcb(Product::Milan), "cloud.example").unwrap();
    let mut builder = platform.template.clone();
    builder.key_info = report::KEY_VLEK;
    builder.chip_id = [0; 64];
    let report = builder.sign(&vlek.key).unwrap();
    assert!(accepts([pki.ark(), pki.asvk(), &vlek.certificate], &report));
    assert!(!accepts([pki.ark(), pki.ask(), &vlek.certificate], &report), "issued by the ASVK");
}

#[test]
fn broken_signatures_are_refused() {
    let (pki, platform) = platform(Product::Genoa);
    for form in [SignatureForm::Flipped, SignatureForm::BigEndian, SignatureForm::Zero] {
        let report = platform.template.sign_as(&platform.vek.key, form).unwrap();
        assert!(!accepts([pki.ark(), pki.ask(), &platform.vek.certificate], &report), "{form:?}");
    }
}

#[test]
fn wrongly_signed_certificates_are_refused() {
    let (pki, platform) = platform(Product::Genoa);
    let report = platform.report(&ReportData([9; 64])).unwrap();
    let genuine = pki.vcek_recipe(
        &platform.vek.key,
        report::healthy_tcb(Product::Genoa),
        &ChipId::of(Product::Genoa, 1),
    );
    let flipped = Signing { flips: vec![(511, 1)], ..Signing::amd() };
    // It ignores the salt length that is declared, so `Signing::wrong_salt` is for OpenSSL to judge.
    for signing in [flipped, Signing::pkcs1(), Signing::pss_sha256()] {
        let recipe = sim::CertificateRecipe { signing: signing.clone(), ..genuine.clone() };
        let vcek = pki.sign_as_ask(&recipe).unwrap();
        assert!(!accepts([pki.ark(), pki.ask(), &vcek], &report), "{signing:?}");
    }
    let signed_by_root = pki.sign_as_ark(&genuine).unwrap();
    assert!(!accepts([pki.ark(), pki.ask(), &signed_by_root], &report));
}
