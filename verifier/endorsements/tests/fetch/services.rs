//! What is asked of each service, and which answers are taken.

use attestation::Endorsements;
use attestation::endorsements::Kind as PoolKind;
use attestation::snp::{Product, TcbVersion};
use endorsements::{AmdKey, Item, Kind, Needs, Origin, PckCa, Update, pool};

use sim::ReportBuilder;
use sim::nvidia::{self, DeviceRecipe, NvidiaPki};

use crate::papers::{
    Authority, DAY, FMSPC, Response, TCB, amd_crl, nonce_of, pem, pki, qe_identity, serial,
    tcb_info, vcek, vcek_item,
};
use crate::service::Reply;
use crate::stage::Stage;

#[tokio::test]
async fn amd_is_asked_by_product_chip_and_tcb() {
    let stage = Stage::new("amd").await;
    let pki = pki(Product::Genoa);
    let certificate = vcek(&pki, TCB, 7);
    let item = vcek_item(Product::Genoa, TCB, 7);
    stage.service.always(Reply::body(&certificate));
    let got = stage.obtain(&item).await.unwrap();
    assert_eq!(got.origin, Origin::Network);
    assert_eq!(got.document.parts().first().unwrap().bytes, certificate);
    let hwid = hex::encode(sim::ChipId::of(Product::Genoa, 7).0);
    let path = format!("GET /vcek/v1/Genoa/{hwid}?blSPL=09&teeSPL=00&snpSPL=23&ucodeSPL=72");
    assert_eq!(stage.service.lines(), [path]);

    let chain = pem(&[pki.ask(), pki.ark()]);
    let list = amd_crl(Product::Genoa, 3, -DAY, DAY);
    for (item, path, reply) in [
        (Item::AmdChain(Product::Genoa, AmdKey::Vcek), "vcek/v1/Genoa/cert_chain", chain.into()),
        (
            Item::AmdChain(Product::Genoa, AmdKey::Vlek),
            "vlek/v1/Genoa/cert_chain",
            pem(&[pki.asvk(), pki.ark()]).into(),
        ),
        (Item::AmdCrl(Product::Genoa, AmdKey::Vcek), "vcek/v1/Genoa/crl", list.clone()),
        (Item::AmdCrl(Product::Genoa, AmdKey::Vlek), "vlek/v1/Genoa/crl", list.clone()),
    ] {
        stage.service.always(Reply::Ok(Vec::new(), reply));
        stage.obtain(&item).await.unwrap();
        assert_eq!(stage.service.lines(), [format!("GET /{path}")]);
    }
    let documents = stage.fetcher.kept().unwrap();
    let pool = pool(&documents).unwrap();
    assert_eq!((pool.certificates().len(), pool.crls().len()), (4, 1));
}

#[tokio::test]
async fn turin_is_asked_by_eight_octets_and_its_fmc() {
    let stage = Stage::new("turin").await;
    let tcb = TcbVersion { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 200 };
    stage.service.always(Reply::body(&vcek(&pki(Product::Turin), tcb, 7)));
    stage.obtain(&vcek_item(Product::Turin, tcb, 7)).await.unwrap();
    let hwid = hex::encode(sim::ChipId::of(Product::Turin, 7).hwid(Product::Turin));
    assert_eq!(hwid.len(), 16);
    let query = "fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=200";
    assert_eq!(stage.service.lines(), [format!("GET /vcek/v1/Turin/{hwid}?{query}")]);
}

