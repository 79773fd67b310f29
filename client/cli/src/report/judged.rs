//! What was judged: which devices it has, which rules are about them, and which of those had nothing to look at.

use attestation::gpu::is_chip;
use attestation::{Challenge, EvidenceKind, ReportData};
use serde_json::Value;
use verifier::{Code, Finding, Report, Severity};

use super::values;

/// A verdict, and what its checks were made with.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) report: &'a Report,
    pub(super) policy: &'a toml::Table,
    pub(super) kind: Option<EvidenceKind>,
    pub(super) has_log: bool,
    pub(super) challenge: Option<&'a Challenge>,
    pub(super) report_data: Option<&'a ReportData>,
}

/// What became of a rule that left no finding.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Standing {
    /// It was looked at, and refuses nothing.
    Passed,
    /// The same, of a part; why the rest was not looked at.
    Partly(String),
    /// The policy demands nothing.
    NotAsked,
    /// It was not looked at, and why.
    NotChecked(String),
}

impl Judged<'_> {
    /// Whether the evidence has a CPU's.
    pub(super) fn has_cpu(&self) -> bool {
        !self.report.platform.starts_with("nvidia")
    }

    fn is_tdx(&self) -> bool {
        self.has_cpu() && self.report.platform.ends_with("tdx")
    }

    fn is_snp(&self) -> bool {
        self.has_cpu() && !self.is_tdx()
    }

    fn is_azure(&self) -> bool {
        self.report.platform.starts_with("azure")
    }

    pub(super) fn is_bundle(&self) -> bool {
        self.kind == Some(EvidenceKind::Bundle)
    }

    /// Every device by its name: GPUs, then switches, in the order of the evidence.
    pub(super) fn devices(&self) -> Vec<&str> {
        let claimed = self.report.claims.keys().map(String::as_str);
        let found = self.report.findings.iter().map(|finding| &*finding.component);
        let mut names: Vec<_> =
            claimed.chain(found).filter_map(|name| Some((device(name)?, name))).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The claim at a path with dots.
    pub(super) fn claim(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = self.report.claims.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        (!value.is_null()).then_some(value)
    }

    fn says(&self, path: &str) -> bool {
        self.claim(path).is_some()
    }

    /// Findings by their code.
    pub(super) fn found(&self, code: &str) -> impl Iterator<Item = &Finding> {
        self.report.findings.iter().filter(move |finding| finding.code.as_str() == code)
    }

    fn has(&self, code: &str, component: &str) -> bool {
        self.found(code).any(|finding| finding.component == component)
    }

    /// What findings of a code say of a component, as one reason.
    fn reasons(&self, code: &str, component: &str) -> String {
        let of = self.found(code).filter(|finding| finding.component == component);
        of.map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Deadlines of a component whose names contain `what`.
    pub(super) fn ends<'s>(
        &'s self,
        component: &'s str,
        what: &'s str,
    ) -> impl Iterator<Item = &'s verifier::Deadline> {
        let all = self.report.horizon.deadlines().iter();
        all.filter(move |end| end.component == component && end.what.contains(what))
    }

    /// Whether what a component says is the vendor's hardware's word.
    pub(super) fn is_authentic(&self, component: &str) -> bool {
        if device(component).is_some() {
            self.says(component)
        } else {
            !self.has_cpu() || self.says("report_data")
        }
    }

    /// What a rule under a heading is about: components, or `bundle` for all of it together. Nothing, where it does not
    /// concern evidence of this kind.
    pub(super) fn subjects(&self, title: &str, code: Code) -> Vec<&str> {
        let name = code.as_str();
        let cpu = |concerns: bool| if concerns { vec!["cpu0"] } else { Vec::new() };
        let all = |concerns: bool| if concerns { vec![WHOLE] } else { Vec::new() };
        let devices = |kind: &str| {
            let mut names = self.devices();
            names.retain(|name| name.starts_with(kind));
            names
        };
        let everybody = || {
            let mut names = cpu(self.has_cpu());
            names.extend(devices(""));
            names
        };
        match (title, name) {
            ("Evidence and platform" | "Binding", _) => all(true),
            ("The chain" | "Revocation", "vek-missing" | "vek-revoked") => cpu(self.is_snp()),
            ("The chain", "intermediate-missing")
            | ("Revocation", _)
            | ("Launch", "measurement-not-allowed") => cpu(self.has_cpu()),
            ("The report and its signature", "signature-invalid") | ("The chain", _) => everybody(),
            (
                "The report and its signature"
                | "Signing key, chip, product"
                | "Firmware"
                | "Guest policy"
                | "Platform"
                | "Launch",
                _,
            ) => cpu(self.is_snp()),
            ("Event logs", "event-log-not-applicable") => Vec::new(),
            ("Event logs", _) => cpu(self.is_tdx()),
            ("Azure", "azure-td-report-mismatch" | "azure-td-quote-missing") => {
                cpu(self.is_azure() && self.is_tdx())
            }
            ("Azure", _) => cpu(self.is_azure()),
            ("NVIDIA: all devices together", "accelerators-missing") => {
                all(self.has_cpu() && self.policy.contains_key("nvidia-gpu"))
            }
            ("NVIDIA: all devices together", _) => all(!devices("").is_empty()),
            (title, _) if title.starts_with("TDX") => cpu(self.is_tdx()),
            (
                _,
                "device-fwid-missing"
                | "device-fwid-mismatch"
                | "device-driver-below-minimum"
                | "device-mode-not-allowed"
                | "device-mode-contradictory"
                | "device-devtools"
                | "device-reference-overlap",
            ) => devices("gpu"),
            (_, "device-identity-mismatch" | "switch-unlocked") => devices("switch"),
            (title, _) if title.starts_with("NVIDIA") => devices(""),
            _ => Vec::new(),
        }
    }

    /// What became of a rule that left no finding about `subject`.
    pub(super) fn standing(&self, title: &str, code: Code, subject: &str) -> Standing {
        let name = code.as_str();
        let cpu_counts = self.is_authentic("cpu0");
        let unread = match subject {
            "cpu0" if !cpu_counts => Some("the CPU's evidence is not authentic"),
            WHOLE if title == "Binding" && !cpu_counts => {
                Some("the CPU's evidence is not authentic")
            }
            WHOLE | "cpu0" => None,
            device if !self.is_authentic(device) => Some("the device's evidence is not authentic"),
            _ => None,
        };
        if let Some(why) = unread {
            return Standing::NotChecked(why.to_owned());
        }
        let standing = match title {
            "Revocation" => self.revocation(name),
            "Event logs" => self.event_log(name),
            "Azure" => self.azure(name),
            "Binding" => self.binding(name),
            title if title.starts_with("TDX") => self.tdx(name),
            title if title.starts_with("NVIDIA") => self.nvidia(name, subject),
            _ => self.snp(name),
        };
        let is_unasked = standing == Standing::Passed && values::is_unasked(self, code, subject);
        if is_unasked { Standing::NotAsked } else { standing }
    }

    fn snp(&self, name: &str) -> Standing {
        let version = self.claim("report_version").and_then(Value::as_u64);
        let is_vlek = self.claim("signing_key").is_some_and(|key| key == "vlek");
        match name {
            "product-mismatch" if version == Some(2) => {
                not_checked("a report of version 2 does not name its processor")
            }
            "mitigation-missing" | "mitigation-changed" if !self.says("launch_mitigations") => {
                not_checked("a report before version 5 shows no mitigations")
            }
            "chip-id-mismatch" | "chip-id-masked" if is_vlek => not_checked("a VLEK is of no chip"),
            "csp-not-allowed" if !is_vlek => {
                not_checked("the chip's own key signed, and no provider's")
            }
            "tcb-below-minimum" if self.found("tcb-minimum-not-set").next().is_some() => {
                not_checked("the policy sets no minimum for the product")
            }
            _ => Standing::Passed,
        }
    }

    /// Lists: one of AMD's, two of Intel's.
    fn revocation(&self, name: &str) -> Standing {
        let list = match name {
            "crl-missing" => return Standing::Passed,
            "pck-revoked" => "PCK revocation list",
            "intermediate-revoked" | "tcb-signer-revoked" if self.is_tdx() => {
                "root revocation list"
            }
            _ => "revocation list",
        };
        let good = self.ends("cpu0", list).count();
        let missing = self.reasons("crl-missing", "cpu0");
        if good == 0 {
            not_checked(if missing.is_empty() { "no revocation list is good" } else { &missing })
        } else if list == "revocation list" && !missing.is_empty() {
            Standing::Partly(missing)
        } else {
            Standing::Passed
        }
    }

    fn tdx(&self, name: &str) -> Standing {
        let no_level = ["tcb-level-missing", "tdx-module-unknown"]
            .into_iter()
            .find(|code| self.found(code).any(is_refused))
            .map(|code| self.reasons(code, "cpu0"));
        let is_of_level =
            matches!(name, "tcb-status-not-allowed" | "tcb-revoked" | "advisory-not-allowed");
        match name {
            "pck-revoked" | "tcb-signer-revoked" => self.revocation(name),
            "tcb-info-signature-invalid"
            | "tcb-info-not-yet-valid"
            | "tcb-info-expired"
            | "pce-id-mismatch"
            | "tcb-level-missing"
            | "tcb-status-not-allowed"
            | "tcb-revoked"
            | "advisory-not-allowed"
            | "tdx-module-mismatch"
            | "tdx-module-unknown"
                if !self.says("tcb_evaluation") =>
            {
                not_checked(NO_TCB_INFO)
            }
            "tcb-evaluation-below-minimum" if !self.says("tcb_evaluation") => {
                Standing::Partly(NO_TCB_INFO.to_owned())
            }
            _ if is_of_level && no_level.is_some() => {
                Standing::NotChecked(no_level.unwrap_or_default())
            }
            "tcb-status-not-allowed" if self.has("tcb-revoked", "cpu0") => {
                Standing::NotChecked(self.reasons("tcb-revoked", "cpu0"))
            }
            "tdx-module-mismatch" if self.has("tdx-module-unknown", "cpu0") => {
                Standing::NotChecked(self.reasons("tdx-module-unknown", "cpu0"))
            }
            "td-vm-not-primary" if !self.says("vm_id") => {
                not_checked("a report of this form does not say who asked for it")
            }
            _ => Standing::Passed,
        }
    }

    fn event_log(&self, name: &str) -> Standing {
        let left: Vec<&str> = self.not_evaluated("events of ");
        match name {
            "event-log-missing" => Standing::Passed,
            _ if !self.has_log => not_checked("no event log was given"),
            "event-log-malformed" => Standing::Passed,
            _ if self.has("event-log-malformed", "cpu0") => {
                not_checked("the event log does not parse")
            }
            "event-secure-boot"
                if self.found("event-log-mismatch").any(|it| it.message.contains("rtmr0")) =>
            {
                not_checked("events of rtmr0 do not replay")
            }
            "event-not-allowed" | "event-missing" if !left.is_empty() => {
                Standing::Partly(left.join("; "))
            }
            _ => Standing::Passed,
        }
    }

    /// What findings say of checks that were not made, of those whose names start so.
    fn not_evaluated(&self, start: &str) -> Vec<&str> {
        let left = self.found(NOT_EVALUATED).map(|finding| finding.message.as_str());
        left.filter(|message| message.starts_with(start)).collect()
    }

    fn azure(&self, name: &str) -> Standing {
        let is_machines = [
            "azure-secure-boot",
            "azure-tpm",
            "azure-tpm-persisted",
            "azure-console",
            "azure-vm-not-allowed",
        ];
        let needs_quote = name.starts_with("tpm-") && name != "tpm-quote-missing";
        if self.has_no_section("azure") {
            return not_checked(NO_AZURE);
        }
        if !self.says("azure") && (is_machines.contains(&name) || name.starts_with("tpm-")) {
            not_checked(NOT_VOUCHED)
        } else if self.says("azure") && needs_quote && !self.says("azure.tpm_quote") {
            not_checked("there is no quote of the virtual TPM")
        } else if name == "tpm-pcr-not-quoted" || name == "tpm-pcr-not-allowed" {
            let pinned = self.found("tpm-pcrs-not-pinned").next().is_none();
            if pinned { Standing::Passed } else { Standing::NotAsked }
        } else {
            Standing::Passed
        }
    }

    fn nvidia(&self, name: &str, subject: &str) -> Standing {
        let of_references = [
            "device-reference-expired",
            "device-reference-overlap",
            "device-measurement-mismatch",
            "device-measurement-unlisted",
            "device-devtools",
        ];
        let is_of_answers = name.starts_with("ocsp-") && name != "ocsp-missing"
            || matches!(name, "device-revoked" | "device-on-hold" | "device-status-unknown");
        match name {
            "device-nonce-mismatch" if !self.is_bundle() && self.challenge.is_none() => {
                not_checked("no challenge was given")
            }
            "device-envelope-mismatch" | "device-architecture-mismatch"
                if matches!(self.kind, Some(EvidenceKind::NvidiaReport(_))) =>
            {
                not_checked("nothing stands beside a report alone")
            }
            "device-fwid-mismatch" if self.has("device-fwid-missing", subject) => {
                Standing::NotChecked(self.reasons("device-fwid-missing", subject))
            }
            "device-topology" => self.topology(),
            "device-repeated" if self.devices().iter().any(|name| !self.is_authentic(name)) => {
                Standing::Partly("a device's evidence is not authentic".to_owned())
            }
            // Whoever fetches an answer compares it; of one from a file nobody knows what was asked.
            "ocsp-nonce-mismatch" => {
                not_checked("with which nonce the answers were asked for is not known here")
            }
            _ if is_of_answers => {
                let missing = self.reasons("ocsp-missing", subject);
                if missing.is_empty() {
                    Standing::Passed
                } else if self.ends(subject, "OCSP").next().is_none() {
                    Standing::NotChecked(missing)
                } else {
                    Standing::Partly(missing)
                }
            }
            "device-measurement-missing" if self.has("device-reference-missing", subject) => {
                Standing::Partly(self.reasons("device-reference-missing", subject))
            }
            _ if of_references.contains(&name) && self.has("device-reference-missing", subject) => {
                let missing = self.reasons("device-reference-missing", subject);
                let kinds = if subject.starts_with("switch") { 1 } else { 2 };
                let none: Vec<_> = self
                    .found("device-reference-missing")
                    .filter(|finding| finding.component == subject)
                    .collect();
                // Where the policy compares nothing there is one warning.
                let is_all = none.iter().any(|finding| !is_refused(finding)) || none.len() >= kinds;
                // What no value is about is told whatever values there are.
                if is_all || name == "device-reference-overlap" {
                    Standing::NotChecked(missing)
                } else {
                    Standing::Partly(missing)
                }
            }
            _ => Standing::Passed,
        }
    }

    /// Whether the policy has a least VBIOS for a device's chip.
    pub(super) fn has_min_vbios(&self, device: &str) -> bool {
        let section = if device.starts_with("switch") { "nvidia-switch" } else { "nvidia-gpu" };
        let all = self.policy.get(section).and_then(|section| section.get("min_vbios"));
        let chip = self.claim(&format!("{device}.chip")).and_then(Value::as_str);
        let chips = all.and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        chip.is_some_and(|chip| chips.into_iter().any(|known| is_chip(known, chip)))
    }

    /// Whether the policy says nothing of a platform, so that it was not looked at.
    fn has_no_section(&self, section: &str) -> bool {
        !self.policy.contains_key(section)
    }

    fn topology(&self) -> Standing {
        if let Some(left) = self.not_evaluated("topology").first() {
            return not_checked(left.split_once("because ").map_or(*left, |(_, why)| why));
        }
        let is_protected = |name: &&str| {
            name.starts_with("switch")
                || self
                    .claim(&format!("{name}.confidential_compute"))
                    .is_some_and(|mode| mode == "protected-pcie")
        };
        if self.devices().iter().any(is_protected) {
            Standing::Passed
        } else {
            not_checked("there is no switch, and no GPU in protected PCIe mode")
        }
    }

    fn binding(&self, name: &str) -> Standing {
        let is_stated = self.report_data.is_some();
        let is_bundle = self.is_bundle();
        let of_guest = [
            "report-data-mismatch",
            "binding-not-checked",
            "challenge-not-answered",
            "not-challenged",
        ];
        if self.is_azure() && !self.says("azure") && of_guest.contains(&name) {
            let has_section = !self.has_no_section("azure");
            return not_checked(if has_section { NOT_VOUCHED } else { NO_AZURE });
        }
        match name {
            "report-data-mismatch" if !self.has_cpu() && !is_stated => {
                not_checked("devices sign a nonce, and no 64 bytes")
            }
            "report-data-mismatch" if !is_bundle && !is_stated => not_checked(
                "the evidence carries no statement, and no 64 bytes were stated (--report-data)",
            ),
            "member-mismatch"
            | "statement-not-yet-valid"
            | "statement-expired"
            | "evidence-too-old"
                if !is_bundle =>
            {
                not_checked("the evidence carries no statement")
            }
            "challenge-not-answered" if self.challenge.is_none() => {
                not_checked("no challenge was given")
            }
            "challenge-not-answered" if !self.has_cpu() => {
                not_checked("each device's nonce is compared with it instead")
            }
            "evidence-too-old" if self.challenge.is_some() => not_checked(
                "the evidence is to answer a challenge, so that its age does not matter",
            ),
            "evidence-too-old" if self.found("not-challenged").any(is_refused) => {
                not_checked("the policy wants a challenge instead")
            }
            "model-not-allowed" | "config-not-allowed" if !self.says("binding") => {
                not_checked("the evidence vouches for none")
            }
            _ => Standing::Passed,
        }
    }
}

fn is_refused(finding: &Finding) -> bool {
    finding.severity == Severity::Reject
}

/// A device's place by its name: GPUs before switches.
fn device(name: &str) -> Option<(bool, u32)> {
    let (is_switch, number) = match name.strip_prefix("gpu") {
        Some(number) => (false, number),
        None => (true, name.strip_prefix("switch")?),
    };
    Some((is_switch, number.parse().ok()?))
}

fn not_checked(why: &str) -> Standing {
    Standing::NotChecked(why.to_owned())
}

/// All of the evidence together.
pub(super) const WHOLE: &str = "bundle";

pub(super) const NOT_EVALUATED: &str = "not-evaluated";

const NOT_VOUCHED: &str = "the hardware does not vouch for the paravisor's word";

const NO_AZURE: &str = "the policy has no section for azure";

const NO_TCB_INFO: &str = "there is no TCB Info of the platform's family";
