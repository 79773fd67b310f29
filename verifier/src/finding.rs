//! What a check found: a stable code, a severity, a sentence, and what to do about it.

use core::fmt;
use std::borrow::Cow;

use attestation::Malformed;
use serde::{Serialize, Serializer};

mod vendor;

/// How much a finding weighs. The order is the order of a report.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The evidence is not accepted because of it.
    Reject,
    /// Accepted, and the reader should know: a relaxation of the policy was used.
    Warn,
    /// For the record.
    Info,
}

/// One thing that one check has to say.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Which rule: stable, listed in `docs/rejections.md`.
    pub code: Code,
    /// How much it weighs.
    pub severity: Severity,
    /// Which device it is about: `cpu0`, `gpu0`, …, or `bundle` for what the evidence carries beside
    /// them.
    pub component: Cow<'static, str>,
    /// A sentence.
    pub message: String,
    /// What the rule wants.
    pub expected: Option<String>,
    /// What the evidence has.
    pub actual: Option<String>,
    /// Where the rule stands.
    pub reference: &'static str,
    /// What the reader can do.
    pub remedy: &'static str,
}

impl Finding {
    /// A finding about the CPU's evidence.
    pub(crate) fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            component: Cow::Borrowed(CPU),
            message: message.into(),
            expected: None,
            actual: None,
            reference: code.reference(),
            remedy: code.remedy(),
        }
    }

    /// A finding that refuses.
    pub(crate) fn reject(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Reject, message)
    }

    /// A finding that warns.
    pub(crate) fn warn(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warn, message)
    }

    /// A finding for the record.
    pub(crate) fn info(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Info, message)
    }

    /// The same finding, about what the bundle carries beside the CPU's evidence.
    #[must_use]
    pub(crate) fn of_bundle(self) -> Self {
        self.of(BUNDLE)
    }

    /// The same finding, about another device than the CPU.
    #[must_use]
    pub(crate) fn of(self, component: impl Into<Cow<'static, str>>) -> Self {
        Self { component: component.into(), ..self }
    }

    /// Evidence that cannot be read.
    pub(crate) fn malformed(malformed: &Malformed) -> Self {
        Self::reject(Code::EvidenceMalformed, malformed.to_string())
    }

    /// What the rule wants.
    #[must_use]
    pub(crate) fn expected(self, value: impl fmt::Display) -> Self {
        Self { expected: Some(value.to_string()), ..self }
    }

    /// What the evidence has.
    #[must_use]
    pub(crate) fn actual(self, value: impl fmt::Display) -> Self {
        Self { actual: Some(value.to_string()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(actual) = &self.actual {
            write!(f, "; got {actual}")?;
        }
        Ok(())
    }
}

/// What a refusing finding does to the verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// The bytes are not what they claim to be.
    Malformed,
    /// Understood, and not acceptable.
    Rejected,
    /// What is needed to decide was not there.
    Unavailable,
}

