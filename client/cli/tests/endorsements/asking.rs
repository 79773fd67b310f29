//! What `chat` and `proxy` fetch.
#![allow(clippy::wildcard_imports, reason = "it is the other half of one file")]

use super::*;

/// An enclave behind a router, as far as evidence goes: it answers every challenge, and what it says beside the hardware's
/// word is `given`.
fn enclave(
    sign: impl Fn(&ReportData) -> CpuEvidence + Send + Sync + 'static,
    given: &Endorsements,
) -> String {
    let given = given.to_pem().into_bytes();
    let answer = move |challenge: Challenge| {
        let (sealing, manifest) = (SealingKey::new(1, &[7; XWING_PUBLIC_LEN]), manifest());
        let seed = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let receipts = ReceiptKey(seed.public_key().as_ref().try_into().unwrap());
        let statement = Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Sha256::of(&sealing.encode()),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: receipts.thumbprint(),
            manifest: Sha256::of(&manifest),
            config: Sha256::of(b""),
            accelerators: None,
            not_before: now().saturating_sub(Duration::from_mins(1)),
            not_after: now().saturating_add(Duration::from_mins(10)),
        };
        let report_data = ReportData::bind(&statement.binding_id(), &Fresh::Challenge(challenge));
        let freshness = FreshnessProof::Challenge { challenge: Digest(challenge.0) };
        Bundle {
            statement: statement.encode(),
            ohttp_keys: sealing.encode(),
            receipt_key: receipts.encode(),
            manifest,
            config: Vec::new(),
            freshness: serde_json::to_vec(&freshness).unwrap(),
            cpu0: sign(&report_data),
            event_log: None,
            accel: None,
            endorsements: given.clone(),
        }
        .encode()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || converse(stream.unwrap(), &*answer));
        }
    });
    url
}

/// Requests of one connection: the fleet, evidence for a challenge, and nothing else.
fn converse(mut stream: TcpStream, evidence: &dyn Fn(Challenge) -> Vec<u8>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
            head.push_str(&line.to_ascii_lowercase());
            line.clear();
        }
        if head.is_empty() {
            return;
        }
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; len.map_or(0, |len| len.trim().parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let (status, body) = if head.starts_with("get /v1/fleet ") {
            (200, format!("{{\"nodes\":[{{\"id\":\"{}\"}}]}}", NodeId([1; 16])).into_bytes())
        } else if head.contains("/evidence ") {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let challenge = body.get("challenge").and_then(Value::as_str).unwrap();
            (200, evidence(challenge.parse().unwrap()))
        } else {
            (404, Vec::new())
        };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(&[head.into_bytes(), body].concat()).is_err() {
            return;
        }
    }
}

fn manifest() -> Vec<u8> {
    let weights = Weights { format: "gguf".to_owned(), sha256: Digest([5; 32]) };
    ModelManifest {
        schema: 1,
        names: vec!["m".to_owned()],
        weights,
        tokenizer_sha256: Digest([6; 32]),
        template_sha256: Digest([7; 32]),
        numeric_profile: "test".to_owned(),
    }
    .encode()
}

impl Place {
    /// The policy of this place, for a chat with the model of [`manifest`].
    fn chat_policy(&self) -> String {
        let text = fs::read_to_string(self.folder.join("policy.toml")).unwrap();
        let models = format!("\n[models]\nm = \"sha256:{}\"\n", Sha256::of(&manifest()));
        fs::write(self.folder.join("chat.toml"), text + &models).unwrap();
        self.path("chat.toml")
    }

