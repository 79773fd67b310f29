//! The trustworthiness vector (draft-ietf-rats-ar4si §2.3), from findings.
//!
//! It says no more than was found. A category is affirmed only where evidence is authentic, the
//! checks behind it were made, and none of them left a remark; a remark withdraws it (the category
//! is then absent: no claim), and so does what could not be found out; a refusal contradicts it. What is not authentic affirms nothing. Roots
//! of the policy's own affirm neither hardware nor instance: that the hardware is a vendor's is then
//! nobody's word but the policy author's.

use serde::{Serialize, Serializer};

use super::{WORKLOAD, is_reject, not_evaluated, untrusted};
use crate::finding::{Family, Finding, Severity};
use crate::result::{Report, Verdict};

/// AR4SI's tiers. The order is the precedence: the greater one wins where several devices make one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Tier {
    /// Every check of the policy passed, without a remark.
    Affirming,
    /// Accepted, with a remark.
    Warning,
    /// No statement: it could not be found out, or could not be read.
    None,
    /// Refused.
    Contraindicated,
}

impl Tier {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::None => "none",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// The tier of one value (draft-ietf-rats-ar4si §3.2).
    const fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            96..=i8::MAX | i8::MIN..=-97 => Self::Contraindicated,
        }
    }
}

/// What AR4SI has a category for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Category {
    InstanceIdentity,
    Configuration,
    Executables,
    FileSystem,
    Hardware,
    RuntimeOpaque,
}

impl Category {
    const ALL: [Self; 6] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::FileSystem => "file-system",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
        }
    }
}

/// The categories that a verdict speaks of, and what their tiers and the findings come to.
#[derive(Debug)]
pub(super) struct Vector {
    values: Vec<(Category, i8)>,
    pub(super) tier: Tier,
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(self.values.iter().map(|(category, value)| (category.as_str(), value)))
    }
}

/// The vector of one device.
pub(super) fn derive(
    name: &str,
    report: &Report,
    findings: &[&Finding],
    has_claims: bool,
) -> Vector {
    let made = has_claims && !findings.iter().any(|finding| not_evaluated(finding));
    let mut values = Vec::new();
    for category in Category::ALL {
        let about: Vec<&Finding> =
            findings.iter().copied().filter(|finding| concern(finding) == Some(category)).collect();
        let refused = about.iter().filter(|finding| is_reject(finding));
        let refused = refused.filter_map(|finding| contradicts(finding, category)).max();
        // What could not be found out contradicts nothing, and leaves nothing to affirm.
        let withdrawn = about.iter().any(|finding| finding.severity != Severity::Info);
        let value = match refused {
            Some(value) => Some(value),
            None if withdrawn => weakened(&about),
            None if made => affirmed(name, report, category),
            None => None,
        };
        values.extend(value.map(|value| (category, value)));
    }
    if values.is_empty() {
        // The vector is never empty (draft-ietf-rats-ear-04 §3.1). 1: there was what could not be
        // read; 0: no claim is made.
        let unread = report.verdict == Verdict::Malformed;
        values.push((Category::Hardware, i8::from(unread)));
    }
    let tier = tier(report, findings, &values);
    Vector { values, tier }
}

/// The tier: that of the findings, and no better than the vector's worst.
fn tier(report: &Report, findings: &[&Finding], values: &[(Category, i8)]) -> Tier {
    let of_findings = findings.iter().map(|finding| match finding.severity {
        Severity::Reject => match finding.code.family() {
            Family::Rejected => Tier::Contraindicated,
            Family::Unavailable | Family::Malformed => Tier::None,
        },
        Severity::Warn => Tier::Warning,
        // What was not evaluated is not vouched for.
        Severity::Info if not_evaluated(finding) => Tier::None,
        Severity::Info => Tier::Affirming,
    });
    let of_values = values.iter().map(|(_, value)| Tier::of(*value));
    let of_anchors = if untrusted(report) { Tier::Warning } else { Tier::Affirming };
    of_findings.chain(of_values).fold(of_anchors, Ord::max)
}

