//! Arguments and files that were mixed up: each is told of with the next step.

use super::*;

/// What went wrong, and the next step, in words that fit.
#[test]
fn what_is_mixed_up_is_told_with_the_next_step() {
    let folder = Folder::new("mixed-up");
    let (policy, evidence) = (folder.file("p.toml", POLICY), folder.file("e", "x"));
    let cache = folder.file("cache-of-nothing", "");
    let signer = format!("{evidence}.signer");
    assert_eq!(exit(&veritee(&["policy", "keygen", &signer])), 0);
    let validity =
        sim::validity_from(attestation::UnixTime::from_secs(1_795_000_000), sim::VALIDITY_SECS_MAX);
    let product = attestation::snp::Product::Genoa;
    let pki = sim::Pki::shared(sim::PkiOptions { product, validity }).unwrap();
    let certificate = folder.file("vcek.pem", pem(pki.ark()));
    let report = folder.file("report.hex", "00".repeat(1184));
    let missing = format!("{evidence}.folder/page.html");
    let bundle = format!("{evidence}.folder/bundle.pem");
    for (arguments, code, words) in [
        (
            &["verify", &evidence, "--policy", &policy, "--challenge", "12"][..],
            2,
            &["64 hex digits are wanted, and it has 2", "openssl rand -hex 32"][..],
        ),
        (
            &["verify", &evidence, "--policy", &policy, "--challenge", "what?"],
            2,
            &["64 hex digits are wanted, and it has other characters"],
        ),
        (
            &["verify", &evidence, "--policy", &policy, "--report-data", "12"],
            2,
            &["128 hex digits are wanted, and it has 2", "veritee explain"],
        ),
        (
            &["verify", &evidence, "--policy", &policy, "--at", "yesterday"],
            2,
            &["RFC 3339", "2026-11-23T09:30:00Z"],
        ),
        (
            &["verify", &report, "--policy", &policy, "--policy-key", &signer],
            2,
            &["holds a private key", "ends in .pub"],
        ),
        (
            &["verify", &report, "--policy", &policy, "--policy-key", &policy],
            30,
            &["veritee policy keygen", ".pub"],
        ),
        (
            &["verify", &report, "--policy", &policy, "--offline", "--html", &missing],
            2,
            &["there is no folder", "make the folder first"],
        ),
        (
            &["endorsements", "bundle", &report, "--offline", "--output", &bundle],
            2,
            &["there is no folder", "make the folder first"],
        ),
        (
            &["verify", &certificate, "--policy", &policy, "--offline"],
            30,
            &["holds endorsements", "--endorsements"],
        ),
        (
            &["verify", &policy, "--policy", &policy, "--offline"],
            30,
            &["holds a policy", "--policy"],
        ),
    ] {
        let output = veritee(arguments);
        assert_eq!(exit(&output), code, "{arguments:?}: {}", said(&output));
        for word in words {
            assert!(said(&output).contains(word), "{arguments:?}: {word}: {}", said(&output));
        }
        // Nothing was judged, so that no verdict is lost.
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    // Nothing is kept, and the network is forbidden.
    let arguments = ["endorsements", "bundle", "--product", "genoa", "--offline", "--output", "-"];
    let output = command(&arguments).env("XDG_CACHE_HOME", format!("{cache}.d")).output().unwrap();
    assert_eq!(exit(&output), 20, "{}", said(&output));
    for word in
        ["documents of AMD's not to be had", "offline", "leave --offline out", "endorsements fetch"]
    {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    // Who asks for JSON gets the same in it.
    let output = veritee(&["verify", &certificate, "--policy", &policy, "--offline", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "malformed");
    assert_eq!(report["findings"][0]["code"], "evidence-malformed");
    assert!(report["findings"][0]["remedy"].as_str().unwrap().contains("--endorsements"));
}

/// A certificate as vendors hand it out.
fn pem(der: &[u8]) -> String {
    let mut one = attestation::Endorsements::new();
    one.add_certificate(der).unwrap();
    one.to_pem()
}