#[tokio::test]
async fn another_certificate_than_was_asked_for_is_refused() {
    let stage = Stage::new("other-vcek").await;
    let pki = pki(Product::Genoa);
    let chain = pem(&[pki.ask(), pki.ark()]);
    let upside_down = pem(&[pki.ark(), pki.ask()]);
    let higher = TcbVersion { microcode: 73, ..TCB };
    let vcek_item = vcek_item(Product::Genoa, TCB, 7);
    let chain_item = Item::AmdChain(Product::Genoa, AmdKey::Vcek);
    let crl_item = Item::AmdCrl(Product::Genoa, AmdKey::Vcek);
    let milan = amd_crl(Product::Milan, 3, -DAY, DAY);
    for (name, item, body, code) in [
        ("chip", &vcek_item, vcek(&pki, TCB, 8), "answer-other-subject"),
        ("TCB", &vcek_item, vcek(&pki, higher, 7), "answer-other-subject"),
        ("kind", &vcek_item, pki.ask().to_vec(), "answer-other-subject"),
        ("two", &vcek_item, chain.clone().into(), "answer-malformed"),
        ("list", &vcek_item, milan.clone(), "answer-malformed"),
        ("one", &chain_item, pki.ask().to_vec(), "answer-malformed"),
        ("order", &chain_item, upside_down.into(), "answer-malformed"),
        ("VLEK", &chain_item, pem(&[pki.asvk(), pki.ark()]).into(), "answer-other-subject"),
        ("issuer", &crl_item, milan, "answer-other-subject"),
        ("text", &crl_item, b"nothing here".to_vec(), "answer-malformed"),
        ("empty", &crl_item, Vec::new(), "answer-malformed"),
    ] {
        stage.service.always(Reply::Ok(Vec::new(), body));
        let error = stage.obtain(item).await.unwrap_err();
        assert_eq!((error.code(), stage.service.count()), (code, 1), "{name}: {error}");
    }
    assert!(stage.fetcher.status().unwrap().is_empty(), "nothing of it is kept");
    stage.service.always(Reply::body(&vcek(&pki, TCB, 7)));
    stage.obtain(&vcek_item).await.unwrap();
}

fn intel_items() -> [Item; 5] {
    [
        Item::IntelPckCrl(PckCa::Platform),
        Item::IntelPckCrl(PckCa::Processor),
        Item::IntelRootCrl,
        Item::IntelTcbInfo { fmspc: FMSPC, update: Update::Early },
        Item::IntelQeIdentity { update: Update::Standard },
    ]
}

#[tokio::test]
async fn intel_is_asked_by_family_and_series_and_gives_chains_in_headers() {
    let stage = Stage::new("intel").await;
    let platform = Authority::intel("Intel SGX PCK Platform CA");
    let processor = Authority::intel("Intel SGX PCK Processor CA");
    let signer = Authority::intel("Intel SGX TCB Signing");
    let header = |name, authority: &Authority| vec![(name, authority.header())];
    let [platform_crl, processor_crl, root_crl, tcb_item, qe_item] = intel_items();
    let early = tcb_info(19, -DAY, 20 * DAY);
    for (item, path, headers, body, parts) in [
        (
            platform_crl,
            "sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            header("SGX-PCK-CRL-Issuer-Chain", &platform),
            platform.crl(1, -DAY, DAY),
            3,
        ),
        (
            processor_crl,
            "sgx/certification/v4/pckcrl?ca=processor&encoding=der",
            header("SGX-PCK-CRL-Issuer-Chain", &processor),
            processor.crl(1, -DAY, DAY),
            3,
        ),
        // As Intel's own cache answers.
        (
            root_crl,
            "IntelSGXRootCA.der",
            Vec::new(),
            hex::encode(signer.root_crl(1, -DAY, DAY)).into(),
            1,
        ),
        (
            tcb_item,
            "tdx/certification/v4/tcb?fmspc=00a06d080000&update=early",
            header("TCB-Info-Issuer-Chain", &signer),
            early.clone(),
            3,
        ),
        (
            qe_item,
            "tdx/certification/v4/qe/identity?update=standard",
            header("SGX-Enclave-Identity-Issuer-Chain", &signer),
            qe_identity(18, -DAY, 20 * DAY),
            3,
        ),
    ] {
        stage.service.always(Reply::Ok(headers, body));
        let got = stage.obtain(&item).await.unwrap();
        assert_eq!(stage.service.lines(), [format!("GET /{path}")]);
        assert_eq!(got.document.parts().len(), parts, "{item}");
    }
    let pool = pool(&stage.fetcher.kept().unwrap()).unwrap();
    assert_eq!(pool.items(PoolKind::TcbInfo), [early], "as it came, to the octet");
    assert_eq!(pool.items(PoolKind::QeIdentity).len(), 1);
    assert_eq!((pool.crls().len(), pool.certificates().len()), (3, 6));
    // The bundle has all of it.
    let mut again = Endorsements::new();
    again.add(pool.to_pem().as_bytes()).unwrap();
    assert_eq!(again, pool);
    let numbers: Vec<_> = stage.fetcher.status().unwrap();
    assert_eq!(numbers.iter().filter_map(|entry| entry.number).max(), Some(19));
}

