//! From what is written to what it means.

use core::str::FromStr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use attestation::endorsements::Endorsements;
use attestation::snp::{Product, TcbVersion};
use attestation::{Malformed, Sha256};

use super::Demand;
use super::file::{AnyOr, ConfigFile, PolicyFile, SnpFile, TcbFile, TdxFile};
use super::{
    Accept, Ark, GuestPolicyDemands, Policy, PolicyError, PolicyId, Presence, Problem, Purpose,
    ReadAnchor, SnpPolicy, TrustAnchors,
};

/// Longest policy: a few hundred chips and measurements are well under it.
const TEXT_LEN_MAX: usize = 1 << 20;
/// Longest time for which an acceptance may be used. Certificates and the statement's window end
/// it sooner in practice.
const MAX_AGE_SECS_MAX: u64 = 366 * 86_400;

/// Reads a policy, or says everything that is wrong with it.
pub(super) fn policy(text: &str, read_anchor: &ReadAnchor<'_>) -> Result<Policy, PolicyError> {
    let one =
        |key: &str, message: String| PolicyError { problems: vec![Problem::error(key, message)] };
    if text.len() > TEXT_LEN_MAX {
        return Err(one("policy", format!("is longer than {TEXT_LEN_MAX} bytes")));
    }
    let file: PolicyFile =
        toml::from_str(text).map_err(|error| one("policy", error.to_string()))?;
    let mut reader = Reader { problems: Vec::new() };
    let policy = reader.policy(file, text, read_anchor);
    if reader.problems.is_empty() {
        Ok(policy)
    } else {
        Err(PolicyError { problems: reader.problems })
    }
}

