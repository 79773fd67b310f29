//! `veritee verify --html`: one page that an auditor can read, print and file.
//!
//! It loads nothing and runs nothing: no script, no picture, no font, and a policy of its own that
//! forbids browsers all of it. Whatever comes from evidence, endorsements or policies goes through
//! [`Escaped`].

use std::fmt::{self, Write as _};

use attestation::{Bundle, Challenge, Endorsements, EvidenceKind, ReportData, Sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verifier::{AnchorKind, Finding, Policy, Report, Severity, Verdict};

use crate::forecast::{self, Break};
use crate::input::Input;
use crate::summary::{alike, missing, names};

mod checks;
mod html;
mod judged;
mod rules;
mod values;

use checks::Row;
use html::Escaped;
pub(crate) use html::quoted;
use judged::Judged;

/// Everything that a page is about.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) report: &'a Report,
    pub(crate) breaks: &'a [Break],
    pub(crate) policy: &'a Policy,
    /// Its exact text.
    pub(crate) policy_text: &'a str,
    /// The evidence as it was judged.
    pub(crate) evidence: &'a [u8],
    /// The boot's event log, where it came beside the evidence.
    pub(crate) event_log: Option<&'a [u8]>,
    /// What it was called: a file, or the URL that it came from.
    pub(crate) source: &'a str,
    /// Everything that the verdict was made of.
    pub(crate) inputs: &'a [Input],
    pub(crate) endorsements: &'a Endorsements,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) report_data: Option<ReportData>,
    /// Why endorsements that are missing could not be fetched, and what to do then.
    pub(crate) not_had: &'a [String],
    pub(crate) next: &'a str,
    /// The command that judges it again, with the same outcome.
    pub(crate) command: &'a str,
}