#[tokio::test]
async fn other_answers_of_intels_are_refused() {
    let stage = Stage::new("other-intel").await;
    let signer = Authority::intel("Intel SGX TCB Signing");
    let other = Authority::intel("Intel SGX PCK Platform CA");
    let [crl_item, _, _, tcb_item, qe_item] = intel_items();
    let chain = "TCB-Info-Issuer-Chain";
    let good = tcb_info(19, -DAY, 20 * DAY);
    let text = String::from_utf8(good.clone()).unwrap();
    let identity = qe_identity(18, -DAY, 20 * DAY);
    let qe_chain = "SGX-Enclave-Identity-Issuer-Chain";
    for (name, item, headers, body, code) in [
        ("no chain", &tcb_item, vec![], good.clone(), "answer-malformed"),
        (
            "two chains",
            &tcb_item,
            vec![(chain, signer.header()), (chain, signer.header())],
            good.clone(),
            "answer-malformed",
        ),
        ("signer", &tcb_item, vec![(chain, other.header())], good.clone(), "answer-other-subject"),
        (
            "family",
            &tcb_item,
            vec![(chain, signer.header())],
            text.replace("00A06D080000", "00A06D080001").into(),
            "answer-other-subject",
        ),
        (
            "SGX",
            &tcb_item,
            vec![(chain, signer.header())],
            text.replace("\"TDX\"", "\"SGX\"").into(),
            "answer-malformed",
        ),
        (
            "signature",
            &tcb_item,
            vec![(chain, signer.header())],
            text.replace(
                "\"0000000000000000000000000000000000000000000000000000000000000000000",
                "\"0",
            )
            .into(),
            "answer-malformed",
        ),
        (
            "identity for TCB Info",
            &tcb_item,
            vec![(chain, signer.header())],
            identity.clone(),
            "answer-malformed",
        ),
        (
            "enclave",
            &qe_item,
            vec![(qe_chain, signer.header())],
            String::from_utf8(identity).unwrap().replace("TD_QE", "QE").into(),
            "answer-malformed",
        ),
        (
            "list of the root",
            &crl_item,
            vec![],
            other.root_crl(1, -DAY, DAY),
            "answer-other-subject",
        ),
    ] {
        stage.service.always(Reply::Ok(headers, body));
        let error = stage.obtain(item).await.unwrap_err();
        assert_eq!((error.code(), stage.service.count()), (code, 1), "{name}: {error}");
    }
    stage.service.always(Reply::Ok(vec![(chain, signer.header())], good));
    stage.obtain(&tcb_item).await.unwrap();
}

