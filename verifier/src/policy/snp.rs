//! The section `[sev-snp]`: what may be written, what it means, and what is said of it.

use core::fmt::{self, Write as _};
use std::collections::{BTreeMap, BTreeSet};

use attestation::snp::{Product, TcbVersion};
use attestation::{Digest, Malformed, Sha384};
use serde::Deserialize;

use super::file::{AnyOr, Demand, Presence, UnknownBits};
use super::lint::{Look, Problem, is_empty};
use super::read::Reader;
use super::show::demand;
use super::{Accept, Purpose, list};

/// What is acceptable of SEV-SNP.
#[derive(Clone, Debug)]
pub(crate) struct SnpPolicy {
    pub(crate) products: BTreeSet<Product>,
    pub(crate) measurements: Accept<Sha384>,
    pub(crate) revocation: Presence,
    pub(crate) signing_keys: Vec<SigningKeyName>,
    pub(crate) csp_ids: BTreeSet<String>,
    pub(crate) vmpl: BTreeSet<u32>,
    pub(crate) chips: Accept<Digest<64>>,
    pub(crate) min_tcb: BTreeMap<Product, TcbVersion>,
    pub(crate) provisional_firmware: Demand,
    pub(crate) guest_policy: GuestPolicyDemands,
    pub(crate) platform: PlatformDemands,
    pub(crate) mitigations: MitigationDemands,
    pub(crate) migration_agent: Demand,
    pub(crate) id_keys: Accept<Sha384>,
    pub(crate) author_keys: Accept<Sha384>,
    pub(crate) host_data: Accept<Digest<32>>,
    pub(crate) family_ids: Accept<Digest<16>>,
    pub(crate) image_ids: Accept<Digest<16>>,
    pub(crate) guest_svn_min: u32,
}

/// What is wanted of the guest policy's bits.
#[derive(Clone, Debug)]
pub(crate) struct GuestPolicyDemands {
    pub(crate) debug: Demand,
    pub(crate) migration: Demand,
    pub(crate) smt: Demand,
    pub(crate) single_socket: Demand,
    pub(crate) cxl: Demand,
    pub(crate) aes_256_xts: Demand,
    pub(crate) rapl_disabled: Demand,
    pub(crate) ciphertext_hiding: Demand,
    pub(crate) page_swap_disabled: Demand,
    pub(crate) unknown_bits: UnknownBits,
    /// Lowest firmware ABI that the guest may allow: (major, minor).
    pub(crate) abi_min: (u8, u8),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SnpFile {
    pub(crate) products: Vec<String>,
    pub(crate) measurements: AnyOr<String>,
    pub(crate) revocation: Presence,
    pub(crate) signing_keys: Vec<SigningKeyName>,
    pub(crate) csp_ids: Vec<String>,
    pub(crate) vmpl: Vec<u32>,
    pub(crate) chips: AnyOr<String>,
    pub(crate) min_tcb: BTreeMap<String, TcbFile>,
    pub(crate) provisional_firmware: Demand,
    pub(crate) guest_policy: GuestPolicyFile,
    pub(crate) platform: PlatformDemands,
    pub(crate) mitigations: MitigationDemands,
    pub(crate) migration_agent: Demand,
    pub(crate) id_keys: AnyOr<String>,
    pub(crate) author_keys: AnyOr<String>,
    pub(crate) host_data: AnyOr<String>,
    pub(crate) family_ids: AnyOr<String>,
    pub(crate) image_ids: AnyOr<String>,
    pub(crate) guest_svn_min: u32,
}

impl Default for SnpFile {
    fn default() -> Self {
        Self {
            products: vec!["genoa".to_owned(), "turin".to_owned()],
            measurements: AnyOr::List(Vec::new()),
            revocation: Presence::Required,
            signing_keys: vec![SigningKeyName::Vcek],
            csp_ids: Vec::new(),
            vmpl: vec![0],
            chips: AnyOr::Any,
            min_tcb: BTreeMap::new(),
            provisional_firmware: Demand::Allowed,
            guest_policy: GuestPolicyFile::default(),
            platform: PlatformDemands::default(),
            mitigations: MitigationDemands::default(),
            migration_agent: Demand::Refused,
            id_keys: AnyOr::Any,
            author_keys: AnyOr::Any,
            host_data: AnyOr::Any,
            family_ids: AnyOr::Any,
            image_ids: AnyOr::Any,
            guest_svn_min: 0,
        }
    }
}

/// The two kinds of key that may sign a report.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SigningKeyName {
    Vcek,
    Vlek,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcbFile {
    pub(crate) bootloader: u8,
    pub(crate) tee: u8,
    pub(crate) snp: u8,
    pub(crate) microcode: u8,
    pub(crate) fmc: Option<u8>,
}

/// `guest_policy.*`: the bits of POLICY (SNP ABI §4.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GuestPolicyFile {
    pub(crate) debug: Demand,
    pub(crate) migration: Demand,
    pub(crate) smt: Demand,
    pub(crate) single_socket: Demand,
    pub(crate) cxl: Demand,
    pub(crate) aes_256_xts: Demand,
    pub(crate) rapl_disabled: Demand,
    pub(crate) ciphertext_hiding: Demand,
    pub(crate) page_swap_disabled: Demand,
    pub(crate) unknown_bits: UnknownBits,
    pub(crate) abi_min: Option<String>,
}