/// Collects problems, so that an author sees all of them at once.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(key, message));
    }

    fn policy(&mut self, file: PolicyFile, text: &str, read_anchor: &ReadAnchor<'_>) -> Policy {
        let PolicyFile {
            schema,
            name,
            version,
            purpose,
            freshness,
            models,
            config,
            anchors,
            sev_snp,
            tdx,
            nvidia_gpu,
        } = file;
        if schema != 1 {
            self.problem("schema", format!("is {schema}; this version knows 1"));
        }
        if name.is_empty() || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            self.problem("name", "must be 1 to 128 printable characters without spaces");
        }
        let max_age = self.duration("freshness.max_age", &freshness.max_age);
        let models = self.models(models);
        let configs = match config {
            None => Accept::Only(BTreeSet::new()),
            Some(ConfigFile { digests }) => self.accept("config.digests", digests, sha256),
        };
        let mut not_yet = Vec::new();
        if let Some(tdx) = tdx {
            self.tdx(tdx);
            not_yet.push("tdx");
        }
        if nvidia_gpu.is_some() {
            not_yet.push("nvidia-gpu");
        }
        let anchors = match anchors {
            None => TrustAnchors::production(),
            Some(anchors) => {
                let arks = anchors.sev_snp.map(|names| self.arks(&names, read_anchor));
                for (key, named) in
                    [("anchors.tdx", anchors.tdx), ("anchors.nvidia-gpu", anchors.nvidia_gpu)]
                {
                    for name in named.unwrap_or_default() {
                        if let Err(error) = read_anchor(&name) {
                            self.problem(key, format!("{name}: {error}"));
                        }
                    }
                }
                TrustAnchors::untrusted(arks)
            }
        };
        let policy = Policy {
            id: PolicyId { name, digest: Sha256::of(text.as_bytes()) },
            version,
            purpose,
            freshness: freshness.evidence,
            max_age,
            binding: freshness.binding,
            models,
            configs,
            anchors,
            sev_snp: sev_snp.map(|file| self.snp(file)),
            not_yet,
        };
        if purpose == Purpose::Production {
            for (key, message) in policy.relaxations() {
                self.problem(key, format!("{message}; a policy for production relaxes nothing"));
            }
        } else if policy.binding == Presence::IfPresent && purpose != Purpose::Evaluation {
            self.problem("freshness.binding", "may be if-present for evaluation only");
        }
        policy
    }

    fn models(&mut self, written: BTreeMap<String, String>) -> BTreeMap<String, Sha256> {
        let mut models = BTreeMap::new();
        for (name, digest) in written {
            match sha256(&digest) {
                Ok(digest) => drop(models.insert(name, digest)),
                Err(error) => self.problem(&format!("models.{name}"), error.to_string()),
            }
        }
        models
    }

    fn arks(&mut self, names: &[String], read_anchor: &ReadAnchor<'_>) -> Vec<Ark> {
        let mut arks = Vec::new();
        for name in names {
            match read_ark(name, read_anchor) {
                Ok(found) => arks.extend(found),
                Err(error) => self.problem("anchors.sev-snp", format!("{name}: {error}")),
            }
        }
        arks
    }

    fn snp(&mut self, file: SnpFile) -> SnpPolicy {
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

    /// Checks the values of a section whose platform is not appraised yet.
    fn tdx(&mut self, file: TdxFile) {
        let TdxFile {
            mr_td,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            mr_config_id,
            mr_owner,
            tcb_status,
            advisories_allowed: _,
            min_tcb_evaluation: _,
            platforms: _,
            revocation: _,
        } = file;
        for (key, values) in [
            ("tdx.mr_td", mr_td),
            ("tdx.rtmr0", rtmr0),
            ("tdx.rtmr1", rtmr1),
            ("tdx.rtmr2", rtmr2),
            ("tdx.rtmr3", rtmr3),
            ("tdx.mr_config_id", mr_config_id),
            ("tdx.mr_owner", mr_owner),
        ] {
            self.accept(key, values, <attestation::Sha384 as FromStr>::from_str);
        }
        for status in tcb_status {
            if !TDX_STATUSES.contains(&status.as_str()) {
                self.problem(
                    "tdx.tcb_status",
                    format!("{status} is none of {}", TDX_STATUSES.join(", ")),
                );
            }
        }
    }

    fn accept<T: Ord>(
        &mut self,
        key: &str,
        written: AnyOr<String>,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Accept<T> {
        let AnyOr::List(values) = written else { return Accept::Any };
        let mut accepted = BTreeSet::new();
        for value in values {
            match parse(&value) {
                Ok(parsed) => drop(accepted.insert(parsed)),
                Err(_) if is_placeholder(&value) => {
                    self.problem(key, format!("{value} is a placeholder: fill it in"));
                }
                Err(error) => self.problem(key, format!("{value}: {error}")),
            }
        }
        Accept::Only(accepted)
    }

    fn duration(&mut self, key: &str, text: &str) -> Duration {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let unit = match text.get(digits.len()..) {
            Some("s") => Some(1),
            Some("m") => Some(60),
            Some("h") => Some(3600),
            Some("d") => Some(86_400),
            _ => None,
        };
        let secs = unit.and_then(|unit: u64| unit.checked_mul(digits.parse().ok()?));
        match secs {
            Some(secs @ 1..=MAX_AGE_SECS_MAX) => Duration::from_secs(secs),
            Some(_) => {
                self.problem(key, "must be at least 1s and at most 366d");
                Duration::ZERO
            }
            None => {
                self.problem(key, format!("{text} is no number with s, m, h or d"));
                Duration::ZERO
            }
        }
    }
}

impl Policy {
    /// Where the policy asks for less than it could, with a sentence each. Every one that an
    /// appraisal uses is a warning there.
    pub(super) fn relaxations(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut note = |is_relaxed: bool, key: &'static str, message: &str| {
            if is_relaxed {
                found.push((key, message.to_owned()));
            }
        };
        note(
            self.anchors.kind() == super::AnchorKind::Untrusted,
            "anchors",
            "brings its own roots",
        );
        note(
            self.binding == Presence::IfPresent,
            "freshness.binding",
            "accepts evidence that binds no keys",
        );
        note(self.configs == Accept::Any, "config.digests", "accepts any configuration");
        if let Some(snp) = &self.sev_snp {
            let allowed = |demand: Demand| demand != Demand::Refused;
            note(
                snp.measurements == Accept::Any,
                "sev-snp.measurements",
                "accepts any measurement",
            );
            note(
                snp.revocation == Presence::IfPresent,
                "sev-snp.revocation",
                "does without a revocation list",
            );
            note(
                allowed(snp.guest_policy.debug),
                "sev-snp.guest_policy.debug",
                "accepts a guest that can be debugged",
            );
            note(
                allowed(snp.guest_policy.migration),
                "sev-snp.guest_policy.migration",
                "accepts a guest that can be migrated",
            );
            note(
                allowed(snp.migration_agent),
                "sev-snp.migration_agent",
                "accepts a guest with a migration agent",
            );
            note(
                snp.guest_policy.unknown_bits == super::UnknownBits::Tolerated,
                "sev-snp.guest_policy.unknown_bits",
                "accepts guest policies that nobody here understands",
            );
            note(
                allowed(snp.guest_policy.cxl),
                "sev-snp.guest_policy.cxl",
                "accepts a guest whose host may have CXL devices",
            );
            note(
                snp.mitigations.unchanged != Demand::Required,
                "sev-snp.mitigations.unchanged",
                "accepts mitigations that changed since launch",
            );
            note(
                snp.platform.alias_check != Demand::Required,
                "sev-snp.platform.alias_check",
                "does without the check for aliased memory",
            );
            note(
                snp.products.iter().any(|product| !snp.min_tcb.contains_key(product)),
                "sev-snp.min_tcb",
                "sets no minimum for a product that it accepts",
            );
        }
        found
    }
}

