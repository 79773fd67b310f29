//! What the parsers' tests and fuzz targets start from.
#![cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "seeds are of everything that is parsed")
)]

use super::*;

pub(super) fn report_seeds() -> Vec<Vec<u8>> {
    [2, 3, 5]
        .map(|version| {
            let product = if version == 5 { Product::Turin } else { Product::Genoa };
            let body = sim::report::ReportBuilder::new(product, version).body();
            let mut report = body.to_vec();
            report.resize(snp::REPORT_LEN, 0);
            report
        })
        .into()
}

pub(super) fn bundle_seeds() -> Vec<Vec<u8>> {
    let report = world().bundle.cpu0.bytes.clone();
    let quote = [&[4, 0, 2, 0, 0x81, 0, 0, 0][..], &[0; 64]].concat();
    let text = Digest::<4>([1, 2, 3, 4]).to_string().into_bytes();
    let full = Bundle {
        cpu0: CpuEvidence::tdx(quote.clone()),
        event_log: Some(vec![0xff; 64]),
        accel: Some(br#"[{"arch":"HOPPER"}]"#.to_vec()),
        ..world().bundle.clone()
    };
    let gpus = br#"[{"arch":"HOPPER"}]"#.to_vec();
    vec![world().bundle.encode(), full.encode(), report, quote, text, gpus]
}

pub(super) fn binding_seeds() -> Vec<Vec<u8>> {
    let Bundle { statement, ohttp_keys, receipt_key, manifest, freshness, .. } =
        world().bundle.clone();
    let batch = FreshnessProof::Batch {
        root: attestation::merkle::root(&[CHALLENGE]),
        index: 0,
        size: 1,
        path: Vec::new(),
    };
    let batch = serde_json::to_vec(&batch).expect("a proof is JSON");
    vec![statement, ohttp_keys, receipt_key, manifest, freshness, batch]
}

pub(super) fn receipt_seeds() -> Vec<Vec<u8>> {
    let digest = Digest([1; 32]);
    let payload = Receipt {
        binding_id: attestation::BindingId(digest),
        request: digest,
        req_mac: digest,
        res_mac: digest,
        manifest: digest,
        usage: Usage { prompt: 300, completion: 20, cached: 0 },
        finish: FinishReason::Stop,
        started: world().now,
        ended: world().now,
        bound: true,
        par_mac: Sha256::of(&Parameters::default().encode()),
        seq: 70_000,
        previous: digest,
    }
    .encode();
    let signed = SignedReceipt { kid: digest, payload: payload.clone(), signature: [7; 64] };
    vec![signed.encode(), payload]
}

pub(super) fn chunk_seeds() -> Vec<Vec<u8>> {
    let header = RequestHeader::new(7, Suite::XWingAes256Gcm, Box::new([5; channel::ENC_LEN]));
    let mut request = [&[16][..], &header.encode()].concat();
    write_len(40, &mut request);
    request.extend([9; 40]);
    write_final_mark(&mut request);
    request.extend([9; 20]);
    let mut response = [&[255][..], &[3; 32]].concat();
    write_len(PLAINTEXT_MAX, &mut response);
    response.extend([9; 100]);
    vec![request, response, vec![0], vec![7, 0, 2, 0x80, 0], vec![7, 1, 0, 33, 0, 3, 0, 40, 1]]
}

pub(super) fn message_seeds() -> Vec<Vec<u8>> {
    let fields = Fields::new().with("content-type", "application/json").expect("it is a field");
    let request = Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "node.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: fields.clone(),
        content: attestation::Secret::new(br#"{"model":"m"}"#.to_vec()),
        trailers: fields.clone(),
    };
    let known = request.encode().expose().clone();
    let padded = [known.as_slice(), &[0; 100]].concat();
    let mut answer = Vec::new();
    bhttp::response_head(200, &fields, &mut answer);
    bhttp::content_chunk(b"data: {}\n\n", &mut answer);
    bhttp::content_chunk(&[b'.'; 500], &mut answer);
    bhttp::content_end(&mut answer);
    bhttp::trailers(&fields, &mut answer);
    vec![known, padded, answer]
}

pub(super) fn policy_seeds() -> Vec<Vec<u8>> {
    let measurement = Digest([0x5a; 48]).to_string();
    let accepted = Accepted {
        manifest: Some(Digest([1; 32])),
        names: vec!["m".to_owned()],
        configs: vec![Digest([2; 32])],
    };
    let rendered = sim::policy::render(1, Product::Turin, &measurement, &accepted, world().now);
    vec![
        rendered.into_bytes(),
        include_bytes!("../../../policies/simulation.toml").to_vec(),
        include_bytes!("../../../policies/snp-evaluation.toml").to_vec(),
        include_bytes!("../../../policies/snp-production.toml").to_vec(),
    ]
}

pub(super) fn gguf_seeds() -> Vec<Vec<u8>> {
    [TensorType::F32, TensorType::F16, TensorType::Q5_1, TensorType::Q4_K, TensorType::Q6_K]
        .map(engine::tiny::model)
        .into()
}

pub(super) fn table_seeds() -> Vec<Vec<u8>> {
    let endorsements = sample();
    let certificate = endorsements.certificates()[0].as_slice();
    let crl = endorsements.crls()[0].as_slice();
    let table = cert_table::encode(&[(cert_table::VCEK, certificate), (cert_table::CRL, crl)]);
    vec![table.expect("it is short")]
}

/// A quote of each version, and what Intel would say of its platform.
fn intel() -> &'static (Vec<Vec<u8>>, Endorsements) {
    static TDX: OnceLock<(Vec<Vec<u8>>, Endorsements)> = OnceLock::new();
    TDX.get_or_init(|| {
        let validity = sim::validity_from(UnixTime::from_secs(1_795_000_000), 86_400);
        let keys = IntelKeys::generate().expect("keys");
        let pki = IntelPki::new(keys.into(), validity).expect("certificates");
        let platform = PckPlatform::default();
        let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy([1; 48], [[2; 48]; 4]));
        let collateral = Collateral::up_to_date(validity, &platform, &recipe);
        let endorsements = pki.endorse(&collateral, 1).expect("they are signed");
        let mut older = recipe.clone();
        older.report.td15 = None;
        let quotes = [recipe, older].map(|recipe| {
            pki.quote(&recipe, &platform, &ReportData([3; 64])).expect("it is signed")
        });
        (quotes.into(), endorsements)
    })
}

