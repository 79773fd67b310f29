//! What a code that several platforms share means for one of them: which rule, and what to do.

use super::{Code, Finding};

/// Whose hardware a finding is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vendor {
    Amd,
    Intel,
    Nvidia,
}

impl Vendor {
    /// By the evidence's platform and the component that a finding names.
    fn of(platform: &str, component: &str) -> Self {
        let is_device = component.starts_with("gpu") || component.starts_with("switch");
        if is_device || platform.starts_with("nvidia") {
            Self::Nvidia
        } else if platform.ends_with("tdx") {
            Self::Intel
        } else {
            Self::Amd
        }
    }
}

impl Code {
    /// Where the rule stands, for evidence of `platform` and, in it, `component`.
    pub fn reference_for(self, platform: &str, component: &str) -> &'static str {
        self.text(Vendor::of(platform, component), component).0
    }

    /// Rule and remedy.
    const fn text(self, vendor: Vendor, component: &str) -> (&'static str, &'static str) {
        use Vendor::{Amd, Intel, Nvidia};
        match (self, vendor) {
            (Self::SignatureInvalid, Amd) => (
                "AMD 56860 §7.3",
                "give the certificate of the chip and TCB that signed, or refuse the enclave",
            ),
            (Self::SignatureInvalid, Intel) => (
                "Intel DCAP Quoting Library API, appendix A.4",
                "fetch the evidence again; refuse the enclave if it persists: somebody changed its quote",
            ),
            (Self::SignatureInvalid, Nvidia) => (
                "DMTF DSP0274 §10.11",
                "fetch the evidence again; refuse the enclave if it persists: somebody changed the device's report",
            ),
            (Self::IntermediateMissing, Amd) => {
                ("AMD 57230 §3", "give the product's ASK or ASVK certificate with --endorsements")
            }
            (Self::IntermediateMissing, Intel | Nvidia) => (
                "Intel PCS API v4, Get PCK Certificate",
                "give the certificate of the PCK's authority with --endorsements",
            ),
            (Self::RootNotTrusted, Amd) => ("AMD 57230 §3.1", self.remedy()),
            (Self::RootNotTrusted | Self::CertificateProfile, Intel | Nvidia) => {
                ("RFC 5280 §6.1", self.remedy())
            }
            (Self::CertificateAlgorithm, Amd) => {
                ("AMD 57230 §3.2", "refuse the enclave: AMD signs with nothing else")
            }
            (Self::CertificateAlgorithm, Intel) => {
                ("RFC 5758 §3.2", "refuse the enclave: Intel signs with nothing else")
            }
            (Self::CertificateAlgorithm, Nvidia) => {
                ("RFC 5758 §3.2", "refuse the enclave: NVIDIA signs with nothing else")
            }
            (Self::CertificateExpired, Nvidia) => (
                self.reference(),
                "check the clock, or the moment given with --at: NVIDIA's chains end in the year 9999",
            ),
            (Self::CertificateProfile, Amd) => ("AMD 57230 §3.2", self.remedy()),
            (Self::CertificateExtensionMissing | Self::CertificateExtensionMalformed, Amd) => {
                ("AMD 57230 §3.2 tables 8 to 11", self.remedy())
            }
            (Self::CertificateExtensionMissing | Self::CertificateExtensionMalformed, Intel) => {
                ("Intel SGX PCK certificate specification", self.remedy())
            }
            (Self::CertificateExtensionMissing | Self::CertificateExtensionMalformed, Nvidia) => {
                ("TCG DICE Attestation Architecture §6.1", self.remedy())
            }
            (Self::CrlMissing, Amd) => {
                (self.reference(), "give the product's revocation list with --endorsements")
            }
            (Self::CrlMissing, Intel | Nvidia) => (
                self.reference(),
                "give the lists of Intel's root and of the PCK's authority with --endorsements",
            ),
            (Self::MeasurementNotAllowed, Amd) => ("docs/policy.md measurements", self.remedy()),
            (Self::MeasurementNotAllowed, Intel | Nvidia) => (
                "docs/policy.md mr_td, rtmr0, rtmr1, rtmr2, rtmr3",
                "compare with the release's published measurements, and for RTMRs with the machine's event log; refuse the enclave if they differ",
            ),
            (Self::DeviceReferenceMissing, _) if is_switch(component) => (
                self.reference(),
                "import NVIDIA's reference values of that version of the switch's BIOS if you accept it",
            ),
            (Self::DeviceMeasurementMismatch, _) if is_switch(component) => (
                self.reference(),
                "have the operator update the switch to firmware that the policy knows; refuse the enclave if it persists",
            ),
            _ => (self.reference(), self.remedy()),
        }
    }
}

