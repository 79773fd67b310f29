//! `veritee verify`.

use std::process::ExitCode;

use attestation::{Challenge, Endorsements, Evidence, Unverified};
use client::{Access, Family, fetch_evidence};
use serde_json::{Value, json};
use verifier::{AnchorKind, Expectation, Policy, Report, Verdict, appraise};

use crate::arguments::Verify;
use crate::endorse::Online;
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;
use crate::{input, policy, table};

/// Judges evidence by a policy, and says everything that was found.
pub(crate) async fn run(verify: Verify, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    let policy = policy::load(&verify.policy, verify.policy_key.as_deref())?;
    let judged = judge(&verify, &policy, world, out).await;
    let report = match judged {
        Ok(report) => report,
        // Who asked for JSON gets an object, whatever happens; who asked wrongly gets help.
        Err(failure) if verify.json && matches!(failure.exit(), 20 | 30) => {
            let now = verify.at.unwrap_or_else(|| world.clock.now());
            out.line(not_judged(&failure, &policy, &now.to_string()))?;
            return Ok(ExitCode::from(failure.exit()));
        }
        Err(failure) => return Err(failure),
    };
    if verify.json {
        let json = serde_json::to_string(&report);
        out.line(json.map_err(|error| Failure::bug(format!("a report is not JSON: {error}")))?)?;
    } else {
        out.text(table::render(&report))?;
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

async fn judge(
    verify: &Verify,
    policy: &Policy,
    world: &World,
    out: &Out,
) -> Result<Report, Failure> {
    let mut endorsements = input::endorsements(&verify.endorsements)?;
    let (evidence, challenge) = if is_url(&verify.evidence) {
        if verify.offline {
            let message =
                "the evidence is behind a URL, and --offline forbids the network".to_owned();
            return Err(Failure::usage(message, "give a file, or leave --offline out"));
        }
        let access = input::access(verify.key_file.as_deref(), verify.router_ca.as_deref())?;
        let (evidence, challenge) = fetch(&verify.evidence, verify.challenge, access, out).await?;
        (evidence, Some(challenge))
    } else {
        (input::evidence(&verify.evidence)?, verify.challenge)
    };
    let expectation = challenge.map_or_else(Expectation::cached, Expectation::challenged);
    let expectation = match verify.report_data {
        Some(report_data) => expectation.with_report_data(report_data),
        None => expectation,
    };
    let now = verify.at.unwrap_or_else(|| world.clock.now());
    let evidence = Evidence::from_wire(evidence);
    let evidence = Unverified::new(match &verify.event_log {
        Some(path) => evidence.with_event_log(input::event_log(path)?),
        None => evidence,
    });
    let judged = |endorsements: &Endorsements| {
        let endorsements = Unverified::new(endorsements.clone());
        match appraise(policy, &evidence, &endorsements, &expectation, now) {
            Ok(result) => result.report().clone(),
            Err(refused) => refused.report().clone(),
        }
    };
    let mut report = judged(&endorsements);
    if verify.offline || report.verdict == Verdict::Accepted {
        return Ok(report);
    }
    let wire = evidence.inspect_untrusted().as_wire();
    let services = verify.services.as_deref();
    let Some(mut online) = Online::new(wire, &endorsements, policy, &report, services, world)?
    else {
        return Ok(report);
    };
    // What one document answers may show that another is missing.
    while let Some(fetched) = online.complete(&report, out).await? {
        endorsements.extend(&fetched).map_err(|error| {
            let next = "give fewer with --endorsements";
            Failure::new(Family::Malformed, "endorsements-malformed", error.to_string(), next)
        })?;
        report = judged(&endorsements);
    }
    online.remember(&report)?;
    Ok(report)
}

/// Whether evidence is to be asked for, not read.
pub(crate) fn is_url(evidence: &str) -> bool {
    evidence.starts_with("http://") || evidence.starts_with("https://")
}

/// Asks an enclave or router for evidence that answers `challenge`, or a random one.
pub(crate) async fn fetch(
    url: &str,
    challenge: Option<Challenge>,
    access: Access,
    out: &Out,
) -> Result<(Vec<u8>, Challenge), Failure> {
    let challenge = match challenge {
        Some(challenge) => challenge,
        None => Challenge(random()?),
    };
    let fetched = fetch_evidence(url, &challenge, access).await?;
    out.note(format_args!("evidence from {}, challenge {challenge}", fetched.url));
    Ok((fetched.evidence, challenge))
}

/// The object of a verdict that nobody could come to: the input did not arrive, or is no input.
fn not_judged(failure: &Failure, policy: &Policy, now: &str) -> Value {
    let verdict = if failure.exit() == 30 { "malformed" } else { "unavailable" };
    let anchors = match policy.anchors() {
        AnchorKind::Production => "production",
        AnchorKind::Untrusted => "untrusted",
    };
    json!({
        "verdict": verdict,
        "platform": "unknown",
        "findings": [{
            "code": failure.code,
            "severity": "reject",
            "component": "input",
            "message": failure.message,
            "expected": null,
            "actual": null,
            "reference": "docs/rejections.md",
            "remedy": failure.next(),
        }],
        "claims": {},
        "appraised_at": now,
        "not_after": null,
        "policy": policy.id(),
        "anchors": anchors,
    })
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::bug(format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}
