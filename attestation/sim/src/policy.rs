//! Renders the appraisal policy that names this test PKI as its anchor.

use std::fmt::Write as _;

use attestation::snp::{Product, TcbVersion};
use attestation::{Digest, Sha256, UnixTime};
use serde::{Deserialize, Serialize};

use crate::error::SimError;
use crate::report::healthy_tcb;

/// What the policy accepts beyond the platform: a model, by names, and configurations.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Digest of the model manifest.
    pub manifest: Option<Sha256>,
    /// Names that clients may ask for it by.
    pub names: Vec<String>,
    /// Digests of effective configurations.
    pub configs: Vec<Sha256>,
}

impl Accepted {
    /// Refuses names that a policy file could not hold as they are.
    pub fn check(&self) -> Result<(), SimError> {
        let bad = |name: &&String| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte);
            name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(plain)
        };
        if let Some(name) = self.names.iter().find(bad) {
            return Err(SimError::Argument(format!(
                "model name {name:?}: letters, digits and -._:/ only, at most {NAME_LEN_MAX}"
            )));
        }
        if self.manifest.is_some() == self.names.is_empty() {
            let why = "a manifest digest and the model's names go together";
            return Err(SimError::Argument(why.to_owned()));
        }
        Ok(())
    }

    /// Whether the policy can accept anything at all.
    pub fn is_complete(&self) -> bool {
        self.manifest.is_some() && !self.configs.is_empty()
    }
}

/// What a policy accepts of one platform, and whose word it takes for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The platform's name in policies.
    pub platform: String,
    /// The file with the root of its test PKI, beside the policy; none, where another section's is its own.
    pub anchor: Option<String>,
    /// The keys of its section, as TOML.
    pub keys: String,
}

impl Section {
    /// A well-kept host of `product` whose guest has this launch measurement.
    pub fn sev_snp(product: Product, measurement: &str) -> Self {
        let TcbVersion { fmc, bootloader, tee, snp, microcode } = healthy_tcb(product);
        let fmc = fmc.map(|fmc| format!("fmc = {fmc}, ")).unwrap_or_default();
        let minimum = format!(
            "{fmc}bootloader = {bootloader}, tee = {tee}, snp = {snp}, microcode = {microcode}"
        );
        let product = product.name().to_lowercase();
        let keys = format!(
            "\
products = [\"{product}\"]
measurements = [\"{measurement}\"]
revocation = \"required\"
signing_keys = [\"vcek\"]
vmpl = [0]
chips = \"any\"
min_tcb.{product} = {{ {minimum} }}
"
        );
        Self { platform: "sev-snp".to_owned(), anchor: Some("ark.pem".to_owned()), keys }
    }

    /// So many devices whose measurements these files name.
    pub fn devices(platform: &str, anchor: Option<&str>, count: u8, references: &[String]) -> Self {
        let keys = format!(
            "count = {count}\nreference_values = [\"{}\"]\nrevocation = \"required\"\n",
            references.join("\", \"")
        );
        Self { platform: platform.to_owned(), anchor: anchor.map(str::to_owned), keys }
    }

    /// A TD with these registers, on a platform that is up to date.
    pub fn tdx(mr_td: &[u8; 48], rtmr: &[[u8; 48]; 4]) -> Self {
        let hex = |register: &[u8; 48]| Digest(*register).to_string();
        let mut keys = format!("mr_td = [\"{}\"]\n", hex(mr_td));
        for (number, register) in rtmr.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ok = writeln!(keys, "rtmr{number} = [\"{}\"]", hex(register));
        }
        keys.push_str("tcb_status = [\"up-to-date\"]\nrevocation = \"required\"\n");
        Self { platform: "tdx".to_owned(), anchor: Some("intel-root.pem".to_owned()), keys }
    }
}

/// The policy file that accepts one SEV-SNP host.
pub fn render(
    version: u64,
    product: Product,
    measurement: &str,
    accepted: &Accepted,
    not_after: UnixTime,
) -> String {
    render_all(version, accepted, not_after, &[Section::sev_snp(product, measurement)])
}

/// The policy file that accepts these platforms.
pub fn render_all(
    version: u64,
    accepted: &Accepted,
    not_after: UnixTime,
    sections: &[Section],
) -> String {
    let mut models = String::new();
    for name in &accepted.names {
        if let Some(manifest) = &accepted.manifest {
            // Writing to a String cannot fail.
            let _ok = writeln!(models, "\"{name}\" = \"sha256:{manifest}\"");
        }
    }
    let configs: Vec<_> =
        accepted.configs.iter().map(|digest| format!("\"sha256:{digest}\"")).collect();
    let configs = configs.join(", ");
    let (mut anchors, mut platforms) = (String::new(), String::new());
    for Section { platform, anchor, keys } in sections {
        if let Some(anchor) = anchor {
            let _ok = writeln!(anchors, "{platform} = [\"{anchor}\"]");
        }
        let _ok = write!(platforms, "\n[{platform}]\n{keys}");
    }
    format!(
        "\
# Accepts the simulated platform of this folder and no other. It proves nothing about hardware:
# whoever reads this folder can sign such evidence. Written by `veritee-sim`, which renders it
# again with `veritee-sim policy`; its test PKI ends at {not_after}.
schema = 1
name = \"simulation\"
version = {version}
purpose = \"simulation\"

[freshness]
evidence = \"challenged\"
max_age = \"1h\"
binding = \"required\"

# Names that clients may ask for, and the manifest that must answer to them.
[models]
{models}
# Digests of the enclave's complete effective configuration.
[config]
digests = [{configs}]

# The roots of the test PKI, beside this file. They are what makes every verdict `untrusted`.
[anchors]
{anchors}{platforms}"
    )
}

/// Longest model name.
const NAME_LEN_MAX: usize = 128;