/// Whether a component is a switch, as findings name them.
const fn is_switch(component: &str) -> bool {
    matches!(component.as_bytes(), [b's', b'w', b'i', b't', b'c', b'h', ..])
}

impl Finding {
    /// The same finding, in the words of the platform that it is of.
    #[must_use]
    pub(crate) fn of_platform(self, platform: &str) -> Self {
        let vendor = Vendor::of(platform, &self.component);
        let (reference, remedy) = self.code.text(vendor, &self.component);
        Self { reference, remedy, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of one vendor, that say nothing of another's hardware.
    const WORDS: [(Vendor, &[&str]); 3] = [
        (Vendor::Amd, &["AMD", "VCEK", "VLEK", "ASK", "57230", "56860", "chip and TCB"]),
        (Vendor::Intel, &["Intel", "PCK", "DCAP", "RTMR", "rtmr", "mr_td", "quote"]),
        (Vendor::Nvidia, &["NVIDIA", "GPU", "DSP0274", "DICE", "device"]),
    ];

    /// Codes that evidence of more than one vendor can leave.
    const SHARED: [Code; 22] = [
        Code::SignatureInvalid,
        Code::IntermediateMissing,
        Code::RootNotTrusted,
        Code::CertificateSignatureInvalid,
        Code::CertificateAlgorithm,
        Code::CertificateNotYetValid,
        Code::CertificateExpired,
        Code::CertificateProfile,
        Code::CertificateExtensionMissing,
        Code::CertificateExtensionMalformed,
        Code::CrlMissing,
        Code::CrlSignatureInvalid,
        Code::CrlNotYetValid,
        Code::CrlExpired,
        Code::CrlProfile,
        Code::IntermediateRevoked,
        Code::MeasurementNotAllowed,
        Code::ReportDataMismatch,
        Code::BindingNotChecked,
        Code::ChallengeNotAnswered,
        Code::NotChallenged,
        Code::EvidenceMalformed,
    ];

    /// A platform of each vendor, and how its findings call what they are about.
    const PLATFORMS: [(&str, &str, Vendor); 7] = [
        ("sev-snp", "cpu0", Vendor::Amd),
        ("azure-sev-snp", "cpu0", Vendor::Amd),
        ("tdx", "cpu0", Vendor::Intel),
        ("azure-tdx", "cpu0", Vendor::Intel),
        ("nvidia-gpu", "gpu0", Vendor::Nvidia),
        ("nvidia-switch", "switch1", Vendor::Nvidia),
        ("tdx", "gpu7", Vendor::Nvidia),
    ];

    #[test]
    fn a_finding_speaks_of_its_own_platform_alone() {
        for (platform, component, vendor) in PLATFORMS {
            for code in SHARED {
                // Devices have neither lists nor registers.
                let of_cpus = matches!(
                    code,
                    Code::IntermediateMissing | Code::CrlMissing | Code::MeasurementNotAllowed
                );
                if of_cpus && vendor == Vendor::Nvidia {
                    continue;
                }
                let finding =
                    Finding::reject(code, "a message").of(component).of_platform(platform);
                let text = format!("{} {}", finding.reference, finding.remedy);
                for (other, words) in WORDS.iter().filter(|(other, _)| *other != vendor) {
                    for word in *words {
                        assert!(!text.contains(word), "{platform} {code}: {other:?}: {text}");
                    }
                }
                assert_eq!(finding.reference, code.reference_for(platform, component));
            }
        }
    }

    #[test]
    fn what_a_switch_measures_is_not_called_a_gpus() {
        let code = Code::DeviceMeasurementMismatch;
        let said = |component: &'static str| {
            Finding::reject(code, "a message").of(component).of_platform("sev-snp").remedy
        };
        assert!(said("gpu0").contains("GPU") && said("gpu0").contains("developer tools"));
        assert!(said("switch0").contains("switch") && !said("switch0").contains("GPU"));
        let missing = Finding::reject(Code::DeviceReferenceMissing, "a message").of("switch0");
        assert!(missing.of_platform("nvidia-switch").remedy.contains("the switch's BIOS"));
    }

    /// The page that explains the codes says what the program says.
    #[test]
    fn the_page_of_codes_has_these_texts() {
        let page = include_str!("../../../docs/rejections.md");
        for code in Code::ALL {
            let start = format!("| `{code}` | ");
            let row = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            let (_, said) = row.split_once(" | ").unwrap();
            let expected = format!("{} | {} | {} |", code.cause(), code.reference(), code.remedy());
            assert_eq!(said.replace('`', ""), expected.replace('`', ""), "{code}");
        }
    }
}
