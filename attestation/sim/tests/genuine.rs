//! What the simulated platform makes is what AMD makes: other people's verifiers accept it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::process::Command;
use std::{fs, path::Path};

use attestation::snp::{Product, SnpReport};
use attestation::{ReportData, UnixTime};
use sim::{CertificateRecipe, Pki, SimulatedPlatform, Validity, report};

const NOW: u64 = 1_795_000_000;

fn validity() -> Validity {
    sim::validity_from(UnixTime::from_secs(NOW), sim::VALIDITY_SECS_MAX)
}

fn platform(product: Product) -> (Pki, SimulatedPlatform) {
    SimulatedPlatform::shared(product, validity(), [0x42; 48]).unwrap()
}

/// The chain and the list as OpenSSL sees them: names, dates, CA flags, PSS parameters, CRL.
#[test]
fn openssl_accepts_the_chain_and_the_list() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    for product in Product::ALL {
        let (pki, platform) = platform(product);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chain-{product}"));
        fs::create_dir_all(&folder).unwrap();
        let pem = |name: &str, certificates: &[&[u8]], crls: &[&[u8]]| {
            let path = folder.join(name);
            fs::write(&path, sim::bundle(certificates, crls).unwrap().to_pem()).unwrap();
            path
        };
        let ark = pem("ark.pem", &[pki.ark()], &[]);
        let ask = pem("ask.pem", &[pki.ask()], &[]);
        let crl = pem("crl.pem", &[], &[&platform.endorsements.crls()[0]]);
        let vcek = pem("vcek.pem", &[&platform.vek.certificate], &[]);
        let verify = |extra: &[&str], leaf: &Path, untrusted: &Path| {
            let output = Command::new("openssl")
                .args(["verify", "-attime", &NOW.to_string(), "-CAfile"])
                .arg(&ark)
                .arg("-untrusted")
                .arg(untrusted)
                .args(extra)
                .arg(leaf)
                .output()
                .unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        assert_eq!(verify(&[], &vcek, &ask), (true, String::new()), "{product}");
        let crl = crl.to_str().unwrap();
        assert_eq!(
            verify(&["-crl_check", "-CRLfile", crl], &ask, &ask),
            (true, String::new()),
            "{product}"
        );

        let salted = CertificateRecipe {
            signing: sim::certificate::Signing::wrong_salt(32),
            ..pki.ask_recipe().unwrap()
        };
        let salted = pem("salted.pem", &[&pki.sign_as_ark(&salted).unwrap()], &[]);
        assert!(!verify(&[], &salted, &salted).0, "the salt is not as long as declared");
        let revoked = sim::Revoked {
            serial: pki.ask_recipe().unwrap().serial,
            at: UnixTime::from_secs(NOW),
            reason: Some(1),
        };
        let list = pki.sign_crl(&pki.crl_recipe(2).unwrap().revoking(revoked)).unwrap();
        let list = pem("revoking.pem", &[], &[&list]);
        let (ok, why) = verify(&["-crl_check", "-CRLfile", list.to_str().unwrap()], &ask, &ask);
        assert!(!ok && why.contains("certificate revoked"), "{why}");

        let provider = pki.issue_vlek(report::healthy_tcb(product), "cloud.example").unwrap();
        let leaf = pem("vlek.pem", &[&provider.certificate], &[]);
        let issuer = pem("asvk.pem", &[pki.asvk()], &[]);
        assert_eq!(verify(&[], &leaf, &issuer), (true, String::new()), "{product}");
        assert!(!verify(&[], &leaf, &ask).0, "a VLEK does not chain to the ASK");
    }
}

/// The structure of our certificates against AMD's own: the same fields, tags and lengths.
#[test]
fn certificates_have_the_structure_of_amds() {
    let vectors = std::env::var_os("VERITEE_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        std::path::PathBuf::from,
    );
    let read = |file: &str| fs::read(vectors.join("snp").join(file)).ok();
    for (product, vcek) in
        [(Product::Genoa, "genoa-ms/vcek.pem"), (Product::Turin, "turin-ms/vcek.pem")]
    {
        let (pki, platform) = platform(product);
        let name = product.name().to_lowercase();
        let ours = [pki.ark(), pki.ask(), &platform.vek.certificate];
        let theirs = [
            &format!("builtin-ark-ask/{name}_ark.pem"),
            &format!("builtin-ark-ask/{name}_ask.pem"),
            vcek,
        ];
        for (ours, file) in ours.into_iter().zip(theirs) {
            let Some(theirs) = read(file) else { return };
            let mut list = attestation::Endorsements::new();
            list.add(&theirs).unwrap();
            let theirs = skeleton(&list.certificates()[0]);
            // Serial numbers of AMD's intermediates differ by product, and so may their length.
            assert_eq!(skeleton(ours), theirs, "{file}");
        }
    }
}

/// Tags, nesting and object identifiers of DER, in order, without the contents.
fn skeleton(der: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = der;
    while let [tag, len, after @ ..] = rest {
        let (len, after) = if *len < 0x80 {
            (usize::from(*len), after)
        } else {
            let (bytes, after) = after.split_at(usize::from(len & 0x7f));
            (bytes.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)), after)
        };
        let (contents, after) = after.split_at(len);
        if tag & 0x20 != 0 {
            out.push(format!("{tag:02x}("));
            out.extend(skeleton(contents));
            out.push(")".to_owned());
        } else if *tag == 6 {
            out.push(hex::encode(contents));
        } else {
            out.push(format!("{tag:02x}"));
        }
        rest = after;
    }
    out
}

#[test]
fn reports_parse_as_what_was_built() {
    for product in Product::ALL {
        for version in [2, 3, 5] {
            let (_, platform) = platform(product);
            let mut builder = report::ReportBuilder::new(product, version);
            builder.measurement = [7; 48];
            builder.vmpl = 3;
            let data = ReportData([9; 64]);
            let bytes = builder.report_data(&data).sign(&platform.vek.key).unwrap();
            let parsed = SnpReport::parse(&bytes).unwrap();
            assert_eq!(parsed.version(), version);
            assert_eq!(parsed.vmpl(), 3);
        }
    }
}

#[test]
fn recipes_change_one_thing() {
    let (pki, platform) = platform(Product::Genoa);
    let chip = sim::ChipId::of(Product::Genoa, 1);
    let recipe = pki.vcek_recipe(&platform.vek.key, report::healthy_tcb(Product::Genoa), &chip);
    let count = recipe.extensions.len();
    let without: CertificateRecipe = recipe.without(sim::der::oid::HWID);
    assert_eq!(without.extensions.len(), count.checked_sub(1).unwrap());
}
