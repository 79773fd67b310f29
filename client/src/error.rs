//! What can go wrong for a client, told apart by what the caller should do.

use core::fmt;

use attestation::{Malformed, NodeId, UnixTime};
use tls::TlsError;
use verifier::Report;

/// What the caller should do about an error; the exit codes of `veritee` follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// The bytes are not what they claim to be: give up on this peer.
    Malformed,
    /// Understood, and not acceptable: a verdict, never retried.
    Rejected,
    /// Could not find out: try again later.
    Unavailable,
    /// What was asked for cannot be done as asked.
    Usage,
    /// We are wrong.
    Bug,
}

impl Family {
    /// The exit code of `veritee`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Malformed => 30,
            Self::Rejected => 10,
            Self::Unavailable => 20,
            Self::Usage => 2,
            Self::Bug => 1,
        }
    }
}

/// Why there is no verified answer. Nothing in it is of the prompt or the answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The router's address is not one that this release talks to.
    RouterUrl {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The API key would go over plain HTTP to another machine.
    KeyInTheClear,
    /// The policy brings anchors of its own, and the router is not on loopback.
    UntrustedAnchors,
    /// The request is not one that can be sent.
    Request(&'static str),
    /// No verified enclave serves the model, or the policy does not name it.
    ModelNotAllowed {
        /// The name that was asked for.
        model: String,
        /// The names that could be asked for.
        available: Vec<String>,
    },
    /// The policy's version is lower than one that was accepted before.
    PolicyRolledBack {
        /// The policy.
        name: String,
        /// The version of the file.
        version: u64,
        /// The highest version accepted.
        highest: u64,
        /// Where that is written down.
        memory: String,
    },
    /// A revocation list is older than one that was seen before.
    CrlRolledBack {
        /// The list's issuer.
        issuer: String,
        /// The number of the list.
        number: u64,
        /// The highest number seen.
        highest: u64,
    },
    /// The memory of versions cannot be read or written.
    Memory {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The evidence of every candidate was refused; this is the verdict on one of them.
    Rejected(Box<Report>),
    /// What vendors say of the hardware is missing or has ended, and could not be found.
    Unendorsed {
        /// The verdict without it.
        report: Box<Report>,
        /// Why it could not be found, each in a sentence.
        failures: Vec<String>,
    },
    /// The evidence was accepted and vouches for no key.
    NoKeys,
    /// The evidence is another enclave's than the one that was asked.
    AnotherNode {
        /// The enclave that was asked.
        asked: NodeId,
        /// The enclave that the evidence is of.
        found: NodeId,
    },
    /// The attestation ended between its verification and its use.
    Expired {
        /// When it ended.
        not_after: UnixTime,
    },
    /// No enclave could be verified, and none was refused.
    NoEnclaves {
        /// How many the router named.
        candidates: usize,
        /// Why the last one could not be reached.
        last: Option<String>,
    },
    /// The router or enclave could not be reached or did not answer in time.
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        why: String,
    },
    /// No TLS connection to the router was made.
    Tls {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        why: TlsError,
    },
    /// The connection ended before the answer did. The request may have been carried out.
    ConnectionDied,
    /// The router or enclave answered, and not with what was asked for. Unauthenticated: a hint.
    Outer {
        /// The status of the answer.
        status: u16,
        /// The problem's stable name.
        code: &'static str,
        /// When to try again, in seconds, where the answer says.
        retry_after: Option<u32>,
    },
    /// A message does not parse.
    Malformed(Malformed),
    /// The response is not the one that was sealed for this request, whole.
    Broken {
        /// The stable name.
        code: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The enclave declined the request, inside a sealed and verified response.
    Declined {
        /// The status that it gave.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The enclave said, inside the sealed response, that the answer broke off.
    Aborted(String),
    /// The receipt is missing, does not verify, or is of another answer.
    Receipt {
        /// The stable name.
        code: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// We are wrong.
    Bug(&'static str),
}

impl Error {
    /// The stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RouterUrl { .. } => "router-url",
            Self::KeyInTheClear => "key-in-the-clear",
            Self::UntrustedAnchors => "untrusted-anchors",
            Self::Request(_) => "request-invalid",
            Self::ModelNotAllowed { .. } => "model-not-allowed",
            Self::PolicyRolledBack { .. } => "policy-rolled-back",
            Self::CrlRolledBack { .. } => "crl-rolled-back",
            Self::Memory { .. } => "memory-unusable",
            Self::Rejected(report) => {
                report.worst().map_or("rejected", |finding| finding.code.as_str())
            }
            Self::Unendorsed { .. } => "endorsements-unavailable",
            Self::NoKeys => "no-keys",
            Self::AnotherNode { .. } => "evidence-of-another-node",
            Self::Expired { .. } => "attestation-expired",
            Self::NoEnclaves { .. } => "no-enclaves",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { why, .. } => why.code(),
            Self::ConnectionDied => "connection-died",
            Self::Outer { code, .. } | Self::Broken { code, .. } | Self::Receipt { code, .. } => {
                code
            }
            Self::Malformed(why) => why.code(),
            Self::Declined { .. } => "request-declined",
            Self::Aborted(_) => "answer-aborted",
            Self::Bug(_) => "bug",
        }
    }

    /// What the caller should do.
    pub fn family(&self) -> Family {
        match self {
            Self::RouterUrl { .. }
            | Self::KeyInTheClear
            | Self::Request(_)
            | Self::Declined { status: 400..500, .. }
            | Self::Outer { status: 401, .. } => Family::Usage,
            Self::UntrustedAnchors
            | Self::ModelNotAllowed { .. }
            | Self::PolicyRolledBack { .. }
            | Self::CrlRolledBack { .. }
            | Self::NoKeys
            | Self::AnotherNode { .. }
            | Self::Receipt { .. } => Family::Rejected,
            Self::Rejected(report) => match report.verdict {
                verifier::Verdict::Malformed => Family::Malformed,
                verifier::Verdict::Unavailable => Family::Unavailable,
                verifier::Verdict::Rejected | verifier::Verdict::Accepted => Family::Rejected,
            },
            Self::Declined { .. }
            | Self::Unendorsed { .. }
            | Self::Memory { .. }
            | Self::Expired { .. }
            | Self::NoEnclaves { .. }
            | Self::Unreachable { .. }
            // Nobody was heard, so there is nothing to judge.
            | Self::Tls { .. }
            | Self::ConnectionDied
            | Self::Aborted(_)
            | Self::Outer { .. } => Family::Unavailable,
            Self::Malformed(_) | Self::Broken { .. } => Family::Malformed,
            Self::Bug(_) => Family::Bug,
        }
    }

    /// What the reader can do next.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::RouterUrl { .. } => {
                "give an address like https://router.example or, on this machine, http://127.0.0.1:8080"
            }
            Self::UntrustedAnchors => {
                "use a policy with the vendors' anchors, or a router at this machine's address: https://127.0.0.1:PORT"
            }
            Self::Request(_) | Self::Declined { status: 400..500, .. } => "correct the request",
            Self::ModelNotAllowed { .. } => {
                "ask for one of the models listed, or add the model's manifest digest to the policy"
            }
            Self::PolicyRolledBack { .. } => {
                "use the newest policy; to go back on purpose, remove its entry from the memory file"
            }
            Self::CrlRolledBack { .. } => {
                "refuse the enclave: it shows an old revocation list; ask the operator for the new one"
            }
            Self::Memory { .. } => {
                "repair or remove the file: without it the versions seen so far are forgotten"
            }
            Self::Rejected(report) => {
                report.worst().map_or("refuse the enclave", |finding| finding.remedy)
            }
            Self::Unendorsed { .. } => {
                "let this machine reach the vendors' services, or name a mirror in the file of --services; without a network, give what `veritee endorsements bundle` wrote elsewhere with --endorsements"
            }
            Self::NoKeys => "use an enclave that sends Veritee's evidence bundle",
            Self::AnotherNode { .. } => "try again; if it persists, the router mixes enclaves up",
            Self::Expired { .. } => "try again: the evidence will be fetched anew",
            Self::Unreachable { .. } => "check that the router runs at this address, and try again",
            Self::Tls { why, .. } => next_step_of(why),
            Self::KeyInTheClear => "give an https:// address, or leave --key-file out",
            Self::ConnectionDied => {
                "ask again if you accept that the request may have been carried out already; where this was the first question, the router may speak TLS: give https://"
            }
            Self::Outer { status: 401, .. } => {
                "ask the operator for an API key that counts, and give its file with --key-file"
            }
            Self::NoEnclaves { .. } | Self::Outer { .. } | Self::Declined { .. } => {
                "try again later, or ask the operator"
            }
            Self::Malformed(_) | Self::Broken { .. } => {
                "discard the answer; somebody between you and the enclave changed or cut it"
            }
            Self::Aborted(_) => "discard the answer and ask again",
            Self::Receipt { .. } => "discard the answer: its receipt does not vouch for it",
            Self::Bug(_) => "please report this",
        }
    }

    /// The verdict, where the error is one.
    pub fn report(&self) -> Option<&Report> {
        if let Self::Rejected(report) | Self::Unendorsed { report, .. } = self {
            Some(report)
        } else {
            None
        }
    }

    pub(crate) fn unreachable(doing: &'static str, why: impl fmt::Display) -> Self {
        Self::Unreachable { doing, why: why.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RouterUrl { url, why } => write!(f, "the router's address {url:?} {why}"),
            Self::KeyInTheClear => {
                f.write_str("the API key would go over plain HTTP to another machine")
            }
            Self::UntrustedAnchors => f.write_str(
                "the policy brings trust anchors of its own, so it serves for a router on this machine alone",
            ),
            Self::Request(why) => write!(f, "the request {why}"),
            Self::ModelNotAllowed { model, available } => write!(
                f,
                "no verified enclave serves model {model:?} under a name that the policy gives it; available: {}",
                if available.is_empty() { "none".to_owned() } else { available.join(", ") }
            ),
            Self::PolicyRolledBack { name, version, highest, memory } => write!(
                f,
                "policy {name:?} has version {version}, and version {highest} was accepted before (as {memory} remembers)"
            ),
            Self::CrlRolledBack { issuer, number, highest } => write!(
                f,
                "the revocation list of {issuer} has number {number}, and number {highest} was seen before"
            ),
            Self::Memory { path, why } => write!(f, "the memory of versions in {path} {why}"),
            Self::Rejected(report) => {
                write!(f, "the enclave's evidence is {}", report.verdict)?;
                report.worst().map_or(Ok(()), |finding| write!(f, ": {finding}"))
            }
            Self::Unendorsed { report, failures } => {
                f.write_str("what vendors say of the enclave's hardware could not be found")?;
                if let Some(finding) = report.worst() {
                    write!(f, " ({})", finding.code)?;
                }
                failures.first().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::NoKeys => f.write_str("the evidence vouches for no key that one could seal to"),
            Self::AnotherNode { asked, found } => {
                write!(f, "enclave {asked} was asked for evidence, and enclave {found} answered")
            }
            Self::Expired { not_after } => write!(f, "the attestation ended {not_after}"),
            Self::NoEnclaves { candidates: 0, .. } => {
                f.write_str("the router names no enclave that is ready")
            }
            Self::NoEnclaves { candidates, last } => {
                write!(f, "none of {candidates} enclaves could be verified")?;
                last.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::Tls { doing, why } => write!(f, "{doing} failed: {why}"),
            Self::Unreachable { doing, why } => write!(f, "{doing} failed: {why}"),
            Self::ConnectionDied => {
                f.write_str("the connection ended before the answer did")
            }
            Self::Outer { status, code, retry_after } => {
                write!(f, "the router or enclave answered {status} ({code})")?;
                retry_after.map_or(Ok(()), |secs| write!(f, "; it says to try again in {secs} s"))
            }
            Self::Malformed(why) => why.fmt(f),
            Self::Broken { why, .. } | Self::Receipt { why, .. } => f.write_str(why),
            Self::Declined { status, message } => {
                write!(f, "the enclave declined the request ({status}): {message}")
            }
            Self::Aborted(why) => write!(f, "the enclave broke the answer off: {why}"),
            Self::Bug(why) => write!(f, "a bug of ours: {why}"),
        }
    }
}

/// What to do where no TLS connection to the router was made.
const fn next_step_of(why: &TlsError) -> &'static str {
    match why {
        TlsError::Certificate(_) => {
            "check the address; where the operator has an authority of its own, give its certificate with --router-ca"
        }
        TlsError::NotPostQuantum | TlsError::NothingInCommon => {
            "ask the operator for TLS 1.3 with X25519MLKEM768: something that ends TLS in front of the router may lack it"
        }
        TlsError::NotTls => "check the port: a router without TLS is for its own machine alone",
        TlsError::Refused(_) | TlsError::NoCertificate => {
            "check the address: an enclave talks to its router alone"
        }
        TlsError::Timeout | TlsError::Displaced | TlsError::Io(_) => {
            "check that the router runs at this address, and try again"
        }
        TlsError::NotPinned { .. } | TlsError::Protocol(_) | TlsError::Scheme => "ask the operator",
    }
}

impl core::error::Error for Error {}

impl From<Malformed> for Error {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl From<verifier::Expired> for Error {
    fn from(why: verifier::Expired) -> Self {
        Self::Expired { not_after: why.not_after }
    }
}
