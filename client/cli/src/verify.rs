//! `veritee verify`.

use std::process::ExitCode;

use attestation::endorsements::Kind;
use attestation::{Bundle, Challenge, Endorsements, Evidence, UnixTime, Unverified};
use client::{Access, Family, Unendorsed, fetch_evidence};
use serde_json::{Value, json};
use verifier::{AnchorKind, Expectation, Policy, Report, Verdict, appraise};

use crate::arguments::Verify;
use crate::endorse::{Online, marks_unusable};
use crate::failure::Failure;
use crate::forecast::{forecast, render};
use crate::input::Input;
use crate::output::Out;
use crate::policy::Loaded;
use crate::report::{Page, quoted};
use crate::table::Shown;
use crate::world::World;
use crate::{files, input, policy, table};

/// Judges evidence by a policy, and says everything that was found.
pub(crate) async fn run(verify: Verify, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    if let Some(path) = &verify.html {
        files::check_place(path)?;
    }
    let Loaded { policy, text, inputs } =
        policy::load(&verify.policy, verify.policy_key.as_deref())?;
    let now = verify.at.unwrap_or_else(|| world.clock.now());
    let judged = match gather(&verify, out).await {
        Ok(mut case) => {
            let report = case.judge_online(&verify, &policy, now, world, out).await;
            report.map(|report| (case, report))
        }
        Err(failure) => Err(failure),
    };
    let (case, report) = match judged {
        Ok(judged) => judged,
        // Who asked for JSON gets an object, whatever happens; who asked wrongly gets help.
        Err(failure) if verify.json && matches!(failure.exit(), 20 | 30) => {
            out.json(not_judged(&failure, &policy, &now.to_string()))?;
            return Ok(ExitCode::from(failure.exit()));
        }
        Err(failure) => return Err(failure),
    };
    let breaks = if verify.forecast || verify.html.is_some() {
        forecast(&report, |then| case.judge(&policy, then))
    } else {
        Vec::new()
    };
    let inputs = case.inputs(&verify, inputs);
    let next = next(&verify);
    if let Some(path) = &verify.html {
        let page = Page {
            report: &report,
            breaks: &breaks,
            policy: &policy,
            policy_text: &text,
            evidence: case.evidence.inspect_untrusted().as_wire(),
            event_log: case.evidence.inspect_untrusted().event_log_as_wire(),
            source: &verify.evidence,
            inputs: &inputs,
            endorsements: &case.endorsements,
            challenge: case.challenge,
            report_data: verify.report_data,
            not_had: &case.not_had,
            next: &next,
            command: &command(&verify, &case, now),
        };
        files::replace(path, page.render().as_bytes())?;
    }
    if verify.json {
        let json = serde_json::to_value(&report)
            .and_then(|mut json| {
                if let Some(members) = json.as_object_mut() {
                    members.insert("inputs".to_owned(), serde_json::to_value(&inputs)?);
                    if !case.not_had.is_empty() {
                        members.insert("not_had".to_owned(), serde_json::to_value(&case.not_had)?);
                    }
                }
                Ok(json)
            })
            .map_err(|error| Failure::bug(format!("a report is not JSON: {error}")))?;
        out.json(json)?;
    } else {
        let evidence = case.evidence.inspect_untrusted();
        let carries_log =
            || Bundle::parse(evidence.as_wire()).is_ok_and(|it| it.event_log.is_some());
        let shown = Shown {
            is_challenged: case.challenge.is_some(),
            is_stated: verify.report_data.is_some(),
            has_log: evidence.event_log_as_wire().is_some() || carries_log(),
            not_had: &case.not_had,
            next: &next,
        };
        out.text(table::render(&report, &shown))?;
        if verify.forecast {
            out.text(render(&breaks, now))?;
        }
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// All that is judged, so that it can be judged again for another moment.
struct Case {
    evidence: Unverified<Evidence>,
    endorsements: Endorsements,
    challenge: Option<Challenge>,
    expectation: Expectation,
    /// The files that the endorsements came from.
    given: Vec<Input>,
    /// Those that came over the network, kind by kind.
    fetched: Endorsements,
    /// Why others did not.
    not_had: Vec<String>,
}

impl Case {
    fn judge(&self, policy: &Policy, now: UnixTime) -> Report {
        let Self { evidence, endorsements, expectation, .. } = self;
        let endorsements = Unverified::new(endorsements.clone());
        match appraise(policy, evidence, &endorsements, expectation, now) {
            Ok(result) => result.report().clone(),
            Err(refused) => refused.report().clone(),
        }
    }

    /// Judges, and as long as the network can help and may, with what it brings.
    async fn judge_online(
        &mut self,
        verify: &Verify,
        policy: &Policy,
        now: UnixTime,
        world: &World,
        out: &Out,
    ) -> Result<Report, Failure> {
        let mut report = self.judge(policy, now);
        if verify.offline || report.verdict == Verdict::Accepted {
            return Ok(report);
        }
        let online = Online::new(verify.services.as_deref(), false, world)?;
        let evidence = self.evidence.inspect_untrusted().as_wire();
        let given = &self.endorsements;
        let case = Unendorsed { evidence, given, policy, report: &report };
        let Some(mut hunt) = online.hunt(&case) else { return Ok(report) };
        // What one document answers may show that another is missing.
        while let Some(fetched) = hunt.complete(&report, out).await.endorsements {
            self.endorsements.extend(&fetched).map_err(|error| {
                let next = "give fewer with --endorsements";
                Failure::new(Family::Malformed, "endorsements-malformed", error.to_string(), next)
            })?;
            self.fetched = fetched;
            report = self.judge(policy, now);
        }
        self.not_had = hunt.not_had();
        hunt.remember(&report).map_err(|error| marks_unusable(&error))?;
        Ok(report)
    }

    /// Everything that the verdict was made of.
    fn inputs(&self, verify: &Verify, of_policy: Vec<Input>) -> Vec<Input> {
        let evidence = self.evidence.inspect_untrusted();
        let mut inputs = vec![Input::of("evidence", &verify.evidence, evidence.as_wire())];
        if let (Some(path), Some(log)) = (&verify.event_log, evidence.event_log_as_wire()) {
            inputs.push(Input::of("event log", path.display().to_string(), log));
        }
        inputs.extend(of_policy);
        inputs.extend(self.given.iter().cloned());
        for kind in Kind::ALL {
            for item in self.fetched.items(kind) {
                inputs.push(Input::of("endorsement, fetched", kind.label().to_lowercase(), item));
            }
        }
        inputs
    }
}

async fn gather(verify: &Verify, out: &Out) -> Result<Case, Failure> {
    let (endorsements, given) = input::listed_endorsements(&verify.endorsements)?;
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
        let evidence = input::evidence(&verify.evidence)?;
        if let Some(failure) = input::mistaken(&verify.evidence, &evidence) {
            return Err(failure);
        }
        (evidence, verify.challenge)
    };
    let expectation = challenge.map_or_else(Expectation::cached, Expectation::challenged);
    let expectation = match verify.report_data {
        Some(report_data) => expectation.with_report_data(report_data),
        None => expectation,
    };
    let evidence = Evidence::from_wire(evidence);
    let evidence = Unverified::new(match &verify.event_log {
        Some(path) => evidence.with_event_log(input::event_log(path)?),
        None => evidence,
    });
    let (fetched, not_had) = (Endorsements::new(), Vec::new());
    Ok(Case { evidence, endorsements, challenge, expectation, given, fetched, not_had })
}

/// What to do where endorsements are missing.
fn next(verify: &Verify) -> String {
    let is_file = !is_url(&verify.evidence) && verify.evidence != "-";
    let evidence = if is_file { quoted(&verify.evidence) } else { "EVIDENCE".to_owned() };
    let first = if verify.offline { "leave --offline out; or, " } else { "" };
    format!(
        "{first}where there is a network:\nveritee endorsements bundle {evidence} --output endorsements.pem\nthen here the same again with --endorsements endorsements.pem"
    )
}

/// The command that comes to the same verdict. What came from elsewhere is in the page, as a file
/// that the command names.
fn command(verify: &Verify, case: &Case, now: UnixTime) -> String {
    let kept = is_url(&verify.evidence) || verify.evidence == "-";
    let evidence = if kept { "evidence" } else { &verify.evidence };
    let mut words = vec!["veritee".to_owned(), "verify".to_owned(), quoted(evidence)];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), quoted(&value)]);
    option("--policy", verify.policy.display().to_string());
    if let Some(path) = &verify.policy_key {
        option("--policy-key", path.display().to_string());
    }
    for path in &verify.endorsements {
        option("--endorsements", path.display().to_string());
    }
    if !case.fetched.is_empty() {
        option("--endorsements", "endorsements.pem".to_owned());
    }
    if let Some(path) = &verify.event_log {
        option("--event-log", path.display().to_string());
    }
    if let Some(challenge) = &case.challenge {
        option("--challenge", challenge.to_string());
    }
    if let Some(report_data) = &verify.report_data {
        option("--report-data", format!("{report_data:?}"));
    }
    option("--at", now.to_string());
    words.push("--offline".to_owned());
    words.join(" ")
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