pub(super) fn quote_seeds() -> Vec<Vec<u8>> {
    let mut quotes = intel().0.clone();
    let mut padded = quotes[0].clone();
    padded.extend([0; 16]);
    quotes.push(padded);
    quotes
}

pub(super) fn document_seeds() -> Vec<Vec<u8>> {
    [Kind::TcbInfo, Kind::QeIdentity].map(|kind| intel().1.items(kind)[0].clone()).into()
}

pub(super) fn endorsement_seeds() -> Vec<Vec<u8>> {
    let endorsements = sample();
    let [certificates, crls] = [endorsements.certificates(), endorsements.crls()];
    let of_intel = intel().1.to_pem().into_bytes();
    let mut seeds = vec![world().given.clone(), certificates[0].clone(), crls[0].clone(), of_intel];
    seeds.extend(document_seeds());
    seeds
}

fn sample() -> Endorsements {
    let mut endorsements = Endorsements::new();
    endorsements.add(&world().given).expect("we write what we read");
    endorsements
}

pub(super) fn eventlog_seeds() -> Vec<Vec<u8>> {
    let boot = sim::tdx::EventLogRecipe::boot(b"guest");
    let short = sim::tdx::EventLogRecipe { area: 0, ..boot.clone() };
    vec![boot.encode(), short.encode()]
}

pub(super) fn azure_seeds() -> Vec<Vec<u8>> {
    let key = sim::azure::TpmKey::generate().expect("a key is made");
    let runtime = sim::azure::runtime_data(&key).expect("a key is JSON").to_string().into_bytes();
    let report = sim::azure::hcl_report(&world().bundle.cpu0.bytes, false, &runtime);
    let quote = sim::azure::QuoteRecipe::new(&CHALLENGE.0, &[[7; 32]; 24]);
    let json = sim::azure::evidence(&report, &quote.sign(&key).expect("it signs"), None);
    vec![report, json, [&[3; 256][..], &quote.message()].concat()]
}
