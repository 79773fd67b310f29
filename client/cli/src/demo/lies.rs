//! What a lying operator tries, and what comes of it.

use attestation::{Bundle, Challenge, CpuPlatform, SealingKey, Sha256, Statement};
use client::{Chat, Client, Error, Timeouts, fetch_evidence};
use http::{HeaderValue, StatusCode};
use verifier::Policy;

use crate::arguments::DemoPlatform;
use crate::demo::liar::{Exchange, Liar, Replay, Tricks};
use crate::demo::model::NAME;
use crate::demo::stack::Stack;
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

/// Tells every lie, and prints each refusal with its code.
///
/// # Errors
/// A lie that was believed, which is a bug, or refused for another reason than it should be.
pub(crate) async fn tell(
    stack: &Stack,
    honest: &Client,
    world: &World,
    out: &Out,
) -> Result<(), Failure> {
    out.line("\nNow a lying operator stands in between. Each line is a refusal, with its code.\n")?;
    let node = honest.enclaves().await?.first().map(|enclave| enclave.node_id().to_string());
    let node = node.ok_or_else(|| Failure::bug("nobody is verified any more".to_owned()))?;
    // Evidence of a minute ago, which answers somebody else's challenge.
    let old = fetch_evidence(stack.router(), &Challenge([7; 32]), Timeouts::default()).await?;
    let has_devices = stack.platform() == DemoPlatform::SnpGpu;
    let mut all = lies(&node, old.evidence, has_devices);
    if has_devices {
        all.extend(lies_about_devices());
    }
    for (name, expected, tricks) in all {
        let liar = Liar::stand(stack.router(), tricks).await?;
        let error = ask(&client(stack, world, liar.url())?).await;
        refused(out, name, expected, error.as_ref().map(Error::code))?;
    }
    replay(stack, world, out).await?;
    production(stack, world, out).await
}

/// A lie: what it is, the code of its refusal, and how it is told.
type Lie = (&'static str, &'static str, Tricks);

/// Other devices, or other octets of the same: the statement names the exact ones.
fn lies_about_devices() -> Vec<Lie> {
    vec![
        (
            "evidence: the accelerators left out",
            "accelerators-missing",
            on_evidence(|bundle| bundle.accel = None),
        ),
        (
            "evidence: a device fewer",
            "device-count",
            on_evidence(|bundle| edit_devices(bundle, |devices| drop(devices.pop()))),
        ),
        (
            "evidence: the devices in another order",
            "member-mismatch",
            on_evidence(|bundle| edit_devices(bundle, |devices| devices.reverse())),
        ),
        (
            "evidence: the same, the statement rewritten to fit",
            "report-data-mismatch",
            on_evidence(|bundle| {
                edit_devices(bundle, |devices| devices.reverse());
                if let Ok(statement) = Statement::parse(&bundle.statement) {
                    let accelerators = bundle.accel.as_deref().map(Sha256::of);
                    bundle.statement = Statement { accelerators, ..statement }.encode();
                }
            }),
        ),
    ]
}

fn edit_devices(bundle: &mut Bundle, edit: fn(&mut Vec<serde_json::Value>)) {
    let devices = bundle.accel.as_deref().unwrap_or_default();
    if let Ok(mut devices) = serde_json::from_slice(devices) {
        edit(&mut devices);
        bundle.accel = serde_json::to_vec(&devices).ok();
    }
}

fn lies(node: &str, old: Vec<u8>, has_devices: bool) -> Vec<Lie> {
    vec![
        (
            "evidence: the sealing key swapped",
            "member-mismatch",
            on_evidence(|bundle| bundle.ohttp_keys = own_key()),
        ),
        (
            "evidence: the key swapped, the statement rewritten to fit",
            // Devices signed for the key as well, and are looked at first.
            if has_devices { "device-nonce-mismatch" } else { "report-data-mismatch" },
            on_evidence(|bundle| {
                bundle.ohttp_keys = own_key();
                if let Ok(statement) = Statement::parse(&bundle.statement) {
                    let ohttp_keys = Sha256::of(&bundle.ohttp_keys);
                    bundle.statement = Statement { ohttp_keys, ..statement }.encode();
                }
            }),
        ),
        (
            "evidence: a bit of the hardware's report flipped",
            "signature-invalid",
            on_evidence(|bundle| {
                let at = match bundle.cpu0.platform {
                    CpuPlatform::SevSnp => SNP_MEASUREMENT_AT,
                    CpuPlatform::Tdx => TDX_MEASUREMENT_AT,
                };
                flip(&mut bundle.cpu0.bytes, at);
            }),
        ),
        (
            "evidence: an older answer played back",
            "challenge-not-answered",
            Tricks::on_answers(move |exchange| {
                if is_evidence(exchange) {
                    exchange.answer.clone_from(&old);
                }
            }),
        ),
        (
            "evidence: another enclave's than the one asked",
            "evidence-of-another-node",
            impostor(node),
        ),
        (
            "answer: cut off before its end",
            "response-truncated",
            on_sealed(|exchange| {
                let rest = exchange.answer.len().saturating_sub(FINAL_CHUNK_LEN);
                exchange.answer.truncate(rest);
            }),
        ),
        (
            "answer: one bit flipped",
            "response-not-authentic",
            on_sealed(|exchange| flip(&mut exchange.answer, FIRST_CHUNK_AT)),
        ),
        (
            "answer: replaced by one in plaintext",
            "response-not-sealed",
            on_sealed(|exchange| {
                exchange.media_type = HeaderValue::from_static("text/event-stream");
                exchange.answer = b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n".to_vec();
            }),
        ),
    ]
}