/// Declares [`Code`]: doc comment = cause; then name, code, family, reference, remedy.
macro_rules! codes {
    ($($(#[doc = $cause:literal])+ $name:ident, $code:literal, $family:ident, $reference:literal, $remedy:literal;)+) => {
        /// Which rule a finding is about. Codes are stable; `docs/rejections.md` explains each.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $cause])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of `docs/rejections.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What a refusal for this reason does to the verdict.
            pub const fn family(self) -> Family {
                match self { $(Self::$name => Family::$family,)+ }
            }

            /// Where the rule stands.
            pub const fn reference(self) -> &'static str {
                match self { $(Self::$name => $reference,)+ }
            }

            /// What the reader can do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }

            /// What causes it.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => concat!($($cause),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The evidence is of no kind that is known, or its parts do not parse to the last byte.
    EvidenceMalformed, "evidence-malformed", Malformed, "docs/protocol.md §5.2", "fetch the evidence again; if it persists, give up on this enclave";
    /// A certificate or revocation list does not parse to the last byte.
    EndorsementsMalformed, "endorsements-malformed", Malformed, "RFC 5280 §4.1, §5.1", "give the vendor's files as they were downloaded";
    /// The evidence is of a platform that this version tells by its content and cannot appraise.
    PlatformNotSupported, "platform-not-supported", Rejected, "docs/policy.md", "use an enclave on a platform that is supported";
    /// The policy has no section for the platform.
    PlatformNotAllowed, "platform-not-allowed", Rejected, "docs/policy.md", "add the platform's section to the policy if you mean to accept it";

    /// The report's format version is not 2, 3 or 5.
    ReportVersionUnsupported, "report-version-unsupported", Rejected, "AMD 56860 §7.3 table 23", "update this program; do not accept a format that it cannot read";
    /// `SIGNATURE_ALGO` is not ECDSA P-384 with SHA-384.
    SignatureAlgorithmUnsupported, "signature-algorithm-unsupported", Rejected, "AMD 56860 §10", "update this program, or refuse the enclave";
    /// A component of the report's signature is longer than 48 bytes, or bytes after it are not zero.
    SignatureNotCanonical, "signature-not-canonical", Rejected, "AMD 56860 §10", "refuse the enclave: genuine firmware does not write this";
    /// The signature of a report or quote does not verify under its key: the VCEK's or VLEK's, the quote's attestation key, the device's.
    SignatureInvalid, "signature-invalid", Rejected, "AMD 56860 §7.3; Intel DCAP Quoting Library API, appendix A.4; DMTF DSP0274 §10.11", "give the certificate of the key that signed, or refuse the enclave";

    /// No certificate of the signing key was given, in the evidence or beside it.
    VekMissing, "vek-missing", Unavailable, "AMD 57230 §3", "give the VCEK or VLEK certificate with --endorsements";
    /// The certificate of the intermediate that issued the signing key's is neither given nor built in.
    IntermediateMissing, "intermediate-missing", Unavailable, "AMD 57230 §3; Intel PCS API v4, Get PCK Certificate", "give the certificate of the authority that issued the signing key's with --endorsements: AMD's ASK or ASVK, Intel's PCK CA";
    /// The chain ends in a root that is not, byte for byte, an anchor of the policy for this vendor or product.
    RootNotTrusted, "root-not-trusted", Rejected, "AMD 57230 §3.1; RFC 5280 §6.1", "refuse the enclave: its chain is not the vendor's";
    /// A certificate is not signed by its issuer.
    CertificateSignatureInvalid, "certificate-signature-invalid", Rejected, "RFC 5280 §6.1.3", "refuse the enclave, or give the genuine certificate";
    /// A certificate is not signed as its vendor signs: RSASSA-PSS with SHA-384 throughout and 48 bytes of salt (AMD), ECDSA with P-256 and SHA-256 (Intel), with P-384 and SHA-384 (NVIDIA).
    CertificateAlgorithm, "certificate-algorithm", Rejected, "AMD 57230 §3.2; RFC 5758 §3.2", "refuse the enclave: its vendor signs with nothing else";
    /// A certificate is used before its validity starts.
    CertificateNotYetValid, "certificate-not-yet-valid", Rejected, "RFC 5280 §4.1.2.5", "check the clock, or the moment given with --at";
    /// A certificate is used after its validity ended.
    CertificateExpired, "certificate-expired", Rejected, "RFC 5280 §4.1.2.5", "have the operator fetch a current certificate";
    /// A certificate's version, names, key, CA flag, key usage or critical extensions are not those of its role.
    CertificateProfile, "certificate-profile", Rejected, "AMD 57230 §3.2; RFC 5280 §6.1", "refuse the enclave, or give the genuine certificate";
    /// An extension that the vendor puts into every such certificate is missing, given twice, or has no business there.
    CertificateExtensionMissing, "certificate-extension-missing", Rejected, "AMD 57230 §3.2 tables 8 to 11; Intel SGX PCK certificate specification; TCG DICE Attestation Architecture §6.1", "refuse the enclave, or give the genuine certificate";
    /// A vendor's extension is not in its one form.
    CertificateExtensionMalformed, "certificate-extension-malformed", Rejected, "AMD 57230 §3.2 tables 8 to 11; Intel SGX PCK certificate specification; TCG DICE Attestation Architecture §6.1", "refuse the enclave, or give the genuine certificate";

    /// No revocation list of an authority that must have one was given: AMD's root, Intel's root and the platform's authority.
    CrlMissing, "crl-missing", Unavailable, "RFC 5280 §6.3", "give the authority's revocation list with --endorsements";
    /// A revocation list that names an authority of the chain as its issuer is not signed by it.
    CrlSignatureInvalid, "crl-signature-invalid", Rejected, "RFC 5280 §6.3.3", "fetch the revocation list again from the vendor";
    /// A revocation list's `thisUpdate` lies in the future.
    CrlNotYetValid, "crl-not-yet-valid", Rejected, "RFC 5280 §5.1.2.4", "check the clock, or the moment given with --at";
    /// A revocation list's `nextUpdate` has passed, or it has none.
    CrlExpired, "crl-expired", Rejected, "RFC 5280 §5.1.2.5", "give a current revocation list";
    /// A revocation list is indirect, partial, without a number, or has a critical extension that is not understood.
    CrlProfile, "crl-profile", Rejected, "RFC 5280 §5.2", "give the vendor's own complete revocation list";
    /// The vendor revoked the intermediate.
    IntermediateRevoked, "intermediate-revoked", Rejected, "RFC 5280 §6.3", "refuse the enclave: its vendor disowned the chain";
    /// The vendor revoked the signing key's certificate.
    VekRevoked, "vek-revoked", Rejected, "RFC 5280 §6.3", "refuse the enclave: its vendor disowned the key";

    /// The report says that no key signed it, or names a kind of key that does not exist.
    SigningKeyInvalid, "signing-key-invalid", Rejected, "AMD 56860 §7.3 SIGNING_KEY", "refuse the enclave: such a report proves nothing";
    /// `SIGNING_KEY` names another kind of key than the certificate.
    SigningKeyMismatch, "signing-key-mismatch", Rejected, "AMD 56860 §7.3 SIGNING_KEY", "give the certificate of the key that signed";
    /// The policy does not accept reports signed by this kind of key.
    SigningKeyNotAllowed, "signing-key-not-allowed", Rejected, "docs/policy.md signing_keys", "add the kind to signing_keys if you mean to accept it";
    /// The cloud provider that the VLEK names is not on the policy's list.
    CspNotAllowed, "csp-not-allowed", Rejected, "docs/policy.md csp_ids", "add the provider to csp_ids if you trust it";
    /// The report's `CHIP_ID` is not the chip that the VCEK was made for.
    ChipIdMismatch, "chip-id-mismatch", Rejected, "AMD 57230 §3.2 hwID", "give the certificate of the chip that signed";
    /// A report signed by a VCEK hides its chip.
    ChipIdMasked, "chip-id-masked", Rejected, "AMD 56860 §7.3 MASK_CHIP_KEY", "have the operator unmask the chip id";
    /// `REPORTED_TCB` is not the TCB that the certificate was made for.
    ReportedTcbMismatch, "reported-tcb-mismatch", Rejected, "AMD 57230 §3.2 SPL", "give the certificate of the TCB that signed";
    /// The processor that the report's CPUID fields name is not the certificate's product, or is unknown.
    ProductMismatch, "product-mismatch", Rejected, "AMD 56860 §7.3 CPUID_FAM_ID", "give the certificate of the product that signed";
    /// The policy does not accept this product.
    ProductNotAllowed, "product-not-allowed", Rejected, "docs/policy.md products", "use a newer product, or name this one in products if you accept its known breaks";
    /// The chip is not on the policy's list.
    ChipNotAllowed, "chip-not-allowed", Rejected, "docs/policy.md chips", "add the chip if you know whose it is";

    /// Versions of the TCB are not in the order REPORTED, COMMITTED, CURRENT.
    TcbOrder, "tcb-order", Rejected, "AMD 56860 §3.3", "refuse the enclave: genuine firmware keeps this order";
    /// A component of the reported or launch TCB is below the policy's minimum.
    TcbBelowMinimum, "tcb-below-minimum", Rejected, "docs/policy.md min_tcb", "have the operator update the firmware";
    /// The policy sets no minimum TCB for the product.
    TcbMinimumNotSet, "tcb-minimum-not-set", Rejected, "docs/policy.md min_tcb", "set min_tcb for the product";
    /// The firmware that runs is newer than the committed one, so that it can still be rolled back.
    FirmwareProvisional, "firmware-provisional", Rejected, "AMD 56860 §3.3", "have the operator commit the firmware";

    /// The guest policy allows debugging: the host can read the guest's memory.
    GuestPolicyDebug, "guest-policy-debug", Rejected, "AMD 56860 §4.3 bit 19", "refuse the enclave: it keeps no secret";
    /// The guest policy's migration-agent bit is not what the policy wants.
    GuestPolicyMigration, "guest-policy-migration", Rejected, "AMD 56860 §4.3 bit 18", "launch the guest without a migration agent";
    /// Bit 17 of the guest policy, which must be one, is zero.
    GuestPolicyReserved, "guest-policy-reserved", Rejected, "AMD 56860 §4.3 bit 17", "refuse the enclave: genuine firmware refuses such a policy";
    /// The guest policy has bits that no public specification names.
    GuestPolicyUnknownBits, "guest-policy-unknown-bits", Rejected, "AMD 56860 §4.3", "update this program; tolerate the bits only if you know them";
    /// The guest policy admits firmware with an older ABI than the policy wants.
    GuestPolicyAbi, "guest-policy-abi", Rejected, "AMD 56860 §4.3 bits 15:0", "launch the guest with a higher minimum ABI version";
    /// The guest policy's SMT bit is not what the policy wants.
    GuestPolicySmt, "guest-policy-smt", Rejected, "AMD 56860 §4.3 bit 16", "launch the guest with the bit as the policy wants it";
    /// The guest policy's single-socket bit is not what the policy wants.
    GuestPolicySingleSocket, "guest-policy-single-socket", Rejected, "AMD 56860 §4.3 bit 20", "launch the guest with the bit as the policy wants it";
    /// The guest policy's CXL bit is not what the policy wants.
    GuestPolicyCxl, "guest-policy-cxl", Rejected, "AMD 56860 §4.3 bit 21", "launch the guest with the bit as the policy wants it";
    /// The guest policy's AES-256-XTS bit is not what the policy wants.
    GuestPolicyAes256Xts, "guest-policy-aes-256-xts", Rejected, "AMD 56860 §4.3 bit 22", "launch the guest with the bit as the policy wants it";
    /// The guest policy's RAPL bit is not what the policy wants.
    GuestPolicyRapl, "guest-policy-rapl", Rejected, "AMD 56860 §4.3 bit 23", "launch the guest with the bit as the policy wants it";
    /// The guest policy's ciphertext-hiding bit is not what the policy wants.
    GuestPolicyCiphertextHiding, "guest-policy-ciphertext-hiding", Rejected, "AMD 56860 §4.3 bit 24", "launch the guest with the bit as the policy wants it";
    /// The guest policy's page-swap bit is not what the policy wants.
    GuestPolicyPageSwap, "guest-policy-page-swap", Rejected, "AMD 56860 §4.3 bit 25", "launch the guest with the bit as the policy wants it";

    /// The guest is tied to a migration agent.
    MigrationAgent, "migration-agent", Rejected, "AMD 56860 §7.3 REPORT_ID_MA", "launch the guest without a migration agent";
    /// The platform does not show that memory was checked for aliases (`BadRAM`, CVE-2024-21944).
    PlatformAliasCheck, "platform-alias-check", Rejected, "AMD-SB-3015; AMD 56860 §7.3 PLATFORM_INFO bit 5", "have the operator update the firmware so that the check runs and is reported";
    /// The platform's SMT bit is not what the policy wants.
    PlatformSmt, "platform-smt", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 0", "have the operator configure the host as the policy wants it";
    /// The platform's TSME bit is not what the policy wants.
    PlatformTsme, "platform-tsme", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 1", "have the operator configure the host as the policy wants it";
    /// The platform's ECC bit is not what the policy wants.
    PlatformEcc, "platform-ecc", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 2", "have the operator configure the host as the policy wants it";
    /// The platform's RAPL bit is not what the policy wants.
    PlatformRapl, "platform-rapl", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 3", "have the operator configure the host as the policy wants it";
    /// The platform's ciphertext-hiding bit is not what the policy wants.
    PlatformCiphertextHiding, "platform-ciphertext-hiding", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 4", "have the operator configure the host as the policy wants it";
    /// The platform's trusted-I/O bit is not what the policy wants.
    PlatformTio, "platform-tio", Rejected, "AMD 56860 §7.3 PLATFORM_INFO bit 7", "have the operator configure the host as the policy wants it";
    /// The platform's information or the key's has bits that no public specification names.
    PlatformUnknownBits, "platform-unknown-bits", Rejected, "AMD 56860 §7.3", "set platform.unknown_bits to tolerated, or update this program";
    /// The report does not show a mitigation that the policy requires.
    MitigationMissing, "mitigation-missing", Rejected, "AMD 56860 §7.3 LAUNCH_MIT_VECTOR", "have the operator update the firmware and restart the guest";
    /// The mitigations now are not those at launch.
    MitigationChanged, "mitigation-changed", Rejected, "AMD 56860 §7.3 CURRENT_MIT_VECTOR", "have the operator restart the guest";

    /// The report was requested at a privilege level that the policy does not accept.
    VmplNotAllowed, "vmpl-not-allowed", Rejected, "docs/policy.md vmpl", "add the level to vmpl if the guest's image is built to report there";
    /// The launch measurement, or a register of a TD (MRTD, RTMR0 to RTMR3), is none of the policy's.
    MeasurementNotAllowed, "measurement-not-allowed", Rejected, "docs/policy.md measurements, mr_td, rtmr0 to rtmr3", "compare with the release's published measurements; refuse the enclave if they differ";
    /// `HOST_DATA` is none of the policy's.
    HostDataNotAllowed, "host-data-not-allowed", Rejected, "docs/policy.md host_data", "launch the guest with the host data that the policy names";
    /// `FAMILY_ID` is none of the policy's.
    FamilyIdNotAllowed, "family-id-not-allowed", Rejected, "docs/policy.md family_ids", "launch the guest with the id block that the policy names";
    /// `IMAGE_ID` is none of the policy's.
    ImageIdNotAllowed, "image-id-not-allowed", Rejected, "docs/policy.md image_ids", "launch the guest with the id block that the policy names";
    /// `GUEST_SVN` is below the policy's minimum.
    GuestSvnBelowMinimum, "guest-svn-below-minimum", Rejected, "docs/policy.md guest_svn_min", "update the guest's image";
    /// The key that signed the guest's id block is none of the policy's.
    IdKeyNotAllowed, "id-key-not-allowed", Rejected, "docs/policy.md id_keys", "launch the guest with an id block of a known key";
    /// The key that vouches for the id key is none of the policy's, or is missing where the report says that there is one.
    AuthorKeyNotAllowed, "author-key-not-allowed", Rejected, "docs/policy.md author_keys", "launch the guest with an id block of a known author";

    /// The quote has no chain of its PCK, and none was given beside it.
    PckMissing, "pck-missing", Unavailable, "DCAP Quoting Library API A.4", "give the PCK's certificate with --endorsements, or have the operator configure the quoting enclave to send it";
    /// The quote's chain is not that of a PCK: its certificate, its authority's, and the root's.
    PckChainInvalid, "pck-chain-invalid", Rejected, "Intel PCS API v4, Get PCK Certificate", "refuse the enclave: Intel's chains are of three certificates";
    /// Intel revoked the PCK's certificate.
    PckRevoked, "pck-revoked", Rejected, "RFC 5280 §6.3", "refuse the enclave: its vendor disowned the key";
    /// No certificate of the signer of TCB Info and QE Identity was given, and the one that is built in did not sign them.
    TcbSignerMissing, "tcb-signer-missing", Unavailable, "Intel PCS API v4, Get TDX TCB Info", "give the issuer chain of the TCB Info with --endorsements";
    /// Intel revoked the certificate of the signer of TCB Info and QE Identity.
    TcbSignerRevoked, "tcb-signer-revoked", Rejected, "RFC 5280 §6.3", "fetch the documents again from the vendor";
    /// No TCB Info for the platform's family was given.
    TcbInfoMissing, "tcb-info-missing", Unavailable, "Intel PCS API v4, Get TDX TCB Info", "give the TCB Info of the platform's FMSPC with --endorsements";
    /// The TCB Info for the platform's family is not signed by Intel's TCB signer.
    TcbInfoSignatureInvalid, "tcb-info-signature-invalid", Rejected, "Intel PCS API v4, Get TDX TCB Info", "fetch the TCB Info again from the vendor";
    /// The TCB Info's `issueDate` lies in the future.
    TcbInfoNotYetValid, "tcb-info-not-yet-valid", Rejected, "Intel PCS API v4, issueDate", "check the clock, or the moment given with --at";
    /// The TCB Info's `nextUpdate` has passed.
    TcbInfoExpired, "tcb-info-expired", Rejected, "Intel PCS API v4, nextUpdate", "give a current TCB Info";
    /// The TCB Info is for another provisioning certification enclave than the PCK's.
    PceIdMismatch, "pce-id-mismatch", Rejected, "Intel PCS API v4, pceId", "give the TCB Info of the platform";
    /// No QE Identity of TDX was given.
    QeIdentityMissing, "qe-identity-missing", Unavailable, "Intel PCS API v4, Get TDX QE Identity", "give the QE Identity with --endorsements";
    /// The QE Identity is not signed by Intel's TCB signer.
    QeIdentitySignatureInvalid, "qe-identity-signature-invalid", Rejected, "Intel PCS API v4, Get TDX QE Identity", "fetch the QE Identity again from the vendor";
    /// The QE Identity's `issueDate` lies in the future.
    QeIdentityNotYetValid, "qe-identity-not-yet-valid", Rejected, "Intel PCS API v4, issueDate", "check the clock, or the moment given with --at";
    /// The QE Identity's `nextUpdate` has passed.
    QeIdentityExpired, "qe-identity-expired", Rejected, "Intel PCS API v4, nextUpdate", "give a current QE Identity";
    /// The quoting enclave's report is not signed by the PCK.
    QeReportSignatureInvalid, "qe-report-signature-invalid", Rejected, "DCAP Quoting Library API A.4", "refuse the enclave: nothing vouches for its quoting enclave";
    /// The quoting enclave's report does not vouch for the attestation key, or its second half is not zero.
    AttestationKeyMismatch, "attestation-key-mismatch", Rejected, "DCAP Quoting Library API A.4", "refuse the enclave: its quote is signed by a key that nobody vouches for";
    /// The quoting enclave is not the one that Intel describes.
    QeIdentityMismatch, "qe-identity-mismatch", Rejected, "Intel PCS API v4, Get TDX QE Identity", "refuse the enclave: its quoting enclave is not Intel's";
    /// The quoting enclave can be debugged, so that its key is anybody's.
    QeDebug, "qe-debug", Rejected, "Intel SDM vol. 3D §37.7.1", "refuse the enclave: its quoting enclave keeps no secret";

    /// Zero bytes follow the quote, and the policy does not allow that.
    QuotePadding, "quote-padding", Rejected, "docs/policy.md zero_padding", "have the operator cut the quote to its length, or allow the padding";
    /// The platform instance is not on the policy's list.
    PlatformInstanceNotAllowed, "platform-instance-not-allowed", Rejected, "docs/policy.md platforms", "add the platform instance if you know whose it is";
    /// The PCK names a type of SGX that the policy does not accept.
    SgxTypeNotAllowed, "sgx-type-not-allowed", Rejected, "docs/policy.md sgx_types", "use a platform of an accepted type";
    /// Multithreading, by the PCK, is not what the policy wants.
    PckSmt, "pck-smt", Rejected, "Intel SGX PCK certificate specification, SMT Enabled", "have the operator configure the platform as the policy wants it";
    /// Whether processors may be added to the platform, by the PCK, is not what the policy wants.
    PckDynamicPlatform, "pck-dynamic-platform", Rejected, "Intel SGX PCK certificate specification, Dynamic Platform", "use a platform as the policy wants it";
    /// Whether Intel keeps the platform's root keys, by the PCK, is not what the policy wants.
    PckCachedKeys, "pck-cached-keys", Rejected, "Intel SGX PCK certificate specification, Cached Keys", "use a platform as the policy wants it";
    /// No TCB level of Intel's covers the platform, its TDX module or its quoting enclave.
    TcbLevelMissing, "tcb-level-missing", Rejected, "Intel PCS API v4, tcbLevels", "have the operator update the platform";
    /// The TCB's status is none that the policy accepts, or a grace is over.
    TcbStatusNotAllowed, "tcb-status-not-allowed", Rejected, "docs/policy.md tcb_status", "have the operator update the platform";
    /// Intel revoked the TCB: keys of such platforms are known.
    TcbRevoked, "tcb-revoked", Rejected, "Intel PCS API v4, tcbStatus", "refuse the enclave: its platform's keys are known";
    /// The TCB leaves an advisory open that the policy does not accept.
    AdvisoryNotAllowed, "advisory-not-allowed", Rejected, "docs/policy.md advisories_allowed", "have the operator update the platform, or accept the advisory if you know that it does not concern you";
    /// TCB Info or QE Identity is of an older evaluation than the policy wants.
    TcbEvaluationBelowMinimum, "tcb-evaluation-below-minimum", Rejected, "docs/policy.md min_tcb_evaluation", "give the TCB Info and QE Identity of the current evaluation";
    /// The TDX module is not signed as Intel's is, or has other attributes.
    TdxModuleMismatch, "tdx-module-mismatch", Rejected, "Intel PCS API v4, tdxModule", "refuse the enclave: its TDX module is not Intel's";
    /// TCB Info has no identity of the TDX module's version.
    TdxModuleUnknown, "tdx-module-unknown", Rejected, "Intel PCS API v4, tdxModuleIdentities", "give a current TCB Info, or refuse the enclave";
    /// The TD can be debugged: the host can read its memory.
    TdDebug, "td-debug", Rejected, "Intel 348551 TDATTRIBUTES bit 0", "refuse the enclave: it keeps no secret";
    /// The TD can be profiled by the host.
    TdProfiling, "td-profiling", Rejected, "Intel 348551 TDATTRIBUTES bits 6:4", "refuse the enclave: it keeps no secret";
    /// A reserved attribute of the TD is set.
    TdAttributesReserved, "td-attributes-reserved", Rejected, "Intel 348551 TDATTRIBUTES", "update this program; do not accept what it cannot read";
    /// The TD's `SEPT_VE_DISABLE` is not what the policy wants.
    TdSeptVeDisable, "td-sept-ve-disable", Rejected, "Intel 348551 TDATTRIBUTES bit 28", "launch the TD with the bit as the policy wants it";
    /// The TD's migratable bit is not what the policy wants.
    TdMigratable, "td-migratable", Rejected, "Intel 348551 TDATTRIBUTES bit 29", "launch the TD without migration";
    /// The TD's bit for supervisor protection keys is not what the policy wants.
    TdPks, "td-pks", Rejected, "Intel 348551 TDATTRIBUTES bit 30", "launch the TD with the bit as the policy wants it";
    /// The TD's Key Locker bit is not what the policy wants.
    TdKeyLocker, "td-key-locker", Rejected, "Intel 348551 TDATTRIBUTES bit 31", "launch the TD with the bit as the policy wants it";
    /// The TD's performance monitoring bit is not what the policy wants.
    TdPerfmon, "td-perfmon", Rejected, "Intel 348551 TDATTRIBUTES bit 63", "launch the TD with the bit as the policy wants it";
    /// The TD's `XFAM` lacks a bit that is always set, or has one that never is.
    XfamInvalid, "xfam-invalid", Rejected, "Intel 348551 XFAM", "refuse the enclave: a genuine TDX module makes no such TD";
    /// A virtual machine inside the TD asked for the report, and not the TD itself: what runs in it was not measured.
    TdVmNotPrimary, "td-vm-not-primary", Rejected, "Intel TDX module TD partitioning architecture specification, VM index", "refuse the enclave: its keys must be the TD's own";
    /// A service TD is bound to the TD, and it is none of the policy's.
    ServiceTdNotAllowed, "service-td-not-allowed", Rejected, "docs/policy.md service_td", "launch the TD without a service TD, or add its hash if you know it";
    /// `MRCONFIGID` is none of the policy's.
    MrConfigIdNotAllowed, "mr-config-id-not-allowed", Rejected, "docs/policy.md mr_config_id", "use an enclave that was launched with an accepted value";
    /// `MROWNER` is none of the policy's.
    MrOwnerNotAllowed, "mr-owner-not-allowed", Rejected, "docs/policy.md mr_owner", "use an enclave that was launched with an accepted value";
    /// `MROWNERCONFIG` is none of the policy's.
    MrOwnerConfigNotAllowed, "mr-owner-config-not-allowed", Rejected, "docs/policy.md mr_owner_config", "use an enclave that was launched with an accepted value";

    /// The event log does not parse to the last byte, names an unknown algorithm, or lacks a SHA-384 digest.
    EventLogMalformed, "event-log-malformed", Malformed, "UEFI 2.10 §38.4; TCG PFP 1.06 §10.2", "give the log as the guest reads it from its CCEL area";
    /// The policy judges by events, and there is no event log.
    EventLogMissing, "event-log-missing", Rejected, "docs/policy.md event_log", "give the log with --event-log, or have the enclave send it";
    /// An event log was given for evidence without registers that it could replay to.
    EventLogNotApplicable, "event-log-not-applicable", Rejected, "docs/policy.md event_log", "leave the log out";
    /// The event log does not replay to the register that the hardware signed.
    EventLogMismatch, "event-log-mismatch", Rejected, "UEFI 2.10 §38.4", "refuse the enclave: its log is not of this boot, or somebody changed it";
    /// An event of a type whose digest is of its data has other data.
    EventDataMismatch, "event-data-mismatch", Rejected, "TCG PFP 1.06 §10.4", "refuse the enclave: its log claims other data than were measured";
    /// A register has more than one separator, so that the log does not say where the firmware ended.
    EventSeparatorDuplicate, "event-separator-duplicate", Rejected, "TCG PFP 1.06 §10.4.1 EV_SEPARATOR", "update the firmware; tolerate it with duplicate_separators only for firmware that you know";
    /// A separator has another value than those of a boot without an error.
    EventSeparatorError, "event-separator-error", Rejected, "TCG PFP 1.06 §10.4.1 EV_SEPARATOR", "refuse the enclave: its firmware failed";
    /// An event in a register that the policy judges by events is none of the policy's.
    EventNotAllowed, "event-not-allowed", Rejected, "docs/policy.md events", "compare with the release; add the digest to events if you trust what was measured";
    /// What an entry of the policy's events names was not measured.
    EventMissing, "event-missing", Rejected, "docs/policy.md events", "compare with the release; drop the entry from events if it is of another release";
    /// The firmware did not measure secure boot as the policy wants it.
    EventSecureBoot, "event-secure-boot", Rejected, "UEFI 2.10 §32.2", "boot with secure boot as the policy wants it";

    /// `REPORT_DATA` is not the digest of the runtime data, followed by zeros.
    AzureRuntimeDataMismatch, "azure-runtime-data-mismatch", Rejected, "docs/policy.md azure", "refuse the machine: somebody swapped the paravisor's runtime data";
    /// The TD quote is not of the report that the paravisor kept.
    AzureTdReportMismatch, "azure-td-report-mismatch", Rejected, "Intel DCAP Quoting Library API, appendix A.3", "give the quote that was made of the report beside it";
    /// A report of TDX came without a TD quote, and proves nothing to another machine.
    AzureTdQuoteMissing, "azure-td-quote-missing", Rejected, "docs/policy.md azure", "give the collector's JSON, which has the TD quote";
    /// The machine's secure boot is not what the policy wants.
    AzureSecureBoot, "azure-secure-boot", Rejected, "docs/policy.md azure.secure_boot", "create the machine with secure boot as the policy wants it";
    /// The machine's virtual TPM is not what the policy wants.
    AzureTpm, "azure-tpm", Rejected, "docs/policy.md azure.tpm", "create the machine with a virtual TPM as the policy wants it";
    /// Whether the virtual TPM's state outlives the machine is not what the policy wants.
    AzureTpmPersisted, "azure-tpm-persisted", Rejected, "docs/policy.md azure.tpm_persisted", "create the machine as the policy wants it";
    /// The machine's serial console is not what the policy wants.
    AzureConsole, "azure-console", Rejected, "docs/policy.md azure.console", "create the machine with the serial console as the policy wants it";
    /// The machine is none of the policy's.
    AzureVmNotAllowed, "azure-vm-not-allowed", Rejected, "docs/policy.md azure.vms", "add the machine if you know whose it is";
    /// There is no quote of the virtual TPM: what was booted, and that the machine still runs, is not shown.
    TpmQuoteMissing, "tpm-quote-missing", Rejected, "docs/policy.md azure.tpm_quote", "give the collector's JSON, which has the quote";
    /// The TPM's quote is not signed by the key that the hardware vouches for.
    TpmQuoteSignatureInvalid, "tpm-quote-signature-invalid", Rejected, "TPM 2.0 part 2 §10.12", "refuse the machine: another TPM signed";
    /// The TPM's quote is not of registers of the SHA-256 bank alone.
    TpmQuoteSelection, "tpm-quote-selection", Rejected, "TPM 2.0 part 2 §10.12.1", "quote registers of the SHA-256 bank, and no others";
    /// The values given for the registers are not those that the TPM signed for.
    TpmPcrDigestMismatch, "tpm-pcr-digest-mismatch", Rejected, "TPM 2.0 part 2 §10.12.1", "give the values that were quoted";
    /// The TPM's quote is not of a register that the policy pins.
    TpmPcrNotQuoted, "tpm-pcr-not-quoted", Rejected, "docs/policy.md azure.pcrs", "quote all registers that the policy pins";
    /// A register has a value that is none of the policy's.
    TpmPcrNotAllowed, "tpm-pcr-not-allowed", Rejected, "docs/policy.md azure.pcrs", "compare with the release; add the value if you trust what was booted";
    /// The policy pins no register of the virtual TPM.
    TpmPcrsNotPinned, "tpm-pcrs-not-pinned", Rejected, "docs/policy.md azure.pcrs", "pin registers in azure.pcrs";

    /// A certificate of a device's chain was given neither in the evidence nor beside it.
    DeviceCertificateMissing, "device-certificate-missing", Unavailable, "docs/policy.md nvidia-gpu", "give the device's chain with --endorsements";
    /// A device's chain is not of five certificates with the names of their roles, in their order.
    DeviceChainInvalid, "device-chain-invalid", Rejected, "docs/policy.md nvidia-gpu", "refuse the enclave: NVIDIA's devices have no other chains";
    /// A device signed another nonce than the one that it must have been asked with.
    DeviceNonceMismatch, "device-nonce-mismatch", Rejected, "docs/protocol.md §5.2", "ask again with a new challenge; refuse the enclave if it persists: the evidence is another's, or replayed";
    /// What stands beside a device's report is not what the report says.
    DeviceEnvelopeMismatch, "device-envelope-mismatch", Rejected, "docs/policy.md nvidia-gpu", "refuse the enclave: somebody changed the evidence";
    /// A device's certificates are of another architecture than the evidence says.
    DeviceArchitectureMismatch, "device-architecture-mismatch", Rejected, "docs/policy.md nvidia-gpu", "refuse the enclave: somebody changed the evidence";
    /// A switch calls itself by another name in the fabric than its certificate does.
    DeviceIdentityMismatch, "device-identity-mismatch", Rejected, "docs/policy.md nvidia-switch", "refuse the enclave: the report is not of the device that its chain names";
    /// A GPU's report does not say which firmware wrote it, as reports under drivers from 550 on do.
    DeviceFwidMissing, "device-fwid-missing", Rejected, "TCG DICE Attestation Architecture §6.1", "have the operator update the driver";
    /// A GPU's report is of other firmware than its signing key was made for.
    DeviceFwidMismatch, "device-fwid-mismatch", Rejected, "TCG DICE Attestation Architecture §6.1", "refuse the enclave: the report is not of the device that its chain names";
    /// A device's certificate says that its firmware is not secure, in recovery, or can be debugged.
    DeviceDebug, "device-debug", Rejected, "TCG DICE Attestation Architecture §6.1.1 OperationalFlags", "refuse the enclave: it keeps no secret";
    /// No OCSP response about a certificate of a device's chain was given.
    OcspMissing, "ocsp-missing", Unavailable, "RFC 6960 §2.2", "give NVIDIA's responses for the chain with --endorsements";
    /// An OCSP response is signed by nobody whom a CA of the chain named for it, or by one whose time is over.
    OcspResponderNotAuthorised, "ocsp-responder-not-authorised", Rejected, "RFC 6960 §4.2.2.2", "fetch the response again from the vendor";
    /// An OCSP response's signature does not verify under the key of one who may answer.
    OcspSignatureInvalid, "ocsp-signature-invalid", Rejected, "RFC 6960 §3.2", "fetch the response again from the vendor";
    /// An OCSP response does not repeat the nonce that was asked with.
    OcspNonceMismatch, "ocsp-nonce-mismatch", Rejected, "RFC 6960 §4.4.1", "fetch the response again from the vendor";
    /// An OCSP response was signed, or holds from, after the moment of the appraisal.
    OcspNotYetValid, "ocsp-not-yet-valid", Rejected, "RFC 6960 §3.2", "check the clock, or the moment given with --at";
    /// An OCSP response's `nextUpdate` has passed, or it has none.
    OcspExpired, "ocsp-expired", Rejected, "RFC 6960 §3.2", "fetch a current response";
    /// NVIDIA revoked a certificate of a device's chain.
    DeviceRevoked, "device-revoked", Rejected, "RFC 6960 §2.2", "refuse the enclave: its vendor disowned the device";
    /// NVIDIA suspended a certificate of a device's chain: it is on hold.
    DeviceOnHold, "device-on-hold", Rejected, "RFC 5280 §5.3.1 certificateHold", "wait until NVIDIA takes the hold off, or use another device";
    /// NVIDIA does not know a certificate of a device's chain.
    DeviceStatusUnknown, "device-status-unknown", Rejected, "RFC 6960 §2.2", "refuse the enclave: its vendor does not know the device";
    /// The policy does not accept devices of this architecture.
    DeviceArchitectureNotAllowed, "device-architecture-not-allowed", Rejected, "docs/policy.md architectures", "add the architecture if you mean to accept it";
    /// A device is not on the policy's list.
    DeviceNotAllowed, "device-not-allowed", Rejected, "docs/policy.md devices", "add the device if you know whose it is";
    /// A GPU's driver is older than the policy's minimum.
    DeviceDriverBelowMinimum, "device-driver-below-minimum", Rejected, "docs/policy.md min_driver", "have the operator update the driver";
    /// A device's VBIOS is older than the policy's minimum.
    DeviceVbiosBelowMinimum, "device-vbios-below-minimum", Rejected, "docs/policy.md min_vbios", "have the operator update the VBIOS";
    /// A GPU's mode of confidential computing is none of the policy's.
    DeviceModeNotAllowed, "device-mode-not-allowed", Rejected, "docs/policy.md confidential_compute", "have the operator set the mode that the policy wants";
    /// A GPU states a mode that has no name, or one that its `PCIe` protection contradicts.
    DeviceModeContradictory, "device-mode-contradictory", Rejected, "docs/policy.md confidential_compute", "refuse the enclave, or update this program";
    /// The policy has no reference values of a device's driver or VBIOS.
    DeviceReferenceMissing, "device-reference-missing", Rejected, "docs/policy.md reference_values", "import the vendor's reference values of that version if you accept it";
    /// The reference values of a device's driver or VBIOS are no longer good.
    DeviceReferenceExpired, "device-reference-expired", Rejected, "docs/policy.md not_after", "import the vendor's reference values again";
    /// The reference values of driver and VBIOS are about the same measurement.
    DeviceReferenceOverlap, "device-reference-overlap", Rejected, "docs/policy.md reference_values", "import the vendor's reference values again, and compare them";
    /// A measurement is none that the reference values have: other firmware, or developer tools.
    DeviceMeasurementMismatch, "device-measurement-mismatch", Rejected, "docs/policy.md reference_values", "have the operator turn developer tools off and reset the GPU; refuse the enclave if it persists";
    /// A report lacks measurements that its architecture or the reference values have, or has others.
    DeviceMeasurementMissing, "device-measurement-missing", Rejected, "docs/policy.md reference_values", "refuse the enclave: genuine devices report all measurements";
    /// A report has measurements that no reference value is about.
    DeviceMeasurementUnlisted, "device-measurement-unlisted", Rejected, "docs/policy.md unlisted", "find out what is measured there; set unlisted to tolerated if you can do without";
    /// A GPU matches reference values of one with its developer tools on.
    DeviceDevtools, "device-devtools", Rejected, "docs/policy.md devtools", "have the operator turn developer tools off";
    /// A switch's settings are not locked.
    SwitchUnlocked, "switch-unlocked", Rejected, "docs/policy.md unlocked", "have the operator lock the switch";
    /// The evidence has another number of devices than the policy wants.
    DeviceCount, "device-count", Rejected, "docs/policy.md count", "use an enclave with as many devices as the policy says";
    /// One device stands in the evidence for two.
    DeviceRepeated, "device-repeated", Rejected, "docs/policy.md count", "refuse the enclave: somebody copied a device's evidence";
    /// The fabric of GPUs and switches is not closed: one leads to a device that is not here, or is not protected.
    DeviceTopology, "device-topology", Rejected, "docs/policy.md topology", "refuse the enclave: what its GPUs say to each other can be read elsewhere";
    /// The policy demands GPUs, and the evidence has none.
    AcceleratorsMissing, "accelerators-missing", Rejected, "docs/policy.md nvidia-gpu", "use an enclave with GPUs, or a policy without their section";

    /// `REPORT_DATA` is not the 64 bytes that were expected: the keys or the challenge were not this guest's.
    ReportDataMismatch, "report-data-mismatch", Rejected, "docs/protocol.md §5.2", "refuse the enclave: somebody swapped keys or evidence";
    /// A member of the bundle is not the one that the statement names by its digest.
    MemberMismatch, "member-mismatch", Rejected, "docs/protocol.md §5.2", "refuse the enclave: somebody swapped a part of the bundle";
    /// The evidence carries no binding of Veritee's, and no `REPORT_DATA` was stated.
    BindingNotChecked, "binding-not-checked", Rejected, "docs/policy.md binding", "state the 64 bytes with --report-data, or use an enclave that sends a bundle";
    /// The evidence does not answer the challenge.
    ChallengeNotAnswered, "challenge-not-answered", Rejected, "docs/protocol.md §5.2", "ask again with a new challenge; refuse the enclave if it persists";
    /// The policy wants an answer to a challenge, and none was asked for.
    NotChallenged, "not-challenged", Rejected, "docs/policy.md evidence", "fetch evidence with a challenge, and state it with --challenge";
    /// The statement's window has not started.
    StatementNotYetValid, "statement-not-yet-valid", Rejected, "docs/protocol.md §5.1", "check both clocks";
    /// The statement's window has ended.
    StatementExpired, "statement-expired", Rejected, "docs/protocol.md §5.1", "fetch the evidence of the present epoch";
    /// Cached evidence is older than the policy's `max_age`.
    EvidenceTooOld, "evidence-too-old", Rejected, "docs/policy.md max_age", "ask for evidence with a challenge";
    /// The attested model is none of the policy's, or is not served under a name that the policy gives it.
    ModelNotAllowed, "model-not-allowed", Rejected, "docs/policy.md models", "add the model's manifest digest to models if you trust it";
    /// The attested configuration is none of the policy's.
    ConfigNotAllowed, "config-not-allowed", Rejected, "docs/policy.md digests", "add the configuration's digest after reading it";

    /// The policy brings anchors of its own instead of the vendor's.
    UntrustedAnchors, "untrusted-anchors", Rejected, "docs/policy.md anchors", "use a policy without anchors for anything but tests";
    /// A check was not made because the evidence is not authentic, or says nothing of it.
    NotEvaluated, "not-evaluated", Rejected, "docs/rejections.md", "see the findings above it";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The CPU, as findings name it.
pub(crate) const CPU: &str = "cpu0";
/// What a bundle carries beside its devices' evidence, as findings name it.
pub(crate) const BUNDLE: &str = "bundle";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_kebab_case_and_unique() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for name in names {
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(kebab), "{name}");
        }
    }

    #[test]
    fn severities_sort_as_a_report_wants_them() {
        assert!(Severity::Reject < Severity::Warn && Severity::Warn < Severity::Info);
    }
}