/// What is affirmed of a device about which nothing was found.
fn affirmed(name: &str, report: &Report, category: Category) -> Option<i8> {
    let is_cpu = name.starts_with("cpu");
    let vendors_word = !untrusted(report);
    let affirms = match category {
        Category::InstanceIdentity if name == WORKLOAD => true,
        Category::InstanceIdentity | Category::Hardware => vendors_word && name != WORKLOAD,
        Category::Configuration => true,
        // A launch measurement covers what was booted, and says nothing of what ran since.
        Category::Executables => return (name != WORKLOAD).then_some(APPROVED_BOOT),
        // The model: its manifest is one that the policy names.
        Category::FileSystem => name == WORKLOAD,
        // Memory that the host cannot read. A GPU isolates its memory and does not encrypt it.
        Category::RuntimeOpaque => is_cpu && vendors_word,
    };
    affirms.then_some(AFFIRMED)
}

/// What a refusal says of its category.
fn contradicts(finding: &Finding, category: Category) -> Option<i8> {
    match finding.code.family() {
        // Nothing was found out, so nothing is contradicted.
        Family::Unavailable | Family::Malformed => None,
        Family::Rejected if is_cryptographic(finding) => Some(CRYPTO_FAILED),
        Family::Rejected => Some(match category {
            Category::InstanceIdentity if finding.code.as_str().ends_with("-revoked") => {
                CONTRAINDICATED
            }
            Category::InstanceIdentity => UNRECOGNIZED,
            Category::Hardware
                if matches!(
                    finding.code.as_str(),
                    "root-not-trusted"
                        | "product-mismatch"
                        | "product-not-allowed"
                        | "platform-not-supported"
                        | "platform-not-allowed"
                        | "report-version-unsupported"
                ) =>
            {
                UNRECOGNIZED
            }
            Category::Hardware
            | Category::Configuration
            | Category::Executables
            | Category::FileSystem
            | Category::RuntimeOpaque => CONTRAINDICATED,
        }),
    }
}

/// What a remark leaves of its category: for known weaknesses a warning, else no claim.
fn weakened(about: &[&Finding]) -> Option<i8> {
    let known_weak = about.iter().any(|finding| {
        let code = finding.code.as_str();
        finding.severity == Severity::Warn
            && ["tcb-", "advisory-", "mitigation-"].iter().any(|weak| code.starts_with(weak))
    });
    known_weak.then_some(UNSAFE)
}

/// Whether a signature, a chain or a digest did not hold.
fn is_cryptographic(finding: &Finding) -> bool {
    let code = finding.code.as_str();
    code.contains("signature") || code.starts_with("certificate-") || code.starts_with("crl-")
}

/// Which category a finding is about; none for what is about all of them.
fn concern(finding: &Finding) -> Option<Category> {
    let named = CONCERNS.iter().find(|(pattern, _)| fits(pattern, finding.code.as_str()));
    named.map_or(Some(Category::Hardware), |(_, category)| *category)
}

/// A `*` at the end stands for anything, one at the start too.
fn fits(pattern: &str, code: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(start), _) => code.starts_with(start),
        (None, Some(end)) => code.ends_with(end),
        (None, None) => code == pattern,
    }
}