impl Default for GuestPolicyFile {
    fn default() -> Self {
        Self {
            debug: Demand::Refused,
            migration: Demand::Refused,
            smt: Demand::Allowed,
            single_socket: Demand::Allowed,
            cxl: Demand::Refused,
            aes_256_xts: Demand::Allowed,
            rapl_disabled: Demand::Allowed,
            ciphertext_hiding: Demand::Allowed,
            page_swap_disabled: Demand::Allowed,
            unknown_bits: UnknownBits::Refused,
            abi_min: None,
        }
    }
}

/// `platform.*`: what is wanted of the bits of `PLATFORM_INFO` (SNP ABI §7.3). It means what is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlatformDemands {
    pub(crate) alias_check: Demand,
    pub(crate) smt: Demand,
    pub(crate) tsme: Demand,
    pub(crate) ecc: Demand,
    pub(crate) rapl_disabled: Demand,
    pub(crate) ciphertext_hiding: Demand,
    pub(crate) tio: Demand,
    pub(crate) unknown_bits: UnknownBits,
}

impl Default for PlatformDemands {
    fn default() -> Self {
        Self {
            alias_check: Demand::Required,
            smt: Demand::Allowed,
            tsme: Demand::Allowed,
            ecc: Demand::Allowed,
            rapl_disabled: Demand::Allowed,
            ciphertext_hiding: Demand::Allowed,
            tio: Demand::Allowed,
            unknown_bits: UnknownBits::Tolerated,
        }
    }
}

/// `mitigations.*`: what is wanted of the mitigation vectors of report version 5. It means what is
/// written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MitigationDemands {
    /// Bits that both vectors must have.
    pub(crate) required: u64,
    /// Whether the vector now must be the one at launch.
    pub(crate) unchanged: Demand,
}

impl Default for MitigationDemands {
    fn default() -> Self {
        Self { required: 0, unchanged: Demand::Required }
    }
}