#[tokio::test]
async fn nvidia_is_asked_with_a_nonce_that_the_answer_repeats() {
    let stage = Stage::new("ocsp").await;
    let authority = Authority::new("NVIDIA Device Identity CA", "NVIDIA GH100 Identity");
    let (certificate, issuer) = (authority.issue("NVIDIA GH100 Provisioner"), authority.issuer());
    let other = authority.issue("NVIDIA GH100 Provisioner");
    let item = Item::NvidiaOcsp { certificate: certificate.clone(), issuer: issuer.clone() };
    let good = Response {
        issuer: &issuer,
        serial: serial(&certificate),
        nonce: Some(Vec::new()),
        from: 0,
        to: Some(DAY),
        status: 0,
    };
    let root = authority.root();
    let other_serial = serial(&other);
    for (name, response, code) in [
        ("nonce", Response { nonce: Some(vec![1; 32]), ..copy(&good) }, "answer-nonce"),
        ("no nonce", Response { nonce: None, ..copy(&good) }, "answer-nonce"),
        (
            "serial",
            Response { serial: other_serial.clone(), ..copy(&good) },
            "answer-other-subject",
        ),
        ("issuer", Response { issuer: &root, ..copy(&good) }, "answer-other-subject"),
        ("no end", Response { to: None, ..copy(&good) }, "answer-malformed"),
        ("failed", Response { status: 3, ..copy(&good) }, "answer-malformed"),
        ("ended", Response { from: -DAY, to: Some(-1), ..copy(&good) }, "answer-ended"),
    ] {
        let (issuer, serial) = (response.issuer.to_vec(), response.serial);
        let (nonce, from, to, status) =
            (response.nonce, response.from, response.to, response.status);
        stage.service.answer(move |asked, _| {
            let nonce = nonce.clone();
            let nonce = nonce.map(|n| if n.is_empty() { nonce_of(&asked.body) } else { n });
            let serial = serial.clone();
            Reply::Ok(
                Vec::new(),
                Response { issuer: &issuer, serial, nonce, from, to, status }.der(),
            )
        });
        let error = stage.obtain(&item).await.unwrap_err();
        assert_eq!((error.code(), stage.service.count()), (code, 1), "{name}: {error}");
    }
    let (signer, number) = (issuer.clone(), serial(&certificate));
    stage.service.answer(move |asked, _| {
        let nonce = Some(nonce_of(&asked.body));
        let serial = number.clone();
        let response =
            Response { issuer: &signer, serial, nonce, from: 0, to: Some(DAY), status: 0 };
        Reply::Ok(vec![("content-type", "application/ocsp-response".to_owned())], response.der())
    });
    stage.obtain(&item).await.unwrap();
    let asked = stage.service.asked();
    let first = asked.first().unwrap();
    assert_eq!(first.line, "POST /ocsp");
    assert!(first.head.contains("content-type: application/ocsp-request"), "{}", first.head);
    // Each question has a nonce of its own.
    stage.world.pass(DAY.unsigned_abs() * 9 / 10);
    stage.obtain(&item).await.unwrap();
    let nonces: Vec<_> = stage.service.asked().iter().map(|a| nonce_of(&a.body)).collect();
    assert_eq!(nonces.len(), 2);
    assert_ne!(nonces.first(), nonces.last());
}

fn copy<'a>(from: &Response<'a>) -> Response<'a> {
    let Response { issuer, serial, nonce, from, to, status } = from;
    Response {
        issuer,
        serial: serial.clone(),
        nonce: nonce.clone(),
        from: *from,
        to: *to,
        status: *status,
    }
}