/// Which category each code is about; the first that fits counts, and a test sees that one does.
const CONCERNS: &[(&str, Option<Category>)] = &[
    ("evidence-malformed", None),
    ("endorsements-malformed", None),
    ("event-log-malformed", None),
    ("untrusted-anchors", None),
    ("not-evaluated", None),
    ("event-log-*", Some(Category::Executables)),
    ("event-missing", Some(Category::Executables)),
    // Whose it is, and whether it is it that answers, here and now.
    ("*-revoked", Some(Category::InstanceIdentity)),
    ("crl-*", Some(Category::InstanceIdentity)),
    ("tcb-level-missing", Some(Category::Hardware)),
    ("device-measurement-*", Some(Category::Executables)),
    ("device-reference-*", Some(Category::Executables)),
    ("device-fwid-*", Some(Category::Executables)),
    ("*-missing", Some(Category::InstanceIdentity)),
    ("platform-instance-*", Some(Category::InstanceIdentity)),
    ("signing-key-*", Some(Category::InstanceIdentity)),
    ("csp-*", Some(Category::InstanceIdentity)),
    ("chip-*", Some(Category::InstanceIdentity)),
    ("report-data-mismatch", Some(Category::InstanceIdentity)),
    ("member-mismatch", Some(Category::InstanceIdentity)),
    ("binding-not-checked", Some(Category::InstanceIdentity)),
    ("challenge-not-answered", Some(Category::InstanceIdentity)),
    ("not-challenged", Some(Category::InstanceIdentity)),
    ("statement-*", Some(Category::InstanceIdentity)),
    ("evidence-too-old", Some(Category::InstanceIdentity)),
    ("azure-runtime-data-mismatch", Some(Category::InstanceIdentity)),
    ("azure-td-report-mismatch", Some(Category::InstanceIdentity)),
    ("azure-vm-*", Some(Category::InstanceIdentity)),
    ("tpm-quote-*", Some(Category::InstanceIdentity)),
    ("ocsp-*", Some(Category::InstanceIdentity)),
    ("device-nonce-mismatch", Some(Category::InstanceIdentity)),
    ("device-identity-mismatch", Some(Category::InstanceIdentity)),
    ("device-envelope-mismatch", Some(Category::InstanceIdentity)),
    ("device-on-hold", Some(Category::InstanceIdentity)),
    ("device-status-unknown", Some(Category::InstanceIdentity)),
    ("device-not-allowed", Some(Category::InstanceIdentity)),
    ("device-repeated", Some(Category::InstanceIdentity)),
    // What it is, and how good.
    ("device-chain-*", Some(Category::Hardware)),
    ("device-architecture-*", Some(Category::Hardware)),
    ("device-driver-*", Some(Category::Hardware)),
    ("device-vbios-*", Some(Category::Hardware)),
    ("report-version-unsupported", Some(Category::Hardware)),
    ("signature-*", Some(Category::Hardware)),
    ("certificate-*", Some(Category::Hardware)),
    ("root-not-trusted", Some(Category::Hardware)),
    ("product-*", Some(Category::Hardware)),
    ("reported-tcb-mismatch", Some(Category::Hardware)),
    ("tcb-*", Some(Category::Hardware)),
    ("firmware-*", Some(Category::Hardware)),
    ("mitigation-*", Some(Category::Hardware)),
    ("platform-*", Some(Category::Hardware)),
    ("pck-*", Some(Category::Hardware)),
    ("pce-id-*", Some(Category::Hardware)),
    ("qe-*", Some(Category::Hardware)),
    ("attestation-key-*", Some(Category::Hardware)),
    ("quote-*", Some(Category::Hardware)),
    ("sgx-type-*", Some(Category::Hardware)),
    ("advisory-*", Some(Category::Hardware)),
    ("tdx-module-*", Some(Category::Hardware)),
    // Whether the host can look inside.
    ("guest-policy-debug", Some(Category::RuntimeOpaque)),
    ("td-debug", Some(Category::RuntimeOpaque)),
    ("td-profiling", Some(Category::RuntimeOpaque)),
    ("device-debug", Some(Category::RuntimeOpaque)),
    ("device-devtools", Some(Category::RuntimeOpaque)),
    // How it was started.
    ("guest-policy-*", Some(Category::Configuration)),
    ("migration-agent", Some(Category::Configuration)),
    ("vmpl-*", Some(Category::Configuration)),
    ("host-data-*", Some(Category::Configuration)),
    ("device-mode-*", Some(Category::Configuration)),
    ("device-topology", Some(Category::Configuration)),
    ("device-count", Some(Category::Configuration)),
    ("switch-unlocked", Some(Category::Configuration)),
    ("config-*", Some(Category::Configuration)),
    ("td-*", Some(Category::Configuration)),
    ("xfam-*", Some(Category::Configuration)),
    ("service-td-*", Some(Category::Configuration)),
    ("mr-config-id-*", Some(Category::Configuration)),
    ("mr-owner-*", Some(Category::Configuration)),
    ("azure-*", Some(Category::Configuration)),
    ("event-secure-boot", Some(Category::Configuration)),
    // What was started.
    ("measurement-*", Some(Category::Executables)),
    ("event-*", Some(Category::Executables)),
    ("tpm-pcr*", Some(Category::Executables)),
    ("family-id-*", Some(Category::Executables)),
    ("image-id-*", Some(Category::Executables)),
    ("guest-svn-*", Some(Category::Executables)),
    ("id-key-*", Some(Category::Executables)),
    ("author-key-*", Some(Category::Executables)),
    ("model-*", Some(Category::FileSystem)),
];