impl Reader {
    /// What a section means.
    pub(super) fn snp(&mut self, file: SnpFile) -> SnpPolicy {
        let SnpFile {
            products,
            measurements,
            revocation,
            signing_keys,
            csp_ids,
            vmpl,
            chips,
            min_tcb,
            provisional_firmware,
            guest_policy,
            platform,
            mitigations,
            migration_agent,
            id_keys,
            author_keys,
            host_data,
            family_ids,
            image_ids,
            guest_svn_min,
        } = file;
        let abi_min = self.abi(guest_policy.abi_min.as_deref());
        SnpPolicy {
            products: self.products(&products),
            measurements: self.accept("sev-snp.measurements", measurements, str::parse),
            revocation,
            signing_keys,
            csp_ids: csp_ids.into_iter().collect(),
            vmpl: self.vmpl(vmpl),
            chips: self.accept("sev-snp.chips", chips, chip),
            min_tcb: self.min_tcb(min_tcb),
            provisional_firmware,
            guest_policy: GuestPolicyDemands {
                debug: guest_policy.debug,
                migration: guest_policy.migration,
                smt: guest_policy.smt,
                single_socket: guest_policy.single_socket,
                cxl: guest_policy.cxl,
                aes_256_xts: guest_policy.aes_256_xts,
                rapl_disabled: guest_policy.rapl_disabled,
                ciphertext_hiding: guest_policy.ciphertext_hiding,
                page_swap_disabled: guest_policy.page_swap_disabled,
                unknown_bits: guest_policy.unknown_bits,
                abi_min,
            },
            platform,
            mitigations,
            migration_agent,
            id_keys: self.accept("sev-snp.id_keys", id_keys, str::parse),
            author_keys: self.accept("sev-snp.author_keys", author_keys, str::parse),
            host_data: self.accept("sev-snp.host_data", host_data, str::parse),
            family_ids: self.accept("sev-snp.family_ids", family_ids, str::parse),
            image_ids: self.accept("sev-snp.image_ids", image_ids, str::parse),
            guest_svn_min,
        }
    }

    fn products(&mut self, names: &[String]) -> BTreeSet<Product> {
        let mut products = BTreeSet::new();
        for name in names {
            match product(name) {
                Some(product) => drop(products.insert(product)),
                None => self
                    .problem("sev-snp.products", format!("{name} is none of milan, genoa, turin")),
            }
        }
        products
    }

    /// A report that the host asked for has a level of its own, which no policy can accept: what the
    /// host says binds nothing.
    fn vmpl(&mut self, levels: Vec<u32>) -> BTreeSet<u32> {
        if levels.iter().any(|level| *level > VMPL_MAX) {
            self.problem("sev-snp.vmpl", "has a level above 3, which no guest has");
        }
        levels.into_iter().collect()
    }

    fn min_tcb(&mut self, written: BTreeMap<String, TcbFile>) -> BTreeMap<Product, TcbVersion> {
        let mut minima = BTreeMap::new();
        for (name, TcbFile { bootloader, tee, snp, microcode, fmc }) in written {
            let key = format!("sev-snp.min_tcb.{name}");
            if [bootloader, tee, snp, microcode] == [0; 4] {
                self.problem(&key, "is no minimum: every firmware is at least that");
            }
            match (product(&name), fmc) {
                (None, _) => self.problem(&key, "is none of milan, genoa, turin"),
                (Some(Product::Turin), None) => self.problem(&key, "needs fmc"),
                (Some(Product::Milan | Product::Genoa), Some(_)) => {
                    self.problem(&key, "has no fmc: that came with turin");
                }
                (Some(product), fmc) => {
                    minima.insert(product, TcbVersion { fmc, bootloader, tee, snp, microcode });
                }
            }
        }
        minima
    }

    fn abi(&mut self, written: Option<&str>) -> (u8, u8) {
        let Some(text) = written else { return (0, 0) };
        let parsed = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        parsed.unwrap_or_else(|| {
            self.problem("sev-snp.guest_policy.abi_min", format!("{text} is no \"major.minor\""));
            (u8::MAX, u8::MAX)
        })
    }
}

