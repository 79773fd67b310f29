//! The model manifest: which weights, tokenizer and template an enclave serves, and under what names.

use serde::{Deserialize, Serialize};

use crate::bytes::Malformed;
use crate::digest::Sha256;
use crate::json;

/// Longest manifest: names and digests of one model need well under a kilobyte.
pub const LEN_MAX: usize = 16 * 1024;

/// What an enclave says of its model; its digest is in the binding (`docs/protocol.md` §5.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Version of this format: 1.
    pub schema: u8,
    /// Names that clients may ask for, the canonical one first.
    pub names: Vec<String>,
    /// The weights' file.
    #[serde(deserialize_with = "json::object")]
    pub weights: Weights,
    /// Digest of the tokenizer, as the engine defines it.
    pub tokenizer_sha256: Sha256,
    /// Digest of the chat template's bytes.
    pub template_sha256: Sha256,
    /// The arithmetic that produces the same bytes for the same request.
    pub numeric_profile: String,
}

/// The file that holds a model's weights.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// The file's format, `gguf`.
    pub format: String,
    /// Digest of the whole file.
    pub sha256: Sha256,
}

impl ModelManifest {
    /// The exact bytes that are hashed and carried in the evidence.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of strings always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses a manifest.
    ///
    /// # Errors
    /// Over [`LEN_MAX`], no such JSON, an unknown or duplicate key, another schema, or no name.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "manifest";
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: LEN_MAX });
        }
        let bad = |_| Malformed::invalid(WHAT, "is not a model manifest");
        let mut text = serde_json::Deserializer::from_slice(bytes);
        let manifest: Self = json::object(&mut text).map_err(bad)?;
        text.end().map_err(bad)?;
        if manifest.schema != 1 {
            return Err(Malformed::invalid(WHAT, "has a schema that this version does not know"));
        }
        if manifest.names.is_empty() || manifest.names.iter().any(|name| !is_name(name)) {
            return Err(Malformed::invalid(WHAT, "has no name, or one that is empty or too long"));
        }
        Ok(manifest)
    }

    /// The canonical name.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Model names are printable ASCII without spaces, as the `OpenAI` API's are.
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn manifest() -> ModelManifest {
        ModelManifest {
            schema: 1,
            names: vec!["smollm2-135m-instruct".to_owned()],
            weights: Weights { format: "gguf".to_owned(), sha256: Digest([1; 32]) },
            tokenizer_sha256: Digest([2; 32]),
            template_sha256: Digest([3; 32]),
            numeric_profile: "veritee-1".to_owned(),
        }
    }

    #[test]
    fn parses_what_it_writes_and_nothing_else() {
        let good = manifest();
        let bytes = good.encode();
        assert_eq!(ModelManifest::parse(&bytes), Ok(good));
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            text.replace("\"schema\":1", "\"schema\":2"),
            text.replace("\"schema\":1", "\"schema\":1,\"schema\":1"),
            text.replace("\"schema\":1", "\"schema\":1,\"extra\":1"),
            text.replace("smollm2-135m-instruct", ""),
            text.replace("smollm2-135m-instruct", "two words"),
            text.replace("[\"smollm2-135m-instruct\"]", "[]"),
            format!("{text} x"),
            // The members' values in their order, without their names.
            text.replace(r#"{"format":"gguf","sha256":"#, r#"["gguf","#).replacen('}', "]", 1),
            r#"[1,["m"],{"format":"gguf","sha256":"D"},"D","D","veritee-1"]"#
                .replace('D', &"00".repeat(32)),
        ] {
            assert!(ModelManifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ModelManifest::parse(&vec![b' '; LEN_MAX + 1]).is_err());
    }
}