/// Affirming: recognised and approved.
const AFFIRMED: i8 = 2;
/// Affirming: executables approved at boot.
const APPROVED_BOOT: i8 = 3;
/// Warning: recognised, with known weaknesses.
const UNSAFE: i8 = 32;
/// Contraindicated.
const CONTRAINDICATED: i8 = 96;
/// Contraindicated: not recognised.
const UNRECOGNIZED: i8 = 97;
/// Contraindicated: cryptographic validation failed.
const CRYPTO_FAILED: i8 = 99;

#[cfg(test)]
mod tests {
    use attestation::{Sha256, UnixTime};

    use super::*;
    use crate::finding::Code;
    use crate::result::{AnchorKind, Horizon, PolicyId};

    /// The vector and the tier of a device with these findings.
    fn vector(name: &str, anchors: AnchorKind, findings: &[Finding]) -> (String, Tier) {
        let malformed = findings.iter().any(|it| it.code == Code::EvidenceMalformed);
        let report = Report {
            verdict: if malformed { Verdict::Malformed } else { Verdict::Rejected },
            platform: "sev-snp",
            findings: Vec::new(),
            claims: crate::claims::ClaimsSet::default(),
            appraised_at: UnixTime::from_secs(0),
            not_after: None,
            policy: PolicyId { name: "p".to_owned(), digest: Sha256::of(b""), version: 1 },
            anchors,
            horizon: Horizon::default(),
        };
        let findings: Vec<_> = findings.iter().collect();
        let Vector { values, tier } = derive(name, &report, &findings, true);
        let words = values.iter().map(|(category, value)| format!("{} {value}", category.as_str()));
        (words.collect::<Vec<_>>().join(", "), tier)
    }

    #[test]
    fn what_is_affirmed_depends_on_whose_word_it_is() {
        use AnchorKind::{Production, Untrusted};
        const CPU: &str =
            "instance-identity 2, configuration 2, executables 3, hardware 2, runtime-opaque 2";
        const GPU: &str = "instance-identity 2, configuration 2, executables 3, hardware 2";
        const SOFTWARE: &str = "configuration 2, executables 3";
        const BOUND: &str = "instance-identity 2, configuration 2, file-system 2";
        for (name, anchors, expected, tier) in [
            ("cpu0", Production, CPU, Tier::Affirming),
            ("gpu0", Production, GPU, Tier::Affirming),
            (WORKLOAD, Production, BOUND, Tier::Affirming),
            ("cpu0", Untrusted, SOFTWARE, Tier::Warning),
            ("gpu0", Untrusted, SOFTWARE, Tier::Warning),
            (WORKLOAD, Untrusted, BOUND, Tier::Warning),
        ] {
            assert_eq!(vector(name, anchors, &[]), (expected.to_owned(), tier), "{name}");
        }
    }