impl SnpPolicy {
    /// Where the section asks for less than it could.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        let allowed = |demand: Demand| demand != Demand::Refused;
        note(self.measurements == Accept::Any, "sev-snp.measurements", "accepts any measurement");
        note(
            self.revocation == Presence::IfPresent,
            "sev-snp.revocation",
            "does without a revocation list",
        );
        note(
            allowed(self.guest_policy.debug),
            "sev-snp.guest_policy.debug",
            "accepts a guest that can be debugged",
        );
        note(
            allowed(self.guest_policy.migration),
            "sev-snp.guest_policy.migration",
            "accepts a guest that can be migrated",
        );
        note(
            allowed(self.migration_agent),
            "sev-snp.migration_agent",
            "accepts a guest with a migration agent",
        );
        note(
            self.guest_policy.unknown_bits == UnknownBits::Tolerated,
            "sev-snp.guest_policy.unknown_bits",
            "accepts guest policies that nobody here understands",
        );
        note(
            allowed(self.guest_policy.cxl),
            "sev-snp.guest_policy.cxl",
            "accepts a guest whose host may have CXL devices",
        );
        note(
            self.mitigations.unchanged != Demand::Required,
            "sev-snp.mitigations.unchanged",
            "accepts mitigations that changed since launch",
        );
        note(
            self.platform.alias_check != Demand::Required,
            "sev-snp.platform.alias_check",
            "does without the check for aliased memory",
        );
        note(
            self.products.iter().any(|product| !self.min_tcb.contains_key(product)),
            "sev-snp.min_tcb",
            "sets no minimum for a product that it accepts",
        );
    }

    /// What its author should look at.
    pub(super) fn lint(&self, look: &Look<'_>, problems: &mut Vec<Problem>) {
        let mut error = |is_wrong: bool, key: &str, message: &str| {
            if is_wrong {
                problems.push(Problem::error(key, message));
            }
        };
        let vlek = self.signing_keys.contains(&SigningKeyName::Vlek);
        error(
            is_empty(&self.measurements),
            "sev-snp.measurements",
            "is empty: no measurement is accepted",
        );
        error(self.products.is_empty(), "sev-snp.products", "is empty: no product is accepted");
        error(self.signing_keys.is_empty(), "sev-snp.signing_keys", "is empty: no key is accepted");
        error(self.vmpl.is_empty(), "sev-snp.vmpl", "is empty: no level is accepted");
        error(is_empty(&self.chips), "sev-snp.chips", "is empty: no chip is accepted");
        error(
            vlek && self.csp_ids.is_empty(),
            "sev-snp.csp_ids",
            "is empty, and VLEKs are of a provider",
        );
        error(
            look.policy.purpose == Purpose::Production
                && self.products.contains(&Product::Milan)
                && self.chips == Accept::Any,
            "sev-snp.products",
            "names milan, whose chip secrets can be extracted by software (BadFuse): list the chips that you own",
        );
        // What a guest's policy forbids the platform cannot have, and the other way round.
        let (guest, platform) = (&self.guest_policy, &self.platform);
        for (key, of_guest, of_platform) in [
            ("sev-snp.platform.smt", guest.smt, platform.smt),
            ("sev-snp.platform.rapl_disabled", guest.rapl_disabled, platform.rapl_disabled),
            (
                "sev-snp.platform.ciphertext_hiding",
                guest.ciphertext_hiding,
                platform.ciphertext_hiding,
            ),
        ] {
            let contradict = matches!(
                (of_guest, of_platform),
                (Demand::Refused, Demand::Required) | (Demand::Required, Demand::Refused)
            );
            error(contradict, key, "contradicts guest_policy: no platform is both");
        }
        let is_zero = |accept: &Accept<Sha384>| matches!(accept, Accept::Only(values) if values.iter().any(Sha384::is_zero));
        error(
            is_zero(&self.measurements),
            "sev-snp.measurements",
            "has one of zeros, which nobody measured",
        );
        if !vlek && !self.csp_ids.is_empty() {
            let message = "names providers, and signing_keys accepts none of their keys";
            problems.push(Problem::warning("sev-snp.csp_ids", message));
        }
        for product in self.min_tcb.keys().filter(|it| !self.products.contains(it)) {
            let message = format!("is of {product}, which is not accepted: it demands nothing");
            problems.push(Problem::warning("sev-snp.min_tcb", message));
        }
        if self.products.contains(&Product::Milan) {
            problems.push(Problem::warning(
                "sev-snp.products",
                "names milan, whose chip secrets can be extracted by software (BadFuse)",
            ));
        }
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "SEV-SNP is accepted on: {}.", list(&self.products))?;
        writeln!(out, "  Launch measurements: {}.", self.measurements)?;
        match self.revocation {
            Presence::Required => writeln!(out, "  A current revocation list is required.")?,
            Presence::IfPresent => {
                writeln!(out, "  A revocation list is checked where there is one.")?;
            }
        }
        let keys = list(self.signing_keys.iter().map(|key| match key {
            SigningKeyName::Vcek => "the chip's own (VCEK)",
            SigningKeyName::Vlek => "a cloud provider's (VLEK)",
        }));
        writeln!(out, "  Signing keys: {keys}.")?;
        if self.signing_keys.contains(&SigningKeyName::Vlek) {
            writeln!(out, "  Cloud providers: {}.", list(&self.csp_ids))?;
        }
        writeln!(out, "  Privilege levels (VMPL): {}.", list(&self.vmpl))?;
        writeln!(out, "  Chips: {}.", self.chips)?;
        for product in &self.products {
            match self.min_tcb.get(product) {
                Some(min) => writeln!(out, "  {product}'s firmware is at least: {min}.")?,
                None => writeln!(out, "  {product}'s firmware may be of any version.")?,
            }
        }
        demand(out, "Firmware that can be rolled back", self.provisional_firmware)?;
        self.show_bits(out)?;
        for (name, accept) in [("Id keys", &self.id_keys), ("Author keys", &self.author_keys)] {
            if *accept != Accept::Any {
                writeln!(out, "  {name}: {accept}.")?;
            }
        }
        if self.host_data != Accept::Any {
            writeln!(out, "  Host data: {}.", self.host_data)?;
        }
        for (name, accept) in [("Family ids", &self.family_ids), ("Image ids", &self.image_ids)] {
            if *accept != Accept::Any {
                writeln!(out, "  {name}: {accept}.")?;
            }
        }
        if self.guest_svn_min > 0 {
            writeln!(out, "  The guest's security version is at least {}.", self.guest_svn_min)?;
        }
        Ok(())
    }

    fn show_bits(&self, out: &mut String) -> fmt::Result {
        let (guest, platform) = (&self.guest_policy, &self.platform);
        for (what, wanted) in [
            ("A guest that can be debugged", guest.debug),
            ("A guest that can be migrated", guest.migration),
            ("A migration agent", self.migration_agent),
            ("Multithreading, by the guest's policy", guest.smt),
            ("One socket only, by the guest's policy", guest.single_socket),
            ("CXL devices, by the guest's policy", guest.cxl),
            ("AES-256-XTS, by the guest's policy", guest.aes_256_xts),
            ("Power readings off, by the guest's policy", guest.rapl_disabled),
            ("Ciphertext hiding, by the guest's policy", guest.ciphertext_hiding),
            ("Page swapping off, by the guest's policy", guest.page_swap_disabled),
            ("The platform's check for aliased memory", platform.alias_check),
            ("The platform's multithreading", platform.smt),
            ("The platform's transparent encryption", platform.tsme),
            ("The platform's error correction", platform.ecc),
            ("The platform's power readings off", platform.rapl_disabled),
            ("The platform's ciphertext hiding", platform.ciphertext_hiding),
            ("The platform's trusted I/O", platform.tio),
            ("Mitigations unchanged since launch", self.mitigations.unchanged),
        ] {
            demand(out, what, wanted)?;
        }
        if self.mitigations.required != 0 {
            writeln!(out, "  Mitigations {:#x} are required.", self.mitigations.required)?;
        }
        let (major, minor) = guest.abi_min;
        writeln!(out, "  The guest's policy wants a firmware ABI of at least {major}.{minor}.")?;
        for (what, bits) in [
            ("guest's policy", guest.unknown_bits),
            ("platform's information", platform.unknown_bits),
        ] {
            match bits {
                UnknownBits::Tolerated => {
                    writeln!(out, "  Unknown bits in the {what} are tolerated.")?;
                }
                UnknownBits::Refused => writeln!(out, "  Unknown bits in the {what} are refused.")?,
            }
        }
        Ok(())
    }
}

/// The lowest privilege level of a guest (SNP ABI §7.3).
const VMPL_MAX: u32 = 3;

/// A chip id is 64 bytes; Turin's is 8, which the report fills with zeros.
fn chip(text: &str) -> Result<Digest<64>, Malformed> {
    match text.parse::<Digest<8>>() {
        Ok(short) => {
            let mut long = [0; 64];
            if let Some(start) = long.first_chunk_mut() {
                *start = short.0;
            }
            Ok(Digest(long))
        }
        Err(_) => text.parse(),
    }
}

fn product(name: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|product| product.name().to_ascii_lowercase() == name)
}