#[tokio::test]
async fn manifests_are_taken_out_of_their_wrapping() {
    let stage = Stage::new("rim").await;
    let id = "NV_GPU_DRIVER_GH100_550.144.03";
    let item = Item::rim(id).unwrap();
    let wrapped = |id: &str, xml: &str| {
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, xml);
        format!("{{\"id\":\"{id}\",\"rim\":\"{base64}\",\"sha256\":\"00\"}}").into_bytes()
    };
    for (name, body, code) in [
        ("id", wrapped("NV_GPU_DRIVER_GH100_1", "<a/>"), "answer-other-subject"),
        ("no XML", wrapped(id, "a"), "answer-malformed"),
        ("bare", b"<a/>".to_vec(), "answer-malformed"),
    ] {
        stage.service.always(Reply::Ok(Vec::new(), body));
        assert_eq!(stage.obtain(&item).await.unwrap_err().code(), code, "{name}");
    }
    stage.service.always(Reply::Ok(Vec::new(), wrapped(id, "<?xml version=\"1.0\"?><a/>")));
    let got = stage.obtain(&item).await.unwrap();
    let part = got.document.parts().first().unwrap();
    assert_eq!(
        (part.kind, part.bytes.as_slice()),
        (Kind::Rim, &b"<?xml version=\"1.0\"?><a/>"[..])
    );
    assert_eq!(stage.service.lines(), [format!("GET /v1/rim/{id}")]);
    assert!(pool([&got.document]).unwrap().is_empty());
    for bad in ["", "../x", "a/b", "a b", ".x", "a?b"] {
        assert!(Item::rim(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_report_says_what_it_needs() {
    let report = |version, product| {
        let key = sim::EcKey::generate().unwrap();
        let builder = ReportBuilder { chip_id: [9; 64], ..ReportBuilder::new(product, version) };
        builder.sign(&key).unwrap()
    };
    let needs = Needs::of(&report(3, Product::Genoa), &Endorsements::new(), None, Update::Standard)
        .unwrap();
    let names = names_of(&needs);
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.first().unwrap().starts_with("amd/Genoa/vcek/"), "{names:?}");
    assert_eq!(names.get(1..).unwrap(), ["amd/Genoa/vcek-chain", "amd/Genoa/vcek-crl"]);
    // Version 2 does not say its product; who knows it does.
    let old = report(2, Product::Milan);
    let needs = Needs::of(&old, &Endorsements::new(), None, Update::Standard).unwrap();
    assert!(needs.items.is_empty() && needs.notes.len() == 1, "{needs:?}");
    // So does the certificate of its key.
    let mut given = Endorsements::new();
    given.add_certificate(&vcek(&pki(Product::Genoa), TCB, 7)).unwrap();
    let needs = Needs::of(&old, &given, None, Update::Standard).unwrap();
    assert!(names_of(&needs).first().unwrap().starts_with("amd/Genoa/vcek/"), "{needs:?}");
    let hidden = ReportBuilder::new(Product::Genoa, 3).sign(&sim::EcKey::generate().unwrap());
    let needs = Needs::of(&hidden.unwrap(), &Endorsements::new(), None, Update::Standard).unwrap();
    assert_eq!((needs.items.len(), needs.notes.len()), (2, 1), "a chip without an id");
    let needs =
        Needs::of(&old, &Endorsements::new(), Some(Product::Milan), Update::Standard).unwrap();
    assert_eq!(needs.items.len(), 3);
    assert!(Needs::of(b"text", &Endorsements::new(), None, Update::Standard).is_err());
}

/// Nobody vouches for evidence when it says what to ask for.
#[test]
fn evidence_makes_nobody_ask_without_end() {
    let pki = NvidiaPki::shared().unwrap();
    let shared = DeviceRecipe::hopper(&pki, 0).unwrap().sign_chain().unwrap();
    let device = |number: u8| {
        let device = DeviceRecipe::hopper(&pki, number).unwrap();
        let mut chain = device.sign_chain().unwrap();
        chain.splice(2.., shared.iter().skip(2).cloned());
        serde_json::json!({
            "arch": "HOPPER",
            "evidence": nvidia::base64(&device.sign_report(&[7; 32]).unwrap()),
            "certificate": nvidia::base64(nvidia::pem(&chain).as_bytes()),
        })
    };
    let devices: Vec<_> = (0..70).map(device).collect();
    let needs = |count: usize| {
        let json = serde_json::Value::from(&devices[..count]).to_string();
        Needs::of(json.as_bytes(), &Endorsements::new(), None, Update::Standard).unwrap()
    };
    // A certificate of each chip's own, and two that all share.
    let most = needs(62);
    assert_eq!((most.items.len(), most.notes.len()), (64, 0));
    let more = needs(70);
    assert_eq!((more.items.len(), more.notes.len()), (64, 1), "{:?}", more.notes);
    assert_eq!(more.items, most.items);
}

fn names_of(needs: &Needs) -> Vec<String> {
    needs.items.iter().map(Item::name).collect()
}