impl Page<'_> {
    /// The page.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail; were it to, half a page would be worse than none.
        if self.write(&mut out).is_err() {
            out.clear();
        }
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Report { verdict, platform, .. } = self.report;
        // Only this style, by its digest: nothing else that came into the page would count.
        let style = STANDARD.encode(Sha256::of(STYLE.as_bytes()).as_bytes());
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{verdict}: {} by {}</title>\n<style>{STYLE}</style></head>\n<body><main>\n",
            Escaped(platform),
            Escaped(&self.report.policy.name),
        )?;
        self.head(out)?;
        self.found(out)?;
        self.checks(out)?;
        self.claims(out)?;
        self.not_proved(out)?;
        self.ends(out)?;
        self.policy(out)?;
        self.again(out)?;
        write!(
            out,
            "<footer><p>Made by veritee {VERSION}. This page is not signed: it is worth what the \
             reader's own run of the command above says.</p></footer>\n</main></body></html>\n"
        )
    }

    /// Whether something was accepted that a reader should know of.
    fn warnings(&self) -> bool {
        self.report.findings.iter().any(|finding| finding.severity == Severity::Warn)
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        let Report { verdict, platform, appraised_at, not_after, policy, anchors, .. } =
            self.report;
        let class = match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Rejected => "rejected",
            Verdict::Unavailable => "unavailable",
            Verdict::Malformed => "malformed",
        };
        let sentence = match verdict {
            Verdict::Accepted if self.warnings() => {
                "Every check that the policy makes has passed. The warnings say what it does not make."
            }
            Verdict::Accepted => "Every check that the policy makes has passed.",
            Verdict::Rejected => {
                "Understood, and not acceptable. This is a verdict: asking again does not change it."
            }
            Verdict::Unavailable => {
                "It could not be found out: something that is needed to decide was not there."
            }
            Verdict::Malformed => "What was given is not what it claims to be.",
        };
        write!(
            out,
            "<h1>Verification of confidential computing evidence</h1>\n\
             <p class=\"soft\">{} evidence, judged by the policy \u{201c}{}\u{201d}</p>\n\
             <section class=\"verdict {class}\"><strong>{}</strong><p>{sentence}</p></section>\n",
            Escaped(platform),
            Escaped(&policy.name),
            verdict.to_string().to_uppercase(),
        )?;
        if *anchors == AnchorKind::Untrusted {
            out.push_str(
                "<p class=\"note\"><b>Untrusted anchors.</b> The policy brings roots of its own: \
                 whoever holds their keys can make any evidence. This says nothing of genuine hardware.</p>\n",
            );
        }
        out.push_str("<dl>\n");
        let missing = missing(self.report);
        if !missing.is_empty() {
            row(out, "missing", &missing.join(", "))?;
            for why in self.not_had {
                row(out, "", why)?;
            }
            row(out, "next", self.next)?;
        }
        row(out, "judged for", &appraised_at.to_string())?;
        if let Some(not_after) = not_after {
            row(out, "holds until", &not_after.to_string())?;
        }
        row(out, "evidence", self.source)?;
        row(out, "evidence SHA-256", &Sha256::of(self.evidence).to_string())?;
        if let Some(log) = self.event_log {
            row(out, "event log SHA-256", &Sha256::of(log).to_string())?;
        }
        row(out, "policy version", &policy.version.to_string())?;
        row(out, "policy SHA-256", &policy.digest.to_string())?;
        row(
            out,
            "roots",
            match anchors {
                AnchorKind::Production => "the vendors' own",
                AnchorKind::Untrusted => "the policy's own, untrusted",
            },
        )?;
        match &self.challenge {
            Some(challenge) => row(out, "challenge", &challenge.to_string())?,
            None if self.report_data.is_some() => row(
                out,
                "challenge",
                "none: how old the evidence is rests on the 64 bytes that were stated",
            )?,
            None => row(out, "challenge", "none: nothing shows when the evidence was made")?,
        }
        if let Some(report_data) = &self.report_data {
            row(out, "report data expected", &format!("{report_data:?}"))?;
        }
        out.push_str("</dl>\n");
        Ok(())
    }

    /// What was found: refusals, remarks, and what was not looked at.
    fn found(&self, out: &mut String) -> fmt::Result {
        let told = |finding: &&Finding| !checks::is_not_evaluated(finding);
        let findings: Vec<_> = self.report.findings.iter().filter(told).collect();
        out.push_str("<h2>Findings</h2>\n");
        if findings.is_empty() {
            out.push_str("<p>None: no check has anything to say.</p>\n");
        }
        for (finding, of) in alike(findings.into_iter()) {
            let (class, word) = match finding.severity {
                Severity::Reject => ("rejected", "Refused"),
                Severity::Warn => ("warn", "Warning"),
                Severity::Info => ("soft", "For the record"),
            };
            write!(
                out,
                "<h3><span class=\"{class}\">{word}:</span> <code>{}</code> <span class=\"soft\">({})</span></h3>\n<p>{}</p>\n<dl>\n",
                Escaped(finding.code.as_str()),
                Escaped(&names(&of)),
                Escaped(&finding.message),
            )?;
            for (name, value) in [("expected", &finding.expected), ("actual", &finding.actual)] {
                if let Some(value) = value {
                    mono(out, name, value)?;
                }
            }
            row(out, "rule", finding.reference)?;
            row(out, "what to do", finding.remedy)?;
            out.push_str("</dl>\n");
        }
        let left: Vec<_> = self
            .report
            .findings
            .iter()
            .filter(|finding| checks::is_not_evaluated(finding))
            .map(|finding| finding.message.as_str())
            .collect();
        if !left.is_empty() {
            out.push_str("<h3>Not checked</h3>\n<ul>\n");
            for message in left {
                writeln!(out, "<li>{}</li>", Escaped(message))?;
            }
            out.push_str("</ul>\n");
        }
        Ok(())
    }

    /// Every rule that counts for this evidence, with what it found.
    fn checks(&self, out: &mut String) -> fmt::Result {
        out.push_str("<h2>Checks</h2>\n");
        if self.report.claims.is_empty() {
            out.push_str(
                "<p>No more than the findings above: what is not authentic is not judged, and what \
                 else may hold of it counts for nothing.</p>\n",
            );
            return Ok(());
        }
        let carries_log = || Bundle::parse(self.evidence).is_ok_and(|it| it.event_log.is_some());
        // A policy that did not parse would not have judged.
        let policy = &self.policy_text.parse::<toml::Table>().unwrap_or_default();
        let judged = Judged {
            report: self.report,
            policy,
            kind: EvidenceKind::detect(self.evidence).ok(),
            has_log: self.event_log.is_some() || carries_log(),
            challenge: self.challenge.as_ref(),
            report_data: self.report_data.as_ref(),
        };
        out.push_str(
            "<p>Each rule that concerns this evidence, and the case in which it refuses. \u{201c}No \
             objection\u{201d}: it was looked at, and that is not the case. \u{201c}Not asked \
             for\u{201d}: the policy takes either. \u{201c}Not checked\u{201d}: there was nothing to \
             look at, for the reason given. What the policy wants is written out below.</p>\n",
        );
        for group in checks::groups(&judged) {
            write!(
                out,
                "<h3>{}</h3>\n<table class=\"checks\"><thead><tr><th>rule: refuses where</th><th>outcome</th><th>expected</th><th>actual</th><th>source</th></tr></thead><tbody>\n",
                Escaped(group.title)
            )?;
            for row in &group.rows {
                check_row(out, row)?;
            }
            out.push_str("</tbody></table>\n");
        }
        Ok(())
    }

    fn claims(&self, out: &mut String) -> fmt::Result {
        out.push_str("<h2>Claims</h2>\n");
        if self.report.claims.is_empty() {
            out.push_str("<p>None: what is not authentic claims nothing.</p>\n");
            return Ok(());
        }
        out.push_str(
            "<p>What the authentic hardware says of itself, and what it vouches for.</p>\n<dl>\n",
        );
        for (name, value) in self.report.claims.iter() {
            // One level of names; what is below stands in one line.
            let members = value.as_object().filter(|inner| name == "binding" || inner.len() > 6);
            let Some(members) = members else {
                mono(out, name, &values::plain(value))?;
                continue;
            };
            for (inner, value) in members {
                // Measurements of a device, each on a line of its own.
                let lines = value.as_object().filter(|list| list.len() > 6).map(|list| {
                    let lines = list.iter().map(|(key, it)| format!("{key} {}", values::plain(it)));
                    lines.collect::<Vec<_>>().join("\n")
                });
                let text = lines.unwrap_or_else(|| values::plain(value));
                mono(out, &format!("{name}.{inner}"), &text)?;
            }
        }
        out.push_str("</dl>\n");
        Ok(())
    }

    fn not_proved(&self, out: &mut String) -> fmt::Result {
        let report = self.report;
        let mut points: Vec<String> = Vec::new();
        if report.verdict != Verdict::Accepted {
            points.push(
                "Anything: the evidence was not accepted. Claims below a refusal describe it and vouch for nothing."
                    .to_owned(),
            );
        }
        if report.anchors == AnchorKind::Untrusted {
            points.push(
                "That any hardware is genuine: the chain ends in a root of the policy's own."
                    .to_owned(),
            );
        }
        if self.challenge.is_none() {
            let unless = if self.report_data.is_some() {
                ", unless the 64 bytes that you stated contain one"
            } else {
                ""
            };
            points.push(format!(
                "When the evidence was made: it answers no challenge of yours{unless}."
            ));
        }
        if !report.claims.contains_key("binding") {
            points.push(
                "What runs on the hardware beyond its launch measurement, and whose keys it holds: the evidence binds no keys, model or configuration.".to_owned(),
            );
        }
        let is_device = |key: &String| key.starts_with("gpu") || key.starts_with("switch");
        if report.platform.starts_with("nvidia") {
            points.push(
                "Anything of the machine around: this is about accelerators alone.".to_owned(),
            );
        } else if !report.claims.keys().any(is_device) {
            points
                .push("Anything of accelerators: this is about the CPU's guest alone.".to_owned());
        }
        for finding in &report.findings {
            if finding.severity == Severity::Warn && finding.code.as_str() != "untrusted-anchors" {
                points.push(format!(
                    "What the policy relaxes ({}): {}.",
                    finding.code,
                    finding.message.trim_end_matches('.')
                ));
            }
        }
        points.extend(ALWAYS.iter().map(|point| (*point).to_owned()));
        out.push_str("<h2>What is not proved</h2>\n<ul>\n");
        for point in points {
            writeln!(out, "<li>{}</li>", Escaped(&point))?;
        }
        out.push_str("</ul>\n");
        Ok(())
    }

    fn ends(&self, out: &mut String) -> fmt::Result {
        out.push_str("<h2>What ends next</h2>\n");
        if self.breaks.is_empty() {
            out.push_str("<p>Nothing is known of: the evidence is not authentic.</p>\n");
            return Ok(());
        }
        out.push_str(
            "<p>What the claims rest on, soonest first, and why the same evidence would be refused \
             a second later.</p>\n<table><thead><tr><th>good until</th><th>what</th><th>then refused for</th></tr></thead><tbody>\n",
        );
        for Break { ends, what, codes } in self.breaks {
            writeln!(
                out,
                "<tr><td data-label=\"good until\">{ends}</td><td data-label=\"what\">{}</td><td data-label=\"then refused for\">{}</td></tr>",
                Escaped(&what.join(", ")),
                Escaped(&forecast::then(codes)),
            )?;
        }
        out.push_str("</tbody></table>\n");
        Ok(())
    }

    fn policy(&self, out: &mut String) -> fmt::Result {
        write!(
            out,
            "<h2>Policy</h2>\n<dl>\n<dt>name</dt><dd>{}</dd>\n<dt>version</dt><dd>{}</dd>\n<dt>purpose</dt><dd>{}</dd>\n<dt>SHA-256</dt><dd><code>{}</code></dd>\n</dl>\n\
             <h3>In sentences</h3>\n<pre>{}</pre>\n<h3>Its exact text</h3>\n<pre>{}</pre>\n",
            Escaped(self.policy.name()),
            self.policy.version(),
            self.policy.purpose(),
            self.policy.digest(),
            Escaped(&self.policy.show()),
            Escaped(self.policy_text),
        )
    }

    /// How somebody else comes to the same verdict.
    fn again(&self, out: &mut String) -> fmt::Result {
        write!(
            out,
            "<h2>How to reproduce it</h2>\n\
             <p>With the same program and the same files, the command says the same, on any machine and without a network:</p>\n<pre>{}</pre>\n\
             <p>It exits with {}. What goes into it, by SHA-256 (<code>sha256sum FILE</code>):</p>\n<table class=\"files\"><thead><tr><th>what</th><th>name</th><th>octets</th><th>SHA-256</th></tr></thead><tbody>\n",
            Escaped(self.command),
            self.report.verdict.exit_code(),
        )?;
        for Input { what, name, octets, sha256 } in self.inputs {
            writeln!(
                out,
                "<tr><td>{}</td><td class=\"mono\" data-label=\"name\">{}</td><td data-label=\"octets\">{octets}</td><td class=\"mono\" data-label=\"SHA-256\">{sha256}</td></tr>",
                Escaped(what),
                Escaped(name),
            )?;
        }
        out.push_str("</tbody></table>\n");
        out.push_str(
            "<p class=\"paper soft\">On paper the octets are left out. The file of this page carries them.</p>\n",
        );
        let evidence = STANDARD.encode(self.evidence);
        carried(
            out,
            "The evidence, in base64 (evidence.b64)",
            "base64 -d evidence.b64 > evidence",
            &evidence,
        )?;
        if let Some(log) = self.event_log {
            carried(
                out,
                "The event log, in base64 (event-log.b64)",
                "base64 -d event-log.b64 > event-log",
                &STANDARD.encode(log),
            )?;
        }
        let pem = self.endorsements.to_pem();
        if !pem.is_empty() {
            carried(
                out,
                "The endorsements given, in PEM (endorsements.pem)",
                "--endorsements endorsements.pem",
                &pem,
            )?;
        }
        Ok(())
    }
}

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Escaped(value))
}