    /// What a proxy says of the enclave at its start.
    fn proxy(&self, router: &str, more: &[&str]) -> String {
        let policy = self.chat_policy();
        let listen = ["--listen", "127.0.0.1:0"];
        let arguments = [&["proxy", "--router", router, "--policy", &policy][..], &listen, more];
        let mut command = self.command(&arguments.concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It is ready when it knows.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        said
    }

    fn chat(&self, router: &str, more: &[&str]) -> (i32, String) {
        let policy = self.chat_policy();
        let arguments = ["chat", "--router", router, "--policy", &policy, "hello"];
        let output = self.run(&[&arguments[..], more].concat());
        (code(&output), said(&output))
    }
}

const VERIFIED: &str = "verified enclaves: 1";

/// Evidence that comes without its endorsements is accepted with those of the vendor, which are then kept.
#[test]
fn chat_and_proxy_fetch_what_evidence_lacks() {
    let place = Place::new("chat", Duration::ZERO);
    let services = place.path("services.toml");
    let with = ["--services", services.as_str()];
    let signer = Arc::clone(&place.signer);
    let router = enclave(move |data| signer(data), &Endorsements::new());
    let told = place.proxy(&router, &with);
    assert!(told.contains(VERIFIED), "{told}");
    let asked = place.asked();
    assert_eq!(asked.len(), 3, "certificate, chain and list, each once: {asked:?}");
    // Kept, they do without the vendor.
    for more in [&with[..], &["--services", &services, "--offline"]] {
        let told = place.proxy(&router, more);
        assert!(told.contains(VERIFIED), "{told}");
    }
    assert_eq!(place.asked(), Vec::<String>::new());
    // What there is beyond evidence our enclave cannot do: the failure is another one.
    let (_, told) = place.chat(&router, &with);
    assert!(!told.contains("endorsements-unavailable") && told.contains("404"), "{told}");
}

/// An enclave whose host hands out a list that has ended.
#[test]
fn stale_endorsements_are_replaced() {
    let place = Place::new("stale", Duration::ZERO);
    let services = place.path("services.toml");
    let signer = Arc::clone(&place.signer);
    let router = enclave(move |data| signer(data), &place.stale);
    assert!(!place.stale.crls().is_empty());
    let (exit, told) = place.chat(&router, &[]);
    assert_eq!((exit, told.contains("crl-expired")), (10, true), "the control: {told}");
    let told = place.proxy(&router, &["--services", &services]);
    assert!(told.contains(VERIFIED), "{told}");
    assert_eq!(place.asked(), ["/vcek/v1/Genoa/crl"], "what is good is not asked for");
}

/// Where nothing comes, the error says what was asked and what to do.
#[test]
fn chat_says_what_to_do_where_endorsements_cannot_be_had() {
    let place = Place::new("unendorsed", Duration::ZERO);
    let signer = Arc::clone(&place.signer);
    let router = enclave(move |data| signer(data), &Endorsements::new());
    let nobody = "[amd]\nurls = [\"http://127.0.0.1:1\"]\n[http]\nattempts = 1\n";
    fs::write(place.folder.join("nobody.toml"), nobody).unwrap();
    let (nobody, services) = (place.path("nobody.toml"), place.path("services.toml"));
    for (arguments, why) in [
        (&["--services", nobody.as_str()][..], "cannot be reached"),
        (&["--services", services.as_str(), "--offline"], "network"),
    ] {
        let (exit, told) = place.chat(&router, arguments);
        assert_eq!(exit, 20, "{told}");
        for word in ["endorsements-unavailable", why, "veritee endorsements bundle", "--services"] {
            assert!(told.contains(word), "{arguments:?} does not say {word}: {told}");
        }
        let told = place.proxy(&router, arguments);
        assert!(told.contains("endorsements-unavailable") && !told.contains(VERIFIED), "{told}");
    }
    assert_eq!(place.asked(), Vec::<String>::new());
    // Roots of the policy's own: vendors have nothing to say of them, and are not asked.
    let (exit, told) = place.chat(&router, &[]);
    assert_eq!((exit, told.contains("vek-missing")), (20, true), "{told}");
    assert!(!told.contains("asking AMD"), "{told}");
    // What was written elsewhere does as well.
    let (report, bundle) = (place.path("report.bin"), place.path("chain.pem"));
    let arguments = ["endorsements", "bundle", &report, "--output", &bundle];
    let output = place.run(&[&arguments[..], &["--services", &services]].concat());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let told = place.proxy(&router, &["--endorsements", &bundle, "--services", &nobody]);
    assert!(told.contains(VERIFIED), "{told}");
}

/// The same for TDX, and an evaluation that a session rested on is remembered.
#[test]
fn a_session_with_tdx_remembers_the_evaluation() {
    let evaluation = Arc::new(AtomicU32::new(20));
    let place = Place::intel("tdx-chat", Arc::clone(&evaluation));
    let services = place.path("services.toml");
    let signer = Arc::clone(&place.signer);
    let router = enclave(move |data| signer(data), &Endorsements::new());
    let told = place.proxy(&router, &["--services", &services]);
    assert!(told.contains(VERIFIED), "{told}");
    assert_eq!(place.asked().len(), 4);
    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    evaluation.store(19, Ordering::SeqCst);
    let (exit, told) = place.chat(&router, &["--services", &services]);
    assert_eq!((exit, told.contains("endorsements-unavailable")), (20, true), "{told}");
    assert!(told.contains("has the number 19, and 20 was seen before"), "{told}");
}