    #[test]
    fn a_finding_withdraws_or_contradicts_its_own_category() {
        let reject = |code| Finding::reject(code, "");
        let warn = |code| Finding::warn(code, "");
        let info = |code| Finding::info(code, "");
        // What stays affirmed of a CPU where a category is left out.
        let rest = |left_out: &str, value: Option<i8>| {
            let all = [
                ("instance-identity", 2),
                ("configuration", 2),
                ("executables", 3),
                ("hardware", 2),
                ("runtime-opaque", 2),
            ];
            let words = all.into_iter().filter_map(|(name, affirmed)| {
                let value = if name == left_out { value? } else { affirmed };
                Some(format!("{name} {value}"))
            });
            words.collect::<Vec<_>>().join(", ")
        };
        let no = Tier::Contraindicated;
        for (finding, expected, tier) in [
            (reject(Code::VekRevoked), rest("instance-identity", Some(96)), no),
            (reject(Code::ChipNotAllowed), rest("instance-identity", Some(97)), no),
            (reject(Code::CrlExpired), rest("instance-identity", Some(99)), no),
            (reject(Code::CertificateExpired), rest("hardware", Some(99)), no),
            (reject(Code::SignatureInvalid), rest("hardware", Some(99)), no),
            (reject(Code::RootNotTrusted), rest("hardware", Some(97)), no),
            (reject(Code::ProductNotAllowed), rest("hardware", Some(97)), no),
            (reject(Code::PlatformNotAllowed), rest("hardware", Some(97)), no),
            (reject(Code::TcbStatusNotAllowed), rest("hardware", Some(96)), no),
            (reject(Code::GuestPolicyDebug), rest("runtime-opaque", Some(96)), no),
            (reject(Code::VmplNotAllowed), rest("configuration", Some(96)), no),
            (reject(Code::MeasurementNotAllowed), rest("executables", Some(96)), no),
            // Nothing was found out, and nothing is contradicted.
            (reject(Code::CrlMissing), rest("instance-identity", None), Tier::None),
            // A weakness that is known is a warning, any other remark no claim.
            (warn(Code::TcbStatusNotAllowed), rest("hardware", Some(32)), Tier::Warning),
            (warn(Code::AdvisoryNotAllowed), rest("hardware", Some(32)), Tier::Warning),
            (warn(Code::MeasurementNotAllowed), rest("executables", None), Tier::Warning),
            (info(Code::TcbStatusNotAllowed), rest("", None), Tier::Affirming),
            // What was not looked at is not affirmed.
            (info(Code::NotEvaluated), "hardware 0".to_owned(), Tier::None),
        ] {
            let found = vector("cpu0", AnchorKind::Production, core::slice::from_ref(&finding));
            assert_eq!(found, (expected, tier), "{finding:?}");
        }
        let unread = [reject(Code::EvidenceMalformed), info(Code::NotEvaluated)];
        let found = vector("cpu0", AnchorKind::Production, &unread);
        assert_eq!(found, ("hardware 1".to_owned(), Tier::None));
        // A refusal outweighs a remark, and of two the graver counts.
        let both = [
            warn(Code::TcbStatusNotAllowed),
            reject(Code::RootNotTrusted),
            reject(Code::TcbLevelMissing),
        ];
        let found = vector("cpu0", AnchorKind::Production, &both);
        assert_eq!(found, (rest("hardware", Some(97)), no));
        // What was not looked at is no statement, whatever else was found.
        let unseen = [warn(Code::TcbStatusNotAllowed), info(Code::NotEvaluated)];
        let found = vector("cpu0", AnchorKind::Production, &unseen);
        assert_eq!(found, ("hardware 32".to_owned(), Tier::None));
        let two = [warn(Code::TcbStatusNotAllowed), warn(Code::FirmwareProvisional)];
        let found = vector("cpu0", AnchorKind::Production, &two);
        assert_eq!(found, (rest("hardware", Some(32)), Tier::Warning));
        // A weakness that is for the record does not make a claim of another remark.
        let mixed = [info(Code::TcbStatusNotAllowed), warn(Code::FirmwareProvisional)];
        let found = vector("cpu0", AnchorKind::Production, &mixed);
        assert_eq!(found, (rest("hardware", None), Tier::Warning));
    }

    #[test]
    fn every_code_has_a_category() {
        for code in Code::ALL {
            assert!(
                CONCERNS.iter().any(|(pattern, _)| fits(pattern, code.as_str())),
                "{code}: which category of AR4SI is it about? Say so in CONCERNS"
            );
        }
    }

    #[test]
    fn every_concern_is_that_of_a_code() {
        for (pattern, _) in CONCERNS {
            let mut codes = Code::ALL.iter();
            assert!(codes.any(|code| fits(pattern, code.as_str())), "{pattern} fits no code");
        }
    }

    #[test]
    fn tiers_are_those_of_ar4si() {
        for (value, tier) in [
            (i8::MIN, Tier::Contraindicated),
            (-97, Tier::Contraindicated),
            (-96, Tier::Warning),
            (-33, Tier::Warning),
            (-32, Tier::Affirming),
            (-2, Tier::Affirming),
            (-1, Tier::None),
            (0, Tier::None),
            (1, Tier::None),
            (2, Tier::Affirming),
            (31, Tier::Affirming),
            (32, Tier::Warning),
            (95, Tier::Warning),
            (96, Tier::Contraindicated),
            (i8::MAX, Tier::Contraindicated),
        ] {
            assert_eq!(Tier::of(value), tier, "{value}");
        }
    }
}