fn mono(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<dt>{}</dt><dd class=\"mono\">{}</dd>", Escaped(name), Escaped(value))
}

fn check_row(out: &mut String, row: &Row) -> fmt::Result {
    let Row { code, name, class, outcome, why, expected, actual, reference } = row;
    write!(
        out,
        "<tr class=\"{}\"><td><code class=\"code\">{}</code>{}<br>{}</td><td><span class=\"outcome {class}\">{}</span>",
        if *class == "quiet" { "quiet" } else { "" },
        Escaped(code.as_str()),
        Escaped(&if name.is_empty() { String::new() } else { format!(" {name}") }),
        Escaped(code.cause()),
        Escaped(outcome),
    )?;
    if !why.is_empty() {
        write!(out, "<br><span class=\"soft\">{}</span>", Escaped(why))?;
    }
    writeln!(
        out,
        "</td><td class=\"mono\" data-label=\"expected\">{}</td><td class=\"mono\" data-label=\"actual\">{}</td><td data-label=\"source\">{}</td></tr>",
        Escaped(expected),
        Escaped(actual),
        Escaped(reference),
    )
}

/// Something that the page carries, so that it is enough by itself.
fn carried(out: &mut String, title: &str, how: &str, text: &str) -> fmt::Result {
    if text.len() > CARRIED_LEN_MAX {
        return writeln!(out, "<p>{}: too long for a page; keep the file.</p>", Escaped(title));
    }
    let mut lines = String::with_capacity(text.len());
    if text.starts_with("-----") {
        lines.push_str(text);
    } else {
        let mut rest = text;
        while let Some((line, after)) = rest.split_at_checked(LINE_LEN) {
            lines.push_str(line);
            lines.push('\n');
            rest = after;
        }
        lines.push_str(rest);
    }
    writeln!(
        out,
        "<details><summary>{}</summary>\n<p><code>{}</code></p>\n<pre>{}</pre></details>",
        Escaped(title),
        Escaped(how),
        Escaped(&lines)
    )
}

/// What no evidence shows.
const ALWAYS: [&str; 5] = [
    "What ran since launch: measurements cover what was started, not what it became.",
    "That nobody opened the machine: attacks with physical access to its memory bus leave no trace in evidence.",
    "That the vendor's keys and firmware are without faults that are not published yet.",
    "That the model is right, fair or harmless, or that the measured software has no faults.",
    "That sizes, times and addresses of requests stay hidden from who runs the machine and the network.",
];

const STYLE: &str = include_str!("report/style.css");

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest thing that a page carries: a machine's evidence with eight GPUs is a quarter of it.
const CARRIED_LEN_MAX: usize = 1 << 20;

/// Columns of base64.
const LINE_LEN: usize = 76;