/// The lowest privilege level of a guest (SNP ABI §7.3).
const VMPL_MAX: u32 = 3;

/// Whether an author was meant to replace `value`.
pub(super) fn is_placeholder(value: &str) -> bool {
    value.contains(['<', '>', '…'])
        || value.contains("...")
        || value.to_ascii_lowercase().contains("fill")
}

/// The statuses of a TDX TCB level (Intel PCS v4 API).
const TDX_STATUSES: [&str; 7] = [
    "up-to-date",
    "sw-hardening-needed",
    "configuration-needed",
    "configuration-and-sw-hardening-needed",
    "out-of-date",
    "out-of-date-configuration-needed",
    "td-relaunch-advised",
];

fn read_ark(name: &str, read_anchor: &ReadAnchor<'_>) -> Result<Vec<Ark>, String> {
    let bytes = read_anchor(name)?;
    let mut endorsements = Endorsements::new();
    endorsements.add(&bytes).map_err(|malformed| malformed.to_string())?;
    if endorsements.certificates().is_empty() || !endorsements.crls().is_empty() {
        return Err("is no file of root certificates".to_owned());
    }
    endorsements.certificates().iter().map(|der| Ark::of_policy(der.clone())).collect()
}

fn product(name: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|product| product.name().to_ascii_lowercase() == name)
}

fn sha256(text: &str) -> Result<Sha256, Malformed> {
    text.strip_prefix("sha256:")
        .ok_or(Malformed::invalid("digest", "does not start with sha256:"))?
        .parse()
}

/// A chip id is 64 bytes; Turin's is 8, which the report fills with zeros.
fn chip(text: &str) -> Result<attestation::Digest<64>, Malformed> {
    match text.parse::<attestation::Digest<8>>() {
        Ok(short) => {
            let mut long = [0; 64];
            if let Some(start) = long.first_chunk_mut() {
                *start = short.0;
            }
            Ok(attestation::Digest(long))
        }
        Err(_) => text.parse(),
    }
}
