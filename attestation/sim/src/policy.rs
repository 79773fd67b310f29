//! Renders the appraisal policy that names this test PKI as its anchor.

use std::fmt::Write as _;

use attestation::snp::{Product, TcbVersion};
use attestation::{Sha256, UnixTime};
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

/// The policy file.
pub fn render(
    version: u64,
    product: Product,
    measurement: &str,
    accepted: &Accepted,
    not_after: UnixTime,
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
    let TcbVersion { fmc, bootloader, tee, snp, microcode } = healthy_tcb(product);
    let fmc = fmc.map(|fmc| format!("fmc = {fmc}, ")).unwrap_or_default();
    let minimum = format!(
        "{fmc}bootloader = {bootloader}, tee = {tee}, snp = {snp}, microcode = {microcode}"
    );
    let product = product.name().to_lowercase();
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

# The root of the test PKI, beside this file. It is what makes every verdict `untrusted`.
[anchors]
sev-snp = [\"ark.pem\"]

[sev-snp]
products = [\"{product}\"]
measurements = [\"{measurement}\"]
revocation = \"required\"
signing_keys = [\"vcek\"]
vmpl = [0]
chips = \"any\"
min_tcb.{product} = {{ {minimum} }}
"
    )
}

/// Longest model name.
const NAME_LEN_MAX: usize = 128;
