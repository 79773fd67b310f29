//! From what is written to what it means.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use attestation::endorsements::{Endorsements, Kind};
use attestation::{Malformed, Sha256};

use super::file::{AnyOr, ConfigFile, PolicyFile};
use crate::anchors::{intel, nvidia_root};

use super::{
    Accept, Ark, Policy, PolicyError, PolicyId, Presence, Problem, Purpose, ReadAnchor,
    TrustAnchors,
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
pub(super) struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// Notes what is wrong with a key.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(key, message));
    }

    fn policy(&mut self, file: PolicyFile, text: &str, read_anchor: &ReadAnchor<'_>) -> Policy {
        let PolicyFile {
            schema,
            name,
            version,
            min_version,
            purpose,
            freshness,
            models,
            config,
            anchors,
            sev_snp,
            tdx,
            azure,
            nvidia_gpu,
            nvidia_switch,
        } = file;
        if schema != 1 {
            self.problem("schema", format!("is {schema}; this version knows 1"));
        }
        if name.is_empty() || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            self.problem("name", "must be 1 to 128 printable characters without spaces");
        }
        if min_version > version {
            self.problem("min_version", "is above the version: the policy would refuse itself");
        }
        let max_age = self.duration("freshness.max_age", &freshness.max_age);
        let models = self.models(models);
        let configs = match config {
            None => Accept::Only(BTreeSet::new()),
            Some(ConfigFile { digests }) => self.accept("config.digests", digests, sha256),
        };
        let anchors = match anchors {
            None => TrustAnchors::production(),
            Some(anchors) => {
                let arks = anchors.sev_snp.map(|names| self.arks(&names, read_anchor));
                let intel = anchors.tdx.map(|names| self.intel_roots(&names, read_anchor));
                let own = TrustAnchors::untrusted(arks, intel);
                match anchors.nvidia_gpu {
                    Some(names) => own.with_nvidia(self.nvidia_roots(&names, read_anchor)),
                    None => own,
                }
            }
        };
        let policy = Policy {
            id: PolicyId { name, version, digest: Sha256::of(text.as_bytes()) },
            min_version,
            purpose,
            freshness: freshness.evidence,
            max_age,
            binding: freshness.binding,
            models,
            configs,
            anchors,
            sev_snp: sev_snp.map(|file| self.snp(file)),
            tdx: tdx.map(|file| self.tdx(file)),
            azure: azure.map(|file| self.azure(file)),
            nvidia_gpu: nvidia_gpu.map(|file| self.gpu(file, read_anchor)),
            nvidia_switch: nvidia_switch.map(|file| self.switch(file, read_anchor)),
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

    fn intel_roots(&mut self, names: &[String], read_anchor: &ReadAnchor<'_>) -> Vec<intel::Root> {
        let mut roots = Vec::new();
        for name in names {
            let read = read_roots(name, read_anchor).and_then(|ders| {
                ders.into_iter().map(intel::Root::of_policy).collect::<Result<Vec<_>, _>>()
            });
            match read {
                Ok(found) => roots.extend(found),
                Err(error) => self.problem("anchors.tdx", format!("{name}: {error}")),
            }
        }
        roots
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

    fn nvidia_roots(&mut self, names: &[String], read_anchor: &ReadAnchor<'_>) -> Vec<Vec<u8>> {
        let mut roots = Vec::new();
        for name in names {
            let found = read_roots(name, read_anchor)
                .and_then(|ders| ders.into_iter().map(nvidia_root).collect::<Result<Vec<_>, _>>());
            match found {
                Ok(found) => roots.extend(found),
                Err(error) => self.problem("anchors.nvidia-gpu", format!("{name}: {error}")),
            }
        }
        roots
    }

    /// What a list of values, or the word "any", means.
    pub(super) fn accept<T: Ord>(
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

    /// What a number with a unit means.
    pub(super) fn duration(&mut self, key: &str, text: &str) -> Duration {
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
            snp.relaxations(&mut note);
        }
        if let Some(tdx) = &self.tdx {
            tdx.relaxations(&mut note);
        }
        if let Some(azure) = &self.azure {
            azure.relaxations(&mut note);
        }
        if let Some(gpu) = &self.nvidia_gpu {
            gpu.relaxations(&mut note);
        }
        if let Some(switch) = &self.nvidia_switch {
            switch.relaxations(&mut note);
        }
        found
    }
}

/// Whether an author was meant to replace `value`.
pub(super) fn is_placeholder(value: &str) -> bool {
    value.contains(['<', '>', '…'])
        || value.contains("...")
        || value.to_ascii_lowercase().contains("fill")
}

fn read_ark(name: &str, read_anchor: &ReadAnchor<'_>) -> Result<Vec<Ark>, String> {
    read_roots(name, read_anchor)?.into_iter().map(Ark::of_policy).collect()
}

/// A file of certificates and nothing else.
fn read_roots(name: &str, read_anchor: &ReadAnchor<'_>) -> Result<Vec<Vec<u8>>, String> {
    let bytes = read_anchor(name)?;
    let mut endorsements = Endorsements::new();
    endorsements.add(&bytes).map_err(|malformed| malformed.to_string())?;
    let mut others = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Certificate);
    if endorsements.certificates().is_empty()
        || others.any(|kind| !endorsements.items(kind).is_empty())
    {
        return Err("is no file of root certificates".to_owned());
    }
    Ok(endorsements.certificates().to_vec())
}

fn sha256(text: &str) -> Result<Sha256, Malformed> {
    text.strip_prefix("sha256:")
        .ok_or(Malformed::invalid("digest", "does not start with sha256:"))?
        .parse()
}