/// Changes the bundle in every answer with evidence.
fn on_evidence(change: impl Fn(&mut Bundle) + Send + Sync + 'static) -> Tricks {
    Tricks::on_answers(move |exchange| {
        if is_evidence(exchange)
            && let Ok(mut bundle) = Bundle::parse(&exchange.answer)
        {
            change(&mut bundle);
            exchange.answer = bundle.encode();
        }
    })
}

/// Changes every sealed response.
fn on_sealed(change: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Tricks {
    Tricks::on_answers(move |exchange| {
        if exchange.path.ends_with("/ohttp") && exchange.status == StatusCode::OK {
            change(exchange);
        }
    })
}

/// Names an enclave that is not there, and answers for it with what the true one says.
fn impostor(node: &str) -> Tricks {
    let (shown, hidden) = ("0".repeat(32), node.to_owned());
    let (to, from) = (hidden.clone(), shown.clone());
    Tricks {
        answer: Box::new(move |exchange| {
            if exchange.path == "/v1/fleet" {
                let fleet = String::from_utf8_lossy(&exchange.answer).replace(&hidden, &shown);
                exchange.answer = fleet.into_bytes();
            }
        }),
        path: Box::new(move |path| path.replace(&from, &to)),
        replay: Replay::None,
    }
}

/// Sends a sealed request a second time: the enclave remembers it (`docs/protocol.md` §5.5).
async fn replay(stack: &Stack, world: &World, out: &Out) -> Result<(), Failure> {
    let tricks = Tricks { replay: Replay::Each, ..Tricks::none() };
    let liar = Liar::stand(stack.router(), tricks).await?;
    if let Some(error) = ask(&client(stack, world, liar.url())?).await {
        return Err(error.into());
    }
    let replayed = liar.replayed();
    let refusals = replayed.iter().filter(|(status, body)| {
        *status == 400 && String::from_utf8_lossy(body).contains("#ohttp-key")
    });
    let all = !replayed.is_empty() && refusals.count() == replayed.len();
    refused(
        out,
        "request: sent to the enclave a second time",
        "ohttp-key",
        all.then_some("ohttp-key"),
    )
}

/// Judges the same evidence by the same policy, but for production and with the vendors' anchors.
async fn production(stack: &Stack, world: &World, out: &Out) -> Result<(), Failure> {
    let bug = |why: String| Failure::bug(format!("no policy for production can be made: {why}"));
    let path = stack.policy();
    let text = std::fs::read_to_string(&path).map_err(|error| bug(error.to_string()))?;
    let beside = |name: &str| {
        std::fs::read(path.with_file_name(name)).map_err(|error| format!("{name}: {error}"))
    };
    let policy = for_production(&text).ok_or_else(|| bug("it has no anchors".to_owned()))?;
    let policy = Policy::parse(&policy, &beside).map_err(|error| bug(error.to_string()))?;
    let client = Client::builder(stack.router(), policy, world.clock.clone()).build()?;
    let error = ask(&client).await;
    let name = "policy for production: the simulated platform";
    refused(out, name, "root-not-trusted", error.as_ref().map(Error::code))
}

/// The policy of a test PKI without its anchors, for production.
fn for_production(text: &str) -> Option<String> {
    let (head, rest) = text.split_once("[anchors]\n")?;
    let (_, platforms) = rest.split_once("\n[")?;
    let head = head.replace("purpose = \"simulation\"", "purpose = \"production\"");
    Some(format!("{head}[{platforms}"))
}

fn is_evidence(exchange: &Exchange) -> bool {
    exchange.path.ends_with("/evidence") && exchange.status == StatusCode::OK
}

/// A key of the liar's own, in the exact form.
fn own_key() -> Vec<u8> {
    SealingKey::new(0, &[0x5a; attestation::keys::XWING_PUBLIC_LEN]).encode()
}

fn flip(bytes: &mut [u8], at: usize) {
    if let Some(octet) = bytes.get_mut(at) {
        *octet ^= 1;
    }
}

fn client(stack: &Stack, world: &World, router: &str) -> Result<Client, Failure> {
    let policy = client::load_policy(&stack.policy())?;
    Ok(Client::builder(router, policy, world.clock.clone()).build()?)
}

/// Asks a short question to its verified end; gives the error, if there is one.
async fn ask(client: &Client) -> Option<Error> {
    let question = Chat { max_tokens: Some(4), ..Chat::question(NAME, "Say hello.") };
    let mut answer = match client.chat(&question).await {
        Ok(answer) => answer,
        Err(error) => return Some(error),
    };
    loop {
        match answer.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

fn refused(out: &Out, name: &str, expected: &str, code: Option<&str>) -> Result<(), Failure> {
    let Some(code) = code else {
        return Err(Failure::bug(format!("a lie was believed: {name}")));
    };
    out.line(format_args!("  refused  {code:<25} {name}"))?;
    if code == expected {
        return Ok(());
    }
    Err(Failure::bug(format!("{name}: refused as {code}, not as {expected}")))
}

/// Where the launch measurement starts in an SNP report (SNP ABI §7.3).
const SNP_MEASUREMENT_AT: usize = 0x90;

/// Within the TD's report of a quote of either version, header included (`MRTD` in version 4).
const TDX_MEASUREMENT_AT: usize = 48 + 136;

/// The final chunk of a response: its mark, 1,024 octets, a tag (`docs/protocol.md` §5.7).
const FINAL_CHUNK_LEN: usize = 1 + 1024 + 16;

/// An octet within the first chunk of a response, past the nonce of 32 and the chunk's length.
const FIRST_CHUNK_AT: usize = 64;
